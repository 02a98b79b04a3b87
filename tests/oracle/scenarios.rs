//! Written by hand; filled below.

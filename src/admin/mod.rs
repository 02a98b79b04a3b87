//! What operators look at: four-letter words, metrics, the version.
//!
//! Pure formatting and counting: cores fill the plain structs of [`four_letter::report`], this room writes the bytes.

pub mod version;

//! What operators look at: four-letter words, metrics, the version.
//!
//! Pure formatting and counting: cores fill the plain structs of [`four_letter::report`] and own
//! their [`metrics::Metrics`]; this room merges numbers and writes bytes.

pub mod four_letter;
pub mod java_format;
pub mod metrics;
pub mod version;

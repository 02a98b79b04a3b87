//! Who a connection is and what it may do (reference: auth-and-tls 1-6 and 9, data-model 10).
//!
//! Pure: no IO, no clock. [`Auth`] is built once from the configuration and shared read-only by
//! every core; [`Identities`] belong to a connection and travel with its requests.
//!
//! - `config`: the properties, checked
//! - `identity`: the set of identities of a connection
//! - `provider`: what each scheme accepts, matches and shows
//! - `acl`: decisions over lists
//! - `sasl`: the seam for mechanisms, and what a server without one answers

#![forbid(unsafe_code)]

mod acl;
mod config;
mod digest;
mod identity;
mod ip;
mod provider;
mod sasl;

pub use acl::mask_digests;
pub use config::{AuthConfig, AuthConfigError};
pub use digest::{DigestAlgorithm, digest_identity};
pub use identity::{Identities, Identity};
pub use ip::ip_text;
pub use provider::{Auth, AuthOutcome, EnsembleName};
pub use sasl::{SaslMechanism, SaslReply, SaslStep};

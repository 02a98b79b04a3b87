//! The identities of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::ip::ip_text;

/// A scheme and an id under it, such as `digest` and `bob:ikIaKsbtGweaHnb/jKn7OHqbunM=`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    pub scheme: Box<str>,
    pub id: Box<str>,
}

impl Identity {
    pub fn new(scheme: &str, id: &str) -> Identity {
        Identity { scheme: scheme.into(), id: id.into() }
    }
}

/// The scheme that passes every permission check.
const SUPER: &str = "super";

/// The identities of a connection (reference: auth-and-tls 1). A snapshot is one reference count:
/// each request carries the set that was there when it was received, and may take it to another
/// core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identities {
    ids: Arc<[Identity]>,
    is_super: bool,
}

impl Identities {
    /// What a connection has from the start: the address it comes from.
    pub fn of_peer(peer_ip: IpAddr) -> Identities {
        Identities { ids: [Identity::new("ip", &ip_text(peer_ip))].into(), is_super: false }
    }

    /// No identity: requests the server makes for itself.
    pub fn none() -> Identities {
        Identities { ids: [].into(), is_super: false }
    }

    /// These and one more; identities only accumulate.
    #[must_use]
    pub fn with(&self, identity: Identity) -> Identities {
        if self.ids.contains(&identity) {
            return self.clone();
        }
        let is_super = self.is_super || &*identity.scheme == SUPER;
        Identities { ids: self.ids.iter().cloned().chain([identity]).collect(), is_super }
    }

    /// An identity of scheme `super` is among them: every permission check passes.
    pub fn is_super(&self) -> bool {
        self.is_super
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Identity> {
        self.ids.iter()
    }

    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.ids.iter().any(|identity| &*identity.scheme == scheme)
    }
}

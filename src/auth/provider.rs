//! The schemes: what each accepts at addauth, matches in a list, and shows to whoAmI.

use std::net::IpAddr;

use super::config::AuthConfig;
use super::identity::{Identities, Identity};
use super::{digest, ip, sasl};

/// A scheme with an implementation that is loaded under the present configuration. `world`, `auth`
/// and `super` have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Provider {
    Digest,
    Ip,
    X509,
    Sasl,
    Ensemble,
    Key,
}

impl Provider {
    pub(super) fn of(config: &AuthConfig, scheme: &str) -> Option<Provider> {
        let (provider, loaded) = match scheme {
            "digest" => (Provider::Digest, config.digest_enabled),
            "ip" => (Provider::Ip, true),
            "x509" => (Provider::X509, config.x509_provider),
            "sasl" => (Provider::Sasl, config.sasl_provider),
            "ensemble" => (Provider::Ensemble, config.ensemble_provider),
            "key" => (Provider::Key, config.key_provider),
            _ => return None,
        };
        loaded.then_some(provider)
    }

    /// Whether an id may stand in an entry of this scheme (reference: data-model 10.3).
    pub(super) fn valid(self, id: &str) -> bool {
        match self {
            Provider::Digest => digest::valid(id),
            Provider::Ip => ip::valid(id),
            // The reference wants an X.500 name here. Accepting any text admits entries that match
            // nobody, which harms nobody; refusing one that Java accepts would break a client.
            Provider::X509 => true,
            Provider::Sasl => sasl::valid(id),
            Provider::Ensemble => false,
            Provider::Key => true,
        }
    }

    /// Whether a connection with the identity `have` is meant by an entry for `wanted`.
    pub(super) fn matches(self, config: &AuthConfig, have: &str, wanted: &str) -> bool {
        match self {
            Provider::Digest | Provider::Key => have == wanted,
            Provider::Ip => ip::matches(have, wanted),
            Provider::X509 => have == wanted || config.x509_super_user.as_deref() == Some(have),
            Provider::Sasl => {
                // The literal user `super` matches every entry: odd, but it is what Apache
                // ZooKeeper does.
                have == wanted
                    || have == "super"
                    || config.let_any_sasl_user_do.as_deref() == Some(wanted)
            }
            Provider::Ensemble => false,
        }
    }

    /// Whether an identity of this scheme is an authenticated user, for whom `auth` entries stand.
    pub(super) fn authenticates(self) -> bool {
        self != Provider::Ip
    }
}

/// What becomes of an addauth request (reference: auth-and-tls 2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthOutcome {
    /// Reply with error 0; the connection has these identities from now on.
    Ok(Identities),
    /// Reply with AuthFailed, then close. Terminal for the client.
    FailedReplyAndClose,
    /// Close without a reply: the client will try another server.
    CloseSilently,
}

/// What a client's word of the ensemble it wants comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnsembleName {
    Right,
    Wrong,
    /// It named none, or this server knows none.
    Unasked,
}

/// Authentication and authorization under one configuration. Immutable; shared by every core.
#[derive(Clone, Debug)]
pub struct Auth {
    pub(super) config: AuthConfig,
}

impl Auth {
    pub fn new(config: AuthConfig) -> Auth {
        Auth { config }
    }

    pub fn config(&self) -> &AuthConfig {
        &self.config
    }

    pub(super) fn provider(&self, scheme: &str) -> Option<Provider> {
        Provider::of(&self.config, scheme)
    }

    /// Answers an addauth request; `ids` is what the connection has so far, `None` a null field.
    ///
    /// Scheme `x509` fails here, as on a connection without TLS; scheme `key` needs the tree:
    /// [`Auth::addauth_key`].
    pub fn addauth(
        &self,
        ids: &Identities,
        scheme: Option<&[u8]>,
        auth: Option<&[u8]>,
        peer_ip: IpAddr,
    ) -> AuthOutcome {
        let scheme = scheme.and_then(|scheme| std::str::from_utf8(scheme).ok()).unwrap_or("");
        match (self.provider(scheme), auth) {
            (Some(Provider::Digest), Some(auth)) => AuthOutcome::Ok(self.add_digest(ids, auth)),
            (Some(Provider::Ip), _) => {
                AuthOutcome::Ok(ids.with(Identity::new("ip", &ip::ip_text(peer_ip))))
            }
            (Some(Provider::Ensemble), auth) => self.addauth_ensemble(ids, auth),
            _ => AuthOutcome::FailedReplyAndClose,
        }
    }

    fn add_digest(&self, ids: &Identities, auth: &[u8]) -> Identities {
        let id = digest::digest_identity(auth, self.config.digest_algorithm);
        let is_super = self.config.super_digest.as_ref() == Some(&id);
        let ids = ids.with(Identity::new("digest", &id));
        if is_super { ids.with(Identity::new("super", "")) } else { ids }
    }

    fn addauth_ensemble(&self, ids: &Identities, auth: Option<&[u8]>) -> AuthOutcome {
        match self.ensemble_named(auth) {
            EnsembleName::Right | EnsembleName::Unasked => AuthOutcome::Ok(ids.clone()),
            EnsembleName::Wrong => AuthOutcome::CloseSilently,
        }
    }

    fn ensemble_named(&self, auth: Option<&[u8]>) -> EnsembleName {
        let auth = auth.unwrap_or(b"");
        match &self.config.ensemble_names {
            Some(names) if !auth.is_empty() => {
                match names.iter().any(|name| name.as_bytes() == auth) {
                    true => EnsembleName::Right,
                    false => EnsembleName::Wrong,
                }
            }
            _ => EnsembleName::Unasked,
        }
    }

    /// What an addauth request of scheme `ensemble` says; `None` for other schemes, and without the provider.
    pub fn ensemble_name(
        &self,
        scheme: Option<&[u8]>,
        auth: Option<&[u8]>,
    ) -> Option<EnsembleName> {
        let asked = scheme == Some(b"ensemble") && self.config.ensemble_provider;
        asked.then(|| self.ensemble_named(auth))
    }

    /// Answers an addauth request of scheme `key`, given the data of the znode `/key` if there is
    /// one: a multiple of that number passes, and without the znode anything does.
    pub fn addauth_key(
        &self,
        ids: &Identities,
        auth: Option<&[u8]>,
        key_node: Option<&[u8]>,
    ) -> AuthOutcome {
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i32>().ok();
        let passes = self.config.key_provider
            && key_node.is_none_or(|key| match (number(key), auth.and_then(number)) {
                (Some(key), Some(auth)) => auth.checked_rem(key) == Some(0),
                _ => false,
            });
        if !passes {
            return AuthOutcome::FailedReplyAndClose;
        }
        let key = String::from_utf8_lossy(key_node.unwrap_or(b""));
        AuthOutcome::Ok(ids.with(Identity::new("key", &key)))
    }

    /// The identities after a SASL exchange that ended well. The provider need not be registered.
    pub fn add_sasl(&self, ids: &Identities, authorization_id: &str) -> Identities {
        let is_super = self.config.sasl_super_users.iter().any(|user| user == authorization_id);
        let ids = ids.with(Identity::new("sasl", authorization_id));
        if is_super { ids.with(Identity::new("super", "")) } else { ids }
    }

    /// The identities after a TLS handshake with a trusted client certificate; `subject` is its
    /// name in Java's RFC 2253 form.
    pub fn add_x509(&self, ids: &Identities, subject: &str) -> Identities {
        let is_super = self.config.x509_super_user.as_deref() == Some(subject);
        let ids = ids.with(Identity::new("x509", subject));
        if is_super { ids.with(Identity::new("super", subject)) } else { ids }
    }

    /// The `(scheme, user)` pairs of whoAmI (reference: client-protocol 8): the user of a digest
    /// id, other ids as they are, nothing for a scheme without a provider.
    pub fn who_am_i<'a>(&self, ids: &'a Identities) -> Vec<(&'a str, &'a str)> {
        let user = |identity: &'a Identity| match self.provider(&identity.scheme) {
            None => "",
            Some(Provider::Digest) => digest::user(&identity.id),
            Some(_) => &*identity.id,
        };
        ids.iter().map(|identity| (&*identity.scheme, user(identity))).collect()
    }

    /// Whether a connection meets enforced authentication (reference: auth-and-tls 6). If not,
    /// every request but auth and sasl is answered SessionClosedRequireSaslAuth and the connection
    /// closed.
    pub fn meets_enforced(&self, ids: &Identities) -> bool {
        let Some(schemes) = &self.config.enforced_schemes else { return true };
        schemes.iter().any(|scheme| ids.has_scheme(scheme))
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;

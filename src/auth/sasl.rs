//! The seam for SASL mechanisms (reference: auth-and-tls 7). None is implemented: a server answers
//! as one on which SASL is not configured ([`SaslReply::UNCONFIGURED`]).
//!
//! A mechanism will be an object of one connection, made at accept when the server has a login
//! context and fed by the shard with each token. TLS client certificates need no seam of this kind:
//! whoever ends the TLS handshake hands the subject to [`super::Auth::add_x509`].

use super::config::AuthConfig;
use crate::wire::ErrorCode;

/// One side of a SASL exchange: tokens in, tokens out. Pure; owned by the connection's core.
pub trait SaslMechanism: Send {
    /// Takes the client's token. Called again after [`SaslStep::Done`], it must fail.
    fn step(&mut self, token: &[u8]) -> SaslStep;
}

/// What a mechanism makes of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SaslStep {
    /// Send the token and wait for the next.
    Continue(Option<Vec<u8>>),
    /// Send the token; the client is who it says: [`super::Auth::add_sasl`] with this authorization
    /// id.
    Done { token: Option<Vec<u8>>, authorization_id: String },
    /// Answer with [`SaslReply::failure`].
    Failed,
}

/// An answer to a SASL packet that carries no token: error code in the header, null token in the
/// body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SaslReply {
    pub err: ErrorCode,
    /// Close the connection once the reply is written.
    pub close: bool,
}

impl SaslReply {
    /// The server has no mechanism: the connection goes on without the identity.
    pub const UNCONFIGURED: SaslReply = SaslReply { err: ErrorCode::Ok, close: false };

    /// The exchange failed (reference: auth-and-tls 7.2, step 4).
    pub fn failure(config: &AuthConfig) -> SaslReply {
        if config.enforces("sasl") {
            SaslReply { err: ErrorCode::SessionClosedRequireSaslAuth, close: true }
        } else if config.allow_sasl_failed_clients {
            SaslReply { err: ErrorCode::Ok, close: false }
        } else {
            SaslReply { err: ErrorCode::AuthFailed, close: true }
        }
    }
}

/// Whether `id` may stand in a `sasl` entry: any text without `@`, or a Kerberos name
/// `name[/host]@realm` whose parts hold neither `/` nor `@`.
pub(super) fn valid(id: &str) -> bool {
    let Some((name, realm)) = id.split_once('@') else { return true };
    !realm.contains(['/', '@']) && name.matches('/').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_of_entries() {
        for id in ["", "@", "bob", "bob@R", "bob/host@R", "a/b/c", "/@"] {
            assert!(valid(id), "{id}");
        }
        for id in ["a@b@c", "a/b/c@d", "a@b/c", "@@"] {
            assert!(!valid(id), "{id}");
        }
    }

    #[test]
    fn a_failure_is_answered_as_configured() {
        let failure = |properties: &[(&str, &str)]| {
            let reply = SaslReply::failure(&AuthConfig::from_properties(properties).unwrap());
            (reply.err, reply.close)
        };
        let allow = ("allowSaslFailedClients", "true");
        let require = ("sessionRequireClientSASLAuth", "true");
        let class = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
        let provider = ("authProvider.1", class);
        assert_eq!(failure(&[]), (ErrorCode::AuthFailed, true));
        assert_eq!(failure(&[allow]), (ErrorCode::Ok, false));
        let enforced = (ErrorCode::SessionClosedRequireSaslAuth, true);
        assert_eq!(failure(&[allow, require, provider]), enforced);
    }
}

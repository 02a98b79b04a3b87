//! The properties that decide about identities and permissions.

use std::fmt;

use super::digest::DigestAlgorithm;

/// Why a server with these properties must not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthConfigError {
    UnknownDigestAlgorithm(String),
    /// `enforce.auth.enabled` without `enforce.auth.schemes`.
    NoEnforcedScheme,
    /// A scheme of `enforce.auth.schemes` that no provider serves.
    EnforcedSchemeWithoutProvider(String),
}

impl fmt::Display for AuthConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthConfigError::UnknownDigestAlgorithm(name) => write!(
                f,
                "DigestAuthenticationProvider.digestAlg: unknown algorithm {name:?}; \
                 use SHA1, SHA-256, SHA-512 or SHA3-256, for example"
            ),
            AuthConfigError::NoEnforcedScheme => {
                write!(f, "enforce.auth.enabled is true but enforce.auth.schemes names no scheme")
            }
            AuthConfigError::EnforcedSchemeWithoutProvider(scheme) => write!(
                f,
                "enforce.auth.schemes: scheme {scheme:?} has no provider; \
                 add an authProvider property for it or take it off the list"
            ),
        }
    }
}

impl std::error::Error for AuthConfigError {}

/// Authentication and authorization as configured (reference: auth-and-tls 3-6 and 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthConfig {
    pub digest_enabled: bool,
    pub digest_algorithm: DigestAlgorithm,
    /// A whole digest id; who has it is super.
    pub super_digest: Option<String>,
    pub ensemble_provider: bool,
    /// Names that scheme `ensemble` accepts; `None` accepts all.
    pub ensemble_names: Option<Vec<String>>,
    pub sasl_provider: bool,
    pub x509_provider: bool,
    pub key_provider: bool,
    /// The subject that is super, in RFC 2253 form.
    pub x509_super_user: Option<String>,
    /// SASL authorization ids that are super.
    pub sasl_super_users: Vec<String>,
    /// A connection needs an identity of one of these schemes; `None` when nothing is enforced.
    pub enforced_schemes: Option<Vec<String>>,
    pub allow_sasl_failed_clients: bool,
    pub skip_acl: bool,
    pub let_any_sasl_user_do: Option<String>,
    /// `authProvider.*` classes nobody here knows: to be logged, as Apache ZooKeeper does with a
    /// class that fails to load.
    pub unknown_providers: Vec<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            ensemble_provider: false,
            ensemble_names: None,
            sasl_provider: false,
            x509_provider: false,
            key_provider: false,
            x509_super_user: None,
            sasl_super_users: Vec::new(),
            enforced_schemes: None,
            allow_sasl_failed_clients: false,
            skip_acl: false,
            let_any_sasl_user_do: None,
            unknown_providers: Vec::new(),
        }
    }
}

const PROVIDER_PACKAGE: &str = "org.apache.zookeeper.server.auth.";

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

impl AuthConfig {
    /// Reads the properties that concern authentication, named with or without the prefix
    /// `zookeeper.`, and passes over all others; of one named twice the last counts.
    /// `secureClientPort` registers the x509 provider.
    pub fn from_properties(properties: &[(&str, &str)]) -> Result<AuthConfig, AuthConfigError> {
        let mut config = AuthConfig::default();
        let mut enforced = Enforced::default();
        for (name, value) in properties {
            let name = name.strip_prefix("zookeeper.").unwrap_or(name);
            enforced.property(name, value);
            config.property(name, value)?;
        }
        config.enforced_schemes = enforced.schemes();
        config.check_enforced()?;
        Ok(config)
    }

    fn property(&mut self, name: &str, value: &str) -> Result<(), AuthConfigError> {
        match name {
            "DigestAuthenticationProvider.enabled" => self.digest_enabled = is_true(value),
            "DigestAuthenticationProvider.digestAlg" => {
                let algorithm = DigestAlgorithm::from_name(value);
                self.digest_algorithm = algorithm
                    .ok_or_else(|| AuthConfigError::UnknownDigestAlgorithm(value.to_owned()))?;
            }
            "DigestAuthenticationProvider.superDigest" => {
                self.super_digest = Some(value.to_owned());
            }
            "X509AuthenticationProvider.superUser" => {
                self.x509_super_user = Some(value.to_owned());
            }
            "ensembleAuthName" => {
                let names: Vec<String> = value.split(',').map(|name| name.trim().into()).collect();
                self.ensemble_names = (!value.trim().is_empty()).then_some(names);
            }
            "secureClientPort" => self.x509_provider = true,
            "skipACL" => self.skip_acl = value == "yes",
            "letAnySaslUserDoX" => self.let_any_sasl_user_do = Some(value.to_owned()),
            "allowSaslFailedClients" => self.allow_sasl_failed_clients = is_true(value),
            "superUser" => self.sasl_super_users.push(value.to_owned()),
            _ if name.starts_with("superUser.") => self.sasl_super_users.push(value.to_owned()),
            _ if name.starts_with("authProvider.") => self.provider_class(value),
            _ => {}
        }
        Ok(())
    }

    fn provider_class(&mut self, class: &str) {
        match class.trim().strip_prefix(PROVIDER_PACKAGE) {
            Some("SASLAuthenticationProvider") => self.sasl_provider = true,
            Some("X509AuthenticationProvider") => self.x509_provider = true,
            Some("EnsembleAuthenticationProvider") => self.ensemble_provider = true,
            Some("KeyAuthenticationProvider") => self.key_provider = true,
            // Built in; naming them again changes nothing.
            Some("DigestAuthenticationProvider" | "IPAuthenticationProvider") => {}
            _ => self.unknown_providers.push(class.to_owned()),
        }
    }

    fn check_enforced(&self) -> Result<(), AuthConfigError> {
        let Some(schemes) = &self.enforced_schemes else { return Ok(()) };
        if schemes.is_empty() {
            return Err(AuthConfigError::NoEnforcedScheme);
        }
        match schemes.iter().find(|scheme| !self.has_provider(scheme)) {
            None => Ok(()),
            Some(scheme) => Err(AuthConfigError::EnforcedSchemeWithoutProvider(scheme.clone())),
        }
    }

    fn has_provider(&self, scheme: &str) -> bool {
        super::provider::Provider::of(self, scheme).is_some()
    }

    /// Whether an identity of `scheme` is one of those a connection must have.
    pub fn enforces(&self, scheme: &str) -> bool {
        self.enforced_schemes.iter().flatten().any(|enforced| enforced == scheme)
    }
}

#[derive(Default)]
struct Enforced {
    enabled: bool,
    schemes: Vec<String>,
    require_sasl: bool,
}

impl Enforced {
    fn property(&mut self, name: &str, value: &str) {
        match name {
            "enforce.auth.enabled" => self.enabled = is_true(value),
            "enforce.auth.schemes" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.schemes = names.map(str::to_owned).collect();
            }
            "sessionRequireClientSASLAuth" => self.require_sasl = is_true(value),
            _ => {}
        }
    }

    fn schemes(self) -> Option<Vec<String>> {
        if self.require_sasl {
            return Some(vec!["sasl".to_owned()]);
        }
        self.enabled.then_some(self.schemes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> Result<AuthConfig, AuthConfigError> {
        AuthConfig::from_properties(properties)
    }

    #[test]
    fn no_properties_are_the_defaults() {
        assert_eq!(config(&[("tickTime", "2000")]), Ok(AuthConfig::default()));
    }

    #[test]
    fn properties_are_read_with_and_without_prefix() {
        let read = config(&[
            ("zookeeper.DigestAuthenticationProvider.digestAlg", "SHA-256"),
            ("DigestAuthenticationProvider.superDigest", "super:x"),
            ("DigestAuthenticationProvider.enabled", "false"),
            ("ensembleAuthName", "a, b"),
            ("authProvider.1", "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"),
            (
                "zookeeper.authProvider.k",
                "org.apache.zookeeper.server.auth.KeyAuthenticationProvider",
            ),
            ("authProvider.mine", "com.example.Mine"),
            ("secureClientPort", "2281"),
            ("skipACL", "yes"),
            ("letAnySaslUserDoX", "x"),
            ("superUser", "adam"),
            ("superUser.2", "eve"),
        ]);
        let expected = AuthConfig {
            digest_enabled: false,
            digest_algorithm: DigestAlgorithm::Sha256,
            super_digest: Some("super:x".into()),
            ensemble_names: Some(vec!["a".into(), "b".into()]),
            ensemble_provider: true,
            key_provider: true,
            unknown_providers: vec!["com.example.Mine".into()],
            x509_provider: true,
            skip_acl: true,
            let_any_sasl_user_do: Some("x".into()),
            sasl_super_users: vec!["adam".into(), "eve".into()],
            ..AuthConfig::default()
        };
        assert_eq!(read, Ok(expected));
        assert!(!config(&[("skipACL", "true")]).unwrap().skip_acl);
    }

    #[test]
    fn what_must_not_start() {
        let algorithm = config(&[("DigestAuthenticationProvider.digestAlg", "ROT13")]);
        assert_eq!(algorithm, Err(AuthConfigError::UnknownDigestAlgorithm("ROT13".into())));
        let on = ("enforce.auth.enabled", "true");
        assert_eq!(config(&[on]), Err(AuthConfigError::NoEnforcedScheme));
        let unknown = config(&[on, ("enforce.auth.schemes", "digest,sasl")]);
        let expected = AuthConfigError::EnforcedSchemeWithoutProvider("sasl".into());
        assert_eq!(unknown, Err(expected.clone()));
        assert_eq!(config(&[("sessionRequireClientSASLAuth", "true")]), Err(expected));
        let good = config(&[on, ("enforce.auth.schemes", " digest , ip ")]).unwrap();
        assert!(good.enforces("digest") && good.enforces("ip") && !good.enforces("sasl"));
        let off = config(&[("enforce.auth.schemes", "nonsense")]).unwrap();
        assert!(!off.enforces("nonsense"));
    }
}

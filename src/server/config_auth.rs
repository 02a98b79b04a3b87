//! Providers named by their Java classes, and what must hold between the authentication keys
//! (reference: configuration 9, 10).

use super::config::Config;
use super::config_reader::{Found, Reader};

/// Schemes beyond the built-in ones, as the file registers them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthProviders {
    /// Scheme name and the provider behind it. A secure client port registers `x509` by itself.
    pub schemes: Vec<(String, AuthProvider)>,
    /// Values of `superUser.*`: SASL ids with all rights, besides `superUser`.
    pub super_users: Vec<String>,
}

/// The providers of Apache ZooKeeper that exist here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthProvider {
    Sasl,
    X509,
    Ensemble,
    Key,
    Digest,
    Ip,
}

impl AuthProvider {
    /// The provider of an Apache class name, and the scheme it registers under.
    fn of_class(class: &str) -> Option<(AuthProvider, &'static str)> {
        let name = class.strip_prefix("org.apache.zookeeper.server.auth.")?;
        Some(match name {
            "SASLAuthenticationProvider" => (AuthProvider::Sasl, "sasl"),
            "X509AuthenticationProvider" => (AuthProvider::X509, "x509"),
            "EnsembleAuthenticationProvider" => (AuthProvider::Ensemble, "ensemble"),
            "KeyAuthenticationProvider" => (AuthProvider::Key, "key"),
            "DigestAuthenticationProvider" => (AuthProvider::Digest, "digest"),
            "IPAuthenticationProvider" => (AuthProvider::Ip, "ip"),
            _ => return None,
        })
    }
}

/// Collects `authProvider.*` and `superUser.*`, from the flags and then the file.
pub(super) fn read(reader: &mut Reader<'_>) -> AuthProviders {
    let mut providers = AuthProviders::default();
    for found in with_prefix(reader, "authProvider.") {
        match AuthProvider::of_class(&found.value) {
            Some((provider, scheme)) => {
                let entry = (scheme.to_owned(), provider);
                if !providers.schemes.contains(&entry) {
                    providers.schemes.push(entry);
                }
            }
            None => reader.warn(format!("{}: Problems loading {}", found.place, found.value)),
        }
    }
    providers.super_users =
        with_prefix(reader, "superUser.").into_iter().map(|found| found.value).collect();
    providers
}

fn with_prefix(reader: &mut Reader<'_>, prefix: &str) -> Vec<Found> {
    let from_flags: Vec<String> = reader
        .flags
        .properties
        .keys()
        .filter_map(|name| name.strip_prefix("zookeeper."))
        .map(str::to_owned)
        .collect();
    let from_file = reader.properties.iter().map(|entry| entry.key.clone());
    let mut keys: Vec<String> =
        from_flags.into_iter().chain(from_file).filter(|key| key.starts_with(prefix)).collect();
    keys.sort();
    keys.dedup();
    keys.iter().filter_map(|key| reader.find(key)).collect()
}

/// Refuses what would leave a port or a rule without the scheme it needs.
pub(super) fn check(reader: &mut Reader<'_>, config: &Config) {
    let scheme = &config.client_tls.auth_provider;
    let registered = |name: &str| {
        config.auth_providers.schemes.iter().any(|(known, _)| known == name)
            || reader_has(config, name)
    };
    let named = reader.find(&format!("authProvider.{scheme}")).is_some();
    if config.secure_client_address.is_some() && scheme != "x509" && !named {
        reader.file_problem(
            format!("No auth provider configured for the SSL authentication scheme '{scheme}'."),
            "x509, or a scheme registered with authProvider.<scheme>",
        );
    }
    if !config.auth.enforce {
        return;
    }
    if config.auth.enforce_schemes.is_empty() {
        reader.file_problem(
            "zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes must be  \
             configured.",
            "enforce.auth.schemes=<scheme>,...",
        );
    }
    for scheme in &config.auth.enforce_schemes {
        if !registered(scheme) {
            reader.file_problem(
                format!("Authentication scheme {scheme} is not available."),
                "digest, ip, or a scheme registered with authProvider.<name>",
            );
        }
    }
}

/// Schemes that are there without being named.
fn reader_has(config: &Config, name: &str) -> bool {
    match name {
        "ip" => true,
        "digest" => config.auth.digest,
        "x509" => config.secure_client_address.is_some(),
        "sasl" => config.auth.jaas_file.is_some(),
        _ => false,
    }
}

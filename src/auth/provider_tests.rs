use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

fn auth(properties: &[(&str, &str)]) -> Auth {
    Auth::new(AuthConfig::from_properties(properties).unwrap())
}

fn class(name: &str) -> String {
    format!("org.apache.zookeeper.server.auth.{name}AuthenticationProvider")
}

fn addauth(auth: &Auth, scheme: &str, bytes: Option<&[u8]>) -> AuthOutcome {
    auth.addauth(&Identities::of_peer(PEER), Some(scheme.as_bytes()), bytes, PEER)
}

fn ids(outcome: AuthOutcome) -> Vec<(String, String)> {
    let AuthOutcome::Ok(ids) = outcome else { panic!("{outcome:?}") };
    ids.iter().map(|identity| (identity.scheme.to_string(), identity.id.to_string())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(scheme, id)| (scheme.to_string(), id.to_string())).collect()
}

#[test]
fn a_connection_starts_with_its_address_and_gathers_identities_once_each() {
    let auth = auth(&[]);
    let start = Identities::of_peer("::1".parse().unwrap());
    let AuthOutcome::Ok(once) = auth.addauth(&start, Some(b"digest"), Some(b"bob:pw"), PEER) else {
        panic!("digest must pass");
    };
    let AuthOutcome::Ok(twice) = auth.addauth(&once, Some(b"digest"), Some(b"bob:pw"), PEER) else {
        panic!("digest must pass");
    };
    assert_eq!(once, twice);
    let expected = pairs(&[("ip", "0:0:0:0:0:0:0:1"), ("digest", BOB)]);
    assert_eq!(ids(AuthOutcome::Ok(twice)), expected);
    // The snapshot taken before is what it was.
    assert_eq!(start.iter().count(), 1);
}

#[test]
fn schemes_without_a_provider_fail() {
    let auth = auth(&[]);
    for scheme in ["world", "auth", "super", "", "nonsense", "sasl", "x509", "ensemble", "key"] {
        let outcome = addauth(&auth, scheme, Some(b"x"));
        assert_eq!(outcome, AuthOutcome::FailedReplyAndClose, "{scheme}");
    }
    let ids = Identities::of_peer(PEER);
    for scheme in [None, Some(&b"\xff"[..])] {
        let outcome = auth.addauth(&ids, scheme, Some(b"x"), PEER);
        assert_eq!(outcome, AuthOutcome::FailedReplyAndClose);
    }
}

#[test]
fn digest() {
    let plain = auth(&[]);
    assert_eq!(addauth(&plain, "digest", None), AuthOutcome::FailedReplyAndClose);
    let empty = ids(addauth(&plain, "digest", Some(b"")));
    assert_eq!(empty[1], ("digest".into(), ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=".into()));
    let off = auth(&[("DigestAuthenticationProvider.enabled", "false")]);
    assert_eq!(addauth(&off, "digest", Some(b"bob:pw")), AuthOutcome::FailedReplyAndClose);
    // The user part of superDigest may be any name, and the digest identity is added too.
    let boss = auth(&[("DigestAuthenticationProvider.superDigest", BOB)]);
    let expected = pairs(&[("ip", "10.0.0.1"), ("digest", BOB), ("super", "")]);
    assert_eq!(ids(addauth(&boss, "digest", Some(b"bob:pw"))), expected);
    assert_eq!(ids(addauth(&boss, "digest", Some(b"bob:pv"))).len(), 2);
}

#[test]
fn ip_sasl_and_x509_through_addauth() {
    let auth = auth(&[("authProvider.1", &class("SASL")), ("authProvider.2", &class("X509"))]);
    assert_eq!(ids(addauth(&auth, "ip", None)), pairs(&[("ip", "10.0.0.1")]));
    assert_eq!(addauth(&auth, "sasl", Some(b"bob")), AuthOutcome::FailedReplyAndClose);
    assert_eq!(addauth(&auth, "x509", Some(b"CN=a")), AuthOutcome::FailedReplyAndClose);
}

#[test]
fn ensemble() {
    let provider = class("Ensemble");
    let provider = ("authProvider.e", &*provider);
    let any = auth(&[provider]);
    assert_eq!(ids(addauth(&any, "ensemble", Some(b"x"))), pairs(&[("ip", "10.0.0.1")]));
    let named = auth(&[provider, ("ensembleAuthName", "one,two")]);
    for accepted in [None, Some(&b""[..]), Some(b"one"), Some(b"two")] {
        assert!(matches!(addauth(&named, "ensemble", accepted), AuthOutcome::Ok(_)));
    }
    assert_eq!(addauth(&named, "ensemble", Some(b"three")), AuthOutcome::CloseSilently);
}

#[test]
fn key() {
    let auth = auth(&[("authProvider.k", &class("Key"))]);
    let start = Identities::of_peer(PEER);
    let key = |bytes: &[u8], node| auth.addauth_key(&start, Some(bytes), node);
    let node = Some(&b"25"[..]);
    assert_eq!(ids(key(b"100", node))[1], ("key".into(), "25".into()));
    assert_eq!(ids(key(b"7", None))[1], ("key".into(), "".into()));
    let failing = [(&b"24"[..], node), (b"x", node), (b"4", Some(b"0")), (b"4", Some(b"x"))];
    for (bytes, node) in failing {
        assert_eq!(key(bytes, node), AuthOutcome::FailedReplyAndClose, "{bytes:?}");
    }
    assert_eq!(auth.addauth_key(&start, None, node), AuthOutcome::FailedReplyAndClose);
}

#[test]
fn sasl_and_certificates_add_identities_and_super() {
    let auth =
        auth(&[("superUser.1", "root"), ("X509AuthenticationProvider.superUser", "CN=boss")]);
    let start = Identities::none();
    let bob = auth.add_sasl(&start, "bob");
    assert_eq!(ids(AuthOutcome::Ok(bob.clone())), pairs(&[("sasl", "bob")]));
    assert!(!bob.is_super());
    let root = auth.add_sasl(&bob, "root");
    assert!(root.is_super());
    assert_eq!(root.iter().last(), Some(&Identity::new("super", "")));
    assert!(!auth.add_x509(&start, "CN=bob").is_super());
    let boss = auth.add_x509(&start, "CN=boss");
    assert_eq!(ids(AuthOutcome::Ok(boss)), pairs(&[("x509", "CN=boss"), ("super", "CN=boss")]));
}

#[test]
fn who_am_i_shows_users() {
    let auth = auth(&[("DigestAuthenticationProvider.superDigest", BOB)]);
    let AuthOutcome::Ok(ids) = addauth(&auth, "digest", Some(b"bob:pw")) else { panic!("digest") };
    let ids = auth.add_sasl(&ids, "carol");
    let expected = [("ip", "10.0.0.1"), ("digest", "bob"), ("super", ""), ("sasl", "")];
    assert_eq!(auth.who_am_i(&ids), expected);
    let registered = Auth::new(AuthConfig { sasl_provider: true, ..auth.config().clone() });
    assert_eq!(registered.who_am_i(&ids)[3], ("sasl", "carol"));
}

#[test]
fn enforced_schemes() {
    let start = Identities::of_peer(PEER);
    assert!(auth(&[]).meets_enforced(&start));
    let on = ("enforce.auth.enabled", "true");
    let digest = auth(&[on, ("enforce.auth.schemes", "digest")]);
    assert!(!digest.meets_enforced(&start));
    assert!(digest.meets_enforced(&start.with(Identity::new("digest", BOB))));
    assert!(!digest.meets_enforced(&start.with(Identity::new("sasl", "bob"))));
    // An address is always there.
    assert!(auth(&[on, ("enforce.auth.schemes", "digest,ip")]).meets_enforced(&start));
}

use super::super::config::AuthConfig;
use super::super::identity::Identity;
use super::*;
use crate::wire::Reader;
use crate::wire::acl::perms::{ADMIN, ALL, CREATE, READ, WRITE};

type Spec<'a> = (i32, Option<&'a [u8]>, Option<&'a [u8]>);

fn spec<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Spec<'a> {
    (perms, Some(scheme.as_bytes()), Some(id.as_bytes()))
}

fn encoded(specs: &[Spec<'_>]) -> Vec<u8> {
    let entries = specs.iter().map(|(perms, scheme, id)| AclEntry {
        perms: *perms,
        scheme: *scheme,
        id: *id,
    });
    let mut out = Vec::new();
    encode_acl_list(entries, &mut out);
    out
}

fn list(bytes: &[u8]) -> AclList<'_> {
    AclList::decode(&mut Reader::new(bytes)).unwrap().unwrap()
}

fn auth() -> Auth {
    Auth::new(AuthConfig { sasl_provider: true, x509_provider: true, ..AuthConfig::default() })
}

fn people(identities: &[(&str, &str)]) -> Identities {
    let start = Identities::of_peer("10.1.2.3".parse().unwrap());
    identities.iter().fold(start, |ids, (scheme, id)| ids.with(Identity::new(scheme, id)))
}

fn check(auth: &Auth, specs: &[Spec<'_>], perm: i32, identities: &[(&str, &str)]) -> bool {
    auth.check_acl(list(&encoded(specs)), perm, &people(identities))
}

fn fixup(auth: &Auth, specs: &[Spec<'_>], ids: &Identities) -> Result<Vec<u8>, ErrorCode> {
    let bytes = encoded(specs);
    auth.fixup_acl(Some(list(&bytes)), ids).map(Cow::into_owned)
}

#[test]
fn world_open_and_empty_lists() {
    let auth = auth();
    assert!(auth.check_acl(OPEN_ACL_UNSAFE, WRITE, &Identities::none()));
    assert!(auth.check_acl(list(&[0; 4]), ADMIN, &Identities::none()));
    let read_only = [spec(READ, "world", "anyone")];
    assert!(check(&auth, &read_only, READ, &[]));
    assert!(check(&auth, &read_only, READ | ADMIN, &[]));
    assert!(!check(&auth, &read_only, WRITE, &[]));
    assert!(!check(&auth, &[spec(ALL, "world", "someone")], READ, &[]));
    assert!(check(&auth, &[spec(-1, "world", "anyone")], ADMIN, &[]));
    assert!(!check(&auth, &[spec(0, "world", "anyone")], READ, &[]));
}

#[test]
fn entries_match_by_scheme_and_provider() {
    let auth = auth();
    let bob = [("digest", "bob:h")];
    assert!(check(&auth, &[spec(ALL, "digest", "bob:h")], CREATE, &bob));
    assert!(!check(&auth, &[spec(ALL, "digest", "bob:i")], CREATE, &bob));
    assert!(!check(&auth, &[spec(ALL, "sasl", "bob:h")], CREATE, &bob));
    let second = [spec(ALL, "digest", "al:h"), spec(READ, "digest", "bob:h")];
    assert!(check(&auth, &second, READ, &bob));
    assert!(!check(&auth, &second, WRITE, &bob));
    assert!(check(&auth, &[spec(ALL, "ip", "10.1.0.0/16")], READ, &[]));
    assert!(!check(&auth, &[spec(ALL, "ip", "10.2.0.0/16")], READ, &[]));
    // Several identities of one scheme: any of them will do.
    let two = [("digest", "al:h"), ("digest", "bob:h")];
    assert!(check(&auth, &[spec(ALL, "digest", "bob:h")], READ, &two));
    // An entry whose provider is missing matches nobody, though the identity is there.
    let off = Auth::new(AuthConfig { digest_enabled: false, ..AuthConfig::default() });
    assert!(!check(&off, &[spec(ALL, "digest", "bob:h")], READ, &bob));
    assert!(!check(&off, &[spec(ALL, "sasl", "bob")], READ, &[("sasl", "bob")]));
    assert!(!check(&auth, &[spec(ALL, "ensemble", "e")], READ, &[("ensemble", "e")]));
}

#[test]
fn super_and_skip_acl_pass_everything() {
    let nobody = [spec(0, "digest", "x:y")];
    assert!(!check(&auth(), &nobody, ADMIN, &[]));
    assert!(check(&auth(), &nobody, ADMIN, &[("super", "")]));
    assert!(check(&auth(), &nobody, ADMIN, &[("super", "CN=boss")]));
    let skip = Auth::new(AuthConfig { skip_acl: true, ..AuthConfig::default() });
    assert!(check(&skip, &nobody, ADMIN, &[]));
    // Syntax is looked at all the same.
    let none = Identities::none();
    assert_eq!(fixup(&skip, &[spec(ALL, "digest", "u")], &none), Err(ErrorCode::InvalidAcl));
}

#[test]
fn sasl_and_x509_oddities() {
    let bob = [spec(ALL, "sasl", "bob")];
    assert!(check(&auth(), &bob, READ, &[("sasl", "bob")]));
    assert!(!check(&auth(), &bob, READ, &[("sasl", "al")]));
    // A user who is literally called super matches sasl entries, and no others.
    assert!(check(&auth(), &bob, READ, &[("sasl", "super")]));
    assert!(!check(&auth(), &[spec(ALL, "digest", "a:b")], READ, &[("sasl", "super")]));
    let any = AuthConfig { let_any_sasl_user_do: Some("x".into()), ..auth().config().clone() };
    let any = Auth::new(any);
    assert!(check(&any, &[spec(ALL, "sasl", "x")], READ, &[("sasl", "al")]));
    assert!(!check(&any, &bob, READ, &[("sasl", "x")]));
    let boss = AuthConfig { x509_super_user: Some("CN=b".into()), ..auth().config().clone() };
    assert!(check(&Auth::new(boss), &[spec(ALL, "x509", "CN=z")], READ, &[("x509", "CN=b")]));
    assert!(!check(&auth(), &[spec(ALL, "x509", "CN=z")], READ, &[("x509", "CN=b")]));
}

#[test]
fn lists_that_are_refused() {
    let auth = auth();
    let ids = people(&[("digest", "bob:h")]);
    assert_eq!(auth.fixup_acl(None, &ids), Err(ErrorCode::InvalidAcl));
    assert_eq!(auth.fixup_acl(Some(list(&[0; 4])), &ids), Err(ErrorCode::InvalidAcl));
    let invalid = [
        spec(ALL, "world", "someone"),
        spec(ALL, "digest", "u"),
        spec(ALL, "ip", "1.2.3"),
        spec(ALL, "sasl", "a@b@c"),
        spec(ALL, "super", ""),
        spec(ALL, "ensemble", "e"),
        spec(ALL, "nonsense", "x"),
        (ALL, None, Some(b"x")),
        (ALL, Some(b"nonsense"), None),
    ];
    for entry in invalid {
        let open = spec(READ, "world", "anyone");
        assert_eq!(fixup(&auth, &[open, entry], &ids), Err(ErrorCode::InvalidAcl), "{entry:?}");
    }
    for scheme in ["world", "digest", "ip", "sasl", "x509"] {
        let entry = (ALL, Some(scheme.as_bytes()), None);
        let refused = fixup(&auth, &[entry], &ids);
        assert_eq!(refused, Err(ErrorCode::MarshallingError), "{scheme}");
    }
    // Beside a kept entry of the same permissions Java stumbles over the null before it looks at the scheme.
    let open = spec(ALL, "world", "anyone");
    let refused = fixup(&auth, &[open, (ALL, None, Some(b"x"))], &ids);
    assert_eq!(refused, Err(ErrorCode::MarshallingError));
}

#[test]
fn the_open_list_and_good_lists_come_back_as_they_were() {
    let auth = auth();
    let ids = people(&[]);
    let open = auth.fixup_acl(Some(OPEN_ACL_UNSAFE), &ids).unwrap();
    assert!(matches!(open, Cow::Borrowed(bytes) if bytes == OPEN_ACL_UNSAFE.as_bytes()));
    let good = [
        spec(-1, "world", "anyone"),
        spec(0, "digest", "u:h"),
        spec(READ, "ip", "::1/64"),
        spec(READ, "sasl", ""),
        spec(READ, "x509", ""),
    ];
    assert_eq!(fixup(&auth, &good, &ids), Ok(encoded(&good)));
}

#[test]
fn auth_stands_for_the_users_of_the_connection() {
    let auth = auth();
    let entry = [spec(READ, "auth", "whatever")];
    assert_eq!(fixup(&auth, &entry, &people(&[])), Err(ErrorCode::InvalidAcl));
    // Neither the address nor super is a user.
    let only_super = people(&[("super", "")]);
    assert_eq!(fixup(&auth, &entry, &only_super), Err(ErrorCode::InvalidAcl));
    let ids = people(&[("digest", "bob:h"), ("super", ""), ("sasl", "bob")]);
    let expected = encoded(&[spec(READ, "digest", "bob:h"), spec(READ, "sasl", "bob")]);
    assert_eq!(fixup(&auth, &entry, &ids), Ok(expected.clone()));
    assert_eq!(fixup(&auth, &[(READ, Some(b"auth"), None)], &ids), Ok(expected));
    // A scheme whose provider is not loaded does not count.
    let plain = Auth::new(AuthConfig::default());
    let expected = encoded(&[spec(READ, "digest", "bob:h")]);
    assert_eq!(fixup(&plain, &entry, &ids), Ok(expected));
}

#[test]
fn repetitions_go_before_expansion_and_stay_after_it() {
    let auth = auth();
    let bob = spec(READ, "digest", "bob:h");
    let (al, user) = (spec(READ, "digest", "al:h"), spec(READ, "auth", ""));
    let given = [bob, al, bob, user, user, spec(WRITE, "digest", "bob:h")];
    let stored = [bob, al, bob, spec(WRITE, "digest", "bob:h")];
    assert_eq!(fixup(&auth, &given, &people(&[("digest", "bob:h")])), Ok(encoded(&stored)));
}

#[test]
fn bytes_that_are_not_utf_8_are_replaced_before_anything_else() {
    let auth = auth();
    let given: [Spec<'_>; 2] =
        [(READ, Some(b"digest"), Some(b"u:\xff")), (READ, Some(b"digest"), Some(b"u:\xfe"))];
    let stored = [spec(READ, "digest", "u:\u{fffd}")];
    assert_eq!(fixup(&auth, &given, &people(&[])), Ok(encoded(&stored)));
}

#[test]
fn readers_see_digest_users_without_hashes() {
    let open = mask_digests(OPEN_ACL_UNSAFE);
    assert!(matches!(open, Cow::Borrowed(bytes) if bytes == OPEN_ACL_UNSAFE.as_bytes()));
    let given = encoded(&[
        spec(ALL, "digest", "bob:h"),
        spec(READ, "sasl", "a:b"),
        spec(READ, "digest", "a:b:"),
        spec(READ, "digest", "odd"),
    ]);
    let shown = encoded(&[
        spec(ALL, "digest", "bob:x"),
        spec(READ, "sasl", "a:b"),
        spec(READ, "digest", "a:x"),
        spec(READ, "digest", "odd"),
    ]);
    assert_eq!(*mask_digests(list(&given)), *shown);
}

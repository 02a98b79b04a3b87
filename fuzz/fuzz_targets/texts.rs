//! What clients write as text or lists and the server reads later: quotas, identities, ACLs, paths; and the small
//! records of replies.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use ringkeeper::auth::{Auth, AuthConfig, AuthOutcome, Identities, mask_digests};
use ringkeeper::tree::QuotaText;
use ringkeeper::tree::path;
use ringkeeper::wire::acl::perms;
use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::{AclList, Reader, Stat, StatPersisted};

fn round_trips(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok(header) = ReplyHeader::decode(&mut Reader::new(bytes)) {
        header.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(stat) = Stat::decode(&mut Reader::new(bytes)) {
        stat.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(stat) = StatPersisted::decode(&mut Reader::new(bytes)) {
        stat.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    if let Ok(quota) = QuotaText::parse(Some(bytes)) {
        let again = QuotaText::parse(Some(&quota.encode())).expect("what was encoded");
        assert_eq!((again.count(), again.bytes()), (quota.count(), quota.bytes()));
    }
}

fn identities(auth: &Auth, bytes: &[u8]) -> Identities {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (scheme, id) = (parts.next(), parts.next());
    let ip = IpAddr::V6(Ipv6Addr::from_bits(bytes.len() as u128));
    match auth.addauth(&Identities::none(), scheme, id, ip) {
        AuthOutcome::Ok(ids) => ids,
        _ => Identities::of_peer(ip),
    }
}

fn lists(auth: &Auth, ids: &Identities, bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let Ok(list) = AclList::decode(&mut r) else { return };
    if let Some(list) = list {
        let masked = mask_digests(list);
        let masked = AclList::decode(&mut Reader::new(&masked)).expect("a list").expect("a list");
        assert_eq!(masked.len(), list.len());
        for perm in [perms::READ, perms::ADMIN] {
            auth.check_acl(list, perm, ids);
        }
    }
    if let Ok(stored) = auth.fixup_acl(list, ids) {
        let stored = AclList::decode(&mut Reader::new(&stored)).expect("a list").expect("a list");
        assert_eq!(stored.iter().count(), stored.len());
        auth.check_acl(stored, perms::READ, ids);
    }
}

fuzz_target!(|bytes: &[u8]| {
    round_trips(bytes);
    if path::validate(bytes) && !path::is_root(bytes) {
        let (parent, name) = (path::parent(bytes).expect("not the root"), path::name(bytes));
        assert_eq!([parent, b"/", name].concat(), bytes);
    }
    let auth = Auth::new(AuthConfig::default());
    let ids = identities(&auth, bytes);
    lists(&auth, &ids, bytes);
});

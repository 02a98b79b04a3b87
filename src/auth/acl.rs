//! Decisions over access control lists (reference: data-model 10).

use std::borrow::Cow;

use super::identity::Identities;
use super::provider::Auth;
use crate::wire::acl::{OPEN_ACL_UNSAFE, encode_acl_list};
use crate::wire::{AclEntry, AclList, ErrorCode};

const WORLD: &[u8] = b"world";
const ANYONE: &[u8] = b"anyone";

fn is_world_anyone(entry: &AclEntry<'_>) -> bool {
    entry.scheme == Some(WORLD) && entry.id == Some(ANYONE)
}

/// An entry with its strings decoded; a request may leave either out.
struct Decoded<'a> {
    perms: i32,
    scheme: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
}

impl Decoded<'_> {
    fn encodable(&self) -> AclEntry<'_> {
        AclEntry {
            perms: self.perms,
            scheme: self.scheme.as_ref().map(|scheme| scheme.as_bytes()),
            id: self.id.as_ref().map(|id| id.as_bytes()),
        }
    }
}

impl Auth {
    /// Whether someone with `ids` has one of the permissions in `perm` (reference: data-model
    /// 10.4). An empty list allows everything. `ids` are those present when the request was
    /// received, or for watch events those of now.
    pub fn check_acl(&self, list: AclList<'_>, perm: i32, ids: &Identities) -> bool {
        if list.as_bytes() == OPEN_ACL_UNSAFE.as_bytes() && perm & crate::wire::acl::perms::ALL != 0
        {
            return true;
        }
        if self.config.skip_acl || ids.is_super() || list.is_empty() {
            return true;
        }
        list.iter().any(|entry| {
            entry.perms & perm != 0 && (is_world_anyone(&entry) || self.entry_means(&entry, ids))
        })
    }

    fn entry_means(&self, entry: &AclEntry<'_>, ids: &Identities) -> bool {
        let (Some(scheme), Some(id)) = (entry.scheme, entry.id) else { return false };
        let mut same_scheme =
            ids.iter().filter(|identity| identity.scheme.as_bytes() == scheme).peekable();
        let Some(first) = same_scheme.peek() else { return false };
        let Some(provider) = self.provider(&first.scheme) else { return false };
        let id = String::from_utf8_lossy(id);
        same_scheme.any(|identity| provider.matches(&self.config, &identity.id, &id))
    }

    /// Checks and expands the list of a create or setACL request into what is stored, encoded
    /// (reference: data-model 10.3). The open list comes back as it was given.
    ///
    /// Errors: InvalidAcl; MarshallingError where a null id meets a scheme that looks at it.
    pub fn fixup_acl<'a>(
        &self,
        list: Option<AclList<'a>>,
        ids: &Identities,
    ) -> Result<Cow<'a, [u8]>, ErrorCode> {
        let list = list.filter(|list| !list.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
        if list.as_bytes() == OPEN_ACL_UNSAFE.as_bytes() {
            return Ok(Cow::Borrowed(list.as_bytes()));
        }
        let entries = distinct(list)?;
        let mut stored: Vec<AclEntry<'_>> = Vec::with_capacity(entries.len());
        for entry in &entries {
            if entry.scheme.as_deref() == Some("auth") {
                let before = stored.len();
                let users = ids.iter().filter(|identity| {
                    self.provider(&identity.scheme).is_some_and(|found| found.authenticates())
                });
                stored.extend(users.map(|identity| AclEntry {
                    perms: entry.perms,
                    scheme: Some(identity.scheme.as_bytes()),
                    id: Some(identity.id.as_bytes()),
                }));
                if stored.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            } else {
                self.validate(entry)?;
                stored.push(entry.encodable());
            }
        }
        let mut out = Vec::with_capacity(list.as_bytes().len());
        encode_acl_list(stored.into_iter(), &mut out);
        Ok(Cow::Owned(out))
    }

    fn validate(&self, entry: &Decoded<'_>) -> Result<(), ErrorCode> {
        let scheme = entry.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        if scheme == "world" {
            return match entry.id.as_deref() {
                None => Err(ErrorCode::MarshallingError),
                Some("anyone") => Ok(()),
                Some(_) => Err(ErrorCode::InvalidAcl),
            };
        }
        let provider = self.provider(scheme).ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id.as_deref().ok_or(ErrorCode::MarshallingError)?;
        if provider.valid(id) { Ok(()) } else { Err(ErrorCode::InvalidAcl) }
    }
}

/// The entries as strings, without exact repetitions. Bytes that are not UTF-8 are U+FFFD from here
/// on, as they are in Java from the moment the request is read; so they are before entries are
/// compared.
///
/// Errors: MarshallingError where Java, comparing an entry with the kept ones before it field by field, meets a null
/// of the later one: its scheme beside an entry of the same permissions, its id beside one of the same scheme too.
fn distinct(list: AclList<'_>) -> Result<Vec<Decoded<'_>>, ErrorCode> {
    let mut seen = std::collections::HashSet::with_hasher(ahash::RandomState::new());
    let mut perms_seen = std::collections::HashSet::with_hasher(ahash::RandomState::new());
    let mut schemes_seen = std::collections::HashSet::with_hasher(ahash::RandomState::new());
    let entries = list.iter().map(|entry| Decoded {
        perms: entry.perms,
        scheme: entry.scheme.map(String::from_utf8_lossy),
        id: entry.id.map(String::from_utf8_lossy),
    });
    let mut kept = Vec::new();
    for entry in entries {
        let same_perms = !perms_seen.insert(entry.perms);
        let same_scheme = !schemes_seen.insert((entry.perms, entry.scheme.clone()));
        if (same_perms && entry.scheme.is_none()) || (same_scheme && entry.id.is_none()) {
            return Err(ErrorCode::MarshallingError);
        }
        if seen.insert((entry.perms, entry.scheme.clone(), entry.id.clone())) {
            kept.push(entry);
        }
    }
    Ok(kept)
}

/// What getACL shows to someone who may read but not administer: digest ids as `user:x` (reference:
/// data-model 10.5). A list without digest entries comes back as it was given.
pub fn mask_digests(list: AclList<'_>) -> Cow<'_, [u8]> {
    if !list.iter().any(|entry| entry.scheme == Some(b"digest")) {
        return Cow::Borrowed(list.as_bytes());
    }
    let ids: Vec<Option<Vec<u8>>> = list.iter().map(|entry| masked(&entry)).collect();
    let entries = list
        .iter()
        .zip(&ids)
        .map(|(entry, masked)| AclEntry { id: masked.as_deref().or(entry.id), ..entry });
    let entries: Vec<AclEntry<'_>> = entries.collect();
    let mut out = Vec::with_capacity(list.as_bytes().len());
    encode_acl_list(entries.into_iter(), &mut out);
    Cow::Owned(out)
}

fn masked(entry: &AclEntry<'_>) -> Option<Vec<u8>> {
    let id = entry.id.filter(|_| entry.scheme == Some(b"digest"))?;
    let colon = id.iter().position(|byte| *byte == b':')?;
    Some([&id[..colon], b":x"].concat())
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;

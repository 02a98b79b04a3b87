//! Paths: validity, parts, the reserved names and the suffix of sequential nodes (reference:
//! data-model 2, 3).
//!
//! Paths are raw UTF-8 bytes throughout. The root is known as `/` and as the empty path.

/// The root as clients write it.
pub const ROOT: &[u8] = b"/";
/// The parent of all system nodes; itself an ordinary node that cannot be deleted.
pub const ZOOKEEPER: &[u8] = b"/zookeeper";
/// Where quotas are kept.
pub const QUOTA: &[u8] = b"/zookeeper/quota";
/// The ensemble's configuration.
pub const CONFIG: &[u8] = b"/zookeeper/config";
/// Name of the node that holds the limits of a quota.
pub const LIMITS_NAME: &[u8] = b"zookeeper_limits";
/// Name of the node that holds the usage under a quota.
pub const STATS_NAME: &[u8] = b"zookeeper_stats";

/// True for the four nodes that a client can never delete.
pub fn is_special(path: &[u8]) -> bool {
    path == ROOT || path == ZOOKEEPER || path == QUOTA || path == CONFIG
}

/// True for the two spellings of the root.
pub fn is_root(path: &[u8]) -> bool {
    path.is_empty() || path == ROOT
}

/// True for paths whose nodes do not count in the tree's digest (reference: disk-format 5.1).
pub fn is_outside_digest(path: &[u8]) -> bool {
    path.starts_with(b"/zookeeper/")
}

/// The part before the last slash: empty, which is the root, for `/x`. `None` without any slash.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|at| &path[..at])
}

/// The part after the last slash; the whole path when there is none.
pub fn name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(path, |at| &path[at + 1..])
}

/// The first part, by which traffic is told apart; `None` for the root.
pub fn top(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b"/")?.split(|&byte| byte == b'/').next().filter(|top| !top.is_empty())
}

/// The full rule for the path of a node. Malformed UTF-8 is invalid because Java turns it into
/// U+FFFD, which is.
pub fn validate(path: &[u8]) -> bool {
    if path == ROOT {
        return true;
    }
    let Some(b"/") = path.get(..1) else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(path) else {
        return false;
    };
    if text.chars().any(is_forbidden) {
        return false;
    }
    path[1..].split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Java looks at UTF-16 units: everything outside the basic plane is made of surrogates, which are
/// forbidden.
fn is_forbidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{10000}'..
    )
}

/// Appends the suffix of a sequential node: Java's `%010d` of the parent's stored cversion.
pub fn push_sequence(path: &mut Vec<u8>, cversion: i32) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    let _ = write!(path, "{cversion:010}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_paths() {
        for good in ["/", "/a", "/a/b", "/...", "/.a", "/a..b", "/ä", "/\u{a0}", "/\u{d7ff}x"] {
            assert!(validate(good.as_bytes()), "{good:?}");
        }
        for edge in ["/\u{f900}", "/\u{ffef}"] {
            assert!(validate(edge.as_bytes()), "{edge:?}");
        }
        let bad: [&[u8]; 21] = [
            b"",
            b"a",
            b"a/b",
            b"/a/",
            b"//",
            b"//a",
            b"/a//b",
            b"/.",
            b"/..",
            b"/a/./b",
            b"/a/..",
            b"/a\0",
            b"/a\x01",
            b"/a\x1f",
            b"/a\x7f",
            "/\u{9f}".as_bytes(),
            "/\u{e000}".as_bytes(),
            "/\u{f8ff}".as_bytes(),
            "/\u{fff0}".as_bytes(),
            "/\u{1f600}".as_bytes(),
            b"/\xff",
        ];
        for path in bad {
            assert!(!validate(path), "{path:?}");
        }
        assert!(!validate(b"/\xed\xa0\x80"), "a surrogate spelled in bytes");
    }

    #[test]
    fn parts_of_paths() {
        assert_eq!((parent(b"/a"), name(b"/a")), (Some(&b""[..]), &b"a"[..]));
        assert_eq!((parent(b"/a/b"), name(b"/a/b")), (Some(&b"/a"[..]), &b"b"[..]));
        assert_eq!((parent(b"a"), name(b"a")), (None, &b"a"[..]));
        assert_eq!((parent(b"/a/"), name(b"/a/")), (Some(&b"/a"[..]), &b""[..]));
    }

    #[test]
    fn sequence_suffix_as_java_formats_it() {
        let suffix = |n| {
            let mut out = b"/p-".to_vec();
            push_sequence(&mut out, n);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(suffix(0), "/p-0000000000");
        assert_eq!(suffix(2_147_483_647), "/p-2147483647");
        assert_eq!(suffix(i32::MIN), "/p--2147483648");
        assert_eq!(suffix(-1), "/p--000000001");
    }
}

//! Paths, data, versions and access control lists, good and bad.

use super::generator::{Generator, show};
use crate::support::bodies::{self, Entry};

/// What `addauth digest` takes to become the super user of these tests.
pub const SUPER: &str = "super:secret";

/// Paths that are wrong, or legal and rarely seen.
const ODD_PATHS: &[&[u8]] = &[
    b"",
    b"/",
    b"a",
    b"/a/",
    b"//a",
    b"/a//b",
    b"/a/./b",
    b"/a/..",
    b"/a/...",
    b"/.a",
    b"/zz/",
    b"/a\0b",
    b"/a\x01",
    b"/a\x7f",
    b"/a\xc2\x80",
    b"/\xc3\xa9",
    b"/\xff",
    b"/\xef\xbf\xbd",
    b"/\xee\x80\x80",
    b"/zookeeper",
    b"/zookeeper/config",
    b"/zookeeper/quota",
    b"/zookeeper/config/x",
    b"/zookeeper/new",
];

impl Generator {
    pub fn path(&mut self) -> Option<Vec<u8>> {
        match self.rng.below(100) {
            0 => None,
            1..=7 => {
                let odd = ODD_PATHS[self.rng.below(ODD_PATHS.len() as u64) as usize];
                Some(odd.to_vec())
            }
            8..=27 if !self.known.is_empty() => {
                let at = self.rng.below(self.known.len() as u64) as usize;
                Some(self.known[at].clone())
            }
            _ => {
                let depth = self.one(&[(6, 1), (5, 2), (2, 3)]);
                let mut path = Vec::new();
                for _ in 0..depth {
                    path.push(b'/');
                    path.push(b'a' + self.rng.below(3) as u8);
                }
                Some(path)
            }
        }
    }

    pub fn data(&mut self) -> Option<Vec<u8>> {
        match self.rng.below(40) {
            0..=2 => None,
            3..=6 => Some(Vec::new()),
            7 => Some(vec![b'x'; 5000]),
            8 if self.rng.chance(1, 10) => Some(vec![b'y'; 900_000]),
            n => Some(format!("data {n} {}", self.rng.below(1000)).into_bytes()),
        }
    }

    pub fn version(&mut self) -> i32 {
        self.one(&[(12, -1), (4, 0), (3, 1), (2, 2), (1, 3), (1, -2), (1, i32::MIN), (1, i32::MAX)])
    }

    /// A list and what it is called. Mostly open, so that the run stays lively.
    pub fn acl(&mut self) -> (Vec<u8>, String) {
        let perms =
            self.one(&[(6, 31), (2, 1), (1, 3), (1, 16), (1, 30), (1, 0), (1, -1), (1, 64)]);
        let world = Entry::new(perms, "world", "anyone");
        let user = if self.rng.chance(1, 2) { ("u0", "p0") } else { ("u1", "p1") };
        let digest = Entry::new(perms, "digest", &bodies::digest_id(user.0, user.1));
        let entries: Option<Vec<Entry>> = match self.rng.below(60) {
            0 => Some(vec![world]),
            1..=2 => Some(vec![digest]),
            3 => Some(vec![Entry::new(1, "world", "anyone"), digest]),
            4 => Some(vec![digest.clone(), world, digest]),
            5..=6 => Some(vec![Entry::new(perms, "auth", "")]),
            7 => Some(vec![Entry::new(perms, "ip", "127.0.0.1")]),
            8 => {
                Some(vec![Entry::new(perms, "ip", "127.0.0.0/8"), Entry::new(1, "ip", "10.0.0.1")])
            }
            9 => Some(vec![self.bad_entry()]),
            10 => Some(vec![Entry::new(31, "world", "anyone"), self.bad_entry()]),
            11 if self.rng.chance(1, 2) => Some(Vec::new()),
            11 => None,
            _ => Some(vec![Entry::new(31, "world", "anyone")]),
        };
        let text = match &entries {
            None => "acl null".to_string(),
            Some(list) => {
                let shown: Vec<String> = list
                    .iter()
                    .map(|e| format!("{}:{}:{}", e.perms, show(&e.scheme), show(&e.id)))
                    .collect();
                format!("acl [{}]", shown.join(", "))
            }
        };
        (bodies::acl(entries.as_deref()), text)
    }

    fn bad_entry(&mut self) -> Entry {
        let choices = [
            ("bogus", "x"),
            ("world", "bob"),
            ("digest", "u"),
            ("digest", "u:"),
            ("digest", "a:b:c"),
            ("digest", ":h"),
            ("digest", "a:b:"),
            ("ip", "127.0.0.1/33"),
            ("ip", "::1/128"),
            ("ip", "1.2.3"),
            ("ip", "fe80::1"),
            ("super", "x"),
            ("sasl", "bob"),
            ("x509", "CN=x"),
            ("", ""),
        ];
        match self.rng.below(10) {
            0 => Entry { perms: 31, scheme: None, id: Some(b"x".to_vec()) },
            1 => Entry { perms: 31, scheme: Some(b"world".to_vec()), id: None },
            2 => Entry { perms: 31, scheme: Some(b"digest".to_vec()), id: None },
            3 => Entry { perms: 31, scheme: Some(b"auth".to_vec()), id: None },
            _ => {
                let at = self.rng.below(choices.len() as u64) as usize;
                Entry::new(31, choices[at].0, choices[at].1)
            }
        }
    }
}

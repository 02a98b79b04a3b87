//! Scheme `digest` (reference: auth-and-tls 3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The hash of `digestAlg`, by the names Java knows it under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DigestAlgorithm {
    #[default]
    Sha1,
    Md2,
    Md5,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlgorithm {
    /// The names that Java's MessageDigest takes, in any case; the first of each is its own.
    pub const NAMES: &[(&str, DigestAlgorithm)] = &[
        ("SHA1", DigestAlgorithm::Sha1),
        ("SHA-1", DigestAlgorithm::Sha1),
        ("SHA", DigestAlgorithm::Sha1),
        ("SHA-224", DigestAlgorithm::Sha224),
        ("SHA224", DigestAlgorithm::Sha224),
        ("SHA-256", DigestAlgorithm::Sha256),
        ("SHA256", DigestAlgorithm::Sha256),
        ("SHA-384", DigestAlgorithm::Sha384),
        ("SHA384", DigestAlgorithm::Sha384),
        ("SHA-512", DigestAlgorithm::Sha512),
        ("SHA512", DigestAlgorithm::Sha512),
        ("SHA-512/224", DigestAlgorithm::Sha512_224),
        ("SHA512/224", DigestAlgorithm::Sha512_224),
        ("SHA-512/256", DigestAlgorithm::Sha512_256),
        ("SHA512/256", DigestAlgorithm::Sha512_256),
        ("SHA3-224", DigestAlgorithm::Sha3_224),
        ("SHA3-256", DigestAlgorithm::Sha3_256),
        ("SHA3-384", DigestAlgorithm::Sha3_384),
        ("SHA3-512", DigestAlgorithm::Sha3_512),
        ("MD5", DigestAlgorithm::Md5),
        ("MD2", DigestAlgorithm::Md2),
    ];

    /// `None` for a name that Java does not know either.
    pub fn from_name(name: &str) -> Option<DigestAlgorithm> {
        let known = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, algorithm)| *algorithm)
    }

    /// Its own name.
    pub fn as_str(self) -> &'static str {
        let own = Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self);
        own.map_or("", |(name, _)| name)
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            DigestAlgorithm::Sha1 => Sha1::digest(bytes).to_vec(),
            DigestAlgorithm::Md2 => md2::Md2::digest(bytes).to_vec(),
            DigestAlgorithm::Md5 => md5::Md5::digest(bytes).to_vec(),
            DigestAlgorithm::Sha224 => sha2::Sha224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512_224 => sha2::Sha512_224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512_256 => sha2::Sha512_256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_224 => sha3::Sha3_224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_256 => sha3::Sha3_256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_384 => sha3::Sha3_384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_512 => sha3::Sha3_512::digest(bytes).to_vec(),
        }
    }
}

/// The id of credentials `user:password`: the user, a colon, and the base64 of the hash of all of
/// it. Without a colon everything is the user. Bytes that are not UTF-8 count as U+FFFD, as where
/// Java makes a string.
pub fn digest_identity(auth: &[u8], algorithm: DigestAlgorithm) -> String {
    let auth = String::from_utf8_lossy(auth);
    let user = auth.split_once(':').map_or(&*auth, |(user, _)| user);
    format!("{user}:{}", STANDARD.encode(algorithm.hash(auth.as_bytes())))
}

/// Whether `id` may stand in a `digest` entry: exactly two parts around a colon, not counting empty
/// ones at the end (so `:h` and `a:b:` pass, `u:` does not).
pub(super) fn valid(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// The user of a digest id: what stands before its first colon.
pub(super) fn user(id: &str) -> &str {
    id.split_once(':').map_or(id, |(user, _)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_apache_zookeeper_makes() {
        let sha1 = |auth: &str| digest_identity(auth.as_bytes(), DigestAlgorithm::Sha1);
        assert_eq!(sha1("super:admin"), "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        assert_eq!(sha1("bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert_eq!(sha1("abc"), "abc:qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(sha1(""), ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    }

    #[test]
    fn algorithms_by_their_java_names() {
        // Hashes of "abc" as published with the standards; Java 17 makes the same of all of them.
        let sha256 = DigestAlgorithm::from_name("SHA-256").unwrap();
        let expected = "abc:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        assert_eq!(digest_identity(b"abc", sha256), expected);
        let sha3 = DigestAlgorithm::from_name("sha3-256").unwrap();
        let expected = "abc:Ophdp0/iJbIEXBcta9OQvYVfCG4+nVJbRr/iRRFDFTI=";
        assert_eq!(digest_identity(b"abc", sha3), expected);
        let md5 = DigestAlgorithm::from_name("md5").unwrap();
        assert_eq!(digest_identity(b"abc", md5), "abc:kAFQmDzST7DWlj99KOF/cg==");
        let md2 = DigestAlgorithm::from_name("MD2").unwrap();
        assert_eq!(digest_identity(b"abc", md2), "abc:2oU7DT+I2ZswKDpp5t7Wuw==");
        let lengths = [
            ("SHA1", 20),
            ("SHA-224", 28),
            ("SHA-384", 48),
            ("SHA-512", 64),
            ("SHA-512/224", 28),
            ("SHA-512/256", 32),
            ("SHA3-224", 28),
            ("SHA3-384", 48),
            ("SHA3-512", 64),
        ];
        for (name, len) in lengths {
            assert_eq!(DigestAlgorithm::from_name(name).unwrap().hash(b"").len(), len, "{name}");
        }
        assert_eq!(DigestAlgorithm::from_name("SHA-257"), None);
        for (name, algorithm) in DigestAlgorithm::NAMES {
            assert_eq!(
                DigestAlgorithm::from_name(&name.to_lowercase()),
                Some(*algorithm),
                "{name}"
            );
            assert_eq!(DigestAlgorithm::from_name(algorithm.as_str()), Some(*algorithm), "{name}");
        }
    }

    #[test]
    fn syntax_of_entries() {
        for id in ["u:h", ":h", "a:b:", "a:b::"] {
            assert!(valid(id), "{id}");
        }
        for id in ["u", "u:", "a:b:c", "", ":", "::"] {
            assert!(!valid(id), "{id}");
        }
    }
}

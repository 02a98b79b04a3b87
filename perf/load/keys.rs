//! Which znodes a run touches, and what they hold.

use ringkeeper::base::prng::Prng;

/// Children per directory: enough to be a realistic directory, few enough that no listing is huge.
pub const KEYS_PER_DIRECTORY: u64 = 1000;

/// Keys `0..count`, spread over directories below one root.
#[derive(Clone, Debug)]
pub struct KeySpace {
    pub root: String,
    pub count: u64,
    /// Length of a whole key path in bytes; shorter than the path needs means "as short as it
    /// gets".
    pub path_bytes: usize,
}

impl KeySpace {
    pub fn directories(&self) -> u64 {
        self.count.div_ceil(KEYS_PER_DIRECTORY)
    }

    /// Replaces `path` with that of directory `index`.
    pub fn write_directory(&self, index: u64, path: &mut Vec<u8>) {
        path.clear();
        path.extend_from_slice(self.root.as_bytes());
        path.extend_from_slice(b"/d");
        push_digits(path, index, 6);
    }

    /// Replaces `path` with that of key `index`.
    pub fn write_key(&self, index: u64, path: &mut Vec<u8>) {
        self.write_directory(index / KEYS_PER_DIRECTORY, path);
        path.push(b'/');
        let width = self.path_bytes.saturating_sub(path.len()).max(8);
        push_digits(path, index, width);
    }
}

/// Appends `number` in decimal with zeros in front; `format!` would cost more than the request
/// itself.
fn push_digits(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Bytes that do not compress, the same for every run.
pub fn value(bytes: usize) -> Vec<u8> {
    let mut prng = Prng::new(0x5eed);
    (0..bytes).map(|_| prng.next_u64() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_length_asked_for() {
        let mut path = Vec::new();
        let keys = KeySpace { root: "/zkload".into(), count: 1_000_000, path_bytes: 50 };
        keys.write_key(999_999, &mut path);
        assert_eq!(path.len(), 50);
        assert!(path.starts_with(b"/zkload/d000999/0000") && path.ends_with(b"0999999"));
        assert_eq!(keys.directories(), 1000);
        let short = KeySpace { path_bytes: 0, ..keys };
        short.write_key(1001, &mut path);
        assert_eq!(path, b"/zkload/d000001/00001001");
    }
}

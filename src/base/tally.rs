//! Samples, counted by the core that makes them: plain numbers, handed to whoever asks as a copy.
//!
//! Nothing here allocates once it is made, except for a key that is met for the first time.

use std::collections::HashMap;
use std::fmt;

/// Least, greatest, count and sum of samples. `min` and `max` are 0 while there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub min: i64,
    pub max: i64,
    pub count: i64,
    pub sum: i64,
}

impl Tally {
    pub fn add(&mut self, value: i64) {
        self.add_many(value, 1);
    }

    /// The same sample `count` times.
    pub fn add_many(&mut self, value: i64, count: i64) {
        let sum = value.wrapping_mul(count);
        self.merge(&Tally { min: value, max: value, count, sum });
    }

    pub fn merge(&mut self, other: &Tally) {
        if other.count == 0 {
            return;
        }
        let empty = self.count == 0;
        self.min = if empty { other.min } else { self.min.min(other.min) };
        self.max = if empty { other.max } else { self.max.max(other.max) };
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Last, least and greatest of some sizes in bytes; -1 before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    pub last: i64,
    pub min: i64,
    pub max: i64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { last: -1, min: -1, max: -1 }
    }
}

impl Sizes {
    pub fn add(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.merge(&Sizes { last: bytes, min: bytes, max: bytes });
    }

    /// Adds another's; its last one counts as the later.
    pub fn merge(&mut self, other: &Sizes) {
        if other.last < 0 {
            return;
        }
        let none = self.last < 0;
        self.last = other.last;
        self.min = if none { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
    }
}

/// Values below this have a bucket of their own.
const EXACT: u32 = 64;
/// Buckets to each doubling above: a quantile is at most a thirty-second too high.
const STEPS_BITS: u32 = 5;
const EXACT_BITS: u32 = EXACT.ilog2();
/// Greater values count as the greatest below two to this power: over an hour, in milliseconds.
const VALUE_BITS: u32 = 22;
const BUCKETS: usize = EXACT as usize + (((VALUE_BITS - EXACT_BITS) as usize) << STEPS_BITS);

const _: () = assert!(STEPS_BITS < EXACT_BITS && BUCKETS * size_of::<u64>() < 5 << 10);

/// A [`Tally`] that knows quantiles as well. Below 5 KiB; a sample costs a few nanoseconds.
#[derive(Clone)]
pub struct Samples {
    pub tally: Tally,
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { tally: Tally::default(), buckets: Box::new([0; BUCKETS]) }
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Samples({:?})", self.tally)
    }
}

fn bucket_of(value: i64) -> usize {
    let value = value.clamp(0, (1 << VALUE_BITS) - 1) as u32;
    if value < EXACT {
        return value as usize;
    }
    let bits = value.ilog2();
    let step = (value >> (bits - STEPS_BITS)) - (1 << STEPS_BITS);
    (EXACT + ((bits - EXACT_BITS) << STEPS_BITS) + step) as usize
}

/// The greatest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let exact = u64::from(EXACT);
    if bucket < exact {
        return bucket;
    }
    let bits = ((bucket - exact) >> STEPS_BITS) + u64::from(EXACT_BITS);
    let step = (bucket - exact) & ((1 << STEPS_BITS) - 1);
    (((1 << STEPS_BITS) + step + 1) << (bits - u64::from(STEPS_BITS))) - 1
}

impl Samples {
    pub fn add(&mut self, value: i64) {
        self.add_many(value, 1);
    }

    /// The same sample `count` times.
    pub fn add_many(&mut self, value: i64, count: i64) {
        self.tally.add_many(value, count);
        self.buckets[bucket_of(value)] += count.max(0) as u64;
    }

    /// Values, each with how often it was met; those above 63 rounded up.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        let met = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        met.map(|(bucket, count)| (top_of(bucket), *count))
    }
}

/// Keys of a [`KeyedTallies`]. Some come from clients, so their number is theirs to choose; what comes after these
/// is counted under [`OTHER_KEYS`].
pub const KEYS_MAX: usize = 256;

/// The key for all keys beyond [`KEYS_MAX`].
pub const OTHER_KEYS: &[u8] = b"_other";

/// A [`Tally`] for each key. One that follows itself is found without hashing.
#[derive(Clone, Default)]
pub struct KeyedTallies {
    rows: Vec<(Box<[u8]>, Tally)>,
    index: HashMap<Box<[u8]>, usize, ahash::RandomState>,
    last: usize,
}

impl fmt::Debug for KeyedTallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedTallies({} keys)", self.rows.len())
    }
}

impl KeyedTallies {
    pub fn add(&mut self, key: &[u8], value: i64) {
        self.of(key).add(value);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Tally)> {
        self.rows.iter().map(|(key, tally)| (&**key, tally))
    }

    /// Adds another's samples.
    pub fn merge(&mut self, other: &KeyedTallies) {
        for (key, tally) in other.iter() {
            self.of(key).merge(tally);
        }
    }

    fn of(&mut self, key: &[u8]) -> &mut Tally {
        let again = self.rows.get(self.last).is_some_and(|(last, _)| **last == *key);
        if !again {
            self.last = self.place_of(key);
        }
        &mut self.rows[self.last].1
    }

    fn place_of(&mut self, key: &[u8]) -> usize {
        let known = self.index.contains_key(key);
        let key = if known || self.rows.len() < KEYS_MAX { key } else { OTHER_KEYS };
        if let Some(at) = self.index.get(key) {
            return *at;
        }
        self.rows.push((key.into(), Tally::default()));
        self.index.insert(key.into(), self.rows.len() - 1);
        self.rows.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut value = 0;
        for bucket in 0..BUCKETS {
            let top = top_of(bucket) as i64;
            assert_eq!((bucket_of(value), bucket_of(top)), (bucket, bucket));
            assert!((top - value) * 32 <= value.max(0), "bucket {bucket}: {value} to {top}");
            value = top + 1;
        }
        assert_eq!(value, 1 << VALUE_BITS);
        assert_eq!((bucket_of(i64::MAX), bucket_of(-5)), (BUCKETS - 1, 0));
    }

    #[test]
    fn samples_are_counted_where_they_belong() {
        let mut samples = Samples::default();
        samples.add(3);
        samples.add_many(1000, 7);
        samples.add_many(5, 0);
        assert_eq!(samples.tally, Tally { min: 3, max: 1000, count: 8, sum: 7003 });
        let met: Vec<_> = samples.iter().collect();
        assert_eq!((met[0], met.len(), met[1].1), ((3, 1), 2, 7));
        assert!((1000..1032).contains(&met[1].0), "{met:?}");
    }

    #[test]
    fn sizes_begin_at_minus_one_and_keep_their_order() {
        let mut sizes = Sizes::default();
        sizes.merge(&Sizes::default());
        assert_eq!(sizes, Sizes { last: -1, min: -1, max: -1 });
        sizes.add(40);
        sizes.add(8);
        sizes.merge(&Sizes { last: 20, min: 4, max: 20 });
        assert_eq!(sizes, Sizes { last: 20, min: 4, max: 40 });
    }

    #[test]
    fn keys_beyond_the_bound_share_one() {
        let mut tallies = KeyedTallies::default();
        for number in 0..KEYS_MAX + 100 {
            tallies.add(format!("n{number}").as_bytes(), 2);
            tallies.add(b"n0", 1);
        }
        assert_eq!(tallies.iter().count(), KEYS_MAX + 1);
        let of = |wanted: &[u8]| tallies.iter().find(|(key, _)| *key == wanted).map(|(_, t)| *t);
        assert_eq!(of(OTHER_KEYS).map(|tally| tally.count), Some(100));
        assert_eq!(of(b"n0").map(|tally| tally.count), Some(KEYS_MAX as i64 + 101));
        let mut twice = tallies.clone();
        twice.merge(&tallies);
        assert_eq!(twice.iter().map(|(_, tally)| tally.count).sum::<i64>(), 2 * 2 * 356);
    }
}

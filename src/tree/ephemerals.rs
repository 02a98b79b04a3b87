//! Session to ephemeral nodes. The writer keeps it; client cores ask it for getEphemerals and
//! `dump`.

use crate::base::SessionId;
use crate::base::sync::{AtomicU64, Mutex, MutexGuard, Ordering, SMALL};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::PoisonError;

const SHARDS: usize = if SMALL { 1 } else { 64 };

/// Spreads numbers that this server or its peers chose themselves; nobody attacks with them.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        // The table takes its low bits: let the high ones of the ids count too.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_i64(&mut self, value: i64) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(26) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type NumberHash = BuildHasherDefault<NumberHasher>;
pub(super) type SlotSet = HashSet<u32, NumberHash>;
type Shard = HashMap<SessionId, SlotSet, NumberHash>;

/// Mutexes, because those who ask are rare and short; a reader holds one only to copy slot numbers.
/// The writer changes it inside its batches, so the tree's sequence number covers it too.
pub(super) struct EphemeralIndex {
    shards: [Mutex<Shard>; SHARDS],
    len: AtomicU64,
}

impl Default for EphemeralIndex {
    fn default() -> Self {
        EphemeralIndex {
            shards: std::array::from_fn(|_| Mutex::new(Shard::default())),
            len: AtomicU64::new(0),
        }
    }
}

impl EphemeralIndex {
    fn shard(&self, session: SessionId) -> MutexGuard<'_, Shard> {
        // Session ids differ in both halves: server and start time above, a counter below.
        let at = (session.0 ^ session.0 >> 32) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, session: SessionId, slot: u32) {
        if self.shard(session).entry(session).or_default().insert(slot) {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, session: SessionId, slot: u32) {
        let mut shard = self.shard(session);
        let Some(slots) = shard.get_mut(&session) else { return };
        if slots.remove(&slot) {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        if slots.is_empty() {
            shard.remove(&session);
        }
    }

    /// The slots of a session's nodes, in no order.
    pub(super) fn slots(&self, session: SessionId) -> Vec<u32> {
        self.shard(session)
            .get(&session)
            .map_or_else(Vec::new, |slots| slots.iter().copied().collect())
    }

    /// Sessions that own nodes, ascending.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).keys());
        }
        all.sort_unstable();
        all
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
}

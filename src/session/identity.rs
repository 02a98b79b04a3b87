//! What makes a session: its id, its password, its timeout.

use crate::base::{MonoMs, SessionId};

pub const PASSWORD_BYTES: usize = 16;

/// The password of a session: the first bytes of a Java `Random` seeded with the id (reference:
/// client-protocol 4.4). It proves nothing; all servers of an ensemble must agree on it.
pub fn password(id: SessionId) -> [u8; PASSWORD_BYTES] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (id.0 as u64 ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut bytes = [0; PASSWORD_BYTES];
    for word in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

/// Whether a client gave the session's password: every byte and the length count.
pub fn password_matches(id: SessionId, given: &[u8]) -> bool {
    given == password(id)
}

/// The timeout a session gets, in milliseconds (reference: client-protocol 4.6). `min_ms <= max_ms`
/// is checked where the configuration is read.
pub fn clamp_timeout(requested_ms: i32, min_ms: i32, max_ms: i32) -> i32 {
    requested_ms.min(max_ms).max(min_ms)
}

/// Gives out session ids (reference: client-protocol 4.7): server id in the top byte, then 40 bits
/// of a clock, then a counter. Owned by the core that creates sessions.
#[derive(Clone, Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// `server_id` is `myid`, or 1 for a standalone server; `elapsed_ms` is a monotonic clock, of
    /// which a server that restarts must pass a later value than before (time since boot serves).
    pub fn new(server_id: i64, elapsed_ms: MonoMs) -> SessionIds {
        let clock = (elapsed_ms.wrapping_shl(24) as u64 >> 8) as i64;
        let mut next = clock | server_id.wrapping_shl(56);
        // As an ephemeral owner this value marks container nodes.
        if next == i64::MIN {
            next += 1;
        }
        SessionIds { next }
    }

    pub fn next_id(&mut self) -> SessionId {
        let id = self.next;
        self.next = id.wrapping_add(1);
        SessionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn passwords_are_those_apache_zookeeper_mints() {
        let vectors = [
            (0x0100_000e_e119_0000_u64, "edaabc7976e6f63b13f0f6cbaf92fb14"),
            (0x0000_0000_0000_0001, "054cc74a37327db215e702e20c73f005"),
            (0x0123_4567_89ab_cdef, "f7cd1b8b3f946c477425d41be3f667c6"),
            (0xffff_ffff_ffff_ffff, "20f62cb5648dc2d771471c8a2486a9ee"),
        ];
        for (id, expected) in vectors {
            let id = SessionId(id as i64);
            assert_eq!(hex(&password(id)), expected, "{id}");
            assert!(password_matches(id, &password(id)));
            assert!(!password_matches(id, &password(id)[..15]));
            assert!(!password_matches(id, &[0; 16]));
        }
        assert!(!password_matches(SessionId(1), b""));
    }

    #[test]
    fn timeouts_are_clamped_as_observed_with_tick_time_2000() {
        let clamped = |requested| clamp_timeout(requested, 4000, 40_000);
        assert_eq!([0, -5, 3999].map(clamped), [4000; 3]);
        assert_eq!(clamped(4001), 4001);
        assert_eq!([40_001, i32::MAX].map(clamped), [40_000; 2]);
    }

    #[test]
    fn ids_carry_server_and_clock() {
        let mut ids = SessionIds::new(1, 0x0012_3456_789a);
        assert_eq!(ids.next_id(), SessionId(0x0112_3456_789a_0000));
        assert_eq!(ids.next_id(), SessionId(0x0112_3456_789a_0001));
        // Only the low 40 bits of the clock survive, and only the low 8 of the server id.
        let mut ids = SessionIds::new(0x1ff, 0x7fff_ff00_0000_0001);
        assert_eq!(ids.next_id(), SessionId(0xff00_0000_0001_0000_u64 as i64));
        assert_eq!(SessionIds::new(0x80, 0).next_id(), SessionId(i64::MIN + 1));
    }
}

//! Identifiers that travel on the wire and through every room.

use std::fmt;

/// A transaction id: the epoch in the high 32 bits, a counter in the low 32 bits.
///
/// Compared as a signed 64-bit number, as Apache ZooKeeper does. A standalone server counts from 1 in
/// epoch 0 and never leaves it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Zxid(pub i64);

impl Zxid {
    pub const ZERO: Zxid = Zxid(0);
    /// "no zxid": events made up by `setWatches`, replies to unknown operations.
    pub const NONE: Zxid = Zxid(-1);

    /// The epoch: an arithmetic shift, as the reference does it.
    pub fn epoch(self) -> i64 {
        self.0 >> 32
    }

    /// The counter within the epoch.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one, in the same epoch.
    pub fn next(self) -> Zxid {
        Zxid(self.0.wrapping_add(1))
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A session id. 0 is "no session": a new connection, or a request the server made for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct SessionId(pub i64);

impl SessionId {
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A server id (`myid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Sid(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_splits_into_epoch_and_counter() {
        let z = Zxid(0x0000_0005_0000_002a);
        assert_eq!((z.epoch(), z.counter()), (5, 42));
        assert_eq!(z.next(), Zxid(0x0000_0005_0000_002b));
        assert_eq!(Zxid(-1).epoch(), -1);
    }
}

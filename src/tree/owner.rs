//! What a raw `ephemeralOwner` says about its node (reference: data-model 4, disk-format 7.4).

/// The raw owner of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The longest time to live, in milliseconds.
pub const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

const TTL_TAG: i64 = 0xff00_0000_0000_0000_u64 as i64;
const TTL_RESERVED: i64 = 0x00ff_ff00_0000_0000;

/// How raw owners are read. Must not change while a tree lives: indices are built by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerOptions {
    /// `zookeeper.extendedTypesEnabled`: owners with the top byte 0xff are TTL nodes, not sessions.
    pub extended_types: bool,
    /// `zookeeper.emulate353TTLNodes`: every negative owner but the container mark is a TTL node.
    pub emulate_353_ttl: bool,
}

/// How a node lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeType {
    Persistent,
    /// Goes with the session that the raw owner names.
    Ephemeral,
    Container,
    /// Milliseconds without a change of its data after which an empty node may go.
    Ttl(i64),
}

/// A raw owner that extended types do not allow: top byte 0xff and reserved bits set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidOwner(pub i64);

impl OwnerOptions {
    /// Reads a raw owner.
    pub fn node_type(self, raw: i64) -> Result<NodeType, InvalidOwner> {
        if raw == CONTAINER_OWNER {
            return Ok(NodeType::Container);
        }
        if self.extended_types {
            if self.emulate_353_ttl && raw < 0 {
                return Ok(NodeType::Ttl(raw & TTL_MS_MAX));
            }
            if raw & TTL_TAG == TTL_TAG {
                return match raw & TTL_RESERVED {
                    0 => Ok(NodeType::Ttl(raw & TTL_MS_MAX)),
                    _ => Err(InvalidOwner(raw)),
                };
            }
        }
        Ok(if raw == 0 { NodeType::Persistent } else { NodeType::Ephemeral })
    }
}

/// The raw owner of a TTL node; `None` when `ttl_ms` is not in `1..=TTL_MS_MAX`.
pub fn ttl_owner(ttl_ms: i64) -> Option<i64> {
    (1..=TTL_MS_MAX).contains(&ttl_ms).then_some(TTL_TAG | ttl_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let plain = OwnerOptions::default();
        let extended = OwnerOptions { extended_types: true, emulate_353_ttl: false };
        let emulate = OwnerOptions { extended_types: true, emulate_353_ttl: true };
        let bad = 0xff00_0100_0000_0000_u64 as i64;
        let ttl = ttl_owner(60_000).unwrap();
        assert_eq!(ttl, 0xff00_0000_0000_ea60_u64 as i64);
        for options in [plain, extended, emulate] {
            assert_eq!(options.node_type(0), Ok(NodeType::Persistent));
            assert_eq!(options.node_type(CONTAINER_OWNER), Ok(NodeType::Container));
            assert_eq!(options.node_type(0x1000), Ok(NodeType::Ephemeral));
        }
        assert_eq!(plain.node_type(ttl), Ok(NodeType::Ephemeral));
        assert_eq!(extended.node_type(ttl), Ok(NodeType::Ttl(60_000)));
        assert_eq!(plain.node_type(bad), Ok(NodeType::Ephemeral));
        assert_eq!(extended.node_type(bad), Err(InvalidOwner(bad)));
        assert_eq!(emulate.node_type(i64::MIN | 5), Ok(NodeType::Ttl(5)));
        assert_eq!(extended.node_type(i64::MIN | 5), Ok(NodeType::Ephemeral));
        assert_eq!((ttl_owner(0), ttl_owner(TTL_MS_MAX + 1)), (None, None));
        assert_eq!(ttl_owner(TTL_MS_MAX), Some(0xff00_00ff_ffff_ffff_u64 as i64));
    }
}

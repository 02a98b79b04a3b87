//! Bytes to values and back: jute, client records, transactions, log and snapshot records, four-letter words.
//!
//! Pure: no IO, no clock. Decoders borrow from the bytes they are given, never panic and never allocate from a
//! length field. Every record has golden bytes captured from Apache ZooKeeper under `tests/golden/`.

pub mod acl;
pub mod connect;
pub mod election_datagram;
pub mod error_code;
pub mod four_letter;
pub mod jute;
pub mod log_format;
pub mod multi;
pub mod notification;
pub mod op_code;
pub mod quorum_packet;
pub mod reply;
pub mod request;
pub mod snapshot_format;
pub mod stat;
pub mod txn;

pub use acl::{AclEntry, AclList};
pub use error_code::ErrorCode;
pub use jute::{DecodeError, JuteWrite, Reader, java_text};
pub use op_code::OpCode;
pub use reply::EventType;
pub use stat::{Stat, StatPersisted};

//! # ringkeeper: the floor plan
//!
//! A drop-in replacement for the Apache ZooKeeper server. Client cores (glommio) own connections, the order of
//! their sessions' requests and watch tables, and answer reads where they arrive. One pinned core runs Zab: it
//! validates requests, group-commits the proposal log through its own io_uring and is the data tree's only writer.
//!
//! Rooms, low to high; import downward only, rooms on one floor do not know each other (`tests/tidy.rs` holds it):
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`base`] |
//! | 1 | [`wire`] |
//! | 4 | [`storage`] |

pub mod base;
pub mod storage;
pub mod wire;

//! # ringkeeper: the floor plan
//!
//! A drop-in replacement for the Apache ZooKeeper server. Client cores (glommio) own connections,
//! the order of
//! their sessions' requests and watch tables, and answer reads where they arrive. One pinned core
//! runs Zab: it
//! validates requests, group-commits the proposal log through its own io_uring and is the data
//! tree's only writer.
//!
//! Rooms, low to high; import downward only, rooms on one floor do not know each other
//! (`tests/tidy.rs` holds it):
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`base`]: ids, limits, samples, slab, seeded generator |
//! | 1 | [`wire`]: bytes to values and back |
//! | 2 | [`tree`], [`watch`], [`session`], [`auth`], [`zab`]: the pure machines |
//! | 3 | [`pipeline`]: request to transaction, transaction to changes, events and replies |
//! | 4 | [`peer`]: one server of an ensemble, whole and pure: election, leading, learning, applying |
//! | 5 | [`storage`]: proposal log, snapshots, recovery, purge |
//! | 6 | [`ensemble`]: the Zab core's loop; [`shard`]: a client core |
//! | 7 | [`admin`]: four-letter words, counters |
//! | 8 | [`server`]: configuration, assembly, start, shutdown |
//! | 9 | [`cli`]: the commands |
//!
//! ## What every walk relies on
//!
//! - **Watermarks**: `visible <= committed <= logged by a quorum <= proposed`, in zxids.
//! - **The order rule**: the Zab core applies a run of transactions unseen, puts their events and
//!   replies into every
//!   client core's mailbox, and only then makes the tree visible at their zxid. A client core
//!   reads the tree at one
//!   zxid, drains its mailbox up to it, registers the read's watch, appends the reply ([`shard`],
//!   [`ensemble`]).
//! - **Durability**: nothing is committed before the log says that it is on disk; a failed write
//!   poisons the log.
//!
//! ## What measuring has changed
//!
//! - Threads are pinned only when a CPU is left over for everybody else. On a 2-CPU machine that also
//!   ran its clients, pinning took a lone getData's median from 25 to 63 µs.
//! - A client core wakes the Zab core only when it has sent it something. Waking it after every turn
//!   cost a getData 20 µs of CPU on both cores together.
//! - A flush of the log is one write with `RWF_DSYNC`, not a write with an fdatasync linked to it: the kernel gives
//!   every fsync to a worker thread. 4 KiB took 85 to 90 µs instead of 100 to 150; a lone set's p50 went from 185 to
//!   162 µs, its CPU from 112 to 85 µs.
//! - Client cores have rings of 4096 entries: each of the executor's turns looks a timer up among all sockets that
//!   wait, in a table whose size follows the ring's. 10,000 idle sessions took 15 % of a core with 256 entries.
//! - The tree's readers are validated by one sequence number for the whole tree (a seqlock), so
//!   several fields, several nodes and "nothing is there" are consistent at one zxid, and a znode needs
//!   no version of its own.
//!
//! ## Where this differs from the first plan
//!
//! - The room [`peer`] stands between `pipeline` and `storage`: the machines of `zab` know no tree and no session, and
//!   the loop of `ensemble` must hold nothing that the simulator (`tests/simulator.rs`) cannot run. `peer` composes
//!   the two and asks its `Host` for everything else. Epoch files, truncation and reloading are calls that block the
//!   Zab core, at moments when it serves nobody.
//! - A leader's transactions are made inside the PROPOSAL packets that followers get: the log takes a part of the same
//!   bytes, the packets of a turn leave as one piece.
//! - Servers of this project know each other by a number behind LearnerInfo and LEADERINFO, where Java does not look:
//!   one ACK then speaks for all before it, and a TRUNC is trusted to cut snapshots too.
//!
//! Everything up to and including `peer` compiles without glommio, io-uring or libc.

pub mod admin;
pub mod auth;
pub mod base;
pub mod cli;
pub mod ensemble;
pub mod peer;
pub mod pipeline;
pub mod server;
pub mod session;
pub mod shard;
pub mod storage;
pub mod tree;
pub mod watch;
pub mod wire;
pub mod zab;

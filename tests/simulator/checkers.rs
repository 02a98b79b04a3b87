//! What must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::base::{MonoMs, SessionId, Sid, Zxid};
use ringkeeper::peer::{Peer, ServerState};

use crate::host::SimHost;
use crate::world::World;

#[derive(Default)]
pub struct Checkers {
    /// Agreement: one state of the tree for each zxid that anybody serves.
    digests: BTreeMap<Zxid, (u64, Sid)>,
    /// One leader for each epoch.
    leaders: BTreeMap<i64, Sid>,
    /// Acknowledged creates, with the session for ephemerals.
    acknowledged: BTreeMap<String, (Zxid, Option<SessionId>)>,
    /// One path for each zxid: a write is acknowledged once.
    by_zxid: BTreeMap<Zxid, String>,
    serving: BTreeMap<Sid, Zxid>,
    pub elections: u64,
}

impl Checkers {
    /// After every turn of a server.
    pub fn look(&mut self, sid: Sid, peer: Option<&Peer>, host: &SimHost, now: MonoMs) {
        let Some(peer) = peer.filter(|_| !host.suspended) else {
            self.serving.remove(&sid);
            return;
        };
        let zxid = peer.tree().tree().applied();
        let digest = peer.tree().digest();
        let (expected, first) = *self.digests.entry(zxid).or_insert((digest, sid));
        assert_eq!(
            digest, expected,
            "at {now}: servers {} and {} differ at {zxid}",
            sid.0, first.0
        );
        // While it serves a server never goes back.
        let before = self.serving.insert(sid, zxid).unwrap_or(zxid);
        assert!(zxid >= before, "server {} went back from {before} to {zxid}", sid.0);
        let status = peer.status(false);
        assert_eq!(status.digest_mismatches, 0, "server {}: digests differ at {zxid}", sid.0);
        if host.state == ServerState::Leading {
            let leader = *self.leaders.entry(status.epoch).or_insert_with(|| {
                self.elections += 1;
                sid
            });
            assert_eq!(leader, sid, "two leaders of epoch {}", status.epoch);
        }
    }

    pub fn acknowledged(&mut self, path: &str, zxid: Zxid, session: Option<SessionId>) {
        let owner = session.filter(|_| path.starts_with("/e"));
        self.acknowledged.insert(path.to_owned(), (zxid, owner));
        let other = self.by_zxid.insert(zxid, path.to_owned());
        assert_eq!(other, None, "one zxid acknowledged twice: {zxid}");
    }

    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// At the end, when everybody serves and nothing is under way.
    pub fn end(world: &World) {
        let mut states = BTreeSet::new();
        for (sid, node) in &world.nodes {
            let Some(peer) = &node.peer else { panic!("server {} is down at the end", sid.0) };
            let view = peer.tree().view();
            for (path, (zxid, owner)) in &world.checkers.acknowledged {
                let node = view.lookup(path.as_bytes());
                let must = owner.is_none_or(|session| peer.sessions().contains(session));
                match node {
                    Some(node) => {
                        assert_eq!(node.persisted().czxid, zxid.0, "{path} was made by another");
                        let orphan = owner.is_some() && !must;
                        assert!(!orphan, "server {}: {path} outlives its session", sid.0);
                    }
                    None => assert!(!must, "server {}: acknowledged {path} is lost", sid.0),
                }
            }
            states.insert((peer.tree().tree().applied(), peer.tree().digest()));
        }
        assert_eq!(states.len(), 1, "servers differ at the end: {states:?}");
    }
}

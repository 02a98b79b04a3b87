//! A whole ensemble in one thread: servers, disks, network, clients, faults, all drawn from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringkeeper::auth::{Auth, AuthConfig};
use ringkeeper::base::prng::Prng;
use ringkeeper::base::{MonoMs, Sid};
use ringkeeper::peer::{LinkId, Peer, PeerOptions, PeerParts, ServerState, SyncLimits};
use ringkeeper::pipeline::ToZab;
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::session::SessionIds;
use ringkeeper::storage::snapshot;
use ringkeeper::zab::Quorum;
use ringkeeper::zab::liveness::Limits;

use crate::checkers::Checkers;
use crate::choices::Choices;
use crate::clients::Clients;
use crate::disk::{Disk, OWNERS};
use crate::host::{Out, SimHost};
use crate::network::{Network, Piece, Vote};

pub const TICK_MS: i64 = 200;

/// A server that runs, or only its disk.
pub struct Node {
    pub peer: Option<Peer>,
    pub host: SimHost,
    /// When something of its disk is done.
    flush_at: Option<MonoMs>,
    adopt_at: Option<MonoMs>,
    /// Stopped as by SIGSTOP, until then.
    pub paused_until: MonoMs,
    restart_at: MonoMs,
    starts: u64,
}

pub struct World {
    pub now: MonoMs,
    pub prng: Prng,
    pub nodes: BTreeMap<Sid, Node>,
    pub network: Network,
    pub clients: Clients,
    pub checkers: Checkers,
    voters: Vec<Sid>,
    auth: Arc<Auth>,
    choices: Choices,
    /// Faults are drawn.
    pub faults: bool,
}

impl World {
    pub fn new(seed: u64, voters: i64, observers: i64) -> World {
        let mut world = World {
            now: 1000,
            prng: Prng::new(seed),
            nodes: BTreeMap::new(),
            network: Network::default(),
            clients: Clients::default(),
            checkers: Checkers::default(),
            voters: (1..=voters).map(Sid).collect(),
            auth: Arc::new(Auth::new(AuthConfig::default())),
            choices: Choices::of(seed),
            faults: true,
        };
        for sid in 1..=voters + observers {
            let node = Node {
                peer: None,
                host: SimHost::new(Disk::default(), 1),
                flush_at: None,
                adopt_at: None,
                paused_until: 0,
                restart_at: world.now + world.prng.below(300) as i64,
                starts: 0,
            };
            world.nodes.insert(Sid(sid), node);
        }
        world
    }

    fn options(&self, sid: Sid) -> PeerOptions {
        let limits = Limits { tick_ms: TICK_MS, init_limit_ticks: 10, sync_limit_ticks: 5 };
        PeerOptions {
            sid,
            quorum: Quorum::Majority(self.voters.clone()),
            standalone: false,
            observer: !self.voters.contains(&sid),
            limits,
            config_version: 0,
            config_text: b"version=0".to_vec(),
            container_check_ms: 60_000,
            container_delete_gap_ms: 1,
            container_never_used_ms: 0,
            touch_slack_ms: 10,
            outstanding_txns_max: 1000,
            prep: PrepOptions {
                digest_enabled: true,
                extended_types: false,
                close_session_txn: true,
                enforce_quota: false,
                reconfig_enabled: false,
                record_bytes_max: 1 << 20,
            },
            owners: OWNERS,
            force_snapshot_sync: false,
            log_sync: true,
            packet_bytes_max: 1 << 20,
            observer_logs: true,
            leader_connect_delay_ms: 100,
            leader_serves: true,
            local: self.choices.local,
            sync_limits: SyncLimits::default(),
        }
    }

    fn start(&mut self, sid: Sid) {
        let options = self.options(sid);
        let election = self.choices.voting(&options, self.prng.next_u64());
        let (now, auth) = (self.now, self.auth.clone());
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        node.starts += 1;
        let disk = std::mem::take(&mut node.host.disk);
        let first_link = (sid.0 as u64) << 40 | node.starts << 20;
        node.host = SimHost::new(disk, first_link);
        node.host.now = now;
        let parts = PeerParts {
            recovered: node.host.disk.recover(now),
            epochs: node.host.disk.epochs,
            session_ids: SessionIds::new(sid.0, now),
            auth,
            election: Some(election),
            commit_log_count: 500,
        };
        let mut peer = Peer::new(options, parts);
        peer.set_time(now, now);
        peer.start(&mut node.host).expect("a start");
        node.peer = Some(peer);
        self.after_turn(sid);
    }

    /// Power off, or kill -9: what is not on disk is gone.
    pub fn crash(&mut self, sid: Sid) {
        let down_ms = 20 + self.prng.below(3000) as i64;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        if node.peer.take().is_none() {
            return;
        }
        node.host.disk.crash(&mut self.prng);
        // A snapshot in the middle of being put in place is there or not.
        if let Some(adopting) = node.host.adopting.take() {
            let step = self.prng.below(3);
            if step >= 1 {
                node.host.disk.cut(adopting.zxid);
            }
            if step >= 2 {
                node.host.disk.snapshots.retain(|snapshot| snapshot.zxid <= adopting.zxid);
                node.host.disk.snapshots.push(adopting);
            }
        }
        (node.flush_at, node.adopt_at) = (None, None);
        node.host.state = ServerState::Looking;
        node.host.suspended = true;
        node.host.out.clear();
        node.host.batches.clear();
        node.restart_at = self.now + down_ms;
        self.network.drop_server(sid, self.now + 1);
        self.clients.server_gone(sid);
    }

    /// One millisecond.
    pub fn step(&mut self) {
        self.now += 1;
        if self.faults {
            self.draw_fault();
        }
        self.deliver_votes();
        let sids: Vec<Sid> = self.nodes.keys().copied().collect();
        for sid in sids {
            let node = &self.nodes[&sid];
            if node.peer.is_none() {
                if self.now >= node.restart_at {
                    self.start(sid);
                }
                continue;
            }
            if self.now < node.paused_until {
                continue;
            }
            self.disk_done(sid);
            self.deliver_links(sid);
            if (self.now + sid.0) % 5 == 0 {
                let requests =
                    self.clients.requests(sid, &self.nodes[&sid], self.now, &mut self.prng);
                for message in requests {
                    self.message(sid, message);
                }
            }
            self.end_turn(sid);
        }
    }

    fn draw_fault(&mut self) {
        let sids: Vec<Sid> = self.nodes.keys().copied().collect();
        let any = |prng: &mut Prng| sids[prng.below(sids.len() as u64) as usize];
        match self.prng.below(60_000) {
            0..12 => {
                let sid = any(&mut self.prng);
                self.crash(sid);
            }
            90..110 => sids.iter().for_each(|sid| self.crash(*sid)),
            16..26 => {
                let (a, b) = (any(&mut self.prng), any(&mut self.prng));
                let both_ways = self.prng.below(3) > 0;
                self.network.cut(a, b, both_ways);
            }
            26..32 => {
                // One server from all others.
                let alone = any(&mut self.prng);
                sids.iter().for_each(|sid| self.network.cut(alone, *sid, true));
            }
            32..80 => self.network.cut.clear(),
            80..90 => {
                let (sid, ms) = (any(&mut self.prng), self.prng.below(2500) as i64);
                let until = self.now + ms;
                self.nodes.get_mut(&sid).expect("there").paused_until = until;
            }
            _ => {}
        }
    }

    fn deliver_votes(&mut self) {
        let due = self.network.votes.partition_point(|vote| vote.at <= self.now);
        for vote in self.network.votes.drain(..due).collect::<Vec<_>>() {
            let Vote { from, to, body, .. } = vote;
            let Some(node) = self.nodes.get_mut(&to) else { continue };
            if self.now < node.paused_until {
                continue;
            }
            let Some(peer) = &mut node.peer else { continue };
            peer.set_time(self.now, self.now);
            peer.vote(&mut node.host, from, &body).expect("a vote stops nobody");
            self.after_turn(to);
        }
    }

    fn disk_done(&mut self, sid: Sid) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let Some(peer) = &mut node.peer else { return };
        peer.set_time(now, now);
        node.host.now = now;
        if node.flush_at.is_some_and(|at| now >= at) {
            node.flush_at = None;
            let records = node.host.flushing.take().expect("under way");
            node.host.disk.durable = records;
            if let Some((zxid, _)) = node.host.disk.log[..records].last() {
                peer.logged(*zxid);
            }
        }
        if node.adopt_at.is_some_and(|at| now >= at) {
            node.adopt_at = None;
            let adopted = node.host.adopting.take().expect("under way");
            node.host.disk.cut(adopted.zxid);
            node.host.disk.snapshots.retain(|snapshot| snapshot.zxid <= adopted.zxid);
            node.host.disk.snapshots.push(adopted);
            peer.snapshot_adopted(&mut node.host).expect("adopted");
            self.after_turn(sid);
        }
    }

    fn deliver_links(&mut self, sid: Sid) {
        let now = self.now;
        let ends: Vec<_> = self.network.flows.keys().filter(|end| end.0 == sid).copied().collect();
        for end in ends {
            let mut lost = None;
            let Some(flow) = self.network.flows.get_mut(&end) else { continue };
            let passes = flow.other.is_none_or(|other| !self.network.cut.contains(&(other.0, sid)));
            while passes && flow.pieces.front().is_some_and(|(at, _)| *at <= now) {
                flow.last_heard = now;
                match flow.pieces.pop_front() {
                    Some((_, Piece::Bytes(bytes))) => flow.input.extend_from_slice(&bytes),
                    Some((_, Piece::Tree(mut source))) => {
                        snapshot::stream(&mut flow.input, &mut *source).expect("memory");
                    }
                    Some((_, Piece::Closed)) => lost = Some("closed by the other side"),
                    None => break,
                }
            }
            if flow.timeout.is_some_and(|ms| now - flow.last_heard > ms) {
                lost = Some("nothing was received in time");
            }
            let input = std::mem::take(&mut flow.input);
            self.link_input(end, input);
            if let Some(why) = lost
                && self.network.flows.contains_key(&end)
            {
                self.network.close(end, now + 1);
                self.link_down(end, why);
            }
        }
    }

    fn link_input(&mut self, end: (Sid, LinkId), input: Vec<u8>) {
        if input.is_empty() {
            return;
        }
        let Some(node) = self.nodes.get_mut(&end.0) else { return };
        let Some(peer) = &mut node.peer else { return };
        // In bites, as a socket gives it.
        let bite = 1 + self.prng.below(input.len() as u64) as usize;
        let offered = if self.prng.below(4) == 0 { &input[..bite] } else { &input[..] };
        let taken = peer.link_input(&mut node.host, end.1, offered);
        let taken = taken.unwrap_or_else(|fatal| panic!("server {}: {fatal}", end.0.0));
        if let Some(flow) = self.network.flows.get_mut(&end) {
            flow.input = input[taken..].to_vec();
        }
        self.after_turn(end.0);
    }

    fn link_down(&mut self, end: (Sid, LinkId), why: &str) {
        let Some(node) = self.nodes.get_mut(&end.0) else { return };
        let Some(peer) = &mut node.peer else { return };
        peer.link_down(&mut node.host, end.1, why).expect("a lost link stops nobody");
        self.after_turn(end.0);
    }

    fn message(&mut self, sid: Sid, message: ToZab) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let Some(peer) = &mut node.peer else { return };
        if peer.takes_messages() {
            peer.message(&mut node.host, message);
        }
    }

    fn end_turn(&mut self, sid: Sid) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let Some(peer) = &mut node.peer else { return };
        let ended = peer.end_turn(&mut node.host);
        ended.unwrap_or_else(|fatal| panic!("server {}: {fatal}", sid.0));
        self.after_turn(sid);
    }

    /// Carries out what a server asked for in a turn.
    fn after_turn(&mut self, sid: Sid) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let outs = std::mem::take(&mut node.host.out);
        let batches = std::mem::take(&mut node.host.batches);
        let unflushed = node.host.disk.log.len() > node.host.disk.durable;
        if unflushed && node.host.flushing.is_none() {
            node.host.flushing = Some(node.host.disk.log.len());
            // A busy disk now and then.
            let slow = if self.prng.below(10) == 0 { 60 } else { 8 };
            node.flush_at = Some(now + 1 + self.prng.below(slow) as i64);
        }
        for batch in batches {
            self.clients.batch(sid, &batch, now, &mut self.checkers);
        }
        let node = &self.nodes[&sid];
        self.checkers.look(sid, node.peer.as_ref(), &node.host, now);
        if node.host.suspended {
            self.clients.server_gone(sid);
        }
        for out in outs {
            self.carry_out(sid, out);
        }
    }

    fn carry_out(&mut self, sid: Sid, out: Out) {
        let delay = 1 + self.prng.below(4) as i64;
        let at = self.now + delay;
        match out {
            Out::Vote(to, body) => {
                if self.network.passes(sid, to) {
                    let place = self.network.votes.partition_point(|vote| vote.at <= at);
                    self.network.votes.insert(place, Vote { at, from: sid, to, body });
                }
            }
            Out::Dial(link, leader) => self.dial(sid, link, leader),
            Out::Bytes(link, bytes) => self.network.send((sid, link), at, Piece::Bytes(bytes)),
            Out::Tree(link, source) => self.network.send((sid, link), at + 20, Piece::Tree(source)),
            Out::Timeout(link, ms) => {
                if let Some(flow) = self.network.flows.get_mut(&(sid, link)) {
                    flow.timeout = Some(ms);
                    flow.last_heard = self.now;
                }
            }
            Out::Close(link) => self.network.close((sid, link), at),
            Out::Adopt => {
                let adopt_at = self.now + 5 + self.prng.below(60) as i64;
                self.nodes.get_mut(&sid).expect("there").adopt_at = Some(adopt_at);
            }
        }
    }

    fn dial(&mut self, sid: Sid, link: LinkId, leader: Sid) {
        let (out, back) = (self.network.passes(sid, leader), self.network.passes(leader, sid));
        let listens = self.nodes.get(&leader).is_some_and(|node| node.host.accepting);
        if !out || !back || !listens || self.nodes[&leader].peer.is_none() {
            return self.link_down((sid, link), "refused");
        }
        // Both ends of a link have names of their own.
        let there = LinkId(link.0 | 1 << 60);
        self.network.connect((sid, link), (leader, there), self.now);
        for (end, id) in [(leader, there), (sid, link)] {
            let node = self.nodes.get_mut(&end).expect("there");
            if let Some(peer) = &mut node.peer {
                peer.link_up(&mut node.host, id);
                self.after_turn(end);
            }
        }
    }

    /// No more faults; everybody comes back.
    pub fn heal(&mut self) {
        self.faults = false;
        self.network.cut.clear();
        for node in self.nodes.values_mut() {
            node.paused_until = 0;
            node.restart_at = node.restart_at.min(self.now + 100);
        }
    }

    pub fn all_serve(&self) -> bool {
        let serves = |node: &Node| {
            let host = &node.host;
            node.peer.is_some() && !host.suspended && host.state != ServerState::ReadOnly
        };
        self.nodes.values().all(serves)
    }
}

//! A whole ensemble in one thread: servers, disks, network, clients, faults, all drawn from one seed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ringkeeper::auth::{Auth, AuthConfig};
use ringkeeper::base::prng::Prng;
use ringkeeper::base::{MonoMs, Sid};
use ringkeeper::peer::{Fatal, LinkId, Peer, PeerOptions, PeerParts, ServerState, SyncLimits};
use ringkeeper::pipeline::ToZab;
use ringkeeper::pipeline::prep::PrepOptions;
use ringkeeper::session::SessionIds;
use ringkeeper::storage::snapshot;
use ringkeeper::zab::Quorum;
use ringkeeper::zab::liveness::Limits;

use crate::checkers::Checkers;
use crate::checkers::availability::Availability;
use crate::choices::Choices;
use crate::clients::Clients;
use crate::core::ClientCore;
use crate::disk::{Disk, OWNERS};
use crate::host::{Luck, Out, SimHost};
use crate::network::{Network, Piece, Vote};
use crate::weather::{Fault, Weather};

pub const TICK_MS: i64 = 200;

/// A server that runs, or only its disk.
pub struct Node {
    pub peer: Option<Peer>,
    pub host: SimHost,
    pub core: ClientCore,
    /// Messages of the client core that the Zab core has not taken yet.
    inbox: VecDeque<ToZab>,
    /// When something of its disk is done.
    flush_at: Option<MonoMs>,
    adopt_at: Option<MonoMs>,
    written_at: Option<MonoMs>,
    /// Milliseconds that a flush may take.
    flush_ms: u64,
    /// Milliseconds more that packets from and to it take.
    lag_ms: MonoMs,
    /// Stopped as by SIGSTOP, until then.
    pub paused_until: MonoMs,
    restart_at: MonoMs,
    starts: u64,
}

pub struct World {
    pub now: MonoMs,
    pub prng: Prng,
    /// For the pieces that a power loss leaves of a flush: everything else stays what it was.
    torn: Prng,
    /// Starts from a log with such pieces.
    pub torn_starts: u64,
    pub nodes: BTreeMap<Sid, Node>,
    pub network: Network,
    pub clients: Clients,
    pub checkers: Checkers,
    voters: Vec<Sid>,
    auth: Arc<Auth>,
    choices: Choices,
    weather: Weather,
    /// Power will be lost, on these servers.
    blackout: Option<(MonoMs, Vec<Sid>)>,
    /// When another bare majority takes its turn, in seeds in which they do.
    next_majority: Option<MonoMs>,
}

impl World {
    pub fn new(seed: u64, voters: i64, observers: i64) -> World {
        let mut prng = Prng::new(seed);
        let weather = Weather::draw(&mut prng);
        let next_majority = (weather.rotates && voters > 2).then_some(2000);
        let mut world = World {
            now: 1000,
            prng,
            torn: Prng::new(seed ^ 0x746f_726e),
            torn_starts: 0,
            nodes: BTreeMap::new(),
            network: Network::default(),
            clients: Clients::new((voters + observers) as usize, seed),
            checkers: Checkers::default(),
            voters: (1..=voters).map(Sid).collect(),
            auth: Arc::new(Auth::new(AuthConfig::default())),
            choices: Choices::of(seed),
            weather,
            blackout: None,
            next_majority,
        };
        world.checkers.sessions.may_be_local = world.choices.local.sessions;
        // One of them may join a running ensemble later.
        let late = (voters > 2 && world.prng.below(3) == 0)
            .then(|| 1 + world.prng.below((voters + observers) as u64) as i64);
        for sid in 1..=voters + observers {
            let wait = if late == Some(sid) { 5000 } else { 300 };
            let node = Node {
                peer: None,
                host: SimHost::new(Disk::default(), Luck::new(0, 0), 1),
                core: ClientCore::new(Sid(sid)),
                inbox: VecDeque::new(),
                flush_at: None,
                adopt_at: None,
                written_at: None,
                flush_ms: 8,
                lag_ms: 0,
                paused_until: 0,
                restart_at: world.now + world.prng.below(wait) as i64,
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
            force_snapshot_sync: self.weather.force_snapshot_sync,
            log_sync: self.weather.log_sync,
            packet_bytes_max: 1 << 20,
            observer_logs: true,
            leader_connect_delay_ms: if self.weather.rotates { 20 } else { 100 },
            leader_serves: true,
            local: self.choices.local,
            sync_limits: SyncLimits::default(),
        }
    }

    fn start(&mut self, sid: Sid) {
        self.checkers.availability.disturbed();
        let mut options = self.options(sid);
        options.force_snapshot_sync &= self.prng.below(2) == 0;
        let hasty = self.weather.rotates;
        let election = self.choices.voting(&options, hasty, self.prng.next_u64());
        let (now, auth) = (self.now, self.auth.clone());
        let luck = Luck::new(self.prng.next_u64(), self.weather.fatal_moments);
        let flush_ms = self.weather.flush_ms(&mut self.prng);
        let lag_ms = self.weather.lag_ms(&mut self.prng);
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        node.starts += 1;
        self.torn_starts += u64::from(node.host.disk.debris.is_some());
        (node.flush_ms, node.lag_ms) = (flush_ms, lag_ms);
        let disk = std::mem::take(&mut node.host.disk);
        let first_link = (sid.0 as u64) << 40 | node.starts << 20;
        node.host = SimHost::new(disk, luck, first_link);
        node.host.now = now;
        node.core = ClientCore::new(sid);
        node.inbox.clear();
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
        let started = peer.start(&mut node.host);
        node.peer = Some(peer);
        self.unless_dead(sid, started);
        self.after_turn(sid);
    }

    /// Only a disk that fails may stop a server, and none does here.
    fn unless_dead<T: Default>(&self, sid: Sid, result: Result<T, Fatal>) -> T {
        match result {
            Ok(value) => value,
            Err(_) if self.nodes[&sid].host.luck.dead => T::default(),
            Err(fatal) => Availability::stopped(sid, &fatal),
        }
    }

    /// Power off: what is not on disk is gone.
    pub fn crash(&mut self, sid: Sid) {
        self.checkers.availability.disturbed();
        let down_ms = self.weather.down_ms(&mut self.prng);
        let wipes = self.prng.below(5) == 0 && self.may_wipe(sid);
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        if node.peer.take().is_none() {
            return;
        }
        node.host.disk.crash(&mut self.prng, &mut self.torn);
        let safe = node.host.disk.safe();
        tracing::info!("{}: server {} loses power, {safe} is safe", self.now, sid.0);
        // A snapshot in the middle of being put in place is there or not.
        if let Some(adopting) = node.host.adopting.take() {
            match self.prng.below(3) {
                0 => {}
                step => node.host.disk.adopt(adopting, step == 2),
            }
        }
        if wipes {
            node.host.disk = Disk::default();
        }
        (node.flush_at, node.adopt_at, node.written_at) = (None, None, None);
        node.host.state = ServerState::Looking;
        node.host.suspended = true;
        node.host.accepting = false;
        node.host.writing = None;
        node.host.out.clear();
        node.host.mail.clear();
        node.restart_at = self.now + down_ms;
        node.core.power_off();
        self.network.drop_server(sid, self.now + 1, Some(&mut self.prng));
        self.checkers.gone(sid);
        self.hear_core(sid);
    }

    /// An operator may lose one server's directory: an observer's, or a voter's as long as all others have everything.
    fn may_wipe(&self, sid: Sid) -> bool {
        let last = self.checkers.total_order.last();
        let epochs = |sid: &Sid| self.nodes[sid].host.disk.epochs;
        let others: Vec<&Sid> = self.voters.iter().filter(|voter| **voter != sid).collect();
        let healthy = |voter: &&Sid| {
            let Node { peer, host, .. } = &self.nodes[voter];
            peer.is_some() && !host.suspended && host.disk.safe() >= last
        };
        let one_epoch = others.windows(2).all(|pair| epochs(pair[0]) == epochs(pair[1]));
        !self.voters.contains(&sid) || others.len() >= 2 && others.iter().all(healthy) && one_epoch
    }

    /// One millisecond.
    pub fn step(&mut self) {
        self.now += 1;
        self.strike();
        self.deliver_votes();
        let sids: Vec<Sid> = self.nodes.keys().copied().collect();
        self.clients.act(&mut self.nodes, self.now, &mut self.prng, &mut self.checkers);
        for sid in sids {
            let node = &self.nodes[&sid];
            if node.peer.is_none() {
                if self.now >= node.restart_at {
                    self.start(sid);
                }
                continue;
            }
            let _in = tracing::info_span!("server", sid = sid.0, now = self.now).entered();
            self.hear_core(sid);
            if self.now < self.nodes[&sid].paused_until {
                continue;
            }
            self.disk_done(sid);
            self.deliver_links(sid);
            if self.prng.below(3) > 0 {
                self.core_turn(sid);
            }
            self.messages(sid);
            self.end_turn(sid);
        }
        if self.now % 100 == 0 {
            self.look_for_waiting_leaders();
        }
    }

    /// Another bare majority has its turn, the other voters are down. What one majority has decided the next must find
    /// out from the few that belong to both.
    fn rotate(&mut self) {
        let mut voters = self.voters.clone();
        for at in (1..voters.len()).rev() {
            voters.swap(at, self.prng.below(at as u64 + 1) as usize);
        }
        // One that had a turn just now is left out.
        let up = |sid: &Sid| self.nodes[sid].restart_at < MonoMs::MAX;
        if let Some(at) = voters.iter().position(up) {
            let last = voters.len() - 1;
            voters.swap(at, last);
        }
        let down = voters.split_off(voters.len() / 2 + 1);
        tracing::info!("{}: now {voters:?}", self.now);
        let sids: Vec<Sid> = self.nodes.keys().copied().collect();
        for sid in sids {
            let held = down.contains(&sid);
            if held || self.prng.below(2) == 0 {
                self.crash(sid);
            }
            let soon = self.now + 5 + self.prng.below(60) as i64;
            let node = self.nodes.get_mut(&sid).expect("there");
            node.restart_at = if held { MonoMs::MAX } else { node.restart_at.min(soon) };
        }
        self.next_majority = Some(self.now + 150 + self.prng.below(500) as i64);
    }

    /// Faults, as the weather is.
    fn strike(&mut self) {
        if self.next_majority.is_some_and(|at| self.now >= at) {
            self.rotate();
        }
        let sids: Vec<Sid> = self.nodes.keys().copied().collect();
        if let Some((at, struck)) = self.blackout.take() {
            match self.now >= at {
                true => struck.iter().for_each(|sid| self.crash(*sid)),
                false => self.blackout = Some((at, struck)),
            }
        }
        let any = |prng: &mut Prng| sids[prng.below(sids.len() as u64) as usize];
        let Some(fault) = self.weather.strikes(&mut self.prng) else { return };
        self.checkers.availability.disturbed();
        tracing::info!("{}: {fault:?}", self.now);
        match fault {
            Fault::Crash => {
                let sid = any(&mut self.prng);
                self.crash(sid);
            }
            Fault::CrashLeader => {
                let leads = |sid: &&Sid| self.nodes[sid].host.accepting;
                if let Some(leader) = sids.iter().find(leads) {
                    self.crash(*leader);
                }
            }
            Fault::Blackout => sids.iter().for_each(|sid| self.crash(*sid)),
            Fault::Cut => {
                let (a, b) = (any(&mut self.prng), any(&mut self.prng));
                let both_ways = self.prng.below(3) > 0;
                self.network.cut(a, b, both_ways);
            }
            Fault::Isolate => {
                let alone = any(&mut self.prng);
                sids.iter().for_each(|sid| self.network.cut(alone, *sid, true));
            }
            Fault::Mend => self.network.cut.clear(),
            Fault::Pause => {
                let (sid, ms) = (any(&mut self.prng), self.prng.below(2500) as i64);
                let until = self.now + ms;
                self.nodes.get_mut(&sid).expect("there").paused_until = until;
                self.clients.paused(sid, until, &mut self.checkers);
            }
        }
    }

    /// A moment that mattered has gone wrong, or will.
    fn lose_power(&mut self, sid: Sid) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let omen = std::mem::take(&mut node.host.luck.omen);
        let ms = if self.prng.below(2) == 0 { 8 } else { 60 };
        let soon = self.now + 1 + self.prng.below(ms) as i64;
        if let Some(at) = &mut self.next_majority
            && (omen || node.host.luck.dead)
        {
            *at = soon.min(*at);
        }
        if node.host.luck.dead {
            self.crash(sid);
            if self.prng.below(2) == 0 {
                self.blackout = Some((self.now + 1, self.nodes.keys().copied().collect()));
            }
        } else if omen && self.blackout.is_none() && self.next_majority.is_none() {
            let struck = match self.prng.below(3) {
                0 => vec![sid],
                1 => self.nodes.keys().copied().filter(|_| self.prng.below(2) == 0).collect(),
                _ => self.nodes.keys().copied().collect(),
            };
            self.blackout = Some((soon, struck));
        }
    }

    /// Whether a leader has its quorum and does not serve.
    fn look_for_waiting_leaders(&mut self) {
        let quiet = self.network.cut.is_empty();
        let running = |node: &&Node| node.peer.is_some() && self.now >= node.paused_until;
        let all = self.nodes.values().filter(running).count() == self.nodes.len();
        if !quiet || !all {
            return self.checkers.availability.disturbed();
        }
        for (sid, node) in &self.nodes {
            // Its epoch is agreed on. A server that had promised it before does not count towards that.
            let epochs = node.host.disk.epochs;
            let synchronises = node.host.accepting && epochs.current == epochs.accepted;
            let follows = |voter: &Sid| {
                let Node { peer, host, .. } = &self.nodes[voter];
                let follows = peer.as_ref().map(|peer| peer.status(false).leader);
                follows == Some(Some(*sid))
                    && host.disk.epochs.accepted == epochs.accepted
                    && self.network.connected(*voter, *sid)
            };
            let voters = self.voters.iter().filter(|voter| *voter == sid || follows(voter));
            let quorum = voters.count() * 2 > self.voters.len();
            if synchronises && node.host.suspended && quorum {
                self.checkers.availability.waits(*sid, self.now);
            } else {
                self.checkers.availability.left(*sid);
            }
        }
    }

    fn core_turn(&mut self, sid: Sid) {
        if let Some(node) = self.nodes.get_mut(&sid) {
            node.core.turn();
            self.hear_core(sid);
        }
    }

    /// What a client core says, to its clients and to the Zab core.
    fn hear_core(&mut self, sid: Sid) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let outputs = std::mem::take(&mut node.core.outputs);
        node.inbox.extend(node.core.messages.drain(..));
        self.clients.told(sid, outputs, self.now, &mut self.checkers);
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
            let heard = peer.vote(&mut node.host, from, &body);
            self.unless_dead(to, heard);
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
        if node.written_at.is_some_and(|at| now >= at) {
            node.written_at = None;
            node.host.snapshot_written();
        }
        if node.adopt_at.is_some_and(|at| now >= at) {
            node.adopt_at = None;
            let adopted = node.host.adopting.take().expect("under way");
            node.host.disk.adopt(adopted, true);
            let done = peer.snapshot_adopted(&mut node.host);
            self.unless_dead(sid, done);
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
        let taken = self.unless_dead(end.0, taken);
        if let Some(flow) = self.network.flows.get_mut(&end) {
            flow.input = input.get(taken..).unwrap_or_default().to_vec();
        }
        self.after_turn(end.0);
    }

    fn link_down(&mut self, end: (Sid, LinkId), why: &str) {
        let Some(node) = self.nodes.get_mut(&end.0) else { return };
        let Some(peer) = &mut node.peer else { return };
        let lost = peer.link_down(&mut node.host, end.1, why);
        self.unless_dead(end.0, lost);
        self.after_turn(end.0);
    }

    /// The Zab core takes what its client core has for it, as far as it has room.
    fn messages(&mut self, sid: Sid) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let Some(peer) = &mut node.peer else { return };
        while peer.takes_messages()
            && let Some(message) = node.inbox.pop_front()
        {
            peer.message(&mut node.host, message);
        }
        peer.set_heard_everything(node.inbox.is_empty());
    }

    fn end_turn(&mut self, sid: Sid) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let Some(peer) = &mut node.peer else { return };
        let ended = peer.end_turn(&mut node.host);
        self.unless_dead(sid, ended);
        self.after_turn(sid);
    }

    /// Carries out what a server asked for in a turn.
    fn after_turn(&mut self, sid: Sid) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let mut outs = std::mem::take(&mut node.host.out);
        let mail = std::mem::take(&mut node.host.mail);
        let unflushed = node.host.disk.log.len() > node.host.disk.durable;
        if unflushed && node.host.flushing.is_none() {
            node.host.flushing = Some(node.host.disk.log.len());
            // A busy disk now and then.
            let slow = if self.prng.below(10) == 0 { 60 } else { node.flush_ms };
            node.flush_at = Some(now + 1 + self.prng.below(slow) as i64);
        }
        let dead = node.host.luck.dead;
        if dead {
            self.checkers.note_proposals(sid, &node.host.disk);
            // What it had said before may still have left.
            if self.prng.below(2) == 0 {
                outs.clear();
            }
            outs.retain(|out| matches!(out, Out::Vote(..) | Out::Bytes(..) | Out::Tree(..)));
        } else if let Some(peer) = &node.peer {
            self.checkers.look(sid, peer, &node.host, now);
            node.core.mailbox.extend(mail);
        }
        for out in outs {
            self.carry_out(sid, out);
        }
        self.lose_power(sid);
    }

    fn carry_out(&mut self, sid: Sid, out: Out) {
        let delay = 1 + self.prng.below(4) as i64;
        let lag = |sid: &Sid| self.nodes[sid].lag_ms;
        let far = match &out {
            Out::Vote(to, _) => lag(to),
            Out::Bytes(link, _) | Out::Tree(link, _) | Out::Close(link) => {
                self.network.other((sid, *link)).map_or(0, |other| lag(&other))
            }
            _ => 0,
        };
        let at = self.now + delay + far.max(lag(&sid));
        match out {
            Out::Vote(to, body) => {
                if self.network.passes(sid, to) {
                    let place = self.network.votes.partition_point(|vote| vote.at <= at);
                    self.network.votes.insert(place, Vote { at, from: sid, to, body });
                }
            }
            Out::Dial(link, leader) => self.dial(sid, link, leader),
            Out::Bytes(link, bytes) => self.network.send((sid, link), at, Piece::Bytes(bytes)),
            Out::Tree(link, source) => {
                self.network.send((sid, link), at + 20, Piece::Tree(source));
                // What follows is held up now and then.
                if self.prng.below(2) == 0 {
                    let until = at + 20 + self.prng.below(200) as i64;
                    self.network.send((sid, link), until, Piece::Bytes(Vec::new()));
                }
            }
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
            Out::Write => {
                let written_at = self.now + 1 + self.prng.below(100) as i64;
                self.nodes.get_mut(&sid).expect("there").written_at = Some(written_at);
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
        self.weather.clear();
        (self.blackout, self.next_majority) = (None, None);
        self.network.cut.clear();
        for node in self.nodes.values_mut() {
            node.host.luck.end();
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

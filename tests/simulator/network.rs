//! Links and votes between simulated servers: delays, cuts, silence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringkeeper::base::prng::Prng;
use ringkeeper::base::{MonoMs, Sid};
use ringkeeper::peer::{LinkId, Source};

/// One end of a link, on one server.
pub type End = (Sid, LinkId);

pub enum Piece {
    Bytes(Vec<u8>),
    Tree(Box<Source>),
    /// The other side has closed.
    Closed,
}

/// What flows towards one end.
#[derive(Default)]
pub struct Flow {
    pub other: Option<End>,
    pub pieces: VecDeque<(MonoMs, Piece)>,
    pub input: Vec<u8>,
    pub timeout: Option<MonoMs>,
    pub last_heard: MonoMs,
}

pub struct Vote {
    pub at: MonoMs,
    pub from: Sid,
    pub to: Sid,
    pub body: Vec<u8>,
}

#[derive(Default)]
pub struct Network {
    pub flows: BTreeMap<End, Flow>,
    pub votes: VecDeque<Vote>,
    /// Pairs (from, to) between which nothing passes.
    pub cut: BTreeSet<(Sid, Sid)>,
}

impl Network {
    pub fn passes(&self, from: Sid, to: Sid) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Nothing passes between the two, or nothing one way.
    pub fn cut(&mut self, a: Sid, b: Sid, both_ways: bool) {
        self.cut.insert((a, b));
        if both_ways {
            self.cut.insert((b, a));
        }
    }

    pub fn connect(&mut self, a: End, b: End, now: MonoMs) {
        for (end, other) in [(a, b), (b, a)] {
            let flow = Flow { other: Some(other), last_heard: now, ..Flow::default() };
            self.flows.insert(end, flow);
        }
    }

    pub fn send(&mut self, from: End, at: MonoMs, piece: Piece) {
        let Some(other) = self.flows.get(&from).and_then(|flow| flow.other) else { return };
        let Some(flow) = self.flows.get_mut(&other) else { return };
        let at = flow.pieces.back().map_or(at, |(last, _)| at.max(*last));
        flow.pieces.push_back((at, piece));
    }

    /// Who is at the other end.
    pub fn other(&self, end: End) -> Option<Sid> {
        self.flows.get(&end)?.other.map(|other| other.0)
    }

    /// Some link of the two is up, with nothing lost on it.
    pub fn connected(&self, a: Sid, b: Sid) -> bool {
        self.flows.iter().any(|(end, flow)| end.0 == a && flow.other.is_some_and(|end| end.0 == b))
    }

    /// This end is gone; the other hears of it behind what is under way.
    pub fn close(&mut self, end: End, at: MonoMs) {
        self.send(end, at, Piece::Closed);
        if let Some(flow) = self.flows.remove(&end)
            && let Some(other) = flow.other
            && let Some(other) = self.flows.get_mut(&other)
        {
            other.other = None;
        }
    }

    /// A server is gone. `lost`: its power; then what was under way may be lost from anywhere on, and the others may
    /// hear nothing of it at all.
    pub fn drop_server(&mut self, sid: Sid, at: MonoMs, lost: Option<&mut Prng>) {
        let ends: Vec<End> = self.flows.keys().filter(|end| end.0 == sid).copied().collect();
        let mut prng = lost;
        for end in ends {
            let other = self.flows.get(&end).and_then(|flow| flow.other);
            let mut silent = false;
            if let (Some(prng), Some(other)) = (&mut prng, other)
                && let Some(flow) = self.flows.get_mut(&other)
            {
                if prng.below(2) == 0 {
                    let kept = prng.below(flow.pieces.len() as u64 + 1) as usize;
                    flow.pieces.truncate(kept);
                }
                silent = prng.below(2) == 0;
                if silent {
                    flow.other = None;
                    self.flows.remove(&end);
                }
            }
            if !silent {
                self.close(end, at);
            }
        }
        self.votes.retain(|vote| vote.to != sid && vote.from != sid);
    }
}

//! Four-letter words: asks every core for its part and hands what comes back to the formatting room.

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Config;
use crate::ensemble::ZabReport;
use crate::pipeline::Mailbox;
use crate::pipeline::messages::{Report, ToShard, ToZab};
use crate::shard::{CommandHandler, PendingAnswer, ShardCounters, ShardReport};
use crate::tree::Tree;
use crate::wire::four_letter::FourLetterWord;

/// How long a core may take to answer before the report goes out without its part.
const PATIENCE: Duration = Duration::from_secs(2);

/// Collects the cores' parts.
#[derive(Debug)]
struct Gather {
    parts: Mutex<Vec<Box<dyn Any + Send>>>,
    expected: usize,
    until: Instant,
}

impl Report for Gather {
    fn add(&self, part: Box<dyn Any + Send>) {
        self.parts.lock().unwrap_or_else(|e| e.into_inner()).push(part);
    }
}

/// Shared by the client cores.
pub struct Commands {
    tree: Arc<Tree>,
    to_zab: Arc<Mailbox<ToZab>>,
    mailboxes: Vec<Arc<Mailbox<ToShard>>>,
    counters: Vec<Arc<ShardCounters>>,
    epoch: Instant,
}

impl Commands {
    pub fn new(
        _config: &Config,
        tree: Arc<Tree>,
        to_zab: Arc<Mailbox<ToZab>>,
        mailboxes: Vec<Arc<Mailbox<ToShard>>>,
        counters: Vec<Arc<ShardCounters>>,
        epoch: Instant,
    ) -> Commands {
        Commands { tree, to_zab, mailboxes, counters, epoch }
    }
}

struct Pending {
    gather: Arc<Gather>,
    word: FourLetterWord,
    tree: Arc<Tree>,
    counters: Vec<Arc<ShardCounters>>,
}

impl CommandHandler for Commands {
    fn start(&self, word: FourLetterWord, _argument: [u8; 8]) -> Box<dyn PendingAnswer> {
        let gather = Arc::new(Gather {
            parts: Mutex::default(),
            expected: self.mailboxes.len() + 1,
            until: Instant::now() + PATIENCE,
        });
        for mailbox in &self.mailboxes {
            let _ = mailbox.push(ToShard::Report(gather.clone()));
            mailbox.wake();
        }
        let _ = self.to_zab.push(ToZab::Report(gather.clone()));
        self.to_zab.wake();
        let _ = self.epoch;
        Box::new(Pending { gather, word, tree: self.tree.clone(), counters: self.counters.clone() })
    }
}

impl PendingAnswer for Pending {
    fn poll(&mut self) -> Option<Vec<u8>> {
        let mut parts = self.gather.parts.lock().unwrap_or_else(|e| e.into_inner());
        if parts.len() < self.gather.expected && Instant::now() < self.gather.until {
            return None;
        }
        let mut shards = Vec::new();
        let mut zab = ZabReport::default();
        for part in parts.drain(..) {
            match part.downcast::<ShardReport>() {
                Ok(report) => shards.push(*report),
                Err(part) => {
                    if let Ok(report) = part.downcast::<ZabReport>() {
                        zab = *report;
                    }
                }
            }
        }
        let _ = &self.counters;
        let (_, nodes) = self.tree.read(|view| view.node_count());
        Some(match self.word {
            FourLetterWord::Ruok => b"imok".to_vec(),
            _ => format!(
                "Zookeeper version: 3.9.5-ringkeeper\nLatency min/avg/max: 0/0.0/0\nReceived: 0\nSent: 0\nConnections: {}\nOutstanding: 0\nZxid: {}\nMode: standalone\nNode count: {}\n",
                shards.iter().map(|s| s.connections.len()).sum::<usize>(), zab.last_zxid, nodes + 1
            )
            .into_bytes(),
        })
    }
}

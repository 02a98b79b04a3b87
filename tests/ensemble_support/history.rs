//! What clients did and saw, in the terms the checkers judge. Times are nanoseconds since the load began.

/// Something done between `call` and `ret`. `ret` is [`NEVER`] when no answer came: it may take effect at any
/// later time, or not at all.
#[derive(Clone, Debug)]
pub struct Timed<T> {
    pub client: usize,
    pub call: u64,
    pub ret: u64,
    pub op: T,
}

pub const NEVER: u64 = u64::MAX;

/// One operation on one register: a znode whose data is a number that is never written twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegisterOp {
    /// An acknowledged setData; `version` is the one it made.
    Set { value: u64, version: i32 },
    /// A setData refused because the version was another.
    Refused { expected: i32 },
    /// A setData without an answer; `expected` is -1 for an unconditional one.
    Unknown { value: u64, expected: i32 },
    /// What a read showed that must be the newest at some moment of it.
    Read { value: u64, version: i32 },
}

/// An answer as its session saw it, in the order of arrival.
#[derive(Clone, Debug)]
pub struct Seen {
    pub client: usize,
    pub session: i64,
    pub at: u64,
    /// The zxid in the header of the reply.
    pub zxid: i64,
    /// Which register it showed, or wrote, at which version.
    pub register: Option<(usize, i32)>,
}

/// A sequential create whose data, `token`, is used once.
#[derive(Clone, Debug)]
pub struct Created {
    pub client: usize,
    pub token: String,
    pub outcome: CreateOutcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateOutcome {
    /// The path that the server answered.
    Acknowledged(String),
    Refused(i32),
    Unknown,
}

/// An ephemeral znode as its owner knows it.
#[derive(Clone, Debug)]
pub struct Life {
    pub path: String,
    pub timeout_ns: u64,
    /// When its creation was acknowledged.
    pub born: u64,
    /// Before this moment the owner did not send its last word; [`NEVER`] while it lives.
    pub last_word: u64,
    /// Whether the last word was closeSession, which takes it away at once.
    pub closed: bool,
    /// When a server told the owner that its session had expired.
    pub told_expired: Option<u64>,
    /// The last moment before `told_expired` at which a server had answered the owner.
    pub last_answer: u64,
}

/// What somebody else saw of an ephemeral, after a sync.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub path: String,
    pub call: u64,
    pub ret: u64,
    pub there: bool,
    /// The last sighting of a test, made with all patience after the owner was gone.
    pub last: bool,
}

/// What a session with a data watch heard and read, in the order of arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watched {
    /// A read that left a watch behind.
    Armed {
        register: usize,
        version: i32,
    },
    /// A read without one.
    Read {
        register: usize,
        version: i32,
    },
    Event {
        register: usize,
    },
}

/// All that the clients of one load recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By register.
    pub registers: Vec<(usize, Timed<RegisterOp>)>,
    pub seen: Vec<Seen>,
    pub created: Vec<Created>,
    pub lives: Vec<Life>,
    pub sightings: Vec<Sighting>,
    /// By session.
    pub watched: Vec<(i64, Vec<Watched>)>,
    /// Sessions that a server declared expired.
    pub expired_sessions: usize,
    /// Connections made anew, all sessions together.
    pub reconnects: usize,
}

impl History {
    /// Adds what another client recorded.
    pub fn absorb(&mut self, other: History) {
        self.registers.extend(other.registers);
        self.seen.extend(other.seen);
        self.created.extend(other.created);
        self.lives.extend(other.lives);
        self.sightings.extend(other.sightings);
        self.watched.extend(other.watched);
        self.expired_sessions += other.expired_sessions;
        self.reconnects += other.reconnects;
    }

    /// Writes of any kind that were acknowledged: a load that did nothing proves nothing.
    pub fn acknowledged(&self) -> usize {
        let sets = self.registers.iter();
        let sets = sets.filter(|(_, timed)| matches!(timed.op, RegisterOp::Set { .. })).count();
        let creates = self.created.iter();
        let acknowledged = |c: &&Created| matches!(c.outcome, CreateOutcome::Acknowledged(_));
        sets + creates.filter(acknowledged).count()
    }
}

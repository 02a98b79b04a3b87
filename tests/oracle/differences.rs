//! Where this server is meant to differ from Apache ZooKeeper 3.9.5. The generator keeps away from these; each
//! row that can be asked for safely is asked of this server alone by `scenarios::our_own_answers`.

/// A deliberate difference.
pub struct Difference {
    pub what: &'static str,
    pub apache: &'static str,
    pub ours: &'static str,
}

pub const TABLE: &[Difference] = &[
    Difference {
        what: "createTTL with a flag that is no TTL flag and a negative ttl",
        apache: "logs it, then dies of applying it, at every start again",
        ours: "-8",
    },
    Difference {
        what: "deleteContainer from a client",
        apache: "deletes any childless node, whatever its ACL",
        ours: "-6 and close",
    },
    Difference {
        what: "createSession from a client",
        apache: "answers a second ConnectResponse",
        ours: "-6 and close",
    },
    Difference {
        what: "zookeeper_limits directly below /zookeeper/quota",
        apache: "dies of applying it, at every start again",
        ours: "an ordinary node: nothing is registered for the empty path",
    },
    Difference {
        what: "deleting a zookeeper_limits node below /zookeeper but outside /zookeeper/quota",
        apache: "dies of applying it",
        ours: "an ordinary delete",
    },
    Difference {
        what: "null or malformed text in zookeeper_stats",
        apache: "dies of the next change below the path",
        ours: "recomputes",
    },
    Difference {
        what: "a write pipelined behind a setACL that is not applied yet",
        apache: "checked against the old list or the new one, as it happens",
        ours: "checked against the new one",
    },
    Difference {
        what: "a multi that is refused for a null inside an ACL entry",
        apache: "keeps the changes of the operations before it as outstanding",
        ours: "undoes them",
    },
    Difference {
        what: "a create pipelined behind a createContainer of its parent with an ephemeral flag",
        apache: "-108 until the parent is applied, after that it is done",
        ours: "it is done",
    },
    Difference {
        what: "a frame that is too long, pipelined behind requests that are not answered yet",
        apache: "closes, with or without their answers, as it happens",
        ours: "answers them, then closes",
    },
    Difference {
        what: "a session that vanishes between admission and preparation",
        apache: "-12, which Java clients cannot represent",
        ours: "-112",
    },
    Difference {
        what: "characters beyond the basic plane in echoed text",
        apache: "two three-byte surrogates each",
        ours: "standard UTF-8",
    },
];

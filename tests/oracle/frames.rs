//! Section 17 of client-protocol, byte by byte, as asked of a fresh server.

use super::scenarios::{WAIT, on_each};
use crate::support::client::{Got, Session};
use crate::support::{hex, unhex};

/// What is sent, and the frames that come back; without lengths, `..` for bytes that differ from run to run. `CREATE`,
/// `V0` and `V1` stand for the records below.
const STEPS: &[(&str, &str, &[&str])] = &[
    ("ping", "fffffffe 0000000b", &["fffffffe 0000000000000001 00000000"]),
    ("create", "00000001 00000001 CREATE", &["00000001 0000000000000002 00000000 00000002 2f61"]),
    ("the same again", "00000002 00000001 CREATE", &["00000002 0000000000000003 ffffff92"]),
    (
        "getData with watch",
        "00000003 00000004 00000002 2f61 01",
        &["00000003 0000000000000003 00000000 00000002 6869 V0"],
    ),
    (
        "setData: the event before the reply",
        "00000004 00000005 00000002 2f61 00000001 78 00000000",
        &[
            "ffffffff 0000000000000004 00000000 00000003 00000003 00000002 2f61",
            "00000004 0000000000000004 00000000 V1",
        ],
    ),
    (
        "a multi that fails",
        "00000005 0000000e 0000000d 00 ffffffff 00000002 2f61 00000007 \
         00000002 00 ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff",
        &["00000005 0000000000000005 00000000 ffffffff 00 ffffff99 ffffff99 \
           ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff"],
    ),
    (
        "addWatch",
        "00000006 0000006a 00000002 2f61 00000001",
        &["00000006 0000000000000005 00000000 00000000"],
    ),
    (
        "auth",
        "fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70",
        &["fffffffc 0000000000000000 00000000"],
    ),
    (
        "setWatches for a node that is gone",
        "fffffff8 00000065 0000000000000000 00000001 00000005 2f676f6e65 00000000 00000000",
        &[
            "ffffffff ffffffffffffffff 00000000 00000002 00000003 00000005 2f676f6e65",
            "fffffff8 0000000000000005 00000000",
        ],
    ),
    ("an unknown operation", "00000009 00000309", &["00000009 ffffffffffffffff fffffffa"]),
];

/// A CreateRequest of /a with "hi" and an open ACL.
const CREATE: &str = "00000002 2f61 00000002 6869 00000001 0000001f 00000005 776f726c64 00000006 \
                      616e796f6e65 00000000";

/// The Stat of /a as created, and after one setData; times differ from run to run.
const V0: &str = "0000000000000002 0000000000000002 ................ ................ 00000000 \
                  00000000 00000000 0000000000000000 00000002 00000000 0000000000000002";
const V1: &str = "0000000000000002 0000000000000004 ................ ................ 00000001 \
                  00000000 00000000 0000000000000000 00000001 00000000 0000000000000002";

fn spelled_out(text: &str) -> String {
    text.replace("CREATE", CREATE).replace("V0", V0).replace("V1", V1)
}

/// Whether bytes are what hexadecimal digits say, `.` for any.
pub fn matches(pattern: &str, bytes: &[u8]) -> bool {
    let pattern: String = pattern.split_whitespace().collect();
    let shown = hex(bytes);
    pattern.len() == shown.len()
        && pattern.bytes().zip(shown.bytes()).all(|(p, b)| p == b'.' || p == b)
}

#[test]
fn reference_frames() {
    on_each("frames", "", |server| {
        let mut session = Session::open(server.port, 10_000).expect("a session");
        for (what, sent, expected) in STEPS {
            session.wire.send_frame(&unhex(&spelled_out(sent)));
            for pattern in *expected {
                let Got::Frame(frame) = session.wire.next(WAIT) else {
                    panic!("{:?}: {what}: no frame", server.kind);
                };
                let right = matches(&spelled_out(pattern), &frame);
                assert!(right, "{:?}: {what}: {}", server.kind, hex(&frame));
            }
        }
        assert_eq!(session.wire.next(WAIT), Got::Closed, "{:?}", server.kind);
    });
}

//! `leader.maxConcurrentSnapSyncs` and `…DiffSyncs`: observers above the limit are turned away, followers never are.
//! Learners are played by sockets that say just enough to be brought up to date, and then nothing.

mod ensemble_support;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ensemble_support::ensemble::{Ensemble, QUORUM_PORT, Settings};
use ensemble_support::kind::{Kind, available};
use ensemble_support::{alone, wait_for};
use ringkeeper::base::Zxid;
use ringkeeper::wire::JuteWrite;
use ringkeeper::wire::quorum_packet::{LEARNER_PROTOCOL, PacketType, QuorumPacket};

const PATIENT: Duration = Duration::from_secs(30);

struct Learner {
    stream: TcpStream,
    input: Vec<u8>,
    /// The leader's, from its LEADERINFO.
    epoch: Zxid,
}

impl Learner {
    /// Connects, and promises the epoch with nothing in its log.
    fn join(leader: SocketAddr, sid: i64, kind: PacketType) -> Learner {
        let stream = TcpStream::connect_timeout(&leader, PATIENT).expect("the leader listens");
        stream.set_read_timeout(Some(PATIENT)).expect("a socket");
        let mut learner = Learner { stream, input: Vec::new(), epoch: Zxid::ZERO };
        let mut info = Vec::new();
        info.put_long(sid);
        info.put_int(LEARNER_PROTOCOL);
        info.put_long(0);
        learner.send(kind, Zxid::ZERO, Some(&info));
        let (kind, epoch) = learner.next().expect("a LEADERINFO");
        assert_eq!(kind, PacketType::LeaderInfo);
        learner.epoch = epoch;
        learner.send(PacketType::AckEpoch, Zxid::ZERO, Some(&(-1i32).to_be_bytes()));
        learner
    }

    fn send(&mut self, kind: PacketType, zxid: Zxid, data: Option<&[u8]>) {
        let mut bytes = Vec::new();
        QuorumPacket { kind, zxid, data, authinfo: None }.encode(&mut bytes);
        self.stream.write_all(&bytes).expect("sent");
    }

    /// The next packet; `None` when the leader has hung up.
    fn next(&mut self) -> Option<(PacketType, Zxid)> {
        loop {
            if let Ok(Some((packet, length))) = QuorumPacket::decode(&self.input, 1 << 20) {
                let head = (packet.kind, packet.zxid);
                self.input.drain(..length);
                return Some(head);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes from the leader: {error}"),
            }
        }
    }
}

fn limited(name: &str, extra: &str, begins: PacketType) {
    if !available(&[Kind::Ours], name) {
        return;
    }
    let _alone = alone();
    let mut ensemble = Ensemble::make(name, &[Kind::Ours; 3], &[], Settings::with(extra));
    ensemble.start_all();
    let leader = ensemble.wait_all();
    let leader = SocketAddr::from((ensemble.network.address(leader), QUORUM_PORT));
    let observer = |sid| Learner::join(leader, sid, PacketType::ObserverInfo);
    let mut first = observer(11);
    assert_eq!(first.next().expect("the first is served").0, begins);
    for sid in [12, 13] {
        assert_eq!(observer(sid).next(), None, "one too many");
    }
    let mut follower = Learner::join(leader, 14, PacketType::FollowerInfo);
    assert_eq!(follower.next().expect("a follower is served").0, begins);
    drop(follower);
    if begins == PacketType::Diff {
        // The first is up to date, and counts no more.
        let epoch = first.epoch;
        while first.next().expect("NEWLEADER").0 != PacketType::NewLeader {}
        first.send(PacketType::Ack, epoch, None);
        while first.next().expect("UPTODATE").0 != PacketType::UpToDate {}
    } else {
        drop(first);
    }
    let served = wait_for("room for another", || observer(15).next());
    assert_eq!(served.expect("it is served").0, begins);
}

#[test]
fn diffs() {
    limited("sync_limits_diff", "leader.maxConcurrentDiffSyncs=1\n", PacketType::Diff);
}

#[test]
fn snaps() {
    let extra = "leader.maxConcurrentSnapSyncs=1\nforceSnapshotSync=true\n";
    limited("sync_limits_snap", extra, PacketType::Snap);
}

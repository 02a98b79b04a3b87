//! Packets between a leader and its learners: what decodes is encoded to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::quorum_packet::{
    ForwardedRequest, LearnerInfo, QuorumPacket, Revalidate, touches,
};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((packet, taken))) = QuorumPacket::decode(rest, 1 << 16) {
        let mut out = Vec::new();
        packet.encode(&mut out);
        assert_eq!(out, rest[..taken]);
        let data = packet.data.unwrap_or_default();
        let _ = LearnerInfo::decode(data);
        let _ = ForwardedRequest::decode(data);
        let _ = Revalidate::decode(data);
        assert_eq!(touches(data).count(), data.len() / 12);
        if let Some(ids) = packet.authinfo {
            let _ = ids.iter().count();
        }
        rest = &rest[taken..];
    }
});

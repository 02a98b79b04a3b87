//! The words that list things: connections, sessions, watches, digests.

use std::fmt::Write as _;

use crate::admin::java_format;
use crate::base::SessionId;

use super::report::{
    ConnectionReport, DigestReport, ExpiryBucket, ServerReport, SessionsReport, WatchesReport,
};

/// One line of `cons` (all fields) or `stat` (brief).
pub(super) fn connection(out: &mut String, connection: &ConnectionReport, brief: bool) {
    let c = connection;
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        " {}[{:x}](queued={},recved={},sent={}",
        c.remote, c.interest_ops, c.queued, c.received, c.sent
    );
    if let Some(s) = c.session.as_ref().filter(|_| !brief) {
        let operation = s.last_operation.unwrap_or("null");
        let _ = write!(
            out,
            ",sid={},lop={operation},est={},to={}",
            s.id, s.established_wall_ms, s.timeout_ms
        );
        if let Some(cxid) = s.last_cxid {
            let _ = write!(out, ",lcxid=0x{cxid:x}");
        }
        let _ = write!(
            out,
            ",lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
            s.last_zxid,
            s.last_response_mono_ms,
            s.last_latency_ms,
            s.min_latency_ms,
            s.avg_latency_ms,
            s.max_latency_ms
        );
    }
    out.push_str(")\n");
}

pub(super) fn cons(connections: &[ConnectionReport]) -> String {
    let mut out = String::new();
    for c in connections {
        connection(&mut out, c, false);
    }
    out.push('\n');
    out
}

/// `kind Sets (buckets)/(items):` and each bucket with its items.
fn sets<T>(out: &mut String, kind: &str, buckets: &[ExpiryBucket<T>], line: impl Fn(&T) -> String) {
    let items: usize = buckets.iter().map(|bucket| bucket.items.len()).sum();
    let _ = writeln!(out, "{kind} Sets ({})/({items}):", buckets.len());
    for bucket in buckets {
        let date = java_format::date(bucket.expires_wall_ms);
        let _ = writeln!(out, "{} expire at {date}:", bucket.items.len());
        for item in &bucket.items {
            let _ = writeln!(out, "\t{}", line(item));
        }
    }
}

pub(super) fn dump(report: &ServerReport) -> String {
    let mut out = "SessionTracker dump:\n".to_owned();
    match &report.sessions {
        SessionsReport::Tracker { local: None, global } => {
            sets(&mut out, "Session", global, SessionId::to_string);
        }
        SessionsReport::Tracker { local: Some(local), global } => {
            sets(&mut out, "Local Session", local, SessionId::to_string);
            sets(&mut out, "Global Session", global, SessionId::to_string);
        }
        SessionsReport::Learner { local, global } => {
            if let Some(local) = local {
                sets(&mut out, "Local Session", local, SessionId::to_string);
            }
            let _ = writeln!(out, "Global Sessions({}):", global.len());
            for (id, timeout_ms) in global {
                let _ = writeln!(out, "{id}\t{timeout_ms}ms");
            }
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    let _ = writeln!(out, "Sessions with Ephemerals ({}):", report.ephemerals.len());
    for (id, paths) in &report.ephemerals {
        let _ = writeln!(out, "{id}:");
        for path in paths {
            let _ = writeln!(out, "\t{path}");
        }
    }
    out.push_str("Connections dump:\n");
    sets(&mut out, "Connections", &report.connection_expiry, |(remote, id)| {
        format!("ip: {remote} sessionId: {id}")
    });
    out
}

pub(super) fn wchs(watches: &WatchesReport) -> String {
    format!(
        "{} connections watching {} paths\nTotal watches:{}\n",
        watches.connections, watches.paths, watches.total
    )
}

pub(super) fn wchc(watches: &WatchesReport) -> String {
    let mut out = String::new();
    for (id, paths) in &watches.by_session {
        let _ = writeln!(out, "{id}");
        for path in paths {
            let _ = writeln!(out, "\t{path}");
        }
    }
    out.push('\n');
    out
}

pub(super) fn wchp(watches: &WatchesReport) -> String {
    let mut out = String::new();
    for (path, ids) in &watches.by_path {
        let _ = writeln!(out, "{path}");
        for id in ids {
            let _ = writeln!(out, "\t{id}");
        }
    }
    out.push('\n');
    out
}

pub(super) fn hash(digests: &[DigestReport]) -> String {
    let mut out = String::new();
    for digest in digests {
        let _ = writeln!(out, "{:x}: {}", digest.zxid.0, digest.digest);
    }
    out
}

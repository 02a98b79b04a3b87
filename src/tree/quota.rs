//! Quotas: which paths have one, what they use, and whether a request would exceed it (reference:
//! data-model 8).
//!
//! Usage is kept in the data of `zookeeper_stats` nodes and rewritten while transactions are
//! applied, without a trace in their status. Where Apache ZooKeeper dies of malformed data there,
//! usage is counted afresh.

use super::path;
use super::view::{Usage, View};
use super::writer::TreeWriter;
use crate::wire::ErrorCode;
use std::collections::{BTreeMap, HashSet};

/// Paths with a limits node. Part of the writer; one hash look-up per level, and none while there
/// is no quota.
#[derive(Default)]
pub(super) struct Quotas {
    registered: HashSet<Box<[u8]>, ahash::RandomState>,
}

impl Quotas {
    /// The deepest registered path that is `path` or an ancestor of it.
    fn deepest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.registered.is_empty() {
            return None;
        }
        let mut at = path;
        while !path::is_root(at) {
            if self.registered.contains(at) {
                return Some(at);
            }
            at = path::parent(at)?;
        }
        None
    }
}

/// The text of limits and stats nodes: `count=1,bytes=2` and, after a further `=`, other keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuotaText {
    values: BTreeMap<Vec<u8>, i64>,
}

/// Text that Apache ZooKeeper cannot parse either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedQuota;

const COUNT: &[u8] = b"count";
const BYTES: &[u8] = b"bytes";
const COUNT_HARD: &[u8] = b"countHardLimit";
const BYTES_HARD: &[u8] = b"byteHardLimit";

impl QuotaText {
    /// Parses as Java's `split` and `parseLong` do. Empty data is no limit at all, null data is
    /// malformed.
    pub fn parse(data: Option<&[u8]>) -> Result<QuotaText, MalformedQuota> {
        let data = data.ok_or(MalformedQuota)?;
        let mut values = BTreeMap::new();
        let mut rest = data;
        while let Some(last) = rest.last()
            && matches!(last, b',' | b';')
        {
            rest = &rest[..rest.len() - 1];
        }
        if rest.is_empty() {
            // Java: no text is no pair, but separators alone leave no pair either.
            return Ok(QuotaText { values });
        }
        let mut first = true;
        for pair in rest.split(|byte| matches!(byte, b',' | b';')) {
            // A run of separators is one; only a leading one makes an empty pair.
            if pair.is_empty() && !first {
                continue;
            }
            first = false;
            let (key, value) = parse_pair(pair)?;
            values.insert(key.to_vec(), value);
        }
        Ok(QuotaText { values })
    }

    fn of(usage: Usage) -> QuotaText {
        let mut text = QuotaText::default();
        text.values.insert(COUNT.to_vec(), i64::try_from(usage.nodes).unwrap_or(i64::MAX));
        text.values.insert(BYTES.to_vec(), i64::try_from(usage.bytes).unwrap_or(i64::MAX));
        text
    }

    fn value(&self, key: &[u8]) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    fn add(&mut self, key: &[u8], diff: i64) {
        let value = self.value(key).wrapping_add(diff);
        self.values.insert(key.to_vec(), value);
    }

    /// Nodes: a soft limit, or those counted.
    pub fn count(&self) -> i64 {
        self.value(COUNT)
    }

    /// Bytes of data: a soft limit, or those counted.
    pub fn bytes(&self) -> i64 {
        self.value(BYTES)
    }

    /// The text as Java writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("count={},bytes={}", self.count(), self.bytes()).into_bytes();
        let others = self.values.iter().filter(|(key, _)| *key != COUNT && *key != BYTES);
        for (nth, (key, value)) in others.enumerate() {
            out.extend_from_slice(if nth == 0 { b"=;" } else { b";" });
            out.extend_from_slice(key);
            out.extend_from_slice(format!("={value}").as_bytes());
        }
        out
    }
}

/// `key=value`; what follows a second `=` is ignored, an empty value before it is -1.
fn parse_pair(pair: &[u8]) -> Result<(&[u8], i64), MalformedQuota> {
    let mut parts = pair.split(|&byte| byte == b'=');
    let key = parts.next().unwrap_or_default();
    let value = parts.next().ok_or(MalformedQuota)?;
    if value.is_empty() {
        // Java drops empty parts at the end, and then there is no value.
        return if parts.any(|part| !part.is_empty()) {
            Ok((key, -1))
        } else {
            Err(MalformedQuota)
        };
    }
    let text = std::str::from_utf8(value).map_err(|_| MalformedQuota)?;
    Ok((key, text.parse().map_err(|_| MalformedQuota)?))
}

/// A limit that a request would exceed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The path that has the quota.
    pub path: Box<[u8]>,
    /// Hard limits refuse the request, soft ones are only logged.
    pub hard: bool,
    /// True for the number of nodes, false for bytes.
    pub count: bool,
    pub limit: i64,
    /// Usage after the request.
    pub wanted: i64,
}

/// Limits or use that one node below `/zookeeper/quota` tells of, under the top-level node that they belong to; -1 is
/// no limit. What the node does not tell of is 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuotaRow {
    pub top: Box<[u8]>,
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_used: i64,
    pub bytes_used: i64,
}

impl QuotaRow {
    /// `None` for a node that is neither, and for malformed text.
    fn of(node_path: &[u8], data: Option<&[u8]>) -> Option<QuotaRow> {
        let limits = described(node_path, path::LIMITS_NAME);
        let of = limits.or_else(|| described(node_path, path::STATS_NAME))?;
        let text = QuotaText::parse(data).ok()?;
        let hard_or_soft = |hard, soft| if hard > -1 { hard } else { soft };
        let row = QuotaRow { top: path::top(of)?.into(), ..QuotaRow::default() };
        Some(match limits {
            Some(_) => QuotaRow {
                count_limit: hard_or_soft(text.value(COUNT_HARD), text.count()),
                bytes_limit: hard_or_soft(text.value(BYTES_HARD), text.bytes()),
                ..row
            },
            None => QuotaRow { count_used: text.count(), bytes_used: text.bytes(), ..row },
        })
    }
}

impl View<'_> {
    /// Every node below `/zookeeper/quota` that tells of limits or use, in no order.
    pub fn quotas(&self) -> Vec<QuotaRow> {
        let mut rows = Vec::new();
        let mut waiting: Vec<_> = self.lookup(path::QUOTA).into_iter().collect();
        let mut node_path = Vec::new();
        while let Some(node) = waiting.pop() {
            if self.torn() {
                return rows;
            }
            if node.num_children() == 0 {
                node_path.clear();
                node.path(&mut node_path);
                rows.extend(QuotaRow::of(&node_path, node.data()));
            }
            waiting.extend(node.children());
        }
        rows
    }
}

fn quota_node(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path::QUOTA, path, b"/", name].concat()
}

/// The path whose quota a node below `/zookeeper/quota` describes, if it has this name.
fn described<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let path = path.strip_prefix(path::QUOTA)?.strip_suffix(name)?.strip_suffix(b"/")?;
    // Directly under the quota node there is nothing to describe: Apache ZooKeeper 3.9.5 dies of
    // it.
    path.starts_with(b"/").then_some(path)
}

fn check_limit(
    path: &[u8],
    count: bool,
    (soft, hard): (i64, i64),
    wanted: i64,
) -> Option<Violation> {
    let (limit, is_hard) = if hard > -1 { (hard, true) } else { (soft, false) };
    (limit > -1 && wanted > limit).then(|| Violation {
        path: path.into(),
        hard: is_hard,
        count,
        limit,
        wanted,
    })
}

impl TreeWriter {
    /// Whether a create or setData at `path` would exceed a quota, by what is applied; for servers
    /// that enforce them. A hard violation is preferred over a soft one found first.
    ///
    /// # Errors
    /// `MarshallingError` when the limits are malformed, as Apache ZooKeeper answers.
    pub fn quota_check(
        &self,
        path: &[u8],
        count_diff: i64,
        bytes_diff: i64,
    ) -> Result<Option<Violation>, ErrorCode> {
        let Some(quota) = self.quotas.deepest(path) else {
            return Ok(None);
        };
        let view = self.view();
        let Some(limits) = view.lookup(&quota_node(quota, path::LIMITS_NAME)) else {
            return Ok(None);
        };
        let limits = QuotaText::parse(limits.data()).map_err(|_| ErrorCode::MarshallingError)?;
        let Some(stats) = view.lookup(&quota_node(quota, path::STATS_NAME)) else {
            return Ok(None);
        };
        let used = QuotaText::parse(stats.data())
            .unwrap_or_else(|MalformedQuota| QuotaText::of(usage_of(view, quota)));
        let count_limits = (limits.count(), limits.value(COUNT_HARD));
        let bytes_limits = (limits.bytes(), limits.value(BYTES_HARD));
        let count = (count_diff != 0)
            .then(|| used.count().saturating_add(count_diff))
            .and_then(|wanted| check_limit(quota, true, count_limits, wanted));
        let bytes = (bytes_diff != 0)
            .then(|| used.bytes().saturating_add(bytes_diff))
            .and_then(|wanted| check_limit(quota, false, bytes_limits, wanted));
        Ok(match (count, bytes) {
            (Some(count), Some(bytes)) if bytes.hard && !count.hard => Some(bytes),
            (count, bytes) => count.or(bytes),
        })
    }

    /// The paths that have a quota.
    pub fn quota_paths(&self) -> impl Iterator<Item = &[u8]> {
        self.quotas.registered.iter().map(|path| &**path)
    }

    pub(super) fn quota_after_create(&mut self, path: &[u8], bytes: i64) {
        if let Some(quota) = described(path, path::LIMITS_NAME) {
            self.quotas.registered.insert(quota.into());
        } else if let Some(quota) = described(path, path::STATS_NAME) {
            self.recount_quota(quota);
        }
        self.charge_quota(path, 1, bytes);
    }

    pub(super) fn quota_after_delete(&mut self, path: &[u8], bytes: i64) {
        if let Some(quota) = described(path, path::LIMITS_NAME) {
            self.quotas.registered.remove(quota);
        }
        self.charge_quota(path, -1, -bytes);
    }

    /// Adds to the usage of the deepest quota over a path.
    pub(super) fn charge_quota(&mut self, path: &[u8], count: i64, bytes: i64) {
        let Some(quota) = self.quotas.deepest(path) else { return };
        let stats = quota_node(quota, path::STATS_NAME);
        let Some(slot) = self.find(&stats) else { return };
        let Ok(mut used) = QuotaText::parse(self.at(slot).data()) else {
            self.recount_quota(quota);
            return;
        };
        used.add(COUNT, count);
        used.add(BYTES, bytes);
        // Below /zookeeper/ nothing counts in the digest, and the status stays on purpose.
        self.put_data(slot, &stats, Some(&used.encode()));
    }

    /// Counts the usage of a quota from the tree.
    fn recount_quota(&mut self, quota: &[u8]) {
        let stats = quota_node(quota, path::STATS_NAME);
        let Some(slot) = self.find(&stats) else { return };
        let text = QuotaText::of(usage_of(self.view(), quota)).encode();
        self.put_data(slot, &stats, Some(&text));
    }

    /// After a load: registers every limits node and counts its usage.
    pub(super) fn load_quotas(&mut self) {
        let mut found: Vec<Box<[u8]>> = Vec::new();
        let view = self.view();
        let mut waiting: Vec<_> = view.lookup(path::QUOTA).into_iter().collect();
        while let Some(node) = waiting.pop() {
            if node.num_children() == 0 && node.name() == path::LIMITS_NAME {
                let mut path = Vec::new();
                node.path(&mut path);
                found.extend(described(&path, path::LIMITS_NAME).map(Into::into));
            }
            waiting.extend(node.children());
        }
        for quota in found {
            self.recount_quota(&quota);
            self.quotas.registered.insert(quota);
        }
    }
}

fn usage_of(view: View<'_>, path: &[u8]) -> Usage {
    view.lookup(path).map_or_else(Usage::default, |node| node.usage())
}

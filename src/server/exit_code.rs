//! How the process ends (reference: configuration 14, disk-format 12). Supervisors and scripts read
//! these.

/// The process's exit status. SIGTERM is not among them: the process dies of it with 143, which
/// scripts treat as a clean stop, or ends with [`ExitCode::Ok`] after an orderly shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// Orderly end.
    Ok = 0,
    /// Corrupt log, no valid snapshot, inconsistent epoch files, client port in use, anything
    /// unforeseen.
    Unexpected = 1,
    /// Wrong arguments or configuration.
    Invocation = 2,
    /// Data directory missing, read-only, or mixed up with the log directory.
    DataDir = 3,
    /// The admin server cannot start.
    AdminServer = 4,
    /// A snapshot could not be written.
    Snapshot = 10,
    /// A commit does not match the oldest logged but uncommitted proposal.
    UnmatchedCommit = 12,
    /// A server-to-server packet could not be handled, or a truncation failed.
    QuorumPacket = 13,
    /// The election port could not be bound.
    ElectionPort = 14,
    /// This server's own: a write or flush of the proposal log failed. What is on disk is not known
    /// any more, so the log is given up for the life of the process and only a restart, which reads
    /// it back, may go on. Apache has none for this: standalone it ends with 0, which supervisors
    /// take for a clean stop.
    PoisonedLog = 20,
}

impl ExitCode {
    /// The status handed to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The last line on stderr that scripts look for, if this ending has one.
    pub fn last_line(self) -> Option<&'static str> {
        match self {
            ExitCode::Invocation => Some("Invalid config, exiting abnormally"),
            ExitCode::DataDir => Some("Unable to access datadir, exiting abnormally"),
            ExitCode::AdminServer => Some("Unable to start AdminServer, exiting abnormally"),
            ExitCode::Ok
            | ExitCode::Unexpected
            | ExitCode::Snapshot
            | ExitCode::UnmatchedCommit
            | ExitCode::QuorumPacket
            | ExitCode::ElectionPort
            | ExitCode::PoisonedLog => None,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}

//! The version as monitoring tools parse it (reference: admin-and-metrics 2.2).

/// `3.9.5` is the release of Apache ZooKeeper whose behaviour is kept: tools compare it. After the
/// dash come this server's name, version and commit, with letters, digits, dots and dashes only.
pub const VERSION: &str = concat!(
    "3.9.5-ringkeeper-",
    env!("CARGO_PKG_VERSION"),
    "-",
    env!("RINGKEEPER_GIT"),
    ", built on ",
    env!("RINGKEEPER_BUILT")
);

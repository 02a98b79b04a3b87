#!/usr/bin/env bash
# The `zookeeper-client` crate against the server. It is a cargo project of its own, so that its dependencies are
# none of ours; see server.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/clients/server.sh
source "$here/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}/ci/rust-client
cargo build --quiet --jobs "${JOBS:-2}" --manifest-path "$here/rust/Cargo.toml" --target-dir "$target"
start_server
timeout 60 "$target/debug/zookeeper-client-smoke" "127.0.0.1:$port"

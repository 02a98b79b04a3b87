#!/usr/bin/env bash
# Apache's C client: a program of ours on libzookeeper_mt, and cli_mt on a script when it is installed.
# Needs a C compiler and the client's headers (Debian: libzookeeper-mt-dev; cli_mt: zookeeper-bin); see server.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/clients/server.sh
source "$here/server.sh"
start_server

cc -Wall -Wextra -Werror -DTHREADED -o "$work/client" "$here/c/client.c" -lzookeeper_mt
timeout 60 "$work/client" "127.0.0.1:$port"

cli_mt=$(command -v cli_mt || find /usr/bin /usr/lib/zookeeper /usr/share/zookeeper -name cli_mt 2>/dev/null | head -n 1 || true)
if [[ -n $cli_mt ]]; then
    # The shell answers asynchronously: leave it the time, then quit.
    (printf 'create /cli\nset /cli hello\nget /cli\nls /\n' && sleep 2 && printf 'quit\n') |
        timeout 30 "$cli_mt" "127.0.0.1:$port" >"$work/cli.out" 2>&1 || true
    grep -q 'hello' "$work/cli.out" || { cat "$work/cli.out" >&2 && exit 1; }
    echo "cli_mt: as expected"
else
    echo "cli_mt is not installed: only the program on libzookeeper_mt ran"
fi

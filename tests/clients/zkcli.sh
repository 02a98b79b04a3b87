#!/usr/bin/env bash
# Apache's own shell, org.apache.zookeeper.ZooKeeperMain, on a script; its output is compared with what it prints
# against Apache's server. Needs a Java runtime and RINGKEEPER_APACHE_CLASSPATH (jars of 3.9.5); see server.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${RINGKEEPER_APACHE_CLASSPATH:?set it to the jars of Apache ZooKeeper}"
# shellcheck source=tests/clients/server.sh
source "$here/server.sh"
start_server

zkcli() {
    timeout 60 java -cp "$RINGKEEPER_APACHE_CLASSPATH" org.apache.zookeeper.ZooKeeperMain \
        -server "127.0.0.1:$port" -waitforconnection "$@"
}

# Without JLine the shell reads lines and prints no prompt. Events and the banner come when they come; zxids and
# version numbers stay, for both servers start empty.
zkcli <"$here/zkcli.in" >"$work/out" 2>"$work/err" || true
# Standard error and events come from elsewhere than the results: each is compared by itself. The shell may or may
# not live to see its own ephemeral go.
shown() { grep -v -e 'NodeDeleted path:/shell/e' "$@" || true; }
# whoami shows a set in no particular order: Apache's server prints the identities as they hash.
in_one_order() {
    awk '/^(ip|digest): / { ids[++n] = $0; next }
        { while (n) { for (i = most = n; i; i--) if (ids[i] < ids[most]) most = i
            print ids[most]; ids[most] = ids[n--] } print }'
}
(grep -v '^WatchedEvent' "$work/out"; cat "$work/err"; shown "$work/out" | grep '^WatchedEvent') |
    grep -v -e '^SLF4J' -e '^Connecting to' -e '^Welcome to' -e '^JLine' -e '^$' -e '^WATCHER::' -e 'None path:null' |
    sed -E 's/^([cm]time = ).*/\1(a time)/; s/(ephemeralOwner = 0x)[1-9a-f][0-9a-f]*/\1(a session)/' |
    in_one_order >"$work/got"

if [[ ${UPDATE:-} == 1 ]]; then
    cp "$work/got" "$here/zkcli.expected"
fi
diff -u "$here/zkcli.expected" "$work/got"

# One command per start, and its exit status.
[[ $(zkcli get /shell 2>/dev/null | tail -n 1) == "changed" ]]
if zkcli get /nowhere >/dev/null 2>&1; then
    echo "get of a missing node ended with status 0" >&2
    exit 1
fi
echo "zkcli: $(wc -l <"$work/got") lines as expected"

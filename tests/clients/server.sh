# Sourced by the client scripts: starts one standalone server and stops it at exit.
#
#   RINGKEEPER_SERVER_CMD         how to start this server (default: target/release/ringkeeper server)
#   CLIENT_SUBJECT=apache         Apache in its place, to test the script (needs RINGKEEPER_APACHE_CLASSPATH)
#
# Afterwards: $port, $work (a directory of the script's own), $root.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/ringkeeper-client.XXXXXX")
server_pid=

stop_server() {
    local status=$?
    if [[ -n $server_pid ]]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    if ((status)); then
        echo "--- the end of the server's output ---" >&2
        tail -n 20 "$work/server.log" >&2 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap stop_server EXIT

# Answers of a four-letter word, empty when nobody listens.
ask() {
    (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf '%s' "$1" >&3 && timeout 5 cat <&3) 2>/dev/null || true
}

start_server() {
    port=$((12000 + (RANDOM * 32768 + RANDOM) % 18000))
    cat >"$work/zoo.cfg" <<CFG
tickTime=2000
dataDir=$work/data
clientPort=$port
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=*
extendedTypesEnabled=true
CFG
    local command
    if [[ ${CLIENT_SUBJECT:-} == apache ]]; then
        command=(java -cp "${RINGKEEPER_APACHE_CLASSPATH:?}" org.apache.zookeeper.server.quorum.QuorumPeerMain)
    else
        read -ra command <<<"${RINGKEEPER_SERVER_CMD:-$root/target/release/ringkeeper server}"
    fi
    "${command[@]}" "$work/zoo.cfg" >"$work/server.log" 2>&1 </dev/null &
    server_pid=$!
    for _ in {1..200}; do
        [[ $(ask srvr) == *"Mode: standalone"* ]] && return 0
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "the server does not serve" >&2
    return 1
}

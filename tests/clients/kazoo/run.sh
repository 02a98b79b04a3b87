#!/usr/bin/env bash
# Runs kazoo's own test suite against Apache ZooKeeper and against this server, and compares: the same failures at
# most. Needs python3 with venv, a Java runtime, and
#   RINGKEEPER_APACHE_CLASSPATH   Apache's jars
#   RINGKEEPER_SERVER_CMD         how to start this server (default: target/release/ringkeeper server)
#   KAZOO_SUBJECT=apache          Apache in this server's place, to test the comparison
#   KAZOO_TESTS                   what to run, for example "test_client.py test_lock.py" (default: everything)
#   KAZOO_SECONDS                 bound of one run of the suite (default 600)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/ci/kazoo
version=2.11.0
: "${RINGKEEPER_APACHE_CLASSPATH:?set it to the jars of Apache ZooKeeper}"
export RINGKEEPER_SERVER_CMD=${RINGKEEPER_SERVER_CMD:-$root/target/release/ringkeeper server}

mkdir -p "$work"
if [[ ! -x $work/venv/bin/pytest ]]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
        "kazoo[sasl]==$version" "pytest==8.3.4" "pytest-timeout==2.3.1" pyjks "pyopenssl==24.2.1" objgraph setuptools
fi

# Runs the suite, or the tests that failed before, and writes the outcome to $work/$name$suffix.xml. A failing suite
# is no failure of this function.
run_suite() {
    local name=$1 path=$2 offset=$3 suffix=${4:-}
    local tests
    tests=$("$work/venv/bin/python" -c 'import kazoo.tests, os; print(os.path.dirname(kazoo.tests.__file__))')
    local selection=("$tests")
    if [[ -n ${KAZOO_TESTS:-} ]]; then
        selection=()
        for file in $KAZOO_TESTS; do selection+=("$tests/$file"); done
    fi
    local result=$work/$name$suffix
    rm -f "$result.xml" && mkdir -p "$work/$name/tmp"
    if [[ -n $suffix ]]; then selection+=(--last-failed); fi
    (
        cd "$work/$name"
        # CI is unset: with it kazoo turns known weaknesses of old servers into other expectations.
        env -u CI PATH="$path" TMPDIR="$work/$name/tmp" ZOOKEEPER_CLUSTER_SIZE=1 ZOOKEEPER_VERSION=3.9.5 \
            ZOOKEEPER_CLASSPATH="$RINGKEEPER_APACHE_CLASSPATH" ZOOKEEPER_PORT_OFFSET="$offset" \
            timeout --kill-after=10 "${KAZOO_SECONDS:-600}" \
            "$work/venv/bin/pytest" -q --timeout=90 -o junit_family=xunit1 -o cache_dir="$work/$name/cache" \
            --junitxml="$result.xml" "${selection[@]}" >"$result.log" 2>&1 </dev/null
    ) || true
    echo "$name: $(grep -E '[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s' "$result.log" | tail -n 1)"
    [[ -s $result.xml ]] || { tail -n 40 "$result.log" && echo "no result for $name" >&2 && return 1; }
}

ours_path=$here/bin:$PATH
if [[ ${KAZOO_SUBJECT:-} == apache ]]; then ours_path=$PATH; fi
rm -rf "$work/apache" "$work/ours"
# Both at a time: the suite mostly sleeps.
echo "kazoo $version against Apache ZooKeeper and against ringkeeper"
run_suite apache "$PATH" 22000 &
apache_run=$!
run_suite ours "$ours_path" 23000 &
ours_run=$!
ran=1
wait "$apache_run" || ran=0
wait "$ours_run" || ran=0
((ran)) || exit 1
compare() { "$work/venv/bin/python" "$here/compare.py" ${KAZOO_TESTS:+--partial} "$work/apache.xml" "$@"; }
if ! compare "$work/ours.xml"; then
    echo "once more, what failed"
    run_suite ours "$ours_path" 23000 -again
    compare "$work/ours.xml" "$work/ours-again.xml"
fi

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

# Sets the outcome of one run down in $work/$1.xml. A failing suite is no failure of this function.
run_suite() {
    local name=$1 path=$2 offset=$3
    local tests
    tests=$("$work/venv/bin/python" -c 'import kazoo.tests, os; print(os.path.dirname(kazoo.tests.__file__))')
    local selection=("$tests")
    if [[ -n ${KAZOO_TESTS:-} ]]; then
        selection=()
        for file in $KAZOO_TESTS; do selection+=("$tests/$file"); done
    fi
    rm -rf "${work:?}/$name" "$work/$name.xml" && mkdir -p "$work/$name/tmp"
    (
        cd "$work/$name"
        # CI is unset: with it kazoo turns known weaknesses of old servers into other expectations.
        env -u CI PATH="$path" TMPDIR="$work/$name/tmp" ZOOKEEPER_CLUSTER_SIZE=1 ZOOKEEPER_VERSION=3.9.5 \
            ZOOKEEPER_CLASSPATH="$RINGKEEPER_APACHE_CLASSPATH" ZOOKEEPER_PORT_OFFSET="$offset" \
            timeout --kill-after=10 "${KAZOO_SECONDS:-600}" \
            "$work/venv/bin/pytest" -q --timeout=90 -p no:cacheprovider -o junit_family=xunit1 \
            --junitxml="$work/$name.xml" "${selection[@]}" >"$work/$name.log" 2>&1 </dev/null
    ) || true
    tail -n 1 "$work/$name.log"
    [[ -s $work/$name.xml ]] || { tail -n 40 "$work/$name.log" && echo "no result for $name" >&2 && return 1; }
}

echo "kazoo $version against Apache ZooKeeper"
run_suite apache "$PATH" 22000
echo "kazoo $version against ringkeeper"
if [[ ${KAZOO_SUBJECT:-} == apache ]]; then
    run_suite ours "$PATH" 23000
else
    run_suite ours "$here/bin:$PATH" 23000
fi
"$work/venv/bin/python" "$here/compare.py" "$work/apache.xml" "$work/ours.xml" ${KAZOO_TESTS:+--partial}

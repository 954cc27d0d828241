#!/usr/bin/env bash
# Real clients against a real server: redis-py, ioredis, node-redis, redis-cli and redis-benchmark.
#
#   tests/e2e/run.sh target/release/fencepost     (or: tests/e2e/run.sh redis-server, to try the suite itself)
#
# The clients are pinned (python/requirements.txt, node/package-lock.json) and installed outside the tree, under
# FENCEPOST_E2E_CACHE. Needs python3 with venv, node with npm, and redis-cli and redis-benchmark.
set -euo pipefail

program=${1:?usage: run.sh PROGRAM}
here=$(cd "$(dirname "$0")" && pwd)
cache=${FENCEPOST_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fencepost-e2e}
work=$(mktemp -d "${TMPDIR:-/tmp}/fencepost-e2e.XXXXXX")
server=

finish() {
    local status=$?
    if [[ -n $server ]]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [[ $status != 0 ]]; then
        echo "--- the end of the server's log ---"
        tail -n 40 "$work/server.log" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cli() { redis-cli -p "$port" "$@"; }

# start OPTION... : starts the server over the same data and waits until it answers
start() {
    if [[ $(basename "$program") == redis-server ]]; then
        (cd "$work" && exec "$program" --port "$port" --save '' --appendonly yes --appendfsync always "$@") >>"$work/server.log" 2>&1 &
    else
        (cd "$work" && exec "$program" --port "$port" --pool "$work/e2e.pool" --pool-size 2gb "$@") >>"$work/server.log" 2>&1 &
    fi
    server=$!
    local tries=0
    until [[ $(cli ping 2>/dev/null) == PONG ]]; do
        kill -0 "$server" 2>/dev/null || { echo "the server ended before it was ready"; exit 1; }
        (( ++tries < 600 )) || { echo "the server was not ready within a minute"; exit 1; }
        sleep 0.1 # no event to wait for across processes
    done
}

stop() {
    kill -TERM "$server"
    wait "$server" || { echo "the server ended with status $? on SIGTERM"; exit 1; }
    server=
}

expect() {
    local wanted=$1
    shift
    local got
    got=$("$@")
    [[ $got == "$wanted" ]] || { echo "expected '$wanted', got '$got' from: $*"; exit 1; }
}

section() { printf '\n== e2e: %s (%ss)\n' "$1" "$SECONDS"; }

section "clients"
mkdir -p "$cache"
if ! cmp -s "$here/python/requirements.txt" "$cache/venv/requirements.txt"; then
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$cache/venv/requirements.txt"
fi
mkdir -p "$cache/node"
if ! cmp -s "$here/node/package-lock.json" "$cache/node/package-lock.json"; then
    cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
    (cd "$cache/node" && npm ci --no-audit --no-fund --loglevel=error) || { rm -f "$cache/node/package-lock.json"; exit 1; }
fi
cp "$here"/node/*.js "$cache/node/"

start
export FENCEPOST_PORT=$port

section "redis-py"
"$cache/venv/bin/python" "$here/python/test_redis_py.py"

section "ioredis and node-redis"
(cd "$cache/node" && node --test --test-reporter=spec)

section "redis-cli"
expect OK cli set greeting "hello there"
expect "hello there" cli get greeting
expect 3 cli -3 incrby counter 3
cli -3 hello 3 | grep -q proto
printf 'SET inline 1\r\nGET inline\r\n' | cli --pipe-timeout 30 --pipe >/dev/null
expect 1 cli get inline
cli --scan --pattern 'greet*' | grep -qx greeting
for i in $(seq 1 2000); do printf 'SET mass:%d %d\n' "$i" "$i"; done | cli --pipe | grep -q 'errors: 0, replies: 2000'
expect 2000 bash -c "redis-cli -p $port --scan --pattern 'mass:*' | sort -u | wc -l"

section "what was written survives kill -9 and SIGTERM"
kill -9 "$server"
wait "$server" 2>/dev/null || true
start
expect "hello there" cli get greeting
expect 3 cli get counter
stop
start
expect "hello there" cli get greeting

section "redis-benchmark"
benchmark() { redis-benchmark -p "$port" -q "$@" | tr '\r' '\n' | grep 'requests per second'; }
benchmark -n 20000 -c 50 -P 16 -r 10000 -d 64 -t ping,set,get,incr,mset
benchmark -n 5000 -c 20 -3 -t set,get
stop

section "a password"
export REDISCLI_AUTH=secret
start --requirepass secret
expect "hello there" cli get greeting
expect "NOAUTH Authentication required." env -u REDISCLI_AUTH redis-cli -p "$port" get greeting
stop

section "done"

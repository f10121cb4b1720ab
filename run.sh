#!/usr/bin/env bash
# Starts a zone server with a world and 200 bots in it, and shows it living until Ctrl-C.
# Usage: ./run.sh [BOTS]        environment: PORT (default 7777)
# Exit codes: 0 ended by Ctrl-C, 2 usage, otherwise that of the half that failed.
set -euo pipefail
cd "$(dirname "$0")"
bots=${1:-200}
port=${PORT:-7777}
target=${CARGO_TARGET_DIR:-target}
[[ $bots =~ ^[0-9]+$ && $bots -gt 0 ]] || { echo "usage: ./run.sh [BOTS]; BOTS is a number above 0, not '$bots'" >&2; exit 2; }

cargo build --release -p server -p bots

"$target"/release/server --listen "127.0.0.1:$port" &
server=$!
swarm=
# Ctrl-C reaches all of us; each program ends by itself, and we wait for both. Whichever ends first takes the other along.
stop() {
    local code=0
    trap - INT TERM
    if [ -n "$swarm" ]; then
        kill -INT "$swarm" 2>/dev/null || true
        # After Ctrl-C the server may hang up first, which the swarm rightly reports.
        wait "$swarm" || code=$?
        [ -z "$interrupted" ] || code=0
    fi
    kill -INT "$server" 2>/dev/null || true
    wait "$server" || code=$?
    exit "$code"
}
interrupted=
trap 'interrupted=1; stop' INT TERM

# A server that is up but not ours would answer as well, so ours must still be there before and after.
alive() { kill -0 "$server" 2>/dev/null || { wait "$server" || true; echo "run.sh: the server did not start" >&2; exit 1; }; }
ready() { (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3 && grep -q ' 200 ' <&3) 2>/dev/null; }
for _ in $(seq 100); do
    sleep 0.1
    alive
    ready && break
done
sleep 0.2
alive

"$target"/release/bots swarm --server "127.0.0.1:$port" --clients "$bots" --seconds 86400 &
swarm=$!
# Neither is of use without the other.
wait -n "$server" "$swarm" || true
stop

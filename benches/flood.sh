#!/usr/bin/env bash
# Floods a real server while 1,000 players are on it, with each kind of junk in turn, and prints what that does to them:
# players dropped, tick time with and without the flood. The server has core 0, players and flood share core 1.
# Usage: benches/flood.sh [PLAYERS] [SECONDS_PER_PHASE]        environment: PORT (default 7790)
# Exit codes: 0 no player was dropped, 1 some were, or something did not run, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
players=${1:-1000}
seconds=${2:-15}
port=${PORT:-7790}
target=${CARGO_TARGET_DIR:-target}
[[ $players =~ ^[0-9]+$ && $seconds =~ ^[0-9]+$ && $seconds -ge 3 ]] || { sed -n '4,5p' "$0" >&2; exit 2; }
command -v taskset >/dev/null || { echo "flood.sh: taskset(1) is not there: install it (Debian: apt install util-linux)" >&2; exit 1; }
ulimit -n 65536 2>/dev/null || true

cargo build --release -p server -p bots

work=$(mktemp -d)
server=
swarm=
cleanup() {
    [ -z "$swarm" ] || kill -INT "$swarm" 2>/dev/null || true
    [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
    wait || true
    rm -rf "$work"
}
trap cleanup EXIT

taskset -c 0 "$target/release/server" --listen "127.0.0.1:$port" --max-players $((players + 100)) --log-format json \
    2>"$work/server.log" &
server=$!
sleep 1
kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }

kinds=(random header hello replayed-hello)
# Joining, a quiet phase before and after each flood, and some reserve.
total=$((seconds * (2 * ${#kinds[@]} + 1) + 20))
taskset -c 1 "$target/release/bots" swarm --server "127.0.0.1:$port" --clients "$players" --seconds "$total" --json \
    >"$work/swarm.out" 2>"$work/swarm.log" &
swarm=$!
echo "waiting for $players players"
for _ in $(seq 120); do
    sleep 1
    kill -0 "$swarm" 2>/dev/null || { cat "$work/swarm.log" >&2; exit 1; }
    grep -q ' measuring ' "$work/swarm.log" && break
done
grep -q ' measuring ' "$work/swarm.log" || { tail -n 3 "$work/swarm.log" >&2; echo "not all came in" >&2; exit 1; }
sleep 3

# phase NAME FROM_LINE: the server's status lines since that line of its log.
phase() {
    tail -n "+$2" "$work/server.log" | python3 -c '
import json, statistics, sys

lines = [json.loads(line) for line in sys.stdin if "tick_us_p99" in line]
if not lines:
    sys.exit("no status line in this phase")
mid = lambda key: statistics.median(line[key] for line in lines)
drops = sum(int(part.split("=")[1]) for line in lines for part in line["drops"].split())
print("%-16s %5d %6d..%-6d %11d %8.0f %8.0f %8d %6d %6d %10.0f %10.0f" % (
    sys.argv[1], len(lines), min(line["players"] for line in lines), max(line["players"] for line in lines),
    sum(line["disconnects"] for line in lines), mid("tick_us_p50"), mid("tick_us_p99"),
    max(line["tick_us_max"] for line in lines), sum(line["late"] for line in lines),
    sum(line["skipped"] for line in lines), mid("packets_in"), drops / len(lines)))
' "$1"
}
lines() { echo $(($(wc -l <"$work/server.log") + 1)); }

printf '%-16s %5s %14s %11s %8s %8s %8s %6s %6s %10s %10s\n' \
    phase s players disconnects p50_us p99_us max_us late skipped in/s dropped/s
quiet() {
    local from
    from=$(lines)
    sleep "$seconds"
    phase quiet "$from"
}
quiet
for kind in "${kinds[@]}"; do
    from=$(lines)
    taskset -c 1 "$target/release/bots" flood --server "127.0.0.1:$port" --kind "$kind" --seconds "$seconds" >"$work/flood.out"
    phase "$kind" "$from"
    sed 's/^/    sent: /' "$work/flood.out"
    quiet
done

kill -INT "$swarm" 2>/dev/null || true
wait "$swarm" || true
swarm=
python3 - "$work/swarm.out" <<'END'
import json, sys

summary = json.loads(open(sys.argv[1]).read().splitlines()[-1])
print("players dropped: %d of %d %s" % (summary["disconnected"], summary["clients"], summary["disconnected_by_cause"]))
print("snapshots received: %.2f %% of those due" % (summary["snapshot_rate"] * 100))
sys.exit(1 if summary["disconnected"] or summary["failed"] else 0)
END

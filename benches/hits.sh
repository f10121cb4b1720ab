#!/usr/bin/env bash
# What hits on the shooter's screen and on the server, at round trips from 20 to 200 ms (jitter 10, loss 2 %), with lag
# compensation and without: a row for each, on virtual time.
# Usage: benches/hits.sh [RATE_HZ] [SECONDS] [SEED]
# Exit codes: 0 all rows with compensation show what they are to show, 1 some do not, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
rate=${1:-20}
seconds=${2:-60}
seed=${3:-1}
target=${CARGO_TARGET_DIR:-target}
[[ $rate =~ ^[0-9]+$ && $seconds =~ ^[0-9]+$ && $seed =~ ^[0-9]+$ ]] || { sed -n '4,5p' "$0" >&2; exit 2; }

cargo build --release -p bots
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" <<<"$2"; }

status=0
printf '%6s %8s %8s %8s %9s %9s %8s %9s %9s %7s\n' \
    RTT rewind shots inside seen confirmed share outside confirmed walls
for rtt in 20 50 100 150 200; do
    for rewind in 250 0; do
        json=$("$target/release/bots" arena --scenario hits --rtt "$rtt" --jitter 10 --loss 2 --seed "$seed" \
            --seconds "$seconds" --rate "$rate" --max-rewind-ms "$rewind" --json) || status=1
        printf '%6s %8s %8s %8s %9s %9s %8.4f %9s %9s %7s\n' "$rtt" "$rewind" "$(field shots "$json")" \
            "$(field shots_inside "$json")" "$(field hits_seen "$json")" "$(field hits_confirmed "$json")" \
            "$(field hits_share "$json")" "$(field outside_seen "$json")" "$(field outside_confirmed "$json")" \
            "$(field through_walls "$json")"
    done
done
exit "$status"

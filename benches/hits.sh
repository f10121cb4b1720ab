#!/usr/bin/env bash
# What hits on the shooter's screen and on the server, at round trips from 20 to 200 ms (jitter 10, loss 2 %), with lag
# compensation and without: a table for each rate, on virtual time. Where nothing is inside the window, a row says so.
# Usage: benches/hits.sh [RATES_HZ] [SECONDS] [SEED]     (for instance "20 60" 60 1, which is the default)
# Exit codes: 0 all rows with compensation show what they are to show, 1 some do not, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
rates=${1:-20 60}
seconds=${2:-60}
seed=${3:-1}
target=${CARGO_TARGET_DIR:-target}
[[ "$rates $seconds $seed" =~ ^[0-9]+(\ [0-9]+)+$ ]] || { sed -n '4,5p' "$0" >&2; exit 2; }

cargo build --release -p bots
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" <<<"$2"; }
# The texts of a list, each on a line of its own.
texts() { sed -E "s/.*\"$1\":\[([^]]*)\].*/\1/; s/\",\"/\n/g; s/\"//g" <<<"$2"; }

status=0
# A row of the table, and what is to be said of it.
row() {
    local rate=$1 rtt=$2 rewind=$3 json
    json=$("$target/release/bots" arena --scenario hits --rtt "$rtt" --jitter 10 --loss 2 --seed "$seed" \
        --seconds "$seconds" --rate "$rate" --max-rewind-ms "$rewind" --json) || status=1
    printf '%6s %8s %8s %8s %8s %9s %9s %8.4f %9s %9s %7s\n' "$rtt" "$rewind" "$(field shots "$json")" \
        "$(field shot_delay_ms_p50 "$json")" "$(field shots_inside "$json")" "$(field hits_seen "$json")" \
        "$(field hits_confirmed "$json")" "$(field hits_share "$json")" "$(field outside_seen "$json")" \
        "$(field outside_confirmed "$json")" "$(field through_walls "$json")"
    texts failed "$json" | sed '/^$/d; s/^/       FAILED: /'
    [[ $rewind == 0 ]] || texts not_shown "$json" | sed '/^$/d; s/^/       not shown: /'
}

for rate in $rates; do
    printf '%s Hz\n%6s %8s %8s %8s %8s %9s %9s %8s %9s %9s %7s\n' "$rate" \
        RTT rewind shots delay inside seen confirmed share outside confirmed walls
    for rtt in 20 50 100 150 200; do
        for rewind in 250 0; do
            row "$rate" "$rtt" "$rewind"
        done
    done
done
exit "$status"

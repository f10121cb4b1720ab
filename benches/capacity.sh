#!/usr/bin/env bash
# Measures what the capacity model needs and fills docs/capacity.md in. Takes about six minutes.
# Usage: benches/capacity.sh [PLAYERS] [SECONDS] [RUNS]        default: 2000 10 3; environment: PREFIX, e.g. "chrt -f 10"
# Exit codes: 0 fine, 1 something did not run, 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
players=${1:-2000}
seconds=${2:-10}
runs=${3:-3}
target=${CARGO_TARGET_DIR:-target}
[[ $players =~ ^[0-9]+$ && $seconds =~ ^[0-9]+$ && $runs =~ ^[0-9]+$ ]] || { sed -n '2,4p' "$0" >&2; exit 2; }

cargo build --profile dist -p server -p bots -p benches --bin server --bin bots --bin saturate --bin capacity
out=$target/saturate
mkdir -p "$out"
measure() { # NAME SCENARIO PLAYERS HZ
    ${PREFIX:-} "$target/dist/saturate" --scenario "$2" --players "$3" --tick-hz "$4" --seconds "$seconds" --runs "$runs" \
        --settle 10 --out "$out/$1.json" --plot "$out/$1.svg"
}
measure spread-20 spread "$players" 20
measure spread-60 spread $((players / 2)) 60
measure fight-20 fight $((players / 2)) 20
measure crowd-20 crowd $((players / 10)) 20
"$target/dist/capacity" --write docs/capacity.md "$out"/{spread-20,spread-60,fight-20,crowd-20}.json

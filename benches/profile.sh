#!/usr/bin/env bash
# Where the server's time goes: runs `saturate`, lets perf(1) sample the server while it is measured, and prints the functions
# that took most. Usage: benches/profile.sh [SATURATE ARGS ...]        default: --scenario spread --players 2000
# Writes to OUT (default target/profile): server.perf (for perf report), stacks.folded (one line a stack, for any flame graph
# tool), flame.svg, top.txt (the table printed), saturate.json. Needs Linux, perf and python3; perf must be allowed to look
# into the kernel (root, or kernel.perf_event_paranoid <= 1), else kernel functions are missing.
# Exit codes: 0 fine, 1 something did not run, 2 perf or python3 is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
out=${OUT:-$target/profile}
for tool in perf python3; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --scenario spread --players 2000

cargo build --profile dist -p server -p bots -p benches --bin server --bin bots --bin saturate
mkdir -p "$out"
"$target/dist/saturate" "$@" --no-floor --perf "$out/server.perf" --out "$out/saturate.json"
perf script --no-inline -F comm,tid,ip,sym -i "$out/server.perf" 2>/dev/null | python3 benches/fold.py "$out"
echo "flame graph: $out/flame.svg"

#!/usr/bin/env bash
# Everything that CI runs, in the order of what fails fastest. Usage: ./check.sh [STEP ...]
# Steps: fmt clippy docs tidy debug release arena fuzz conformance bench   (default: all)
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
target=${CARGO_TARGET_DIR:-target}

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# cargo-nextest where it is installed, cargo's own runner elsewhere.
run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace "$@"
    else
        cargo test --workspace --lib --bins --tests "$@"
    fi
    cargo test --workspace --doc "$@"
}

# A Python with the `cryptography` package, in target/ so that nothing outside the checkout changes.
python_with_cryptography() {
    if python3 -c 'import cryptography' 2>/dev/null; then
        echo python3
        return
    fi
    local venv=$target/conformance-venv
    if ! "$venv/bin/python" -c 'import cryptography' 2>/dev/null; then
        python3 -m venv "$venv" >&2
        "$venv/bin/pip" install --quiet cryptography >&2
    fi
    echo "$venv/bin/python"
}

step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --workspace --all-targets -- -D warnings; }
step_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet; }
step_tidy() {
    # The map is tested: each path that ARCHITECTURE.md names exists.
    local missing=0 path
    while read -r path; do
        [ -e "$path" ] || { echo "ARCHITECTURE.md names $path, which does not exist"; missing=1; }
    done < <(grep -oE '`[a-z_.]+/[A-Za-z0-9_./-]*`' ARCHITECTURE.md | tr -d '`' | sort -u)
    # ring is named in one file, rstar in one file.
    local found
    found=$(grep -rlE '(^|[^:a-z_])ring::' netcode/src sim/src client/src server/src bots/src | sort)
    [ "$found" = netcode/src/crypto.rs ] || { echo "ring is named outside netcode/src/crypto.rs: $found"; missing=1; }
    found=$(grep -rlE '(^|[^:a-z_])rstar::' netcode/src sim/src client/src server/src bots/src | sort)
    [ "$found" = sim/src/space.rs ] || { echo "rstar is named outside sim/src/space.rs: $found"; missing=1; }
    return $missing
}
# Without the mistakes planted for the arena's checkers, which take minutes here and are found by the same checkers in release.
step_debug() { run_tests; }
step_release() { run_tests --release; }
# The programs as the release tests have them: a selection of packages would have other features, and be built anew.
programs() { cargo test --workspace --release --no-run --quiet; }
step_arena() {
    programs
    "$target"/release/bots arena --seed 1 --seeds "${ARENA_SEEDS:-200}" --clients 40 --seconds 10
    # One seed twice: the same digest.
    local first second
    first=$("$target"/release/bots arena --seed 7 --clients 100 --seconds 20 --json | tail -n 1)
    second=$("$target"/release/bots arena --seed 7 --clients 100 --seconds 20 --json | tail -n 1)
    [ "$first" = "$second" ] || { printf 'seed 7 gave two results:\n%s\n%s\n' "$first" "$second"; return 1; }
}
step_fuzz() {
    programs
    "$target"/release/fuzz smoke --seconds "${FUZZ_SECONDS:-5}"
    # The canary: with its check inverted, the runner must report a failure.
    if "$target"/release/fuzz canary >/dev/null 2>&1; then
        echo "the fuzz canary was not caught"
        return 1
    fi
}
step_conformance() {
    programs
    local python
    python=$(python_with_cryptography)
    "$python" netcode/tests/conformance/run.py --server "$target/release/server" --bots "$target/release/bots"
}
step_bench() {
    programs
    cargo bench --workspace --bench '*' --quiet -- --test
    # Fails when a connection, or a handshake under load, takes more memory than it may.
    "$target"/release/handshake --seconds 0.1
    # Fails when a client's view is not the server's frame, bit for bit.
    "$target"/release/replicate --players 100 --seconds 1 --loss 5 --out "$target/replicate"
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(fmt clippy docs tidy debug release arena fuzz conformance bench)
for step in "${steps[@]}"; do
    declare -F "step_$step" >/dev/null || { echo "no step '$step'; see the head of check.sh" >&2; exit 2; }
    say "$step"
    "step_$step"
done
printf '\nAll of it passed: %s (%ss)\n' "${steps[*]}" "$SECONDS"

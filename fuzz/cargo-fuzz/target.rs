//! Every binary of this package: the target of its own name.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fuzz::Target> =
    LazyLock::new(|| fuzz::find(env!("CARGO_BIN_NAME")).expect("each binary is named for a target"));

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));

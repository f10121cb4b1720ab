//! Zonewire's fuzz targets as plain functions, and a seeded mutator that runs them on stable Rust.
//!
//! A target is a `fn(&[u8])` that panics when something does not hold. Its oracle is more than "no panic": round trips,
//! models, byte counts. [`TARGETS`] lists them all; `fuzz list` prints that.
//!
//! - [`runner`] mutates known inputs; [`mutate`] says how.
//! - [`feature`] stands in for coverage: targets say what they have reached, and inputs that reach something new are
//!   mutated further. What a target names as a feature must be reached, or its run was blind.
//! - [`corpus`] is the committed inputs, written by the real encoders (`fuzz seed-corpus`), and by hand when a crash was
//!   mended: a crash's input moves into the corpus and stays.
#![forbid(unsafe_code)]

pub mod corpus;
pub mod feature;
pub mod mutate;
pub mod program;
pub mod runner;
mod targets;

pub use targets::{CANARY, TARGETS};

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line and in the corpus.
    pub name: &'static str,
    /// What it takes and what must hold, in one line.
    pub about: &'static str,
    /// Runs one input; panics when something does not hold.
    pub run: fn(&[u8]),
    /// The longest input worth trying, in bytes.
    pub max_len: usize,
    /// What a run must reach, by index; see [`feature`].
    pub features: &'static [&'static str],
    /// Inputs made by the real encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The target of that name; the canary is one, too.
#[must_use]
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().chain([&CANARY]).find(|target| target.name == name).copied()
}

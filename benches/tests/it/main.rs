//! The benches' own binaries, as processes.

mod saturate;

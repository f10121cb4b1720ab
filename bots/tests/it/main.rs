//! Integration tests: small arenas, traces, and the binary's command line.

mod arena;
mod process;
mod squad;
mod trace;

//! Integration tests: small arenas, scenarios, traces, and the binary's command line.

mod arena;
mod process;
mod scenario;
mod squad;
mod trace;

//! Integration tests: small arenas, and the binary's command line.

mod arena;
mod process;
mod squad;

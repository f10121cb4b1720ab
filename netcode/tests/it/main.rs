//! Integration tests.

mod bits;
mod emulator;
mod snapshot;

//! Integration tests of the server: configuration, zone, and the real process.

mod config;
mod process;
mod zone;

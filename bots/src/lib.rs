//! Zonewire's bots.
//!
//! - [`swarm`]: many real clients; the binary gives them sockets, threads and a clock.
//! - [`arena`]: the whole cluster, its clients and a bad network in one thread on virtual time, checked at each step.
//! - [`scenario`]: what a fight over a bad path is to show, in figures.
//! - [`trace`]: what happened on a connection, as JSON lines and as a picture.
//! - [`transfer`]: goodput, delay and overhead of reliable messages and blocks over bad networks.
//! - [`echo`]: a server that sends back what it gets, for whoever writes a client.
//! - [`behavior`]: how bots play, in both.
//! - [`flags`]: what command lines have in common.
//!
//! The library does no I/O, reads no clock and starts no thread.
#![forbid(unsafe_code)]

pub mod arena;
pub mod behavior;
pub mod echo;
mod entropy;
pub mod flags;
pub mod scenario;
pub mod swarm;
mod tell;
pub mod trace;
pub mod transfer;

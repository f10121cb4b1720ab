//! Everything that touches the outside: sockets, threads, clocks, HTTP, signals, log output.
//!
//! ```text
//! main: starts the others, waits for signals, prints the status line once a second
//!  ├─ zone        one thread: drains the workers' queues, steps the world on a fixed schedule, publishes frames
//!  ├─ recorder    one thread, where the world is recorded: writes what the zone logged
//!  ├─ worker 0..  one thread each: socket, poll, shard
//!  └─ http        one thread with its own tokio runtime: health, development tokens
//! ```
//!
//! Threads share the bounded lock-free queues of [`link`], one flag that says stop, and nothing else.

pub mod batch;
pub mod clock;
pub mod cores;
pub mod error;
pub mod explain;
pub mod http;
pub mod intake;
pub mod link;
pub mod logging;
pub mod memory;
pub mod record;
pub mod replay;
pub mod run;
pub mod schedule;
pub mod setup;
pub mod sockets;
pub mod status;
pub mod worker;
pub mod zone_thread;

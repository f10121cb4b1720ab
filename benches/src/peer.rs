//! One echo workload for any transport, and this engine's side of it.
//!
//! `peer-server` and `peer-client` follow the contract of a harness that runs transports side by side: each is a program
//! that is given a port, a number of clients and a time, moves the same messages at the same times, and prints one line of
//! JSON. What both of them need is here: the command line, the messages and what is counted of them, the clocks, and the
//! engine's configuration.

mod clock;
mod counts;
mod engine;
mod message;

use core::time::Duration;

use bots::flags::negative;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

pub use clock::{Usage, now_ns, rss_kb, sleep_until, unix_ms};
pub use counts::{Counts, Quantiles};
pub use engine::{RELIABLE, UNRELIABLE, bundle, client_config, server_config, time};
pub use message::{FLOOD_BYTES, Kind, MAX_MESSAGE, Message, RELIABLE_BYTES, Template};

/// The time between two ticks: 20 Hz.
pub const TICK: Duration = Duration::from_millis(50);
/// Each client is sent, and sends, a reliable message every so many ticks: once a second.
pub const RELIABLE_EVERY: u64 = 20;
/// Traffic before what counts.
pub const WARM_UP: Duration = Duration::from_secs(2);
/// Traffic after what counts, in which late and reliable messages arrive.
pub const GRACE: Duration = Duration::from_millis(1500);
/// All clients must be in by then.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(90);

/// Clients of an echo, unless it is said how many.
const CLIENTS: u16 = 100;

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// 20 times a second and client: 32 bytes up, 200 bytes down, unreliable; once a second 64 bytes each way, reliable.
    Echo,
    /// One client sends unreliable messages of 100 bytes as fast as it can.
    Flood,
}

/// What both programs are told.
#[derive(Clone, Copy, Debug, Parser)]
pub struct Workload {
    /// The server's UDP port, on 127.0.0.1.
    #[arg(long)]
    pub port: u16,
    /// Clients, all in one process, each with a socket of its own. Default: 100; with `--mode flood` 1, and no other number.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=32_000))]
    clients: Option<u16>,
    /// How long is measured, between 2 s of warm-up and 1.5 s in which what is under way arrives.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub secs: u16,
    /// What is moved.
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,
}

/// The command line of one of the programs. Ends the process where it is wrong.
#[must_use]
pub fn given<A: Parser + CommandFactory>(workload: fn(&A) -> &Workload) -> A {
    let matches = negative(A::command()).get_matches();
    let args = A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Some(what) = workload(&args).disagreement() {
        clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")).exit();
    }
    args
}

impl Workload {
    /// How many clients.
    #[must_use]
    pub fn clients(&self) -> u16 {
        let usual = match self.mode {
            Mode::Echo => CLIENTS,
            Mode::Flood => 1,
        };
        self.clients.unwrap_or(usual)
    }

    /// What contradicts what.
    fn disagreement(&self) -> Option<String> {
        let clients = self.clients();
        let flood = self.mode == Mode::Flood && clients != 1;
        flood.then(|| format!("--clients {clients}: with --mode flood one client makes it all; leave --clients out"))
    }

    /// Where the server listens.
    #[must_use]
    pub fn addr(&self) -> core::net::SocketAddr {
        (core::net::Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The window that counts, in nanoseconds, of a run that starts at `start`.
    #[must_use]
    pub fn window(&self, start: u64) -> core::ops::Range<u64> {
        let from = start.saturating_add(nanos(WARM_UP));
        from..from.saturating_add(u64::from(self.secs) * 1_000_000_000)
    }
}

/// A duration in nanoseconds.
#[must_use]
pub const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// The line that says that a run failed.
#[must_use]
pub fn failure(error: &str, connected: usize) -> serde_json::Value {
    serde_json::json!({ "ok": false, "error": error, "connected": connected })
}

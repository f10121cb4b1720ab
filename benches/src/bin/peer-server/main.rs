//! The server of the echo workload on `netcode`'s public interface: real handshakes with tokens, encryption, acks, rate
//! control, a reliable channel; the sockets by the server's own batched I/O.
//!
//! It polls the engine every few milliseconds and sends once a tick, as a game server does that has nothing to gain from a
//! wake-up per packet.

// The server keeps its I/O in its binary. What is measured here should be that code and no likeness of it.
#[path = "../../../../server/src/io/batch.rs"]
#[allow(dead_code)]
mod batch;
mod echo;
mod flood;
mod world;

use std::io::{self, Write as _};
use std::process::ExitCode;

use benches::peer::{Mode, Workload, failure, given};
use clap::Parser;
use serde_json::Value;

/// The server of an echo workload for transports side by side, over this engine.
///
/// Binds 127.0.0.1:PORT and prints LISTENING. Once all clients are in it ticks at 20 Hz: 200 unreliable bytes to each
/// client, and to every twentieth 64 reliable ones, so that each gets one a second. After 2 s it prints MEASURE and
/// measures; 1.5 s after that it prints one line of JSON: ok, connected, wall_s, cpu_s_per_s, ticks, skipped_ticks,
/// cpu_us_per_client_tick, rss_kb, sent_u, sent_r, recv_u, recv_r, misordered. With `--mode flood` it counts what one client
/// sends: ok, recv, wall_s, msgs_per_s, cpu_s_per_s, cpu_ns_per_msg, rss_kb. On failure: ok (false), error, connected.
#[derive(Parser)]
#[command(name = "peer-server")]
struct Args {
    #[command(flatten)]
    workload: Workload,
    /// How often the engine is polled, in milliseconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    poll_ms: u16,
}

fn main() -> ExitCode {
    let args = given(|args: &Args| &args.workload);
    let run = match args.workload.mode {
        Mode::Echo => echo::run(&args.workload, args.poll_ms),
        Mode::Flood => flood::run(&args.workload),
    };
    let outcome = run.unwrap_or_else(|error| failure(&error.to_string(), 0));
    let ok = outcome["ok"] == Value::Bool(true);
    if say(&outcome.to_string()).is_ok() && ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for whoever drives the run.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

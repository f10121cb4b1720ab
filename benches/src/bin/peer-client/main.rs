//! The clients of the echo workload on `netcode`'s public interface, all in one process, each with a socket of its own.

mod echo;
mod flood;
mod player;

use std::io::{self, Write as _};
use std::process::ExitCode;

use benches::peer::{Mode, Workload, failure, given};
use clap::Parser;
use serde_json::Value;

/// The clients of an echo workload for transports side by side, over this engine.
///
/// N clients connect to 127.0.0.1:PORT, at most 64 at a time. Then each sends 32 unreliable bytes every 50 ms, all spread
/// evenly over these, and 64 reliable ones a second. After 2 s SECS seconds are measured; 1.5 s after that one line of JSON
/// is printed: ok, connected, connect_s, cpu_s_per_s, rss_kb, max_send_lag_ms, lat_us and age_us (p50, p99, max), sent_u,
/// sent_r, recv_u, recv_r, misordered. With `--mode flood` one client sends 100 unreliable bytes as fast as it can: ok,
/// sent, cpu_s_per_s. On failure: ok (false), error, connected.
#[derive(Parser)]
#[command(name = "peer-client")]
struct Args {
    #[command(flatten)]
    workload: Workload,
}

fn main() -> ExitCode {
    let Args { workload } = given(|args: &Args| &args.workload);
    let run = match workload.mode {
        Mode::Echo => echo::run(&workload),
        Mode::Flood => flood::run(&workload),
    };
    let outcome = run.unwrap_or_else(|error| failure(&error.to_string(), 0));
    let ok = outcome["ok"] == Value::Bool(true);
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{outcome}").and_then(|()| out.flush());
    if said.is_ok() && ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

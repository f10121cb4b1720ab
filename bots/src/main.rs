//! The bots' process: command line, exit code. Everything with sockets, clocks and threads is under `io`.
//!
//! Exit codes: 0 fine, 1 a check failed, 2 the command line is wrong; an arena that SIGINT ends 130, one that SIGTERM ends 143.
#![forbid(unsafe_code)]

mod args;
mod io;

use std::process::ExitCode;

use args::{Cli, Command, SwarmArgs};
use bots::swarm::Summary;
use io::error::RunError;
use io::lines;

fn main() -> ExitCode {
    // clap itself ends the process with 2 when the command line is wrong.
    let result = match Cli::given().command {
        Command::Swarm(args) => swarm(&args),
        Command::Arena(args) => match args.scenario() {
            Some((options, json)) => io::scenario::run(&options, json),
            None => io::arena::run(&args.run()),
        },
        Command::Transfer(args) => io::transfer::run(&args.options(), args.json),
        Command::Echo(args) => io::echo::run(&args.options()),
        Command::Flood(args) => io::flood::run(&args.flood()),
        Command::Trace(args) => io::trace::draw(&args.drawing()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            lines::note(format_args!("bots: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn swarm(args: &SwarmArgs) -> Result<bool, RunError> {
    let options = args.options();
    let summary = match io::swarm::run(&options) {
        Ok(summary) => summary,
        Err(error) => {
            if args.json {
                let summary = Summary::not_run(options.clients as u64, &error.to_string());
                lines::result(serde_json::json!(summary))?;
            }
            return Err(error);
        }
    };
    lines::result(&summary)?;
    if args.json {
        lines::result(serde_json::json!(summary))?;
    }
    Ok(summary.is_fine())
}

//! The zone server's process: command line, configuration, exit code. Everything that runs is under `io`.
//!
//! Exit codes: 0 fine, 1 failed at run time (for a replay: damaged or another world), 2 the command line or the configuration is wrong.
#![deny(unsafe_code)]

mod args;
mod io;

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use args::{Cli, Command, ReplayArgs, Run, TokenArgs};
use clap::Parser as _;
use io::clock::Clock;
use io::error::RunError;
use io::{logging, run, setup};
use netcode::crypto::{ClusterKey, OsEntropy};
use netcode::token::ServerEntry;
use server::config::ServerConfig;
use server::dev_token::{Issuer, TokenRequest};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(flags) => serve(&flags),
        Command::Config => print(&ServerConfig::documented_toml()),
        Command::Replay(flags) => replay(&flags),
        Command::Token(flags) => issue(&flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(&format!("server: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve(flags: &Run) -> Result<(), RunError> {
    let mut config = flags.config.as_deref().map_or_else(|| Ok(ServerConfig::default()), read_config)?;
    flags.apply(&mut config);
    config.check()?;
    if config.memory.huge_pages {
        io::memory::ask_for_huge_pages(flags.config.as_deref());
    }
    let _lines = logging::start(&config.log);
    run::run(&config, flags.explain().as_ref())
}

fn read_config(path: &Path) -> Result<ServerConfig, RunError> {
    let text = setup::read(path, setup::MAX_CONFIG)?;
    ServerConfig::from_toml(&text).map_err(|error| RunError::ConfigFile { path: path.into(), error })
}

fn replay(flags: &ReplayArgs) -> Result<(), RunError> {
    let outcome = io::replay::run(&flags.file, flags.tick)?;
    print(&if flags.json { format!("{}\n", outcome.to_json()) } else { outcome.to_text() })?;
    // Why it stopped goes to standard error, as all that ends the process.
    outcome.error.map_or(Ok(()), |error| Err(RunError::Replay { path: flags.file.clone(), error }))
}

fn issue(flags: &TokenArgs) -> Result<(), RunError> {
    let issuer = Issuer {
        key: ClusterKey { epoch: flags.epoch, key: setup::key_argument(&flags.cluster_key, flags.epoch)? },
        server: ServerEntry { id: flags.server_id, addr: flags.server },
        group: flags.group,
        life_ms: u64::from(flags.life) * 1000,
    };
    let request = TokenRequest { account: flags.account, character: flags.character, count: flags.count };
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    let mut entropy = OsEntropy::new();
    let reply = issuer.issue(&request, Clock::unix_ms(), &mut entropy)?;
    print(&format!("{}\n", serde_json::json!(reply)))
}

/// Writes to standard output. A reader that has seen enough and closed its end is no failure.
fn print(text: &str) -> Result<(), RunError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(RunError::System { what: "write to standard output", error })
        }
        _ => Ok(()),
    }
}

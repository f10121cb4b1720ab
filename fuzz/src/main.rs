//! The `fuzz` command. Exit codes: 0 fine, 1 a target failed, 2 usage.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use fuzz::runner::{Crash, Fuzzer, run_one};
use fuzz::{CANARY, TARGETS, Target, corpus};

/// Executions between two looks at the clock.
const BATCH: u32 = 64;
/// How long the canary may take to be caught.
const CANARY_SECONDS: f64 = 10.0;

/// Runs Zonewire's fuzz targets on stable Rust.
#[derive(Parser)]
#[command(name = "fuzz")]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// The folder with the corpus, one folder per target in it.
    #[arg(long, global = true)]
    corpus: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the targets and what they check.
    List,
    /// Replays the corpus of every target, then mutates it for so long per target.
    Smoke {
        /// Seconds per target.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// The seed of the mutations.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Replays the corpus of one target, then mutates it.
    Run {
        /// A name from `fuzz list`.
        target: String,
        /// Seconds.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// The seed of the mutations.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs one input.
    Repro {
        /// A name from `fuzz list`.
        target: String,
        /// The file with the input.
        file: PathBuf,
    },
    /// Runs a target whose check is inverted: this must fail, or the runner is blind.
    Canary,
    /// Writes the corpus anew from the real encoders.
    SeedCorpus,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let corpus = args.corpus.unwrap_or_else(corpus::default_dir);
    match args.command {
        Command::List => {
            for target in TARGETS {
                println!("{:<10} {}", target.name, target.about);
            }
            ExitCode::SUCCESS
        }
        Command::Smoke { seconds, seed } => smoke(TARGETS, &corpus, seconds, seed),
        Command::Run { target, seconds, seed } => match fuzz::find(&target) {
            Some(target) => smoke(&[target], &corpus, seconds, seed),
            None => usage(&format!("no target '{target}'; see `fuzz list`")),
        },
        Command::Repro { target, file } => match (fuzz::find(&target), std::fs::read(&file)) {
            (Some(target), Ok(input)) => repro(&target, &input),
            (None, _) => usage(&format!("no target '{target}'; see `fuzz list`")),
            (_, Err(error)) => usage(&format!("{}: {error}", file.display())),
        },
        Command::Canary => canary(&corpus),
        Command::SeedCorpus => seed_corpus(&corpus),
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(2)
}

fn smoke(targets: &[Target], corpus: &std::path::Path, seconds: f64, seed: u64) -> ExitCode {
    println!("seed {seed}, {seconds} s per target");
    println!("{:<10} {:>12} {:>12} {:>7} {:>7}  not reached", "target", "executions", "per second", "corpus", "found");
    let (mut total, mut failed) = (0, false);
    for target in targets {
        let known = match corpus::load(corpus, target) {
            Ok(known) => known,
            Err(error) => return usage(&format!("the corpus of {}: {error}", target.name)),
        };
        let count = known.len();
        let mut fuzzer = Fuzzer::new(*target, seed, known);
        let (result, took) = run(&mut fuzzer, seconds);
        total += fuzzer.executions();
        let rate = fuzzer.executions() as f64 / took.max(1e-9);
        let found = fuzzer.known() - count;
        let unreached = fuzzer.unreached().join(", ");
        println!("{:<10} {:>12} {rate:>12.0} {count:>7} {found:>7}  {unreached}", target.name, fuzzer.executions());
        if let Err(crash) = result {
            report(target, &crash);
            failed = true;
        }
    }
    println!("{:<10} {total:>12}", "in all");
    ExitCode::from(u8::from(failed))
}

/// Runs a fuzzer for so long; returns how long it was in fact.
#[expect(clippy::disallowed_methods, reason = "this binary's budget is wall time")]
fn run(fuzzer: &mut Fuzzer, seconds: f64) -> (Result<(), Crash>, f64) {
    let (start, budget) = (Instant::now(), Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let mut result = fuzzer.replay();
    while result.is_ok() && start.elapsed() < budget {
        result = fuzzer.batch(BATCH);
    }
    (result, start.elapsed().as_secs_f64())
}

fn report(target: &Target, crash: &Crash) {
    eprintln!("\n{} failed on {} bytes:\n{}", target.name, crash.input.len(), crash.message);
    match corpus::write_artifact(target, &crash.input) {
        Ok(path) => {
            let path = path.display();
            eprintln!("repeat it: cargo run --release -p fuzz -- repro {} {path}\n", target.name);
        }
        Err(error) => eprintln!("the input could not be written ({error}); it is {:02x?}\n", crash.input),
    }
}

fn repro(target: &Target, input: &[u8]) -> ExitCode {
    match run_one(target, input) {
        Ok(()) => {
            println!("{}: {} bytes, fine", target.name, input.len());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{}: {} bytes\n{message}", target.name, input.len());
            ExitCode::FAILURE
        }
    }
}

fn canary(corpus: &std::path::Path) -> ExitCode {
    let known = corpus::load(corpus, &CANARY).unwrap_or_default();
    let mut fuzzer = Fuzzer::new(CANARY, 1, known);
    match run(&mut fuzzer, CANARY_SECONDS).0 {
        Ok(()) => {
            eprintln!("the inverted check was not caught in {} executions", fuzzer.executions());
            ExitCode::SUCCESS
        }
        Err(crash) => {
            let executions = fuzzer.executions();
            println!("caught after {executions} executions, as it must be: {:?}\n{}", crash.input, crash.message);
            ExitCode::FAILURE
        }
    }
}

fn seed_corpus(corpus: &std::path::Path) -> ExitCode {
    for target in TARGETS {
        match corpus::write_seeds(corpus, target) {
            Ok(count) => println!("{:<10} {count} inputs", target.name),
            Err(error) => return usage(&format!("{}: {error}", corpus.display())),
        }
    }
    ExitCode::SUCCESS
}

//! How many players a core holds, and what each costs beside the floor: the kernel's and the cipher's bill for the same
//! datagrams.
//!
//! Starts the real server on one core and bots on another (or, for several workers where there are too few, on the same
//! ones), as processes of their own; lets everybody join and settle; then measures. With `--players max` it looks for the
//! most that hold: the 99th percentile of a tick (from when it was due to the last datagram of its frame) within 50 ms and
//! within its period, that of what clients know (staleness) within 2 ticks, in a crowd that of their newest snapshots and
//! nobody starved, nobody and nothing dropped. Right after each run a bare program moves the same datagrams on the same
//! cores: the floor. CPU times are the kernel's for the server's threads (schedstat), which over loopback have the delivery
//! to the client's socket in them, as the floor's have.
//!
//! With `--soak` the run is also a series of rows, and what grows in it breaks a bound; `--churn`, `--rebind` and `--loss` make the
//! bots come and go, change their addresses and lose datagrams meanwhile.

#[cfg(not(target_os = "linux"))]
compile_error!("saturate reads Linux's /proc");

// The server keeps its I/O in its binary. The floor should use that code and no likeness of it.
mod args;
#[path = "../../../../server/src/io/batch.rs"]
#[allow(dead_code)]
mod batch;
mod calm;
mod climb;
mod descriptors;
mod drift;
mod error;
mod figures;
mod floor;
mod log;
mod measure;
mod plot;
mod proc;
mod process;
mod ramp;
mod report;
mod series;
mod setup;
mod stop;
mod tools;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use args::{Cli, Hidden, Run};
use error::Error;
use figures::Figures;
use ramp::Ramp;
use series::Row;
use setup::Setup;
use stop::Stop;

/// Strangers may have so much of the server's core before it is worth a word.
const QUIET_PERCENT: f64 = 5.0;

fn main() -> ExitCode {
    let cli = Cli::given();
    let result = match &cli.hidden {
        Some(Hidden::FloorServe { load }) => floor::serve::run(*load),
        Some(Hidden::FloorPump { load, server }) => floor::pump::run(*load, *server),
        None => run(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saturate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Run) -> Result<(), Error> {
    args.agree();
    let stop = Stop::watch()?;
    // A signal often reaches the children as well: that one of them ended is not the reason then.
    measure_all(args, &stop).map_err(|error| if stop.is_set() { Error::Interrupted } else { error })
}

fn measure_all(args: &Run, stop: &Stop) -> Result<(), Error> {
    args.check()?;
    let setups = args.setups()?;
    // Minutes of measuring should not end with a file that cannot be written.
    let soak_plot = args.soak_plot();
    let files = [("--out", &args.out), ("--plot", &args.plot), ("--plot", &soak_plot), ("--perf", &args.perf)];
    for (flag, file) in files {
        file.as_deref().map_or(Ok(()), |file| try_open(flag, file))?;
    }
    let mut runs = Vec::new();
    for setup in setups {
        let figures = match args.players {
            args::Players::Number(_) => repeat(args, &setup, stop)?,
            args::Players::Max => climb(args, &setup, stop)?,
        };
        runs.push((setup.scenario.name().to_owned(), figures));
    }
    if let Some(file) = &args.plot {
        write(file, &plot::chart(&runs))?;
    }
    if let Some(file) = &soak_plot {
        write(file, &plot::soak(&runs))?;
    }
    let json = match runs.as_slice() {
        [(_, figures)] => figures.json(),
        runs => serde_json::json!({ "runs": runs.iter().map(|(_, figures)| figures.json()).collect::<Vec<_>>() }),
    };
    if let Some(file) = &args.out {
        write(file, &format!("{json:#}\n"))?;
    }
    if args.json {
        println!("{json}");
    } else {
        println!("{}", report::table(&runs));
    }
    Ok(())
}

/// The medians of `--runs` runs, each with its floor.
fn repeat(args: &Run, setup: &Setup, stop: &Stop) -> Result<Figures, Error> {
    let mut all = Vec::new();
    for _ in 0..args.runs {
        let tell_row = |row: &Row| eprintln!("saturate: {}: {}", setup.scenario.name(), row.line());
        let measured = measure::measure(setup, stop, &tell_row)?;
        let bare = Figures::new(setup, &measured, None);
        let floor = (!args.no_floor).then(|| floor::measure(setup, &bare, stop)).transpose()?;
        let figures = Figures::new(setup, &measured, floor.as_ref());
        tell(setup, &figures);
        all.push(figures);
    }
    Figures::median(&all).ok_or(Error::Interrupted)
}

/// The most players that hold, measured as any other number is.
fn climb(args: &Run, setup: &Setup, stop: &Stop) -> Result<Figures, Error> {
    let step = |players| {
        let step = Setup { players, seconds: setup.seconds.min(args::STEP_SECONDS), perf: None, ..setup.clone() };
        let figures = Figures::new(&step, &measure::measure(&step, stop, &|_| ())?, None);
        tell(&step, &figures);
        Ok(figures)
    };
    climb::climb(Ramp::new(args.most()), step, |players| repeat(args, &Setup { players, ..setup.clone() }, stop))
}

/// Progress, on standard error.
fn tell(setup: &Setup, figures: &Figures) {
    eprintln!("saturate: {}: {}", setup.scenario.name(), figures.line());
    if let Some(why) = figures.no_verdict() {
        eprintln!("saturate: {}: no verdict: {why}", setup.scenario.name());
    }
    let strangers = figures.disturbance() * 100.0;
    if strangers > QUIET_PERCENT {
        eprintln!(
            "saturate: other processes took {strangers:.0} % of the server's core, which makes every figure doubtful: wait \
             until it is quiet, or let the scheduler prefer this (chrt -f 10)"
        );
    }
}

fn try_open(flag: &'static str, file: &std::path::Path) -> Result<(), Error> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| Error::Unwritable { flag, path: file.to_owned(), error })
}

fn write(file: &std::path::Path, text: &str) -> Result<(), Error> {
    std::fs::write(file, text).map_err(Error::system(format!("write {}", file.display())))
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "whoever watches processes has nothing to wait for but time")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

//! Replication alone: microseconds per client and tick by stage, bytes per datagram, bits per update.
//!
//! Players in a world, some or all of them connected to one worker of a server without sockets, in one thread. Links are
//! emulated ([`link`]): acknowledgements come after a round trip, packets get lost. Timed are *acks* (what became of
//! earlier packets), *push* (the new frame: who follows somebody who turned is told), and then client by client, as in a
//! server, *aoi* (`Replication::look`), *priority* (`choose`), *pack* (`pack` and `on_sent`) and *seal* (head, preamble
//! and AEAD of the datagram): in every other tick all four as one, in the others apart, which only divides the first
//! figure, so that it does not matter what a look at the clock costs. *step* is the world's tick and its frame, per
//! player. Figures are medians over blocks of ticks that are long enough for everything that recurs; runs that differ
//! in the number of players only take turns, block by block, so that their ratio holds on a busy machine.
//!
//! Four clients decode their snapshots in every tick, outside of what is timed; whatever these confirm must equal the
//! server's frame bit for bit, or the run fails. They also measure how they are served: *near* is the share of
//! snapshots in which each of the nearest 30 who turned had a record (*told*: the share of those nearest), *refresh* the
//! longest time between two confirmed states of an entity (in a crowd nobody confirms what is on its course), *wrong* the
//! longest for which one was shown in a state that was not the server's. *apart* is how far from where they were others are
//! shown two ticks later, on average and at the 99th percentile, as [`client::pose`] does it; `held_m_*` in the JSON are the
//! same if those whom snapshots leave out stood after 250 ms.

mod bench;
mod figures;
mod link;
mod report;
mod screen;
mod setup;
mod witness;
mod worker;
mod zone;

use std::path::PathBuf;
use std::process::ExitCode;

use benches::println;
use clap::Parser;
use serde_json::json;

use figures::Figures;
use setup::{Codec, Error, Scenario, Setup};

/// Numbers of players of a run that is not told any.
const PLAYERS: [u16; 5] = [100, 500, 2000, 5000, 10_000];
/// The most players that crowd together where nobody asked for it.
const MAX_CROWD: u16 = 2000;

/// Measures what replication costs, and how many bytes it takes.
#[derive(Parser)]
#[command(name = "replicate")]
struct Args {
    /// Numbers of players, each a run of its own, 1 to 50000. Default 100,500,2000,5000,10000.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=50_000))]
    players: Vec<u16>,
    /// How many of them are connected, spread evenly. Default all.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=50_000))]
    clients: Option<u16>,
    /// What the players do. Default all (crowds of up to 2000, unless asked for).
    #[arg(long, value_delimiter = ',', value_enum)]
    scenario: Vec<Scenario>,
    /// How updates are coded.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "fast")]
    codec: Vec<Codec>,
    /// Round trip in milliseconds, 0 to 1000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=1000))]
    rtt_ms: u16,
    /// Percent of the packets that are lost each way, 0 to 50.
    #[arg(long, default_value = "0", value_parser = within::<0, 50>)]
    loss: f64,
    /// Virtual seconds that are measured, 1 to 3600.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Ticks a second, 10 to 128.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(10..=128))]
    rate: u16,
    /// How many others each player sees, about, 1 to 1000; not in a crowd.
    #[arg(long, default_value = "30", value_parser = within::<1, 1000>)]
    visible: f64,
    /// Each client is sent a snapshot every so many ticks: 1, or 2 or 4 as where a server sheds snapshots.
    #[arg(long, value_name = "TICKS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    every: u8,
    /// Seed of the world, the players and the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Radius of the area of interest in metres, 46 to 500.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(46..=500))]
    aoi_radius: u16,
    /// The most bytes of a snapshot's body, 100 to 1400. Default a shard's; its share of the bytes per second holds as well.
    #[arg(long, value_parser = clap::value_parser!(u16).range(100..=1400))]
    snapshot_bytes: Option<u16>,
    /// Prints JSON instead of the table: one object, of one run its figures, of several `runs`.
    #[arg(long)]
    json: bool,
    /// Directory for the JSON and the plots. Default target/replicate; with --json none.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A number within bounds.
fn within<const MIN: u32, const MAX: u32>(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    let bounds = f64::from(MIN)..=f64::from(MAX);
    if bounds.contains(&number) { Ok(number) } else { Err(format!("{text} is not in {MIN}..={MAX}")) }
}

impl Args {
    /// The runs, by codec, scenario and players.
    fn setups(&self) -> Vec<Setup> {
        let scenarios = if self.scenario.is_empty() { &Scenario::ALL[..] } else { &self.scenario };
        let players = if self.players.is_empty() { &PLAYERS[..] } else { &self.players };
        let fits = |scenario: Scenario, players: u16| {
            scenario != Scenario::Crowd || players <= MAX_CROWD || self.scenario.contains(&scenario)
        };
        let mut setups = Vec::new();
        for (codec, scenario) in self.codec.iter().flat_map(|codec| scenarios.iter().map(move |s| (*codec, *s))) {
            for players in players.iter().copied().filter(|players| fits(scenario, *players)) {
                setups.push(Setup {
                    players,
                    clients: self.clients,
                    scenario,
                    codec,
                    visible: self.visible,
                    rate: self.rate,
                    every: self.every,
                    aoi_radius_m: self.aoi_radius,
                    seed: self.seed,
                    rtt_ms: self.rtt_ms,
                    loss: self.loss,
                    seconds: self.seconds,
                    snapshot_bytes: self.snapshot_bytes,
                });
            }
        }
        setups
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replicate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let setups = args.setups();
    // What cannot be is said before anything takes long.
    for setup in &setups {
        setup.clients()?;
    }
    let out = args.out.clone().or_else(|| (!args.json).then(|| PathBuf::from("target/replicate")));
    if let Some(out) = &out {
        std::fs::create_dir_all(out).map_err(|error| Error::Files(out.clone(), error))?;
    }
    if !args.json {
        println!("{}", report::head(args.rate, args.seconds));
    }
    let mut runs: Vec<Figures> = Vec::new();
    for group in setups.chunk_by(|a, b| (a.codec, a.scenario) == (b.codec, b.scenario)) {
        let figures = bench::run(group)?;
        if !args.json {
            figures.iter().for_each(|figures| println!("{}", report::row(figures)));
        }
        runs.extend(figures);
    }
    if let Some(out) = &out {
        report::write(out, &runs).map_err(|error| Error::Files(out.clone(), error))?;
    }
    if !args.json {
        report::growth(&runs).iter().for_each(|line| println!("{line}"));
        out.iter().for_each(|out| println!("JSON and plots: {}", out.display()));
    } else if let [only] = runs.as_slice() {
        println!("{}", only.json());
    } else {
        println!("{}", json!({ "runs": runs.iter().map(Figures::json).collect::<Vec<_>>() }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn without_flags_all_sizes_run_but_the_largest_crowds() {
        let setups = parse("replicate").unwrap().setups();
        let of = |scenario| setups.iter().filter(move |setup| setup.scenario == scenario).count();
        assert_eq!(Scenario::ALL.map(of), [5, 5, 5, 3]);
        let asked = parse("replicate --players 5000 --scenario crowd").unwrap().setups();
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for wrong in [
            "--players 0",
            "--players 50001",
            "--clients 0",
            "--loss 51",
            "--loss -1",
            "--loss NaN",
            "--rate 9",
            "--visible 0.5",
            "--seconds 0",
            "--aoi-radius 45",
            "--rtt-ms 1001",
            "--snapshot-bytes 1401",
            "--codec best",
            "--scenario war",
        ] {
            assert!(parse(&format!("replicate {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn more_clients_than_players_are_an_error() {
        let fails = |line: &str| run(&parse(line).unwrap()).unwrap_err().to_string();
        assert_eq!(fails("replicate --json --players 5 --clients 6"), "--clients 6 is more than --players 5");
    }

    #[test]
    fn what_the_command_line_has_wrong_is_told_before_anything_runs_and_ends_it_with_2() {
        for line in [
            "replicate --players 10000 --clients 10001",
            "replicate --players 10000 --seconds 3600 --out /dev/null/plots",
        ] {
            let error = run(&parse(line).unwrap()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}

//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bots::flags::negative;
use bots::swarm::MAX_LIGHT_EVERY;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::descriptors;
use crate::error::Error;
use crate::floor::Load;
use crate::process::check_core;
use crate::setup::{MAX_PLAYERS, Scenario, Setup};
use crate::tools;

/// A step of the ramp takes no longer than this.
pub const STEP_SECONDS: f64 = 6.0;
/// Seconds that a run of a known number settles, unless it is said how long.
const SETTLE_SECONDS: f64 = 3.0;
/// Whole clients, unless it is said how many.
const FULL_BOTS: u16 = 100;

/// How many players a server's core holds, and what each costs beside the floor.
///
/// Starts the real server and bots on cores of their own, measures, and then measures a bare loop that moves the same
/// datagrams. Exit codes: 0 measured (also if bounds broke: see `held` in the JSON), 1 could not be measured, 2 the command
/// line is wrong.
#[derive(Debug, Parser)]
#[command(name = "saturate", args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub hidden: Option<Hidden>,
    #[command(flatten)]
    pub run: Run,
}

impl Cli {
    /// The one that this process was given. Ends the process where it is wrong.
    pub fn given() -> Self {
        let matches = negative(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// What this program starts itself as.
#[derive(Debug, Subcommand)]
pub enum Hidden {
    /// The floor's server.
    #[command(hide = true)]
    FloorServe {
        #[command(flatten)]
        load: Load,
    },
    /// The floor's clients.
    #[command(hide = true)]
    FloorPump {
        #[command(flatten)]
        load: Load,
        /// Where the floor's server listens.
        #[arg(long)]
        server: SocketAddr,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Where the players are and what they do; several are runs of their own.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "spread")]
    pub scenario: Vec<Scenario>,
    /// How many players: 1 to 9936, or `max`: the most that hold the bounds, found in at most 12 steps. These are: tick p99 within
    /// 50 ms and its period; staleness p99 within 2 ticks, but in a crowd, where who is not near is told of by turns: there
    /// the newest snapshot's age p99 within 2 ticks, and nobody starved: shown where he is not any more for at most 1 s and 3
    /// ticks at the 99th percentile, 2 s and 3 ticks at all; nothing and nobody dropped.
    #[arg(long, default_value = "1000")]
    pub players: Players,
    /// Ticks a second, 20 to 128.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(20..=128))]
    pub tick_hz: u16,
    /// Seconds that are measured, 1 to 3600; a step of the ramp takes at most 6, the floor at most 30.
    #[arg(long, default_value = "10", value_parser = within::<1, 3600>)]
    pub seconds: f64,
    /// Seconds from the last one who joined to the first that is measured, 1 to 60. Default: 3; with --players max until it is
    /// calm, 3 to 40: until the server sends every snapshot, and its rounds and its traffic were level for 5 seconds.
    #[arg(long, value_parser = within::<1, 60>)]
    pub settle: Option<f64>,
    /// Per cent of the players, 0 to 600, that leave and come back each minute that is measured, a second later, with new tokens
    /// from new ports; see bots swarm --help. The server must tell of no more connections that ended, everybody must get back
    /// in, and once all have left the server must have no connection and no player any more.
    #[arg(long, value_name = "P", default_value = "0", value_parser = within::<0, 600>)]
    pub churn: f64,
    /// Per cent of the players, 0 to 600, that get another port each minute that is measured, of which the server is not told.
    /// Every connection must go on. Until the server knows the new port, some snapshots are lost: 5 for each are allowed for.
    #[arg(long, value_name = "P", default_value = "0", value_parser = within::<0, 600>)]
    pub rebind: f64,
    /// Per cent of the datagrams, 0 to 100, that are lost each way. So many fewer snapshots are due; the other bounds stay. At 1 %
    /// staleness p99 is that of who has just lost one snapshot, 2 ticks at most; from some 3 % on the loss alone breaks that.
    /// Whole clients answer loss with up to three packets a tick, light ones do not.
    #[arg(long, value_name = "P", default_value = "0", value_parser = within::<0, 100>)]
    pub loss: f64,
    /// Take a series too, a row each 10 s (in a shorter run each thirtieth of it, at least 1 s), and judge whether memory grows by
    /// more than 3 %, or tick p99, staleness p99 (in a crowd the newest snapshot's age) or CPU time by more than 10 % over the
    /// run, by a line through the rows after the first tenth. Growth within two standard errors is none. Beside --plot's file
    /// another with the ending .soak.svg shows the rows. Takes a number of players, and one run.
    #[arg(long, conflicts_with = "runs")]
    pub soak: bool,
    /// Medians of so many runs, 1 to 99.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub runs: u16,
    /// How many others each player sees, about, 1 to 1000; not in a crowd.
    #[arg(long, default_value = "30", value_parser = within::<1, 1000>)]
    pub visible: f64,
    /// How many bots are whole clients, which decode, predict and say how old what they know is; the others are light: they
    /// open, acknowledge and send as many inputs, and no more. At most --players. Default: 100, or all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub full_bots: Option<u16>,
    /// Light bots take their turn once in so many ticks, 1 to 4: they read all that has come, and answer with one packet that has
    /// the inputs of as many ticks; see bots swarm --help. Such bots leave more of a machine to the server, as where it shares
    /// their core; they also send fewer packets, so that figures compare only with others of the same N.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LIGHT_EVERY)))]
    pub light_every: u16,
    /// Reactor threads of the server, 1 to 8.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub workers: u16,
    /// Threads of the bots, 1 to 64.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub bot_threads: u16,
    /// The core of the server, all its threads; or several, for several workers.
    #[arg(long, value_name = "CORE", value_delimiter = ',', default_value = "0", allow_hyphen_values = true)]
    pub server_core: Vec<usize>,
    /// The core of the bots; or several. If one of them is the server's as well, the bots run under chrt(1) in the system's idle
    /// class: they get what the server leaves, and no worker waits for them. Real-time schedulers end there, too: what else runs on
    /// the machine then has more of its cores than they.
    #[arg(long, value_name = "CORE", value_delimiter = ',', default_value = "1", allow_hyphen_values = true)]
    pub bots_core: Vec<usize>,
    /// Where the server listens: a loopback address; port 0 = one that is free.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub listen: SocketAddr,
    /// Let the server ask for large pages (`memory.huge_pages`): less CPU time, more memory.
    #[arg(long)]
    pub huge_pages: bool,
    /// The server's program. Default: `server` beside this one.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// The bots' program. Default: `bots` beside this one.
    #[arg(long, value_name = "PATH")]
    pub bots: Option<PathBuf>,
    /// Seed of the world and of the bots.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the floor out.
    #[arg(long)]
    pub no_floor: bool,
    /// Print one JSON object, last on stdout, instead of the table; of several scenarios `runs`.
    #[arg(long)]
    pub json: bool,
    /// Write the JSON to this file as well.
    #[arg(long, value_name = "FILE.json")]
    pub out: Option<PathBuf>,
    /// Draw server and floor, user and system apart, into this file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Let perf(1) sample the server while it is measured, on the bots' core, and write what it saw to this file; see
    /// benches/profile.sh.
    #[arg(long, value_name = "FILE")]
    pub perf: Option<PathBuf>,
}

/// `--players`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Players {
    /// So many.
    Number(u16),
    /// As many as hold.
    Max,
}

impl FromStr for Players {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.parse().ok().filter(|number| (1..=MAX_PLAYERS).contains(number));
        number.map(Self::Number).ok_or_else(|| format!("a number from 1 to {MAX_PLAYERS}, or max"))
    }
}

impl Run {
    /// Ends the process, as clap does, where flags contradict each other.
    pub fn agree(&self) {
        if let Some((kind, what)) = self.disagreement() {
            clap::Error::raw(kind, format!("{what}\n")).exit();
        }
    }

    /// What contradicts what, and what to do.
    fn disagreement(&self) -> Option<(ErrorKind, String)> {
        if self.soak && self.players == Players::Max {
            let what = "--soak takes a number of --players: find the most that hold first, then soak a share of them";
            return Some((ErrorKind::ArgumentConflict, what.into()));
        }
        if let (Players::Number(players), Some(full)) = (self.players, self.full_bots)
            && full > players
        {
            let what = format!("--full-bots {full}: of --players {players} at most {players} can be whole clients");
            return Some((ErrorKind::ValueValidation, what));
        }
        for (flag, cores) in [("--server-core", &self.server_core), ("--bots-core", &self.bots_core)] {
            let again = cores.iter().enumerate().find(|(at, core)| cores.iter().take(*at).any(|other| other == *core));
            if let Some((_, core)) = again {
                return Some((ErrorKind::ValueValidation, format!("{flag}: core {core} is named twice; once will do")));
            }
        }
        None
    }

    /// Where the series of a soak is drawn: beside the other picture.
    pub fn soak_plot(&self) -> Option<PathBuf> {
        self.plot.as_ref().filter(|_| self.soak).map(|plot| plot.with_extension("soak.svg"))
    }

    /// What the command line alone cannot tell: cores, programs of the system, descriptors.
    pub fn check(&self) -> Result<(), Error> {
        for core in &self.server_core {
            check_core("--server-core", *core)?;
        }
        for core in &self.bots_core {
            check_core("--bots-core", *core)?;
        }
        tools::check(self.bots_core.iter().any(|core| self.server_core.contains(core)), self.perf.is_some())?;
        let players = match self.players {
            Players::Number(players) => players,
            Players::Max => self.most(),
        };
        descriptors::raise(u64::from(players) + descriptors::SPARE)
    }

    /// The most players that a ramp goes up to: each needs a descriptor.
    pub fn most(&self) -> u16 {
        let most = descriptors::most().saturating_sub(descriptors::SPARE);
        u16::try_from(most).unwrap_or(u16::MAX).min(MAX_PLAYERS)
    }

    /// The runs, by scenario.
    pub fn setups(&self) -> Result<Vec<Setup>, Error> {
        let server = program("--server", self.server.as_deref(), "server")?;
        let bots = program("--bots", self.bots.as_deref(), "bots")?;
        let players = match self.players {
            Players::Number(players) => players,
            Players::Max => 1,
        };
        let setup = |scenario: &Scenario| Setup {
            scenario: *scenario,
            players,
            tick_hz: self.tick_hz,
            seconds: self.seconds,
            settle: self.settle.or_else(|| matches!(self.players, Players::Number(_)).then_some(SETTLE_SECONDS)),
            churn: self.churn,
            rebind: self.rebind,
            loss: self.loss,
            soak: self.soak,
            huge_pages: self.huge_pages,
            visible: self.visible,
            full_bots: self.full_bots.unwrap_or(FULL_BOTS),
            light_every: self.light_every,
            workers: self.workers,
            bot_threads: self.bot_threads,
            server_cores: self.server_core.clone(),
            bots_cores: self.bots_core.clone(),
            listen: self.listen,
            server: server.clone(),
            bots: bots.clone(),
            seed: self.seed,
            perf: self.perf.clone(),
        };
        Ok(self.scenario.iter().map(setup).collect())
    }
}

/// The program that was named, or the one of that name beside this one.
fn program(flag: &'static str, named: Option<&Path>, name: &'static str) -> Result<PathBuf, Error> {
    let path = match named {
        // Without a slash it would be looked for elsewhere.
        Some(path) => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        None => std::env::current_exe().map_err(Error::system("find this program"))?.with_file_name(name),
    };
    if tools::can_run(&path) { Ok(path) } else { Err(Error::Missing { flag, path, package: name }) }
}

/// A number within bounds.
fn within<const MIN: u32, const MAX: u32>(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    let bounds = f64::from(MIN)..=f64::from(MAX);
    if bounds.contains(&number) { Ok(number) } else { Err(format!("{text} is not in {MIN}..={MAX}")) }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not IP:PORT".to_owned())?;
    if address.is_ipv4() && address.ip().is_loopback() { Ok(address) } else { Err("must be in 127.0.0.0/8".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        negative(Cli::command()).debug_assert();
        let cli = Cli::parse_from(["saturate", "--scenario", "crowd,fight", "--players", "max"]);
        assert_eq!((cli.run.scenario.len(), cli.run.players), (2, Players::Max));
        let cli = Cli::parse_from(["saturate", "--soak", "--plot", "run.svg", "--churn", "5", "--loss", "0.5"]);
        assert_eq!(cli.run.soak_plot(), Some(PathBuf::from("run.soak.svg")));
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for wrong in [
            &["--players", "0"][..],
            &["--players", "9999"],
            &["--tick-hz", "10"],
            &["--seconds", "0"],
            &["--listen", "192.0.2.1:7777"],
            &["--workers", "9"],
            &["--light-every", "0"],
            &["--light-every", "5"],
            &["--churn", "601"],
            &["--rebind", "-1"],
            &["--loss", "101"],
            &["--soak", "--runs", "2"],
        ] {
            assert!(Cli::try_parse_from([&["saturate"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_what_is_wrong() {
        let told = |args: &[&str]| {
            let cli = Cli::parse_from([&["saturate"], args].concat());
            cli.run.disagreement().map(|(_, what)| what).unwrap_or_default()
        };
        assert!(told(&["--players", "50", "--full-bots", "51"]).starts_with("--full-bots 51: "));
        assert!(told(&["--server-core", "0,1,0"]).starts_with("--server-core: core 0 is named twice"));
        assert!(told(&["--bots-core", "1,1"]).starts_with("--bots-core: core 1 is named twice"));
        for fine in [
            &["--players", "50"][..],
            &["--players", "50", "--full-bots", "50"],
            &["--players", "max", "--full-bots", "5000"],
            &["--server-core", "0,1", "--bots-core", "0,1"],
        ] {
            assert_eq!(told(fine), "", "{fine:?}");
        }
    }

    #[test]
    fn of_a_negative_number_the_range_is_told_and_not_that_it_is_an_argument() {
        for (flag, range) in [
            ("--players", "a number from 1 to"),
            ("--tick-hz", "20..=128"),
            ("--seconds", "1..=3600"),
            ("--settle", "1..=60"),
            ("--churn", "0..=600"),
            ("--runs", "1..=99"),
            ("--workers", "1..=8"),
            ("--full-bots", "1..=65535"),
            ("--server-core", "invalid digit"),
            ("--seed", "invalid digit"),
        ] {
            let command = negative(Cli::command());
            let error = command.try_get_matches_from(["saturate", flag, "-1"]).unwrap_err().to_string();
            assert!(error.contains(&format!("invalid value '-1' for '{flag}")) && error.contains(range), "{error}");
        }
        let cores = negative(Cli::command()).try_get_matches_from(["saturate", "--server-core", "-1,0"]);
        assert!(cores.unwrap_err().to_string().contains("invalid value '-1' for '--server-core"));
    }
}

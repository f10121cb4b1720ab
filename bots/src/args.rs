//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bots::behavior::Behavior;
use bots::flags::negative;
use bots::scenario::{self, Scenario};
use bots::swarm::MAX_LIGHT_EVERY;
use bots::transfer;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use netcode::emulator::LinkConfig;

use crate::io::arena::ArenaRun;
use crate::io::echo::EchoOptions;
use crate::io::flood::{Flood, Junk};
use crate::io::swarm::SwarmOptions;
use crate::io::trace::Drawing;

/// Zonewire's bots: a swarm against a real server, or a whole cluster on virtual time.
///
/// Exit codes: 0 fine, 1 a check failed, 2 the command line is wrong; 130 an arena was interrupted (143: by SIGTERM), and until
/// then nothing failed.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The one that this process was given. Ends the process where it is wrong.
    pub fn given() -> Self {
        let matches = negative(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// What there is to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Many real clients over UDP against a running server.
    Swarm(SwarmArgs),
    /// Server, clients and a bad network in one thread on virtual time, checked at each step.
    Arena(ArenaArgs),
    /// Goodput, delay and overhead of reliable messages and blocks over bad networks, beside what theory allows.
    Transfer(TransferArgs),
    /// A server for those who write a client: it sends back what it gets, on a channel of every kind.
    Echo(EchoArgs),
    /// Sends junk to a server on this machine, as fast as it can.
    Flood(FloodArgs),
    /// Draws a trace (of `swarm --trace`) as an SVG timeline, and prints what it adds up to.
    Trace(TraceArgs),
}

/// `bots swarm`.
#[derive(Clone, Debug, clap::Args)]
pub struct SwarmArgs {
    /// The server: its UDP address (or its HTTP address, since tokens name the UDP one).
    #[arg(long, value_name = "IP:PORT")]
    server: SocketAddr,
    /// Its HTTP address, where tokens come from. Without it: the port of --server, then one above.
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// How many clients, each with its own socket.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: u32,
    /// Account, and character, of the first client; the others count up. Absent: random ones.
    #[arg(long, value_name = "N")]
    account: Option<u64>,
    /// How long to measure, in seconds (at least 0.1), after all have connected.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: f64,
    /// How long to wait before that, in seconds (0.1 to 600): what joining stirred up is to settle. Whoever comes back later is
    /// not measured for as long.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = settle)]
    settle: f64,
    /// After --settle, wait until SIGUSR1 comes, but no longer than so many seconds from when all have connected (0.1 to 600):
    /// for whoever watches the server, and sees when it is calm.
    #[arg(long, value_name = "S", value_parser = settle)]
    settle_most: Option<f64>,
    /// The share of the clients, 0 to 1, that is light: they open, acknowledge and send as many inputs as the others, but
    /// neither decode nor predict; they see nothing, and only the others say how they are served.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    light: f64,
    /// A light client takes its turn once in so many ticks, 1 to 4, others in other ticks: it reads all that has come since, and
    /// answers with one packet that has the inputs of as many ticks and the one before; they are that much farther ahead. Such
    /// clients cost less, so that more of a machine is left for the server; but they send fewer packets than players do, and the
    /// server hears later what has come.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_LIGHT_EVERY)))]
    light_every: u16,
    /// How the clients play.
    #[arg(long, value_enum, default_value_t = BehaviorArg::Wander)]
    behavior: BehaviorArg,
    /// Emulated loss in each direction, in per cent, 0 to 100.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Emulated delay in each direction, in milliseconds, 0 to 10000.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    delay: u32,
    /// Emulated jitter in each direction, in milliseconds, 0 to 10000: the delay varies by this much either way, evenly (as
    /// with `tc netem delay TIME JITTER`), but not below 0.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    jitter: u32,
    /// So many per cent of the clients, 0 to 600, leave each minute that is measured, and come back a second later with a new
    /// token from a new port; evenly over time and clients. Who comes back is measured after --settle.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = per_minute)]
    churn: f64,
    /// So many per cent of the clients, 0 to 600, get another port each minute that is measured, of which the server is not
    /// told: as from a NAT that forgets.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = per_minute)]
    rebind: f64,
    /// Tell on stderr what was seen in each so many seconds that are measured, 0.1 to 3600: a JSON object a line.
    #[arg(long, value_name = "S", value_parser = every)]
    every: Option<f64>,
    /// Threads.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Decides what the clients do, who leaves or gets another port when, and which datagrams the emulated network loses.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// File with the rulebook that the server plays by (its --rules); without it the standard one. A server with another one is
    /// left at once.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Write the first client's first connection to this file, as JSON lines; `bots trace` draws it.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print the summary as one JSON object, last on stdout, also if the run could not be made.
    #[arg(long)]
    pub json: bool,
}

/// `bots arena`. With `--scenario` it shows what a fight over a path is like, in figures; without it draws faults from the
/// seed and checks what must always hold.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ArenaArgs {
    /// Decides everything.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// What is played; exits with 1 if it does not show what it is to show.
    #[arg(long, value_enum)]
    scenario: Option<ScenarioArg>,
    /// The scenario's path: round-trip time in milliseconds, 0 to 2000. Default 0.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=2000))]
    rtt: Option<u32>,
    /// The delay each way of the scenario's path varies evenly by so many milliseconds either way, 0 to 1000, but not below 0.
    /// Default 0.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=1000))]
    jitter: Option<u32>,
    /// Loss each way of the scenario's path, in per cent, 0 to 100. Default 0.
    #[arg(long, value_name = "P", value_parser = percent)]
    loss: Option<f64>,
    /// The scenario's ticks a second, 10 to 128. Default 20.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u16).range(10..=128))]
    rate: Option<u16>,
    /// How far others are set back for a shot of the scenario at most, in milliseconds, 0 (not at all) to 400. Default 250.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(0..=400))]
    max_rewind_ms: Option<u16>,
    /// Run this many consecutive seeds, one line each; the last line has their totals.
    #[arg(long, value_name = "N", conflicts_with = "scenario", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// How many clients; a scenario knows itself how many it needs.
    #[arg(long, value_name = "N", required_unless_present = "scenario", conflicts_with = "scenario", value_parser = clap::value_parser!(u32).range(1..=4000))]
    clients: Option<u32>,
    /// How long the faults last, in virtual seconds; a phase without faults follows. Or how long the scenario is played.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Print the report as one JSON object per seed on stdout; the totals then go to stderr.
    #[arg(long)]
    json: bool,
    /// Explain on stderr, one JSON object a line, why each entity that could go into this client's snapshots (0 is the
    /// first) went or waited.
    #[arg(long, value_name = "CLIENT", conflicts_with_all = ["seeds", "scenario"])]
    watch: Option<u32>,
}

/// [`Scenario`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScenarioArg {
    /// One player alone runs, jumps, sprints, fires, reloads: zero corrections, nothing begun anew.
    Solo,
    /// A player and fifty others in one place fight: each correction below the width of a body, 0.81 m.
    Fight,
    /// Shooters fire at strafing targets exactly where they see them: of what hits there 99 % hits on the server while inside
    /// the window of rewinding, and nothing hits through walls. Where no shot is inside, that is said, and no failure.
    Hits,
    /// Each cheat beside honest twins in the same fight: none gains more over its twins (in distance, damage or loot) than
    /// honest players over each other in 99 of 100 random groupings, and 0.05 (5 %) on top; nobody moves too fast.
    Cheats,
}

impl From<ScenarioArg> for Scenario {
    fn from(arg: ScenarioArg) -> Self {
        match arg {
            ScenarioArg::Solo => Self::Solo,
            ScenarioArg::Fight => Self::Fight,
            ScenarioArg::Hits => Self::Hits,
            ScenarioArg::Cheats => Self::Cheats,
        }
    }
}

/// `bots transfer`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TransferArgs {
    /// Decides everything.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Bytes a second that the server may send.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(200_000..=20_000_000))]
    cap: u32,
    /// Print the table as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `bots echo`. The first line on stdout is a JSON object with the address and the channel table, each further one a connect
/// bundle.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct EchoArgs {
    /// Where it listens; port 0 = one that is free.
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// How many connect bundles to print; each is good for one connection.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    bundles: u32,
    /// Roll the server's keys after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    key_roll: Option<u64>,
    /// End after so many seconds; without it: at SIGINT or SIGTERM.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
}

/// `bots flood`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FloodArgs {
    /// The server's UDP address, which must be on this machine (a loopback address).
    #[arg(long, value_name = "IP:PORT", value_parser = loopback)]
    server: SocketAddr,
    /// Its HTTP address, where the token of a replayed HELLO comes from. Without it: the port of --server, then one above.
    #[arg(long, value_name = "IP:PORT", value_parser = loopback)]
    http: Option<SocketAddr>,
    /// What is sent.
    #[arg(long, value_enum)]
    kind: JunkArg,
    /// For how long.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: f64,
    /// Datagrams a second; without it: as many as can be.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Decides the junk.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

/// [`Junk`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum JunkArg {
    /// Random bytes of random length.
    Random,
    /// Data packets with a valid header and random contents.
    Header,
    /// HELLOs whose token nobody issued, each another one.
    Hello,
    /// One valid HELLO, again and again.
    ReplayedHello,
}

/// `bots trace`.
#[derive(Clone, Debug, clap::Args)]
pub struct TraceArgs {
    /// The trace.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the picture goes. Without it: beside the trace, with the ending `.svg`.
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
}

/// [`Behavior`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BehaviorArg {
    /// Walk, rest, jump, sprint.
    Wander,
    /// Stand still.
    Idle,
    /// Run in circles: every entity changes in every tick.
    Circle,
    /// Wander, leave and come back with a new token.
    Churn,
    /// Strafe, jump, aim at whoever is near and fire: every entity does something unforeseen in nearly every tick.
    Fight,
    /// Mill about in one place: short ways there and back.
    Crowd,
}

impl From<BehaviorArg> for Behavior {
    fn from(arg: BehaviorArg) -> Self {
        match arg {
            BehaviorArg::Wander => Self::Wander,
            BehaviorArg::Idle => Self::Idle,
            BehaviorArg::Circle => Self::Circle,
            BehaviorArg::Churn => Self::Churn,
            BehaviorArg::Fight => Self::Fight,
            BehaviorArg::Crowd => Self::Crowd,
        }
    }
}

impl SwarmArgs {
    /// The run that they describe.
    pub fn options(&self) -> SwarmOptions {
        let perfect = self.loss == 0.0 && self.delay == 0 && self.jitter == 0;
        let least = self.delay.saturating_sub(self.jitter);
        let spread = self.delay.saturating_add(self.jitter) - least;
        let link = (!perfect).then(|| LinkConfig {
            loss: self.loss / 100.0,
            delay: Duration::from_millis(least.into()),
            jitter: Duration::from_millis(spread.into()),
            ..LinkConfig::default()
        });
        SwarmOptions {
            server: self.server,
            http: self.http,
            clients: self.clients as usize,
            account: self.account,
            seconds: self.seconds,
            settle: Duration::from_secs_f64(self.settle),
            settle_most: self.settle_most.map(Duration::from_secs_f64),
            churn: self.churn,
            rebind: self.rebind,
            every: self.every,
            light: self.light,
            light_every: self.light_every,
            behavior: self.behavior.into(),
            link,
            threads: self.threads.into(),
            seed: self.seed,
            rules: self.rules.clone(),
            trace: self.trace.clone(),
        }
    }
}

impl TransferArgs {
    /// The runs that they describe.
    pub fn options(&self) -> transfer::Options {
        transfer::Options { cap: self.cap, ..transfer::Options::new(self.seed) }
    }
}

impl EchoArgs {
    /// The server that they describe.
    pub fn options(&self) -> EchoOptions {
        let Self { listen, bundles, key_roll, seconds } = *self;
        EchoOptions { listen, bundles, key_roll, seconds }
    }
}

impl FloodArgs {
    /// The flood that they describe.
    pub fn flood(&self) -> Flood {
        let Self { server, http, seconds, rate, seed, .. } = *self;
        let kind = match self.kind {
            JunkArg::Random => Junk::Random,
            JunkArg::Header => Junk::Header,
            JunkArg::Hello => Junk::Hello,
            JunkArg::ReplayedHello => Junk::ReplayedHello,
        };
        Flood { server, http, kind, seconds, rate, seed }
    }
}

impl TraceArgs {
    /// The picture that they ask for.
    pub fn drawing(&self) -> Drawing {
        let out = self.out.clone().unwrap_or_else(|| self.file.with_extension("svg"));
        Drawing { file: self.file.clone(), out }
    }
}

impl ArenaArgs {
    /// The scenario that they describe, if they do.
    pub fn scenario(&self) -> Option<(scenario::Options, bool)> {
        let usual = scenario::Options::new(self.scenario?.into(), self.seed, self.seconds);
        let options = scenario::Options {
            rtt_ms: self.rtt.unwrap_or(usual.rtt_ms),
            jitter_ms: self.jitter.unwrap_or(usual.jitter_ms),
            loss: self.loss.map_or(usual.loss, |percent| percent / 100.0),
            rate_hz: self.rate.unwrap_or(usual.rate_hz),
            max_rewind_ms: self.max_rewind_ms.unwrap_or(usual.max_rewind_ms),
            ..usual
        };
        Some((options, self.json))
    }

    /// The first flag given that only a scenario knows.
    fn of_scenario(&self) -> Option<&'static str> {
        let flags = [
            ("--rtt", self.rtt.is_some()),
            ("--jitter", self.jitter.is_some()),
            ("--loss", self.loss.is_some()),
            ("--rate", self.rate.is_some()),
            ("--max-rewind-ms", self.max_rewind_ms.is_some()),
        ];
        flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// The run that they describe. Ends the process, as clap does, where they contradict each other.
    pub fn run(&self) -> ArenaRun {
        // clap drops a `requires` whose target conflicts with another flag that is given, as `--scenario` does with `--clients`.
        if let Some(flag) = self.of_scenario() {
            let what = format!(
                "{flag} describes the path of a scenario, and an arena without one draws its network from the seed: add \
                 --scenario solo, fight, hits or cheats (without --clients), or leave {flag} out\n"
            );
            clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, what).exit();
        }
        let clients = self.clients.unwrap_or(1);
        if let Some(watch) = self.watch.filter(|watch| *watch >= clients) {
            let what = format!("--watch {watch}: with --clients {clients} the last client is {}\n", clients - 1);
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, what).exit();
        }
        ArenaRun {
            seed: self.seed,
            seeds: self.seeds,
            clients: clients as usize,
            seconds: self.seconds,
            json: self.json,
            watch: self.watch.map(|client| client as usize),
        }
    }
}

fn number(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(format!("must be {min} to {max}")) }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not IP:PORT".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("only loopback addresses are flooded".into()) }
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, 0.0, 100.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn per_minute(text: &str) -> Result<f64, String> {
    number(text, 0.0, 600.0)
}

fn every(text: &str) -> Result<f64, String> {
    number(text, 0.1, 3600.0)
}

fn settle(text: &str) -> Result<f64, String> {
    number(text, 0.1, 600.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    // In less, a window may see no snapshot at all.
    number(text, 0.1, 86_400.0)
}

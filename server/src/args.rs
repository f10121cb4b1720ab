//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::io::explain::Explain;
use clap::{Args, Parser, Subcommand, ValueEnum};
use server::config::{Format, HttpListen, Level, ServerConfig};

/// Zonewire zone server: one zone, its players, its clients.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground (the default). It is ready when GET /healthz answers 200. Its log has one status
    /// line per second, whose counters count since the line before; at level debug a line with the distributions of all times
    /// as well.
    Run(Run),
    /// Print the default configuration as TOML, every key explained.
    Config,
    /// Run a recording (record.dir) again and compare each tick. Exit code 0: all ticks are the same. 1: one is not, or the file
    /// is damaged. A file whose end is torn is replayed to its last whole tick.
    Replay(ReplayArgs),
    /// Issue development tokens as JSON, in the shape of POST /v1/dev/token.
    Token(TokenArgs),
}

/// Every flag wins over the key of the configuration file that it names.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Configuration file (TOML); `server config` prints one with every key and its default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// network.listen: UDP address for clients.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// network.http: TCP address of the HTTP endpoint; "" switches it off.
    #[arg(long, value_name = "IP:PORT")]
    http: Option<HttpListen>,
    /// network.advertise: address that development tokens send clients to.
    #[arg(long, value_name = "IP:PORT")]
    advertise: Option<SocketAddr>,
    /// network.workers: reactor threads.
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// world.tick_rate_hz: simulation ticks per second.
    #[arg(long, value_name = "HZ")]
    tick_rate: Option<u32>,
    /// world.seed: seed of map and world.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// world.half_extent_m: how far the map reaches from its middle.
    #[arg(long, value_name = "METRES")]
    half_extent: Option<u32>,
    /// world.boxes: static boxes on the map.
    #[arg(long, value_name = "N")]
    boxes: Option<u32>,
    /// world.gates: boxes on the map that slide to and fro.
    #[arg(long, value_name = "N")]
    gates: Option<u32>,
    /// world.ramps: wedges on the map.
    #[arg(long, value_name = "N")]
    ramps: Option<u32>,
    /// world.npcs: wandering non-player characters.
    #[arg(long, value_name = "N")]
    npcs: Option<u32>,
    /// world.max_players: players admitted at once.
    #[arg(long, value_name = "N")]
    max_players: Option<u32>,
    /// world.rules: file with the rulebook.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// combat.max_rewind_ms: how far others are set back for a shot.
    #[arg(long, value_name = "MS")]
    max_rewind: Option<u32>,
    /// replication.aoi_radius_m: how far a client sees.
    #[arg(long, value_name = "METRES")]
    aoi_radius: Option<u32>,
    /// access.dev_tokens: whether the HTTP endpoint issues development tokens.
    #[arg(long, value_name = "BOOL")]
    dev_tokens: Option<bool>,
    /// Explain why each entity went into this character's snapshots, or waited: the terms of its priority, as lines of JSON
    /// in --explain-to.
    #[arg(long, value_name = "CHARACTER", requires = "explain_to")]
    explain: Option<u64>,
    /// The file that --explain writes; it is overwritten.
    #[arg(long, value_name = "FILE", requires = "explain")]
    explain_to: Option<PathBuf>,
    /// record.dir: directory that gets a recording of the world, for `server replay`.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// log.level.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LevelArg>,
    /// log.format.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<FormatArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArg {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The cluster key: a file that holds 64 hexadecimal digits, or the digits themselves (which other users of this
    /// machine can then see).
    #[arg(long, value_name = "FILE|HEX")]
    pub cluster_key: String,
    /// The key's epoch, as the servers know it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub epoch: u8,
    /// UDP address of the server.
    #[arg(long, value_name = "IP:PORT")]
    pub server: SocketAddr,
    /// The server's id (access.server_id).
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub server_id: u32,
    /// The server's group (access.group).
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub group: u32,
    /// Account of the first token, the following ones count up; absent: a random one for each.
    #[arg(long, value_name = "N")]
    pub account: Option<u64>,
    /// Character of the first token; absent: the number of the account.
    #[arg(long, value_name = "N")]
    pub character: Option<u64>,
    /// How many tokens, 1 to 4096; absent: one, also given at the top level of the JSON.
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Life of the tokens in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub life: u32,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Stop after this tick and print everybody's state then.
    #[arg(long, value_name = "N")]
    pub tick: Option<u64>,
    /// Print JSON: ticks, divergence (null or the tick), speed_x, ...
    #[arg(long)]
    pub json: bool,
}

impl Run {
    /// Whose snapshots are explained, if anybody's.
    pub fn explain(&self) -> Option<Explain> {
        Some(Explain { character: self.explain?, file: self.explain_to.clone()? })
    }

    /// Lays the given flags over `config`.
    pub fn apply(&self, config: &mut ServerConfig) {
        let (network, world) = (&mut config.network, &mut config.world);
        set(&mut network.listen, self.listen);
        set(&mut network.http, self.http);
        network.advertise = self.advertise.or(network.advertise);
        set(&mut network.workers, self.workers);
        set(&mut world.tick_rate_hz, self.tick_rate);
        set(&mut world.seed, self.seed);
        set(&mut world.half_extent_m, self.half_extent);
        set(&mut world.boxes, self.boxes);
        set(&mut world.gates, self.gates);
        set(&mut world.ramps, self.ramps);
        set(&mut world.npcs, self.npcs);
        set(&mut world.max_players, self.max_players);
        world.rules = self.rules.clone().or(world.rules.take());
        set(&mut config.combat.max_rewind_ms, self.max_rewind);
        set(&mut config.replication.aoi_radius_m, self.aoi_radius);
        config.record.dir = self.record.clone().or(config.record.dir.take());
        config.access.dev_tokens = self.dev_tokens.or(config.access.dev_tokens);
        set(&mut config.log.level, self.log_level.map(Level::from));
        set(&mut config.log.format, self.log_format.map(Format::from));
    }
}

fn set<T>(key: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *key = value;
    }
}

impl From<LevelArg> for Level {
    fn from(arg: LevelArg) -> Self {
        match arg {
            LevelArg::Off => Self::Off,
            LevelArg::Error => Self::Error,
            LevelArg::Warn => Self::Warn,
            LevelArg::Info => Self::Info,
            LevelArg::Debug => Self::Debug,
            LevelArg::Trace => Self::Trace,
        }
    }
}

impl From<FormatArg> for Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Text => Self::Text,
            FormatArg::Json => Self::Json,
        }
    }
}

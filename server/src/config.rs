//! The server's configuration: one TOML file, every key with unit, range and default.
//!
//! [`ServerConfig::from_toml`] parses, [`ServerConfig::check`] judges (after flags have been laid over the file), and
//! [`ServerConfig::documented_toml`] prints every key with its explanation. All three work from the one table in
//! [`keys`], so a key cannot be documented with one range and checked against another.

pub mod keys;
mod parts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sim::{MapConfig, WorldConfig};
use thiserror::Error;

use crate::replication::DEFAULT_FOLLOW;
use crate::shard::DEFAULT_COMPACT_CLIENTS;

/// Everything that an operator can set. Keys that are not given keep their defaults; unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Sockets.
    pub network: Network,
    /// Where the threads run.
    pub threads: Threads,
    /// How memory is asked for.
    pub memory: Memory,
    /// The simulated world.
    pub world: World,
    /// How fights are judged.
    pub combat: Combat,
    /// What each client is told, and how much of it.
    pub replication: Replication,
    /// Who goes first when a snapshot has no room for everybody.
    pub priority: Priority,
    /// Who may connect.
    pub access: Access,
    /// What the server does when more arrives than it wants to serve.
    pub load: Load,
    /// Recordings of the world, for replays.
    pub record: Record,
    /// Log lines.
    pub log: Log,
}

/// Sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// UDP address for clients; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// TCP address of the HTTP endpoint.
    #[serde(skip_serializing_if = "HttpListen::is_unset")]
    pub http: HttpListen,
    /// The address that development tokens tell clients to use; unset: the one that the socket is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// Reactor threads, each with its own socket.
    pub workers: u32,
    /// Kernel receive buffer of each socket, in KiB.
    pub receive_buffer_kib: u32,
    /// Kernel send buffer of each socket, in KiB.
    pub send_buffer_kib: u32,
    /// While datagrams keep coming, they are taken no more often than that, in microseconds.
    pub receive_every_us: u32,
    /// Silence after which a connection is given up, in milliseconds.
    pub idle_timeout_ms: u32,
    /// The most that is sent to one client, in bytes per second.
    pub client_bytes_per_s: u32,
    /// Packets after which the key for what is sent to a client is rolled.
    pub key_roll_packets: u32,
    /// Age at which that key is rolled, in minutes.
    pub key_roll_minutes: u32,
}

/// Where the threads run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Threads {
    /// The core of the zone's thread; unset: wherever the system puts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_core: Option<u32>,
    /// The cores of the workers, one after the other and from the first again; none: wherever the system puts them.
    pub worker_cores: Vec<u32>,
}

/// How memory is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Whether the system is asked for large pages.
    pub huge_pages: bool,
}

/// The simulated world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// The zone's number.
    pub zone: u32,
    /// Simulation ticks (and snapshots) per second.
    pub tick_rate_hz: u32,
    /// Seed of map and world.
    pub seed: u64,
    /// The map reaches this far from its middle along x and z, in metres.
    pub half_extent_m: u32,
    /// Players and characters spawn within this distance of the middle along x and z, in metres; unset: all over the
    /// map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_half_extent_m: Option<u32>,
    /// Static boxes on the map.
    pub boxes: u32,
    /// Boxes that slide to and fro.
    pub gates: u32,
    /// Wedges to walk up.
    pub ramps: u32,
    /// Wandering non-player characters.
    pub npcs: u32,
    /// Players admitted at once.
    pub max_players: u32,
    /// The file with the rulebook (TOML); unset: the standard one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<PathBuf>,
}

/// How fights are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Combat {
    /// How far others are set back at most for a shot of who saw them then, in milliseconds.
    pub max_rewind_ms: u32,
}

/// What each client is told, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replication {
    /// A client is told about entities within this distance, in metres.
    pub aoi_radius_m: u32,
    /// A snapshot's body is at most this long, in bytes.
    pub snapshot_bytes: u32,
    /// All snapshots of a second are at most this long, in bytes.
    pub bytes_per_s: u32,
    /// Entities that a client can know at once.
    pub max_known: u32,
    /// In a crowd: how many of its nearest a client is told of at once.
    pub follow_nearest: u32,
    /// Which clients get their snapshots in the compact codec.
    pub codec: Codec,
    /// How many clients of a worker may have it at a time.
    pub compact_clients: u32,
}

/// Who goes first when a snapshot has no room for everybody: a product of weights. See
/// [`crate::replication::Priority`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Priority {
    /// Weight of players, in percent.
    pub player: u32,
    /// Weight of non-player characters, in percent.
    pub npc: u32,
    /// Weight of projectiles, in percent.
    pub projectile: u32,
    /// Weight of things to pick up, in percent.
    pub loot: u32,
    /// Weight of what is where the player is.
    pub near: u32,
    /// Weight of what is at the edge of the area.
    pub far: u32,
    /// How steeply the weight falls between.
    pub falloff: u32,
    /// Weight of whom the player deals with, in percent.
    pub interaction: u32,
    /// Weight of party members, in percent.
    pub party: u32,
    /// Weight of the player's target, in percent.
    pub target: u32,
    /// Percent added for each metre by which the client's guess is wrong.
    pub error: u32,
    /// Percent added for each packet in a row that was lost.
    pub loss: u32,
    /// Waiting time after which somebody goes before all others, in milliseconds.
    pub starved_ms: u32,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// This server's id, as tokens name it.
    pub server_id: u32,
    /// The server group that tokens must be issued for.
    pub group: u32,
    /// The keys that tokens are sealed under; the first one seals development tokens.
    pub cluster_keys: Vec<KeyEntry>,
    /// Whether the HTTP endpoint issues development tokens; unset: yes where it listens on loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_tokens: Option<bool>,
    /// Life of a development token, in seconds.
    pub dev_token_life_s: u32,
}

/// One cluster key: its epoch (which tokens name) and exactly one of `hex` and `file`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// The key's epoch, 0..=255.
    pub epoch: u8,
    /// The key itself: 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// A file that holds the 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// Never shows the key: configurations end up in logs.
impl std::fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyEntry").field("epoch", &self.epoch).field("file", &self.file).finish_non_exhaustive()
    }
}

/// What the server does when more arrives than it wants to serve. All values are for the whole server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Handshakes per second that are worked on without a cookie.
    pub cookie_above_per_s: u32,
    /// Handshakes per second that are worked on at all.
    pub handshakes_per_s: u32,
    /// Handshakes per second of one network that are worked on without a cookie.
    pub prefix_per_s: u32,
    /// How many of these at once, after a pause.
    pub prefix_burst: u32,
    /// Handshakes per second of one network that are worked on with a cookie.
    pub prefix_cookie_per_s: u32,
    /// How many of these at once, after a pause.
    pub prefix_cookie_burst: u32,
    /// Where time is short, each client is sent a snapshot every so many ticks at the least.
    pub shed_snapshots: u32,
    /// Where that is not enough, a tick takes so many percent of its time at the most.
    pub dilate_percent: u32,
}

/// Recordings of the world, for replays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// The directory that gets a file for each start; unset: nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Whether a recording has what a replay needs to tell in what it differs.
    pub states: bool,
}

/// Log lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important level that is written.
    pub level: Level,
    /// The shape of the lines.
    pub format: Format,
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing at all.
    Off,
    /// What stops the server.
    Error,
    /// What an operator should look at.
    Warn,
    /// Start, stop and one status line per second.
    #[default]
    Info,
    /// Connections come and go.
    Debug,
    /// Everything.
    Trace,
}

/// Which clients get their snapshots in the compact codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// None.
    Fast,
    /// All, as far as `compact_clients` goes.
    Compact,
    /// Those whose snapshots do not fit.
    #[default]
    Auto,
}

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text with `key=value` fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the HTTP endpoint listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HttpListen {
    /// On the address and port of the UDP socket, over TCP.
    #[default]
    SameAsListen,
    /// Nowhere.
    Off,
    /// On this address.
    At(SocketAddr),
}

impl HttpListen {
    fn is_unset(&self) -> bool {
        *self == Self::SameAsListen
    }
}

impl std::str::FromStr for HttpListen {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return Ok(Self::Off);
        }
        let allowed = "IP:PORT, or \"\" to switch it off";
        let error = |_| ConfigError::Value { key: "network.http", value: format!("{text:?}"), allowed: allowed.into() };
        text.parse().map(Self::At).map_err(error)
    }
}

impl TryFrom<String> for HttpListen {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<HttpListen> for String {
    fn from(http: HttpListen) -> Self {
        match http {
            HttpListen::At(addr) => addr.to_string(),
            HttpListen::SameAsListen | HttpListen::Off => Self::new(),
        }
    }
}

/// Why a configuration is refused. The operator is the guilty one; each text says which key, its value, and what is
/// allowed.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type; the parser's text quotes the line.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A key's value is not allowed.
    #[error("{key} = {value} is not allowed: {key} takes {allowed}")]
    Value {
        /// The key with its section.
        key: &'static str,
        /// The value, as one would write it in the file.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The development token endpoint would be reachable from other machines.
    #[error(
        "access.dev_tokens = true is not allowed with network.http = \"{0}\": anyone who reaches that address could log \
         in; set access.dev_tokens = false, or give network.http a loopback address such as \"127.0.0.1:7777\""
    )]
    DevTokensExposed(SocketAddr),
    /// Development tokens are to be issued, but nothing issues them.
    #[error(
        "access.dev_tokens = true is not allowed with network.http = \"\": the HTTP endpoint is what issues them; give \
         network.http an address, or leave access.dev_tokens out"
    )]
    DevTokensWithoutHttp,
    /// A cluster key entry has both or neither of `hex` and `file`.
    #[error("access.cluster_keys: the entry with epoch {0} must have exactly one of `hex` and `file`")]
    KeySource(u8),
    /// Two cluster keys have the same epoch.
    #[error("access.cluster_keys: epoch {0} is given twice: each key needs an epoch of its own")]
    KeyEpochTwice(u8),
    /// A cluster key is not 64 hexadecimal digits (the text does not quote it).
    #[error("access.cluster_keys: the key with epoch {0} is not allowed: a key takes 64 hexadecimal digits (32 bytes)")]
    KeyText(u8),
}

impl ServerConfig {
    /// Parses a TOML text. Ranges are checked by [`ServerConfig::check`], once flags are laid over it.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Checks every range and rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        keys::check(self)?;
        self.check_world()?;
        if let (Some(http), Some(true)) = (self.http(), self.access.dev_tokens)
            && !is_loopback(http.ip())
        {
            return Err(ConfigError::DevTokensExposed(http));
        }
        self.check_network()?;
        self.check_threads()?;
        self.check_priority()?;
        self.check_paths()?;
        for (i, entry) in self.access.cluster_keys.iter().enumerate() {
            if entry.hex.is_some() == entry.file.is_some() {
                return Err(ConfigError::KeySource(entry.epoch));
            }
            if self.access.cluster_keys.iter().take(i).any(|earlier| earlier.epoch == entry.epoch) {
                return Err(ConfigError::KeyEpochTwice(entry.epoch));
            }
        }
        Ok(())
    }

    /// A core too many would stay without a worker, and nobody would know.
    fn check_threads(&self) -> Result<(), ConfigError> {
        let (cores, workers) = (&self.threads.worker_cores, self.network.workers);
        if cores.len() > workers as usize {
            let allowed = format!("at most one core for each worker, and network.workers is {workers}");
            return Err(ConfigError::Value { key: "threads.worker_cores", value: format!("{cores:?}"), allowed });
        }
        Ok(())
    }

    /// What two keys must agree on.
    fn check_network(&self) -> Result<(), ConfigError> {
        if self.http().is_none() && self.access.dev_tokens == Some(true) {
            return Err(ConfigError::DevTokensWithoutHttp);
        }
        if let Some(advertise) = self.network.advertise.filter(|addr| addr.port() == 0) {
            let allowed = "IP:PORT with a port above 0: clients send to it".into();
            let value = format!("\"{advertise}\"");
            return Err(ConfigError::Value { key: "network.advertise", value, allowed });
        }
        let Load { cookie_above_per_s, handshakes_per_s, .. } = self.load;
        if cookie_above_per_s > handshakes_per_s && cookie_above_per_s == Load::default().cookie_above_per_s {
            // Nobody wrote that, but the other.
            let allowed = format!(
                "at least load.cookie_above_per_s, which is {cookie_above_per_s} by default (lower that as well, or 0)"
            );
            let value = handshakes_per_s.to_string();
            return Err(ConfigError::Value { key: "load.handshakes_per_s", value, allowed });
        }
        if cookie_above_per_s > handshakes_per_s {
            let allowed = format!("at most load.handshakes_per_s, which is {handshakes_per_s}");
            let value = cookie_above_per_s.to_string();
            return Err(ConfigError::Value { key: "load.cookie_above_per_s", value, allowed });
        }
        Ok(())
    }

    /// Who is far away never goes before who is near.
    fn check_priority(&self) -> Result<(), ConfigError> {
        let Priority { near, far, .. } = self.priority;
        if near < far {
            let allowed = format!("at least priority.far, which is {far}");
            return Err(ConfigError::Value { key: "priority.near", value: near.to_string(), allowed });
        }
        Ok(())
    }

    /// An empty path is the current directory to some and nothing to others.
    fn check_paths(&self) -> Result<(), ConfigError> {
        let paths = [("world.rules", &self.world.rules), ("record.dir", &self.record.dir)];
        let is_empty = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
        let Some((key, _)) = paths.into_iter().find(|(_, path)| is_empty(path)) else { return Ok(()) };
        let allowed = "a path; leave the key out for none".into();
        Err(ConfigError::Value { key, value: "\"\"".into(), allowed })
    }

    /// What depends on the size of the map.
    fn check_world(&self) -> Result<(), ConfigError> {
        let World { half_extent_m, boxes, gates, ramps, spawn_half_extent_m, .. } = self.world;
        let cell_m = u32::from(MapConfig::CELL_M);
        let mut cells = (2 * half_extent_m / cell_m).pow(2);
        for (key, count) in [("world.boxes", boxes), ("world.gates", gates), ("world.ramps", ramps)] {
            let Some(left) = cells.checked_sub(count) else {
                let allowed = format!(
                    "at most {cells} with half_extent_m = {half_extent_m}: boxes, gates and ramps are at most one per \
                     {cell_m} m by {cell_m} m"
                );
                return Err(ConfigError::Value { key, value: count.to_string(), allowed });
            };
            cells = left;
        }
        if let Some(spawn) = spawn_half_extent_m.filter(|spawn| !(1..=half_extent_m).contains(spawn)) {
            let allowed = format!("1 m up to half_extent_m, which is {half_extent_m}");
            return Err(ConfigError::Value { key: "world.spawn_half_extent_m", value: spawn.to_string(), allowed });
        }
        Ok(())
    }

    /// Where the HTTP endpoint listens, if anywhere.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        match self.network.http {
            HttpListen::Off => None,
            HttpListen::SameAsListen => Some(self.network.listen),
            HttpListen::At(addr) => Some(addr),
        }
    }

    /// Whether the HTTP endpoint issues development tokens.
    #[must_use]
    pub fn dev_tokens(&self) -> bool {
        self.http().is_some_and(|http| self.access.dev_tokens.unwrap_or(is_loopback(http.ip())))
    }

    /// The address that clients are told, given the one that the socket was bound to: the unspecified address is
    /// replaced by loopback, because nobody can send to it.
    #[must_use]
    pub fn advertised(&self, bound: SocketAddr) -> SocketAddr {
        let mut addr = self.network.advertise.unwrap_or(bound);
        if addr.ip().is_unspecified() {
            addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        addr
    }

    /// The default configuration as TOML with every key explained.
    #[must_use]
    pub fn documented_toml() -> String {
        keys::documented(&Self::default())
    }
}

/// Whether only this machine can have that address (IPv4-mapped ones included).
#[must_use]
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Parses 64 hexadecimal digits (white space around them is ignored).
#[must_use]
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(key)
}

impl Default for Network {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            http: HttpListen::SameAsListen,
            advertise: None,
            workers: 1,
            receive_buffer_kib: 4096,
            send_buffer_kib: 4096,
            receive_every_us: 1000,
            idle_timeout_ms: 10_000,
            client_bytes_per_s: 1_000_000,
            key_roll_packets: 1 << 22,
            key_roll_minutes: 60,
        }
    }
}

/// With a half extent of 256 m and sight of 50 m, 1,000 players have about 30 others in sight
/// (`1000 * pi * 50^2 / 512^2`).
impl Default for World {
    fn default() -> Self {
        Self {
            zone: 1,
            tick_rate_hz: 20,
            seed: 1,
            half_extent_m: 256,
            spawn_half_extent_m: None,
            boxes: 200,
            gates: 0,
            ramps: 0,
            npcs: 100,
            max_players: 2000,
            rules: None,
        }
    }
}

impl Default for Combat {
    fn default() -> Self {
        Self { max_rewind_ms: WorldConfig::default().max_rewind_ms.into() }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { dir: None, states: true }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            aoi_radius_m: 50,
            snapshot_bytes: 1352,
            bytes_per_s: 32_000,
            max_known: 4000,
            follow_nearest: DEFAULT_FOLLOW.into(),
            codec: Codec::Auto,
            compact_clients: DEFAULT_COMPACT_CLIENTS.into(),
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        let weights = crate::replication::Priority::default();
        Self {
            player: 100,
            npc: 100,
            projectile: 200,
            loot: 50,
            near: weights.near.into(),
            far: weights.far.into(),
            falloff: weights.falloff.into(),
            interaction: weights.interaction.into(),
            party: weights.party.into(),
            target: weights.target.into(),
            error: weights.error.into(),
            loss: weights.loss.into(),
            starved_ms: weights.starved_ms.into(),
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self { server_id: 1, group: 0, cluster_keys: Vec::new(), dev_tokens: None, dev_token_life_s: 60 }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            cookie_above_per_s: 500,
            handshakes_per_s: 2000,
            prefix_per_s: 50,
            prefix_burst: 100,
            prefix_cookie_per_s: 400,
            prefix_cookie_burst: 800,
            shed_snapshots: 4,
            dilate_percent: 200,
        }
    }
}

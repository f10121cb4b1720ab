//! The table of all configuration keys: explanation, unit, range, default; and what is derived from it.

use std::fmt::Write as _;

use netcode::channel::MAX_SNAPSHOT;
use sim::MapConfig;
use sim::config::MAX_REWIND_MS;

use super::{ConfigError, ServerConfig};
use crate::load::Pace;
use crate::replication::DEFAULT_CROWD;

/// One configuration key.
pub struct Key {
    /// Section and name, `section.name`.
    pub key: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Unit of the value, empty where it has none.
    pub unit: &'static str,
    /// What is allowed.
    pub rule: Rule,
}

/// What a key allows, and how to read it.
#[derive(Clone, Copy)]
pub enum Rule {
    /// A whole number within bounds (both included).
    Range(u64, u64, fn(&ServerConfig) -> u64),
    /// Anything that the parser accepts, described in words; the value as a TOML literal.
    Text(&'static str, fn(&ServerConfig) -> String),
    /// Like `Text`, but unset by default; the literal is an example.
    Unset(&'static str, &'static str),
}

use Rule::{Range, Text, Unset};

/// Every key, in the order in which it is documented.
pub const KEYS: &[Key] = &[
    Key {
        key: "network.listen",
        about: "UDP address for clients. Port 0 lets the system choose.",
        unit: "",
        rule: Text("IP:PORT", |c| format!("\"{}\"", c.network.listen)),
    },
    Key {
        key: "network.http",
        about: "TCP address of the HTTP endpoint (GET /healthz, development tokens). Unset: that of `listen`.",
        unit: "",
        rule: Unset("IP:PORT, or \"\" to switch it off", "\"127.0.0.1:7777\""),
    },
    Key {
        key: "network.advertise",
        about: "The address that development tokens send clients to. Unset: that of `listen`.",
        unit: "",
        rule: Unset("IP:PORT with a port above 0", "\"192.0.2.1:7777\""),
    },
    Key {
        key: "network.workers",
        about: "Reactor threads, each with its own socket on the same port. One carries some 3,000 players at 20 Hz; see docs/capacity.md.",
        unit: "threads",
        rule: Range(1, 8, |c| c.network.workers.into()),
    },
    Key {
        key: "network.receive_buffer_kib",
        about: "Kernel receive buffer of each socket. The system may clip it (Linux: net.core.rmem_max).",
        unit: "KiB",
        rule: Range(64, 65_536, |c| c.network.receive_buffer_kib.into()),
    },
    Key {
        key: "network.send_buffer_kib",
        about: "Kernel send buffer of each socket. The system may clip it (Linux: net.core.wmem_max).",
        unit: "KiB",
        rule: Range(64, 65_536, |c| c.network.send_buffer_kib.into()),
    },
    Key {
        key: "network.receive_every_us",
        about: "While datagrams keep coming, a worker takes them no more often than that, many at a time, instead of waking up \
                for each. It costs them half of that delay, and saves a busy server a good part of its time. 0: at once.",
        unit: "us",
        rule: Range(0, 10_000, |c| c.network.receive_every_us.into()),
    },
    Key {
        key: "network.idle_timeout_ms",
        about: "Silence after which a connection is given up.",
        unit: "ms",
        rule: Range(2000, 600_000, |c| c.network.idle_timeout_ms.into()),
    },
    Key {
        key: "network.client_bytes_per_s",
        about: "The most that is sent to one client, datagrams without UDP and IP headers; its token may say less. Below it \
                the rate follows what the path carries.",
        unit: "bytes/s",
        rule: Range(4000, 125_000_000, |c| c.network.client_bytes_per_s.into()),
    },
    Key {
        key: "network.key_roll_packets",
        about: "The key for what is sent to a client is rolled after so many packets.",
        unit: "packets",
        // The upper bound is what RFC 9001, section 6.6, allows AES-128-GCM.
        rule: Range(16, 1 << 23, |c| c.network.key_roll_packets.into()),
    },
    Key {
        key: "network.key_roll_minutes",
        about: "The key for what is sent to a client is rolled at this age at the latest.",
        unit: "min",
        rule: Range(1, 1440, |c| c.network.key_roll_minutes.into()),
    },
    Key {
        key: "threads.zone_core",
        about: "The core that the zone's thread stays on. Unset: wherever the system puts it.",
        unit: "",
        rule: Unset("the number of a core that this process may use", "0"),
    },
    Key {
        key: "threads.worker_cores",
        about: "The cores that the workers stay on: the first worker on the first one, and so on, from the first again. \
                At most as many as there are workers. Empty: wherever the system puts them.",
        unit: "",
        rule: Text("a list of numbers of cores that this process may use", |c| format!("{:?}", c.threads.worker_cores)),
    },
    Key {
        key: "memory.huge_pages",
        about: "Ask the system for large pages: some 7 % less CPU time with thousands of players, 1 to 2.4 KiB more for each. For \
                that the server starts itself anew, as the same process, with GLIBC_TUNABLES set, unless that is set already \
                or this file is no file that can be read twice (tools that watch a process must follow that). It marks that \
                with ZONEWIRE_STARTED_ANEW=1 in its environment, and where that is set does not start anew. It takes effect \
                with glibc, where /sys/kernel/mm/transparent_hugepage/enabled says madvise or always.",
        unit: "",
        rule: Text("true or false", |c| c.memory.huge_pages.to_string()),
    },
    Key {
        key: "world.zone",
        about: "The zone's number, told to clients.",
        unit: "",
        rule: Range(0, u32::MAX as u64, |c| c.world.zone.into()),
    },
    Key {
        key: "world.tick_rate_hz",
        about: "Simulation ticks, and snapshots to each client, per second.",
        unit: "Hz",
        rule: Range(20, 128, |c| c.world.tick_rate_hz.into()),
    },
    Key {
        key: "world.seed",
        about: "Seed of map and world: the same seed gives the same world.",
        unit: "",
        rule: Range(0, i64::MAX as u64, |c| c.world.seed),
    },
    Key {
        key: "world.half_extent_m",
        about: "The map reaches this far from its middle, north, south, east and west.",
        unit: "m",
        rule: Range(MapConfig::MIN_HALF_EXTENT_M as u64, MapConfig::MAX_HALF_EXTENT_M as u64, |c| {
            c.world.half_extent_m.into()
        }),
    },
    Key {
        key: "world.spawn_half_extent_m",
        about: "Players and characters spawn within this distance of the middle. Unset: all over the map.",
        unit: "m",
        rule: Unset("a whole number from 1 to half_extent_m", "100"),
    },
    Key {
        key: "world.boxes",
        about: "Static boxes on the map. Boxes, gates and ramps are at most one per 16 m by 16 m.",
        unit: "boxes",
        rule: Range(0, 250_000, |c| c.world.boxes.into()),
    },
    Key {
        key: "world.gates",
        about: "Boxes on the map that slide to and fro.",
        unit: "gates",
        rule: Range(0, 250_000, |c| c.world.gates.into()),
    },
    Key {
        key: "world.ramps",
        about: "Wedges on the map that one can walk up.",
        unit: "ramps",
        rule: Range(0, 250_000, |c| c.world.ramps.into()),
    },
    Key {
        key: "world.npcs",
        about: "Wandering non-player characters.",
        unit: "characters",
        rule: Range(0, 50_000, |c| c.world.npcs.into()),
    },
    Key {
        key: "world.max_players",
        about: "Players admitted at once; later ones are told that the zone is full.",
        unit: "players",
        rule: Range(1, 10_000, |c| c.world.max_players.into()),
    },
    Key {
        key: "world.rules",
        about: "The file with the rulebook: weapons, NPC kinds, loot, levels. Unset: the standard one. Clients must have \
                the same.",
        unit: "",
        rule: Unset("the path of a TOML file", "\"rules.toml\""),
    },
    Key {
        key: "combat.max_rewind_ms",
        about: "For a shot the others are set back to where the shooter saw them, at most by this much. 0: not at all.",
        unit: "ms",
        rule: Range(0, MAX_REWIND_MS as u64, |c| c.combat.max_rewind_ms.into()),
    },
    Key {
        key: "replication.aoi_radius_m",
        about: "A client is told about entities within this distance.",
        unit: "m",
        rule: Range(5, 1000, |c| c.replication.aoi_radius_m.into()),
    },
    Key {
        key: "replication.snapshot_bytes",
        about: "A snapshot's body is at most this long (and what a datagram has room for); the rest waits its turn.",
        unit: "bytes",
        rule: Range(100, MAX_SNAPSHOT as u64, |c| c.replication.snapshot_bytes.into()),
    },
    Key {
        key: "replication.bytes_per_s",
        about: "All snapshots to one client in a second are at most this long; each has its tick's share.",
        unit: "bytes",
        rule: Range(2000, 1_000_000, |c| c.replication.bytes_per_s.into()),
    },
    Key {
        key: "replication.max_known",
        about: "Entities that a client can know at once, itself included; of newcomers, the nearest.",
        unit: "entities",
        rule: Range(8, 4096, |c| c.replication.max_known.into()),
    },
    Key {
        key: "replication.follow_nearest",
        about: "A client that knows more than 128 that move is in a crowd: it is told of so many of its nearest in the tick in which \
                they turn, and of the others by turns, within a second. Fewer take less of the server's time.",
        unit: "entities",
        rule: Range(1, DEFAULT_CROWD as u64, |c| c.replication.follow_nearest.into()),
    },
    Key {
        key: "replication.codec",
        about: "Snapshots in the compact codec, which takes fewer bytes and more of the server's time: to no client, to \
                every one that can read it, or to those whose snapshots do not fit their budget or their path. It begins some seconds \
                after the first such client came, when its tables are trained.",
        unit: "",
        rule: Text("\"fast\", \"compact\" or \"auto\"", |c| format!("\"{:?}\"", c.replication.codec).to_lowercase()),
    },
    Key {
        key: "replication.compact_clients",
        about: "How many clients of a worker have the compact codec at a time, at the most. Fewer while a round of \
                snapshots takes more than 70 % of a tick.",
        unit: "clients",
        rule: Range(0, 10_000, |c| c.replication.compact_clients.into()),
    },
    Key {
        key: "priority.player",
        about: "When a snapshot has no room for everybody, a product of weights decides who goes. That of players.",
        unit: "percent",
        rule: Range(1, 10_000, |c| c.priority.player.into()),
    },
    Key {
        key: "priority.npc",
        about: "Weight of non-player characters.",
        unit: "percent",
        rule: Range(1, 10_000, |c| c.priority.npc.into()),
    },
    Key {
        key: "priority.projectile",
        about: "Weight of projectiles.",
        unit: "percent",
        rule: Range(1, 10_000, |c| c.priority.projectile.into()),
    },
    Key {
        key: "priority.loot",
        about: "Weight of things to pick up.",
        unit: "percent",
        rule: Range(1, 10_000, |c| c.priority.loot.into()),
    },
    Key {
        key: "priority.near",
        about: "Weight of what is where the player is. At least far.",
        unit: "",
        rule: Range(1, 10_000, |c| c.priority.near.into()),
    },
    Key {
        key: "priority.far",
        about: "Weight of what is at the edge of the area.",
        unit: "",
        rule: Range(1, 10_000, |c| c.priority.far.into()),
    },
    Key {
        key: "priority.falloff",
        about: "How steeply it falls between: far + (near - far) * (1 - (distance / radius)^2)^falloff.",
        unit: "",
        rule: Range(1, 8, |c| c.priority.falloff.into()),
    },
    Key {
        key: "priority.interaction",
        about: "Weight of whom the player deals with.",
        unit: "percent",
        rule: Range(100, 10_000, |c| c.priority.interaction.into()),
    },
    Key {
        key: "priority.party",
        about: "Weight of members of the player's party.",
        unit: "percent",
        rule: Range(100, 10_000, |c| c.priority.party.into()),
    },
    Key {
        key: "priority.target",
        about: "Weight of the player's target.",
        unit: "percent",
        rule: Range(100, 10_000, |c| c.priority.target.into()),
    },
    Key {
        key: "priority.error",
        about: "Added for each metre by which the client's own guess of somebody's place is wrong, up to eight.",
        unit: "percent",
        rule: Range(0, 10_000, |c| c.priority.error.into()),
    },
    Key {
        key: "priority.loss",
        about: "Added for each packet with somebody in it that was lost since the last one that arrived, up to eight.",
        unit: "percent",
        rule: Range(0, 10_000, |c| c.priority.loss.into()),
    },
    Key {
        key: "priority.starved_ms",
        about: "Whoever has waited for so long goes before all who have not.",
        unit: "ms",
        rule: Range(50, 10_000, |c| c.priority.starved_ms.into()),
    },
    Key {
        key: "access.server_id",
        about: "This server's id: tokens list the servers that they are good for.",
        unit: "",
        rule: Range(0, u32::MAX as u64, |c| c.access.server_id.into()),
    },
    Key {
        key: "access.group",
        about: "The server group that tokens must be issued for.",
        unit: "",
        rule: Range(0, u32::MAX as u64, |c| c.access.group.into()),
    },
    Key {
        key: "access.cluster_keys",
        about: "The keys that connect tokens are sealed under; the first one seals development tokens. Empty: a random \
                key for this run, so that only this server's own development tokens are good.",
        unit: "",
        rule: Text(
            "a list of { epoch = 0..=255, file = \"PATH\" } or { epoch = 0..=255, hex = \"64 hexadecimal digits\" }",
            |_| "[]".into(),
        ),
    },
    Key {
        key: "access.dev_tokens",
        about: "Whether POST /v1/dev/token gives a token to anyone on this machine. Unset: true where the HTTP address is \
                a loopback address. The server refuses to start with true on any other address.",
        unit: "",
        rule: Unset("true or false", "true"),
    },
    Key {
        key: "access.dev_token_life_s",
        about: "Life of a development token.",
        unit: "s",
        rule: Range(5, 3600, |c| c.access.dev_token_life_s.into()),
    },
    Key {
        key: "load.cookie_above_per_s",
        about: "Above this many handshakes clients must first prove their address with a cookie (one more round trip). \
                0: always. Counted in windows of 100 ms, as the next one. At most \
                handshakes_per_s.",
        unit: "handshakes/s",
        rule: Range(0, 100_000, |c| c.load.cookie_above_per_s.into()),
    },
    Key {
        key: "load.handshakes_per_s",
        about: "At most this many handshakes are worked on (about 150 us of a core each); clients repeat the others.",
        unit: "handshakes/s",
        rule: Range(10, 100_000, |c| c.load.handshakes_per_s.into()),
    },
    Key {
        key: "load.prefix_per_s",
        about: "Above this many handshakes from one network (/24 of IPv4, /56 of IPv6) its clients must first prove their \
                address with a cookie. 0: always.",
        unit: "handshakes/s",
        rule: Range(0, 1_000_000, |c| c.load.prefix_per_s.into()),
    },
    Key {
        key: "load.prefix_burst",
        about: "So many of these at once, after a pause.",
        unit: "handshakes",
        rule: Range(1, 1_000_000, |c| c.load.prefix_burst.into()),
    },
    Key {
        key: "load.prefix_cookie_per_s",
        about: "Above this many handshakes from one network they are dropped even with a cookie (prefix_limited in the \
                status line); clients repeat them.",
        unit: "handshakes/s",
        rule: Range(1, 1_000_000, |c| c.load.prefix_cookie_per_s.into()),
    },
    Key {
        key: "load.prefix_cookie_burst",
        about: "So many of these at once, after a pause.",
        unit: "handshakes",
        rule: Range(1, 1_000_000, |c| c.load.prefix_cookie_burst.into()),
    },
    Key {
        key: "load.shed_snapshots",
        about: "Where the steps of the world or the rounds of snapshots take more than 90 % of the ticks' time, each client is \
                sent a snapshot every second and then every fourth tick, as far as this allows. 1: every tick, whatever \
                comes.",
        unit: "ticks",
        rule: Range(1, Pace::MAX_DIVISOR as u64, |c| c.load.shed_snapshots.into()),
    },
    Key {
        key: "load.dilate_percent",
        about: "Where that is not enough, the world's time goes slower: a tick takes 125, 150, 200, 300 or 400 % of its time, \
                but no more than this (124 is as 100), and clients are told so. 100: never; the world then leaves ticks out.",
        unit: "percent",
        rule: Range(100, Pace::MAX_DILATION as u64, |c| c.load.dilate_percent.into()),
    },
    Key {
        key: "record.dir",
        about: "The directory that gets a recording of the world for each start, for `server replay`; it is made if it is not \
                there. Unset: nothing is recorded.",
        unit: "",
        rule: Unset("the path of a directory", "\"recordings\""),
    },
    Key {
        key: "record.states",
        about: "Whether a recording also has the states that were not to be foreseen, so that a replay that goes another way \
                can tell in what. It is a quarter to a half longer then.",
        unit: "",
        rule: Text("true or false", |c| c.record.states.to_string()),
    },
    Key {
        key: "log.level",
        about: "The least important level that is written. \"info\" has one status line per second: its counters count \
                since the line before, tick, players and connections are what is there now; roams: clients whose address \
                changed, key_rolls: keys rolled by either end.",
        unit: "",
        rule: Text("\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"", |c| {
            format!("\"{:?}\"", c.log.level).to_lowercase()
        }),
    },
    Key {
        key: "log.format",
        about: "Text with key=value fields, or one JSON object per line.",
        unit: "",
        rule: Text("\"text\" or \"json\"", |c| format!("\"{:?}\"", c.log.format).to_lowercase()),
    },
];

/// Checks the ranges of all keys.
pub fn check(config: &ServerConfig) -> Result<(), ConfigError> {
    for key in KEYS {
        if let Range(min, max, value) = key.rule
            && !(min..=max).contains(&value(config))
        {
            return Err(ConfigError::Value { key: key.key, value: value(config).to_string(), allowed: allowed(key) });
        }
    }
    Ok(())
}

/// All keys of `config` as TOML, each explained.
pub(super) fn documented(config: &ServerConfig) -> String {
    let mut text = String::from("# Zonewire zone server: every key with its default.\n");
    let mut section = "";
    for key in KEYS {
        let (in_section, name) = key.key.split_once('.').unwrap_or(("", key.key));
        if in_section != section {
            section = in_section;
            let _ = write!(text, "\n[{section}]\n");
        }
        comment(&mut text, key.about);
        comment(&mut text, &format!("Takes {}.", allowed(key)));
        let _ = match key.rule {
            Range(_, _, value) => writeln!(text, "{name} = {}", value(config)),
            Text(_, literal) => writeln!(text, "{name} = {}", literal(config)),
            Unset(_, example) => writeln!(text, "# {name} = {example}"),
        };
    }
    text
}

/// Appends a comment, wrapped at 100 columns.
fn comment(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split(' ') {
        if column > 0 && column + 1 + word.len() > 100 {
            text.push('\n');
            column = 0;
        }
        text.push_str(if column == 0 { "# " } else { " " });
        column += word.len() + if column == 0 { 2 } else { 1 };
        text.push_str(word);
    }
    text.push('\n');
}

fn allowed(key: &Key) -> String {
    let unit = if key.unit.is_empty() { String::new() } else { format!(" {}", key.unit) };
    match key.rule {
        Range(min, max, _) => format!("a whole number from {min} to {max}{unit}"),
        Text(words, _) | Unset(words, _) => format!("{words}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_default_parses_to_the_default() {
        let text = ServerConfig::documented_toml();
        assert_eq!(ServerConfig::from_toml(&text).unwrap(), ServerConfig::default(), "{text}");
        ServerConfig::default().check().unwrap();
    }

    #[test]
    fn uncommenting_the_examples_gives_an_allowed_configuration() {
        let text = ServerConfig::documented_toml();
        let examples = [
            "# http = ",
            "# advertise = ",
            "# zone_core = ",
            "# spawn_half_extent_m = ",
            "# dev_tokens = ",
            "# rules = ",
            "# dir = ",
        ];
        let set: String = text
            .lines()
            .map(|line| if examples.iter().any(|e| line.starts_with(e)) { &line[2..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = ServerConfig::from_toml(&set).unwrap();
        assert_eq!(config.access.dev_tokens, Some(true));
        assert!(config.world.rules.is_some() && config.record.dir.is_some());
        config.check().unwrap();
    }

    #[test]
    fn every_key_that_exists_is_in_the_table_and_the_other_way_round() {
        let mut config = ServerConfig::default();
        config.network.http = super::super::HttpListen::At(config.network.listen);
        config.network.advertise = Some(config.network.listen);
        config.threads.zone_core = Some(0);
        config.world.spawn_half_extent_m = Some(100);
        config.access.dev_tokens = Some(true);
        config.world.rules = Some("rules.toml".into());
        config.record.dir = Some("recordings".into());
        let table = toml::Table::try_from(&config).unwrap();
        let mut exist: Vec<String> = Vec::new();
        for (section, keys) in &table {
            exist.extend(keys.as_table().unwrap().keys().map(|name| format!("{section}.{name}")));
        }
        let mut documented: Vec<_> = KEYS.iter().map(|key| key.key.to_string()).collect();
        exist.sort();
        documented.sort();
        assert_eq!(exist, documented);
    }
}

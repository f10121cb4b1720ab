//! What a run is about, and the server's configuration for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use benches::rig::RigConfig;
use clap::ValueEnum;
use sim::MapConfig;

use crate::process::idle;

/// Where the players are and what they do; as in the bench `replicate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Spread over the map so that each sees about --visible others; they wander.
    Spread,
    /// All within one area of interest, on the move.
    Crowd,
    /// Spread as well; all fight.
    Fight,
    /// Spread as well; all stand still.
    Idle,
}

/// Radius of the area of interest in metres.
const AOI_RADIUS_M: u16 = 64;
/// Room in the world beyond the players, for those who are still leaving.
const SPARE: u16 = 64;
/// The most players of a zone (`world.max_players`), without the spare ones.
pub const MAX_PLAYERS: u16 = 10_000 - SPARE;

impl Scenario {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Crowd => "crowd",
            Self::Fight => "fight",
            Self::Idle => "idle",
        }
    }

    /// What `bots swarm --behavior` calls it.
    pub const fn behavior(self) -> &'static str {
        match self {
            Self::Spread => "wander",
            Self::Crowd => "crowd",
            Self::Fight => "fight",
            Self::Idle => "idle",
        }
    }
}

/// One load on one server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the players are and what they do.
    pub scenario: Scenario,
    /// How many.
    pub players: u16,
    /// Ticks a second.
    pub tick_hz: u16,
    /// Seconds that are measured.
    pub seconds: f64,
    /// Seconds from the last one who joined to the first that is measured; `None`: until it is calm.
    pub settle: Option<f64>,
    /// Per cent of the bots that leave and come back each minute.
    pub churn: f64,
    /// Per cent of the bots that get another port each minute.
    pub rebind: f64,
    /// Per cent of the datagrams that are lost each way.
    pub loss: f64,
    /// Take a series, and judge whether anything grows.
    pub soak: bool,
    /// Whether the server asks for large pages.
    pub huge_pages: bool,
    /// How many others each player sees, about; not in a crowd.
    pub visible: f64,
    /// How many bots decode what they get and predict; the others are light.
    pub full_bots: u16,
    /// Ticks from a light one's turn to its next.
    pub light_every: u16,
    /// Worker threads of the server.
    pub workers: u16,
    /// Threads of the bots.
    pub bot_threads: u16,
    /// Where the server runs, all its threads.
    pub server_cores: Vec<usize>,
    /// Where the bots run.
    pub bots_cores: Vec<usize>,
    /// Where the server listens; port 0 = one that is free.
    pub listen: SocketAddr,
    /// The server's program.
    pub server: PathBuf,
    /// The bots' program.
    pub bots: PathBuf,
    /// Seed of the world and of the bots.
    pub seed: u64,
    /// Write what perf(1) samples of the server while it is measured to this file.
    pub perf: Option<PathBuf>,
}

impl Setup {
    /// The server's configuration.
    pub fn config(&self) -> String {
        let Self { scenario, players, tick_hz, visible, workers, listen, seed, .. } = self;
        let rig = RigConfig {
            visible: *visible,
            rate: *tick_hz,
            aoi_radius_m: AOI_RADIUS_M,
            seed: *seed,
            ..RigConfig::new(*players)
        };
        let (half_extent, spawn, boxes) = if *scenario == Scenario::Crowd {
            // The diagonal of a square is within the radius: everybody sees everybody.
            let half = (f64::from(AOI_RADIUS_M) / 8f64.sqrt()) as u16;
            (half.max(MapConfig::MIN_HALF_EXTENT_M), half, 0)
        } else {
            let world = rig.world();
            (world.map.half_extent_m, world.spawn_half_extent_m, world.map.boxes)
        };
        let (max_players, huge_pages) = (players + SPARE, self.huge_pages);
        format!(
            "[network]\nlisten = \"{listen}\"\nworkers = {workers}\n\
             [world]\ntick_rate_hz = {tick_hz}\nseed = {seed}\nhalf_extent_m = {half_extent}\n\
             spawn_half_extent_m = {spawn}\nboxes = {boxes}\ngates = 0\nramps = 0\nnpcs = 0\nmax_players = {max_players}\n\
             [replication]\naoi_radius_m = {AOI_RADIUS_M}\n\
             [access]\ndev_tokens = true\n\
             [memory]\nhuge_pages = {huge_pages}\n\
             # All bots come from one network, and all at once.\n\
             [load]\ncookie_above_per_s = 100000\nhandshakes_per_s = 100000\nprefix_per_s = 1000000\n\
             prefix_burst = 1000000\nprefix_cookie_per_s = 1000000\nprefix_cookie_burst = 1000000\n\
             [log]\nlevel = \"debug\"\nformat = \"json\"\n"
        )
    }

    /// The share of light bots.
    pub fn light(&self) -> f64 {
        1.0 - f64::from(self.full_bots.min(self.players)) / f64::from(self.players.max(1))
    }

    /// Whether bots and server share a core.
    pub fn shares_core(&self) -> bool {
        self.server_cores.iter().any(|core| self.bots_cores.contains(core))
    }

    /// What starts bots: where they share a core with the server, so that they get what it leaves.
    pub fn for_bots(&self, command: Command) -> Command {
        if self.shares_core() { idle(&command) } else { command }
    }

    /// A tick's time in milliseconds.
    pub fn period_ms(&self) -> f64 {
        1000.0 / f64::from(self.tick_hz)
    }
}

#[cfg(test)]
pub mod tests {
    use server::config::ServerConfig;

    use super::*;

    /// A small one.
    pub fn setup(players: u16, scenario: Scenario) -> Setup {
        Setup {
            scenario,
            players,
            tick_hz: 20,
            seconds: 2.0,
            settle: Some(1.0),
            churn: 0.0,
            rebind: 0.0,
            loss: 0.0,
            soak: false,
            huge_pages: false,
            visible: 30.0,
            full_bots: 200,
            light_every: 1,
            workers: 1,
            bot_threads: 1,
            server_cores: vec![0],
            bots_cores: vec![1],
            listen: "127.0.0.1:0".parse().unwrap(),
            server: PathBuf::from("server"),
            bots: PathBuf::from("bots"),
            seed: 1,
            perf: None,
        }
    }

    #[test]
    fn the_server_takes_every_configuration_that_can_be_asked_for() {
        for scenario in [Scenario::Spread, Scenario::Crowd, Scenario::Fight, Scenario::Idle] {
            for players in [1, 20, 4000, MAX_PLAYERS] {
                let text = setup(players, scenario).config();
                let config = ServerConfig::from_toml(&text).unwrap();
                config.check().unwrap_or_else(|error| panic!("{players} {scenario:?}: {error}"));
                assert!(config.zone().world.validate().is_ok());
            }
        }
    }

    #[test]
    fn the_density_is_the_same_whatever_the_number() {
        let area = |players| {
            let config = ServerConfig::from_toml(&setup(players, Scenario::Spread).config()).unwrap();
            f64::from(config.world.half_extent_m).powi(2)
        };
        // Less of a small map lies around its edge.
        assert!((0.95..1.2).contains(&(area(8000) / area(1000) / 8.0)));
    }

    #[test]
    fn bots_give_way_to_a_server_only_where_they_share_a_core_with_it() {
        let program = |server_cores: &[usize], bots_cores: &[usize]| {
            let (server_cores, bots_cores) = (server_cores.to_vec(), bots_cores.to_vec());
            let setup = Setup { server_cores, bots_cores, ..setup(100, Scenario::Spread) };
            let mut command = Command::new("bots");
            command.arg("swarm").env("KEY", "value");
            let command = setup.for_bots(command);
            assert_eq!(command.get_args().last(), Some("swarm".as_ref()));
            assert_eq!(command.get_envs().next(), Some(("KEY".as_ref(), Some("value".as_ref()))));
            command.get_program().to_owned()
        };
        assert_eq!(program(&[0], &[1]), "bots");
        assert_eq!(program(&[0, 1], &[1]), "chrt");
        assert_eq!(program(&[0], &[1, 0]), "chrt");
    }

    #[test]
    fn beyond_the_full_bots_all_are_light() {
        assert!(setup(100, Scenario::Spread).light().abs() < 1e-9);
        assert!((setup(1000, Scenario::Spread).light() - 0.8).abs() < 1e-9);
    }
}

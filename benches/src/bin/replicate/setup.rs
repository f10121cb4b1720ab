//! What a run is about.

use bots::behavior::Behavior;
use clap::ValueEnum;
use server::replication::{Aoi, ReplicationConfig};
use server::shard::ShardConfig;
use sim::{ConfigError, EntityId, MapConfig, SCHEMA, SpawnError, WorldConfig};

use benches::rig::RigConfig;

/// Where the players are and what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Spread over the map; they wander.
    Spread,
    /// All within one area of interest, on the move.
    Crowd,
    /// Spread over the map; they stand.
    Idle,
    /// Spread over the map; they fight.
    Fight,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Spread, Self::Idle, Self::Fight, Self::Crowd];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Crowd => "crowd",
            Self::Idle => "idle",
            Self::Fight => "fight",
        }
    }

    /// How each player plays.
    pub const fn behavior(self) -> Behavior {
        match self {
            Self::Spread => Behavior::Wander,
            Self::Idle => Behavior::Idle,
            Self::Fight => Behavior::Fight,
            Self::Crowd => Behavior::Crowd,
        }
    }
}

/// How updates are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// Strings of bits that clients share.
    Fast,
    /// A range coder.
    Compact,
}

impl Codec {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Compact => "compact",
        }
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Clients without players.
    #[error("--clients {clients} is more than --players {players}")]
    Clients {
        /// What was asked for.
        clients: u16,
        /// The players there are.
        players: u16,
    },
    /// No such world.
    #[error("no world of {players} players: {error}")]
    World {
        /// The players asked for.
        players: u16,
        /// What the world says.
        error: ConfigError,
    },
    /// No room on the map.
    #[error("player {number} found no place: {error}")]
    Spawn {
        /// Players before this one.
        number: usize,
        /// What the world says.
        error: SpawnError,
    },
    /// A client has another world than the server. Never, or replication is wrong.
    #[error("client {client} at tick {tick} (seed {seed}): {what}")]
    View {
        /// The client's number.
        client: u16,
        /// The snapshot's tick.
        tick: u64,
        /// Replays it.
        seed: u64,
        /// What is wrong.
        what: Wrong,
    },
    /// The pushed tables are none. Never, or replication is wrong.
    #[error("the tables of the compact codec: {0}")]
    Tables(netcode::snapshot::compact::TablesError),
    /// The files could not be written.
    #[error("cannot write to --out {0}: {1}")]
    Files(std::path::PathBuf, std::io::Error),
}

impl Error {
    /// 2 for what the command line says, 1 for what the measuring met.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Clients { .. } | Self::World { .. } | Self::Spawn { .. } | Self::Files(..) => 2,
            Self::View { .. } | Self::Tables(_) => 1,
        }
    }
}

/// What is wrong with a client's view.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It refused the snapshot.
    #[error("the snapshot is refused: {0}")]
    Refused(#[from] netcode::snapshot::DecodeError),
    /// It sees who is not there.
    #[error("entity {0:08x} does not live")]
    Dead(u32),
    /// It sees a state that was not.
    #[error("entity {0:?} is not where the frame has it")]
    State(EntityId),
    /// It sees the fields of the owner, or does not see its own.
    #[error("entity {0:?} is shown to the wrong audience")]
    Owner(EntityId),
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// Players in the world.
    pub players: u16,
    /// Those of them who are connected; `None` for all.
    pub clients: Option<u16>,
    /// What they do.
    pub scenario: Scenario,
    /// How they are told.
    pub codec: Codec,
    /// How many others each should see, about; not in a crowd.
    pub visible: f64,
    /// Ticks a second.
    pub rate: u16,
    /// Each client is sent a snapshot every so many ticks.
    pub every: u8,
    /// Radius of the area of interest in metres.
    pub aoi_radius_m: u16,
    /// Seed of everything.
    pub seed: u64,
    /// Round trip in milliseconds.
    pub rtt_ms: u16,
    /// Percent of the packets that are lost, each way.
    pub loss: f64,
    /// Virtual seconds that are measured.
    pub seconds: u16,
    /// The most bytes of a snapshot's body; `None` for a shard's default.
    pub snapshot_bytes: Option<u16>,
}

impl Setup {
    /// How many are connected.
    ///
    /// # Errors
    /// More than there are players.
    pub fn clients(&self) -> Result<u16, Error> {
        let clients = self.clients.unwrap_or(self.players);
        if clients > self.players { Err(Error::Clients { clients, players: self.players }) } else { Ok(clients) }
    }

    /// The world that they are in.
    pub fn world(&self) -> WorldConfig {
        let Self { players, visible, rate, aoi_radius_m, seed, .. } = *self;
        let spread = RigConfig { visible, rate, aoi_radius_m, seed, ..RigConfig::new(players) }.world();
        if self.scenario != Scenario::Crowd {
            return spread;
        }
        // The diagonal of a square is within the radius: everybody sees everybody.
        let half = (f64::from(aoi_radius_m) / 8f64.sqrt()) as u16;
        let map = MapConfig { half_extent_m: half.max(MapConfig::MIN_HALF_EXTENT_M), boxes: 0, gates: 0, ramps: 0 };
        WorldConfig { map, spawn_half_extent_m: half.max(1), ..spread }
    }

    /// Whether a client is sent a snapshot in that tick.
    pub fn serves(&self, client: u16, tick: u64) -> bool {
        (tick + u64::from(client)).is_multiple_of(self.every.max(1).into())
    }

    /// How a worker of that server replicates, and the bytes of body that a snapshot may have.
    pub fn replication(&self) -> (ReplicationConfig, usize) {
        let shard = ShardConfig::new(Vec::new(), self.rate);
        let config = ReplicationConfig {
            schema: &SCHEMA,
            rate: self.rate,
            aoi: Aoi::new(f32::from(self.aoi_radius_m), self.rate),
            priority: shard.priority,
            max_known: shard.max_known,
            training: shard.training,
        };
        let share = shard.snapshot_bytes_per_s as usize / usize::from(self.rate);
        let most = self.snapshot_bytes.unwrap_or(shard.snapshot_bytes);
        (config, usize::from(most).min(share))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small run.
    pub fn setup(players: u16, scenario: Scenario) -> Setup {
        Setup {
            players,
            clients: None,
            scenario,
            codec: Codec::Fast,
            visible: 15.0,
            rate: 20,
            every: 1,
            aoi_radius_m: 64,
            seed: 1,
            rtt_ms: 100,
            loss: 0.0,
            seconds: 1,
            snapshot_bytes: None,
        }
    }

    #[test]
    fn everybody_in_a_crowd_is_within_everybodys_area() {
        let world = setup(500, Scenario::Crowd).world();
        let half = f64::from(world.map.half_extent_m);
        assert!(half * 8f64.sqrt() <= 64.0 && half > 20.0, "{half} m");
        assert_eq!(world.validate(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let good = setup(50, Scenario::Spread);
        assert_eq!(good.clients().unwrap(), 50);
        let error = Setup { clients: Some(51), ..good }.clients().unwrap_err();
        assert_eq!(error.to_string(), "--clients 51 is more than --players 50");
    }
}

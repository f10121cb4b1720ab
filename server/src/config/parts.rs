//! What the configuration means for the parts of the server.

use std::time::Duration;

use netcode::crypto::ClusterKey;
use netcode::keys::KeyLimits;
use netcode::server::{PrefixLimits, Rate, ServerConfig as EndpointConfig};
use sim::config::MAX_ENTITIES;
use sim::schema::{LOOT, NPC, PLAYER, PROJECTILE};
use sim::{MapConfig, SCHEMA, WorldConfig};

use super::{Codec, ServerConfig};
use crate::load::Pace;
use crate::replication::{DEFAULT_CROWD, Priority, Training};
use crate::shard::{Codecs, ShardConfig};
use crate::zone::ZoneConfig;

/// Connections that a worker keeps room for beyond the players of the zone: half-open and closing ones.
const SPARE_CONNECTIONS: u32 = 1024;

/// Room for so many players and NPCs, and as many projectiles and things to pick up.
fn capacity(beings: u32) -> u32 {
    (2 * beings + 64).min(MAX_ENTITIES)
}

impl ServerConfig {
    /// The zone's part.
    #[must_use]
    pub fn zone(&self) -> ZoneConfig {
        let world = &self.world;
        let half_extent_m = narrow(world.half_extent_m);
        ZoneConfig {
            world: WorldConfig {
                seed: world.seed,
                rate_hz: narrow(world.tick_rate_hz),
                map: MapConfig { half_extent_m, boxes: world.boxes, gates: world.gates, ramps: world.ramps },
                npcs: world.npcs,
                max_entities: capacity(world.npcs + world.max_players),
                spawn_half_extent_m: world.spawn_half_extent_m.map_or(half_extent_m, narrow),
                max_rewind_ms: narrow(self.combat.max_rewind_ms),
            },
            max_players: world.max_players,
        }
    }

    /// The part of one of [`Network::workers`](super::Network::workers) shards of a zone that plays by the rulebook with that
    /// hash.
    #[must_use]
    pub fn shard(&self, cluster_keys: Vec<ClusterKey>, worker: u8, rules: u64) -> ShardConfig {
        let rate = narrow(self.world.tick_rate_hz);
        let workers = self.network.workers.max(1);
        let share = |per_second: u32| per_second.div_ceil(10 * workers);
        // The kernel spreads a network's clients over the workers by their ports.
        let limit = |per_s: u32, burst: u32| Rate { per_s: per_s.div_ceil(workers), burst: burst.div_ceil(workers) };
        let endpoint = EndpointConfig {
            worker,
            server_id: self.access.server_id,
            group: self.access.group,
            max_connections: narrow(self.world.max_players + SPARE_CONNECTIONS),
            idle_timeout: Duration::from_millis(self.network.idle_timeout_ms.into()),
            retry_above: share(self.load.cookie_above_per_s),
            max_handshakes: share(self.load.handshakes_per_s),
            rate_cap: self.network.client_bytes_per_s,
            key_limits: KeyLimits {
                packets: self.network.key_roll_packets.into(),
                age: Duration::from_secs(60 * u64::from(self.network.key_roll_minutes)),
            },
            prefixes: PrefixLimits {
                unproven: limit(self.load.prefix_per_s, self.load.prefix_burst),
                proven: limit(self.load.prefix_cookie_per_s, self.load.prefix_cookie_burst),
            },
            ..EndpointConfig::new(cluster_keys, SCHEMA.hash(), rate)
        };
        ShardConfig {
            endpoint,
            aoi_radius_m: narrow(self.replication.aoi_radius_m),
            snapshot_bytes: narrow(self.replication.snapshot_bytes),
            snapshot_bytes_per_s: self.replication.bytes_per_s,
            max_known: narrow(self.replication.max_known),
            codec: match self.replication.codec {
                Codec::Fast => Codecs::Fast,
                Codec::Compact => Codecs::Compact,
                Codec::Auto => Codecs::Auto,
            },
            compact_clients: narrow(self.replication.compact_clients),
            crowd: DEFAULT_CROWD,
            follow: narrow(self.replication.follow_nearest),
            priority: self.priority(),
            training: Training::default(),
            zone: self.world.zone,
            map_seed: self.world.seed,
            half_extent_m: narrow(self.world.half_extent_m),
            boxes: self.world.boxes,
            gates: self.world.gates,
            ramps: self.world.ramps,
            rules,
        }
    }

    /// How far its pace may go down where time is short.
    #[must_use]
    pub fn slowest(&self) -> Pace {
        let divisor = u8::try_from(self.load.shed_snapshots).unwrap_or(Pace::MAX_DIVISOR);
        Pace { divisor, dilation: narrow(self.load.dilate_percent) }
    }

    fn priority(&self) -> Priority {
        let keys = &self.priority;
        let mut class = Priority::default().class;
        for (kind, weight) in [(PLAYER, keys.player), (NPC, keys.npc), (PROJECTILE, keys.projectile), (LOOT, keys.loot)]
        {
            if let Some(place) = class.get_mut(usize::from(kind)) {
                *place = narrow(weight);
            }
        }
        Priority {
            class,
            near: narrow(keys.near),
            far: narrow(keys.far),
            falloff: u8::try_from(keys.falloff).unwrap_or(u8::MAX),
            interaction: narrow(keys.interaction),
            party: narrow(keys.party),
            target: narrow(keys.target),
            error: narrow(keys.error),
            loss: narrow(keys.loss),
            starved_ms: narrow(keys.starved_ms),
        }
    }
}

/// Checked keys fit; an unchecked one saturates.
fn narrow(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::DEFAULT_FOLLOW;

    #[test]
    fn handshake_limits_are_shared_out_among_workers_and_windows() {
        let mut config = ServerConfig::default();
        assert_eq!(config.shard(Vec::new(), 0, 0).endpoint.max_handshakes, 200);
        config.network.workers = 8;
        assert_eq!(config.shard(Vec::new(), 0, 0).endpoint.max_handshakes, 25);
        config.load.handshakes_per_s = 1;
        assert_eq!(config.shard(Vec::new(), 0, 0).endpoint.max_handshakes, 1, "never none at all");
    }

    #[test]
    fn the_defaults_are_those_of_the_protocol() {
        let endpoint = ServerConfig::default().shard(Vec::new(), 0, 0).endpoint;
        let protocol = EndpointConfig::new(Vec::new(), SCHEMA.hash(), endpoint.rate);
        assert_eq!(endpoint.prefixes, protocol.prefixes);
        assert_eq!(endpoint.key_limits, protocol.key_limits);
        assert_eq!(endpoint.rate_cap, protocol.rate_cap);
    }

    #[test]
    fn limits_of_a_network_are_shared_out_among_workers_but_those_of_a_client_are_not() {
        let mut config = ServerConfig::default();
        config.network.workers = 4;
        config.network.client_bytes_per_s = 50_000;
        config.network.key_roll_packets = 1000;
        config.network.key_roll_minutes = 2;
        config.load.prefix_per_s = 0;
        let endpoint = config.shard(Vec::new(), 0, 0).endpoint;
        assert_eq!(endpoint.prefixes.unproven, Rate { per_s: 0, burst: 25 });
        assert_eq!(endpoint.prefixes.proven, Rate { per_s: 100, burst: 200 });
        assert_eq!(endpoint.rate_cap, 50_000);
        assert_eq!(endpoint.key_limits, KeyLimits { packets: 1000, age: Duration::from_secs(120) });
    }

    #[test]
    fn a_zone_may_follow_fewer_or_more_of_the_nearest() {
        let mut config = ServerConfig::default();
        assert_eq!(config.shard(Vec::new(), 0, 0).follow, DEFAULT_FOLLOW);
        config.replication.follow_nearest = 31;
        assert_eq!(config.shard(Vec::new(), 0, 0).aoi().follow, 31);
    }

    #[test]
    fn zero_handshakes_without_a_cookie_stay_zero() {
        let mut config = ServerConfig::default();
        config.load.cookie_above_per_s = 0;
        assert_eq!(config.shard(Vec::new(), 0, 0).endpoint.retry_above, 0);
    }

    #[test]
    fn players_spawn_all_over_the_map_unless_told_otherwise() {
        let mut config = ServerConfig::default();
        config.world.half_extent_m = 300;
        assert_eq!(config.zone().world.spawn_half_extent_m, 300);
        config.world.spawn_half_extent_m = Some(20);
        assert_eq!(config.zone().world.spawn_half_extent_m, 20);
    }
}

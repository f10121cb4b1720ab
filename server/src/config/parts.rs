//! What the configuration means for the parts of the server.

use std::time::Duration;

use netcode::crypto::ClusterKey;
use netcode::server::ServerConfig as EndpointConfig;
use sim::{MapConfig, SCHEMA, WorldConfig};

use super::ServerConfig;
use crate::shard::ShardConfig;
use crate::zone::ZoneConfig;

/// Connections that a worker keeps room for beyond the players of the zone: half-open and closing ones.
const SPARE_CONNECTIONS: u32 = 1024;

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
                map: MapConfig { half_extent_m, boxes: world.boxes },
                npcs: world.npcs,
                max_entities: world.npcs + world.max_players,
                spawn_half_extent_m: world.spawn_half_extent_m.map_or(half_extent_m, narrow),
            },
            max_players: world.max_players,
        }
    }

    /// The part of one of [`Network::workers`](super::Network::workers) shards.
    #[must_use]
    pub fn shard(&self, cluster_keys: Vec<ClusterKey>, worker: u8) -> ShardConfig {
        let rate = narrow(self.world.tick_rate_hz);
        let share = |per_second: u32| per_second.div_ceil(10 * self.network.workers.max(1));
        let endpoint = EndpointConfig {
            worker,
            server_id: self.access.server_id,
            group: self.access.group,
            max_connections: narrow(self.world.max_players + SPARE_CONNECTIONS),
            idle_timeout: Duration::from_millis(self.network.idle_timeout_ms.into()),
            retry_above: share(self.load.cookie_above_per_s),
            max_handshakes: share(self.load.handshakes_per_s),
            ..EndpointConfig::new(cluster_keys, SCHEMA.hash(), rate)
        };
        ShardConfig {
            endpoint,
            aoi_radius_m: narrow(self.replication.aoi_radius_m),
            snapshot_bytes: narrow(self.replication.snapshot_bytes),
            max_known: narrow(self.replication.max_known),
            zone: self.world.zone,
            map_seed: self.world.seed,
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

    #[test]
    fn handshake_limits_are_shared_out_among_workers_and_windows() {
        let mut config = ServerConfig::default();
        assert_eq!(config.shard(Vec::new(), 0).endpoint.max_handshakes, 200);
        config.network.workers = 8;
        assert_eq!(config.shard(Vec::new(), 0).endpoint.max_handshakes, 25);
        config.load.handshakes_per_s = 1;
        assert_eq!(config.shard(Vec::new(), 0).endpoint.max_handshakes, 1, "never none at all");
    }

    #[test]
    fn zero_handshakes_without_a_cookie_stay_zero() {
        let mut config = ServerConfig::default();
        config.load.cookie_above_per_s = 0;
        assert_eq!(config.shard(Vec::new(), 0).endpoint.retry_above, 0);
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

//! What a world is made from: everything a replay needs besides the inputs.

use crate::map::MapConfig;

/// The slowest tick rate in Hz.
pub const MIN_RATE_HZ: u16 = 10;
/// The fastest tick rate in Hz.
pub const MAX_RATE_HZ: u16 = 128;
/// The most entities that a world may be configured for.
pub const MAX_ENTITIES: u32 = 1 << 16;

/// The longest limit of how far others are set back for a shot, in milliseconds.
pub const MAX_REWIND_MS: u16 = 400;

/// The seed and the sizes of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldConfig {
    /// Seeds the map, the spawn points and the NPCs.
    pub seed: u64,
    /// Ticks a second, [`MIN_RATE_HZ`]..=[`MAX_RATE_HZ`]. Multiples of 4 predict best (velocity quanta then
    /// are whole position quanta a tick).
    pub rate_hz: u16,
    /// The size of the map and its boxes.
    pub map: MapConfig,
    /// NPCs that exist from the start.
    pub npcs: u32,
    /// The most entities at a time, players and NPCs together, at most [`MAX_ENTITIES`].
    pub max_entities: u32,
    /// Players and NPC homes are spread evenly over the square of this half side around the origin, in
    /// metres, 1 up to the map's half extent: density is players ÷ (2 · this)².
    pub spawn_half_extent_m: u16,
    /// How far the others are set back for a shot at most, in milliseconds up to [`MAX_REWIND_MS`]; 0: not at all.
    pub max_rewind_ms: u16,
}

impl Default for WorldConfig {
    /// 20 Hz on a map of 512 m by 512 m with room for 4,096 entities, everybody spread over all of it.
    fn default() -> Self {
        let map = MapConfig::default();
        Self {
            seed: 1,
            rate_hz: 20,
            map,
            npcs: 0,
            max_entities: 4096,
            spawn_half_extent_m: map.half_extent_m,
            max_rewind_ms: 250,
        }
    }
}

/// Why a configuration makes no world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The tick rate is out of range.
    #[error("rate_hz must be {MIN_RATE_HZ} to {MAX_RATE_HZ}")]
    Rate,
    /// The map's half extent is out of range.
    #[error("half_extent_m must be {} to {}", MapConfig::MIN_HALF_EXTENT_M, MapConfig::MAX_HALF_EXTENT_M)]
    HalfExtent,
    /// More boxes, gates and ramps than the map's ground has room for.
    #[error("more boxes, gates and ramps than one for each {0} m by {0} m of the map", MapConfig::CELL_M)]
    Boxes,
    /// `max_entities` is 0 or too large.
    #[error("max_entities must be 1 to {MAX_ENTITIES}")]
    Entities,
    /// More NPCs than entities.
    #[error("npcs must not exceed max_entities")]
    Npcs,
    /// The spawn square is empty or larger than the map.
    #[error("spawn_half_extent_m must be 1 to half_extent_m")]
    SpawnArea,
    /// The limit of rewinding is too long.
    #[error("max_rewind_ms must be 0 to {MAX_REWIND_MS}")]
    Rewind,
}

impl WorldConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&self.rate_hz) {
            return Err(ConfigError::Rate);
        }
        self.map.validate()?;
        if !(1..=MAX_ENTITIES).contains(&self.max_entities) {
            return Err(ConfigError::Entities);
        }
        if self.npcs > self.max_entities {
            return Err(ConfigError::Npcs);
        }
        if !(1..=self.map.half_extent_m).contains(&self.spawn_half_extent_m) {
            return Err(ConfigError::SpawnArea);
        }
        if self.max_rewind_ms > MAX_REWIND_MS {
            return Err(ConfigError::Rewind);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_named_when_broken() {
        let good = WorldConfig::default();
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(WorldConfig { rate_hz: 0, ..good }.validate(), Err(ConfigError::Rate));
        assert_eq!(WorldConfig { rate_hz: 129, ..good }.validate(), Err(ConfigError::Rate));
        assert_eq!(WorldConfig { max_entities: 0, ..good }.validate(), Err(ConfigError::Entities));
        assert_eq!(WorldConfig { npcs: 5000, ..good }.validate(), Err(ConfigError::Npcs));
        assert_eq!(WorldConfig { spawn_half_extent_m: 257, ..good }.validate(), Err(ConfigError::SpawnArea));
        assert_eq!(WorldConfig { max_rewind_ms: 401, ..good }.validate(), Err(ConfigError::Rewind));
        let map = MapConfig { half_extent_m: 5000, ..good.map };
        assert_eq!(WorldConfig { map, ..good }.validate(), Err(ConfigError::HalfExtent));
        for map in [
            MapConfig { boxes: 1_000_000, ..good.map },
            MapConfig { boxes: u32::MAX, gates: u32::MAX, ramps: u32::MAX, ..good.map },
            MapConfig { boxes: 1000, gates: 20, ramps: 5, ..good.map },
        ] {
            assert_eq!(WorldConfig { map, ..good }.validate(), Err(ConfigError::Boxes));
        }
        let map = MapConfig { boxes: 1000, gates: 20, ramps: 4, ..good.map };
        assert_eq!(WorldConfig { map, ..good }.validate(), Ok(()));
    }
}

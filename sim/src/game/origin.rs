//! What a world of the shipped game was made from, as a log's header has it.

use super::Skirmish;
use super::rulebook::{self, Rulebook, RulebookError};
use crate::config::{ConfigError, WorldConfig};
use crate::engine::{Game as _, World};
use crate::map::MapConfig;
use crate::replay::Recorded;
use std::sync::Arc;

/// Why no world is made from a log's header.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Not as long as a configuration.
    #[error("the configuration has {0} bytes instead of {CONFIG_BYTES}")]
    Bytes(usize),
    /// A configuration that makes no world.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A text that is no rulebook.
    #[error("the rulebook: {0}")]
    Rules(#[from] RulebookError),
}

const _: () = assert!(rulebook::MAX_TEXT <= crate::log::MAX_RULES_BYTES, "a log takes every rulebook");

/// Bytes of a configuration: seed u64 · rate_hz u16 · half_extent_m u16 · boxes u32 · gates u32 · ramps u32 · npcs u32 ·
/// max_entities u32 · spawn_half_extent_m u16 · max_rewind_ms u16, little endian.
pub const CONFIG_BYTES: usize = 36;

impl Recorded for Skirmish {
    type Refused = Refused;

    fn origin(&self) -> (Vec<u8>, String) {
        (write(self.config()), self.ground.book.text().to_owned())
    }

    fn remake(config: &[u8], rules: &str) -> Result<World<Self>, Refused> {
        let config = read(config).ok_or(Refused::Bytes(config.len()))?;
        let book = Arc::new(Rulebook::from_toml(rules)?);
        Ok(World::with_book(config, book)?)
    }
}

fn write(config: &WorldConfig) -> Vec<u8> {
    let WorldConfig { seed, rate_hz, map, npcs, max_entities, spawn_half_extent_m, max_rewind_ms } = *config;
    let MapConfig { half_extent_m, boxes, gates, ramps } = map;
    let mut bytes = Vec::with_capacity(CONFIG_BYTES);
    bytes.extend(seed.to_le_bytes());
    for short in [rate_hz, half_extent_m] {
        bytes.extend(short.to_le_bytes());
    }
    for long in [boxes, gates, ramps, npcs, max_entities] {
        bytes.extend(long.to_le_bytes());
    }
    for short in [spawn_half_extent_m, max_rewind_ms] {
        bytes.extend(short.to_le_bytes());
    }
    bytes
}

/// `None` where there are too few bytes, or too many.
fn read(bytes: &[u8]) -> Option<WorldConfig> {
    let mut rest = bytes;
    let config = WorldConfig {
        seed: u64::from_le_bytes(next(&mut rest)?),
        rate_hz: u16::from_le_bytes(next(&mut rest)?),
        map: MapConfig {
            half_extent_m: u16::from_le_bytes(next(&mut rest)?),
            boxes: u32::from_le_bytes(next(&mut rest)?),
            gates: u32::from_le_bytes(next(&mut rest)?),
            ramps: u32::from_le_bytes(next(&mut rest)?),
        },
        npcs: u32::from_le_bytes(next(&mut rest)?),
        max_entities: u32::from_le_bytes(next(&mut rest)?),
        spawn_half_extent_m: u16::from_le_bytes(next(&mut rest)?),
        max_rewind_ms: u16::from_le_bytes(next(&mut rest)?),
    };
    rest.is_empty().then_some(config)
}

fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_configuration_survives_the_round_trip() {
        let config = WorldConfig {
            seed: 0x0102_0304_0506_0708,
            rate_hz: 60,
            map: MapConfig { half_extent_m: 300, boxes: 7, gates: 70_000, ramps: 9 },
            npcs: 8,
            max_entities: 900,
            spawn_half_extent_m: 100,
            max_rewind_ms: 333,
        };
        let bytes = write(&config);
        assert_eq!(bytes.len(), CONFIG_BYTES);
        assert_eq!(read(&bytes), Some(config));
        assert_eq!(read(&bytes[1..]), None);
        assert_eq!(read(&[&bytes[..], &[0]].concat()), None);
    }
}

//! The input log: all that a replay needs, appended tick by tick.
//!
//! Bytes, all little endian:
//! - header, 46 bytes: magic `ZWIL` · version u16 · schema hash u64 · seed u64 · rate_hz u16 · half_extent_m u16 ·
//!   boxes u32 · npcs u32 · max_entities u32 · spawn_half_extent_m u16 · max_rewind_ms u16 · check u32;
//! - per tick one record: length of the body u32 · check u32 · body: events u32, each tag u8 (0 join, 1 leave, 2 skip)
//!   and u32 (the id, or how many ticks) in the order they happened before the step · inputs u32, each id u32 and input u32 (from the lowest bit
//!   move_x 5, move_z 5, yaw 12, buttons 4) · digest after the step u64.
//!
//! A check is the lower half of FNV-1a over the bytes before it (header) or the body (record). A writer that dies
//! leaves at worst a torn last record, which the reader drops.

use crate::config::{ConfigError, WorldConfig};
use crate::entity::EntityId;
use crate::input::Input;
use crate::map::MapConfig;
use crate::schema::SCHEMA;
use netcode::schema::Fnv;

/// Version of the format.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 46;
const MAGIC: [u8; 4] = *b"ZWIL";
/// Bytes before a record's body.
const PREFIX_BYTES: usize = 8;
/// The longest body that a reader accepts: two events and one input for each of the most entities, and then some.
pub const MAX_BODY_BYTES: usize = 1 << 21;

/// Why a log can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Shorter than a header.
    #[error("shorter than the header of {HEADER_BYTES} bytes")]
    NoHeader,
    /// Does not begin like an input log.
    #[error("not an input log")]
    Magic,
    /// Another version of the format.
    #[error("input log version {0}, this build reads {VERSION}")]
    Version(u16),
    /// The header does not match its check.
    #[error("the header is damaged")]
    Header,
    /// Written by a build with other fields.
    #[error("written under schema {found:016x}, this build has {ours:016x}")]
    Schema {
        /// The log's schema hash.
        found: u64,
        /// This build's schema hash.
        ours: u64,
    },
    /// The header names a world that cannot be.
    #[error("the header's configuration is invalid: {0}")]
    Config(#[from] ConfigError),
    /// A record in the middle does not match its check.
    #[error("the record of tick {tick} is damaged")]
    Record {
        /// The tick of the record.
        tick: u64,
    },
}

/// What changed the set of entities between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A player was spawned and got this id.
    Join(EntityId),
    /// The entity was despawned.
    Leave(EntityId),
    /// So many ticks were left out.
    Skip(u32),
}

/// Writes a log. Hand [`InputLog::take_bytes`] to a file now and then, or it all stays in memory.
#[derive(Clone, Debug)]
pub struct InputLog {
    bytes: Vec<u8>,
    events: Vec<Event>,
}

impl InputLog {
    /// A log for a new world of that configuration.
    #[must_use]
    pub fn new(config: &WorldConfig) -> Self {
        Self { bytes: header(config), events: Vec::new() }
    }

    /// Notes a spawned player.
    pub fn join(&mut self, id: EntityId) {
        self.events.push(Event::Join(id));
    }

    /// Notes a despawned entity.
    pub fn leave(&mut self, id: EntityId) {
        self.events.push(Event::Leave(id));
    }

    /// Notes ticks that were left out.
    pub fn skip(&mut self, ticks: u32) {
        self.events.push(Event::Skip(ticks));
    }

    /// Notes a step: its inputs as given to [`crate::World::step`], and the digest after it.
    pub fn tick(&mut self, inputs: &[(EntityId, Input)], digest: u64) {
        let start = self.bytes.len();
        self.bytes.extend([0; PREFIX_BYTES]);
        self.bytes.extend((self.events.len() as u32).to_le_bytes());
        for event in self.events.drain(..) {
            let (tag, number) = match event {
                Event::Join(id) => (0, id.raw()),
                Event::Leave(id) => (1, id.raw()),
                Event::Skip(ticks) => (2, ticks),
            };
            self.bytes.push(tag);
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend((inputs.len() as u32).to_le_bytes());
        for (id, input) in inputs {
            self.bytes.extend(id.raw().to_le_bytes());
            for value in input.to_state().iter().take(SCHEMA.input.len()) {
                self.bytes.extend(value.to_le_bytes());
            }
        }
        self.bytes.extend(digest.to_le_bytes());

        let (prefix, body) = self.bytes[start..].split_at_mut(PREFIX_BYTES);
        prefix[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        prefix[4..].copy_from_slice(&check(body).to_le_bytes());
    }

    /// The bytes not yet taken.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes since the last call, whole records only; the first call's begin with the header.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }
}

/// One step of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What happened before the step, in order.
    pub events: Vec<Event>,
    /// The step's inputs.
    pub inputs: Vec<(EntityId, Input)>,
    /// The digest after the step.
    pub digest: u64,
}

/// Reads a log; the bytes may come from anywhere.
#[derive(Clone, Debug)]
pub struct LogReader<'a> {
    config: WorldConfig,
    rest: Cursor<'a>,
    tick: u64,
}

impl<'a> LogReader<'a> {
    /// Checks and reads the header.
    ///
    /// # Errors
    /// Any [`LogError`] but [`LogError::Record`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, LogError> {
        let (head, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(LogError::NoHeader)?;
        let config = parse_header(head).unwrap_or(Err(LogError::NoHeader))?;
        Ok(Self { config, rest: Cursor(rest), tick: 0 })
    }

    /// What the world was made from.
    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The next whole record; `None` at the end of the log or of its undamaged part (see
    /// [`LogReader::dropped_bytes`]).
    ///
    /// # Errors
    /// [`LogError::Record`] where a record is damaged and others follow it, which no crash explains.
    pub fn next_record(&mut self) -> Result<Option<Record>, LogError> {
        let damaged = LogError::Record { tick: self.tick + 1 };
        let mut cursor = self.rest.clone();
        let (Some(len), Some(expected)) = (cursor.u32(), cursor.u32()) else { return Ok(None) };
        if len as usize > MAX_BODY_BYTES {
            return Err(damaged);
        }
        let Some(body) = cursor.take(len as usize) else { return Ok(None) };
        if check(body) != expected {
            return if cursor.0.is_empty() { Ok(None) } else { Err(damaged) };
        }
        let record = parse_record(Cursor(body)).ok_or(damaged)?;
        self.rest = cursor;
        let skipped =
            record.events.iter().map(|event| if let Event::Skip(ticks) = event { u64::from(*ticks) } else { 0 });
        self.tick = self.tick.saturating_add(1 + skipped.sum::<u64>());
        Ok(Some(record))
    }

    /// After the last record: the bytes of a torn record at the end, 0 for a log that was closed well.
    #[must_use]
    pub fn dropped_bytes(&self) -> usize {
        self.rest.0.len()
    }
}

fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(Fnv::new(), |hash, byte| hash.byte(*byte)).0 as u32
}

fn header(config: &WorldConfig) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(SCHEMA.hash().to_le_bytes());
    bytes.extend(config.seed.to_le_bytes());
    bytes.extend(config.rate_hz.to_le_bytes());
    bytes.extend(config.map.half_extent_m.to_le_bytes());
    bytes.extend(config.map.boxes.to_le_bytes());
    bytes.extend(config.npcs.to_le_bytes());
    bytes.extend(config.max_entities.to_le_bytes());
    bytes.extend(config.spawn_half_extent_m.to_le_bytes());
    bytes.extend(config.max_rewind_ms.to_le_bytes());
    bytes.extend(check(&bytes).to_le_bytes());
    bytes
}

/// `None` where the bytes end too soon, which the caller's length rules out.
fn parse_header(bytes: &[u8]) -> Option<Result<WorldConfig, LogError>> {
    let (checked, mut expected) = (bytes.get(..HEADER_BYTES - 4)?, Cursor(bytes.get(HEADER_BYTES - 4..)?));
    let mut cursor = Cursor(checked);
    if cursor.take(4)? != MAGIC {
        return Some(Err(LogError::Magic));
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Some(Err(LogError::Version(version)));
    }
    if check(checked) != expected.u32()? {
        return Some(Err(LogError::Header));
    }
    let (found, ours) = (cursor.u64()?, SCHEMA.hash());
    if found != ours {
        return Some(Err(LogError::Schema { found, ours }));
    }
    let (seed, rate_hz) = (cursor.u64()?, cursor.u16()?);
    let map = MapConfig { half_extent_m: cursor.u16()?, boxes: cursor.u32()?, gates: 0, ramps: 0 };
    let (npcs, max_entities, spawn_half_extent_m) = (cursor.u32()?, cursor.u32()?, cursor.u16()?);
    let max_rewind_ms = cursor.u16()?;
    let config = WorldConfig { seed, rate_hz, map, npcs, max_entities, spawn_half_extent_m, max_rewind_ms };
    Some(config.validate().map(|()| config).map_err(LogError::Config))
}

fn parse_record(mut body: Cursor<'_>) -> Option<Record> {
    let mut record = Record::default();
    for _ in 0..body.u32()? {
        let tag = body.take(1)?;
        let number = body.u32()?;
        record.events.push(match tag {
            [0] => Event::Join(EntityId::from_raw(number)?),
            [1] => Event::Leave(EntityId::from_raw(number)?),
            [2] => Event::Skip(number),
            _ => return None,
        });
    }
    for _ in 0..body.u32()? {
        let id = EntityId::from_raw(body.u32()?)?;
        let mut state = netcode::schema::State::default();
        for value in state.iter_mut().take(SCHEMA.input.len()) {
            *value = body.u32()? as i32;
        }
        record.inputs.push((id, Input::from_state(&state)));
    }
    record.digest = body.u64()?;
    body.0.is_empty().then_some(record)
}

/// The bytes still to read.
#[derive(Clone, Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refreshed(mut bytes: Vec<u8>) -> Vec<u8> {
        let end = HEADER_BYTES - 4;
        let sum = check(&bytes[..end]);
        bytes[end..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn records_survive_the_round_trip() {
        let id = EntityId::from_raw(1 << 12 | 1).unwrap();
        let input = Input { move_x: 3, ..Input::default() };
        let config = WorldConfig::default();
        let mut log = InputLog::new(&config);
        log.join(id);
        log.tick(&[(id, input)], 77);
        log.leave(id);
        log.tick(&[], 78);
        let mut reader = LogReader::new(log.bytes()).unwrap();
        assert_eq!(*reader.config(), config);
        let first = Record { events: vec![Event::Join(id)], inputs: vec![(id, input)], digest: 77 };
        assert_eq!(reader.next_record(), Ok(Some(first)));
        let second = Record { events: vec![Event::Leave(id)], inputs: vec![], digest: 78 };
        assert_eq!(reader.next_record(), Ok(Some(second)));
        assert_eq!(reader.next_record(), Ok(None));
        assert_eq!(reader.dropped_bytes(), 0);
    }

    #[test]
    fn each_damage_of_the_header_is_refused_by_name() {
        let good = header(&WorldConfig::default());
        assert_eq!(good.len(), HEADER_BYTES);
        let refused = |bytes: &[u8]| LogReader::new(bytes).err();
        assert_eq!(refused(&good), None);
        assert_eq!(refused(&good[..HEADER_BYTES - 1]), Some(LogError::NoHeader));
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(refused(&with(0, b'X')), Some(LogError::Magic));
        assert_eq!(refused(&with(4, 9)), Some(LogError::Version(9)));
        assert_eq!(refused(&with(15, !good[15])), Some(LogError::Header));
        assert!(matches!(refused(&refreshed(with(6, !good[6]))), Some(LogError::Schema { .. })));
        assert_eq!(refused(&refreshed(with(22, 1))), Some(LogError::Config(ConfigError::Rate)));
    }

    #[test]
    fn a_damaged_record_is_the_end_only_where_it_is_last() {
        let mut log = InputLog::new(&WorldConfig::default());
        log.tick(&[], 1);
        let first = log.bytes().len();
        log.tick(&[], 2);
        let mut last = log.bytes().to_vec();
        *last.last_mut().unwrap() ^= 1;
        let mut reader = LogReader::new(&last).unwrap();
        assert!(reader.next_record().unwrap().is_some());
        assert_eq!(reader.next_record(), Ok(None));
        assert_eq!(reader.dropped_bytes(), last.len() - first);

        let mut middle = log.bytes().to_vec();
        middle[first - 1] ^= 1;
        let mut reader = LogReader::new(&middle).unwrap();
        assert_eq!(reader.next_record(), Err(LogError::Record { tick: 1 }));
    }
}

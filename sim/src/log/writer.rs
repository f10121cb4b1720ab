//! Writing a log.

use super::bytes::{Ids, check, put, zigzag};
use super::rows::Rows;
use super::{Change, Header, LogError, MAX_BODY_BYTES, PREFIX_BYTES};
use crate::entity::EntityId;
use crate::frame::Frame;
use netcode::schema::{Schema, State};

/// Writes a log. Hand [`InputLog::take_bytes`] to a file now and then, or it all stays in memory.
#[derive(Clone, Debug)]
pub struct InputLog {
    schema: &'static Schema,
    bytes: Vec<u8>,
    changes: Vec<Change>,
    rows: Option<Rows>,
}

impl InputLog {
    /// A log for a new world.
    ///
    /// # Errors
    /// [`LogError::TooLong`].
    pub fn new(schema: &'static Schema, header: &Header) -> Result<Self, LogError> {
        let mut bytes = Vec::new();
        header.write(&mut bytes)?;
        let rows = header.states.then(|| Rows::new(schema, header.rate_hz));
        Ok(Self { schema, bytes, changes: Vec::new(), rows })
    }

    /// Notes a spawned player.
    pub fn join(&mut self, id: EntityId) {
        self.changes.push(Change::Join(id));
    }

    /// Notes a despawned entity.
    pub fn leave(&mut self, id: EntityId) {
        self.changes.push(Change::Leave(id));
    }

    /// Notes ticks that were left out.
    pub fn skip(&mut self, ticks: u32) {
        self.changes.push(Change::Skip(ticks));
    }

    /// Notes a step: its inputs as integers in the order of the schema, and the frame after it.
    ///
    /// # Panics
    /// Where a record is longer than [`MAX_BODY_BYTES`], as no step's is with an input for each entity.
    pub fn tick(&mut self, inputs: impl ExactSizeIterator<Item = (EntityId, State)>, frame: &Frame) {
        let Self { schema, bytes, changes, rows } = self;
        let start = bytes.len();
        bytes.extend([0; PREFIX_BYTES]);
        put_changes(bytes, changes);
        put(bytes, inputs.len() as u64);
        let mut ids = Ids::default();
        for (id, input) in inputs {
            ids.put(bytes, id, false);
            put_input(bytes, schema, &input);
        }
        bytes.extend(frame.digest.to_le_bytes());
        if let Some(rows) = rows {
            rows.put(bytes, frame);
        }

        let Some((prefix, body)) = bytes.get_mut(start..).and_then(|bytes| bytes.split_at_mut_checked(PREFIX_BYTES))
        else {
            return;
        };
        assert!(body.len() <= MAX_BODY_BYTES, "a record has {} bytes", body.len());
        prefix[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let own = check(&prefix[..4]) as u16;
        prefix[4..6].copy_from_slice(&own.to_le_bytes());
        prefix[6..].copy_from_slice(&(check(body) as u32).to_le_bytes());
    }

    /// The bytes not yet taken.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes since the last call, whole records only; the first call's begin with the header.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        // The next tick's are about as many.
        let next = Vec::with_capacity(self.bytes.len());
        core::mem::replace(&mut self.bytes, next)
    }
}

fn put_changes(out: &mut Vec<u8>, changes: &mut Vec<Change>) {
    put(out, changes.len() as u64);
    for change in changes.drain(..) {
        let (tag, number) = match change {
            Change::Join(id) => (0, id.raw()),
            Change::Leave(id) => (1, id.raw()),
            Change::Skip(ticks) => (2, ticks),
        };
        out.push(tag);
        put(out, number.into());
    }
}

fn put_input(out: &mut Vec<u8>, schema: &Schema, input: &State) {
    let fields = || schema.input.iter().zip(input);
    let mask = fields().filter(|(_, value)| **value != 0).fold(0u8, |mask, (field, _)| mask | 1 << field.group);
    out.push(mask);
    for (field, value) in fields().filter(|(field, _)| mask >> field.group & 1 == 1) {
        put(out, if field.signed { zigzag((*value).into()) } else { u64::from(*value as u32) });
    }
}

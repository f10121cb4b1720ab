//! Reading a log, piece by piece.

use super::bytes::{Cursor, Ids, check, unzigzag};
use super::header::MAX_HEADER_BYTES;
use super::rows::Rows;
use super::{Change, Header, LogError, MAX_BODY_BYTES, PREFIX_BYTES, Record};
use crate::entity::EntityId;
use netcode::schema::{Schema, State};

/// What a reader has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This.
    Got(T),
    /// Nothing before it is given more bytes, or told that there are none.
    More,
    /// Nothing: the log has ended (see [`LogReader::dropped_bytes`]).
    End,
}

/// Reads a log; the bytes may come from anywhere.
///
/// [`LogReader::header`], then [`LogReader::next_record`] until it ends; where they want more, [`LogReader::push`] the
/// file's next piece or [`LogReader::finish`]. It keeps what it was given and has not read, which is less than a record
/// and a piece, and a row for each entity.
#[derive(Clone, Debug)]
pub struct LogReader {
    schema: &'static Schema,
    bytes: Vec<u8>,
    /// How many of them have been read.
    read: usize,
    finished: bool,
    header: Option<Header>,
    rows: Option<Rows>,
    tick: u64,
}

impl LogReader {
    /// A reader of logs that were written under `schema`.
    #[must_use]
    pub fn new(schema: &'static Schema) -> Self {
        Self { schema, bytes: Vec::new(), read: 0, finished: false, header: None, rows: None, tick: 0 }
    }

    /// Takes the next piece of the file.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// That was all of the file.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The header; [`Next::More`] until it is whole.
    ///
    /// # Errors
    /// Any [`LogError`] but [`LogError::Record`].
    pub fn header(&mut self) -> Result<Next<&Header>, LogError> {
        if self.header.is_none() {
            match Header::read(&self.bytes)? {
                None if self.finished || self.bytes.len() > MAX_HEADER_BYTES => return Err(LogError::NoHeader),
                None => return Ok(Next::More),
                Some((header, len)) => self.begin(header, len)?,
            }
        }
        Ok(self.header.as_ref().map_or(Next::More, Next::Got))
    }

    fn begin(&mut self, header: Header, len: usize) -> Result<(), LogError> {
        let (found, ours) = (header.schema, self.schema.hash());
        if found != ours {
            return Err(LogError::Schema { found, ours });
        }
        self.rows = header.states.then(|| Rows::new(self.schema, header.rate_hz));
        self.header = Some(header);
        self.read = len;
        Ok(())
    }

    /// Reads the next whole record into `record`, which then holds its tick, or is left as it was.
    ///
    /// # Errors
    /// [`LogError::Record`] where a record is damaged in a way that no crash of the writer explains; as
    /// [`LogReader::header`] where that was not read yet.
    pub fn next_record(&mut self, record: &mut Record) -> Result<Next<u64>, LogError> {
        if self.header()? == Next::More {
            return Ok(Next::More);
        }
        let damaged = LogError::Record { after: self.tick };
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some((prefix, behind)) = rest.split_at_checked(PREFIX_BYTES) else { return Ok(self.torn()) };
        let (len, expected) = parse_prefix(prefix).ok_or(damaged)?;
        let Some((body, behind)) = behind.split_at_checked(len) else { return Ok(self.torn()) };
        if check(body) as u32 != expected {
            return if behind.is_empty() { Ok(self.torn()) } else { Err(damaged) };
        }
        let tick = parse(body, self.schema, self.rows.as_mut(), self.tick, record).ok_or(damaged)?;
        self.read += PREFIX_BYTES + len;
        self.tick = tick;
        Ok(Next::Got(tick))
    }

    /// The tick of the newest record read, 0 before the first.
    #[must_use]
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// Everybody who was there after the newest record read, ascending: id, kind, state. `None` for a log without rows.
    pub fn rows(&self) -> Option<impl Iterator<Item = (EntityId, u8, State)>> {
        self.rows.as_ref().map(|rows| rows.after(self.tick))
    }

    /// At the end: the bytes of a torn record there, 0 for a log that was closed well.
    #[must_use]
    pub fn dropped_bytes(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// What there is may be the beginning of a record.
    const fn torn(&self) -> Next<u64> {
        if self.finished { Next::End } else { Next::More }
    }
}

fn parse_prefix(prefix: &[u8]) -> Option<(usize, u32)> {
    let mut cursor = Cursor(prefix);
    let (own, len) = (check(prefix.get(..4)?) as u16, cursor.u32()? as usize);
    (cursor.u16()? == own && len <= MAX_BODY_BYTES).then_some((len, cursor.u32()?))
}

/// Takes a body apart; its tick.
fn parse(body: &[u8], schema: &Schema, rows: Option<&mut Rows>, before: u64, record: &mut Record) -> Option<u64> {
    let mut body = Cursor(body);
    let mut tick = before.checked_add(1)?;
    record.changes.clear();
    record.inputs.clear();
    for _ in 0..body.number()? {
        let (tag, number) = (body.u8()?, body.number32()?);
        record.changes.push(match tag {
            0 => Change::Join(EntityId::from_raw(number)?),
            1 => Change::Leave(EntityId::from_raw(number)?),
            2 => {
                tick = tick.checked_add(number.into())?;
                Change::Skip(number)
            }
            _ => return None,
        });
    }
    let mut ids = Ids::default();
    for _ in 0..body.number()? {
        let (id, _) = ids.get(&mut body)?;
        record.inputs.push((id, parse_input(&mut body, schema)?));
    }
    record.digest = body.u64()?;
    if let Some(rows) = rows {
        rows.get(&mut body, tick)?;
    }
    record.tick = tick;
    body.0.is_empty().then_some(tick)
}

fn parse_input(body: &mut Cursor<'_>, schema: &Schema) -> Option<State> {
    let mask = body.u8()?;
    let mut input = State::default();
    for (value, field) in input.iter_mut().zip(schema.input).filter(|(_, field)| mask >> field.group & 1 == 1) {
        let number = body.number()?;
        *value = if field.signed {
            i32::try_from(unzigzag(number)).ok()?
        } else {
            u32::try_from(number).ok()?.cast_signed()
        };
    }
    Some(input)
}

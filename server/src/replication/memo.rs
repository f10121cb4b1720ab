//! The bits of updates, made once for all clients that want the same.
//!
//! What became of an entity since tick `T - age` is the same string of bits for every client that has that
//! baseline. It is packed when the first one wants it and copied for the others. So are spawns, which need no baseline.

use netcode::bits::{BitSink, BitWriter};
use netcode::schema::{Kind, Predictor, State, extrapolate};
use netcode::snapshot::predict::Guess;
use netcode::snapshot::{MAX_AGE, write_fields, write_spawn};
use sim::Frame;

use super::ReplicationSchema;

/// Ages with a place of their own for each entity; two that differ by this displace each other. In a crowd whose turns come
/// round slowly clients want old and young ones in the same tick, and all of them have a place.
const WAYS: usize = 32;
const CROWD_WAYS: usize = 64;
/// The most bytes of one string: of [`netcode::schema::MAX_FIELDS`] fields of 32 bits, their prefixes and groups, or of
/// what comes before them in a spawn.
const MAX_BYTES: usize = 96;
/// The age under which spawns have their place.
const SPAWN: u8 = 0;

const _: () = assert!(WAYS.is_power_of_two() && CROWD_WAYS == MAX_AGE as usize + 1);

/// Where a string is, and what else is known of it.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Number of the frame that it was made for; 0 is none.
    stamp: u32,
    at: u32,
    bits: u16,
    age: u8,
    error: u8,
}

/// One update's string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    at: u32,
    pub bits: u16,
    /// How far the guess of the place was off, in eighths of a unit.
    pub error: u8,
}

/// The strings of one frame.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// By age and then by row: clients mostly want the same age of many rows.
    entries: Vec<Entry>,
    /// Rows that each age has places for, and ages.
    rows: usize,
    ways: usize,
    words: Vec<u64>,
    stamp: u32,
    pub hits: u64,
    pub misses: u64,
}

/// What an update is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub row: u32,
    pub kind: u8,
    pub age: u8,
    pub base: &'a State,
    pub state: &'a State,
}

impl Memo {
    /// A new frame of so many entities: what was made for others is forgotten. `crowd`: some client is in one.
    pub fn start(&mut self, rows: usize, crowd: bool) {
        self.words.clear();
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.entries.fill(Entry::default());
            self.stamp = 1;
        }
        // Places once taken stay: crowds come again.
        let ways = if crowd { CROWD_WAYS } else { WAYS };
        if self.rows < rows || self.ways < ways {
            (self.rows, self.ways) = (self.rows.max(rows), self.ways.max(ways));
            self.entries.clear();
            self.entries.resize(self.rows * self.ways, Entry::default());
        }
    }

    #[inline]
    fn place(&self, row: u32, age: u8) -> usize {
        (usize::from(age) & (self.ways.wrapping_sub(1))) * self.rows + row as usize
    }

    /// The string of an update against a baseline so old, if it was made already.
    #[inline]
    pub fn get(&mut self, row: u32, age: u8) -> Option<Packed> {
        let found = self.find(row, age);
        self.hits += u64::from(found.is_some());
        found
    }

    #[inline]
    fn find(&self, row: u32, age: u8) -> Option<Packed> {
        let entry = self.entries.get(self.place(row, age))?;
        let found = entry.stamp == self.stamp && entry.age == age;
        found.then_some(Packed { at: entry.at, bits: entry.bits, error: entry.error })
    }

    /// Packs an update as everybody but the owner gets it.
    pub fn make(&mut self, schema: &ReplicationSchema, change: &Change<'_>) -> Packed {
        let packed = self.pack(schema, change, false);
        self.misses += 1;
        self.keep(change.row, change.age, packed);
        packed
    }

    /// The string of a spawn, for the owner or for all others.
    pub fn spawn(&mut self, schema: &ReplicationSchema, frame: &Frame, row: u32, owner: bool) -> Packed {
        if !owner && let Some(packed) = self.find(row, SPAWN) {
            return packed;
        }
        let mut bytes = [0; MAX_BYTES];
        let mut w = BitWriter::new(&mut bytes);
        let at = row as usize;
        write_spawn(&mut w, schema.schema, frame.id(at).raw(), frame.kind(at), owner, frame.state(at));
        let bits = w.bit_len() as u16;
        let len = w.finish();
        let packed = Packed { at: self.store(&bytes, len), bits, error: 0 };
        if !owner {
            self.keep(row, SPAWN, packed);
        }
        packed
    }

    fn keep(&mut self, row: u32, age: u8, packed: Packed) {
        let place = self.place(row, age);
        if let Some(entry) = self.entries.get_mut(place) {
            let Packed { at, bits, error } = packed;
            *entry = Entry { stamp: self.stamp, at, bits, age, error };
        }
    }

    /// Keeps the first `len` bytes until the next frame; where.
    fn store(&mut self, bytes: &[u8; MAX_BYTES], len: usize) -> u32 {
        let at = self.words.len() as u32;
        let (words, _) = bytes.as_chunks::<8>();
        self.words.extend(words.iter().take(len.div_ceil(8)).map(|word| u64::from_le_bytes(*word)));
        at
    }

    /// Packs an update for one client alone, with or without the owner's fields.
    pub fn pack(&mut self, schema: &ReplicationSchema, change: &Change<'_>, owner: bool) -> Packed {
        let mut bytes = [0; MAX_BYTES];
        let mut w = BitWriter::new(&mut bytes);
        let Ok(plan) = schema.plans.kind(change.kind) else { return Packed { at: 0, bits: 0, error: 0 } };
        let kind = plan.kind();
        let guess = extrapolate(kind, schema.rate, u32::from(change.age), change.base);
        write_fields(&mut w, plan, &mut Guess::on_course(&guess, change.age, schema.rate), owner, change.state);
        let bits = w.bit_len() as u16;
        let len = w.finish();
        Packed { at: self.store(&bytes, len), bits, error: worst_miss(kind, &guess, change.state) }
    }

    /// Copies a string made for this frame behind the `head_bits` (at most 64) bits of `head`.
    #[inline]
    pub fn copy(&self, head: u64, head_bits: u32, packed: Packed, w: &mut impl BitSink) {
        let mut words = self.words.get(packed.at as usize..).unwrap_or_default().iter().copied();
        let (mut held, mut left) = (u128::from(head), head_bits + u32::from(packed.bits));
        held |= u128::from(words.next().unwrap_or(0)) << head_bits;
        while left > 64 {
            w.put(held as u64, 64);
            left -= 64;
            held >>= 64;
            // The place of the next word: the held ones are full up to there.
            if left > head_bits {
                held |= u128::from(words.next().unwrap_or(0)) << head_bits;
            }
        }
        w.put(held as u64, left);
    }

    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.words.capacity() * 8
    }
}

/// By how much the client's guess misses the fields that move along a velocity (a place), in eighths of their unit.
fn worst_miss(kind: &Kind, guess: &State, state: &State) -> u8 {
    let places = kind.fields.iter().zip(guess.iter().zip(state));
    let misses = places.filter(|(field, _)| matches!(field.predictor, Predictor::Linear { .. })).map(
        |(field, (guess, value))| {
            let eighths = u64::from(guess.abs_diff(*value)) * 8 / u64::from(field.scale.max(1));
            u8::try_from(eighths).unwrap_or(u8::MAX)
        },
    );
    misses.max().unwrap_or(0)
}

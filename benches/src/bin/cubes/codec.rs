//! The two codecs of a whole frame: which cubes have a record, and the records.

use netcode::bits::{BitReader, BitWriter};
use netcode::schema::State;
use netcode::snapshot::DecodeError;
use netcode::snapshot::compact::{Binary, Coder, Decoder, Encoder, Model, RangeDecoder, RangeEncoder, Tables, Trainer};
use netcode::snapshot::fast;
use netcode::snapshot::predict::{Guess, History};

use crate::scene::{CUBES, SCHEMA};

/// Ticks per second.
const RATE: u16 = 60;
/// The oldest baseline, in frames.
pub const MAX_AGE: usize = 63;
/// The odds that a header tells of no surprise, in 1/65536.
const USUAL: u32 = 65_000;
/// Packets whose models are kept for later ones to go on from.
const KEPT: usize = MAX_AGE + 1;
/// Of so many frames the trainer learns one.
const SAMPLE: usize = 3;

/// Which frames a packet starts from, as their ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Frames from the baseline to the packet's, 1..=[`MAX_AGE`]; 0: no baseline.
    pub base: u8,
    /// Frames from the older one to the baseline; 0: none.
    pub older: u8,
}

impl Ages {
    /// Ages that the header has in a single bit.
    pub const fn usual(age: usize) -> Self {
        Self { base: age as u8, older: 1 }
    }
}

/// The frames that the ages name.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    pub base: &'a [State],
    pub older: Option<&'a [State]>,
}

impl<'a> Frames<'a> {
    fn history(&self, ages: Ages, cube: usize) -> History<'a> {
        let older = self.older.map(|older| (&older[cube], ages.older));
        History { base: &self.base[cube], older, age: ages.base.max(1), rate: RATE }
    }
}

/// One codec, both ends of it. The ends share nothing but what was acknowledged or pushed.
pub trait Codec {
    /// Appends a packet for `state`.
    fn encode(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, state: &[State], out: &mut Vec<u8>);

    /// Replaces `state` by what a packet holds. `frames` gives the frames that the packet names, if they are held.
    fn decode<'f>(
        &mut self,
        frame: usize,
        data: &[u8],
        frames: &dyn Fn(Ages) -> Option<Frames<'f>>,
        state: &mut Vec<State>,
    ) -> Result<(), DecodeError>;

    /// What the server does besides, before it encodes `frame`; gives the bytes of tables that it pushed.
    fn push(&mut self, _frame: usize, _ages: Ages, _frames: Frames<'_>, _state: &[State]) -> usize {
        0
    }
}

/// Plain residual codes. A packet has the ages, then each cube that does something else than expected (moving, it is as guessed; at
/// rest, it changed) by its distance from the one before, then the records of all that are not as guessed.
pub struct Fast {
    usual: Ages,
    guess: Guess,
    head: Vec<u8>,
    records: Vec<u8>,
}

/// Bits of a distance's low part: 901 cubes hold about 15 surprises.
const DISTANCE_BITS: u32 = 5;

impl Fast {
    pub fn new(age: usize) -> Self {
        let (head, records) = (vec![0; CUBES * 8], vec![0; CUBES * 64]);
        Self { usual: Ages::usual(age), guess: Guess::default(), head, records }
    }
}

impl Codec for Fast {
    fn encode(&mut self, _frame: usize, ages: Ages, frames: Frames<'_>, state: &[State], out: &mut Vec<u8>) {
        let kind = &SCHEMA.kinds[0];
        let (mut head, mut records) = (BitWriter::new(&mut self.head), BitWriter::new(&mut self.records));
        head.write_bool(ages != self.usual);
        if ages != self.usual {
            head.write(u64::from(ages.base) | u64::from(ages.older) << 6, 12);
        }
        let mut distance = 0;
        for (cube, state) in state.iter().enumerate() {
            let history = frames.history(ages, cube);
            let still = history.still();
            let differs = if still {
                !same(history.base, state)
            } else {
                self.guess.set(kind, &history);
                fast::differs(&self.guess, state)
            };
            if differs == still {
                write_distance(&mut head, distance);
                distance = 0;
            } else {
                distance += 1;
            }
            if differs {
                if still {
                    self.guess.set(kind, &history);
                }
                fast::write_fields(&mut records, kind, &self.guess, state);
            }
        }
        write_distance(&mut head, distance);
        let bits = records.bit_len();
        let _ = records.finish();
        head.write_bits(&self.records, bits);
        let len = head.finish();
        out.extend_from_slice(&self.head[..len]);
    }

    fn decode<'f>(
        &mut self,
        _frame: usize,
        data: &[u8],
        frames: &dyn Fn(Ages) -> Option<Frames<'f>>,
        state: &mut Vec<State>,
    ) -> Result<(), DecodeError> {
        let kind = &SCHEMA.kinds[0];
        let mut r = BitReader::new(data);
        let mut ages = self.usual;
        if r.read_bool()? {
            let both = r.read(12)?;
            ages = Ages { base: (both & 63) as u8, older: (both >> 6) as u8 };
        }
        let frames = frames(ages).ok_or(DecodeError::UnknownBaseline)?;
        let (mut surprises, mut at) = (BitSet::default(), 0);
        loop {
            at += read_distance(&mut r)?;
            if at >= CUBES {
                break;
            }
            surprises.insert(at);
            at += 1;
        }
        state.clear();
        for cube in 0..CUBES {
            let history = frames.history(ages, cube);
            let (still, surprise) = (history.still(), surprises.has(cube));
            if still && !surprise {
                state.push(*history.base);
                continue;
            }
            self.guess.set(kind, &history);
            state.push(if still == surprise {
                fast::read_fields(&mut r, kind, &self.guess)?
            } else {
                *self.guess.state()
            });
        }
        r.finish_zero_padded()?;
        Ok(())
    }
}

/// A bit for each cube.
#[derive(Default)]
struct BitSet([u64; CUBES.div_ceil(64)]);

impl BitSet {
    fn insert(&mut self, cube: usize) {
        self.0[cube / 64] |= 1 << (cube % 64);
    }

    fn has(&self, cube: usize) -> bool {
        self.0[cube / 64] >> (cube % 64) & 1 != 0
    }
}

fn same(a: &State, b: &State) -> bool {
    a.iter().zip(b).fold(0, |or, (a, b)| or | (a ^ b)) == 0
}

fn write_distance(w: &mut BitWriter<'_>, distance: u64) {
    let high = distance >> DISTANCE_BITS;
    w.write((1 << high) - 1, high as u32 + 1);
    w.write(distance & ((1 << DISTANCE_BITS) - 1), DISTANCE_BITS);
}

fn read_distance(r: &mut BitReader<'_>) -> Result<usize, DecodeError> {
    let high = r.peek().trailing_ones();
    r.skip(high + 1)?;
    Ok((high as usize) << DISTANCE_BITS | r.read(DISTANCE_BITS)? as usize)
}

/// Where a packet's adaptive state starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// Where the packet that the baseline came in ended: both sides have that state once it is acknowledged.
    Acknowledged,
    /// In tables that were trained on earlier frames and pushed.
    Tables,
}

/// When tables are pushed, by frame.
const PUSHES: [usize; 5] = [60, 150, 400, 1000, 2000];

/// The range coder.
pub struct Compact {
    usual: Ages,
    start: Start,
    fresh: Model,
    server: End,
    client: End,
    trainer: Trainer<'static>,
}

/// What one end keeps.
struct End {
    model: Model,
    kept: Vec<Model>,
    /// Tables, and the first frame they are for.
    tables: Vec<(usize, Tables)>,
}

impl End {
    fn new(fresh: &Model) -> Self {
        Self { model: fresh.clone(), kept: vec![fresh.clone(); KEPT], tables: Vec::new() }
    }

    /// Sets the model to where `frame` starts.
    fn start(&mut self, fresh: &Model, start: Start, frame: usize, ages: Ages) {
        let from = match start {
            Start::Acknowledged if ages.base == 0 => fresh,
            Start::Acknowledged => &self.kept[(frame - usize::from(ages.base)) % KEPT],
            Start::Tables => {
                let tables = self.tables.iter().rev().find(|(first, _)| *first <= frame);
                tables.map_or(fresh, |(_, tables)| tables.model())
            }
        };
        self.model.copy_from(from);
    }

    /// Keeps the model as `frame` ended.
    fn keep(&mut self, start: Start, frame: usize) {
        if start == Start::Acknowledged {
            self.kept[frame % KEPT].copy_from(&self.model);
        }
    }
}

impl Compact {
    pub fn new(age: usize, start: Start) -> Self {
        let fresh = Model::new(&SCHEMA);
        let (server, client) = (End::new(&fresh), End::new(&fresh));
        Self { usual: Ages::usual(age), start, fresh, server, client, trainer: Trainer::new(&SCHEMA) }
    }
}

impl Codec for Compact {
    fn encode(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, state: &[State], out: &mut Vec<u8>) {
        self.server.start(&self.fresh, self.start, frame, ages);
        let mut binary = RangeEncoder::new(out);
        code_ages(&mut binary, self.usual, ages);
        let mut encoder: Encoder<'_, '_> = Coder::with(&SCHEMA, &mut self.server.model, binary);
        for (cube, state) in state.iter().enumerate() {
            encoder.record(0, &frames.history(ages, cube), state).expect("the scene's values are in range");
        }
        encoder.finish();
        self.server.keep(self.start, frame);
    }

    fn decode<'f>(
        &mut self,
        frame: usize,
        data: &[u8],
        frames: &dyn Fn(Ages) -> Option<Frames<'f>>,
        state: &mut Vec<State>,
    ) -> Result<(), DecodeError> {
        let mut binary = RangeDecoder::new(data);
        let ages = code_ages(&mut binary, self.usual, self.usual);
        let frames = frames(ages).ok_or(DecodeError::UnknownBaseline)?;
        self.client.start(&self.fresh, self.start, frame, ages);
        let mut decoder: Decoder<'_, '_> = Coder::with(&SCHEMA, &mut self.client.model, binary);
        state.clear();
        for cube in 0..CUBES {
            state.push(decoder.record(0, &frames.history(ages, cube), &State::default())?);
        }
        decoder.finish().map_err(|_| DecodeError::ValueOutOfRange)?;
        self.client.keep(self.start, frame);
        Ok(())
    }

    fn push(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, state: &[State]) -> usize {
        if self.start != Start::Tables {
            return 0;
        }
        let mut bytes = 0;
        if PUSHES.contains(&frame) {
            let tables = self.trainer.tables(self.server.tables.len() as u32 + 1);
            let mut pushed = Vec::new();
            bytes = tables.write(&mut pushed);
            let received = Tables::read(&SCHEMA, &pushed).expect("these are tables");
            // It takes a round trip to know that they arrived.
            let first = frame + usize::from(self.usual.base);
            self.server.tables.push((first, tables));
            self.client.tables.push((first, received));
        }
        if frame.is_multiple_of(SAMPLE) {
            let records = state.iter().enumerate().map(|(cube, state)| (0, frames.history(ages, cube), state));
            self.trainer.learn(records).expect("the schema has cubes");
        }
        bytes
    }
}

/// Codes the ages: one bit if they are the usual ones.
fn code_ages(binary: &mut impl Binary, usual: Ages, ages: Ages) -> Ages {
    if binary.code(ages == usual, USUAL) {
        return usual;
    }
    let both = binary.raw(u32::from(ages.base) | u32::from(ages.older) << 6, 12);
    Ages { base: (both & 63) as u8, older: (both >> 6) as u8 }
}

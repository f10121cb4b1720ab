//! The two codecs of a whole frame: which cubes have a record, and the records.

use std::sync::LazyLock;

use netcode::bits::{BitReader, BitWriter};
use netcode::schema::State;
use netcode::snapshot::DecodeError;
use netcode::snapshot::compact::{Binary, Coder, Decoder, Encoder, Model, RangeDecoder, RangeEncoder, Tables, Trainer};
use netcode::snapshot::fast;
use netcode::snapshot::predict::{Guess, History, Plan, Plans};

use crate::scene::{CUBES, SCHEMA};

/// Ticks per second.
const RATE: u16 = 60;
/// The oldest baseline, in frames.
pub const MAX_AGE: usize = 63;
/// The odds that a header tells of no surprise, in 1/65536.
const USUAL: u32 = 65_000;
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
    /// The cubes that may differ between the two.
    pub moved: Cubes,
}

impl<'a> Frames<'a> {
    fn history(&self, ages: Ages, cube: usize) -> History<'a> {
        let older = self.older.map(|older| (&older[cube], ages.older));
        History { base: &self.base[cube], older, age: ages.base.max(1), rate: RATE }
    }

    /// The cubes that do differ between the two.
    fn moving(&self) -> Cubes {
        let Some(older) = self.older else { return Cubes::default() };
        self.moved.filter(|cube| !same(&self.base[cube], &older[cube]))
    }
}

/// What the simulation says of a frame.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    pub state: &'a [State],
    /// The cubes that may differ from the baseline.
    pub dirty: Cubes,
}

/// One codec, both ends of it. The ends share nothing but what was acknowledged or pushed.
pub trait Codec {
    /// Appends a packet for `state`, of which the cubes outside `dirty` are as in the baseline.
    fn encode(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, now: Now<'_>, out: &mut Vec<u8>);

    /// Replaces `state` by what a packet holds; gives the ages and the cubes that moved before or do now. `frames` gives the
    /// frames that the packet names, if they are held.
    fn decode<'f>(
        &mut self,
        frame: usize,
        data: &[u8],
        frames: &dyn Fn(Ages) -> Option<Frames<'f>>,
        state: &mut Vec<State>,
    ) -> Result<(Ages, Cubes), DecodeError>;

    /// What the server does besides, before it encodes `frame`; gives the bytes of tables that it pushed.
    fn push(&mut self, _frame: usize, _ages: Ages, _frames: Frames<'_>, _now: Now<'_>) -> usize {
        0
    }
}

/// Plain residual codes. A packet has the ages, then each cube that does something else than expected (moving, it is as guessed; at
/// rest, it changed) by its distance from the one before, then the records of all that are not as guessed.
pub struct Fast {
    usual: Ages,
    plan: Plan,
    guess: Guess,
    head: Vec<u8>,
    records: Vec<u8>,
}

/// Bits of a distance's low part: 901 cubes hold about 15 surprises.
const DISTANCE_BITS: u32 = 5;

impl Fast {
    pub fn new(age: usize) -> Self {
        let (head, records) = (vec![0; CUBES * 8], vec![0; CUBES * 64]);
        Self { usual: Ages::usual(age), plan: Plan::new(&SCHEMA.kinds[0]), guess: Guess::default(), head, records }
    }
}

impl Codec for Fast {
    fn encode(&mut self, _frame: usize, ages: Ages, frames: Frames<'_>, now: Now<'_>, out: &mut Vec<u8>) {
        let (mut head, mut records) = (BitWriter::new(&mut self.head), BitWriter::new(&mut self.records));
        head.write_bool(ages != self.usual);
        if ages != self.usual {
            head.write(u64::from(ages.base) | u64::from(ages.older) << 6, 12);
        }
        let (moving, mut next) = (frames.moving(), 0);
        for cube in moving.or(now.dirty).iter() {
            let (state, still) = (&now.state[cube], !moving.has(cube));
            if still && same(state, &frames.base[cube]) {
                continue;
            }
            self.guess.set(&self.plan, &frames.history(ages, cube));
            let differs = fast::differs(&self.guess, state);
            if differs == still {
                write_distance(&mut head, cube - next);
                next = cube + 1;
            }
            if differs {
                fast::write_fields(&mut records, &self.plan, &mut self.guess, true, state);
            }
        }
        write_distance(&mut head, CUBES - next);
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
    ) -> Result<(Ages, Cubes), DecodeError> {
        let mut r = BitReader::new(data);
        let mut ages = self.usual;
        if r.read_bool()? {
            let both = r.read(12)?;
            ages = Ages { base: (both & 63) as u8, older: (both >> 6) as u8 };
        }
        let frames = frames(ages).ok_or(DecodeError::UnknownBaseline)?;
        let (mut surprises, mut at) = (Cubes::default(), 0);
        loop {
            at += read_distance(&mut r)?;
            if at >= CUBES {
                break;
            }
            surprises.insert(at);
            at += 1;
        }
        state.clear();
        state.extend_from_slice(frames.base);
        let moving = frames.moving();
        let active = moving.or(surprises);
        for cube in active.iter() {
            self.guess.set(&self.plan, &frames.history(ages, cube));
            state[cube] = if moving.has(cube) && surprises.has(cube) {
                *self.guess.state()
            } else {
                fast::read_fields(&mut r, &self.plan, &mut self.guess, true)?
            };
        }
        r.finish_zero_padded()?;
        Ok((ages, active))
    }
}

/// A set of cubes.
#[derive(Clone, Copy, Default)]
pub struct Cubes([u64; CUBES.div_ceil(64)]);

impl Cubes {
    /// All of them.
    pub fn all() -> Self {
        let mut all = Self::default();
        (0..CUBES).for_each(|cube| all.insert(cube));
        all
    }

    pub fn insert(&mut self, cube: usize) {
        self.0[cube / 64] |= 1 << (cube % 64);
    }

    pub fn has(&self, cube: usize) -> bool {
        self.0[cube / 64] >> (cube % 64) & 1 != 0
    }

    pub fn or(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(i, word)| {
            let words = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            words.take_while(|word| *word != 0).map(move |word| i * 64 + word.trailing_zeros() as usize)
        })
    }

    pub fn filter(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self::default();
        self.iter().filter(|cube| keep(*cube)).for_each(|cube| kept.insert(cube));
        kept
    }

    /// The members of a block, as bits.
    fn block(&self, block: usize) -> u32 {
        (self.0[block * BLOCK / 64] >> (block * BLOCK % 64)) as u32 & ((1 << BLOCK) - 1)
    }
}

/// Cubes next to each other that one decision says of whether any at rest changed; a divisor of 64.
const BLOCK: usize = 16;

/// Whether two states are equal.
pub fn same(a: &State, b: &State) -> bool {
    a.iter().zip(b).fold(0, |or, (a, b)| or | (a ^ b)) == 0
}

fn write_distance(w: &mut BitWriter<'_>, distance: usize) {
    let distance = distance as u64;
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

static PLANS: LazyLock<Plans> = LazyLock::new(|| Plans::new(&SCHEMA));

/// When tables are pushed, by frame.
const PUSHES: [usize; 5] = [60, 150, 400, 1000, 2000];

/// The range coder.
pub struct Compact {
    plans: &'static Plans,
    usual: Ages,
    start: Start,
    fresh: Model,
    server: End,
    client: End,
    trainer: Trainer,
}

/// What one end keeps.
struct End {
    /// The models as packets ended, with their frames.
    kept: Vec<(usize, Model)>,
    /// Tables, and the first frame they are for.
    tables: Vec<(usize, Tables)>,
}

impl End {
    const fn new() -> Self {
        Self { kept: Vec::new(), tables: Vec::new() }
    }

    /// The model that `frame` is coded with, set to where that starts. Baselines never go back, so what is older than this
    /// one's is forgotten.
    fn start(&mut self, fresh: &Model, start: Start, frame: usize, ages: Ages) -> &mut Model {
        let base = frame - usize::from(ages.base);
        let free = self.kept.iter().position(|(kept, _)| *kept < base);
        let place = free.unwrap_or_else(|| {
            self.kept.push((frame, fresh.clone()));
            self.kept.len() - 1
        });
        let from = self.kept.iter().position(|(kept, _)| *kept == base && base != frame);
        match from.map(|from| self.kept.get_disjoint_mut([place, from])) {
            Some(Ok([(_, model), (_, from)])) if start == Start::Acknowledged => model.copy_from(from),
            _ => {
                let tables = self.tables.iter().rev().find(|(first, _)| *first <= frame);
                self.kept[place].1.copy_from(tables.map_or(fresh, |(_, tables)| tables.model()));
            }
        }
        self.kept[place].0 = frame;
        &mut self.kept[place].1
    }
}

impl Compact {
    pub fn new(age: usize, start: Start) -> Self {
        let plans = &*PLANS;
        let fresh = Model::new(&SCHEMA);
        let (server, client) = (End::new(), End::new());
        Self { plans, usual: Ages::usual(age), start, fresh, server, client, trainer: Trainer::new(&SCHEMA) }
    }
}

impl Codec for Compact {
    fn encode(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, now: Now<'_>, out: &mut Vec<u8>) {
        let model = self.server.start(&self.fresh, self.start, frame, ages);
        let mut binary = RangeEncoder::new(out);
        code_ages(&mut binary, self.usual, ages);
        let mut encoder: Encoder<'_, '_> = Coder::with(self.plans, model, binary);
        write_cubes(&mut encoder, ages, frames, now);
        encoder.finish();
    }

    fn decode<'f>(
        &mut self,
        frame: usize,
        data: &[u8],
        frames: &dyn Fn(Ages) -> Option<Frames<'f>>,
        state: &mut Vec<State>,
    ) -> Result<(Ages, Cubes), DecodeError> {
        let mut binary = RangeDecoder::new(data);
        let ages = code_ages(&mut binary, self.usual, self.usual);
        let frames = frames(ages).ok_or(DecodeError::UnknownBaseline)?;
        let model = self.client.start(&self.fresh, self.start, frame, ages);
        let mut decoder: Decoder<'_, '_> = Coder::with(self.plans, model, binary);
        state.clear();
        state.extend_from_slice(frames.base);
        let moving = frames.moving();
        let active = code_cubes(
            &mut decoder,
            ages,
            frames,
            moving,
            |_| false,
            |decoder, history, cube| {
                let now = decoder.record(0, history, &State::default())?;
                let changed = !same(&now, history.base);
                state[cube] = now;
                Ok(changed)
            },
        )?;
        decoder.finish().map_err(|_| DecodeError::ValueOutOfRange)?;
        Ok((ages, active))
    }

    fn push(&mut self, frame: usize, ages: Ages, frames: Frames<'_>, now: Now<'_>) -> usize {
        if self.start != Start::Tables {
            return 0;
        }
        let mut bytes = 0;
        if PUSHES.contains(&frame) {
            let tables = self.trainer.tables(self.server.tables.len() as u8 + 1);
            let mut pushed = Vec::new();
            bytes = tables.write(&mut pushed);
            let received = Tables::read(&SCHEMA, &pushed).expect("these are tables");
            // It takes a round trip to know that they arrived.
            let first = frame + usize::from(self.usual.base);
            self.server.tables.push((first, tables));
            self.client.tables.push((first, received));
        }
        if frame.is_multiple_of(SAMPLE) {
            write_cubes(&mut self.trainer.body(self.plans), ages, frames, now);
        }
        bytes
    }
}

/// Writes, or learns, a frame.
fn write_cubes<B: Binary>(coder: &mut Coder<'_, B>, ages: Ages, frames: Frames<'_>, now: Now<'_>) {
    let moving = frames.moving();
    let changed = now.dirty.filter(|cube| !moving.has(cube) && !same(&now.state[cube], &frames.base[cube]));
    let record = |coder: &mut Coder<'_, B>, history: &History<'_>, cube: usize| {
        coder.record(0, history, &now.state[cube]).map(|_| changed.has(cube))
    };
    let any = |block| changed.block(block) != 0;
    code_cubes(coder, ages, frames, moving, any, record).expect("the scene's values are in range");
}

/// Codes a frame: for each block whether any cube at rest changed; then each cube that moves or may have. Gives those that
/// move or did change.
fn code_cubes<B: Binary>(
    coder: &mut Coder<'_, B>,
    ages: Ages,
    frames: Frames<'_>,
    moving: Cubes,
    any: impl Fn(usize) -> bool,
    mut record: impl FnMut(&mut Coder<'_, B>, &History<'_>, usize) -> Result<bool, DecodeError>,
) -> Result<Cubes, DecodeError> {
    let (mut active, mut before) = (moving, 0);
    for block in 0..CUBES.div_ceil(BLOCK) {
        let here = moving.block(block);
        // Whether those around did, and how many move here.
        let context = before << 2 | (here.count_ones().div_ceil(3) as usize).min(3);
        let any = coder.bit(context, any(block));
        before = before << 1 & 7 | usize::from(any);
        let last = if any { (1 << BLOCK) - 1 } else { here };
        let mut next = 0;
        for i in (0..BLOCK as u32).filter(|i| last >> i & 1 != 0) {
            let cube = block * BLOCK + i as usize;
            if cube < CUBES {
                coder.pass(i - next);
                next = i + 1;
                if record(coder, &frames.history(ages, cube), cube)? {
                    active.insert(cube);
                }
            }
        }
        coder.pass(BLOCK as u32 - next);
    }
    Ok(active)
}

/// Codes the ages: one bit if they are the usual ones.
fn code_ages(binary: &mut impl Binary, usual: Ages, ages: Ages) -> Ages {
    if binary.code(ages == usual, USUAL) {
        return usual;
    }
    let both = binary.raw(u32::from(ages.base) | u32::from(ages.older) << 6, 12);
    Ages { base: (both & 63) as u8, older: (both >> 6) as u8 }
}

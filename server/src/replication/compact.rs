//! Snapshots in the compact codec: who gets them, what their tables are trained on, and when new ones are worth pushing.
//!
//! A share of the bodies that are sent is learned as well as coded. What the trainer would have taken for them, against
//! what they took, says what new tables would save; when that is more than they cost, the next version is published. The
//! shard pushes it, and goes over to it client by client as they report that they have it.

use std::sync::Arc;

use arrayvec::ArrayVec;
use netcode::schema::{Schema, State};
use netcode::snapshot::compact::{Binary, Coder, Encoder, MAX_VERSION, Model, Tables, Trainer};
use netcode::snapshot::predict::History;
use netcode::snapshot::{DecodeError, Header, MAX_HEADER_BITS, MAX_TABLES, Op};
use sim::{EntityId, Frame};

use super::ReplicationSchema;
use super::frame_ring::FrameRing;
use super::select::{Candidate, What, packed_bits, row_like};

/// The most bodies that are learned in a tick while there are no tables.
const FIRST_BODIES: u32 = 64;
/// Of so many bodies one is learned, once there are tables.
const SAMPLE: u64 = 8;
/// How often the time between two versions is doubled.
const DOUBLED: u32 = 5;
/// A body is expected to take this many percent more than the mean, so that few are too long.
const RESERVE_PERCENT: u64 = 8;
/// Bits of the share of the fast codec's size: 256 is all of it.
const WHOLE: u64 = 256;
/// The smallest share that is counted on: a body of so few bits may stand for many records, but those must fit, too.
const LEAST_SHARE: u64 = 100;

/// When tables are trained and pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// The first ones, after so many updates.
    pub first_updates: u32,
    /// And after so many seconds: what a world does in one moment is not what it does.
    pub first_s: u16,
    /// Seconds between the first two versions, in which clients must have had the time to get the one before; twice as many
    /// between the next two, and so on for a while.
    pub apart_s: u16,
    /// Bodies that are learned before the gain of new tables is judged.
    pub window: u32,
    /// Whether new ones must save more than they cost; else they are pushed as soon as they may.
    pub pays: bool,
}

impl Default for Training {
    fn default() -> Self {
        Self { first_updates: 4096, first_s: 3, apart_s: 10, window: 256, pays: true }
    }
}

/// A version that clients may have.
#[derive(Debug)]
struct Published {
    tables: Tables,
    /// What bodies move on; as `tables` between them.
    running: Model,
    bytes: Arc<[u8]>,
}

/// The tables of a worker.
#[derive(Debug)]
pub(super) struct Compact {
    trainer: Trainer,
    /// The newest last.
    published: ArrayVec<Published, MAX_TABLES>,
    published_at: u64,
    versions: u32,
    training: Training,
    /// When the first body was learned, and how many were in this tick.
    began: Option<u64>,
    in_tick: u32,
    updates: u64,
    bodies: u64,
    window: Window,
    /// What bodies take of the fast codec's size, smoothed, in 1/[`WHOLE`].
    share: u64,
    /// Bits of the updates of the body that was coded last.
    update_bits: u64,
    out: Vec<u8>,
}

/// What the bodies took that were learned since the last judgement, in bits.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    bodies: u32,
    coded: u64,
    learned: u64,
}

impl Compact {
    pub fn new(schema: &'static Schema, training: Training) -> Self {
        Self {
            training,
            began: None,
            in_tick: 0,
            trainer: Trainer::new(schema),
            published: ArrayVec::new(),
            published_at: 0,
            versions: 0,
            updates: 0,
            bodies: 0,
            window: Window::default(),
            share: WHOLE,
            update_bits: 0,
            out: Vec::new(),
        }
    }

    /// The newest tables: their version, and the bytes to push.
    pub fn newest(&self) -> Option<(u8, &Arc<[u8]>)> {
        self.published.last().map(|newest| (newest.tables.version(), &newest.bytes))
    }

    pub fn holds(&self, version: u8) -> bool {
        self.published.iter().any(|published| published.tables.version() == version)
    }

    /// The bits of the updates of the body that was coded last, without their gaps.
    pub fn update_bits(&self) -> u64 {
        self.update_bits
    }

    /// How many versions there have been.
    pub fn versions(&self) -> u32 {
        self.versions
    }

    /// The bits in the fast codec of what probably fits so many bits in this one.
    pub fn room(&self, bits: usize) -> usize {
        let share = (self.share * (100 + RESERVE_PERCENT) / 100).clamp(LEAST_SHARE, WHOLE);
        (bits as u64 * WHOLE / share) as usize
    }

    /// Codes the body that was chosen, from tables of that version; gives the bytes behind the first one.
    ///
    /// # Errors
    /// Never, if the frame's values are in range; or there are no such tables.
    pub fn encode(&mut self, version: u8, body: &Body<'_>) -> Result<&[u8], DecodeError> {
        let newest = self.newest().map(|(newest, _)| newest);
        let Self { published, out, .. } = self;
        let published = published.iter_mut().find(|published| published.tables.version() == version);
        let Published { tables, running, .. } = published.ok_or(DecodeError::UnknownTables(version))?;
        out.clear();
        let mut encoder = Encoder::new(&body.schema.plans, running, out);
        let update_bits = body.code(&mut encoder);
        encoder.finish();
        running.restart(tables.model());
        self.update_bits = update_bits? as u64;
        let bits = out.len() as u64 * 8;
        if body.header.count > 0 {
            let fast = packed_bits(body.candidates, &[]) + MAX_HEADER_BITS;
            let share = bits * WHOLE / fast as u64;
            // An eighth of the way, rounded towards the new one.
            self.share = (self.share * 7 + share.min(2 * WHOLE)).div_ceil(8);
        }
        if newest == Some(version) && self.is_sample() {
            self.learn(body, Some(bits))?;
        }
        self.bodies += 1;
        Ok(&self.out)
    }

    /// Learns a body that goes out in the fast codec because its client has no tables yet.
    pub fn learn_first(&mut self, body: &Body<'_>) {
        if self.published.is_empty() && self.in_tick < FIRST_BODIES {
            self.in_tick += 1;
            self.began.get_or_insert(body.frame.tick);
            // What cannot be coded is not learned; it goes out as it is.
            let _ = self.learn(body, None);
        }
    }

    fn is_sample(&self) -> bool {
        self.bodies.is_multiple_of(SAMPLE)
    }

    fn learn(&mut self, body: &Body<'_>, coded: Option<u64>) -> Result<(), DecodeError> {
        let before = self.trainer.cost();
        body.code(&mut self.trainer.body(&body.schema.plans))?;
        self.updates +=
            body.candidates.iter().filter(|candidate| matches!(candidate.what, What::Update { .. })).count() as u64;
        if let Some(coded) = coded {
            self.window.bodies += 1;
            self.window.coded += coded;
            self.window.learned += (self.trainer.cost() - before) >> 8;
        }
        Ok(())
    }

    /// Publishes a version, if there is none and enough was learned, or it is worth it.
    pub fn publish_if_due(&mut self, tick: u64, rate: u16) {
        let due = if self.published.is_empty() {
            let over =
                self.began.is_some_and(|began| tick >= began + u64::from(self.training.first_s) * u64::from(rate));
            self.in_tick = 0;
            over && self.updates >= u64::from(self.training.first_updates)
        } else {
            let Training { apart_s, window, pays, .. } = self.training;
            let ticks = |versions: u32| (u64::from(apart_s) << versions.min(DOUBLED)) * u64::from(rate);
            let judges = self.window.bodies >= window
                && tick >= self.published_at.saturating_add(ticks(self.versions.saturating_sub(1)));
            judges && {
                let Window { bodies, coded, learned } = core::mem::take(&mut self.window);
                // What a client with a snapshot a tick would save until the version after these, against what they cost it.
                let saved = coded.saturating_sub(learned) / u64::from(bodies.max(1)) * ticks(self.versions);
                !pays || saved > self.newest().map_or(0, |(_, bytes)| bytes.len() as u64 * 8)
            }
        };
        if due {
            self.publish(tick);
        }
    }

    fn publish(&mut self, tick: u64) {
        let version = self.newest().map_or(1, |(version, _)| version % MAX_VERSION + 1);
        let tables = self.trainer.tables(version);
        let mut bytes = Vec::new();
        tables.write(&mut bytes);
        if self.published.is_full() {
            self.published.remove(0);
        }
        let running = tables.model().clone();
        self.published.push(Published { tables, running, bytes: bytes.into() });
        (self.published_at, self.versions) = (tick, self.versions.saturating_add(1));
        self.window = Window::default();
    }

    /// Bytes on the heap, about.
    pub fn bytes(&self) -> usize {
        let models = 1 + 2 * self.published.len();
        models * self.trainer.bytes() + self.published.iter().map(|published| published.bytes.len()).sum::<usize>()
    }
}

/// A body that was chosen.
pub(super) struct Body<'a> {
    pub schema: &'a ReplicationSchema,
    pub frame: &'a Frame,
    pub ring: &'a FrameRing,
    /// What the client owns.
    pub own: EntityId,
    pub header: &'a Header,
    pub candidates: &'a [Candidate],
}

impl Body<'_> {
    /// Codes it, or learns it. Gives the bits of its updates, without their gaps.
    fn code<B: Binary>(&self, coder: &mut Coder<'_, B>) -> Result<usize, DecodeError> {
        coder.header(self.header)?;
        let (mut next_slot, mut update_bits) = (0, 0);
        for candidate in self.candidates {
            coder.gap(candidate.slot - next_slot)?;
            next_slot = candidate.slot + 1;
            match candidate.what {
                What::Despawn => {
                    coder.op(self.header.ages, &Op::Despawn)?;
                }
                What::Spawn { row, .. } => self.spawn(coder, row as usize)?,
                What::Update { row, age, .. } => {
                    let before = coder.bits();
                    self.update(coder, row as usize, age)?;
                    update_bits += coder.bits().saturating_sub(before);
                }
            }
        }
        Ok(update_bits)
    }

    fn spawn<B: Binary>(&self, coder: &mut Coder<'_, B>, row: usize) -> Result<(), DecodeError> {
        let (id, kind) = (self.frame.id(row), self.frame.kind(row));
        let owner = id == self.own;
        let state = self.seen(kind, owner, self.frame.state(row))?;
        coder.op(self.header.ages, &Op::Spawn { id: id.raw(), kind, owner, state }).map(|_| ())
    }

    fn update<B: Binary>(&self, coder: &mut Coder<'_, B>, row: usize, age: u8) -> Result<(), DecodeError> {
        coder.op(self.header.ages, &Op::Update { age })?;
        let (id, kind) = (self.frame.id(row), self.frame.kind(row));
        let owner = id == self.own;
        let base = self.frame.tick.checked_sub(age.into()).and_then(|tick| self.ring.at(tick));
        let base = base.and_then(|base| Some(base.state(row_like(base, id, row)?)));
        let base = self.seen(kind, owner, base.ok_or(DecodeError::UnknownBaseline)?)?;
        let history = History { base: &base, older: None, age, rate: self.schema.rate };
        coder.update(kind, owner, &history, &self.seen(kind, owner, self.frame.state(row))?).map(|_| ())
    }

    /// A state as the client has it.
    fn seen(&self, kind: u8, owner: bool, state: &State) -> Result<State, DecodeError> {
        let kind = self.schema.schema.kind(kind).ok_or(DecodeError::UnknownKind(kind))?;
        Ok(kind.visible(owner, state))
    }
}

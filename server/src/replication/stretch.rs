//! Whole turns of a crowd, written once for all clients that want the same.
//!
//! In a crowd an entity has the same slot at every client where that is vacant, and has its turn in the same tick. So
//! what most clients want to be told in a turn is the same from gap to gap: it is packed as one string of bits for each
//! tick that they may have acknowledged, and copied by runs of slots. Where a client differs (whom it follows, what it
//! did not acknowledge, who came or went) the run ends, and that slot goes its own way.

use core::ops::Range;

use netcode::bits::{BitSink, BitWriter};
use netcode::snapshot::{Ages, write_age, write_gap};
use sim::Frame;

use super::memo::Change;
use super::replica::{Known, Phase, Replica, shared_slot, slots_of_turn, turn_of};
use super::select::{Choice, age_of, course, row_like};

/// The most strings in a tick; further ones are not shared. They are one for each turn and tick that clients have
/// acknowledged it at: without loss one, with loss a few.
const MAX_PLANS: usize = 64;
/// [`Known`]s that share a line of memory.
const KNOWN_A_LINE: usize = 4;
/// The most bits that are written at once.
const WORD: u32 = 64;

/// A string of bits, longer than a word.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    fn clear(&mut self) {
        self.words.clear();
        self.len = 0;
    }

    /// Appends the bits from one place to another.
    fn copy(&self, range: Range<u32>, w: &mut BitWriter<'_>) {
        let word = |at: u32| self.words.get(at as usize).copied().unwrap_or(0);
        let mut at = range.start;
        while at < range.end {
            let (bits, shift) = ((range.end - at).min(WORD), at % WORD);
            let high = word(at / WORD + 1).checked_shl(WORD - shift).unwrap_or(0);
            w.write((word(at / WORD) >> shift | high) & (!0 >> (WORD - bits)), bits);
            at += bits;
        }
    }
}

impl BitSink for Bits {
    fn put(&mut self, value: u64, bits: u32) {
        let held = self.len % WORD;
        match self.words.last_mut() {
            Some(last) if held != 0 => *last |= value << held,
            _ => self.words.push(value),
        }
        if held != 0 && held + bits > WORD {
            self.words.push(value >> (WORD - held));
        }
        self.len += bits;
    }
}

/// What is said of who has a slot, as it lies in the bits of its plan.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Raw id; 0 for nobody, of whom nothing can be shared.
    id: u32,
    /// From behind the gap to the end of the record. Empty if there is nothing to say.
    from: u32,
    to: u32,
}

/// A turn as it is told to those who acknowledged it at one tick.
#[derive(Debug, Default)]
struct Plan {
    turn: u64,
    acked: u64,
    told: Vec<Told>,
    bits: Bits,
}

/// The plans of one frame.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    plans: Vec<Plan>,
    used: usize,
}

/// Neighbouring slots, and the bits that say what is to be said of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    start: u16,
    end: u16,
    pub records: u16,
    /// The slots of the first and of the last record.
    pub first: u16,
    last: u16,
    from: u32,
    to: u32,
    /// Bits of the records, without their gaps.
    pub record_bits: u32,
}

impl Run {
    fn add(&mut self, slot: u16, told: &Told) {
        self.end = slot + 1;
        if told.from == told.to {
            return;
        }
        if self.records == 0 {
            (self.first, self.from) = (slot, told.from);
        }
        self.records += 1;
        (self.last, self.to) = (slot, told.to);
        self.record_bits += told.to - told.from;
    }

    pub const fn slots(&self) -> Range<u16> {
        self.start..self.end
    }

    /// The slot that gaps count from behind it; `before` is that in front of it.
    pub const fn next_slot(&self, before: u16) -> u16 {
        if self.records == 0 { before } else { self.last + 1 }
    }

    /// Bits behind the gap of its first record.
    pub const fn bits(&self) -> usize {
        (self.to - self.from) as usize
    }
}

/// What a client shares with others in this tick.
#[derive(Debug, Default)]
pub(super) struct Shared {
    plan: usize,
    /// The age of its updates.
    pub age: u8,
    /// By ascending slot.
    pub runs: Vec<Run>,
}

impl Shared {
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    pub fn records(&self) -> usize {
        self.runs.iter().map(|run| usize::from(run.records)).sum()
    }
}

impl Stretches {
    /// A new frame: what was made for others is forgotten.
    pub fn start(&mut self) {
        self.used = 0;
    }

    /// Finds what a client can share of that turn; leaves `shared` empty if that is nothing. `first`: the age of its other
    /// updates.
    pub fn find(&mut self, replica: &Replica, choice: &mut Choice<'_>, turn: u64, first: u8, shared: &mut Shared) {
        shared.clear();
        let turns = choice.aoi.turn_ticks.max(1);
        let [_, stretch] = slots_of_turn(turn, turns);
        let end = usize::from(stretch.end).min(replica.slots.len());
        let Some(of_turn) = replica.slots.get(usize::from(stretch.start)..end) else { return };
        let Some(acked) = acked_by_most(of_turn) else { return };
        let tick = replica.epoch + u64::from(acked);
        let Some(age) = age_of(choice.frame, tick).filter(|age| *age != first) else { return };
        let Some(at) = self.plan(choice, turn, tick, age) else { return };
        let Some(plan) = self.plans.get(at) else { return };
        (shared.plan, shared.age) = (at, age);
        let mut run = None;
        for (slot, (known, told)) in (stretch.start..).zip(of_turn.iter().zip(&plan.told)) {
            let alike = known.id.raw() == told.id
                && known.acked == acked
                && known.phase == Phase::Known
                && !known.followed
                && known.id != replica.own;
            if alike {
                run.get_or_insert(Run { start: slot, ..Run::default() }).add(slot, told);
            } else {
                shared.runs.extend(run.take());
            }
        }
        shared.runs.extend(run);
    }

    /// Writes what a run says behind the gap of its first record.
    pub fn copy(&self, shared: &Shared, run: &Run, w: &mut BitWriter<'_>) {
        if let Some(plan) = self.plans.get(shared.plan) {
            plan.bits.copy(run.from..run.to, w);
        }
    }

    /// Which plan is that of a turn for those who acknowledged it at that tick; makes it if it is not there yet.
    fn plan(&mut self, choice: &mut Choice<'_>, turn: u64, acked: u64, age: u8) -> Option<usize> {
        let made = self.plans.iter().take(self.used).position(|plan| plan.turn == turn && plan.acked == acked);
        if made.is_some() || self.used == MAX_PLANS {
            return made;
        }
        let base = choice.ring.at(acked)?;
        if self.plans.len() == self.used {
            self.plans.push(Plan::default());
        }
        let plan = self.plans.get_mut(self.used)?;
        (plan.turn, plan.acked) = (turn, acked);
        plan.fill(choice, base, age);
        self.used += 1;
        Some(self.used - 1)
    }

    pub fn bytes(&self) -> usize {
        let of_plan = |plan: &Plan| plan.told.capacity() * size_of::<Told>() + plan.bits.words.capacity() * 8;
        self.plans.iter().map(of_plan).sum()
    }
}

impl Plan {
    fn fill(&mut self, choice: &mut Choice<'_>, base: &Frame, age: u8) {
        let Self { turn, acked, told, bits } = self;
        let (frame, turns) = (choice.frame, choice.aoi.turn_ticks.max(1));
        let [_, stretch] = slots_of_turn(*turn, turns);
        told.clear();
        told.resize(stretch.len(), Told::default());
        bits.clear();
        // Of several whose slot is the same the first has it; `from` holds its row until its record is there.
        for (row, id) in (0u32..).zip(frame.ids()).filter(|(_, id)| turn_of(id.index(), turns) == *turn) {
            let place = shared_slot(id.index(), &stretch, turns) - stretch.start;
            if let Some(told) = told.get_mut(usize::from(place)).filter(|told| told.id == 0) {
                *told = Told { id: id.raw(), from: row, to: 0 };
            }
        }
        let mut next = stretch.start;
        for (slot, told) in stretch.zip(told).filter(|(_, told)| told.id != 0) {
            let row = core::mem::take(&mut told.from) as usize;
            if course(frame, row, false) <= *acked {
                continue;
            }
            let Some(base_row) = row_like(base, frame.id(row), row) else {
                told.id = 0;
                continue;
            };
            let (base, state) = (base.state(base_row), frame.state(row));
            let change = Change { row: row as u32, kind: frame.kind(row), age, base, state };
            let packed = choice.memo.get(change.row, age);
            let packed = packed.unwrap_or_else(|| choice.memo.make(choice.schema, &change));
            write_gap(bits, slot - next);
            next = slot + 1;
            told.from = bits.len;
            // It is always told as the second age; no update has age 0.
            write_age(bits, age, Ages { first: 0, second: Some(age) });
            choice.memo.copy(0, 0, packed, bits);
            told.to = bits.len;
        }
    }
}

/// The tick that most of those who can be shared acknowledged, if it is more than half of them (Boyer and Moore, "MJRTY - a
/// fast majority vote algorithm", 1991). One of each line of memory is asked: so all of them are on their way at once.
fn acked_by_most(of_turn: &[Known]) -> Option<u32> {
    let (mut acked, mut votes) = (0, 0u32);
    for known in of_turn.iter().step_by(KNOWN_A_LINE).filter(|known| known.phase == Phase::Known && !known.followed) {
        if votes == 0 {
            (acked, votes) = (known.acked, 1);
        } else if known.acked == acked {
            votes += 1;
        } else {
            votes -= 1;
        }
    }
    (votes > 0).then_some(acked)
}

#[cfg(test)]
mod tests {
    use netcode::bits::BitReader;
    use netcode::rng::Rng;

    use super::*;

    #[test]
    fn any_part_of_a_string_is_copied_to_the_bit() {
        let mut rng = Rng::new(5);
        let (mut bits, mut truth) = (Bits::default(), Vec::new());
        for _ in 0..200 {
            let len = rng.below(65) as u32;
            let value = rng.next_u64() & 1u64.checked_shl(len).map_or(!0, |end| end - 1);
            bits.put(value, len);
            truth.extend((0..len).map(|at| value >> at & 1 != 0));
        }
        assert_eq!(bits.len as usize, truth.len());
        for _ in 0..500 {
            let from = rng.below(truth.len() as u64 + 1) as usize;
            let to = from + rng.below((truth.len() - from) as u64 + 1) as usize;
            let mut bytes = vec![0; truth.len() / 8 + 16];
            let mut w = BitWriter::new(&mut bytes);
            w.write(5, 3);
            bits.copy(from as u32..to as u32, &mut w);
            assert_eq!(w.bit_len(), 3 + to - from);
            let _ = w.finish();
            let mut r = BitReader::new(&bytes);
            assert_eq!(r.read(3).unwrap(), 5);
            assert!(truth[from..to].iter().all(|bit| r.read_bool().unwrap() == *bit));
        }
    }
}

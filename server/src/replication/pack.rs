//! Writes what was chosen, in the fast codec.

use netcode::bits::{BitSink, BitWriter};
use netcode::snapshot::{Ages, Codec, Header, write_age, write_codec, write_despawn, write_gap, write_header};

use super::ReplicaStats;
use super::memo::Memo;
use super::select::{Candidate, What};
use super::sent::Carried;
use super::stretch::{Run, Shared, Stretches};

/// What comes before a record's string, put together before it is written.
#[derive(Default)]
struct Head {
    value: u64,
    bits: u32,
}

impl BitSink for Head {
    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        self.value |= value << self.bits;
        self.bits += bits;
    }
}

/// A body that is being written; `carried` then says what it carries.
pub(super) struct Packing<'a, 'b> {
    pub memo: &'a mut Memo,
    pub stretches: &'a Stretches,
    pub shared: &'a Shared,
    pub ages: Ages,
    pub next_slot: u16,
    pub carried: &'a mut Vec<Carried>,
    pub stats: &'a mut ReplicaStats,
    pub w: &'a mut BitWriter<'b>,
}

impl Packing<'_, '_> {
    /// Writes the header and, by ascending slot, the candidates' own records and those that are shared.
    pub fn write(mut self, header: &Header, candidates: &[Candidate]) {
        write_codec(self.w, Codec::Fast);
        write_header(self.w, header);
        let mut runs = self.shared.runs.iter().peekable();
        for candidate in candidates {
            while let Some(run) = runs.next_if(|run| run.slots().start < candidate.slot) {
                self.run(run);
            }
            self.one(candidate);
        }
        runs.for_each(|run| self.run(run));
    }

    #[inline]
    fn one(&mut self, candidate: &Candidate) {
        let Self { memo, w, stats, .. } = self;
        let mut head = Head::default();
        write_gap(&mut head, candidate.slot - self.next_slot);
        if let What::Update { age, .. } = candidate.what {
            write_age(&mut head, age, self.ages);
        }
        self.next_slot = candidate.slot + 1;
        match candidate.what {
            What::Despawn => {
                write_despawn(&mut head);
                w.write(head.value, head.bits);
                stats.despawns += 1;
            }
            What::Spawn { known, packed, .. } => {
                memo.copy(head.value, head.bits, packed, *w);
                stats.spawns += 1;
                stats.refreshes += u64::from(known);
            }
            What::Update { packed, .. } => {
                memo.copy(head.value, head.bits, packed, *w);
                stats.updates += 1;
                stats.update_bits += u64::from(candidate.bits);
            }
        }
        self.carried.push(Carried::new(candidate.slot, matches!(candidate.what, What::Despawn)));
    }

    fn run(&mut self, run: &Run) {
        self.carried.push(Carried::run(&run.slots()));
        if run.records == 0 {
            return;
        }
        write_gap(self.w, run.first - self.next_slot);
        self.stretches.copy(self.shared, run, self.w);
        self.next_slot = run.next_slot(self.next_slot);
        self.memo.hits += u64::from(run.records);
        self.stats.updates += u64::from(run.records);
        self.stats.in_runs += u64::from(run.records);
        self.stats.update_bits += u64::from(run.record_bits);
    }
}

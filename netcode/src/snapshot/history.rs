//! The recent states of one entity: baselines for the decoder, and material for interpolation.

/// The most states that are kept. A baseline is at most 63 ticks old and each tick adds at most one state,
/// so the newest 64 always hold it.
pub(super) const MAX_ROWS: usize = super::MAX_AGE as usize + 1;

/// States that no one needs any more are dropped in lots of this size, so that most pushes move nothing.
const LOT: usize = 8;

/// One state an entity was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The tick it was received for.
    pub from: u64,
    /// The last tick it is known to have held still until; `from`, if it moved on at once.
    pub until: u64,
    /// The values of the kind's fields, in their order.
    pub fields: &'a [i32],
}

/// Words of a row before its fields: `from` in two, and for how many ticks the state held still.
const HEAD: usize = 3;

/// States in ascending order of ticks, in rows of `12 + 4 * fields` bytes side by side: a decode touches the
/// last few, which lie together.
#[derive(Debug, Default)]
pub(super) struct History {
    words: Vec<i32>,
    /// Words of one row.
    stride: usize,
}

impl History {
    /// Forgets everything; the next states have `fields` values. Keeps its memory.
    pub fn clear(&mut self, fields: usize) {
        self.words.clear();
        self.stride = HEAD + fields;
    }

    /// Adds the state at `tick`, which must be newer than all others. `state` may be longer than needed.
    pub fn push(&mut self, tick: u64, state: &[i32]) {
        if self.len() >= MAX_ROWS {
            self.drop_oldest(1);
        }
        let fields = self.stride.saturating_sub(HEAD).min(state.len());
        self.words.extend_from_slice(&[tick as i32, (tick >> 32) as i32, 0]);
        self.words.extend_from_slice(state.get(..fields).unwrap_or_default());
    }

    /// Says that the newest state held still until `tick`.
    pub fn hold_until(&mut self, tick: u64) {
        if let Some([lo, hi, still, ..]) = self.words.rchunks_exact_mut(self.stride.max(HEAD)).next() {
            let ticks = tick.saturating_sub(joined(*lo, *hi));
            *still = u32::try_from(ticks).unwrap_or(u32::MAX) as i32;
        }
    }

    /// Drops what is older than the newest state at or before `tick` (not always at once).
    pub fn prune(&mut self, tick: u64) {
        let rows = self.words.chunks_exact(self.stride.max(HEAD));
        let unneeded = rows.skip(1).take_while(|words| row(words).is_some_and(|row| row.from <= tick)).count();
        if unneeded >= LOT {
            self.drop_oldest(unneeded);
        }
    }

    fn drop_oldest(&mut self, rows: usize) {
        let words = (rows * self.stride).min(self.words.len());
        self.words.drain(..words);
    }

    fn len(&self) -> usize {
        self.words.len() / self.stride.max(HEAD)
    }

    /// The newest state at or before `tick`.
    #[inline]
    pub fn at_or_before(&self, tick: u64) -> Option<Row<'_>> {
        self.rows().find(|row| row.from <= tick)
    }

    /// The newest state.
    #[inline]
    pub fn newest(&self) -> Option<Row<'_>> {
        self.rows().next()
    }

    /// All states that are kept, newest first.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        // A history that was never cleared has no stride yet, and no rows.
        self.words.rchunks_exact(self.stride.max(HEAD)).filter_map(row)
    }
}

#[inline]
fn row(words: &[i32]) -> Option<Row<'_>> {
    let ([lo, hi, still], fields) = words.split_first_chunk()?;
    let from = joined(*lo, *hi);
    Some(Row { from, until: from.saturating_add(u64::from(*still as u32)), fields })
}

#[inline]
fn joined(lo: i32, hi: i32) -> u64 {
    u64::from(lo as u32) | u64::from(hi as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(ticks: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        history.clear(2);
        for tick in ticks {
            history.push(tick, &[tick as i32, -1, 9]);
        }
        history
    }

    #[test]
    fn a_baseline_is_the_newest_state_at_or_before_its_tick() {
        let history = history([3, 5, 9]);
        let found = |tick| history.at_or_before(tick).map(|row| row.from);
        assert_eq!([2, 3, 4, 5, 8, 9, 99].map(found), [None, Some(3), Some(3), Some(5), Some(5), Some(9), Some(9)]);
        assert_eq!(history.at_or_before(6), Some(Row { from: 5, until: 5, fields: &[5, -1] }));
    }

    #[test]
    fn the_oldest_legal_baseline_survives_without_any_prune() {
        let mut history = history([]);
        for tick in 0..1000u64 {
            if let Some(oldest) = tick.checked_sub(u64::from(crate::snapshot::MAX_AGE)) {
                assert_eq!(history.at_or_before(oldest).map(|row| row.from), Some(oldest));
            }
            history.push(tick, &[0, 0]);
            assert!(history.len() <= MAX_ROWS);
        }
    }

    #[test]
    fn a_prune_keeps_the_state_that_held_at_the_tick() {
        let mut history = history(0..40);
        history.prune(29);
        assert_eq!(history.rows().last().map(|row| row.from), Some(29));
        history.prune(33);
        assert_eq!(history.rows().last().map(|row| row.from), Some(29), "too few for a lot");
        assert_eq!(history.newest().map(|row| row.from), Some(39));
    }

    #[test]
    fn how_long_a_state_held_is_kept_with_it() {
        let mut history = history([3]);
        history.hold_until(7);
        history.push(8, &[0, 0]);
        let spans: Vec<_> = history.rows().map(|row| (row.from, row.until)).collect();
        assert_eq!(spans, [(8, 8), (3, 7)]);
    }
}

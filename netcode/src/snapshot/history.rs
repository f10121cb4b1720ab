//! The recent courses of one entity: baselines for the decoder, and material for interpolation.

/// The most courses that are kept. A baseline began at most 63 ticks ago or is the newest that began before, and each
/// tick adds at most one course, so the newest 64 always hold it.
pub(super) const MAX_ROWS: usize = super::MAX_AGE as usize + 1;

/// Courses that no one needs any more are dropped in lots of this size, so that most pushes move nothing.
const LOT: usize = 8;

/// One course of an entity: the state of one tick, and for how long what follows from it is known to be true.
///
/// Its state at a tick `t` of `from..=until` is [`extrapolate`](crate::schema::extrapolate) of the fields over
/// `t - from` ticks ([`Entity::on_course`](super::Entity::on_course)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The tick of the record that it came in.
    pub from: u64,
    /// The last tick that the entity is known to have been on this course, before the next row's `from`.
    pub until: u64,
    /// The values of the kind's fields at `from`, in their order.
    pub fields: &'a [i32],
}

/// Words of a row before its fields: `from` in two, and for how many ticks the course was followed.
const HEAD: usize = 3;

/// Courses in ascending order of ticks, in rows of `12 + 4 * fields` bytes side by side: a decode touches the
/// last few, which lie together.
#[derive(Debug, Default)]
pub(super) struct History {
    words: Vec<i32>,
    /// Words of one row.
    stride: usize,
}

impl History {
    /// Forgets everything; the next courses have `fields` values. Keeps its memory.
    pub fn clear(&mut self, fields: usize) {
        self.words.clear();
        self.stride = HEAD + fields;
    }

    /// Adds the course that begins with the state at `tick`, which must be newer than all others. `state` may be longer
    /// than needed.
    pub fn push(&mut self, tick: u64, state: &[i32]) {
        if self.len() >= MAX_ROWS {
            self.drop_oldest(1);
        }
        let fields = self.stride.saturating_sub(HEAD).min(state.len());
        self.words.extend_from_slice(&[tick as i32, (tick >> 32) as i32, 0]);
        self.words.extend_from_slice(state.get(..fields).unwrap_or_default());
    }

    /// Says that the newest course that began at or before `tick` was followed until then.
    #[inline]
    pub fn follow(&mut self, tick: u64) {
        for words in self.words.rchunks_exact_mut(self.stride.max(HEAD)) {
            if let [lo, hi, followed, ..] = words
                && let Some(ticks) = tick.checked_sub(joined(*lo, *hi))
            {
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
                *followed = ticks.max(*followed as u32) as i32;
                return;
            }
        }
    }

    /// Says that the newest course was followed until `tick`, if it had begun by then.
    #[inline]
    pub fn follow_newest(&mut self, tick: u64) {
        if self.newest().is_some_and(|row| row.from <= tick) {
            self.follow(tick);
        }
    }

    /// Drops what is older than the newest course that began at or before `tick` (not always at once).
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

    /// The newest course that began at or before `tick`.
    #[inline]
    pub fn at_or_before(&self, tick: u64) -> Option<Row<'_>> {
        self.rows().find(|row| row.from <= tick)
    }

    /// The newest course.
    #[inline]
    pub fn newest(&self) -> Option<Row<'_>> {
        self.rows().next()
    }

    /// All courses that are kept, newest first.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        // A history that was never cleared has no stride yet, and no rows.
        self.words.rchunks_exact(self.stride.max(HEAD)).filter_map(row)
    }
}

#[inline]
fn row(words: &[i32]) -> Option<Row<'_>> {
    let ([lo, hi, followed], fields) = words.split_first_chunk()?;
    let from = joined(*lo, *hi);
    Some(Row { from, until: from.saturating_add(u64::from(*followed as u32)), fields })
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
    fn a_baseline_is_the_newest_course_that_began_by_its_tick() {
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
    fn a_prune_keeps_the_course_of_the_tick() {
        let mut history = history(0..40);
        history.prune(29);
        assert_eq!(history.rows().last().map(|row| row.from), Some(29));
        history.prune(33);
        assert_eq!(history.rows().last().map(|row| row.from), Some(29), "too few for a lot");
        assert_eq!(history.newest().map(|row| row.from), Some(39));
    }

    #[test]
    fn how_long_a_course_was_followed_is_kept_with_it() {
        let mut history = history([3]);
        history.follow_newest(2);
        history.follow_newest(5);
        history.push(8, &[0, 0]);
        let spans = |history: &History| history.rows().map(|row| (row.from, row.until)).collect::<Vec<_>>();
        assert_eq!(spans(&history), [(8, 8), (3, 5)]);
        history.follow(7);
        history.follow(6);
        assert_eq!(spans(&history), [(8, 8), (3, 7)], "the longest counts");
        history.follow(2);
        history.follow_newest(7);
        assert_eq!(spans(&history), [(8, 8), (3, 7)], "nothing began by then, and the newest did not");
    }
}

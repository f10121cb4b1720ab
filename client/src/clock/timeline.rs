//! When the server's ticks are due, which may be told to take longer for a while.
//!
//! Pieces of a line that rises by a tick per period, in microseconds from tick 0. A stretch begins where the piece before it
//! is at that tick, so nothing that was measured before it is worth less after.

/// The newest pieces that are kept: what is asked for is never older than some seconds.
const PIECES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Piece {
    tick: f64,
    due: f64,
    period: f64,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    first: Piece,
    /// Ascending, at most [`PIECES`]; each holds until the next one.
    later: Vec<Piece>,
}

impl Timeline {
    /// Ticks that all take the same.
    pub fn new(period: f64) -> Self {
        Self { first: Piece { tick: 0.0, due: 0.0, period }, later: Vec::with_capacity(PIECES) }
    }

    /// From that tick on each takes that long; what was said of ticks after it is void.
    pub fn stretch(&mut self, tick: f64, period: f64) {
        self.later.retain(|piece| piece.tick < tick);
        let piece = Piece { tick, due: self.due(tick), period };
        if self.later.len() >= PIECES {
            self.first = self.later.remove(0);
        }
        self.later.push(piece);
    }

    /// When a tick is due.
    pub fn due(&self, tick: f64) -> f64 {
        let piece = self.piece(|piece| piece.tick <= tick);
        piece.due + (tick - piece.tick) * piece.period
    }

    /// Which tick is due at that time, with the fraction of it that has passed.
    pub fn tick(&self, at: f64) -> f64 {
        let piece = self.piece(|piece| piece.due <= at);
        piece.tick + (at - piece.due) / piece.period
    }

    /// What a tick takes.
    pub fn period(&self, tick: f64) -> f64 {
        self.piece(|piece| piece.tick <= tick).period
    }

    fn piece(&self, begun: impl Fn(&Piece) -> bool) -> &Piece {
        self.later.iter().rev().find(|piece| begun(piece)).unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_stretch_take_longer_and_those_before_and_after_do_not() {
        let mut line = Timeline::new(50.0);
        line.stretch(100.0, 75.0);
        line.stretch(200.0, 50.0);
        for (tick, due) in
            [(0.0, 0.0), (99.0, 4950.0), (100.0, 5000.0), (102.0, 5150.0), (200.0, 12_500.0), (201.0, 12_550.0)]
        {
            assert_eq!((line.due(tick), line.tick(due)), (due, tick));
        }
        assert_eq!([99.0, 100.0, 199.0, 200.0].map(|tick| line.period(tick)), [50.0, 75.0, 75.0, 50.0]);
    }

    #[test]
    fn a_later_word_holds_from_its_tick_on() {
        let mut line = Timeline::new(50.0);
        line.stretch(100.0, 100.0);
        line.stretch(60.0, 200.0);
        assert_eq!(line.due(110.0), 60.0 * 50.0 + 50.0 * 200.0);
    }

    #[test]
    fn a_server_that_changes_its_mind_for_ever_takes_no_more_room() {
        let mut line = Timeline::new(50.0);
        let mut due = 0.0;
        for change in 0..1000 {
            let period = if change % 2 == 0 { 100.0 } else { 50.0 };
            line.stretch(f64::from(change) * 10.0, period);
            due += 10.0 * period;
            assert_eq!(line.due(f64::from(change + 1) * 10.0), due);
        }
    }
}

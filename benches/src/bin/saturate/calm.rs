//! Whether what so many joins stirred up has settled.
//!
//! Thousands who join at once are told everything at once: for ten or twenty seconds rounds are long, and the server sheds
//! snapshots until it finds that it need not. What is measured meanwhile is no measure of what it holds.

use std::collections::VecDeque;

use crate::log::{Status, Times};

/// So many seconds in a row must be alike: more than the server takes to try whether it must shed still.
const LEVEL_S: usize = 5;
/// In these the most bytes are at most so many times the fewest, ...
const LEVEL_BYTES: f64 = 1.1;
/// ... and the longest round so many times the shortest, for rounds scatter (20 to 32 ms where nothing changes any more), ...
const LEVEL_ROUNDS: f64 = 1.5;
/// ... or by no more than so many milliseconds longer.
const LEVEL_MS: f64 = 1.0;

/// The last few seconds of the server.
#[derive(Clone, Debug, Default)]
pub struct Calm(VecDeque<Second>);

#[derive(Clone, Copy, Debug)]
struct Second {
    full_pace: bool,
    round_ms: f64,
    bytes_out: f64,
}

impl Calm {
    /// Takes another second.
    pub fn add(&mut self, status: &Status, times: &Times) {
        if self.0.len() == LEVEL_S {
            self.0.pop_front();
        }
        self.0.push_back(Second {
            full_pace: status.snapshots_every <= 1 && status.tick_percent <= 100,
            round_ms: times.round.quantile_ms(0.5),
            bytes_out: status.bytes_out as f64,
        });
    }

    /// Whether in all of them every client was sent every snapshot, and they were alike.
    pub fn is_calm(&self) -> bool {
        let bounds = |of: fn(&Second) -> f64| {
            let values = self.0.iter().map(of);
            values.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)))
        };
        let (shortest, longest) = bounds(|second| second.round_ms);
        let (least, most) = bounds(|second| second.bytes_out);
        self.0.len() == LEVEL_S
            && self.0.iter().all(|second| second.full_pace)
            && (longest <= shortest * LEVEL_ROUNDS || longest - shortest <= LEVEL_MS)
            && most <= least * LEVEL_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Line;

    /// After which of the seconds it is calm; each is what snapshots are sent every so many ticks, a round in ms, bytes.
    fn calm_after(seconds: &[(u64, u64, u64)]) -> Option<usize> {
        let mut calm = Calm::default();
        seconds.iter().position(|(every, round_ms, bytes)| {
            let status =
                format!(r#"{{"message":"status","snapshots_every":{every},"tick_percent":100,"bytes_out":{bytes}}}"#);
            let times = format!(r#"{{"message":"times","round_us":"{}:20"}}"#, round_ms * 1000);
            let (Some(Line::Status(status)), Some(Line::Times(times))) = (Line::parse(&status), Line::parse(&times))
            else {
                panic!("{status} {times}")
            };
            calm.add(&status, &times);
            calm.is_calm()
        })
    }

    #[test]
    fn five_seconds_alike_are_calm() {
        assert_eq!(calm_after(&[(1, 20, 1000); 10]), Some(4));
        assert_eq!(calm_after(&[(1, 20, 1000); 4]), None);
        let scatter = [(1, 22, 1000), (1, 31, 1040), (1, 27, 990), (1, 30, 1010), (1, 24, 1000)];
        assert_eq!(calm_after(&scatter), Some(4));
        assert_eq!(calm_after(&[(1, 1, 100), (1, 2, 100), (1, 1, 105), (1, 2, 100), (1, 1, 100)]), Some(4));
    }

    #[test]
    fn a_server_that_sheds_is_not_calm_however_level_it_is() {
        assert_eq!(calm_after(&[(2, 20, 1000); 40]), None);
        let late = [&[(4, 10, 500); 9][..], &[(2, 20, 700); 9], &[(1, 30, 1000); 9]].concat();
        assert_eq!(calm_after(&late), Some(22));
        // As seen with 3,700 players: it tries, and sheds again.
        let tries = [(2, 20, 249), (1, 22, 286), (1, 25, 360), (1, 25, 347), (1, 42, 346), (2, 41, 319), (2, 28, 249)];
        assert_eq!(calm_after(&tries), None);
    }

    #[test]
    fn while_everybody_is_told_everything_it_is_not_calm() {
        // A fifth less each second, down to what it comes to.
        let rounds: Vec<_> =
            [100, 80, 64, 51, 41, 33, 26, 21].into_iter().chain([20; 12]).map(|ms| (1, ms, 1000)).collect();
        assert_eq!(calm_after(&rounds), Some(10));
        let bytes: Vec<_> = (0..20).map(|at| (1, 20, 1200.max(4800 - 300 * at.min(12)))).collect();
        assert_eq!(calm_after(&bytes), Some(16));
    }

    #[test]
    fn a_line_without_its_pace_is_no_reason_to_wait() {
        let mut calm = Calm::default();
        (0..5).for_each(|_| calm.add(&Status::default(), &Times::default()));
        assert!(calm.is_calm());
    }
}

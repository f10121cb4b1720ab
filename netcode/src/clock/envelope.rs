//! Offset and drift from the packets that waited least: a line under the one-way differences of either direction.
//!
//! What a request measures, `up = server receives − client sends`, is delay + waiting + offset; what its reply measures,
//! `down = client receives − server sends`, is delay + waiting − offset. Waiting is never negative, so the lowest points
//! of both tell most. NTP (RFC 5905, section 10) trusts the one exchange with the least round trip; taking the minima of
//! the directions apart gains much under jitter, since hardly any exchange is lucky both ways: of n exchanges with
//! uniform jitter J the luckiest round trip has waited about J·√(2/n), the luckiest packets of either direction J/n.
//!
//! Over a minute the clocks drift apart by more than that, so the minima are lines: `offset + slope · t` below all `up`,
//! and its mirror image below all `down`, as high as they go in sum (the linear program of Moon, Skelly and Towsley,
//! INFOCOM 1999, for both directions at once). The best slope is found by bisection; a prior holds it where the
//! exchanges say little.

use std::collections::VecDeque;

/// The most exchanges that are kept: what the clock's schedule gives in [`WINDOW_MICROS`], and some.
const MAX_SAMPLES: usize = 1024;
/// How long an exchange counts.
const WINDOW_MICROS: i64 = 60_000_000;

/// Two exchanges of one minute differ by the longest wait and some drift at the most. What differs by more has no place
/// in one window, and all sums over one fit 64 bits.
const MAX_DISAGREEMENT: u64 = 11_000_000;

/// Slopes are in units of 2^-22, about a quarter of a ppm.
pub(super) const SLOPE_BITS: u32 = 22;
/// No honest clock is further off: 620 ppm.
const MAX_SLOPE: i64 = 2600;
/// How well the slope is known before anything is measured (300 ppm), and on a new path of a known clock (20 ppm).
const UNKNOWN_SLOPE: i64 = 1258;
const KNOWN_SLOPE: i64 = 84;
/// Exchanges over this time are enough to know the slope.
const SLOPE_MICROS: i64 = 15_000_000;
/// Slopes looked at on either side of the likeliest, up to one that is 2^-8 times as likely.
const STEPS: i64 = 12;
const UNLIKELY: i64 = 8 * 1024;

/// One exchange; times in µs of the client's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When the request was sent, and how much later (on the server's clock) it was received.
    pub up_at: i64,
    pub up: i64,
    /// When the reply was received, and how much earlier (on the server's clock) it was sent.
    pub down_at: i64,
    pub down: i64,
}

impl Sample {
    /// Round-trip time without the server's hold.
    pub const fn round_trip(&self) -> i64 {
        self.up + self.down
    }
}

/// What the exchanges say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    at: i64,
    offset: i64,
    /// How much faster the server's clock goes.
    pub slope: i64,
    /// The round-trip time of a packet that waits nowhere.
    pub floor: i64,
    /// What the exchanges took longer than that, on the average.
    pub spread: i64,
    pub samples: usize,
}

impl Fit {
    /// The server's clock minus the client's, when the client's shows `now`.
    pub const fn offset(&self, now: i64) -> i64 {
        self.offset.saturating_add(drifted(self.slope, now.saturating_sub(self.at)))
    }
}

/// What a slope makes of `micros`.
pub(super) const fn drifted(slope: i64, micros: i64) -> i64 {
    ((slope as i128 * micros as i128) >> SLOPE_BITS) as i64
}

/// The exchanges of the last minute on the current path.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    samples: VecDeque<Sample>,
    /// The slope known from an earlier path.
    prior: Option<i64>,
    /// The points of either direction that a line can touch; kept for their memory.
    up: Vec<Point>,
    down: Vec<Point>,
}

/// One direction of an exchange: its time, counted from the newest exchange, and the difference measured.
#[derive(Clone, Copy, Debug)]
struct Point {
    time: i64,
    height: i64,
}

impl Envelope {
    /// Takes an exchange, unless it cannot be of the same clocks as the oldest that is kept. Whether it was taken.
    pub fn push(&mut self, sample: Sample) -> bool {
        let expired = |old: &Sample| sample.down_at.saturating_sub(old.down_at) > WINDOW_MICROS;
        while self.samples.front().is_some_and(expired) || self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        if self.samples.front().is_some_and(|old| old.up.abs_diff(sample.up) > MAX_DISAGREEMENT) {
            return false;
        }
        self.samples.push_back(sample);
        true
    }

    /// How many exchanges there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The path has changed at `since`: forgets what was measured on the old one, except for the slope.
    pub fn restart(&mut self, since: i64, fit: &Fit) {
        let first = self.samples.front().map_or(since, |first| first.up_at);
        if since.saturating_sub(first) >= SLOPE_MICROS {
            self.prior = Some(fit.slope);
        }
        self.samples.retain(|sample| sample.up_at >= since);
    }

    /// The line that all exchanges together speak for; `None` while there are none.
    pub fn fit(&mut self) -> Option<Fit> {
        let at = self.samples.back()?.down_at;
        let up = |sample: &Sample| Point { time: sample.up_at - at, height: sample.up };
        let down = |sample: &Sample| Point { time: sample.down_at - at, height: sample.down };
        keep_lowest(&mut self.up, self.samples.iter().map(up));
        keep_lowest(&mut self.down, self.samples.iter().map(down));
        let problem = Problem::new(self);
        let best = problem.likeliest();
        let top = problem.lines(best);
        let likelihood = problem.likelihood(best, &top);
        // The likeliest slope lies at an edge of what is possible; the mean of all slopes, each weighted by its
        // likelihood, errs less.
        let (mut weights, mut slopes, mut offsets) = (0, 0, 0);
        for side in [-1, 1] {
            let step = problem.step(best, likelihood, side);
            for count in 0..STEPS {
                let slope = (best + side * step * count).clamp(-MAX_SLOPE, MAX_SLOPE);
                let lines = problem.lines(slope);
                // The middle belongs to both sides, to each with one half.
                let share = if count == 0 { step } else { 2 * step };
                let weight = share * weight(likelihood.saturating_sub(problem.likelihood(slope, &lines)));
                weights += weight;
                slopes += weight * (slope - best);
                offsets += weight * (lines.double_offset() - top.double_offset());
            }
        }
        let weights = weights.max(1);
        let floor = top.up + top.down;
        Some(Fit {
            at,
            offset: (top.double_offset() + offsets / weights) / 2,
            slope: best + slopes / weights,
            floor,
            spread: (problem.mean - floor).max(0),
            samples: self.samples.len(),
        })
    }
}

/// The lines of one slope: their heights at the newest exchange, and the times at which they touch a point.
struct Lines {
    up: i64,
    up_touches: i64,
    down: i64,
    down_touches: i64,
}

impl Lines {
    const fn double_offset(&self) -> i64 {
        self.up - self.down
    }
}

/// How likely a slope is, under waits that are distributed exponentially: `count · (sum of both lines' heights at their
/// exchanges' mean times) / wait − (slope − prior)² / (2 · sigma²)`, a concave function.
struct Problem<'a> {
    up: &'a [Point],
    down: &'a [Point],
    /// How many exchanges there are.
    count: i64,
    /// The mean round-trip time, and the mean of the time between the two ends of an exchange, which is negative.
    mean: i64,
    mean_gap: i64,
    /// The mean time that a packet waits, twice: for waits that are not exponential but uniform, the least of them are
    /// half as frequent, and to believe the exchanges too little costs less than to believe them too much.
    wait: i64,
    prior: i64,
    sigma: i64,
}

impl<'a> Problem<'a> {
    fn new(envelope: &'a Envelope) -> Self {
        let Envelope { samples, prior, up, down } = envelope;
        let count = samples.len().max(1) as i64;
        let (mut sum, mut least, mut gaps) = (0, i64::MAX, 0);
        for sample in samples {
            sum += sample.round_trip();
            least = least.min(sample.round_trip());
            gaps += sample.up_at - sample.down_at;
        }
        let (mean, mean_gap) = (sum / count, gaps / count);
        let (prior, sigma) = prior.map_or((0, UNKNOWN_SLOPE), |slope| (slope, KNOWN_SLOPE));
        Self { up, down, count, mean, mean_gap, wait: (mean - least).max(1), prior, sigma }
    }

    /// The slope of the greatest likelihood, by bisection over the sign of its derivative.
    fn likeliest(&self) -> i64 {
        let (mut low, mut high) = (-MAX_SLOPE, MAX_SLOPE);
        while low < high {
            let slope = (low + high).div_euclid(2);
            let lines = self.lines(slope);
            let gain = self.count * (lines.down_touches - lines.up_touches + self.mean_gap) * self.sigma * self.sigma;
            let cost = ((slope - self.prior) << SLOPE_BITS) * self.wait;
            if gain > cost {
                low = slope + 1;
            } else {
                high = slope;
            }
        }
        low
    }

    /// The logarithm of the likelihood, less a constant, in units of 1/1024 of a power of two.
    fn likelihood(&self, slope: i64, lines: &Lines) -> i64 {
        // 1024 / ln 2
        const SCALE: i64 = 1477;
        let heights = lines.up + lines.down + ((slope * self.mean_gap) >> SLOPE_BITS);
        let off = slope - self.prior;
        heights.saturating_mul(self.count * SCALE) / self.wait - off * off * SCALE / (2 * self.sigma * self.sigma)
    }

    /// How far apart slopes on one side of the best are to be looked at, so that [`STEPS`] of them reach the unlikely.
    fn step(&self, best: i64, likelihood: i64, side: i64) -> i64 {
        let mut step = 1;
        while step < MAX_SLOPE / STEPS {
            let slope = (best + side * step * STEPS).clamp(-MAX_SLOPE, MAX_SLOPE);
            if likelihood.saturating_sub(self.likelihood(slope, &self.lines(slope))) > UNLIKELY {
                break;
            }
            step *= 2;
        }
        step
    }

    fn lines(&self, slope: i64) -> Lines {
        let mut lines = Lines { up: i64::MAX, up_touches: 0, down: i64::MAX, down_touches: 0 };
        // Within the window slope · time fits 64 bits by far.
        for point in self.up {
            let height = point.height - ((slope * point.time) >> SLOPE_BITS);
            if height < lines.up {
                (lines.up, lines.up_touches) = (height, point.time);
            }
        }
        for point in self.down {
            let height = point.height + ((slope * point.time) >> SLOPE_BITS);
            if height < lines.down {
                (lines.down, lines.down_touches) = (height, point.time);
            }
        }
        lines
    }
}

/// Keeps the points that a line of any slope can touch: those that lie in the cone above another one never do. Of some
/// hundred points some dozens are left, which makes the search that follows cheap.
fn keep_lowest(kept: &mut Vec<Point>, points: impl Iterator<Item = Point>) {
    let hidden = |point: &Point, by: &Point| {
        point.height >= by.height.saturating_add((MAX_SLOPE * (point.time - by.time).abs()) >> SLOPE_BITS)
    };
    kept.clear();
    for point in points {
        while kept.last().is_some_and(|last| hidden(last, &point)) {
            kept.pop();
        }
        if !kept.last().is_some_and(|last| hidden(&point, last)) {
            kept.push(point);
        }
    }
}

/// 2^(16 − less / 1024), with a straight line between whole powers.
const fn weight(less: i64) -> i64 {
    if less >= 16 * 1024 {
        return 0;
    }
    let less = if less > 0 { less } else { 0 };
    ((2048 - (less & 1023)) << 5) >> (less >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_is_not_kept_touches_no_line() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            // In the order of arrival, which is not quite that of time.
            let mut time = -60_000_000;
            let points: Vec<Point> = (0..500)
                .map(|_| {
                    time += rng.below(120_000) as i64;
                    Point { time: time - rng.below(400_000) as i64, height: rng.below(20_000) as i64 }
                })
                .collect();
            let mut kept = Vec::new();
            keep_lowest(&mut kept, points.iter().copied());
            assert!(kept.len() <= 100, "{}", kept.len());
            for _ in 0..50 {
                let slope = rng.below(2 * MAX_SLOPE as u64 + 1) as i64 - MAX_SLOPE;
                let lowest = |points: &[Point]| {
                    points.iter().map(|point| point.height - ((slope * point.time) >> SLOPE_BITS)).min()
                };
                let (all, some) = (lowest(&points).unwrap(), lowest(&kept).unwrap());
                // The cone and the line are each rounded.
                assert!((all..=all + 2).contains(&some), "seed {seed}: {some} instead of {all}");
            }
        }
    }

    #[test]
    fn weights_halve_with_each_1024() {
        assert_eq!((weight(-5), weight(0), weight(1024), weight(10 * 1024)), (1 << 16, 1 << 16, 1 << 15, 1 << 6));
        assert_eq!((weight(i64::MAX), weight(i64::MIN)), (0, 1 << 16));
        assert!((0..17_000).all(|less| weight(less) >= weight(less + 1)));
    }

    #[test]
    fn without_waiting_the_line_is_exact() {
        let mut envelope = Envelope::default();
        for count in 0..400 {
            let at = count * 100_000;
            let offset = |at: i64| 7_000_000 + drifted(1000, at);
            envelope.push(Sample {
                up_at: at,
                up: 30_000 + offset(at),
                down_at: at + 70_000,
                down: 40_000 - offset(at + 70_000),
            });
        }
        let fit = envelope.fit().unwrap();
        assert!((fit.slope - 1000).abs() <= 2, "{}", fit.slope);
        let expected = 7_000_000 + drifted(1000, 50_000_000) - 5_000;
        assert!((fit.offset(50_000_000) - expected).abs() <= 20, "{} for {expected}", fit.offset(50_000_000));
        assert!((fit.floor - 70_000).abs() <= 60 && fit.spread <= 60, "{fit:?}");
    }
}

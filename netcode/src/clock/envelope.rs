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
const MAX_SAMPLES: usize = 512;
/// How long an exchange counts.
const WINDOW_MICROS: u64 = 60_000_000;

/// Slopes are in units of 2^-22, about a quarter of a ppm.
pub(super) const SLOPE_BITS: u32 = 22;
/// No honest clock is further off: 620 ppm.
const MAX_SLOPE: i64 = 2600;
/// How well the slope is known before anything is measured (300 ppm), and on a new path of a known clock (20 ppm).
const UNKNOWN_SLOPE: i64 = 1258;
const KNOWN_SLOPE: i64 = 84;
/// Exchanges over this time are enough to know the slope.
const SLOPE_MICROS: u64 = 15_000_000;

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
}

/// The lines of one slope: their heights at the newest exchange, and the times at which they touch a point.
struct Lines {
    up: i64,
    up_touches: i64,
    down: i64,
    down_touches: i64,
}

impl Envelope {
    pub fn push(&mut self, sample: Sample) {
        let expired = |old: &Sample| sample.down_at.saturating_sub(old.down_at) > WINDOW_MICROS as i64;
        while self.samples.front().is_some_and(expired) || self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The path has changed at `since`: forgets what was measured on the old one, except for the slope.
    pub fn restart(&mut self, since: i64, fit: &Fit) {
        let first = self.samples.front().map_or(since, |first| first.up_at);
        if since.saturating_sub(first) >= SLOPE_MICROS as i64 {
            self.prior = Some(fit.slope);
        }
        self.samples.retain(|sample| sample.up_at >= since);
    }

    /// The best line of all exchanges; `None` while there are none.
    pub fn fit(&self) -> Option<Fit> {
        let at = self.samples.back()?.down_at;
        let count = self.samples.len() as i64;
        let (mut longest, mut least, mut mean_gap) = (0, i64::MAX, 0);
        for sample in &self.samples {
            longest += sample.round_trip();
            least = least.min(sample.round_trip());
            mean_gap += sample.up_at - sample.down_at;
        }
        let (mean, mean_gap) = (longest / count, mean_gap / count);
        let wait = ((mean - least) / 2).max(1);
        // Maximises `count · (sum of both heights at their mean times) / wait − (slope − prior)² / (2 · sigma²)`, the
        // likelihood under waits of that mean. It is concave, so the sign of its derivative leads to the maximum.
        let (prior, sigma) = self.prior.map_or((0, UNKNOWN_SLOPE), |slope| (slope, KNOWN_SLOPE));
        let (mut low, mut high) = (-MAX_SLOPE, MAX_SLOPE);
        while low < high {
            let slope = (low + high).div_euclid(2);
            let lines = self.lines(at, slope);
            let gain = count * (lines.down_touches - lines.up_touches + mean_gap) * sigma * sigma;
            let cost = ((slope - prior) << SLOPE_BITS) * wait;
            if gain > cost {
                low = slope + 1;
            } else {
                high = slope;
            }
        }
        let lines = self.lines(at, low);
        let floor = lines.up + lines.down;
        Some(Fit {
            at,
            offset: (lines.up - lines.down) / 2,
            slope: low,
            floor,
            spread: (mean - floor).max(0),
            samples: self.samples.len(),
        })
    }

    fn lines(&self, at: i64, slope: i64) -> Lines {
        let mut lines = Lines { up: i64::MAX, up_touches: 0, down: i64::MAX, down_touches: 0 };
        for sample in &self.samples {
            // Within the window slope · time fits 64 bits by far.
            let (up_time, down_time) = (sample.up_at - at, sample.down_at - at);
            let up = sample.up - ((slope * up_time) >> SLOPE_BITS);
            let down = sample.down + ((slope * down_time) >> SLOPE_BITS);
            if up < lines.up {
                (lines.up, lines.up_touches) = (up, up_time);
            }
            if down < lines.down {
                (lines.down, lines.down_touches) = (down, down_time);
            }
        }
        lines
    }
}

//! How early an input must leave so that it is in time: what the way to the server takes, and how often it fails.
//!
//! A snapshot acknowledges a packet and says for how long the server had it by then. So the moment at which that packet
//! arrived is known on the server's own scale, its ticks, whatever the two directions of the path take: no symmetry is
//! assumed. Nearly the latest of the last arrivals, after the time that the packet was sent at, is what the way takes
//! with its jitter.
//!
//! Each packet repeats the inputs before. An input is late when all packets that hold it and leave early enough are lost,
//! so their number follows the measured loss: the least `n` whose `p^n` is one input in fourteen hours at most. Where two
//! are not enough, each packet is sent again within the tick, where ticks are long up to twice: that costs packets of some
//! 50 bytes, and inputs need to leave half or a third as much earlier.
//!
//! At first nothing is known, and being early costs little: a loss of 5 % is assumed (on a good path 2 seconds bring it
//! below 1 %), and to what the round trip suggests and what has been measured comes a *doubt*, which fades within the first
//! seconds of measuring, slowly enough that the pace of the inputs follows.

use super::window::Window;

/// So many inputs a second may be late: one in fourteen hours, or in a million ticks at 20 Hz.
const LATE_PER_S: f64 = 2e-5;
/// Below this loss two packets are enough.
const RARE: f64 = 0.002;
/// The loss assumed at first, the packets that this counts for, and the packets that the estimate looks back on.
const FIRST_LOSS: f64 = 0.05;
const FIRST_PACKETS: f64 = 16.0;
const MEMORY: f64 = 512.0;
/// The most packets that one input is counted on.
const MAX_PACKETS: u8 = 8;
/// The most packets of one tick, and the least time between two, in microseconds: what is lost together is lost within some
/// milliseconds.
const MAX_COPIES: u8 = 3;
const LEAST_GAP: f64 = 7500.0;
/// What an input has in hand beyond what was measured, in microseconds and in ticks: the server's own time between taking
/// the inputs and saying so.
const SPARE_US: f64 = 3000.0;
const SPARE_TICKS: f64 = 0.05;
/// The most jitter that is waited for, and the most that a caller who comes late is allowed for, in microseconds.
const MAX_JITTER: f64 = 250_000.0;
const MAX_LAG: f64 = 250_000.0;
/// What is allowed at first for jitter that has not shown yet, in microseconds and in ticks at most (at 128 Hz the server
/// takes nothing that is more than 250 ms early), and how long after the first measurement it is gone, in microseconds: it
/// falls by 2 %, less than the pace of the inputs may change.
///
/// With 30 ms of jitter either way and a loss of 5 % no input of the first seconds was late in 4,000 joins at 20 to 128 Hz;
/// with 60 ms of doubt some were in 4 of them, with 20 ms in 216.
const DOUBT: f64 = 80_000.0;
const DOUBT_TICKS: f64 = 8.0;
const DOUBTFUL: f64 = 4_000_000.0;
/// What a late input adds in ticks, per tick that it was late; at most; and what each snapshot takes off again.
const RAISE: f64 = 0.5;
const RAISE_LIMIT: f64 = 2.0;
const LOWER: f64 = 0.0025;

/// The doubt at first, in microseconds.
fn doubt(period: f64) -> f64 {
    DOUBT.min(DOUBT_TICKS * period)
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    period: f64,
    /// Packets of a tick, where two ticks' are not enough.
    most_copies: u8,
    /// Arrival at the server minus sending, by the server's ticks and the client's clock, in microseconds.
    ways: Window,
    /// How late the caller comes to what is due, in microseconds.
    lags: Window,
    /// When the way was first measured, and what is allowed for its not being known well yet.
    measured_at: Option<f64>,
    doubt: f64,
    loss: f64,
    counted: f64,
    settled: (u64, u64),
    packets: u8,
    /// Ticks added since inputs were late.
    extra: f64,
}

impl Upstream {
    pub fn new(period: f64) -> Self {
        let mut new = Self {
            period,
            most_copies: ((period / LEAST_GAP) as u8).clamp(1, MAX_COPIES),
            ways: Window::new(),
            lags: Window::new(),
            measured_at: None,
            doubt: doubt(period),
            loss: FIRST_LOSS,
            counted: FIRST_PACKETS,
            settled: (0, 0),
            packets: 0,
            extra: 0.0,
        };
        new.count_on();
        new
    }

    /// What a tick takes by now, in microseconds.
    pub const fn set_period(&mut self, period: f64) {
        self.period = period;
    }

    /// A packet arrived by the server's ticks that much after it was sent by the client's clock, as is known at `now`.
    pub fn on_arrival(&mut self, now: f64, way: f64) {
        self.ways.push(now, way);
        let since = now - *self.measured_at.get_or_insert(now);
        self.doubt = doubt(self.period) * (1.0 - since / DOUBTFUL).max(0.0);
    }

    /// The caller came that late to an input that was due.
    pub fn on_lag(&mut self, now: f64, lag: f64) {
        self.lags.push(now, lag.clamp(0.0, MAX_LAG));
    }

    /// So many packets were acknowledged and lost by now, since the start.
    pub fn on_settled(&mut self, acked: u64, lost: u64) {
        let new = [acked.saturating_sub(self.settled.0), lost.saturating_sub(self.settled.1)];
        self.settled = (acked.max(self.settled.0), lost.max(self.settled.1));
        for (count, outcome) in new.into_iter().zip([0.0, 1.0]) {
            for _ in 0..count.min(MEMORY as u64) {
                self.counted = (self.counted + 1.0).min(MEMORY);
                self.loss += (outcome - self.loss) / self.counted;
            }
        }
        if new != [0, 0] {
            self.count_on();
        }
    }

    /// What the newest input had in hand, in ticks, when the server reported.
    pub fn on_margin(&mut self, margin: f64) {
        let raise = if margin < 0.0 { -margin * RAISE } else { -LOWER };
        self.extra = (self.extra + raise).clamp(0.0, RAISE_LIMIT);
    }

    /// On how many packets one input must be able to count.
    fn count_on(&mut self) {
        let late = LATE_PER_S * self.period / 1e6;
        let enough = |packets: u8, loss: f64| {
            if packets == 2 { loss <= RARE } else { (0..packets).fold(1.0, |all, _| all * loss) <= late }
        };
        let needed = |loss: f64| (2..MAX_PACKETS).find(|packets| enough(*packets, loss)).unwrap_or(MAX_PACKETS);
        let now = needed(self.loss);
        // Fewer only when it is clear, so that noise of the estimate does not move the clock.
        if now > self.packets || needed(self.loss * 1.25) < self.packets {
            self.packets = now;
        }
    }

    /// How many packets of each tick are sent, evenly over it.
    pub const fn copies(&self) -> u8 {
        if self.packets > 2 { self.most_copies } else { 1 }
    }

    /// By how many ticks the first packet must leave before the last one that may.
    fn spread(&self) -> f64 {
        f64::from(self.packets.saturating_sub(1)) / f64::from(self.copies())
    }

    /// What to add to the client's clock for the time by the server's ticks that an input which leaves now is in time for,
    /// in microseconds; `guess` is the way as the round trip suggests it.
    pub fn lead(&self, guess: f64) -> f64 {
        let slowest = match (self.ways.high(1), self.ways.low()) {
            (Some(high), Some(low)) if self.doubt == 0.0 => high.min(low + MAX_JITTER),
            (Some(high), _) => high.max(guess),
            _ => guess,
        };
        let lag = self.lags.high(1).unwrap_or(0.0);
        slowest + self.doubt + lag + SPARE_US + (SPARE_TICKS + self.spread() + self.extra) * self.period
    }

    /// The jitter of the way, in microseconds.
    #[cfg(test)]
    pub fn jitter(&self) -> f64 {
        self.ways.high(1).zip(self.ways.low()).map_or(0.0, |(high, low)| high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: f64 = 50_000.0;

    /// After two thousand packets of which a little less than that share was lost, evenly.
    fn after_loss(rate: u16, percent: u64) -> Upstream {
        let mut upstream = Upstream::new(1e6 / f64::from(rate));
        for packet in 1..=2000 {
            let lost = packet * percent / 110;
            upstream.on_settled(packet - lost, lost);
        }
        upstream
    }

    /// The same, when doubt is over: the way takes nothing, without jitter.
    fn calm() -> Upstream {
        let mut upstream = after_loss(20, 0);
        for second in 0..=4 {
            upstream.on_arrival(f64::from(second) * 1e6, 0.0);
        }
        upstream
    }

    #[test]
    fn the_packets_to_count_on_follow_the_loss() {
        let packets = |percent| after_loss(20, percent).packets;
        assert_eq!([0, 2, 4, 7, 20, 60].map(packets), [2, 4, 5, 6, 8, 8]);
        assert_eq!(after_loss(20, 0).spread(), 1.0);
        let spread = |rate| (after_loss(rate, 5).spread() * 6.0).round() as u8;
        assert_eq!([20, 30, 40, 60, 64, 128].map(spread), [8, 8, 8, 12, 12, 30], "sent thrice a tick, twice, once");
    }

    #[test]
    fn it_starts_careful_and_comes_down_within_seconds() {
        let mut upstream = Upstream::new(PERIOD);
        assert_eq!((upstream.packets, upstream.copies()), (5, 3));
        upstream.on_settled(80, 0);
        assert_eq!((upstream.packets, upstream.copies()), (3, 3));
        upstream.on_settled(500, 0);
        assert_eq!((upstream.packets, upstream.copies()), (2, 1));
    }

    #[test]
    fn doubt_fades_with_the_time_of_measuring_slower_than_inputs_may_follow() {
        for rate in [20, 60, 128] {
            let mut upstream = after_loss(rate, 0);
            let (guessed, mut before) = (upstream.lead(5000.0), upstream.lead(0.0));
            assert_eq!(guessed, before + 5000.0);
            for tick in 0..i32::from(rate) * 5 {
                let now = f64::from(tick) * 1e6 / f64::from(rate);
                upstream.on_arrival(9e6 + now, 0.0);
                let lead = upstream.lead(0.0);
                assert!(lead <= before && before - lead < 0.03e6 / f64::from(rate), "{rate} Hz: {before} {lead}");
                before = lead;
            }
            assert!((guessed - 5000.0 - before - doubt(upstream.period)).abs() < 1.0);
            assert_eq!(upstream.lead(1e9), before, "nobody asks for guesses any more");
        }
    }

    #[test]
    fn the_lead_is_the_slow_ways_but_not_the_slowest() {
        let mut upstream = after_loss(20, 0);
        let spare = SPARE_US + (1.0 + SPARE_TICKS) * PERIOD;
        assert_eq!(upstream.lead(-7.0), spare + DOUBT - 7.0, "nothing is known yet");
        for i in 0..100 {
            upstream.on_arrival(f64::from(i) * PERIOD, 1000.0 + f64::from(i % 10) * 100.0);
        }
        upstream.on_arrival(100.0 * PERIOD, 90_000.0);
        assert_eq!(upstream.lead(0.0), spare + 1900.0);
        assert_eq!(upstream.jitter(), 900.0);
        upstream.on_arrival(101.0 * PERIOD, 900_000.0);
        upstream.on_arrival(102.0 * PERIOD, 900_000.0);
        assert_eq!(upstream.lead(0.0), spare + 1000.0 + MAX_JITTER, "there is a limit to patience");
    }

    #[test]
    fn who_calls_late_leaves_earlier() {
        let mut upstream = calm();
        let calm = upstream.lead(0.0);
        for tick in 0..10 {
            upstream.on_lag(f64::from(tick) * PERIOD, 16_000.0);
        }
        assert_eq!(upstream.lead(0.0), calm + 16_000.0);
    }

    #[test]
    fn late_inputs_make_it_leave_earlier_for_a_while() {
        let mut upstream = calm();
        let calm = upstream.lead(0.0);
        upstream.on_margin(-2.0);
        assert!((upstream.lead(0.0) - calm - PERIOD).abs() < 1.0);
        upstream.on_margin(-100.0);
        assert!((upstream.lead(0.0) - calm - RAISE_LIMIT * PERIOD).abs() < 1.0);
        for _ in 0..800 {
            upstream.on_margin(1.0);
        }
        assert!((upstream.lead(0.0) - calm).abs() < 1.0);
    }
}

//! How early an input must leave so that it is in time: what the way to the server takes, and how often it fails.
//!
//! A snapshot acknowledges a packet and says for how long the server had it by then. So the moment at which that packet
//! arrived is known on the server's own scale, its ticks, whatever the two directions of the path take: no symmetry is
//! assumed. Nearly the latest of the last arrivals, after the time that the packet was sent at, is what the way takes
//! with its jitter.
//!
//! Each packet repeats the inputs before. An input is late when all packets that hold it and leave early enough are lost,
//! so their number follows the measured loss: the least `n` with `p^n <= 1e-6`. Where two are not enough, each packet is
//! sent again half a tick later: that costs a packet of some 50 bytes, and halves how much earlier inputs must leave.
//! At first a loss of 5 % is assumed; on a good path 2 seconds bring it below 1 %.

use super::window::Window;

/// An input may be late one time in a million.
const LATE: f64 = 1e-6;
/// Below this loss two packets are enough.
const RARE: f64 = 0.002;
/// The loss assumed at first, the packets that this counts for, and the packets that the estimate looks back on.
const FIRST_LOSS: f64 = 0.05;
const FIRST_PACKETS: f64 = 16.0;
const MEMORY: f64 = 512.0;
/// The most packets that one input is counted on.
const MAX_PACKETS: u8 = 8;
/// Up to this rate packets are sent twice where that helps; with faster ticks the next one is not far.
const TWICE_UP_TO_HZ: u16 = 64;
/// What an input has in hand beyond what was measured, in microseconds and in ticks: the server's own time between taking
/// the inputs and saying so.
const SPARE_US: f64 = 3000.0;
const SPARE_TICKS: f64 = 0.05;
/// The most jitter that is waited for, and the most that a caller who comes late is allowed for, in microseconds.
const MAX_JITTER: f64 = 250_000.0;
const MAX_LAG: f64 = 250_000.0;
/// Measurements replace what the round trip suggests when there are so many.
const SETTLED: usize = 8;
/// What a late input adds in ticks, per tick that it was late; at most; and what each snapshot takes off again.
const RAISE: f64 = 0.5;
const RAISE_LIMIT: f64 = 2.0;
const LOWER: f64 = 0.0025;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    period: f64,
    may_double: bool,
    /// Arrival at the server minus sending, by the server's ticks and the client's clock, in microseconds.
    ways: Window,
    /// How late the caller comes to what is due, in microseconds.
    lags: Window,
    loss: f64,
    counted: f64,
    settled: (u64, u64),
    packets: u8,
    /// Ticks added since inputs were late.
    extra: f64,
}

impl Upstream {
    pub fn new(period: f64, rate: u16) -> Self {
        let mut new = Self {
            period,
            may_double: rate <= TWICE_UP_TO_HZ,
            ways: Window::new(),
            lags: Window::new(),
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

    /// A packet arrived by the server's ticks that much after it was sent by the client's clock.
    pub fn on_arrival(&mut self, way: f64) {
        self.ways.push(way);
    }

    /// The caller came that late to an input that was due.
    pub fn on_lag(&mut self, lag: f64) {
        self.lags.push(lag.clamp(0.0, MAX_LAG));
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
        let enough = |packets: u8, loss: f64| {
            if packets == 2 { loss <= RARE } else { (0..packets).fold(1.0, |all, _| all * loss) <= LATE }
        };
        let needed = |loss: f64| (2..MAX_PACKETS).find(|packets| enough(*packets, loss)).unwrap_or(MAX_PACKETS);
        let now = needed(self.loss);
        // Fewer only when it is clear, so that noise of the estimate does not move the clock.
        if now > self.packets || needed(self.loss * 1.25) < self.packets {
            self.packets = now;
        }
    }

    /// Whether each packet is sent again half a tick later.
    pub const fn doubles(&self) -> bool {
        self.may_double && self.packets > 2
    }

    /// By how many ticks the first packet must leave before the last one that may.
    fn spread(&self) -> f64 {
        f64::from(self.packets.saturating_sub(1)) / if self.doubles() { 2.0 } else { 1.0 }
    }

    /// What to add to the client's clock for the time by the server's ticks that an input which leaves now is in time for,
    /// in microseconds; `guess` is the way as the round trip suggests it.
    pub fn lead(&self, guess: f64) -> f64 {
        let slowest = match (self.ways.high(1), self.ways.low()) {
            (Some(high), Some(low)) if self.ways.len() >= SETTLED => high.min(low + MAX_JITTER),
            (Some(high), _) => high.max(guess),
            _ => guess,
        };
        let lag = self.lags.high(1).unwrap_or(0.0);
        slowest + lag + SPARE_US + (SPARE_TICKS + self.spread() + self.extra) * self.period
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
        let mut upstream = Upstream::new(1e6 / f64::from(rate), rate);
        for packet in 1..=2000 {
            let lost = packet * percent / 110;
            upstream.on_settled(packet - lost, lost);
        }
        upstream
    }

    #[test]
    fn the_packets_to_count_on_follow_the_loss() {
        let packets = |percent| after_loss(20, percent).packets;
        assert_eq!([0, 2, 4, 7, 20, 60].map(packets), [2, 4, 5, 6, 8, 8]);
        assert_eq!(after_loss(20, 0).spread(), 1.0);
        assert_eq!(after_loss(20, 5).spread(), 2.0, "sent twice a tick");
        assert_eq!(after_loss(128, 5).spread(), 4.0, "ticks are short enough");
    }

    #[test]
    fn it_starts_careful_and_comes_down_within_seconds() {
        let mut upstream = Upstream::new(PERIOD, 20);
        assert_eq!(upstream.spread(), 2.0);
        upstream.on_settled(80, 0);
        assert_eq!((upstream.spread(), upstream.doubles()), (1.0, true));
        upstream.on_settled(500, 0);
        assert_eq!((upstream.spread(), upstream.doubles()), (1.0, false));
    }

    #[test]
    fn the_lead_is_the_slow_ways_but_not_the_slowest() {
        let mut upstream = after_loss(20, 0);
        let spare = SPARE_US + (1.0 + SPARE_TICKS) * PERIOD;
        assert_eq!(upstream.lead(-7.0), spare - 7.0, "nothing is known yet");
        for i in 0..100 {
            upstream.on_arrival(1000.0 + f64::from(i % 10) * 100.0);
        }
        upstream.on_arrival(90_000.0);
        assert_eq!(upstream.lead(0.0), spare + 1900.0);
        assert_eq!(upstream.jitter(), 900.0);
        upstream.on_arrival(900_000.0);
        upstream.on_arrival(900_000.0);
        assert_eq!(upstream.lead(0.0), spare + 1000.0 + MAX_JITTER, "there is a limit to patience");
    }

    #[test]
    fn who_calls_late_leaves_earlier() {
        let mut upstream = after_loss(20, 0);
        let calm = upstream.lead(0.0);
        for _ in 0..10 {
            upstream.on_lag(16_000.0);
        }
        assert_eq!(upstream.lead(0.0), calm + 16_000.0);
    }

    #[test]
    fn late_inputs_make_it_leave_earlier_for_a_while() {
        let mut upstream = after_loss(20, 0);
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

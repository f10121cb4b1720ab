//! One direction between two hosts: what may happen to a datagram there, and what does.

use core::time::Duration;
use std::net::SocketAddr;

use super::Stats;
use crate::rng::Rng;
use crate::time::Time;

/// The most bytes that corruption appends.
const MAX_EXTENSION: u64 = 64;

/// What a directed link does to datagrams. The default is a perfect link: no delay, no fault, no limit.
///
/// Chances are probabilities, 0 to 1, drawn for each datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// Time from the end of transmission to arrival.
    pub delay: Duration,
    /// Added to the delay: uniform between zero and this. It reorders, if datagrams follow closer.
    pub jitter: Duration,
    /// Chance to be lost, independent of the neighbours.
    pub loss: f64,
    /// Chance that a burst begins (Gilbert–Elliott); in a burst everything is lost.
    pub burst_enter: f64,
    /// Chance that a burst ends; so `1 / burst_exit` datagrams is its mean length.
    pub burst_exit: f64,
    /// Chance to arrive twice; the copy has a jitter of its own and is never corrupted.
    pub duplicate: f64,
    /// Chance to be held back by `reorder_delay`.
    pub reorder: f64,
    /// How long a datagram that is held back arrives later.
    pub reorder_delay: Duration,
    /// Chance to be corrupted: a bit flipped, cut short, extended, or spliced with an earlier datagram.
    pub corrupt: f64,
    /// Bytes of datagrams (without UDP and IP headers) that leave each second; no limit if `None`.
    pub rate_bytes_per_s: Option<u32>,
    /// Bytes that may wait for the rate limit, the datagram being transmitted included; what comes then
    /// is dropped. A lone datagram always passes.
    pub queue_bytes: u32,
    /// Bytes of the longest datagram that passes (without UDP and IP headers); longer ones vanish without a word, as
    /// where a path drops what it cannot fragment. No limit if `None`.
    pub mtu: Option<u16>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst_enter: 0.0,
            burst_exit: 1.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::ZERO,
            corrupt: 0.0,
            rate_bytes_per_s: None,
            queue_bytes: 64 * 1024,
            mtu: None,
        }
    }
}

/// What becomes of one datagram sent.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// When it arrives, and as what.
    pub original: Option<(Time, Vec<u8>)>,
    /// When an intact copy arrives.
    pub copy: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Link {
    /// `None`: as the emulator's default says.
    pub config: Option<LinkConfig>,
    jitter: Rng,
    loss: Rng,
    burst: Rng,
    duplicate: Rng,
    reorder: Rng,
    corrupt: Rng,
    in_burst: bool,
    /// When the last datagram accepted has left the queue.
    busy_until: Time,
    /// The datagram sent before, to splice with; kept only where corruption is on.
    earlier: Vec<u8>,
}

impl Link {
    pub fn new(rng: &Rng, from: SocketAddr, to: SocketAddr) -> Self {
        let rng = rng.fork(&format!("{from}>{to}"));
        Self {
            config: None,
            jitter: rng.fork("jitter"),
            loss: rng.fork("loss"),
            burst: rng.fork("burst"),
            duplicate: rng.fork("duplicate"),
            reorder: rng.fork("reorder"),
            corrupt: rng.fork("corrupt"),
            in_burst: false,
            busy_until: Time::ZERO,
            earlier: Vec::new(),
        }
    }

    /// Back to the default configuration, out of any burst.
    pub fn reset(&mut self) {
        self.config = None;
        self.in_burst = false;
        self.busy_until = Time::ZERO;
    }

    /// Decides what becomes of a datagram sent now, and counts it.
    pub fn decide(&mut self, now: Time, sent: &[u8], default: &LinkConfig, blocked: bool, stats: &mut Stats) -> Fate {
        let config = self.config.unwrap_or(*default);
        // All draws come first and always, so that no fault shifts the stream of another.
        let jitter = uniform(&mut self.jitter, config.jitter);
        let lost = self.loss.chance(config.loss);
        let in_burst = self.step_burst(&config);
        let duplicated = self.duplicate.chance(config.duplicate);
        let copy_jitter = uniform(&mut self.duplicate, config.jitter);
        let reordered = self.reorder.chance(config.reorder);
        let corrupted = self.corrupt.chance(config.corrupt);
        let damaged = corrupted.then(|| self.damage(sent));
        self.remember(sent, &config);

        if blocked {
            stats.blocked += 1;
            return Fate::default();
        }
        if config.mtu.is_some_and(|mtu| sent.len() > usize::from(mtu)) {
            stats.too_long += 1;
            return Fate::default();
        }
        let Some(departure) = self.transmit(now, sent.len(), &config) else {
            stats.queue_full += 1;
            return Fate::default();
        };
        if in_burst || lost {
            *(if in_burst { &mut stats.lost_in_burst } else { &mut stats.lost }) += 1;
            return Fate::default();
        }
        let arrival = departure + config.delay;
        let held = if reordered { config.reorder_delay } else { Duration::ZERO };
        stats.reordered += u64::from(reordered);
        stats.duplicated += u64::from(duplicated);
        let bytes = match damaged {
            Some((damage, bytes)) => {
                damage.count(stats);
                bytes
            }
            None => sent.to_vec(),
        };
        Fate { original: Some((arrival + jitter + held, bytes)), copy: duplicated.then_some(arrival + copy_jitter) }
    }

    /// One transition of the Gilbert–Elliott chain; whether this datagram falls into a burst.
    fn step_burst(&mut self, config: &LinkConfig) -> bool {
        let turn = self.burst.chance(if self.in_burst { config.burst_exit } else { config.burst_enter });
        self.in_burst ^= turn;
        self.in_burst
    }

    /// When a datagram has left the queue; `None` if it finds the queue full.
    fn transmit(&mut self, now: Time, len: usize, config: &LinkConfig) -> Option<Time> {
        let Some(rate) = config.rate_bytes_per_s else { return Some(now) };
        let rate = u128::from(rate.max(1));
        let backlog_us = self.busy_until.saturating_since(now).as_micros();
        let backlog = (backlog_us * rate).div_ceil(1_000_000);
        if backlog > 0 && backlog + len as u128 > u128::from(config.queue_bytes) {
            return None;
        }
        let micros = u64::try_from((len as u128 * 1_000_000).div_ceil(rate)).unwrap_or(u64::MAX);
        self.busy_until = now.max(self.busy_until) + Duration::from_micros(micros);
        Some(self.busy_until)
    }

    fn remember(&mut self, sent: &[u8], config: &LinkConfig) {
        self.earlier.clear();
        if config.corrupt > 0.0 {
            self.earlier.extend_from_slice(sent);
        }
    }

    /// A damaged copy of what was sent, which always differs from it.
    fn damage(&mut self, sent: &[u8]) -> (Damage, Vec<u8>) {
        let rng = &mut self.corrupt;
        let mut bytes = sent.to_vec();
        let damage = match rng.below(4) {
            _ if sent.is_empty() => Damage::Extend,
            0 => Damage::Flip,
            1 => Damage::Truncate,
            2 => Damage::Extend,
            _ => Damage::Splice,
        };
        match damage {
            Damage::Flip => flip(rng, &mut bytes),
            Damage::Truncate => bytes.truncate(rng.below(sent.len() as u64) as usize),
            Damage::Extend => {
                let more = 1 + rng.below(MAX_EXTENSION) as usize;
                bytes.resize(sent.len() + more, 0);
                rng.fill(&mut bytes[sent.len()..]);
            }
            Damage::Splice => {
                let cut = rng.below(sent.len() as u64) as usize;
                // Drawn always: whether the splice changes anything depends on the bytes, which are ciphertext and
                // differ between runs of one seed, so neither the draws nor the counters may depend on it.
                let bit = rng.below(sent.len() as u64 * 8) as usize;
                bytes.truncate(cut);
                bytes.extend(self.earlier.iter().skip(cut));
                if bytes == sent {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
        (damage, bytes)
    }
}

/// The ways to corrupt a datagram.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Truncate,
    Extend,
    Splice,
}

impl Damage {
    fn count(self, stats: &mut Stats) {
        *match self {
            Self::Flip => &mut stats.flipped,
            Self::Truncate => &mut stats.truncated,
            Self::Extend => &mut stats.extended,
            Self::Splice => &mut stats.spliced,
        } += 1;
    }
}

/// Flips one bit of bytes that are not empty.
fn flip(rng: &mut Rng, bytes: &mut [u8]) {
    let bit = rng.below(bytes.len() as u64 * 8) as usize;
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// A time between zero and `max`, both included, in whole microseconds; always one draw.
fn uniform(rng: &mut Rng, max: Duration) -> Duration {
    let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_micros(rng.below(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let host = |port| SocketAddr::from(([10, 0, 0, 1], port));
        Link::new(&Rng::new(5), host(1), host(2))
    }

    #[test]
    fn damage_always_changes_the_bytes() {
        let mut link = link();
        for len in [0, 1, 2, 100] {
            let sent = vec![7; len];
            // An earlier datagram with the same bytes is the worst case: a splice changes nothing.
            link.earlier.clone_from(&sent);
            for _ in 0..200 {
                assert_ne!(link.damage(&sent).1, sent);
            }
        }
    }

    #[test]
    fn a_lone_datagram_passes_a_queue_that_is_too_small_for_it() {
        let config = LinkConfig { rate_bytes_per_s: Some(1_000_000), queue_bytes: 10, ..LinkConfig::default() };
        let mut link = link();
        assert_eq!(link.transmit(Time::ZERO, 100, &config), Some(Time::from_micros(100)));
        assert_eq!(link.transmit(Time::ZERO, 1, &config), None);
        assert_eq!(link.transmit(Time::from_micros(100), 100, &config), Some(Time::from_micros(200)));
    }

    #[test]
    fn more_loss_does_not_move_the_jitter() {
        let clean = LinkConfig { jitter: Duration::from_millis(50), ..LinkConfig::default() };
        let arrivals = |config: &LinkConfig| {
            let mut link = link();
            let mut stats = Stats::default();
            let mut decide = |_| link.decide(Time::ZERO, &[1], config, false, &mut stats).original;
            (0..200).map(|i| decide(i).map(|(at, _)| at)).collect::<Vec<_>>()
        };
        let all = arrivals(&clean);
        let some = arrivals(&LinkConfig { loss: 0.5, duplicate: 0.5, corrupt: 0.5, ..clean });
        assert!(all.iter().zip(&some).all(|(a, b)| b.is_none() || a == b));
        assert!(some.iter().flatten().count() < 150);
    }
}

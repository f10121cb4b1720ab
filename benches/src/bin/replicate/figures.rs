//! From samples to figures.

use netcode::packet::MAX_DATAGRAM;
use serde_json::{Map, Value, json};
use server::replication::ReplicaStats;

use crate::screen::Screen;
use crate::setup::Setup;
use crate::witness::Seen;
use crate::worker::STEPS;

/// What one tick took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub step: f64,
    pub push: f64,
    pub acks: f64,
    /// All steps of all clients, laps not counted.
    pub send: f64,
    /// The steps apart, where they were timed.
    pub laps: Option<[f64; STEPS]>,
}

impl Sample {
    fn whole(&self) -> f64 {
        self.step + self.push + self.acks + self.send
    }
}

/// Datagrams by length, and the most that a client got in a second.
pub struct Traffic {
    lengths: Vec<u64>,
    second: Vec<u64>,
    most: u64,
}

impl Traffic {
    pub fn new(clients: u16) -> Self {
        Self { lengths: vec![0; MAX_DATAGRAM + 1], second: vec![0; usize::from(clients)], most: 0 }
    }

    /// The datagrams of a tick, by client; 0 for who had none.
    pub fn add(&mut self, lens: &[u16]) {
        for (len, second) in lens.iter().zip(&mut self.second).filter(|(len, _)| **len > 0) {
            self.lengths[usize::from(*len)] += 1;
            *second += u64::from(*len);
        }
    }

    /// A second is over.
    pub fn end_second(&mut self) {
        self.most = self.second.iter().copied().fold(self.most, u64::max);
        self.second.fill(0);
    }

    fn count(&self) -> u64 {
        self.lengths.iter().sum()
    }

    fn mean(&self) -> f64 {
        let bytes: u64 = (0..).zip(&self.lengths).map(|(len, count)| len * count).sum();
        bytes as f64 / self.count().max(1) as f64
    }

    /// The shortest of the longest hundredth.
    fn p99(&self) -> f64 {
        let mut left = self.count().div_ceil(100).max(1);
        let longest = self.lengths.iter().enumerate().rev().find(|(_, count)| {
            let found = **count >= left;
            left = left.saturating_sub(**count);
            found
        });
        longest.map_or(0.0, |(len, _)| len as f64)
    }
}

/// A run, measured.
pub struct Figures {
    pub setup: Setup,
    pub clients: u16,
    pub settle_ticks: u64,
    pub samples: Vec<Sample>,
    /// Ticks in which everything that recurs does.
    pub block: u64,
    pub traffic: Traffic,
    pub body_bytes: u64,
    /// Counters before and after.
    pub stats: [ReplicaStats; 2],
    pub seen: Seen,
    pub screen: Screen,
    /// Entities known to all clients together, on average.
    pub known: f64,
    /// Clients in a crowd at the end.
    pub crowded: usize,
    /// Bytes of the clients, and of what is nobody's own.
    pub memory: [usize; 2],
}

impl Figures {
    /// A figure by name; NaN if there is none of that name.
    pub fn get(&self, name: &str) -> f64 {
        self.all().into_iter().find(|(other, _)| *other == name).map_or(f64::NAN, |(_, value)| value)
    }

    /// All figures by name.
    pub fn all(&self) -> Vec<(&'static str, f64)> {
        [self.costs(), self.sizes(), self.service()].concat()
    }

    /// One JSON object.
    pub fn json(&self) -> Value {
        let rounded = self.all().into_iter().map(|(name, value)| (name.to_owned(), json!((value * 1e4).round() / 1e4)));
        let mut object: Map<String, Value> = rounded.collect();
        let Setup { players, scenario, codec, rate, every, aoi_radius_m, seed, rtt_ms, loss, seconds, .. } = self.setup;
        let Value::Object(run) = json!({
            "players": players, "clients": self.clients, "scenario": scenario.name(), "codec": codec.name(),
            "rate": rate, "every": every, "aoi_radius": aoi_radius_m, "seed": seed, "rtt_ms": rtt_ms, "loss": loss,
            "seconds": seconds,
        }) else {
            unreachable!("it is an object");
        };
        object.extend(run);
        Value::Object(object)
    }

    /// Of each block of ticks the mean, of these the median: neither what recurs every few ticks is missed, nor does it
    /// count when the machine did something else for a moment.
    fn typical(&self, value: impl Fn(&[Sample]) -> f64) -> f64 {
        let block = usize::try_from(self.block).unwrap_or(usize::MAX).clamp(1, self.samples.len().max(1));
        median(self.samples.chunks_exact(block).map(value).collect())
    }

    fn costs(&self) -> Vec<(&'static str, f64)> {
        let micros = 1.0 / 1000.0 / f64::from(self.clients.max(1));
        let each = |value: fn(&Sample) -> f64| self.typical(|block| mean(block.iter().map(value))) * micros;
        let [aoi, priority, pack, seal] =
            [0, 1, 2, 3].map(|step| self.typical(|block| part_of_send(block, step)) * micros);
        let (push, acks) = (each(|s| s.push), each(|s| s.acks));
        let whole: Vec<f64> = self.samples.iter().map(|sample| sample.whole() / 1e6).collect();
        let step = self.typical(|block| mean(block.iter().map(|s| s.step))) / 1000.0;
        vec![
            ("us_per_client_tick", push + acks + aoi + priority + pack + seal),
            ("push", push),
            ("acks", acks),
            ("aoi", aoi),
            ("priority", priority),
            ("pack", pack),
            ("seal", seal),
            ("aoi_priority_pack", aoi + priority + pack),
            ("step_us_per_player", step / f64::from(self.setup.players)),
            ("tick_ms", self.typical(|block| mean(block.iter().map(Sample::whole))) / 1e6),
            ("tick_ms_p95", quantile(whole.clone(), 0.95)),
            ("tick_ms_max", quantile(whole, 1.0)),
        ]
    }

    fn sizes(&self) -> Vec<(&'static str, f64)> {
        let [before, after] = self.stats;
        let snapshots = ratio(after.snapshots - before.snapshots, 1).max(1.0);
        let updates = after.updates - before.updates;
        let (shared, made) = (after.shared - before.shared, after.made - before.made);
        vec![
            ("datagram_bytes_mean", self.traffic.mean()),
            ("datagram_bytes_p99", self.traffic.p99()),
            ("body_bytes_mean", self.body_bytes as f64 / snapshots),
            ("bytes_per_s_max", self.traffic.most as f64),
            ("bits_per_update", ratio(after.update_bits - before.update_bits, updates)),
            ("updates_per_client_tick", updates as f64 / snapshots),
            ("spawns_per_client_tick", (after.spawns - before.spawns) as f64 / snapshots),
            ("despawns_per_client_tick", (after.despawns - before.despawns) as f64 / snapshots),
            ("shared", ratio(shared, shared + made)),
            ("cut", (after.cut - before.cut) as f64 / snapshots),
            ("looks_per_client_tick", (after.looks - before.looks) as f64 / snapshots),
        ]
    }

    fn service(&self) -> Vec<(&'static str, f64)> {
        let clients = f64::from(self.clients.max(1));
        let [own, shared] = self.memory.map(|bytes| bytes as f64 / clients);
        let seen = &self.seen;
        vec![
            ("visible", self.known / clients - 1.0),
            ("crowded", self.crowded as f64 / clients),
            ("known_bytes", own),
            ("shared_bytes", shared),
            ("near_turned", ratio(seen.near_turned, seen.snapshots)),
            ("near_full_rate", ratio(seen.near_full, seen.snapshots)),
            ("near_told_rate", if seen.near_turned == 0 { 1.0 } else { ratio(seen.near_told, seen.near_turned) }),
            ("refresh_worst_s", seen.worst_wait as f64 / f64::from(self.setup.rate)),
            ("wrong_worst_s", seen.worst_wrong as f64 / f64::from(self.setup.rate)),
            ("shown_m_mean", self.screen.shown.mean()),
            ("shown_m_p99", self.screen.shown.quantile(0.99)),
            ("held_m_mean", self.screen.held.mean()),
            ("held_m_p99", self.screen.held.quantile(0.99)),
            ("compared", seen.compared as f64),
            ("settle_s", self.settle_ticks as f64 / f64::from(self.setup.rate)),
        ]
    }
}

/// Nanoseconds of one step: its share of the laps, of the time that all took in ticks without laps.
fn part_of_send(block: &[Sample], step: usize) -> f64 {
    let laps = |step: usize| -> f64 { block.iter().filter_map(|sample| sample.laps).map(|laps| laps[step]).sum() };
    let all: f64 = (0..STEPS).map(laps).sum();
    let unlapped = block.iter().filter(|sample| sample.laps.is_none());
    mean(unlapped.map(|sample| sample.send)) * laps(step) / all.max(1.0)
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of all does not exceed; of an even number of values the upper middle one at a half.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(send: f64, laps: Option<[f64; STEPS]>) -> Sample {
        Sample { step: 0.0, push: 0.0, acks: 0.0, send, laps }
    }

    #[test]
    fn laps_only_divide_what_was_timed_without_them() {
        let block = [sample(100.0, None), sample(900.0, Some([10.0, 20.0, 10.0, 0.0])), sample(300.0, None)];
        assert_eq!([0, 1, 2, 3].map(|step| part_of_send(&block, step)), [50.0, 100.0, 50.0, 0.0]);
    }

    #[test]
    fn traffic_knows_its_mean_its_longest_and_the_worst_second() {
        let mut traffic = Traffic::new(2);
        (0..98).for_each(|_| traffic.add(&[40, 60]));
        traffic.end_second();
        traffic.add(&[100, 1000]);
        traffic.add(&[100, 1000]);
        traffic.end_second();
        assert_eq!(traffic.mean(), (98.0 * 100.0 + 2200.0) / 200.0);
        assert_eq!((traffic.p99(), traffic.most), (1000.0, 98 * 60));
        assert_eq!(Traffic::new(0).p99(), 0.0);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = vec![4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|share| quantile(values.clone(), share)), [1.0, 3.0, 4.0, 4.0]);
        assert_eq!(quantile(Vec::new(), 0.5), 0.0);
    }
}

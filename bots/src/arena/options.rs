//! What a seed decides before anything happens.

use core::time::Duration;
use std::fmt;

use netcode::channel::MAX_SNAPSHOT;
use netcode::emulator::LinkConfig;
use netcode::keys::KeyLimits;
use netcode::packet::{BASE_DATAGRAM, MAX_DATAGRAM};
use netcode::rng::Rng;

use super::tight::Tight;
use crate::behavior::Behavior;

/// What is asked for; all the rest follows from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many clients.
    pub clients: usize,
    /// How long the safety phase lasts, in virtual seconds.
    pub seconds: u32,
    /// Whether there are faults and churn; without, it is the calm arena that benches use.
    pub faults: bool,
    /// A mistake that the checkers must find, to test them.
    pub planted: Option<Planted>,
}

impl Options {
    /// With faults, without a planted mistake.
    #[must_use]
    pub const fn new(seed: u64, clients: usize, seconds: u32) -> Self {
        Self { seed, clients, seconds, faults: true, planted: None }
    }
}

/// A mistake made on purpose: in what a checker compares with, or where the ends meet the network or the zone, as if one of
/// them made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The truth about x is off by one quantum in every fiftieth tick.
    TruthAltered,
    /// The area of interest is a third smaller than the server's.
    AreaTooSmall,
    /// The area of interest is a third larger than the server's.
    AreaTooLarge,
    /// Some datagrams that were sealed are taken for forged.
    SealForgotten,
    /// The server does not follow a client whose address changes.
    MovesIgnored,
    /// Clients do not show their key phase.
    PhaseForgotten,
    /// The server repeats its answers to a HELLO without being asked.
    AnswersRepeated,
    /// The zone is not told who leaves.
    LeavesLost,
    /// The server may send more bytes in a snapshot than it should.
    BudgetRaised,
    /// A client that joins is told that another's entity is its own.
    OwnersMixed,
    /// What was sent last is taken for acknowledged.
    AcksEarly,
    /// A shard misses a frame and takes the next one for its successor.
    FrameLost,
    /// Everybody is to be up to date within a fraction of the time that the server takes.
    Impatient,
    /// The server is not told who belongs together.
    PinsLost,
    /// Weapons are taken to be half as fast as they are.
    CooldownsLong,
    /// Some of what players are told once is not passed on.
    EventsLost,
    /// Some of it is passed on twice.
    EventsRepeated,
    /// The zone takes some inputs for their mirror images.
    InputsMirrored,
    /// A piece of the zone's log is lost.
    LogCut,
}

/// Partitions: from time to time some clients are cut off for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// Mean time between two.
    pub every: Duration,
    /// The longest one.
    pub longest: Duration,
}

/// Hostile clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hostile {
    /// Their share of all clients.
    pub share: f64,
    /// Chance of a datagram to be copied by one that copies.
    pub copy: f64,
    /// Chance of one that replays to do so in a tick.
    pub replay: f64,
    /// Datagrams of junk that one that floods sends in a tick.
    pub junk_per_tick: u64,
}

/// What the seed drew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Ticks a second.
    pub rate: u16,
    /// Shards, 1 or 2.
    pub shards: u8,
    /// Non-player characters.
    pub npcs: u32,
    /// The map's half extent in metres.
    pub half_extent_m: u16,
    /// Static boxes on it.
    pub boxes: u32,
    /// Gates on it.
    pub gates: u32,
    /// Ramps on it.
    pub ramps: u32,
    /// How far the others are set back for a shot at most, in milliseconds.
    pub max_rewind_ms: u16,
    /// Radius of the area of interest in metres.
    pub aoi_radius_m: u16,
    /// The most bytes of a snapshot.
    pub snapshot_bytes: u16,
    /// What else makes replication hard.
    pub tight: Tight,
    /// What every link does.
    pub link: LinkConfig,
    /// Clients cut off from time to time.
    pub partitions: Option<Partitions>,
    /// Mean time between two NATs that rebind.
    pub rebinds: Option<Duration>,
    /// Mean time between two changes of the longest datagram that paths carry, which is [`LinkConfig::mtu`] at first.
    pub mtu_changes: Option<Duration>,
    /// Packets after which the server's and the clients' keys roll.
    pub key_rolls: Option<[u64; 2]>,
    /// Clients that mean harm.
    pub hostile: Option<Hostile>,
    /// Chances of a client to wander, circle, idle; the others churn.
    pub behaviors: [f64; 3],
    /// Shares of the wanderers that fight and crowd instead.
    pub restless: [f64; 2],
}

/// Half extent of a map on which all are in one place, in metres.
const DENSE_HALF_EXTENT_M: u16 = 32;
/// The most that datagrams may be late for [`Drawn::shows_fairly`].
const FAIR_JITTER: Duration = Duration::from_millis(50);
/// The usual limit of how far others are set back for a shot, in milliseconds.
const MAX_REWIND_MS: u16 = 250;
/// The most gates, and ramps, on a map.
const MOST_SCENERY: u64 = 30;
/// A delay that even a good network has.
const CALM_DELAY: Duration = Duration::from_millis(10);

/// The link of the phase without faults.
#[must_use]
pub fn calm() -> LinkConfig {
    LinkConfig { delay: CALM_DELAY, ..LinkConfig::default() }
}

impl Drawn {
    /// Draws from the seed.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let root = Rng::new(options.seed);
        let mut rng = root.fork("options");
        let rate = [20, 20, 20, 30][rng.below(4) as usize];
        let shards = 1 + rng.below(2) as u8;
        let npcs = rng.below(options.clients as u64 + 20) as u32;
        let aoi_radius_m = 20 + rng.below(45) as u16;
        // So large a map that a client sees that many others, if all are spread evenly.
        let seen = log_uniform(&mut rng, 4.0, 60.0);
        let all = options.clients as f64 + f64::from(npcs);
        let radius = f64::from(aoi_radius_m);
        let half = (all * core::f64::consts::PI * radius * radius / seen).sqrt() / 2.0;
        let half_extent_m = half.clamp(32.0, 500.0) as u16;
        // A world allows one for each 16 m by 16 m.
        let cells = u64::from(half_extent_m / 8) * u64::from(half_extent_m / 8);
        let boxes = rng.below(cells.min(200) + 1) as u32;
        let snapshot_bytes = if rng.chance(0.3) { 200 + rng.below(300) as u16 } else { 1100 };
        let mut drawn = Self {
            rate,
            shards,
            npcs,
            half_extent_m,
            boxes,
            gates: 0,
            ramps: 0,
            max_rewind_ms: MAX_REWIND_MS,
            aoi_radius_m,
            snapshot_bytes,
            tight: Tight::default(),
            link: calm(),
            partitions: None,
            rebinds: None,
            mtu_changes: None,
            key_rolls: None,
            hostile: None,
            behaviors: [0.7, 0.3, 0.0],
            restless: [0.0, 0.0],
        };
        drawn.draw_scenery(&mut root.fork("scenery"));
        if options.faults {
            drawn.draw_faults(&mut root.fork("faults"));
            drawn.draw_mtu(&mut root.fork("mtu"));
            drawn.draw_key_rolls(&mut root.fork("key rolls"));
            drawn.draw_hostile(&mut root.fork("hostile"));
            drawn.draw_restless(&mut root.fork("restless"));
            drawn.draw_tight(&mut root.fork("tight"));
        }
        drawn
    }

    /// Gates and ramps on some of the ground that boxes leave.
    fn draw_scenery(&mut self, rng: &mut Rng) {
        let cells = u64::from(self.half_extent_m / 8) * u64::from(self.half_extent_m / 8);
        let mut some = |taken: u32| rng.below((cells - u64::from(taken)).min(MOST_SCENERY) + 1) as u32;
        self.gates = some(self.boxes);
        self.ramps = some(self.boxes + self.gates);
    }

    /// A random subset of all faults, each at a rate drawn from a logarithmic scale: mild and terrible ones are equally
    /// likely, and so are combinations.
    fn draw_faults(&mut self, rng: &mut Rng) {
        let mut link = LinkConfig { delay: millis(log_uniform(rng, 1.0, 150.0)), ..LinkConfig::default() };
        if rng.chance(0.5) {
            link.loss = log_uniform(rng, 0.001, 0.3);
        }
        if rng.chance(0.3) {
            link.burst_enter = log_uniform(rng, 0.0005, 0.02);
            link.burst_exit = log_uniform(rng, 0.05, 0.5);
        }
        if rng.chance(0.4) {
            link.duplicate = log_uniform(rng, 0.001, 0.5);
        }
        if rng.chance(0.4) {
            link.reorder = log_uniform(rng, 0.001, 0.3);
            link.reorder_delay = millis(log_uniform(rng, 5.0, 500.0));
        }
        if rng.chance(0.5) {
            link.jitter = millis(log_uniform(rng, 1.0, 100.0));
        }
        if rng.chance(0.4) {
            link.corrupt = log_uniform(rng, 0.0005, 0.1);
        }
        if rng.chance(0.35) {
            link.rate_bytes_per_s = Some(log_uniform(rng, 600.0, 30_000.0) as u32);
            link.queue_bytes = log_uniform(rng, 1_200.0, 6_000.0) as u32;
        }
        self.link = link;
        if rng.chance(0.4) {
            let every = millis(log_uniform(rng, 2_000.0, 20_000.0));
            self.partitions = Some(Partitions { every, longest: millis(log_uniform(rng, 200.0, 12_000.0)) });
        }
        if rng.chance(0.3) {
            self.rebinds = Some(millis(log_uniform(rng, 300.0, 10_000.0)));
        }
        let churn = if rng.chance(0.5) { rng.unit_f64() * 0.6 } else { 0.0 };
        let idle = rng.unit_f64() * (1.0 - churn) * 0.4;
        let circle = rng.unit_f64() * (1.0 - churn - idle) * 0.5;
        self.behaviors = [1.0 - churn - idle - circle, circle, idle];
    }

    /// A path that carries no more than what it must, or a little more, or all, and that changes.
    fn draw_mtu(&mut self, rng: &mut Rng) {
        if rng.chance(0.4) {
            self.link.mtu = Some(draw_mtu(rng));
            self.mtu_changes = Some(millis(log_uniform(rng, 1_000.0, 20_000.0)));
            // Snapshots as long as can be, so that it matters what the path carries.
            self.snapshot_bytes = if self.snapshot_bytes == 1100 { MAX_SNAPSHOT as u16 } else { self.snapshot_bytes };
        }
    }

    fn draw_key_rolls(&mut self, rng: &mut Rng) {
        if rng.chance(0.5) {
            self.key_rolls = Some([(); 2].map(|()| log_uniform(rng, 50.0, 500.0) as u64));
        }
    }

    fn draw_hostile(&mut self, rng: &mut Rng) {
        if rng.chance(0.35) {
            self.hostile = Some(Hostile {
                share: rng.unit_f64() * 0.3,
                copy: log_uniform(rng, 0.01, 0.5),
                replay: log_uniform(rng, 0.01, 1.0),
                junk_per_tick: log_uniform(rng, 1.0, 10.0) as u64,
            });
        }
    }

    fn draw_tight(&mut self, rng: &mut Rng) {
        self.tight = Tight::draw(rng);
        if self.tight.dense {
            self.half_extent_m = DENSE_HALF_EXTENT_M;
            // A map so small has sixteen cells.
            (self.boxes, self.gates, self.ramps) = (self.boxes.min(4), self.gates.min(4), self.ramps.min(4));
            self.restless = [0.7, 0.2];
        }
    }

    fn draw_restless(&mut self, rng: &mut Rng) {
        if rng.chance(0.4) {
            let both = rng.unit_f64();
            let fight = rng.unit_f64() * both;
            self.restless = [fight, both - fight];
        }
    }

    /// When an end rolls its keys: the server is 0, clients are 1.
    #[must_use]
    pub fn key_limits(&self, end: usize) -> KeyLimits {
        let packets = self.key_rolls.and_then(|rolls| rolls.get(end).copied());
        let defaults = KeyLimits::default();
        KeyLimits { packets: packets.unwrap_or(defaults.packets), ..defaults }
    }

    /// Whether the links are good enough for a connection never to be given up, as long as nobody cuts it off.
    #[must_use]
    pub fn is_mild(&self) -> bool {
        let link = &self.link;
        link.loss <= 0.05 && link.burst_enter == 0.0 && link.corrupt <= 0.02 && link.rate_bytes_per_s.is_none()
    }

    /// Whether acknowledgements come so well that no honest client may be refused for when it saw others.
    #[must_use]
    pub fn shows_fairly(&self) -> bool {
        let late = self.link.jitter > FAIR_JITTER || self.link.reorder > 0.0 && self.link.reorder_delay > FAIR_JITTER;
        let cut = self.partitions.is_some() || self.rebinds.is_some() || self.mtu_changes.is_some();
        let strange = self.hostile.is_some() || self.tight.misses > 0.0 || self.tight.possessions.is_some();
        self.is_mild() && !late && !cut && !strange
    }

    /// How a client plays.
    #[must_use]
    pub fn behavior(&self, rng: &mut Rng) -> Behavior {
        let mut at = rng.unit_f64();
        let [wander, circle, idle] = self.behaviors;
        let shares = [
            (wander * self.restless[0], Behavior::Fight),
            (wander * self.restless[1], Behavior::Crowd),
            (wander * (1.0 - self.restless[0] - self.restless[1]), Behavior::Wander),
            (circle, Behavior::Circle),
            (idle, Behavior::Idle),
        ];
        for (share, behavior) in shares {
            if at < share {
                return behavior;
            }
            at -= share;
        }
        if wander + circle + idle > 0.999 { Behavior::Wander } else { Behavior::Churn }
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, shards, npcs, half_extent_m, boxes, gates, ramps, aoi_radius_m, snapshot_bytes, .. } = self;
        write!(
            f,
            "rate {rate} Hz, shards {shards}, npcs {npcs}, half extent {half_extent_m} m, boxes {boxes}, \
             gates {gates}, ramps {ramps}, aoi {aoi_radius_m} m, snapshot {snapshot_bytes} B, {}; ",
            self.tight
        )?;
        let LinkConfig { delay, jitter, loss, burst_enter, burst_exit, duplicate, .. } = self.link;
        write!(
            f,
            "delay {delay:.1?}, jitter {jitter:.1?}, loss {loss:.4}, burst {burst_enter:.4}/{burst_exit:.3}, \
             duplicate {duplicate:.4}, "
        )?;
        let LinkConfig { reorder, reorder_delay, corrupt, rate_bytes_per_s, queue_bytes, .. } = self.link;
        write!(f, "reorder {reorder:.4} by {reorder_delay:.1?}, corrupt {corrupt:.4}")?;
        if let Some(rate) = rate_bytes_per_s {
            write!(f, ", rate {rate} B/s with {queue_bytes} B of queue")?;
        }
        if let Some(Partitions { every, longest }) = self.partitions {
            write!(f, ", partitions every {every:.1?} up to {longest:.1?}")?;
        }
        if let Some(every) = self.rebinds {
            write!(f, ", rebinds every {every:.1?}")?;
        }
        if let (Some(mtu), Some(every)) = (self.link.mtu, self.mtu_changes) {
            write!(f, ", mtu {mtu} B and another every {every:.1?}")?;
        }
        if let Some([server, client]) = self.key_rolls {
            write!(f, ", keys roll after {server}/{client} packets")?;
        }
        if let Some(Hostile { share, copy, replay, junk_per_tick }) = self.hostile {
            write!(
                f,
                ", hostile {share:.2} of the clients (copy {copy:.3}, replay {replay:.3}, junk {junk_per_tick} a tick)"
            )?;
        }
        let [wander, circle, idle] = self.behaviors;
        let churn = (1.0 - wander - circle - idle).max(0.0);
        write!(f, "; wander {wander:.2}, circle {circle:.2}, idle {idle:.2}, churn {churn:.2}")?;
        let [fight, crowd] = self.restless;
        if fight + crowd > 0.0 {
            write!(f, "; of the wanderers {fight:.2} fight, {crowd:.2} crowd")?;
        }
        Ok(())
    }
}

/// The longest datagram of a path: at least what every path must carry.
pub(super) fn draw_mtu(rng: &mut Rng) -> u16 {
    let (least, most) = (BASE_DATAGRAM as u64, MAX_DATAGRAM as u64);
    let between = least + rng.below(most - least + 1);
    [least, between, between, most][rng.below(4) as usize] as u16
}

pub(super) fn millis(value: f64) -> Duration {
    Duration::from_micros((value * 1000.0) as u64)
}

/// A number between `low` and `high` whose logarithm is spread evenly: powers of two and a linear step between them, in
/// exact arithmetic, so that it is the same everywhere.
pub(super) fn log_uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    let mut doublings = 0.0;
    let mut top = low;
    while top * 2.0 <= high {
        top *= 2.0;
        doublings += 1.0;
    }
    let at = rng.unit_f64() * (doublings + (high / top - 1.0));
    let mut value = low;
    let mut left = at;
    while left >= 1.0 {
        value *= 2.0;
        left -= 1.0;
    }
    value * (1.0 + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_scale_is_within_bounds_and_reaches_each_decade() {
        let mut rng = Rng::new(3);
        let drawn: Vec<f64> = (0..2000).map(|_| log_uniform(&mut rng, 0.001, 0.3)).collect();
        assert!(drawn.iter().all(|value| (0.001..=0.3).contains(value)));
        for decade in [0.001, 0.01, 0.1] {
            assert!(drawn.iter().filter(|value| (decade..decade * 3.0).contains(*value)).count() > 200);
        }
    }

    #[test]
    fn over_many_seeds_each_fault_is_on_and_off() {
        let links: Vec<_> = (0..200).map(|seed| Drawn::new(&Options::new(seed, 50, 1))).collect();
        let faults: [fn(&Drawn) -> bool; 22] = [
            |d| d.link.loss > 0.0,
            |d| d.link.burst_enter > 0.0,
            |d| d.link.duplicate > 0.0,
            |d| d.link.reorder > 0.0,
            |d| !d.link.jitter.is_zero(),
            |d| d.link.corrupt > 0.0,
            |d| d.link.rate_bytes_per_s.is_some(),
            |d| d.partitions.is_some(),
            |d| d.rebinds.is_some(),
            |d| d.mtu_changes.is_some(),
            |d| d.key_rolls.is_some(),
            |d| d.hostile.is_some(),
            |d| d.restless[0] > 0.0,
            |d| d.tight.bytes_per_s < 32_000,
            |d| d.tight.down_cap.is_some(),
            |d| d.tight.max_known < 4000,
            |d| d.tight.crowd < 128,
            |d| d.tight.priority != Tight::default().priority,
            |d| d.tight.parties.is_some(),
            |d| d.tight.possessions.is_some(),
            |d| d.tight.misses > 0.0,
            |d| d.tight.dense,
        ];
        for fault in faults {
            let on = links.iter().filter(|drawn| fault(drawn)).count();
            assert!((20..180).contains(&on));
        }
    }

    #[test]
    fn without_faults_nobody_churns() {
        let drawn = Drawn::new(&Options { faults: false, ..Options::new(1, 50, 1) });
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| drawn.behavior(&mut rng) != Behavior::Churn));
        assert_eq!(drawn.link, calm());
    }
}

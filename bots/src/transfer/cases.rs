//! The table's runs.

use core::time::Duration;

use netcode::Time;
use netcode::channel::Table;
use netcode::crypto::Entropy;
use netcode::rng::Rng;

use super::lab::{Broken, Lab, Path, Snapshots};
use super::load::{BlockLoad, Idle, Load, Messages, Pace};
use super::report::{BigBlock, Report, Row, SmallMessages};
use super::{Traffic, bound};

/// The table's paths.
const RTTS_MS: [u64; 3] = [20, 100, 200];
const LOSSES: [f64; 4] = [0.0, 0.01, 0.05, 0.2];
/// From the connection to the measuring: what the rate control needs to find its rate.
const WARM_UP: Duration = Duration::from_secs(10);
/// After it no snapshot is under way any more.
const AFTERMATH: Duration = Duration::from_secs(1);
/// What is sent may arrive this long after the last sending.
const REST: Duration = Duration::from_secs(60);
/// A message of the full runs fills a packet as a segment does.
const FULL_BYTES: usize = bound::PAYLOAD_BYTES as usize;
/// A message of the light runs, and how often.
const LIGHT_BYTES: usize = 200;
const LIGHT_EVERY: Duration = Duration::from_millis(20);
/// A block of the full runs lasts for all of them.
const FULL_BLOCK: u32 = 16 * 1024 * 1024;
/// A block of the light runs, and how long after the one before.
const LIGHT_BLOCK: u32 = 64 * 1024;
const LIGHT_PAUSE: Duration = Duration::from_millis(500);
/// Blocks of the light runs per second of messages.
const LIGHT_BLOCKS_PER_S: f64 = 1.0;
/// The special rows.
const SMALL_BYTES: usize = 64;
const SMALL_EVERY: Duration = Duration::from_millis(100);
const BIG_BLOCK: u32 = 4 * 1024 * 1024;
const SNAPSHOT_BYTES: u16 = 300;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Bytes a second that the server may send.
    pub cap: u32,
    /// Seconds of each full run that are measured.
    pub full_s: f64,
    /// Seconds for which each light run sends.
    pub light_s: f64,
    /// Seconds for which the small ordered messages are sent.
    pub small_s: f64,
    /// How often the big block is sent, over a connection of its own each time.
    pub big_blocks: u32,
}

impl Options {
    /// A cap of 1 MB/s, 20 s full, 60 s light, 600 s of small messages, 10 big blocks.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, cap: 1_000_000, full_s: 20.0, light_s: 60.0, small_s: 600.0, big_blocks: 10 }
    }
}

/// Where X25519 keys come from, for each connection anew.
pub type Outside<'a> = &'a mut dyn FnMut() -> Box<dyn Entropy>;

/// Runs it all.
///
/// # Errors
/// [`Broken`], when an end cannot even be started. A row whose connection breaks has no numbers, but is in the report.
pub fn run(options: &Options, outside: Outside<'_>) -> Result<Report, Broken> {
    let mut rows = Vec::new();
    for traffic in Traffic::ALL {
        for rtt_ms in RTTS_MS {
            for loss in LOSSES {
                let path = Path { rtt: Duration::from_millis(rtt_ms), loss, cap: options.cap, snapshot_bytes: 0 };
                rows.push(row(options, traffic, &path, outside)?);
            }
        }
    }
    let small_messages = small_messages(options, outside)?;
    let big_block = big_block(options, outside)?;
    Ok(Report { seed: options.seed, cap: options.cap, rows, small_messages, big_block })
}

fn number_of(name: &'static str) -> Result<u8, Broken> {
    let table = Table::lab();
    let found = (0u8..).zip(&table.0).find(|(_, channel)| channel.name == name);
    found.map(|(number, _)| number).ok_or(Broken::NoChannel(name))
}

fn lab(options: &Options, name: &str, path: &Path, outside: Outside<'_>) -> Result<(Lab, Rng), Broken> {
    let rng = Rng::new(options.seed).fork(name);
    Ok((Lab::connect(path, &rng, outside())?, rng.fork("load")))
}

pub(super) fn row(options: &Options, traffic: Traffic, path: &Path, outside: Outside<'_>) -> Result<Row, Broken> {
    let name = format!("{} {:?} {}", traffic.name(), path.rtt, path.loss);
    let full = full(options, &name, traffic, path, outside)?;
    let delays = light(options, &name, traffic, path, outside)?;
    let message = |quantile| bound::message_delay(path.rtt, path.loss, quantile);
    let block = bound::block_delay(path.rtt, path.cap, path.loss, LIGHT_BLOCK);
    let (p50, p99) = match traffic {
        Traffic::Block => (block, block),
        Traffic::ReliableOrdered | Traffic::ReliableUnordered => (message(0.5), message(0.99)),
    };
    Ok(Row {
        traffic,
        rtt_ms: millis(path.rtt),
        loss_percent: path.loss * 100.0,
        goodput: full.payload as f64 / options.full_s,
        goodput_bound: bound::goodput(traffic, path.cap, path.loss),
        delay_ms_p50: quantile(&delays, 0.5)?,
        delay_ms_p50_bound: millis(p50),
        delay_ms_p99: quantile(&delays, 0.99)?,
        delay_ms_p99_bound: millis(p99),
        overhead: full.sent as f64 / (full.payload as f64).max(1.0),
        overhead_bound: bound::overhead(traffic, path.loss),
    })
}

/// Bytes of a full run's window.
struct Full {
    sent: u64,
    payload: u64,
}

fn full(options: &Options, name: &str, traffic: Traffic, path: &Path, outside: Outside<'_>) -> Result<Full, Broken> {
    let (mut lab, rng) = lab(options, &format!("full {name}"), path, outside)?;
    let (start, channel) = (lab.now, number_of(traffic.channel())?);
    if traffic == Traffic::Block {
        let mut load = BlockLoad::new(channel, FULL_BLOCK, u32::MAX, start, Duration::ZERO);
        measure(options, &mut lab, &mut load, |load| load.bytes)
    } else {
        let mut load = Messages::new(channel, FULL_BYTES, Pace::Full, start, Time::NEVER, rng);
        measure(options, &mut lab, &mut load, |load| load.bytes)
    }
}

fn measure<L: Load>(options: &Options, lab: &mut Lab, load: &mut L, bytes: fn(&L) -> u64) -> Result<Full, Broken> {
    let start = lab.now + WARM_UP;
    lab.run(start, load)?;
    let before = (lab.bytes_sent(), bytes(load));
    lab.run(start + Duration::from_secs_f64(options.full_s), load)?;
    Ok(Full { sent: lab.bytes_sent() - before.0, payload: bytes(load) - before.1 })
}

fn light(
    options: &Options,
    name: &str,
    traffic: Traffic,
    path: &Path,
    outside: Outside<'_>,
) -> Result<Vec<u64>, Broken> {
    let (mut lab, rng) = lab(options, &format!("light {name}"), path, outside)?;
    let (start, channel) = (lab.now + WARM_UP, number_of(traffic.channel())?);
    let until = start + Duration::from_secs_f64(options.light_s);
    if traffic == Traffic::Block {
        let count = (options.light_s * LIGHT_BLOCKS_PER_S).max(2.0) as u32;
        let mut load = BlockLoad::new(channel, LIGHT_BLOCK, count, start, LIGHT_PAUSE);
        lab.run(until + REST, &mut load)?;
        Ok(load.delays)
    } else {
        let mut load = Messages::new(channel, LIGHT_BYTES, Pace::Every(LIGHT_EVERY), start, until, rng);
        lab.run(until + REST, &mut load)?;
        Ok(load.delays)
    }
}

/// 64-byte ordered messages, 10 a second, on a connection with snapshots and inputs.
pub(super) fn small_messages(options: &Options, outside: Outside<'_>) -> Result<SmallMessages, Broken> {
    let rtt = Duration::from_millis(100);
    let path = Path { rtt, loss: 0.05, cap: options.cap, snapshot_bytes: SNAPSHOT_BYTES };
    let (mut lab, rng) = lab(options, "small messages", &path, outside)?;
    let start = lab.now + WARM_UP;
    let until = start + Duration::from_secs_f64(options.small_s);
    let channel = number_of(Traffic::ReliableOrdered.channel())?;
    let mut load = Messages::new(channel, SMALL_BYTES, Pace::Every(SMALL_EVERY), start, until, rng);
    lab.run(until + REST, &mut load)?;
    let rtts = |quantile_of| quantile(&load.delays, quantile_of).map(|ms| ms / millis(rtt));
    Ok(SmallMessages {
        messages: load.delays.len() as u64,
        missing: load.missing() as u64,
        rtts_p50: rtts(0.5)?,
        rtts_p99: rtts(0.99)?,
        rtts_max: rtts(1.0)?,
        rtts_p99_bound: millis(bound::message_delay(rtt, path.loss, 0.99)) / millis(rtt),
    })
}

/// A big block on a connection with snapshots and inputs, and the same connection without it for as long.
pub(super) fn big_block(options: &Options, outside: Outside<'_>) -> Result<BigBlock, Broken> {
    let path = Path { rtt: Duration::from_millis(100), loss: 0.01, cap: options.cap, snapshot_bytes: SNAPSHOT_BYTES };
    let channel = number_of(Traffic::Block.channel())?;
    let (mut seconds, mut halves, mut sent, mut slowest) = (0.0, 0.0, 0, 0.0_f64);
    let (mut with, mut alone) = (Lost::default(), Lost::default());
    for at in 0..options.big_blocks.max(1) {
        let name = format!("big block {at}");
        let (mut busy, _) = lab(options, &name, &path, outside)?;
        let start = busy.now + WARM_UP;
        busy.run(start, &mut Idle)?;
        let (bytes, from) = (busy.bytes_sent(), busy.snapshots.due());
        let mut load = BlockLoad::new(channel, BIG_BLOCK, 1, start, Duration::ZERO);
        busy.run(start + REST, &mut load)?;
        let took = load.delays.first().map(|micros| *micros as f64 / 1e6).ok_or(Broken::Nothing)?;
        halves += load.halves.first().map(|micros| *micros as f64 / 1e6).ok_or(Broken::Nothing)?;
        (seconds, slowest, sent) = (seconds + took, slowest.max(took), sent + busy.bytes_sent() - bytes);
        let (end, to) = (busy.now + AFTERMATH, busy.snapshots.due());
        busy.run(end, &mut Idle)?;
        with.add(&busy.snapshots, from, to);
        let (mut quiet, _) = lab(options, &name, &path, outside)?;
        quiet.run(end, &mut Idle)?;
        alone.add(&quiet.snapshots, from, to);
    }
    let runs = f64::from(options.big_blocks.max(1));
    let cap = f64::from(options.cap);
    Ok(BigBlock {
        runs: options.big_blocks.max(1),
        seconds_mean: seconds / runs,
        seconds_max: slowest,
        share_of_cap: f64::from(BIG_BLOCK) * runs / seconds / cap,
        middle_share_of_cap: f64::from(BIG_BLOCK / 2) * runs / halves / cap,
        sent_share_of_cap: sent as f64 / seconds / cap,
        share_bound: bound::goodput(Traffic::Block, options.cap, path.loss) / cap,
        snapshots_due: with.due,
        snapshots_lost: with.lost,
        snapshots_due_alone: alone.due,
        snapshots_lost_alone: alone.lost,
    })
}

/// Snapshots of several runs.
#[derive(Default)]
struct Lost {
    due: u64,
    lost: u64,
}

impl Lost {
    fn add(&mut self, snapshots: &Snapshots, from: usize, to: usize) {
        self.due += to.saturating_sub(from) as u64;
        self.lost += snapshots.lost(from, to);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A quantile of microseconds, in milliseconds: the smallest value that this share of all does not exceed.
fn quantile(micros: &[u64], quantile: f64) -> Result<f64, Broken> {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|micros| *micros as f64 / 1e3).ok_or(Broken::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::crypto::OsEntropy;

    #[expect(clippy::disallowed_methods, reason = "a test")]
    fn outside() -> Box<dyn Entropy> {
        Box::new(OsEntropy::new())
    }

    fn short() -> Options {
        Options { cap: 100_000, full_s: 1.0, light_s: 3.0, small_s: 10.0, big_blocks: 1, ..Options::new(7) }
    }

    #[test]
    fn a_row_of_each_traffic_lies_within_its_bounds_and_is_the_same_each_time() {
        for traffic in Traffic::ALL {
            let path = Path { rtt: Duration::from_millis(20), loss: 0.01, cap: 100_000, snapshot_bytes: 0 };
            let first = row(&short(), traffic, &path, &mut outside).unwrap();
            // A window of a second may begin just before a packet.
            assert!(first.goodput > 0.0 && first.goodput <= first.goodput_bound * 1.05, "{first:?}");
            assert!(first.delay_ms_p50 >= 10.0 && first.delay_ms_p99 >= first.delay_ms_p50, "{first:?}");
            assert!(first.overhead > 1.0 && first.overhead < 2.0, "{first:?}");
            assert_eq!(first, row(&short(), traffic, &path, &mut outside).unwrap());
        }
    }

    #[test]
    fn all_small_messages_arrive() {
        let small = small_messages(&short(), &mut outside).unwrap();
        assert_eq!((small.messages, small.missing), (100, 0));
        assert!(small.rtts_p50 >= 0.5, "{small:?}");
    }
}

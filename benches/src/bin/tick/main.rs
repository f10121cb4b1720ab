//! The full server tick, in stages: microseconds per player and tick.
//!
//! A zone and a shard with real clients on a perfect network in one thread; all wander. Timed as they run: *zone* (one
//! step and its frame), *receive* (open, parse, acks, inputs to the zone), *transmit* (the whole of a shard's round:
//! area of interest, priority, delta, packing, sealing). The parts of transmit are timed apart on the same inputs: *aoi*
//! (`Replica::refresh`), *pack* (priority, delta and packing: `Replica::write`), *seal* (`PacketKey::seal` on buffers of
//! the same sizes); *rest* is what remains of transmit: framing, acks, timers. *send* and *recv* are the kernel's: the
//! datagrams of the tick go over loopback by the server's own `sendmmsg` and `recvmmsg` code, 64 a call, to sockets that
//! nobody sleeps on. *all* = zone + receive + transmit + send + recv. *bare* = what a loop costs that only receives,
//! opens, seals and sends the same datagrams.
//!
//! Every figure is the median over the ticks. The clients' own work is not timed.

// The server keeps its I/O in its binary. What is measured here should be that code and no likeness of it.
#[path = "../../../../server/src/io/batch.rs"]
#[allow(dead_code)]
mod batch;
mod crypt;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use benches::mirror::Mirror;
use benches::println;
use benches::rig::{Rig, RigConfig};
use clap::Parser;
use netcode::prefetch::Prefetch;
use serde_json::{Value, json};

use crypt::Crypt;
use wire::Wire;

/// Ticks after everybody has joined and before the first one that counts.
const SETTLE_TICKS: u64 = 60;

/// Measures the full server tick.
#[derive(Parser)]
#[command(name = "tick")]
struct Args {
    /// Numbers of players, each a run of its own.
    #[arg(long, value_delimiter = ',', default_value = "200,1000,2000")]
    players: Vec<u16>,
    /// Virtual seconds per run.
    #[arg(long, default_value_t = 10)]
    seconds: u16,
    /// How many others each player sees, about.
    #[arg(long, default_value_t = 30.0)]
    visible: f64,
    /// Ticks a second.
    #[arg(long, default_value_t = 20)]
    rate: u16,
    /// Leaves the hints out by which the server asks for memory ahead.
    #[arg(long)]
    no_prefetch: bool,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() {
    let args = Args::parse();
    if !args.json {
        println!("µs per player and tick (medians), {} Hz, {} virtual seconds", args.rate, args.seconds);
        println!("{}", NAMES.map(|name| format!("{name:>8}")).concat());
    }
    let mut runs = Vec::new();
    for players in &args.players {
        let config = RigConfig { visible: args.visible, rate: args.rate, ..RigConfig::new(*players) };
        let prefetch = if args.no_prefetch { Prefetch::NONE } else { Prefetch::new(batch::prefetch) };
        let run = measure(config, prefetch, u64::from(args.seconds) * u64::from(args.rate));
        if args.json {
            runs.push(run.json());
        } else {
            println!("{}", run.row());
        }
    }
    if args.json {
        println!("{}", json!({ "rate": args.rate, "seconds": args.seconds, "runs": runs }));
    }
}

const NAMES: [&str; 16] = [
    "players", "seen", "zone", "receive", "aoi", "pack", "seal", "rest", "transmit", "send", "recv", "all", "bare",
    "ratio", "B down", "B up",
];

/// Samples of each stage: microseconds per player, one per tick.
#[derive(Default)]
struct Samples {
    zone: Vec<f64>,
    receive: Vec<f64>,
    transmit: Vec<f64>,
    aoi: Vec<f64>,
    pack: Vec<f64>,
    seal: Vec<f64>,
    open: Vec<f64>,
    send: Vec<f64>,
    recv: Vec<f64>,
}

/// What a run found.
struct Run {
    players: u16,
    seen: f64,
    samples: Samples,
    bytes_down: f64,
    bytes_up: f64,
    /// Bytes of the bodies that the parts packed, of those that the whole did.
    agreement: f64,
}

fn measure(config: RigConfig, prefetch: Prefetch, ticks: u64) -> Run {
    let mut rig = Rig::new(config);
    rig.set_prefetch(prefetch);
    let mut mirror = Mirror::new(&config);
    let (mut crypt, mut wire) = (Crypt::new(config.players), Wire::new());
    let mut samples = Samples::default();
    let (mut after, mut down, mut up, mut bodies, mut seen) = (0, Tally::default(), Tally::default(), 0, 0.0);
    while after < SETTLE_TICKS + ticks {
        let here = rig.gather();
        after += u64::from(here);
        rig.play();
        let receive = time(|| rig.receive());
        let mut frame = None;
        let zone = time(|| frame = Some(rig.step()));
        let Some(frame) = frame else { unreachable!("the step has just been made") };
        let published = Arc::clone(&frame);
        let transmit = time(|| {
            rig.publish(published);
            rig.transmit();
        });
        mirror.acked();
        mirror.take(frame, &mut rig.spawned);
        let aoi = time(|| mirror.refresh());
        let mut packed = 0;
        let pack = time(|| packed = mirror.write());
        if after <= SETTLE_TICKS {
            continue;
        }
        let seal = crypt.seal(&rig.down);
        let open = crypt.open(&rig.up);
        let (send, recv) = (wire.send(&rig.down), wire.receive(&rig.up));
        let all = [zone, receive, transmit, aoi, pack, seal, open, send, recv];
        samples.add(all.map(|nanos| nanos / 1000.0 / f64::from(config.players)));
        down.add(rig.down.len(), rig.down.bytes());
        up.add(rig.up.len(), rig.up.bytes());
        bodies += packed;
        seen += rig.known() - 1.0;
    }
    rig.check();
    // Header and tag 19 bytes, ack, tick and frame head 7: the rest of a datagram is the body.
    let whole = down.bytes.saturating_sub(26 * down.count);
    Run {
        players: config.players,
        seen: seen / ticks as f64,
        samples,
        bytes_down: down.mean(),
        bytes_up: up.mean(),
        agreement: bodies as f64 / whole as f64,
    }
}

#[derive(Default)]
struct Tally {
    count: usize,
    bytes: usize,
}

impl Tally {
    fn add(&mut self, count: usize, bytes: usize) {
        self.count += count;
        self.bytes += bytes;
    }

    fn mean(&self) -> f64 {
        self.bytes as f64 / self.count.max(1) as f64
    }
}

impl Samples {
    fn add(&mut self, all: [f64; 9]) {
        let Self { zone, receive, transmit, aoi, pack, seal, open, send, recv } = self;
        for (samples, value) in [zone, receive, transmit, aoi, pack, seal, open, send, recv].into_iter().zip(all) {
            samples.push(value);
        }
    }
}

impl Run {
    fn figures(&self) -> [f64; 16] {
        let Samples { zone, receive, transmit, aoi, pack, seal, open, send, recv } = &self.samples;
        let [zone, receive, transmit, aoi, pack] = [zone, receive, transmit, aoi, pack].map(|samples| median(samples));
        let [seal, open, send, recv] = [seal, open, send, recv].map(|samples| median(samples));
        let all = zone + receive + transmit + send + recv;
        let bare = seal + open + send + recv;
        let rest = transmit - aoi - pack - seal;
        let players = f64::from(self.players);
        [
            players,
            self.seen,
            zone,
            receive,
            aoi,
            pack,
            seal,
            rest,
            transmit,
            send,
            recv,
            all,
            bare,
            all / bare,
            self.bytes_down,
            self.bytes_up,
        ]
    }

    fn row(&self) -> String {
        let figures = self.figures();
        let cells = figures.iter().enumerate().map(|(at, figure)| match at {
            0 => format!("{figure:>8.0}"),
            1 | 14 | 15 => format!("{figure:>8.1}"),
            _ => format!("{figure:>8.2}"),
        });
        let note = if (self.agreement - 1.0).abs() > 0.02 {
            format!("  the parts packed {:.1} % of the whole's bytes", self.agreement * 100.0)
        } else {
            String::new()
        };
        cells.collect::<String>() + &note
    }

    fn json(&self) -> Value {
        let pairs = NAMES.iter().zip(self.figures());
        let mut object: serde_json::Map<String, Value> =
            pairs.map(|(name, figure)| (name.replace(' ', "_").to_lowercase(), json!(figure))).collect();
        object.insert("agreement".into(), json!(self.agreement));
        Value::Object(object)
    }
}

/// How long it takes, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "this binary measures time")]
fn time(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

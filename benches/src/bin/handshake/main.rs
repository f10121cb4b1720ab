//! What handshakes cost a server: time on one core, and memory by its allocator.
//!
//! One thread, no sockets. Timed is the server's part alone: `handle_datagram` and fetching the answer. Each figure is the
//! median over batches, so that what else the machine does moves it little. Memory is counted in bytes asked of the
//! allocator. Ends with code 1 when a budget of memory is missed; those of time are only printed, since they depend on
//! the machine.

mod memory;
mod stage;

use std::alloc::System;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::println;
use clap::Parser;
use netcode::handshake::{ACCEPT_BYTES, HELLO_BYTES, REFUSE_BYTES, RETRY_BYTES};
use netcode::packet::MAX_DATAGRAM;
use netcode::rng::Rng;
use netcode::stats::Drop;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use memory::Memory;
use stage::{START_SECONDS, Stage, from};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Handshakes, or HELLOs, that are timed together.
const BATCH: usize = 64;

/// Measures what handshakes cost a server.
#[derive(Parser)]
#[command(name = "handshake")]
struct Args {
    /// How long each rate is measured, without what is not timed.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Idle connections whose memory is counted.
    #[arg(long, default_value_t = 2000)]
    clients: u16,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let duration = Duration::from_secs_f64(args.seconds.max(0.01));
    let rates = [
        full(duration),
        hellos("refused by cookie", "cookie", duration, true, Answer::Retry, |hello, rng| {
            // A forged cookie of this very second: the costliest, since its HMAC is looked at.
            hello[44..48].copy_from_slice(&START_SECONDS.to_le_bytes());
            rng.fill(&mut hello[48..76]);
            rng.fill(&mut hello[120..136]);
        }),
        hellos("refused by bad MAC", "bad_mac", duration, false, Answer::Nothing(Drop::BadMac), |hello, rng| {
            rng.fill(&mut hello[HELLO_BYTES - 16..]);
        }),
        hellos("refused by bad token", "bad_token", duration, false, Answer::Refusal, |hello, rng| {
            rng.fill(&mut hello[120..136]);
        }),
        hellos("replayed while half-open", "replayed_half_open", duration, false, Answer::Accept, |_, _| {}),
        replayed_later(duration),
    ];
    let memory = Memory::measure(args.clients);
    if args.json {
        let rates: serde_json::Map<String, Value> =
            rates.iter().map(|rate| (rate.key.to_owned(), rate.json())).collect();
        println!("{}", json!({ "rates": rates, "memory": memory.json() }));
    } else {
        println!("{:<28}{:>12}{:>10}{:>10}{:>12}", "one core", "per second", "µs each", "allocs", "budget");
        rates.iter().for_each(|rate| println!("{}", rate.row()));
        memory.print();
    }
    if memory.within_budgets() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A kind of handshake work, measured.
struct Rate {
    name: &'static str,
    key: &'static str,
    per_s: f64,
    /// Calls of the allocator for each.
    allocations: f64,
    budget: Option<f64>,
}

impl Rate {
    fn row(&self) -> String {
        let Self { name, per_s, allocations, .. } = self;
        let budget = self
            .budget
            .map_or(String::new(), |budget| format!("{budget:.0} {}", if *per_s >= budget { "ok" } else { "MISSED" }));
        format!("{name:<28}{per_s:>12.0}{:>10.2}{allocations:>10.1}{budget:>12}", 1e6 / per_s)
    }

    fn json(&self) -> Value {
        json!({ "per_s": self.per_s.round(), "allocations": self.allocations, "budget_per_s": self.budget })
    }
}

/// Times and allocations of batches.
#[derive(Default)]
struct Batches {
    nanos: Vec<f64>,
    allocations: usize,
    spent: Duration,
}

impl Batches {
    #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
    fn time(&mut self, work: impl FnOnce()) -> f64 {
        let region = Region::new(ALLOCATOR);
        let start = Instant::now();
        work();
        let elapsed = start.elapsed();
        let change = region.change();
        self.allocations += change.allocations + change.reallocations;
        self.spent += elapsed;
        elapsed.as_nanos() as f64
    }

    fn rate(mut self, name: &'static str, key: &'static str, budget: Option<f64>) -> Rate {
        self.nanos.sort_by(f64::total_cmp);
        let median = self.nanos[self.nanos.len() / 2] / BATCH as f64;
        let allocations = self.allocations as f64 / (self.nanos.len() * BATCH) as f64;
        Rate { name, key, per_s: 1e9 / median, allocations, budget }
    }
}

/// Whole handshakes: the HELLO and its ACCEPT, the first packet and the event that somebody is there.
fn full(duration: Duration) -> Rate {
    let (mut stage, mut batches) = (Stage::new(false), Batches::default());
    while batches.spent < duration {
        let mut clients: Vec<_> = (0..BATCH).map(|_| stage.client()).collect();
        let mut packets = [[0; MAX_DATAGRAM]; BATCH];
        let hellos = batches.time(|| {
            for (index, ((_, hello), out)) in clients.iter_mut().zip(&mut packets).enumerate() {
                assert_eq!(stage.deliver(from(index), hello, out), ACCEPT_BYTES);
            }
        });
        let now = stage.now;
        let lengths = clients.iter_mut().zip(&mut packets).map(|((client, _), packet)| {
            client.handle_datagram(now, &mut packet[..ACCEPT_BYTES]);
            client.poll_transmit(now, packet).expect("the first packet")
        });
        let lengths: Vec<usize> = lengths.collect();
        let mut conns = Vec::with_capacity(BATCH);
        let firsts = batches.time(|| {
            for (index, (packet, len)) in packets.iter_mut().zip(lengths).enumerate() {
                stage.deliver(from(index), &mut packet[..len], &mut [0; MAX_DATAGRAM]);
                conns.extend(stage.connected());
            }
        });
        assert_eq!(conns.len(), BATCH, "everybody is let in");
        batches.nanos.push(hellos + firsts);
        stage.clear(&conns);
    }
    batches.rate("full handshake", "full", Some(5000.0))
}

/// What a HELLO should lead to.
#[derive(Clone, Copy)]
enum Answer {
    Retry,
    Accept,
    Refusal,
    Nothing(Drop),
}

impl Answer {
    const fn bytes(self) -> usize {
        match self {
            Self::Retry => RETRY_BYTES,
            Self::Accept => ACCEPT_BYTES,
            Self::Refusal => REFUSE_BYTES,
            Self::Nothing(_) => 0,
        }
    }
}

/// One genuine HELLO again and again, each time changed, from one address after the other.
fn hellos(
    name: &'static str,
    key: &'static str,
    duration: Duration,
    asks: bool,
    answer: Answer,
    change: impl Fn(&mut [u8; HELLO_BYTES], &mut Rng),
) -> Rate {
    let mut stage = Stage::new(asks);
    let (_client, hello) = stage.client();
    let budget = matches!(answer, Answer::Retry).then_some(200_000.0);
    repeat(stage, &hello, name, key, budget, duration, answer, change)
}

/// A HELLO whose client got in: its token is used.
fn replayed_later(duration: Duration) -> Rate {
    let mut stage = Stage::new(false);
    let (mut client, mut hello) = stage.client();
    let mut out = [0; MAX_DATAGRAM];
    let len = stage.deliver(from(0), &mut hello, &mut out);
    client.handle_datagram(stage.now, &mut out[..len]);
    let len = client.poll_transmit(stage.now, &mut out).expect("the first packet");
    stage.deliver(from(0), &mut out[..len], &mut [0; MAX_DATAGRAM]);
    assert!(stage.connected().is_some());
    let (name, key) = ("replayed later", "replayed_later");
    repeat(stage, &hello, name, key, None, duration, Answer::Refusal, |_, _| {})
}

#[expect(clippy::too_many_arguments, reason = "what all kinds of repeated HELLOs have in common")]
fn repeat(
    mut stage: Stage,
    hello: &[u8; HELLO_BYTES],
    name: &'static str,
    key: &'static str,
    budget: Option<f64>,
    duration: Duration,
    answer: Answer,
    change: impl Fn(&mut [u8; HELLO_BYTES], &mut Rng),
) -> Rate {
    let mut batches = Batches::default();
    let mut sent = [*hello; BATCH];
    let mut out = [0; MAX_DATAGRAM];
    // Once unmeasured: the first may be let in.
    stage.deliver(from(0), &mut sent[0], &mut out);
    while batches.spent < duration {
        for hello in &mut sent {
            change(hello, &mut stage.rng);
        }
        let nanos = batches.time(|| {
            for (index, hello) in sent.iter_mut().enumerate() {
                assert_eq!(stage.deliver(from(index), hello, &mut out), answer.bytes());
            }
        });
        batches.nanos.push(nanos);
    }
    if let Answer::Nothing(drop) = answer {
        assert!(stage.server.drops().get(drop) as usize >= batches.nanos.len() * BATCH);
    }
    batches.rate(name, key, budget)
}

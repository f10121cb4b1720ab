//! What handshakes cost a server: time on one core, and memory by its allocator.
//!
//! One thread, no sockets. Timed is the server's part alone: `handle_datagram` and fetching the answer. Each figure is the
//! median over batches, so that what else the machine does moves it little. Memory is counted in bytes asked of the
//! allocator. Ends with code 1 when a budget of memory is missed; those of time are only printed, since they depend on
//! the machine.

use std::alloc::System;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::BenchEntropy;
use clap::Parser;
use netcode::Time;
use netcode::client::{ClientConfig, ClientEndpoint};
use netcode::crypto::{ClusterKey, CookieKey, Entropy, Psk};
use netcode::error::CloseReason;
use netcode::handshake::{ACCEPT_BYTES, HELLO_BYTES, REFUSE_BYTES, RETRY_BYTES};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::server::{PrefixLimits, ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::stats::Drop;
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const UNIX_MS: u64 = 1_700_000_000_000;
/// The time for which a token is good; short, so that the set of used ones stays small.
const TOKEN_MS: u64 = 10_000;
/// The server's clock when a stage begins.
const START_SECONDS: u32 = 60;
const SCHEMA_HASH: u64 = 0x5eed;
/// Handshakes, or HELLOs, that are timed together.
const BATCH: usize = 64;
/// Datagrams of the flood whose growth of the heap is counted.
const FLOOD: usize = 1_000_000;
const FLOOD_ADDRESSES: u64 = 100_000;

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

/// A server, its clients' tokens, and the time.
struct Stage {
    server: ServerEndpoint,
    entropy: BenchEntropy,
    now: Time,
    rng: Rng,
}

impl Stage {
    /// A server that works on every HELLO, or asks all for a cookie.
    fn new(asks: bool) -> Self {
        Self {
            server: server(asks),
            entropy: BenchEntropy::new(1),
            now: Time::from_millis(u64::from(START_SECONDS) * 1000),
            rng: Rng::new(2),
        }
    }

    fn unix_ms(&self) -> u64 {
        UNIX_MS + self.now.as_micros() / 1000
    }

    fn bundle(&mut self) -> ConnectBundle {
        let claims = TokenClaims {
            issued_ms: self.unix_ms(),
            expires_ms: self.unix_ms() + TOKEN_MS,
            account: 1,
            character: 1,
            group: 0,
            down_cap: 0,
            up_cap: 0,
            servers: [ServerEntry { id: 1, addr: SocketAddr::from(([10, 0, 0, 1], 7777)) }].into_iter().collect(),
        };
        issue(&cluster_key(), &claims, &mut self.entropy).expect("the entropy is seeded")
    }

    /// A client and its HELLO.
    fn client(&mut self) -> (ClientEndpoint, [u8; HELLO_BYTES]) {
        let bundle = self.bundle();
        let ephemeral = self.entropy.ephemeral().expect("the system's entropy works");
        let config = ClientConfig::new(SCHEMA_HASH);
        let mut client = ClientEndpoint::connect(config, &bundle, ephemeral, self.now).expect("a good table");
        let mut hello = [0; HELLO_BYTES];
        assert_eq!(client.poll_transmit(self.now, &mut hello), Some(HELLO_BYTES));
        (client, hello)
    }

    /// Hands a datagram to the server; the length of the answer that is then in `out`, 0 for none.
    fn deliver(&mut self, from: SocketAddr, datagram: &mut [u8], out: &mut [u8]) -> usize {
        let unix_ms = self.unix_ms();
        self.server.handle_datagram(self.now, unix_ms, from, datagram, &mut self.entropy);
        self.server.poll_transmit_control(self.now, out).map_or(0, |(_, len)| len)
    }

    fn connected(&mut self) -> Option<ConnId> {
        match self.server.poll_event() {
            Some(ServerEvent::Connected { conn, .. }) => Some(conn),
            _ => None,
        }
    }

    /// Closes connections and lets the time pass that their farewells take.
    fn clear(&mut self, conns: &[ConnId]) {
        for conn in conns {
            self.server.close(self.now, *conn, CloseReason::Requested);
        }
        for _ in 0..1000 {
            if self.server.connections() == 0 {
                break;
            }
            self.now = self.now + Duration::from_millis(50);
            self.server.handle_timeout(self.now);
            while self.server.poll_transmit_control(self.now, &mut [0; MAX_DATAGRAM]).is_some() {}
        }
        while self.server.poll_event().is_some() {}
        assert_eq!(self.server.connections(), 0, "all are closed");
    }
}

fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }
}

fn server(asks: bool) -> ServerEndpoint {
    let mut config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, 20);
    config.retry_above = if asks { 0 } else { u32::MAX };
    config.max_handshakes = u32::MAX;
    config.max_half_open = u16::MAX;
    config.prefixes = PrefixLimits::UNLIMITED;
    ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::new(SingleUse::new(1 << 20)))
}

fn from(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (index >> 8) as u8, index as u8], 4000))
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

/// Bytes that the server holds of the allocator.
struct Memory {
    clients: u16,
    empty_endpoint: isize,
    idle_connection: f64,
    half_open: f64,
    half_open_under_load: f64,
    flood: isize,
}

impl Memory {
    const IDLE_BUDGET: f64 = 16.0 * 1024.0;

    fn measure(clients: u16) -> Self {
        let region = Region::new(ALLOCATOR);
        let server = server(false);
        let empty_endpoint = held(&region);
        drop(server);
        let per_client = |bytes: isize| bytes as f64 / f64::from(clients.max(1));
        Self {
            clients,
            empty_endpoint,
            idle_connection: per_client(idle(clients) - empty_endpoint),
            half_open: per_client(half_open(clients, false)),
            half_open_under_load: per_client(half_open(clients, true)),
            flood: flood(),
        }
    }

    fn within_budgets(&self) -> bool {
        self.idle_connection <= Self::IDLE_BUDGET && self.half_open_under_load == 0.0 && self.flood == 0
    }

    fn print(&self) {
        let row = |name: &str, bytes: f64, budget: Option<f64>| {
            let budget = budget.map_or(String::new(), |budget| {
                format!("{budget:.0} {}", if bytes <= budget { "ok" } else { "MISSED" })
            });
            println!("{name:<60}{bytes:>12.0}{budget:>12}");
        };
        println!("\n{:<60}{:>12}{:>12}", "memory", "bytes", "budget");
        row("an endpoint without connections", self.empty_endpoint as f64, None);
        row(&format!("each of {} idle connections", self.clients), self.idle_connection, Some(Self::IDLE_BUDGET));
        row("each half-open handshake, cookies not asked for", self.half_open, None);
        row("each half-open handshake, cookies asked for", self.half_open_under_load, Some(0.0));
        row(&format!("growth by {FLOOD} spoofed HELLOs, {FLOOD_ADDRESSES} addresses"), self.flood as f64, Some(0.0));
    }

    fn json(&self) -> Value {
        json!({
            "clients": self.clients,
            "empty_endpoint_bytes": self.empty_endpoint,
            "idle_connection_bytes": self.idle_connection.round(),
            "half_open_bytes": self.half_open.round(),
            "half_open_under_load_bytes": self.half_open_under_load,
            "flood_growth_bytes": self.flood,
        })
    }
}

/// Bytes more than when the region began.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// What a server with that many connections, idle for five seconds, gives back when it goes.
fn idle(clients: u16) -> isize {
    let mut stage = Stage::new(false);
    let mut out = [0; MAX_DATAGRAM];
    let mut joined = Vec::new();
    for index in 0..usize::from(clients) {
        let (mut client, mut hello) = stage.client();
        let len = stage.deliver(from(index), &mut hello, &mut out);
        client.handle_datagram(stage.now, &mut out[..len]);
        joined.push(client);
    }
    for _ in 0..500 {
        exchange(&mut stage, &mut joined);
        stage.now = stage.now + Duration::from_millis(10);
    }
    assert_eq!((stage.server.connections(), stage.server.half_open()), (joined.len(), 0));
    let Stage { server, .. } = stage;
    let region = Region::new(ALLOCATOR);
    drop(server);
    -held(&region)
}

/// Everything that either side wants to say now arrives at once.
fn exchange(stage: &mut Stage, clients: &mut [ClientEndpoint]) {
    let mut out = [0; MAX_DATAGRAM];
    for (index, client) in clients.iter_mut().enumerate() {
        client.handle_timeout(stage.now);
        while let Some(len) = client.poll_transmit(stage.now, &mut out) {
            let unix_ms = stage.unix_ms();
            stage.server.handle_datagram(stage.now, unix_ms, from(index), &mut out[..len], &mut stage.entropy);
        }
        while client.poll_event().is_some() {}
    }
    stage.server.handle_timeout(stage.now);
    while let Some((to, len)) = stage.server.poll_transmit_control(stage.now, &mut out) {
        let client = clients.iter_mut().enumerate().find(|(index, _)| from(*index) == to);
        if let Some((_, client)) = client {
            client.handle_datagram(stage.now, &mut out[..len]);
        }
    }
    while stage.server.poll_event().is_some() {}
}

/// What that many HELLOs make a server hold whose clients never say more.
fn half_open(clients: u16, asks: bool) -> isize {
    let mut stage = Stage::new(asks);
    let mut hellos: Vec<_> = (0..clients).map(|_| stage.client().1).collect();
    let mut out = [0; MAX_DATAGRAM];
    let region = Region::new(ALLOCATOR);
    for (index, hello) in hellos.iter_mut().enumerate() {
        let answered = stage.deliver(from(index), hello, &mut out);
        assert_eq!(answered, if asks { RETRY_BYTES } else { ACCEPT_BYTES });
    }
    held(&region)
}

/// What a flood leaves behind at a server as it is by default.
fn flood() -> isize {
    let mut stage = Stage::new(false);
    let (_client, mut hello) = stage.client();
    let config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, 20);
    stage.server = ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::new(SingleUse::new(1 << 20)));
    let mut out = [0; MAX_DATAGRAM];
    let region = Region::new(ALLOCATOR);
    for count in 0..FLOOD {
        stage.rng.fill(&mut hello[120..136]);
        let address = 0x0b00_0000 + stage.rng.below(FLOOD_ADDRESSES) as u32 * 167;
        let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(address), 1 + count as u16 % 60_000));
        stage.deliver(from, &mut hello, &mut out);
        stage.now = stage.now + Duration::from_micros(10);
    }
    let traffic = stage.server.traffic();
    assert!(traffic.bytes_out <= traffic.bytes_in && stage.server.connections() == 0);
    held(&region)
}

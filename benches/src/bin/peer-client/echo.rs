//! The echo workload, seen from the clients.

use core::time::Duration;
use std::io;

use benches::peer::{CONNECT_TIMEOUT, GRACE, RELIABLE_BYTES, RELIABLE_EVERY, TICK, failure, nanos, now_ns, rss_kb};
use benches::peer::{Counts, Kind, Message, Quantiles, Template, Usage, Workload};
use mio::{Events, Interest, Poll, Token};
use netcode::crypto::OsEntropy;
use serde_json::{Value, json};

use crate::player::Player;

/// Bytes of an unreliable message to the server.
const UP_BYTES: usize = 32;
/// Handshakes in flight.
const MAX_PENDING: usize = 64;
/// Clients that have their turn before the sockets are read again.
const MAX_TURNS: usize = 64;
/// The longest wait for a socket.
const MAX_WAIT: Duration = Duration::from_millis(1);

/// All clients and what they have seen.
struct Swarm {
    workload: Workload,
    poll: Poll,
    entropy: OsEntropy,
    players: Vec<Player>,
    /// Numbers of those whose handshake is in flight.
    pending: Vec<usize>,
    /// Client `turn` is due `turn` parts of a tick after the round began.
    turn: u64,
    round: u64,
    base: u64,
    /// When all were connected.
    start: Option<u64>,
    max_lag: u64,
    counts: Counts,
    latency: Quantiles,
    age: Quantiles,
    template: Template,
}

pub fn run(workload: &Workload) -> io::Result<Value> {
    let begin = now_ns();
    let mut swarm = Swarm::new(workload, begin)?;
    let mut events = Events::with_capacity(256);
    let (mut first, mut last) = (None, None);
    loop {
        let now = now_ns();
        if let Some(start) = swarm.start {
            let window = workload.window(start);
            if now >= window.start {
                first.get_or_insert_with(Usage::now);
            }
            if now >= window.end {
                last.get_or_insert_with(Usage::now);
            }
            if now >= window.end + nanos(GRACE) {
                break;
            }
        } else if now.saturating_sub(begin) > nanos(CONNECT_TIMEOUT) {
            return Ok(failure("not all connected", swarm.connected()));
        } else {
            swarm.connect(now)?;
        }
        let wait = swarm.turns();
        swarm.wait(&mut events, wait)?;
    }
    let usage = first.zip(last).map(|(first, last)| last.since(&first));
    Ok(swarm.report(begin, usage.unwrap_or((1.0, 0.0))))
}

impl Swarm {
    #[expect(clippy::disallowed_methods, reason = "a client's keys are drawn from the system's entropy")]
    fn new(workload: &Workload, base: u64) -> io::Result<Self> {
        let samples = usize::from(workload.clients()) * usize::from(workload.secs) * (1000 / TICK.as_millis()) as usize;
        Ok(Self {
            workload: *workload,
            poll: Poll::new()?,
            entropy: OsEntropy::new(),
            players: Vec::with_capacity(usize::from(workload.clients())),
            pending: Vec::with_capacity(MAX_PENDING),
            turn: 0,
            round: 0,
            base,
            start: None,
            max_lag: 0,
            counts: Counts::new(workload.clients()),
            latency: Quantiles::with_capacity(samples),
            age: Quantiles::with_capacity(samples),
            template: Template::default(),
        })
    }

    fn connected(&self) -> usize {
        self.players.len() - self.pending.len()
    }

    /// Starts handshakes while fewer than [`MAX_PENDING`] are in flight; once none is left, all begin to send.
    fn connect(&mut self, now: u64) -> io::Result<()> {
        let players = &self.players;
        self.pending.retain(|number| players.get(*number).is_some_and(|player| !player.is_connected()));
        while self.players.len() < usize::from(self.workload.clients()) && self.pending.len() < MAX_PENDING {
            let number = self.players.len();
            let mut player = Player::connect(&self.workload, number as u16, &mut self.entropy)?;
            self.poll.registry().register(&mut player.socket, Token(number), Interest::READABLE)?;
            player.run(now_ns());
            self.players.push(player);
            self.pending.push(number);
        }
        if self.connected() == usize::from(self.workload.clients()) {
            self.start = Some(now);
            (self.turn, self.round, self.base) = (0, 0, now);
        }
        Ok(())
    }

    /// Gives those that are due their turn, and says how long it is until the next one.
    fn turns(&mut self) -> Duration {
        let clients = u64::from(self.workload.clients());
        for _ in 0..MAX_TURNS {
            let due = self.base + self.round * nanos(TICK) + self.turn * nanos(TICK) / clients;
            let now = now_ns();
            if due > now {
                return Duration::from_nanos(due - now);
            }
            self.take_turn(due, now);
            self.turn += 1;
            if self.turn == clients {
                (self.turn, self.round) = (0, self.round + 1);
            }
        }
        Duration::ZERO
    }

    fn take_turn(&mut self, due: u64, now: u64) {
        let Self { players, counts, template, turn, round, .. } = self;
        let Some(player) = players.get_mut(*turn as usize) else { return };
        if let Some(start) = self.start {
            let in_window = self.workload.window(start).contains(&now);
            if in_window {
                self.max_lag = self.max_lag.max(now - due);
            }
            let sequence = *round + 1;
            let mut send = |kind, len| {
                let (sent_ns, client) = (now_ns(), *turn as u32);
                let sequence = sequence as u32;
                let message = Message { kind, counts: in_window, sequence, sent_ns, tick_ns: now, client };
                if player.send(sent_ns, kind, template.fill(&message, len)) {
                    counts.on_sent(&message);
                }
            };
            send(Kind::Unreliable, UP_BYTES);
            if (sequence + *turn).is_multiple_of(RELIABLE_EVERY) {
                send(Kind::Reliable, RELIABLE_BYTES);
            }
        }
        player.run(now);
    }

    /// Waits for the sockets and reads those that have something.
    fn wait(&mut self, events: &mut Events, wait: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(wait.min(MAX_WAIT))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let Self { players, counts, latency, age, .. } = self;
        for event in events.iter() {
            let number = event.token().0;
            let Some(player) = players.get_mut(number) else { continue };
            player.receive(|bytes| {
                let (Some(message), now) = (Message::read(bytes), now_ns()) else { return };
                counts.on_received(number, &message);
                if message.counts && message.kind == Kind::Unreliable {
                    latency.add(now.saturating_sub(message.sent_ns));
                    age.add(now.saturating_sub(message.tick_ns));
                }
            });
        }
        Ok(())
    }

    fn report(self, begin: u64, (wall, cpu): (f64, f64)) -> Value {
        let connect_ns = self.start.map_or(0, |start| start.saturating_sub(begin));
        let mut report = json!({
            "ok": true,
            "connected": self.players.iter().filter(|player| player.is_connected()).count(),
            "connect_s": connect_ns as f64 / 1e9,
            "cpu_s_per_s": cpu / wall,
            "rss_kb": rss_kb(),
            "max_send_lag_ms": self.max_lag as f64 / 1e6,
            "lat_us": self.latency.json(),
            "age_us": self.age.json(),
        });
        if let Some(report) = report.as_object_mut() {
            report.extend(self.counts.json());
        }
        report
    }
}

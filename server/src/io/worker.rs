//! A reactor worker: one thread, one socket, one shard.
//!
//! One turn of the loop: wait for readiness, a wake-up or a timer; take datagrams (a bounded number, so that a flood
//! cannot keep frames from being sent); take what the zone and other workers have queued; let timers fire; send all that
//! the shard has to say; pass joins, leaves and inputs on to the zone.

use std::net::UdpSocket as StdUdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use netcode::Time;
use netcode::crypto::OsEntropy;
use netcode::packet::worker_of;
use netcode::prefetch::Prefetch;
use server::shard::{PREFETCH_FAR, PREFETCH_NEAR, PREFETCH_NEXT, Shard, ShardStats};
use server::zone::ToZone;

use super::batch::{self, BATCH, Blocked, Flushed, Receiver, Sender};
use super::clock::Clock;
use super::error::RunError;
use super::explain::Explainer;
use super::intake::Intake;
use super::link::{Handed, Link, Patient, Reports, next_report};
use super::run::Ready;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// Datagrams taken per turn, about (a system call's worth more or less): a third of a millisecond of work.
/// So many datagrams before its own what a client's packet needs is asked for, step by step.
const AHEAD: [usize; 3] = [PREFETCH_FAR, PREFETCH_NEAR, PREFETCH_NEXT];
const RECEIVES_PER_TURN: usize = 2 * BATCH;
/// A datagram that the kernel does not take for so long is dropped: its snapshot is stale.
const SEND_PATIENCE: Duration = Duration::from_millis(100);
/// When to try again after the kernel ran out of buffers, which no event reports the end of.
const NO_BUFFERS_RETRY: Duration = Duration::from_millis(1);
/// How long a worker goes on to tell clients that the server shuts down.
const SHUTDOWN_TIME: Duration = Duration::from_millis(300);
/// How often it looks for clients that have connected meanwhile.
const SHUTDOWN_REPEAT: Duration = Duration::from_millis(50);

/// What a worker counts itself; what the protocol drops is in the shard's own counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Datagrams received, their bytes.
    pub packets_in: u64,
    /// Bytes of UDP payload received.
    pub bytes_in: u64,
    /// Datagrams that the kernel took.
    pub packets_out: u64,
    /// Bytes of UDP payload sent.
    pub bytes_out: u64,
    /// Datagrams that the kernel refused, or did not take in time.
    pub send_dropped: u64,
    /// Times that the kernel took no more for the moment.
    pub send_blocked: u64,
    /// Inputs dropped because the queue to the zone was full.
    pub inputs_dropped: u64,
    /// Datagrams handed to another worker.
    pub handed: u64,
    /// Datagrams for another worker dropped because its queue was full.
    pub handed_dropped: u64,
    /// Failed receive calls.
    pub receive_errors: u64,
    /// Datagrams that the kernel dropped, because the receive buffer was full.
    pub overrun: u64,
    /// Datagrams received that experienced congestion on their way.
    pub congested: u64,
    /// Turns of the loop.
    pub turns: u64,
}

impl Counters {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
        self.send_dropped += other.send_dropped;
        self.send_blocked += other.send_blocked;
        self.inputs_dropped += other.inputs_dropped;
        self.handed += other.handed;
        self.handed_dropped += other.handed_dropped;
        self.receive_errors += other.receive_errors;
        self.overrun += other.overrun;
        self.congested += other.congested;
        self.turns += other.turns;
    }
}

/// What a worker reports once a second: counters since the start, times of the last second.
pub struct WorkerReport {
    /// The worker's own counters.
    pub counters: Counters,
    /// The shard's counters.
    pub shard: ShardStats,
    /// From taking a frame out of the queue to handing the last datagram to the kernel, in µs.
    pub send_us: Histogram<u64>,
    /// From when a tick was due to handing the last datagram of its frame to the kernel, in µs.
    pub round_us: Histogram<u64>,
}

/// What a worker is made of; [`Worker::run`] is its thread.
pub struct Parts {
    /// Its number, which is also in its connection ids.
    pub index: u8,
    /// Its connections.
    pub shard: Shard,
    /// Where one character's snapshots are explained.
    pub explainer: Option<Explainer>,
    /// Ticks a second.
    pub rate_hz: u16,
    /// While datagrams keep coming, they are taken no more often than that.
    pub receive_every: Duration,
    /// The queues of all workers.
    pub links: Arc<[Link]>,
    /// Where it reports.
    pub reports: Arc<Reports<WorkerReport>>,
    /// The process's clock.
    pub clock: Clock,
    /// Set when the server shuts down.
    pub stop: Arc<AtomicBool>,
    /// Tells that it is up.
    pub ready: Arc<Ready>,
}

/// Registers the socket and makes the waker that others end the worker's poll with.
pub fn register(socket: StdUdpSocket) -> Result<(Poll, UdpSocket, Waker), RunError> {
    let failed = RunError::system("set up the poll");
    let set_up = || {
        let poll = Poll::new()?;
        let mut socket = UdpSocket::from_std(socket);
        listen(poll.registry(), &mut socket)?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        Ok((poll, socket, waker))
    };
    set_up().map_err(failed)
}

/// Readiness that is there already is reported as well.
fn listen(registry: &Registry, socket: &mut UdpSocket) -> std::io::Result<()> {
    registry.register(socket, SOCKET, Interest::READABLE | Interest::WRITABLE)
}

/// On a core that they share, the zone's tick begins when it is due and not after all that a worker has to do.
fn let_others() {
    std::thread::yield_now();
}

/// The running worker.
pub struct Worker {
    parts: Parts,
    poll: Poll,
    socket: UdpSocket,
    entropy: OsEntropy,
    receiver: Receiver,
    sender: Sender,
    to_zone: Patient<ToZone>,
    /// The socket may have more (readiness is reported once, when it begins).
    readable: bool,
    /// Whether the poll reports on the socket.
    listening: bool,
    intake: Intake,
    /// The workers that datagrams were handed to in this turn, by bit.
    to_wake: u64,
    /// Since when the kernel takes nothing, and whether an event will report the end of that.
    blocked: Option<(Time, Blocked)>,
    /// When the tick of the frame that is being sent was due, and when the frame was taken.
    frame_since: Option<(Time, Time)>,
    counters: Counters,
    send_us: Histogram<u64>,
    round_us: Histogram<u64>,
    next_report: Time,
}

impl Worker {
    /// Puts a worker together in the thread that will run it.
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    pub fn new(mut parts: Parts, poll: Poll, socket: UdpSocket) -> Self {
        parts.shard.watch_character(parts.explainer.as_ref().map(|explainer| explainer.character));
        parts.shard.set_prefetch(Prefetch::new(batch::prefetch));
        let (next_report, intake) = (next_report(parts.clock.now()), Intake::new(parts.receive_every));
        Self {
            parts,
            poll,
            socket,
            entropy: OsEntropy::new(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            to_zone: Patient::new(),
            readable: true,
            listening: true,
            intake,
            to_wake: 0,
            blocked: None,
            frame_since: None,
            counters: Counters::default(),
            send_us: micros_histogram(),
            round_us: micros_histogram(),
            next_report,
        }
    }

    /// The loop; ends after the stop flag is set and clients have been told.
    pub fn run(mut self) -> Result<(), RunError> {
        let mut events = Events::with_capacity(16);
        self.parts.ready.arrive();
        let mut shutdown: Option<Shutdown> = None;
        loop {
            self.wait(&mut events)?;
            self.receive();
            // A turn can take milliseconds, so each part reads the clock for itself.
            let now = self.parts.clock.now();
            self.take_handed(now);
            self.take_from_zone(now);
            if self.parts.shard.poll_timeout().is_some_and(|due| due <= now) {
                self.parts.shard.handle_timeout(now);
            }
            self.transmit();
            let now = self.parts.clock.now();
            if self.parts.stop.load(Ordering::Acquire) && self.shut_down(shutdown.get_or_insert(Shutdown::at(now)), now)
            {
                return Ok(());
            }
            self.pass_to_zone();
            self.report(now);
            self.counters.turns += 1;
        }
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), RunError> {
        self.listen_if_wanted()?;
        let timeout = if self.readable { Duration::ZERO } else { self.time_to_wait() };
        if self.readable {
            let_others();
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(RunError::System { what: "poll", error });
            }
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() == SOCKET) {
            self.readable |= event.is_readable() || event.is_error();
            if event.is_writable() {
                self.blocked = self.blocked.filter(|(_, why)| *why != Blocked::Full);
            }
        }
        if self.intake.next().is_some_and(|due| due <= self.parts.clock.now()) {
            self.readable = true;
        }
        Ok(())
    }

    /// The poll reports on the socket unless datagrams are taken by the clock; always where it is to tell when the kernel
    /// takes more.
    fn listen_if_wanted(&mut self) -> Result<(), RunError> {
        let wanted = self.intake.next().is_none() || self.blocked.is_some();
        if wanted == self.listening {
            return Ok(());
        }
        self.listening = wanted;
        let registry = self.poll.registry();
        let changed = if wanted { listen(registry, &mut self.socket) } else { registry.deregister(&mut self.socket) };
        changed.map_err(RunError::system("change the poll"))
    }

    fn time_to_wait(&self) -> Duration {
        let now = self.parts.clock.now();
        let mut due = self.next_report;
        if let Some(timeout) = self.parts.shard.poll_timeout() {
            due = due.min(timeout);
        }
        if let Some(next) = self.intake.next() {
            due = due.min(next);
        }
        if let Some((_, why)) = self.blocked {
            let patience = if why == Blocked::NoBuffers { NO_BUFFERS_RETRY } else { SEND_PATIENCE };
            due = due.min(now + patience);
        }
        if self.parts.stop.load(Ordering::Acquire) {
            due = due.min(now + NO_BUFFERS_RETRY);
        }
        due.saturating_since(now)
    }

    fn receive(&mut self) {
        if !self.readable {
            return;
        }
        let (begun, before) = (self.parts.clock.now(), self.counters.packets_in);
        while self.readable && self.counters.packets_in - before < RECEIVES_PER_TURN as u64 {
            let (now, unix_ms) = (self.parts.clock.now(), Clock::unix_ms());
            let count = self.receiver.receive(&self.socket).unwrap_or_else(|_| {
                // An error belongs to one datagram at most (a port unreachable); the next call goes on.
                self.counters.receive_errors += 1;
                0
            });
            self.readable = count == BATCH;
            for ahead in AHEAD {
                (0..ahead).for_each(|i| self.expect(i, ahead));
            }
            for i in 0..count {
                AHEAD.into_iter().for_each(|ahead| self.expect(i + ahead, ahead));
                self.handle_received(now, unix_ms, i);
            }
        }
        self.intake.looked(begun, self.counters.packets_in > before);
        for (owner, link) in self.parts.links.iter().enumerate().filter(|(owner, _)| self.to_wake >> owner & 1 != 0) {
            debug_assert_ne!(owner, usize::from(self.parts.index));
            // A failed wake-up delays the datagrams to the owner's next turn.
            let _ = link.waker.wake();
        }
        self.to_wake = 0;
    }

    /// A round of snapshots to thousands takes longer than what arrives meanwhile may wait: the socket would overflow, and
    /// round trips seem as long as the round, which the rate control takes for a queue on the path.
    fn receive_between(&mut self) {
        if self.intake.is_due(self.parts.clock.now()) {
            self.readable = true;
            self.receive();
            self.pass_to_zone();
        }
    }

    /// The `i`-th of the datagrams is to be handled soon.
    fn expect(&mut self, i: usize, ahead: usize) {
        if let Some((_, datagram)) = self.receiver.datagram(i) {
            self.parts.shard.expect_datagram(datagram, ahead);
        }
    }

    fn handle_received(&mut self, now: Time, unix_ms: u64, i: usize) {
        let Some((from, datagram)) = self.receiver.datagram(i) else { return };
        self.counters.packets_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let owner = worker_of(datagram).filter(|owner| *owner != self.parts.index);
        let Some(link) = owner.and_then(|owner| self.parts.links.get(usize::from(owner))) else {
            self.parts.shard.handle_datagram(now, unix_ms, from, datagram, &mut self.entropy);
            return;
        };
        if Handed::new(from, datagram).is_some_and(|handed| link.handed.push(handed).is_ok()) {
            self.counters.handed += 1;
            self.to_wake |= owner.map_or(0, |owner| 1 << owner);
        } else {
            self.counters.handed_dropped += 1;
        }
    }

    fn take_handed(&mut self, now: Time) {
        let link = &self.parts.links[usize::from(self.parts.index)];
        let unix_ms = if link.handed.is_empty() { 0 } else { Clock::unix_ms() };
        for _ in 0..link.handed.len() {
            let Some(mut handed) = link.handed.pop() else { return };
            let from = handed.from;
            self.parts.shard.handle_datagram(now, unix_ms, from, handed.datagram(), &mut self.entropy);
        }
    }

    /// The zone queues its answers before the frame that shows their effect, so frames are taken out first and handled
    /// last.
    fn take_from_zone(&mut self, now: Time) {
        let link = &self.parts.links[usize::from(self.parts.index)];
        let frames: arrayvec::ArrayVec<_, 8> = std::iter::from_fn(|| link.frames.pop()).take(8).collect();
        for _ in 0..link.from_zone.len() {
            let Some(message) = link.from_zone.pop() else { break };
            self.parts.shard.handle_zone(now, message);
        }
        if let Some((due, _)) = frames.first() {
            self.frame_since = Some((*due, now));
        }
        for (_, frame) in frames {
            self.parts.shard.handle_frame(now, frame);
        }
    }

    fn transmit(&mut self) {
        let now = self.parts.clock.now();
        if self.blocked.is_some_and(|(since, _)| now.saturating_since(since) > SEND_PATIENCE) {
            self.counters.send_dropped += self.sender.clear();
            self.blocked = None;
        }
        if matches!(self.blocked, Some((_, Blocked::Full))) {
            return;
        }
        loop {
            // The shard measures round trips from when it believes to send.
            let now = self.parts.clock.now();
            let mut drained = false;
            while let Some(slot) = self.sender.slot() {
                let Some((to, len)) = self.parts.shard.poll_transmit(now, slot) else {
                    drained = true;
                    break;
                };
                self.sender.commit(to, len);
            }
            if !self.sender.is_empty() {
                let flushed = self.sender.flush(&self.socket);
                self.count(flushed);
                if let Some(why) = flushed.blocked {
                    let since = self.blocked.map_or(now, |(since, _)| since);
                    self.blocked = Some((since, why));
                    return;
                }
            }
            if drained {
                break;
            }
            let_others();
            self.receive_between();
        }
        self.blocked = None;
        if let Some((due, since)) = self.frame_since.take() {
            let now = self.parts.clock.now();
            let took = now.saturating_since(since);
            self.round_us.saturating_record(now.saturating_since(due).as_micros() as u64);
            self.send_us.saturating_record(took.as_micros() as u64);
            let round_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
            self.parts.links[usize::from(self.parts.index)].round_us.store(round_us, Ordering::Relaxed);
            let percent = took.as_micros() * u128::from(self.parts.rate_hz) / 10_000;
            self.parts.shard.on_round_took(u8::try_from(percent).unwrap_or(u8::MAX));
            if let Some(explainer) = &mut self.parts.explainer {
                explainer.tell(self.parts.shard.explained());
            }
        }
    }

    fn count(&mut self, flushed: Flushed) {
        self.counters.packets_out += flushed.sent;
        self.counters.bytes_out += flushed.bytes;
        self.counters.send_dropped += flushed.refused;
        self.counters.send_blocked += u64::from(flushed.blocked.is_some());
    }

    fn pass_to_zone(&mut self) {
        let queue = &self.parts.links[usize::from(self.parts.index)].to_zone;
        self.to_zone.retry(queue);
        while let Some(message) = self.parts.shard.poll_zone() {
            match message {
                ToZone::Join { .. } | ToZone::Leave { .. } => self.to_zone.push(queue, message),
                ToZone::Input { .. } => {
                    self.counters.inputs_dropped += u64::from(!self.to_zone.offer(queue, message));
                }
            }
        }
    }

    fn report(&mut self, now: Time) {
        if now < self.next_report {
            return;
        }
        self.next_report = next_report(now);
        let send_us = std::mem::replace(&mut self.send_us, micros_histogram());
        let round_us = std::mem::replace(&mut self.round_us, micros_histogram());
        let shard = self.parts.shard.stats();
        (self.counters.overrun, self.counters.congested) = (batch::dropped(&self.socket), self.receiver.congested());
        self.parts.reports.publish(WorkerReport { counters: self.counters, shard, send_us, round_us });
    }

    /// Tells every client that the server ends (the shard says it a few times, because datagrams get lost), those as well
    /// that connect meanwhile. Whether it is done.
    fn shut_down(&mut self, shutdown: &mut Shutdown, now: Time) -> bool {
        if now >= shutdown.next {
            self.parts.shard.shutdown(now);
            self.transmit();
            shutdown.next = now + SHUTDOWN_REPEAT;
        }
        now >= shutdown.end || self.parts.shard.stats().connections == 0 && self.sender.is_empty()
    }
}

struct Shutdown {
    next: Time,
    end: Time,
}

impl Shutdown {
    fn at(now: Time) -> Self {
        Self { next: now, end: now + SHUTDOWN_TIME }
    }
}

/// Microseconds up to a minute, two significant digits: a few KiB.
pub fn micros_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 2).unwrap_or_else(|error| unreachable!("the bounds are constant: {error}"))
}

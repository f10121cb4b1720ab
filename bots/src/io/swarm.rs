//! The swarm's threads: sockets around squads, and the main thread that says when to measure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bots::behavior::Behavior;

use bots::swarm::{Interval, Progress, Squad, SquadOptions, Summary, Tally};
use client::Unplayable;
use netcode::Time;
use netcode::crypto::{Entropy as _, OsEntropy};
use netcode::emulator::LinkConfig;
use netcode::rng::Rng;
use sim::game::Rulebook;
use sim::game::rulebook::MAX_TEXT;

use super::clock::Clock;
use super::error::{RulesError, RunError};
use super::files;
use super::lines;
use super::sockets::{Sockets, allow};
use super::tokens::{self, Tokens};
use super::trace::TraceFile;

/// Handshakes under way at a time, over all threads.
const HANDSHAKES: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Tokens are held ready for those who come back within so many seconds, and for so many at least.
const SPARE_SECONDS: f64 = 5.0;
const SPARE: usize = 64;
/// How often phases are looked at.
const GRAIN: Duration = Duration::from_millis(20);
/// How long closes may take at the end.
const LINGER: Duration = Duration::from_millis(1500);
/// Longer than any datagram of the protocol, so that one too long is seen as such.
const BUFFER: usize = 2048;

/// A run of the swarm.
#[derive(Clone, Debug)]
pub struct SwarmOptions {
    /// The server's UDP address (or its HTTP address: tokens name the UDP one).
    pub server: SocketAddr,
    /// Its HTTP address, if not as usual.
    pub http: Option<SocketAddr>,
    pub clients: usize,
    /// Account, and character, of the first client; the others count up. Absent: random ones.
    pub account: Option<u64>,
    pub seconds: f64,
    /// From the last one connected to the window, and from each later connection to when it is measured.
    pub settle: Duration,
    /// The window begins at SIGUSR1, so long after the last one connected at the latest, and not before `settle`.
    pub settle_most: Option<Duration>,
    /// Per cent of the clients that leave and come back each minute of the window.
    pub churn: f64,
    /// Per cent of the clients that get another address each minute of the window.
    pub rebind: f64,
    /// Seconds from a line about the window to the next.
    pub every: Option<f64>,
    /// The share of light clients.
    pub light: f64,
    /// Ticks from one's turn to its next.
    pub light_every: u16,
    pub behavior: Behavior,
    pub link: Option<LinkConfig>,
    pub threads: usize,
    pub seed: u64,
    /// The file with the server's rulebook, if it is not the standard one.
    pub rules: Option<PathBuf>,
    /// Where the trace of the first client goes.
    pub trace: Option<PathBuf>,
}

const JOINING: u8 = 0;
const MEASURING: u8 = 1;
const LEAVING: u8 = 2;

struct Shared {
    phase: AtomicU8,
    stop_tokens: AtomicBool,
    tokens: Tokens,
    progress: Vec<Mutex<Progress>>,
    /// Intervals of the window that are over: at each each thread leaves a copy of what it measured so far.
    intervals: AtomicU64,
    copies: Vec<Mutex<Measured>>,
    clock: Clock,
}

/// What a thread had measured when an interval ended.
#[derive(Default)]
struct Measured {
    interval: u64,
    tally: Tally,
}

impl Shared {
    fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for cell in &self.progress {
            let part = *cell.lock().unwrap_or_else(PoisonError::into_inner);
            sum.online += part.online;
            sum.away += part.away;
            sum.settled += part.settled;
            sum.failed += part.failed;
            sum.disconnected += part.disconnected;
            sum.snapshots += part.snapshots;
            sum.down_bytes += part.down_bytes;
        }
        sum
    }

    /// What all threads had measured when that interval ended; `None`: some have not said yet.
    fn measured(&self, interval: u64) -> Option<Tally> {
        let mut sum = Tally::default();
        for cell in &self.copies {
            let copy = cell.lock().unwrap_or_else(PoisonError::into_inner);
            if copy.interval < interval {
                return None;
            }
            sum.add(&copy.tally);
        }
        Some(sum)
    }
}

/// Lets every thread come to its end when dropped, so also when the main thread panics: the scope waits for them all.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.phase.store(LEAVING, Ordering::Relaxed);
        self.0.stop_tokens.store(true, Ordering::Relaxed);
    }
}

/// Runs the swarm until its time is over, nobody is left in it, or a signal came.
pub fn run(options: &SwarmOptions) -> Result<Summary, RunError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(RunError::system("handle signals"))?;
    }
    let calm = calm_is_told()?;
    let book = options.rules.as_deref().map_or_else(|| Ok(Rulebook::standard()), rulebook)?;
    allow(options.clients)?;
    let comes_back = options.behavior == Behavior::Churn;
    let clock = Clock::start();
    let mut trace = options.trace.as_deref().map(|path| TraceFile::create(path, clock)).transpose()?;
    let threads = options.threads.clamp(1, options.clients.max(1));
    let shared = Shared {
        phase: AtomicU8::new(JOINING),
        stop_tokens: AtomicBool::new(false),
        tokens: Tokens::open(options.server, options.http, options.clients, spare(options), options.account)?,
        progress: (0..threads).map(|_| Mutex::default()).collect(),
        intervals: AtomicU64::new(0),
        copies: (0..threads).map(|_| Mutex::default()).collect(),
        clock,
    };
    thread::scope(|scope| {
        let leave = Leave(&shared);
        scope.spawn(|| shared.tokens.refill(&shared.stop_tokens));
        let squads: Vec<_> = (0..threads)
            .map(|at| {
                let (shared, part) = (&shared, squad_options(options, &book, at, threads));
                let trace = trace.take().filter(|_| part.trace);
                scope.spawn(move || Worker::new(shared, at, &part, options.server, trace)?.run())
            })
            .collect();
        let seconds = direct(options, &shared, &interrupted, &calm, || squads.iter().any(|squad| squad.is_finished()));
        drop(leave);
        let mut tally = Tally::default();
        for squad in squads {
            match squad.join() {
                Ok(part) => tally.add(&part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        left(&tally);
        let failed: u64 = tally.failed.values().sum();
        let never = (options.clients as u64).saturating_sub(tally.connected + failed);
        if never > 0 && !comes_back {
            let cause = shared.tokens.error().unwrap_or_else(|| "no time left".into());
            tally.failed.insert(format!("never started: {cause}"), never);
        }
        let loss = options.link.map_or(0.0, |link| link.loss);
        Ok(Summary::new(options.clients as u64, seconds, loss, &tally))
    })
}

/// Set by SIGUSR1.
fn calm_is_told() -> Result<Arc<AtomicBool>, RunError> {
    let calm = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&calm))
        .map_err(RunError::system("handle signals"))?;
    Ok(calm)
}

/// How many tokens are held ready for clients that come back.
fn spare(options: &SwarmOptions) -> usize {
    let per_s = options.churn / 100.0 / 60.0 * options.clients as f64;
    let coming = if per_s > 0.0 || options.behavior == Behavior::Churn { SPARE } else { 0 };
    coming.max((per_s * SPARE_SECONDS).ceil() as usize).min(tokens::AHEAD)
}

fn rulebook(path: &Path) -> Result<Arc<Rulebook>, RunError> {
    let failed = |error| RunError::Rules { path: path.to_owned(), error };
    let text = files::read(path, MAX_TEXT).map_err(|error| failed(error.into()))?;
    let text = String::from_utf8(text).map_err(|_| failed(RulesError::NoText))?;
    Rulebook::from_toml(&text).map(Arc::new).map_err(|error| failed(error.into()))
}

/// Says once why bots left by themselves, and what to do.
fn left(tally: &Tally) {
    for (cause, (why, count)) in &tally.unplayable {
        let hint = match why {
            Unplayable::Rules { .. } => "; give the swarm the rulebook of the server: --rules FILE",
            Unplayable::Map { .. } => "",
        };
        lines::note(format_args!("bots: {count} bots left: {cause}{hint}"));
    }
}

fn squad_options(options: &SwarmOptions, book: &Arc<Rulebook>, at: usize, threads: usize) -> SquadOptions {
    SquadOptions {
        // The first ones take what does not divide.
        clients: options.clients / threads + usize::from(at < options.clients % threads),
        behavior: options.behavior,
        light: options.light,
        light_every: options.light_every,
        link: options.link,
        handshakes: (HANDSHAKES / threads).max(1),
        seed: Rng::new(options.seed).fork(&format!("squad {at}")).seed(),
        connect_timeout: CONNECT_TIMEOUT,
        churn: options.churn,
        rebind: options.rebind,
        settle: options.settle,
        book: Arc::clone(book),
        trace: at == 0 && options.trace.is_some(),
    }
}

/// Says when the window begins and ends, and reports each second; returns the window's length in seconds.
fn direct(
    options: &SwarmOptions,
    shared: &Shared,
    interrupted: &AtomicBool,
    calm: &AtomicBool,
    failed: impl Fn() -> bool,
) -> f64 {
    let clients = options.clients as u64;
    // Joining takes its time, the more the more clients: about 300 a second over a slow path.
    let patience = CONNECT_TIMEOUT + Duration::from_millis(clients * 3);
    let mut all_in: Option<Time> = None;
    let mut window: Option<Time> = None;
    let mut intervals = options.every.map(Intervals::new);
    let mut next_line = shared.clock.now() + Duration::from_secs(1);
    let mut before = Progress::default();
    loop {
        pause(GRAIN);
        let now = shared.clock.now();
        let progress = shared.progress();
        // Nobody comes back who did not leave on purpose, so nothing is left to be measured.
        let deserted = progress.settled >= clients && progress.online == 0 && progress.away == 0;
        if interrupted.load(Ordering::Relaxed) || failed() || deserted {
            break;
        }
        if let Some(start) = window {
            if let Some(intervals) = &mut intervals {
                intervals.look(now.saturating_since(start).as_secs_f64(), shared, &progress);
            }
            if now.saturating_since(start).as_secs_f64() >= options.seconds {
                break;
            }
        } else {
            if all_in.is_none() && (progress.settled >= clients || now >= Time::ZERO + patience) {
                all_in = Some(now);
                // Whoever watches the server looks from here on.
                next_line = now;
            }
            let most = options.settle_most.filter(|_| !calm.load(Ordering::Relaxed)).unwrap_or_default();
            if all_in.is_some_and(|since| now >= since + options.settle.max(most)) {
                window = Some(now);
                shared.phase.store(MEASURING, Ordering::Relaxed);
                // Whoever measures the server waits for this.
                next_line = now;
            }
        }
        if now >= next_line {
            next_line = next_line + Duration::from_secs(1);
            let phase = if window.is_some() {
                "measuring"
            } else if all_in.is_some() {
                "settling"
            } else {
                "joining"
            };
            report(now, &progress, &before, phase);
            before = progress;
        }
    }
    window.map_or(0.0, |start| shared.clock.now().saturating_since(start).as_secs_f64())
}

/// Tells what was measured in each part of the window.
struct Intervals {
    every: f64,
    /// Of the one under way, from 1.
    number: u64,
    before: Tally,
}

impl Intervals {
    fn new(every: f64) -> Self {
        Self { every, number: 1, before: Tally::default() }
    }

    /// `seconds`: since the window began.
    fn look(&mut self, seconds: f64, shared: &Shared, progress: &Progress) {
        if seconds < self.every * self.number as f64 {
            return;
        }
        shared.intervals.store(self.number, Ordering::Relaxed);
        if let Some(tally) = shared.measured(self.number) {
            let interval = Interval::new(self.number, seconds, progress, &self.before, &tally);
            lines::note(serde_json::json!(interval));
            self.before = tally;
            self.number += 1;
        }
    }
}

fn report(now: Time, progress: &Progress, before: &Progress, phase: &str) {
    let seconds = now.as_micros() / 1_000_000;
    let snapshots = progress.snapshots.saturating_sub(before.snapshots);
    let kib = progress.down_bytes.saturating_sub(before.down_bytes) / 1024;
    let Progress { online, away, failed, disconnected, .. } = progress;
    lines::note(format_args!(
        "{seconds:4} s  {phase}  online {online}  away {away}  failed {failed}  disconnected {disconnected}  \
         snapshots/s {snapshots}  down {kib} KiB/s"
    ));
}

/// One thread: a squad and its sockets.
struct Worker<'a> {
    shared: &'a Shared,
    at: usize,
    server: SocketAddr,
    squad: Squad,
    sockets: Sockets,
    entropy: OsEntropy,
    phase: u8,
    /// Of the latest interval that it left a copy for.
    interval: u64,
    trace: Option<TraceFile>,
}

impl<'a> Worker<'a> {
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    fn new(
        shared: &'a Shared,
        at: usize,
        options: &SquadOptions,
        server: SocketAddr,
        trace: Option<TraceFile>,
    ) -> Result<Self, RunError> {
        let sockets = Sockets::new(options.clients).map_err(RunError::system("start the event loop"))?;
        let squad = Squad::new(options.clone());
        Ok(Self { shared, at, server, squad, sockets, entropy: OsEntropy::new(), phase: JOINING, interval: 0, trace })
    }

    fn run(mut self) -> Result<Tally, RunError> {
        let mut buffer = [0; BUFFER];
        let mut ready = Vec::new();
        let mut next_look = Time::ZERO;
        let mut end = Time::NEVER;
        loop {
            let now = self.shared.clock.now();
            let wake = self.squad.poll_timeout().unwrap_or(Time::NEVER).min(next_look);
            ready.clear();
            let wait = wake.saturating_since(now);
            self.sockets.wait(wait, &mut ready).map_err(RunError::system("wait for datagrams"))?;
            for index in ready.iter().copied() {
                while let Some(len) = self.sockets.receive(index, &mut buffer) {
                    let datagram = buffer.get_mut(..len).unwrap_or_default();
                    self.squad.handle_datagram(self.shared.clock.now(), index, datagram);
                }
                self.transmit(self.shared.clock.now(), &mut buffer);
            }
            self.run_due(&mut buffer);
            self.rebind()?;
            self.join()?;
            self.transmit(self.shared.clock.now(), &mut buffer);
            self.write_trace()?;
            let now = self.shared.clock.now();
            if now >= next_look {
                next_look = now + GRAIN;
                if self.look(now) {
                    end = now + LINGER;
                }
                self.transmit(now, &mut buffer);
                if now >= end || (end != Time::NEVER && self.squad.is_empty()) {
                    self.write_trace()?;
                    self.trace.take().map_or(Ok(()), TraceFile::finish)?;
                    return Ok(self.squad.tally().clone());
                }
            }
        }
    }

    /// One client after the other: what is dear is to come to one.
    fn run_due(&mut self, buffer: &mut [u8]) {
        let mut now = self.shared.clock.now();
        let until = now;
        while let Some(index) = self.squad.poll_due(until) {
            while self.squad.reads_on(index)
                && let Some(len) = self.sockets.receive(index, buffer)
            {
                self.squad.handle_datagram(now, index, buffer.get_mut(..len).unwrap_or_default());
            }
            self.squad.run_due(now, index);
            self.transmit(now, buffer);
            now = self.shared.clock.now();
        }
    }

    fn transmit(&mut self, now: Time, buffer: &mut [u8]) {
        while let Some((index, len)) = self.squad.poll_transmit(now, buffer) {
            self.sockets.send(index, buffer.get(..len).unwrap_or_default());
        }
    }

    fn write_trace(&mut self) -> Result<(), RunError> {
        let Some(file) = &mut self.trace else { return Ok(()) };
        while let Some((time, event)) = self.squad.poll_trace() {
            file.write(self.squad.traced_conn(), time, &event)?;
        }
        Ok(())
    }

    fn rebind(&mut self) -> Result<(), RunError> {
        while let Some(index) = self.squad.poll_rebind(self.shared.clock.now()) {
            let watched = !self.squad.reads_by_turns(index);
            self.sockets.rebind(index, watched).map_err(|error| RunError::Socket { index, error })?;
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), RunError> {
        while let Some(index) = self.squad.poll_join() {
            let Some(bundle) = self.shared.tokens.take() else { break };
            let mut server = bundle.servers.first().map_or(self.server, |entry| entry.addr);
            if server.ip().is_unspecified() {
                // It listens everywhere; where we found it is one of these places.
                server.set_ip(self.server.ip());
            }
            let watched = !self.squad.reads_by_turns(index);
            self.sockets.open(index, server, watched).map_err(|error| RunError::Socket { index, error })?;
            let ephemeral = self.entropy.ephemeral()?;
            // What cannot be started is counted by the squad.
            let _ = self.squad.join(self.shared.clock.now(), &bundle, ephemeral);
        }
        Ok(())
    }

    /// Follows the main thread's phase; whether leaving begins now.
    fn look(&mut self, now: Time) -> bool {
        let phase = self.shared.phase.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.phase, phase);
        if before == JOINING && phase == MEASURING {
            self.squad.begin_window(now);
        }
        let leaves = before != LEAVING && phase == LEAVING;
        if leaves {
            self.squad.end_window(now);
            self.squad.leave_all(now);
        }
        let progress = self.squad.progress();
        if let Some(cell) = self.shared.progress.get(self.at) {
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        }
        let interval = self.shared.intervals.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.interval, interval) != interval
            && let Some(cell) = self.shared.copies.get(self.at)
        {
            let copy = Measured { interval, tally: self.squad.tally().clone() };
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = copy;
        }
        leaves
    }
}

#[expect(clippy::disallowed_methods, reason = "the main thread has nothing to wait for but time")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}

//! Start, watch, stop: builds the parts from the configuration, gives each its thread, and waits for signals.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use netcode::crypto::ClusterKey;
use netcode::token::ServerEntry;
use server::config::{HttpListen, ServerConfig};
use server::dev_token::Issuer;
use server::zone::{Zone, ZoneConfig};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sim::World;
use sim::game::Rulebook;
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::error::RunError;
use super::explain::Explain;
use super::http::Http;
use super::link::{Link, REPORT_EVERY, Reports, next_report};
use super::record::{self, Recorder, Writing};
use super::status::{Board, Status};
use super::worker::{self, Parts, Worker};
use super::zone_thread::{Recorded, ZoneThread};
use super::{batch, cores, memory, setup, sockets};

/// The status line is printed this long after the threads report.
const STATUS_DELAY: Duration = Duration::from_millis(200);

/// Counts the threads that are not up yet.
pub struct Ready(AtomicUsize);

impl Ready {
    /// Waits for that many.
    pub fn new(threads: usize) -> Self {
        Self(AtomicUsize::new(threads))
    }

    /// One more is up.
    pub fn arrive(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all are up.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// What the HTTP endpoint shows of the server.
#[derive(Clone)]
pub struct Shown {
    /// Whether it is up.
    pub ready: Arc<Ready>,
    /// Its state.
    pub board: Arc<Board>,
}

/// What the main thread is told.
enum News {
    Signal(i32),
    Ended { thread: String, result: Result<(), RunError> },
}

/// Runs the server until a signal or a failure ends it.
pub fn run(config: &ServerConfig, explain: Option<&Explain>) -> Result<(), RunError> {
    cores::check(&config.threads)?;
    explain.map_or(Ok(()), Explain::create)?;
    let clock = Clock::start();
    let (tell, news) = channel::bounded(64);
    watch_signals(tell.clone())?;
    let keys = setup::cluster_keys(&config.access.cluster_keys)?;
    let (addr, udp) = sockets::bind_udp(&config.network)?;
    let shown = Shown { ready: Arc::new(Ready::new(udp.len() + 1)), board: Arc::new(Board::default()) };
    let http = start_http(config, addr, keys.first(), &shown)?;
    info!(
        listen = %addr,
        http = http.as_ref().map(|(at, _)| at.to_string()).unwrap_or_default(),
        workers = udp.len(),
        rate_hz = config.world.tick_rate_hz,
        seed = config.world.seed,
        huge_pages = memory::has_huge_pages(),
        "starting"
    );
    let running = Running::start(config, explain, &keys, udp, clock, &shown, &tell)?;
    // Whatever happens here, the clients are told.
    let watch = std::panic::AssertUnwindSafe(|| running.watch(&news, clock, &shown.ready));
    let result = std::panic::catch_unwind(watch).unwrap_or_else(|_| Err(RunError::Thread("main".into())));
    let recorded = running.stop();
    if let Some((_, http)) = http {
        http.stop();
    }
    if result.is_ok() {
        info!("stopped");
    }
    result.and(recorded)
}

fn start_http(
    config: &ServerConfig,
    udp: SocketAddr,
    key: Option<&ClusterKey>,
    shown: &Shown,
) -> Result<Option<(SocketAddr, Http)>, RunError> {
    let Some(mut addr) = config.http() else { return Ok(None) };
    if config.network.http == HttpListen::SameAsListen {
        // Where the system chose the port, the one that it chose.
        addr = udp;
    }
    let listener = sockets::bind_http(addr)?;
    let addr = listener.local_addr().map_err(RunError::system("ask for the HTTP address"))?;
    let issuer = key.filter(|_| config.dev_tokens()).map(|key| Issuer {
        key: key.clone(),
        server: ServerEntry { id: config.access.server_id, addr: config.advertised(udp) },
        group: config.access.group,
        life_ms: u64::from(config.access.dev_token_life_s) * 1000,
    });
    if issuer.is_some() {
        warn!(%addr, "development tokens are on: everyone on this machine can log in (access.dev_tokens)");
    }
    Ok(Some((addr, Http::start(listener, shown.clone(), issuer)?)))
}

fn watch_signals(tell: Sender<News>) -> Result<(), RunError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(RunError::system("watch for signals"))?;
    spawn("signals", move || {
        for signal in signals.forever() {
            if tell.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// The zone, and what records it.
fn make_zone(config: &ServerConfig, book: Arc<Rulebook>) -> Result<(Zone, Option<(Recorder, Writing)>), RunError> {
    let ZoneConfig { world, max_players } = config.zone();
    let zone = Zone::with_world(World::with_book(world, book).map_err(RunError::World)?, max_players);
    let Some(dir) = &config.record.dir else { return Ok((zone, None)) };
    let mut zone = zone.with_log(config.record.states).map_err(RunError::Record)?;
    let header = zone.take_log();
    let (file, path) = record::create(dir, config.world.zone, config.world.seed, Clock::unix_ms(), &header)?;
    Ok((zone, Some(Recorder::start(file, path)?)))
}

/// The threads that make up the server.
struct Running {
    stop: Arc<AtomicBool>,
    writing: Option<Writing>,
    links: Arc<[Link]>,
    threads: Vec<JoinHandle<()>>,
    status: std::cell::RefCell<Status>,
}

impl Running {
    fn start(
        config: &ServerConfig,
        explain: Option<&Explain>,
        keys: &[ClusterKey],
        udp: Vec<UdpSocket>,
        clock: Clock,
        shown: &Shown,
        tell: &Sender<News>,
    ) -> Result<Self, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut links, mut polls) = (Vec::new(), Vec::new());
        for socket in udp {
            let (poll, socket, waker) = worker::register(socket)?;
            links.push(Link::new(config.world.max_players as usize, waker));
            polls.push((poll, socket));
        }
        let links: Arc<[Link]> = links.into();
        let rate_hz = config.world.tick_rate_hz as u16;
        let book = setup::rulebook(config)?;
        // What clients compare with theirs: they leave where it is another.
        info!(hash = format_args!("{:016x}", book.hash()), "rulebook");
        let shards = setup::shards(config, keys, book.hash())?;
        let zone_reports = Arc::new(Reports::new());
        let mut worker_reports = Vec::new();
        let mut threads = Vec::new();
        for (index, ((poll, socket), shard)) in (0..).zip(polls.into_iter().zip(shards)) {
            let reports = Arc::new(Reports::new());
            worker_reports.push(Arc::clone(&reports));
            let (links, stop, ready) = (Arc::clone(&links), Arc::clone(&stop), Arc::clone(&shown.ready));
            let explainer = explain.map(Explain::open).transpose()?;
            let receive_every = Duration::from_micros(config.network.receive_every_us.into());
            let parts = Parts { index, shard, explainer, rate_hz, receive_every, links, reports, clock, stop, ready };
            let core = cores::of_worker(&config.threads, index);
            let run = move || {
                cores::stay_on(core)?;
                Worker::new(parts, poll, socket).run()
            };
            threads.push(spawn_watched(format!("worker-{index}"), tell.clone(), run)?);
        }
        let status =
            std::cell::RefCell::new(Status::new(Arc::clone(&shown.board), Arc::clone(&zone_reports), &worker_reports));
        let (zone, recording) = make_zone(config, book)?;
        let (recorder, writing) = recording.unzip();
        let (links_of_zone, stop_zone, ready) = (Arc::clone(&links), Arc::clone(&stop), Arc::clone(&shown.ready));
        let (core, limits) = (config.threads.zone_core, config.slowest());
        let run = move || {
            cores::stay_on(core)?;
            if let Err(error) = batch::be_prompt() {
                debug!(%error, "the zone's thread waits for its turn like any other: ticks may begin some milliseconds late");
            }
            let recorded = Recorded { zone, recorder };
            ZoneThread::new(recorded, limits, links_of_zone, zone_reports, clock, stop_zone, ready).run();
            Ok(())
        };
        threads.push(spawn_watched("zone".into(), tell.clone(), run)?);
        Ok(Self { stop, writing, links, threads, status })
    }

    /// Prints the status line until something ends the server.
    fn watch(&self, news: &Receiver<News>, clock: Clock, ready: &Ready) -> Result<(), RunError> {
        let mut due = next_report(clock.now()) + STATUS_DELAY;
        let mut told_ready = false;
        loop {
            if !told_ready && ready.is_ready() {
                info!("ready");
                told_ready = true;
            }
            let patience = if told_ready { due.saturating_since(clock.now()) } else { Duration::from_millis(5) };
            match news.recv_timeout(patience) {
                Ok(News::Signal(signal)) => {
                    info!(signal, "stopping: telling clients");
                    return Ok(());
                }
                Ok(News::Ended { thread, result }) => {
                    error!(thread, "a thread ended, so the server does");
                    return result.and(Err(RunError::Thread(thread)));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Thread("signals".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if clock.now() >= due {
                self.status.borrow_mut().print();
                due = due + REPORT_EVERY;
            }
        }
    }

    /// Ends all threads; workers first tell their clients. An error: what was recorded is not whole.
    fn stop(self) -> Result<(), RunError> {
        self.stop.store(true, Ordering::Release);
        for link in self.links.iter() {
            // A worker that is not woken wakes for its next report.
            let _ = link.waker.wake();
        }
        for thread in self.threads {
            // A panic has been told already.
            let _ = thread.join();
        }
        self.writing.map_or(Ok(()), Writing::end)
    }
}

fn spawn_watched(
    name: String,
    tell: Sender<News>,
    run: impl FnOnce() -> Result<(), RunError> + Send + 'static,
) -> Result<JoinHandle<()>, RunError> {
    let thread = name.clone();
    spawn(&name, move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(RunError::Thread(thread.clone())));
        // Nobody listens any more once the server stops.
        let _ = tell.try_send(News::Ended { thread, result });
    })
}

#[expect(clippy::disallowed_methods, reason = "the binary owns its threads")]
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(RunError::system("start a thread"))
}

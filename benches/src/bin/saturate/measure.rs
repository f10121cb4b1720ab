//! One load on one server: start it, let everybody join, measure, end it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::calm::Calm;
use crate::error::Error;
use crate::log::{Line, Seen, Status, Times};
use crate::proc::{Core, UdpDrops, Usage, Used, rss_kb};
use crate::process::{Process, Stream, after, bound};
use crate::series::{Row, row_seconds};
use crate::setup::Setup;
use crate::stop::Stop;
use crate::{now, pause};

/// How long the server may take to serve: it makes its map.
const READY: Duration = Duration::from_secs(30);
/// A status line comes every second, unless the server is far behind.
const STATUS: Duration = Duration::from_secs(15);
/// The bots' summary comes when all have left.
const SUMMARY: Duration = Duration::from_secs(15);
/// Longer than a server waits for a connection that says nothing: then it is over, too.
const EMPTY: Duration = Duration::from_secs(15);
/// Before its memory is measured, a server does what it does first.
const WARM: Duration = Duration::from_millis(1200);

/// Where it is to be calm first, so many seconds at the least and at the most.
const SETTLE: [f64; 2] = [3.0, 40.0];

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Seconds from when all were in to the window.
    pub settled_s: f64,
    /// Seconds on the clock.
    pub seconds: f64,
    /// Ticks that took place.
    pub ticks: u64,
    /// The server's counters over that time.
    pub status: Status,
    /// How long ticks took.
    pub times: Times,
    /// What the server's threads used.
    pub server: Used,
    /// What the bots used.
    pub bots: Used,
    /// How busy the server's cores were on average, and the bots', 0 to 1.
    pub busy: [f64; 2],
    /// The share of their time that the host of a virtual machine took.
    pub stolen: [f64; 2],
    /// Datagrams that found a socket's buffer full: the server's, anybody's.
    pub udp_drops: UdpDrops,
    /// The server's memory before the first one joined, and with everybody in, in KiB.
    pub rss_kb: [u64; 2],
    /// What the bots say, from their own window.
    pub summary: Value,
    /// Of a soak: what happened in each few seconds.
    pub rows: Vec<Row>,
    /// Where clients came and went: connections and players that the server had after all had left for good.
    pub left_behind: u64,
}

/// A directory that is gone afterwards.
struct Workplace(PathBuf);

impl Workplace {
    fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("saturate-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Error::system(format!("make {}", path.display())))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(Error::system(format!("write {}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs that load; `tell` is told each row of a soak at once.
pub fn measure(setup: &Setup, stop: &Stop, tell: &dyn Fn(&Row)) -> Result<Measured, Error> {
    let place = Workplace::new()?;
    let config = place.write("server.toml", &setup.config())?;
    let (mut server, addr) = start_server(setup, &config, stop)?;
    wait(WARM, stop)?;
    let before = rss_kb(server.pid()).map_err(Error::system("read the server's memory"))?;
    let mut bots = start_bots(setup, addr)?;
    let settled_s = gather(setup, &mut server, &mut bots, stop)?;
    let mut measured = window(setup, addr, &mut server, &mut bots, stop, tell)?;
    measured.settled_s = settled_s;
    measured.rss_kb = [before, rss_kb(server.pid()).map_err(Error::system("read the server's memory"))?];
    measured.summary = finish(&mut bots, stop)?;
    if setup.churn > 0.0 {
        measured.left_behind = left_behind(&mut server, stop)?;
    }
    server.interrupt();
    server.end();
    Ok(measured)
}

fn start_server(setup: &Setup, config: &Path, stop: &Stop) -> Result<(Process, SocketAddr), Error> {
    let mut command = Command::new(&setup.server);
    command.arg("--config").arg(config);
    // What the allocator does is the configuration's, not that of whoever measures.
    command.env_remove("GLIBC_TUNABLES");
    let mut server = Process::start("the server", command, &setup.server_cores)?;
    let addr = server.wait_for(Stream::Err, "say where it listens", READY, stop, |line| match Line::parse(line) {
        Some(Line::Starting(addr)) => Some(addr),
        _ => None,
    })?;
    server.wait_for(Stream::Err, "get ready", READY, stop, |line| {
        (Line::parse(line) == Some(Line::Ready)).then_some(())
    })?;
    Ok((server, addr))
}

fn start_bots(setup: &Setup, addr: SocketAddr) -> Result<Process, Error> {
    let mut command = Command::new(&setup.bots);
    // They are told when to stop; should nobody tell them, they stop anyway.
    let seconds = setup.seconds + 60.0;
    command.arg("swarm").args(["--server", &addr.to_string(), "--http", &addr.to_string()]);
    command.args(["--clients", &setup.players.to_string(), "--seconds", &seconds.to_string(), "--json"]);
    command.args(["--behavior", setup.scenario.behavior(), "--seed", &setup.seed.to_string()]);
    let [least, most] = SETTLE;
    command.args(["--settle", &setup.settle.unwrap_or(least).to_string(), "--light", &setup.light().to_string()]);
    if setup.settle.is_none() {
        command.args(["--settle-most", &most.to_string()]);
    }
    command.args(["--threads", &setup.bot_threads.to_string(), "--light-every", &setup.light_every.to_string()]);
    for (flag, percent) in [("--churn", setup.churn), ("--rebind", setup.rebind), ("--loss", setup.loss)] {
        if percent > 0.0 {
            command.args([flag, &percent.to_string()]);
        }
    }
    if setup.soak {
        command.args(["--every", &row_seconds(setup.seconds).to_string()]);
    }
    // What is dear about thousands of bots is to find them in memory: glibc asks for large pages for it, if told to, but
    // not for what threads have of their own.
    command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1");
    Process::start("the bots", setup.for_bots(command), &setup.bots_cores)
}

/// Until the bots say that all are in and settled; where nobody said how long that takes, they are told when the server is calm.
/// Returns the seconds that it took from when all were in.
fn gather(setup: &Setup, server: &mut Process, bots: &mut Process, stop: &Stop) -> Result<f64, Error> {
    let [_, most] = SETTLE;
    let settle = setup.settle.unwrap_or(most);
    let patience = Duration::from_secs_f64(30.0 + settle) + Duration::from_millis(5) * u32::from(setup.players);
    let end = after(patience);
    let (mut all_in, mut calm, mut status, mut told) = (None, Calm::default(), None, setup.settle.is_some());
    while now() < end {
        stop.check()?;
        while let Some(line) = server.line(Stream::Err, Duration::ZERO)? {
            match Line::parse(&line) {
                Some(Line::Status(line)) => status = all_in.is_some().then_some(line),
                Some(Line::Times(times)) => status.take().iter().for_each(|status| calm.add(status, &times)),
                _ => {}
            }
        }
        if !told && calm.is_calm() {
            bots.tell();
            told = true;
        }
        let Some(line) = bots.line(Stream::Err, Duration::from_millis(5))? else { continue };
        if all_in.is_none() && line.contains("settling") {
            all_in = Some(now());
        }
        if line.contains("measuring") {
            return Ok(all_in.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        }
    }
    Err(bots.failed(format!("did not all get in within {:.0} s", patience.as_secs_f64())))
}

/// Everything that counts up, at one moment.
struct Mark {
    at: std::time::Instant,
    server: Usage,
    bots: Usage,
    cores: [Core; 2],
    udp: UdpDrops,
}

impl Mark {
    fn now(setup: &Setup, addr: SocketAddr, server: &Process, bots: &Process) -> Result<Self, Error> {
        let look = || {
            Ok(Self {
                at: now(),
                server: Usage::of(server.pid())?,
                bots: Usage::of(bots.pid())?,
                cores: [Core::look(&setup.server_cores)?, Core::look(&setup.bots_cores)?],
                udp: UdpDrops::look(addr)?,
            })
        };
        look().map_err(Error::system::<std::io::Error>("read /proc"))
    }
}

/// A row that is under way.
struct Open {
    server: Usage,
    udp: UdpDrops,
    /// The tick that it began after.
    tick: u64,
    lines: u32,
    status: Status,
    times: Times,
    seen: Option<Seen>,
}

impl Open {
    fn new(server: Usage, udp: UdpDrops, tick: u64) -> Self {
        // Of the players the fewest are kept.
        let status = Status { players: u64::MAX, ..Status::default() };
        Self { server, udp, tick, lines: 0, status, times: Times::default(), seen: None }
    }

    fn add(&mut self, second: &Second) {
        self.lines += 1;
        self.status.add(&second.status);
        self.times.add(&second.times);
        self.seen = second.seen.or(self.seen);
    }

    /// Ends it; the next one begins where it ends.
    fn close(&mut self, setup: &Setup, addr: SocketAddr, pid: u32, from: std::time::Instant) -> std::io::Result<Row> {
        let (at, server, udp) = (now(), Usage::of(pid)?, UdpDrops::look(addr)?);
        let next = Self::new(server.clone(), udp, self.status.tick);
        let open = std::mem::replace(self, next);
        let ticks = open.status.tick.saturating_sub(open.tick).max(1) as f64;
        let seen = |of: fn(&Seen) -> f64| open.seen.as_ref().map_or(f64::NAN, of);
        Ok(Row {
            at_s: at.duration_since(from).as_secs_f64(),
            rss_kb: rss_kb(pid)? as f64,
            tick_ms_p50: open.times.round.quantile_ms(0.5),
            tick_ms_p99: open.times.round.quantile_ms(0.99),
            us_per_player_tick: server.since(&open.server).cpu_us / ticks / f64::from(setup.players),
            staleness_ticks_p99: seen(|seen| seen.staleness_ticks_p99),
            view_age_ticks_p99: seen(|seen| seen.view_age_ticks_p99),
            players: open.status.players,
            drops: udp.since(&open.udp).here + open.status.queue_drops + open.status.send_drops,
        })
    }
}

/// From a status line to another: what is counted here and what the server counts are of the same time.
fn window(
    setup: &Setup,
    addr: SocketAddr,
    server: &mut Process,
    bots: &mut Process,
    stop: &Stop,
    tell: &dyn Fn(&Row),
) -> Result<Measured, Error> {
    server.skim(Stream::Err)?;
    let first = second(server, bots, stop)?.status;
    let from = Mark::now(setup, addr, server, bots)?;
    let _perf = setup.perf.as_deref().map(|file| sample(setup, file, server.pid())).transpose()?;
    let mut status = Status { players: first.players, ..Status::default() };
    let mut times = Times::default();
    let mut open = Open::new(from.server.clone(), from.udp, first.tick);
    let mut rows = Vec::new();
    loop {
        let second = second(server, bots, stop)?;
        status.add(&second.status);
        times.add(&second.times);
        open.add(&second);
        if setup.soak && open.lines == row_seconds(setup.seconds) {
            let row = open.close(setup, addr, server.pid(), from.at).map_err(Error::system("read /proc"))?;
            tell(&row);
            rows.push(row);
        }
        // Lines are a second apart, but for how late they are.
        if from.at.elapsed().as_secs_f64() > setup.seconds - 0.5 {
            break;
        }
    }
    let to = Mark::now(setup, addr, server, bots)?;
    let [server_core, bots_core] = [0, 1].map(|at: usize| to.cores[at].busy_since(&from.cores[at]));
    Ok(Measured {
        seconds: to.at.duration_since(from.at).as_secs_f64(),
        ticks: status.tick.saturating_sub(first.tick),
        status,
        times,
        server: to.server.since(&from.server),
        bots: to.bots.since(&from.bots),
        busy: [server_core, bots_core],
        stolen: [0, 1].map(|at: usize| to.cores[at].stolen_since(&from.cores[at])),
        udp_drops: to.udp.since(&from.udp),
        rows,
        ..Measured::default()
    })
}

/// A second of both.
struct Second {
    status: Status,
    times: Times,
    /// What the bots said since the last one, if they did.
    seen: Option<Seen>,
}

/// The next status line, and the distributions that come with it.
fn second(server: &mut Process, bots: &mut Process, stop: &Stop) -> Result<Second, Error> {
    let mut status = None;
    let (status, times) = server.wait_for(Stream::Err, "print a status line", STATUS, stop, |line| {
        match Line::parse(line) {
            Some(Line::Status(line)) => status = Some(line),
            Some(Line::Times(times)) => return status.take().map(|status| (status, times)),
            _ => {}
        }
        None
    })?;
    Ok(Second { status, times, seen: bots.latest(Stream::Err, Seen::parse)? })
}

/// Connections and players that the server still has when all have left, and whoever left without a word has been given up.
fn left_behind(server: &mut Process, stop: &Stop) -> Result<u64, Error> {
    server.skim(Stream::Err)?;
    let end = after(EMPTY);
    loop {
        let left =
            server.wait_for(Stream::Err, "print a status line", STATUS, stop, |line| match Line::parse(line) {
                Some(Line::Status(status)) => Some(status.connections.max(status.players)),
                _ => None,
            })?;
        if left == 0 || now() >= end {
            return Ok(left);
        }
    }
}

/// Lets perf(1) look at the server for as long as is measured, on the bots' core.
fn sample(setup: &Setup, file: &Path, pid: u32) -> Result<Process, Error> {
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "--freq", "499", "--call-graph", "dwarf,8192"]);
    command.arg("--output").arg(file).args(["--pid", &pid.to_string()]);
    // Its child is to end with it, as it does with this process.
    let mut sleep = Command::new("sleep");
    sleep.arg(setup.seconds.to_string());
    let sleep = bound(sleep);
    command.arg("--").arg(sleep.get_program()).args(sleep.get_args());
    Process::start("perf", command, &setup.bots_cores)
}

/// Ends the bots: what they have to say.
fn finish(bots: &mut Process, stop: &Stop) -> Result<Value, Error> {
    bots.interrupt();
    let summary = bots.wait_for(Stream::Out, "print their summary", SUMMARY, stop, |line| {
        serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
    })?;
    bots.end();
    Ok(summary)
}

/// Waits, unless a signal comes.
pub fn wait(duration: Duration, stop: &Stop) -> Result<(), Error> {
    let end = after(duration);
    while now() < end {
        stop.check()?;
        pause(Duration::from_millis(10).min(end.saturating_duration_since(now())));
    }
    Ok(())
}

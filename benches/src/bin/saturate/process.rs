//! Child processes on a core of their own, ended by their own number whatever happens here.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Error;
use crate::stop::Stop;
use crate::{now, pause};

/// Lines of a child that may wait here.
const QUEUE: usize = 4096;
/// Lines that are kept to explain a failure.
const TAIL: usize = 6;
/// How long a child may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(4);
const GRAIN: Duration = Duration::from_millis(5);

/// A child and what it says. Dropping it ends it.
pub struct Process {
    who: &'static str,
    child: Child,
    out: Lines,
    err: Lines,
}

/// Lines of one of its streams, read by a thread so that the child never waits.
struct Lines {
    lines: Receiver<String>,
    tail: VecDeque<String>,
}

/// One of a child's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Checks that this process may use that core.
pub fn check_core(flag: &'static str, core: usize) -> Result<(), Error> {
    let set = sched_getaffinity(None).map_err(Error::system("ask for the cores"))?;
    if core < CpuSet::MAX_CPU && set.is_set(core) {
        return Ok(());
    }
    let all: Vec<String> = (0..CpuSet::MAX_CPU).filter(|at| set.is_set(*at)).map(|at| at.to_string()).collect();
    Err(Error::Core { flag, core, allowed: all.join(", ") })
}

/// The command in the system's idle class: it runs where and when nobody else wants to, and gives way at once. A low priority
/// would not do: for a core where such a process runs the system looks as for any other that is busy, so that the workers of a
/// server gather on another, and wait there for each other.
pub fn idle(command: &Command) -> Command {
    through("chrt", &["--idle", "0"], command)
}

/// The command, ended by the system when this process ends, however that comes about: nobody can catch SIGKILL. It lasts
/// through whatever the command starts itself as; not for a program that has more rights than its user.
pub fn bound(command: Command) -> Command {
    if binds() { through("setpriv", &DEATH, &command) } else { command }
}

/// What setpriv(1) is told.
const DEATH: [&str; 2] = ["--pdeathsig", "KILL"];

/// Whether setpriv(1) is there and can do that; the first who asks without it is told on standard error, once.
pub fn binds() -> bool {
    static BINDS: OnceLock<bool> = OnceLock::new();
    *BINDS.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(DEATH).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let binds = probe.status().is_ok_and(|status| status.success());
        if !binds {
            eprintln!(
                "saturate: without setpriv(1) server and bots go on if this process is killed (kill -9): install it (Debian: \
                 apt install util-linux), or end them by hand then"
            );
        }
        binds
    })
}

/// The command, started by that program, which then is the command.
fn through(program: &str, args: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(args).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    outer
}

impl Process {
    /// Starts it on those cores, with all threads that it will have: a child inherits the cores of the thread that starts it.
    pub fn start(who: &'static str, command: Command, cores: &[usize]) -> Result<Self, Error> {
        // The thread that starts it is the one whose end counts.
        let mut command = bound(command);
        let before = sched_getaffinity(None).map_err(Error::system("ask for the cores"))?;
        let mut only = CpuSet::new();
        cores.iter().for_each(|core| only.set(*core));
        sched_setaffinity(None, &only).map_err(Error::system(format!("go to cores {cores:?}")))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        sched_setaffinity(None, &before).map_err(Error::system("go back to all cores"))?;
        let mut child = child.map_err(Error::system(format!("start {who}")))?;
        let (out, err) = (Lines::read(child.stdout.take()), Lines::read(child.stderr.take()));
        Ok(Self { who, child, out, err })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of that stream; `None` after so long without one. An error once the child has said its last.
    pub fn line(&mut self, stream: Stream, patience: Duration) -> Result<Option<String>, Error> {
        let lines = if stream == Stream::Out { &mut self.out } else { &mut self.err };
        match lines.lines.recv_timeout(patience) {
            Ok(line) => {
                lines.keep(&line);
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// Waits for the line of which `found` makes something.
    pub fn wait_for<T>(
        &mut self,
        stream: Stream,
        what: &str,
        patience: Duration,
        stop: &Stop,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let end = now() + patience;
        while now() < end {
            stop.check()?;
            if let Some(line) = self.line(stream, GRAIN)?
                && let Some(found) = found(&line)
            {
                return Ok(found);
            }
        }
        Err(self.failed(format!("did not {what} within {} s", patience.as_secs())))
    }

    /// Throws away what that stream has said; an error if the child is gone.
    pub fn skim(&mut self, stream: Stream) -> Result<(), Error> {
        self.latest(stream, |_| None::<()>).map(drop)
    }

    /// Of all that the stream has said the latest of which `found` makes something; an error if the child is gone.
    pub fn latest<T>(&mut self, stream: Stream, mut found: impl FnMut(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let mut latest = None;
        while let Some(line) = self.line(stream, Duration::ZERO)? {
            latest = found(&line).or(latest);
        }
        Ok(latest)
    }

    /// Asks it to end.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Tells it what SIGUSR1 means to it.
    pub fn tell(&self) {
        self.signal(Signal::USR1);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already, but is not yet waited for: the number is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end; `None`: it took too long and was killed.
    pub fn end(&mut self) -> Option<ExitStatus> {
        let end = now() + PATIENCE;
        while now() < end {
            match self.child.try_wait() {
                Ok(None) => pause(GRAIN),
                Ok(status) => return status,
                Err(_) => break,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    /// An error about it, with the last that it said.
    pub fn failed(&mut self, what: String) -> Error {
        let mut said = Vec::new();
        for lines in [&mut self.out, &mut self.err] {
            while let Ok(line) = lines.lines.try_recv() {
                lines.keep(&line);
            }
            said.extend(lines.tail.drain(..));
        }
        Error::Child { who: self.who, what, said }
    }

    fn ended(&mut self) -> Error {
        let status = self.end().map_or_else(String::new, |status| format!(" ({status})"));
        self.failed(format!("ended too early{status}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            self.end();
        }
    }
}

impl Lines {
    #[expect(clippy::disallowed_methods, reason = "a child must never wait for whoever reads it")]
    fn read(stream: Option<impl Read + Send + 'static>) -> Self {
        let (tell, lines) = sync_channel(QUEUE);
        if let Some(stream) = stream {
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { lines, tail: VecDeque::new() }
    }

    fn keep(&mut self, line: &str) {
        // What a server says every second, and what bots say of their intervals, explains nothing.
        let regular = ["\"message\":\"status\"", "\"message\":\"times\"", "{\"interval\":"];
        if regular.iter().any(|part| line.contains(part)) {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

/// A moment that a wait ends at.
pub fn after(patience: Duration) -> Instant {
    now() + patience
}

//! Trace files: written while a connection lives, drawn afterwards.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bots::trace::{self, FORMAT, Header, Record, Role, Summary};
use netcode::Time;
use netcode::channel::Table;
use netcode::packet::ConnId;
use netcode::trace::TraceEvent;
use serde::Serialize;

use super::clock::Clock;
use super::error::RunError;
use super::files;
use super::lines;

/// The longest trace that is drawn, in bytes: some hours of one connection.
const MAX_TRACE: usize = 1 << 28;

/// A trace that is being written.
pub struct TraceFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// The wall clock at the epoch of the events' times, Unix milliseconds.
    epoch_unix_ms: u64,
    /// Time 0 of the records: that of the first event, before which the header is written.
    reference: Option<Time>,
}

impl TraceFile {
    /// Creates the file, so that a path that cannot be written is known before anything runs. The times of the events
    /// are those of `clock`.
    pub fn create(path: &Path, clock: Clock) -> Result<Self, RunError> {
        let file = File::create(path).map_err(RunError::file("write the trace", path))?;
        let since_epoch = clock.now().as_micros() / 1000;
        let epoch_unix_ms = Clock::unix_ms().saturating_sub(since_epoch);
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), epoch_unix_ms, reference: None })
    }

    /// Writes an event.
    pub fn write(&mut self, conn: Option<ConnId>, time: Time, event: &TraceEvent) -> Result<(), RunError> {
        let reference = match self.reference {
            Some(reference) => reference,
            None => self.write_header(conn, time)?,
        };
        self.line(&Record::new(reference, time, event))
    }

    fn write_header(&mut self, conn: Option<ConnId>, reference: Time) -> Result<Time, RunError> {
        self.reference = Some(reference);
        let names = Table::standard().0.iter().map(|channel| channel.name.into()).collect();
        self.line(&Header {
            zonewire_trace: FORMAT,
            role: Role::Client,
            conn: conn.map(|conn| conn.0),
            reference_unix_ms: self.epoch_unix_ms.saturating_add(reference.as_micros() / 1000),
            channels: names,
        })?;
        Ok(reference)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        let written = serde_json::to_writer(&mut self.out, line).map_err(Into::into);
        written.and_then(|()| self.out.write_all(b"\n")).map_err(RunError::file("write the trace", &self.path))
    }

    /// Writes what is still buffered.
    pub fn finish(mut self) -> Result<(), RunError> {
        self.out.flush().map_err(RunError::file("write the trace", &self.path))
    }
}

/// A trace to be drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub file: PathBuf,
    pub out: PathBuf,
}

/// Draws a trace; what it adds up to goes to stdout.
pub fn draw(drawing: &Drawing) -> Result<bool, RunError> {
    let Drawing { file, out } = drawing;
    if file == out {
        return Err(RunError::SameFile { path: out.clone() });
    }
    let bytes = files::read(file, MAX_TRACE).map_err(|error| RunError::Unread { path: file.clone(), error })?;
    let log = trace::read(&bytes).map_err(|error| RunError::Trace { path: file.clone(), error })?;
    if let Some(line) = log.cut_off {
        lines::note(format_args!("bots: {}: line {line} is cut off and left out", file.display()));
    }
    fs::write(out, trace::draw(&log)).map_err(RunError::file("write", out))?;
    lines::result(Summary::of(&log))?;
    lines::result(format_args!("drawn into {}", out.display()))?;
    Ok(true)
}

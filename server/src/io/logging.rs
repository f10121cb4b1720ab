//! Log lines go to standard error, as text or JSON.
//!
//! A thread of its own writes them, from a bounded queue: whoever reads standard error, or does not, never holds up or
//! ends the server. Lines that find the queue full are lost.

use std::io::{self, Write as _};
use std::time::Duration;

use crossbeam::channel;
use server::config::{Format, Level, Log};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

/// Lines that may wait for standard error: over an hour of status lines, a few MiB at most.
const QUEUED_LINES: usize = 8192;
/// How long the process waits at its end for lines to be written.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Keeps the log going; when it is dropped, lines that still wait are written, as far as that is quick.
pub struct Lines(Option<WorkerGuard>);

impl Drop for Lines {
    fn drop(&mut self) {
        let guard = self.0.take();
        // Where the queue is full to the end, the guard complains on standard output, which may block as well.
        briefly(move || drop(guard));
    }
}

/// Installs the process-wide subscriber.
#[must_use]
pub fn start(log: &Log) -> Lines {
    let level = match log.level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES).thread_name("log");
    let (queue, guard) = builder.finish(io::stderr());
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // It would report a failed write on standard error, which is what failed, and panic there.
        .log_internal_errors(false)
        .with_writer(queue);
    match log.format {
        Format::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Lines(Some(guard))
}

/// Says why the process ends on standard error, unless nobody takes it: then the exit code says it alone. A file that is
/// quoted in it sends a terminal no control characters.
pub fn last_words(text: &str) {
    let text = harmless(text);
    briefly(move || {
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// The text with all control characters but ends of lines and tabs escaped.
fn harmless(text: &str) -> String {
    let escaped = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if escaped(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

/// Waits for `run`, but no longer than [`PATIENCE`]: writing to a pipe that nobody reads takes for ever.
fn briefly(run: impl FnOnce() + Send + 'static) {
    let (done, waits) = channel::bounded::<()>(1);
    let run = move || {
        let _done = done;
        run();
    };
    #[expect(clippy::disallowed_methods, reason = "a blocked write can only be waited for, or left behind")]
    let thread = std::thread::Builder::new().name("last-words".into()).spawn(run);
    if thread.is_ok() {
        // It says nothing; its end hangs up.
        let _ = waits.recv_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_file_sends_a_terminal_no_control_characters() {
        assert_eq!(harmless("a\n\tb\u{1b}[2Jc\u{9b}\r"), "a\n\tb\\u{1b}[2Jc\\u{9b}\\u{d}");
    }
}

//! Log lines go to standard error, as text or JSON.

use std::io;

use server::config::{Format, Level, Log};
use tracing::level_filters::LevelFilter;

/// Installs the process-wide subscriber.
pub fn start(log: &Log) {
    let level = match log.level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(io::stderr);
    match log.format {
        Format::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

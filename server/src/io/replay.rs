//! `server replay`: runs a recording again at full speed and tells whether it went the same way.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use sim::game::Skirmish;
use sim::log::Next;
use sim::replay::{Apart, Difference, Differences, Recorded, Replay, ReplayError};
use sim::{Frame, SCHEMA, World};

use super::clock::Clock;
use super::error::RunError;

/// Bytes of the file that are read at once.
const PIECE_BYTES: usize = 1 << 16;

/// Why a replay of the shipped game stops.
pub type Error = ReplayError<<Skirmish as Recorded>::Refused>;

/// What a replay went through.
pub struct Outcome {
    /// The last tick that was the same.
    ticks: u64,
    /// Ticks a second; 0 where the header was not read.
    rate_hz: u16,
    /// Seconds that the replay took.
    took_s: f64,
    dropped_bytes: usize,
    /// The digest after the last tick made.
    digest: u64,
    differences: Option<Differences>,
    /// Where it was to stop.
    state: Option<std::sync::Arc<Frame>>,
    /// Why it stopped before the log's end.
    pub error: Option<Error>,
}

/// Replays a file to its end, or to the last step up to the tick `until`.
///
/// # Errors
/// The file can't be read, or the log ends before that tick.
pub fn run(path: &Path, until: Option<u64>) -> Result<Outcome, RunError> {
    if path.is_dir() {
        return Err(RunError::Directory { path: path.into() });
    }
    let unreadable = |error| RunError::Read { path: path.into(), error };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut replay = Replay::<Skirmish>::new();
    let (clock, mut ticks) = (Clock::start(), 0);
    let error = loop {
        match replay.peek() {
            Ok(Next::More) => match file.read(&mut piece).map_err(unreadable)? {
                0 => replay.finish(),
                len => replay.push(piece.get(..len).unwrap_or_default()),
            },
            Ok(Next::Got(tick)) if until.is_some_and(|until| tick > until) => break None,
            Ok(Next::Got(tick)) => match replay.step() {
                Ok(()) => ticks = tick,
                Err(error) => break Some(error),
            },
            Ok(Next::End) if until.is_some_and(|until| ticks < until) => {
                return Err(RunError::NoSuchTick { path: path.into(), last: ticks });
            }
            Ok(Next::End) => break None,
            Err(error) => break Some(error),
        }
    };
    let took_s = clock.now().as_micros() as f64 / 1e6;
    let world = replay.world();
    Ok(Outcome {
        ticks,
        rate_hz: world.map_or(0, |world| world.config().rate_hz),
        took_s,
        dropped_bytes: if until.is_some() || error.is_some() { 0 } else { replay.dropped_bytes() },
        digest: world.map_or(0, World::digest),
        differences: replay.differences(),
        state: world.filter(|_| until.is_some() && error.is_none()).map(World::frame),
        error,
    })
}

impl Outcome {
    /// Seconds of the world's time.
    fn seconds(&self) -> f64 {
        if self.rate_hz == 0 { 0.0 } else { self.ticks as f64 / f64::from(self.rate_hz) }
    }

    /// How many times as fast as it was recorded, rounded to tenths.
    fn speed_x(&self) -> f64 {
        (self.seconds() / self.took_s.max(1e-6) * 10.0).round() / 10.0
    }

    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let mut report = json!({
            "ticks": self.ticks,
            "divergence": self.error.as_ref().and_then(Error::divergence),
            "error": self.error.as_ref().map(ToString::to_string),
            "speed_x": self.speed_x(),
            "seconds": self.seconds(),
            "rate_hz": self.rate_hz,
            "dropped_bytes": self.dropped_bytes,
            "digest": format!("{:016x}", self.digest),
        });
        if let (Some(differences), Some(report)) = (&self.differences, report.as_object_mut()) {
            let list: Vec<Value> = differences.list.iter().map(difference_json).collect();
            report.insert("differences".into(), json!({ "total": differences.total, "list": list }));
        }
        if let (Some(frame), Some(report)) = (&self.state, report.as_object_mut()) {
            report.insert("state".into(), entities(frame).collect());
        }
        report
    }

    /// As text, but for [`Outcome::error`].
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Without a header there is nothing to tell.
        if self.rate_hz > 0 {
            let s = if self.ticks == 1 { "" } else { "s" };
            let (ticks, seconds, rate_hz) = (self.ticks, self.seconds(), self.rate_hz);
            let (speed_x, digest) = (self.speed_x(), self.digest);
            let _ = writeln!(
                text,
                "{ticks} tick{s} the same: {seconds:.3} s at {rate_hz} Hz, {speed_x} times as fast as recorded; digest \
                 {digest:016x}"
            );
        }
        if self.dropped_bytes > 0 {
            let _ = writeln!(text, "dropped the torn end of {} bytes", self.dropped_bytes);
        }
        if let Some(Differences { list, total }) = &self.differences {
            let _ = writeln!(text, "differences:");
            list.iter().for_each(|difference| write_difference(&mut text, difference));
            match total - list.len() {
                0 if *total == 0 => text.push_str("no field differs: something does that nobody is shown\n"),
                0 => {}
                more => drop(writeln!(text, "and {more} more differences")),
            }
        }
        for entity in self.state.iter().flat_map(|frame| entities(frame)) {
            let _ = writeln!(text, "{entity}");
        }
        text
    }
}

fn difference_json(difference: &Difference) -> Value {
    let Difference { entity, kind, what } = difference;
    let mut told = json!({ "entity": entity.raw(), "kind": kind });
    let more = match what {
        Apart::Missing => json!({ "what": "missing" }),
        Apart::Extra => json!({ "what": "extra" }),
        Apart::Kind(replayed) => json!({ "what": "kind", "recorded": kind, "replayed": replayed }),
        Apart::Field { name, unit, recorded, replayed } => {
            json!({ "what": "field", "field": name, "unit": unit, "recorded": recorded, "replayed": replayed })
        }
    };
    if let (Some(told), Value::Object(mut more)) = (told.as_object_mut(), more) {
        told.append(&mut more);
    }
    told
}

fn write_difference(text: &mut String, difference: &Difference) {
    let Difference { entity, kind, what } = difference;
    let _ = write!(text, "{kind} {}: ", entity.raw());
    let _ = match what {
        Apart::Missing => writeln!(text, "recorded, but not replayed"),
        Apart::Extra => writeln!(text, "replayed, but not recorded"),
        Apart::Kind(replayed) => writeln!(text, "recorded as {kind}, replayed as {replayed}"),
        Apart::Field { name, unit, recorded, replayed } => {
            writeln!(text, "{name}: recorded {recorded} {unit}, replayed {replayed} {unit}")
        }
    };
}

/// Everybody in a frame: id, kind, and each field in its unit.
fn entities(frame: &Frame) -> impl Iterator<Item = Value> {
    (0..frame.len()).map(|row| {
        let mut entity = Map::new();
        entity.insert("entity".into(), frame.id(row).raw().into());
        if let Some(kind) = SCHEMA.kind(frame.kind(row)) {
            entity.insert("kind".into(), kind.name.into());
            for (field, value) in kind.fields.iter().zip(frame.state(row)) {
                entity.insert(field.name.into(), json!(f64::from(*value) / f64::from(field.scale)));
            }
        }
        Value::Object(entity)
    })
}

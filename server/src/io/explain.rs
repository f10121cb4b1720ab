//! `--explain`: why each entity went into one character's snapshots, or waited, as lines of JSON in a file.
//!
//! For looking into one player's view. The worker writes the file itself, so a slow disk slows that worker's players.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use server::replication::{Explained, Weighed};
use tracing::{error, info};

use super::error::RunError;

/// Whom to explain, and where to.
#[derive(Clone, Debug)]
pub struct Explain {
    /// The character.
    pub character: u64,
    /// The file; it is written anew.
    pub file: PathBuf,
}

/// A worker's way into the file.
pub struct Explainer {
    /// Whom it is about.
    pub character: u64,
    path: PathBuf,
    /// None after an error, which was logged.
    out: Option<BufWriter<File>>,
    told: u64,
}

/// One line.
#[derive(Serialize)]
struct Line {
    character: u64,
    #[serde(flatten)]
    weighed: Weighed,
}

impl Explain {
    /// Makes the file, empty.
    pub fn create(&self) -> Result<(), RunError> {
        File::create(&self.file).map(drop).map_err(|error| RunError::Write { path: self.file.clone(), error })
    }

    /// Opens it for one worker: each appends whole lines.
    pub fn open(&self) -> Result<Explainer, RunError> {
        let file = File::options().append(true).open(&self.file);
        let file = file.map_err(|error| RunError::Write { path: self.file.clone(), error })?;
        Ok(Explainer {
            character: self.character,
            path: self.file.clone(),
            out: Some(BufWriter::with_capacity(1 << 16, file)),
            told: 0,
        })
    }
}

impl Explainer {
    /// Writes the explanation of a snapshot, unless it was written already.
    pub fn tell(&mut self, explained: &[Explained]) {
        let Some(tick) = explained.first().map(|first| first.tick).filter(|tick| *tick > self.told) else { return };
        if self.told == 0 {
            info!(character = self.character, file = %self.path.display(), "explaining");
        }
        self.told = tick;
        let Some(out) = &mut self.out else { return };
        if let Err(error) = write(out, self.character, explained) {
            error!(file = %self.path.display(), %error, "nothing more is explained");
            self.out = None;
        }
    }
}

fn write(out: &mut BufWriter<File>, character: u64, explained: &[Explained]) -> std::io::Result<()> {
    for entry in explained {
        serde_json::to_writer(&mut *out, &Line { character, weighed: entry.into() })?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

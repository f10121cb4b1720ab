//! Inputs on disk: the committed corpus, and what crashed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netcode::schema::Fnv;

use crate::Target;

/// Where the committed corpus is: a folder per target.
#[must_use]
pub fn default_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Where crashing inputs go.
#[must_use]
pub fn artifacts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts")
}

/// All inputs of a target below `dir`, in the order of their names. No folder, no inputs.
///
/// # Errors
/// When a file cannot be read.
pub fn load(dir: &Path, target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(dir.join(target.name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    paths.iter().map(fs::read).collect()
}

/// Writes the inputs that the target's own encoders make, in place of those written before; returns how many. Files of
/// other names (mended crashes) stay.
///
/// # Errors
/// When a file cannot be written.
pub fn write_seeds(dir: &Path, target: &Target) -> io::Result<usize> {
    let dir = dir.join(target.name);
    fs::create_dir_all(&dir)?;
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("seed-") {
            fs::remove_file(entry.path())?;
        }
    }
    let seeds = (target.seeds)();
    for (at, seed) in seeds.iter().enumerate() {
        fs::write(dir.join(format!("seed-{at:02}")), seed)?;
    }
    Ok(seeds.len())
}

/// Writes a crashing input; returns its path.
///
/// # Errors
/// When the file cannot be written.
pub fn write_artifact(target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let dir = artifacts_dir();
    fs::create_dir_all(&dir)?;
    let hash = input.iter().fold(Fnv::new(), |hash, byte| hash.byte(*byte));
    let path = dir.join(format!("{}-{:016x}", target.name, hash.0));
    fs::write(&path, input)?;
    Ok(path)
}

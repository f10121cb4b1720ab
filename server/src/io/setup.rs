//! From the configuration to the parts: keys, zone, shards.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use netcode::crypto::{ClusterKey, CookieKey, Entropy as _, OsEntropy, Psk};
use netcode::server::SingleUse;
use server::config::{ConfigError, KeyEntry, ServerConfig, parse_key};
use server::shard::Shard;
use sim::game::rulebook::{self, Rulebook};
use tracing::warn;

use super::error::RunError;

/// Used tokens that are remembered until they expire (about 100 bytes each).
const USED_TOKENS: usize = 1 << 18;

/// The longest configuration, in bytes: the documented one with every key has some 9,000.
pub const MAX_CONFIG: usize = 1 << 18;
/// The longest file with a cluster key, in bytes.
const MAX_KEY: usize = 4096;

/// Reads a text file of at most `max` bytes that the operator named: what has no end (`/dev/zero`) is refused as well.
pub fn read(path: &Path, max: usize) -> Result<String, RunError> {
    let unreadable = |error| RunError::Read { path: path.into(), error };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(max as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() > max {
        return Err(RunError::FileLength { path: path.into(), max });
    }
    String::from_utf8(text).map_err(|_| RunError::NoText { path: path.into() })
}

/// The configured cluster keys; without any, a random one.
pub fn cluster_keys(entries: &[KeyEntry]) -> Result<Vec<ClusterKey>, RunError> {
    if entries.is_empty() {
        warn!("no cluster key is configured: a random one is good for this run and this server's own tokens only");
        return Ok(vec![ClusterKey { epoch: 0, key: Psk::new(random()?) }]);
    }
    entries.iter().map(cluster_key).collect()
}

fn cluster_key(entry: &KeyEntry) -> Result<ClusterKey, RunError> {
    let text = match (&entry.hex, &entry.file) {
        (Some(hex), _) => hex.clone(),
        (None, Some(file)) => read(file, MAX_KEY)?,
        (None, None) => return Err(ConfigError::KeySource(entry.epoch).into()),
    };
    let key = parse_key(&text).ok_or(ConfigError::KeyText(entry.epoch))?;
    Ok(ClusterKey { epoch: entry.epoch, key: Psk::new(key) })
}

/// A key from the command line: 64 hexadecimal digits, or a file that holds them.
pub fn key_argument(argument: &str, epoch: u8) -> Result<Psk, RunError> {
    if let Some(key) = parse_key(argument) {
        return Ok(Psk::new(key));
    }
    let key = parse_key(&read(Path::new(argument), MAX_KEY)?).ok_or(ConfigError::KeyText(epoch))?;
    Ok(Psk::new(key))
}

/// The rulebook that the configuration names, or the standard one.
pub fn rulebook(config: &ServerConfig) -> Result<Arc<Rulebook>, RunError> {
    let Some(path) = &config.world.rules else { return Ok(Rulebook::standard()) };
    let book = Rulebook::from_toml(&read(path, rulebook::MAX_TEXT)?);
    book.map(Arc::new).map_err(|error| RunError::Rulebook { path: path.clone(), error })
}

/// The shards of all workers of a zone that plays by the rulebook with that hash; they share the cookie key and the set of
/// used tokens.
pub fn shards(config: &ServerConfig, keys: &[ClusterKey], rules: u64) -> Result<Vec<Shard>, RunError> {
    let cookie_key = CookieKey::new(random()?);
    let single_use = Arc::new(SingleUse::new(USED_TOKENS));
    let workers = 0..u8::try_from(config.network.workers).unwrap_or(u8::MAX);
    let part = |worker| config.shard(keys.to_vec(), worker, rules);
    let shard = |worker| Shard::new(part(worker), cookie_key.clone(), Arc::clone(&single_use));
    Ok(workers.map(shard).collect())
}

/// 32 bytes from the system.
fn random() -> Result<[u8; 32], RunError> {
    let mut bytes = [0; 32];
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    let filled = OsEntropy::new().fill(&mut bytes);
    filled.map_err(RunError::Entropy)?;
    Ok(bytes)
}

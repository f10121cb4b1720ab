//! What a seed decides about replication: how little may be sent, how many are a crowd, who is tied to whom.

use core::time::Duration;
use std::fmt;

use netcode::rng::Rng;
use server::replication::{DEFAULT_CROWD, DEFAULT_FOLLOW, Priority, Training};
use server::shard::{Codecs, DEFAULT_COMPACT_CLIENTS};

use super::options::{log_uniform, millis};

/// Clients in parties: each member has the others in its area wherever they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parties {
    /// The share of clients that is in one.
    pub share: f64,
    /// Members of each.
    pub size: u16,
}

/// How a shard replicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tight {
    /// The most bytes of snapshots a second.
    pub bytes_per_s: u32,
    /// The most bytes a second for every third client, by its token.
    pub down_cap: Option<u32>,
    /// The most entities that a client knows.
    pub max_known: u16,
    /// Who knows more is in a crowd.
    pub crowd: u16,
    /// How many are followed there.
    pub follow: u16,
    /// Who goes first.
    pub priority: Priority,
    /// Clients that belong together.
    pub parties: Option<Parties>,
    /// Mean time between two clients that own another's entity for a while.
    pub possessions: Option<Duration>,
    /// Chance of a shard to miss a frame, and some after it.
    pub misses: f64,
    /// All are in one place.
    pub dense: bool,
    /// Who gets the compact codec.
    pub codec: Codecs,
    /// How many may have it at a time.
    pub compact_clients: u16,
    /// When there are tables, and new ones.
    pub training: Training,
    /// Chance of a tick to take so long that fewer have the compact codec afterwards.
    pub overloads: f64,
}

impl Default for Tight {
    fn default() -> Self {
        Self {
            bytes_per_s: 32_000,
            down_cap: None,
            max_known: 4000,
            crowd: DEFAULT_CROWD,
            follow: DEFAULT_FOLLOW,
            priority: Priority::default(),
            parties: None,
            possessions: None,
            misses: 0.0,
            dense: false,
            codec: Codecs::Auto,
            compact_clients: DEFAULT_COMPACT_CLIENTS,
            training: Training::default(),
            overloads: 0.0,
        }
    }
}

impl Tight {
    /// Draws a random subset of what makes replication hard; each at a rate from a logarithmic scale.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut tight = Self::default();
        if rng.chance(0.4) {
            tight.bytes_per_s = log_uniform(rng, 1_300.0, 30_000.0) as u32;
        }
        if rng.chance(0.25) {
            tight.down_cap = Some(log_uniform(rng, 3_000.0, 40_000.0) as u32);
        }
        if rng.chance(0.2) {
            tight.max_known = log_uniform(rng, 4.0, 64.0) as u16;
        }
        if rng.chance(0.4) {
            tight.crowd = log_uniform(rng, 3.0, 40.0) as u16;
            tight.follow = 1 + rng.below(u64::from(tight.crowd)) as u16;
        }
        if rng.chance(0.4) {
            tight.draw_priority(rng);
        }
        if rng.chance(0.4) {
            tight.parties = Some(Parties { share: rng.unit_f64(), size: 2 + rng.below(5) as u16 });
        }
        if rng.chance(0.25) {
            tight.possessions = Some(millis(log_uniform(rng, 300.0, 5_000.0)));
        }
        if rng.chance(0.25) {
            tight.misses = log_uniform(rng, 0.001, 0.1);
        }
        tight.dense = rng.chance(0.3);
        tight.draw_codec(rng);
        tight
    }

    fn draw_codec(&mut self, rng: &mut Rng) {
        if rng.chance(0.5) {
            self.codec = if rng.chance(0.7) { Codecs::Compact } else { Codecs::Auto };
            self.compact_clients = log_uniform(rng, 1.0, 200.0) as u16;
            self.training = Training {
                first_updates: log_uniform(rng, 50.0, 2_000.0) as u32,
                first_s: rng.below(3) as u16,
                apart_s: 1,
                window: 1 + rng.below(16) as u32,
                pays: rng.chance(0.3),
            };
        }
        if rng.chance(0.3) {
            self.overloads = log_uniform(rng, 0.001, 0.3);
        }
    }

    fn draw_priority(&mut self, rng: &mut Rng) {
        let mut weight = |low: f64, high: f64| log_uniform(rng, low, high) as u16;
        let mut priority = Priority {
            near: weight(1.0, 1_000.0),
            far: weight(1.0, 1_000.0),
            interaction: weight(10.0, 1_000.0),
            party: weight(10.0, 1_000.0),
            target: weight(10.0, 1_000.0),
            error: weight(1.0, 1_000.0),
            loss: weight(1.0, 1_000.0),
            ..Priority::default()
        };
        priority.class.iter_mut().for_each(|class| *class = weight(10.0, 1_000.0));
        priority.falloff = 1 + rng.below(8) as u8;
        priority.starved_ms = 200 + rng.below(401) as u16;
        self.priority = priority;
    }

    /// The most bytes of a client's snapshot, out of `snapshot_bytes`, at `rate` ticks a second (ShardConfig's rule, told
    /// anew): a tick's share of what it may be sent, but always enough for its own entity.
    pub(super) fn budget(&self, client: usize, snapshot_bytes: u16, rate: u16) -> usize {
        /// Header, tag and ack of a datagram.
        const OVERHEAD: usize = 27;
        /// Always allowed.
        const LEAST: usize = 64;
        let rate = usize::from(rate.max(1));
        let capped = self.down_cap_of(client).map_or(usize::MAX, |cap| (cap as usize / rate).saturating_sub(OVERHEAD));
        usize::from(snapshot_bytes).min(self.bytes_per_s as usize / rate).min(capped).max(LEAST)
    }

    /// The cap in a client's token.
    pub(super) fn down_cap_of(&self, client: usize) -> Option<u32> {
        self.down_cap.filter(|_| client.is_multiple_of(3))
    }
}

impl fmt::Display for Tight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bytes_per_s,
            down_cap,
            max_known,
            crowd,
            follow,
            priority,
            parties,
            possessions,
            misses,
            dense,
            codec,
            ..
        } = *self;
        write!(f, "at most {bytes_per_s} B/s")?;
        if let Some(cap) = down_cap {
            write!(f, " ({cap} B/s for every third)")?;
        }
        write!(f, " of {max_known} entities, crowd {follow} of {crowd}")?;
        if priority != Priority::default() {
            write!(f, ", {priority:?}")?;
        }
        if let Some(Parties { share, size }) = parties {
            write!(f, ", {share:.2} of the clients in parties of {size}")?;
        }
        if let Some(every) = possessions {
            write!(f, ", possessions every {every:.1?}")?;
        }
        if misses > 0.0 {
            write!(f, ", missed frames {misses:.4}")?;
        }
        if dense {
            write!(f, ", dense")?;
        }
        if codec == Codecs::Compact {
            write!(f, ", {} in the compact codec after {} updates", self.compact_clients, self.training.first_updates)?;
        }
        if self.overloads > 0.0 {
            write!(f, ", overloads {:.4}", self.overloads)?;
        }
        Ok(())
    }
}

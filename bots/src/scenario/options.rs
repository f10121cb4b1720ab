//! What is asked for.

use core::time::Duration;
use std::fmt;

use netcode::emulator::LinkConfig;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One player alone runs, jumps, sprints, fires at nothing, reloads: what it predicts is what happens.
    Solo,
    /// That player and fifty others in one place, all of whom fight.
    Fight,
    /// Shooters fire at targets that strafe, exactly where they see them.
    Hits,
    /// Each cheat beside honest twins in the same fight.
    Cheats,
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Fight => "fight",
            Self::Hits => "hits",
            Self::Cheats => "cheats",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A run of a scenario. Equal options give equal outcomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What is played.
    pub scenario: Scenario,
    /// Decides everything.
    pub seed: u64,
    /// How long, in virtual seconds.
    pub seconds: u32,
    /// Round-trip time of the path in milliseconds, half of it each way.
    pub rtt_ms: u32,
    /// The delay each way varies evenly by so many milliseconds either way, but not below 0.
    pub jitter_ms: u32,
    /// Chance of a datagram to be lost, each way.
    pub loss: f64,
    /// Ticks a second.
    pub rate_hz: u16,
    /// How far the others are set back for a shot at most, in milliseconds; 0: not at all.
    pub max_rewind_ms: u16,
}

impl Options {
    /// A perfect path at 20 Hz, with the usual limit of rewinding.
    #[must_use]
    pub const fn new(scenario: Scenario, seed: u64, seconds: u32) -> Self {
        Self { scenario, seed, seconds, rtt_ms: 0, jitter_ms: 0, loss: 0.0, rate_hz: 20, max_rewind_ms: 250 }
    }

    /// The path, one way.
    #[must_use]
    pub fn link(&self) -> LinkConfig {
        // In microseconds, since half a round trip need not be whole milliseconds.
        let (middle, jitter) = (u64::from(self.rtt_ms) * 500, u64::from(self.jitter_ms) * 1000);
        let least = middle.saturating_sub(jitter);
        LinkConfig {
            delay: Duration::from_micros(least),
            jitter: Duration::from_micros(middle + jitter - least),
            loss: self.loss,
            ..LinkConfig::default()
        }
    }
}

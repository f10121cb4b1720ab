//! What came out.

mod checks;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use super::options::Options;

pub use self::checks::{CAPSULE_M, CONFIRMED, MARGIN};

/// What came out of a run. The fields' names are a contract with scripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// What was played.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// It was ended before its time, so that nothing was judged.
    pub interrupted: bool,
    /// Round-trip time of the path, in milliseconds.
    pub rtt_ms: u64,
    /// How much the delay varies each way, in milliseconds.
    pub jitter_ms: u64,
    /// Chance of a datagram to be lost, each way.
    pub loss: f64,
    /// Ticks a second.
    pub rate_hz: u64,
    /// The limit of rewinding, in milliseconds.
    pub max_rewind_ms: u64,
    /// Clients.
    pub clients: u64,
    /// Those of them that came into the world.
    pub joined: u64,
    /// Connections that ended.
    pub disconnected: u64,
    /// The same, by reason.
    pub ends: BTreeMap<String, u64>,
    /// Predictions that the server's word corrected, of all clients.
    pub corrections: u64,
    /// The same per client and minute.
    pub corrections_per_minute: f64,
    /// By how much a body was corrected, in metres: 99 of 100 corrections were no larger.
    pub correction_m_p99: f64,
    /// The largest correction, in metres.
    pub correction_m_max: f64,
    /// How often a body jumped, because it died or came back: no corrections.
    pub cuts: u64,
    /// How often others had a hand in a body (wounds, loot): no corrections, either.
    pub adoptions: u64,
    /// How often a prediction began anew, because nothing was heard for too long.
    pub restarts: u64,
    /// The share of predicted ticks that were predicted again.
    pub replayed_share: f64,
    /// Inputs recorded.
    pub inputs: u64,
    /// Inputs that came too late for their ticks.
    pub inputs_late: u64,
    /// Player ticks that had no input of their own.
    pub inputs_missing: u64,
    /// How often an input clock jumped or waited.
    pub resyncs: u64,
    /// How far behind the ticks of their inputs players saw the others, in milliseconds, in the mean.
    pub view_delay_ms: f64,
    /// The share of looks at others that had to guess.
    pub starved_share: f64,
    /// Shots that players made.
    pub shots: u64,
    /// How far behind the ticks of their inputs shooters saw the others when they fired, in milliseconds: of one half of the
    /// shots less, of the other more.
    pub shot_delay_ms_p50: f64,
    /// Shots whose claimed view was within the limit of rewinding (the usual one, where there is no rewinding).
    pub shots_inside: u64,
    /// The share of them among all.
    pub in_window: f64,
    /// Of the shots inside: such that hit on the shooter's screen.
    pub hits_seen: u64,
    /// Of these, such that hit the same body on the server.
    pub hits_confirmed: u64,
    /// And such that did not.
    pub hits_refused: u64,
    /// Of these, such at a body that the screen only guessed, since nothing was known yet of the moment it showed.
    pub hits_refused_guessed: u64,
    /// Confirmed of seen.
    pub hits_share: f64,
    /// Of the shots inside: such that missed on the shooter's screen, and hit somebody on the server.
    pub hits_unseen: u64,
    /// Of the shots outside the window: such that hit on the shooter's screen.
    pub outside_seen: u64,
    /// Of these, such that hit the same body on the server.
    pub outside_confirmed: u64,
    /// How far the server set the others back, in milliseconds, in the mean.
    pub rewound_ms_mean: f64,
    /// And at the most.
    pub rewound_ms_max: u64,
    /// Of the shots inside: such at a body behind a wall or a gate, as the shooter's screen showed them.
    pub walled: u64,
    /// Of these, such that hit that body.
    pub through_walls: u64,
    /// The same of the shots outside, which are judged by a later moment than they claim: who was behind a wall when it was
    /// seen may have come out by then.
    pub outside_through_walls: u64,
    /// Players that died.
    pub deaths: u64,
    /// Damage that players did.
    pub damage: u64,
    /// Things that players picked up.
    pub looted: u64,
    /// What the server did not do, by cause.
    pub refusals: BTreeMap<&'static str, u64>,
    /// The largest of what any cheat gained over its honest twins: 0.05 is five per cent more.
    pub cheat_advantage: f64,
    /// The same of honest players over each other, in as many groups as there are cheats.
    pub honest_noise: f64,
    /// What that is less than in 99 of 100 ways to choose the groups.
    pub honest_noise_p99: f64,
    /// What each cheat gained.
    pub cheats: Vec<CheatRow>,
    /// Bodies that were faster than any may be.
    pub too_fast: u64,
    /// All that happened in one number, hexadecimal.
    pub digest: String,
    /// The checks that failed, each with its figure and its limit.
    pub failed: Vec<String>,
    /// What could not be shown in such a run, and why: no failures.
    pub not_shown: Vec<String>,
}

/// What a cheat gained over its honest twins: ratios, 1 for none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheatRow {
    /// Its name.
    pub cheat: &'static str,
    /// Pairs of a cheater and a twin.
    pub pairs: u64,
    /// Distance moved by a cheater, in metres a minute.
    pub metres_per_minute: f64,
    /// Damage done by a cheater, a minute.
    pub damage_per_minute: f64,
    /// Things picked up by a cheater, a minute.
    pub loot_per_minute: f64,
    /// Its distance to its twin's.
    pub distance: f64,
    /// Its damage to its twin's.
    pub damage: f64,
    /// Its loot to its twin's.
    pub loot: f64,
    /// The largest of the three, less 1.
    pub advantage: f64,
    /// What the server did not do for the cheaters, by cause.
    pub refusals: BTreeMap<&'static str, u64>,
    /// And for their twins.
    pub twins_refusals: BTreeMap<&'static str, u64>,
}

impl Outcome {
    pub(super) fn new(options: &Options, clients: usize) -> Self {
        Self {
            scenario: options.scenario.name(),
            seed: options.seed,
            seconds: options.seconds.into(),
            rtt_ms: options.rtt_ms.into(),
            jitter_ms: options.jitter_ms.into(),
            loss: options.loss,
            rate_hz: options.rate_hz.into(),
            max_rewind_ms: options.max_rewind_ms.into(),
            clients: clients as u64,
            ..Self::default()
        }
    }

    /// Whether nothing failed.
    #[must_use]
    pub const fn is_fine(&self) -> bool {
        self.failed.is_empty()
    }
}

//! What came out.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::options::{Options, Scenario};
use crate::tell::list;

/// A capsule is so wide, in metres: no correction may be larger.
pub const CAPSULE_M: f64 = 0.81;
/// Of the shots that hit on the screen and lie inside the window, at least so many must hit on the server.
pub const CONFIRMED: f64 = 0.99;

/// What came out of a run. The fields' names are a contract with scripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// What was played.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// Virtual seconds.
    pub seconds: u64,
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
    /// What each cheat gained.
    pub cheats: Vec<CheatRow>,
    /// Bodies that were faster than any may be.
    pub too_fast: u64,
    /// All that happened in one number, hexadecimal.
    pub digest: String,
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

    /// Whether it shows what the scenario is to show; a run without rewinding shows the contrast, and cannot fail. What
    /// cheats gain is told beside what honest players gain over each other, and judged by whoever reads it.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        let shows = match self.scenario {
            name if name == Scenario::Solo.name() => self.corrections == 0 && self.restarts == 0,
            name if name == Scenario::Fight.name() => self.correction_m_max < CAPSULE_M,
            name if name == Scenario::Hits.name() => {
                let enough = self.hits_confirmed as f64 >= CONFIRMED * self.hits_seen as f64;
                self.max_rewind_ms == 0 || self.through_walls == 0 && enough
            }
            _ => self.too_fast == 0,
        };
        shows && self.disconnected == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: seed {}, {} s at {} Hz, {} clients; RTT {} ms, jitter {} ms, loss {} %, rewind up to {} ms",
            self.scenario,
            self.seed,
            self.seconds,
            self.rate_hz,
            self.clients,
            self.rtt_ms,
            self.jitter_ms,
            self.loss * 100.0,
            self.max_rewind_ms
        )?;
        for (reason, count) in &self.ends {
            writeln!(f, "disconnected   {count} x {reason}")?;
        }
        writeln!(
            f,
            "corrections    {} ({:.3} per client and minute), p99 {:.3} m, largest {:.3} m; {} cuts, {} \
             adoptions, {} restarts, {:.2} % replayed",
            self.corrections,
            self.corrections_per_minute,
            self.correction_m_p99,
            self.correction_m_max,
            self.cuts,
            self.adoptions,
            self.restarts,
            self.replayed_share * 100.0
        )?;
        writeln!(
            f,
            "inputs         {}; {} late, {} ticks without one, {} resyncs",
            self.inputs, self.inputs_late, self.inputs_missing, self.resyncs
        )?;
        writeln!(
            f,
            "view           {:.1} ms behind in the mean, {:.2} % of looks guessed",
            self.view_delay_ms,
            self.starved_share * 100.0
        )?;
        self.fmt_shots(f)?;
        for row in &self.cheats {
            writeln!(f, "{row}")?;
        }
        if !self.cheats.is_empty() {
            writeln!(
                f,
                "advantage      {:.3} of the best cheat; {:.3} of honest players over each other",
                self.cheat_advantage, self.honest_noise
            )?;
        }
        write!(f, "digest         {} ({})", self.digest, if self.is_fine() { "fine" } else { "NOT FINE" })
    }
}

impl Outcome {
    fn fmt_shots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scenario == Scenario::Hits.name() {
            writeln!(
                f,
                "hits           {} of {} shots inside the window; seen {}, confirmed {}, refused {} ({:.2} %), unseen {}",
                self.shots_inside,
                self.shots,
                self.hits_seen,
                self.hits_confirmed,
                self.hits_refused,
                self.hits_share * 100.0,
                self.hits_unseen
            )?;
            writeln!(
                f,
                "               behind walls {}, of which hit {}; outside: seen {}, confirmed {}, through walls {}",
                self.walled, self.through_walls, self.outside_seen, self.outside_confirmed, self.outside_through_walls
            )?;
            writeln!(f, "rewound        {:.1} ms in the mean, {} at most", self.rewound_ms_mean, self.rewound_ms_max)?;
        } else {
            writeln!(
                f,
                "fight          {} shots, {} damage, {} deaths, {} things picked up",
                self.shots, self.damage, self.deaths, self.looted
            )?;
        }
        writeln!(f, "refused        {}", list(&self.refusals))
    }
}

impl fmt::Display for CheatRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<12} distance {:.3}, damage {:.3}, loot {:.3} of the twins'; {:.0} m, {:.0} damage, {:.1} things a \
             minute; refused {}; twins {}",
            self.cheat,
            self.distance,
            self.damage,
            self.loot,
            self.metres_per_minute,
            self.damage_per_minute,
            self.loot_per_minute,
            list(&self.refusals),
            list(&self.twins_refusals)
        )
    }
}

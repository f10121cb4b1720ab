//! What came out, for people.

use std::fmt;

use super::super::options::Scenario;
use super::{CheatRow, Outcome};
use crate::tell::list;

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
                "advantage      {:.3} of the best cheat; {:.3} of honest players over each other, by chance up to {:.3}",
                self.cheat_advantage, self.honest_noise, self.honest_noise_p99
            )?;
        }
        for what in &self.failed {
            writeln!(f, "FAILED         {what}")?;
        }
        for what in &self.not_shown {
            writeln!(f, "NOT SHOWN      {what}")?;
        }
        let verdict = match (self.failed.as_slice(), self.not_shown.as_slice()) {
            _ if self.interrupted => "interrupted: nothing was judged",
            ([], []) => "fine",
            ([], _) => "nothing failed, but see what was not shown",
            _ => "NOT FINE",
        };
        write!(f, "digest         {} ({verdict})", self.digest)
    }
}

impl Outcome {
    fn fmt_shots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scenario == Scenario::Hits.name() {
            writeln!(
                f,
                "hits           {} of {} shots inside the window; seen {}, confirmed {}, refused {} ({} guessed; {:.2} %), \
                 unseen {}",
                self.shots_inside,
                self.shots,
                self.hits_seen,
                self.hits_confirmed,
                self.hits_refused,
                self.hits_refused_guessed,
                self.hits_share * 100.0,
                self.hits_unseen
            )?;
            writeln!(
                f,
                "               behind walls {}, of which hit {}; outside: seen {}, confirmed {}, through walls {}",
                self.walled, self.through_walls, self.outside_seen, self.outside_confirmed, self.outside_through_walls
            )?;
            writeln!(
                f,
                "rewound        {:.1} ms in the mean, {} at most; view delay median {:.1} ms",
                self.rewound_ms_mean, self.rewound_ms_max, self.shot_delay_ms_p50
            )?;
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

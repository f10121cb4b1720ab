//! The shooting range: shooters fire at targets that strafe, exactly where they see them.

mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Event;
use netcode::rng::Rng;
use sim::event::What;
use sim::game::rulebook::Rulebook;
use sim::input::FIRE;
use sim::{EntityId, Frame, Input};

use super::meter::{Meter, quantile, round};
use super::options::Options;
use super::outcome::Outcome;
use super::rig::{Rig, Scene, Script, Seat};
use crate::behavior::eyes::Blind;
use crate::behavior::{Behavior, Pilot};
use verdict::{Aimed, Screen, Shown, Sight, moment, others, own_eye};

/// How many shoot, and how many are shot at.
pub(super) const SHOOTERS: usize = 8;
pub(super) const TARGETS: usize = 8;

/// Chance of a shooter to choose one whom it cannot see, where there is one.
const HIDDEN: f64 = 0.3;
/// It then stays with it for so many screens at most.
const LONGEST_AIM: u64 = 60;
/// The limit of rewinding that shots are sorted by where there is no rewinding, in milliseconds.
const USUAL_WINDOW_MS: f64 = 250.0;

/// Delays that are kept for the median: of more, only the first ones have a rank.
const MAX_DELAYS: usize = 1 << 20;

/// A shot that the server has not answered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    aimed: Aimed,
    /// Its claim is within the limit.
    inside: bool,
}

/// Who stands there.
struct Marksman {
    pilot: Pilot,
    rng: Rng,
    chosen_at: u64,
    walk: Input,
    target: Option<EntityId>,
    /// Screens until it chooses another one.
    left: u64,
    /// What its newest intent aims at, and the moment that its screen showed then.
    aimed: Option<(Aimed, f64)>,
    pending: BTreeMap<(u64, u8), Pending>,
}

/// See the module.
pub(super) struct Range {
    meter: Meter,
    marksmen: Vec<Marksman>,
    /// The targets' entities.
    targets: Vec<EntityId>,
    window_ms: f64,
    tick_ms: f64,
    counts: Outcome,
    rewound: (u64, u64),
    /// How far behind their inputs' ticks shots saw the others, in milliseconds.
    delays: Vec<f32>,
    bodies: Vec<Shown>,
}

impl Range {
    /// One weapon that never runs out and hurts nobody.
    pub(super) fn rulebook() -> Arc<Rulebook> {
        let book = Rulebook::from_toml(include_str!("range.toml"));
        // A test reads it.
        book.map_or_else(|_| Rulebook::standard(), Arc::new)
    }

    pub(super) fn new(options: &Options, rng: &Rng) -> Self {
        let marksman = |index: usize| {
            let rng = rng.fork(&format!("player {index}"));
            // Targets strafe; of the shooters every second one stands.
            let stands = index < SHOOTERS && index.is_multiple_of(2);
            let behavior = if stands { Behavior::Idle } else { Behavior::Fight };
            Marksman {
                pilot: Pilot::new(behavior, rng.fork("pilot")),
                rng,
                chosen_at: u64::MAX,
                walk: Input::default(),
                target: None,
                left: 0,
                aimed: None,
                pending: BTreeMap::new(),
            }
        };
        let window_ms = if options.max_rewind_ms == 0 { USUAL_WINDOW_MS } else { options.max_rewind_ms.into() };
        Self {
            meter: Meter::default(),
            marksmen: (0..SHOOTERS + TARGETS).map(marksman).collect(),
            targets: Vec::new(),
            window_ms,
            tick_ms: 1000.0 / f64::from(options.rate_hz.max(1)),
            counts: Outcome::default(),
            rewound: (0, 0),
            delays: Vec::new(),
            bodies: Vec::new(),
        }
    }

    /// Aims at somebody, if anybody is shown.
    fn take_aim(&mut self, scene: &Scene<'_>, seat: &Seat) -> Option<(Aimed, f64)> {
        let render = seat.client.render_tick(scene.now)?;
        others(&seat.client, scene.now, &mut self.bodies);
        let eye = own_eye(&seat.client, scene.now)?;
        let screen = Screen { eye, bodies: &self.bodies, ground: scene.ground, moment: moment(render) };
        let marksman = self.marksmen.get_mut(seat.index)?;
        marksman.left = marksman.left.saturating_sub(1);
        let shown = |id: EntityId| self.bodies.iter().find(|shown| shown.id == id);
        if marksman.left == 0 || marksman.target.and_then(shown).is_none() {
            marksman.left = 1 + marksman.rng.below(LONGEST_AIM);
            marksman.target = choose(&mut marksman.rng, &screen, &self.targets);
        }
        Some((screen.aim(marksman.target.and_then(shown)?), render))
    }

    /// A shot of which the screen's verdict is known left the weapon.
    fn fired(&mut self, seat: usize, tick: u64, ordinal: u8) {
        let Some(marksman) = self.marksmen.get_mut(seat) else { return };
        let Some((aimed, render)) = marksman.aimed else { return };
        let delay = (tick as f64 - render) * self.tick_ms;
        let inside = delay <= self.window_ms;
        if self.delays.len() < MAX_DELAYS {
            self.delays.push(delay as f32);
        }
        marksman.pending.insert((tick, ordinal), Pending { aimed, inside });
        self.counts.shots_inside += u64::from(inside);
        self.counts.walled += u64::from(inside && matches!(aimed.sight, Sight::Walled { .. }));
        match (aimed.sight, inside) {
            (Sight::Hits(_), true) => self.counts.hits_seen += 1,
            (Sight::Hits(_), false) => self.counts.outside_seen += 1,
            _ => {}
        }
    }

    /// The server says what came of a shot.
    fn judge(&mut self, seat: usize, event: &sim::Event) {
        let What::Shot { target, rewound_ms, .. } = event.what else { return };
        let key = (event.tick, event.ordinal);
        let Some(pending) = self.marksmen.get_mut(seat).and_then(|marksman| marksman.pending.remove(&key)) else {
            return;
        };
        self.rewound.0 += u64::from(rewound_ms);
        self.rewound.1 += 1;
        let counts = &mut self.counts;
        counts.rewound_ms_max = counts.rewound_ms_max.max(rewound_ms.into());
        match pending.aimed.sight {
            Sight::Hits(seen) if target == Some(seen) => {
                *(if pending.inside { &mut counts.hits_confirmed } else { &mut counts.outside_confirmed }) += 1;
            }
            Sight::Hits(_) => counts.hits_refused_guessed += u64::from(pending.inside && pending.aimed.guessed),
            Sight::Walled { firm } => {
                let through = u64::from(firm && target == Some(pending.aimed.target));
                *(if pending.inside { &mut counts.through_walls } else { &mut counts.outside_through_walls }) +=
                    through;
            }
            Sight::Misses => counts.hits_unseen += u64::from(pending.inside && target.is_some()),
        }
    }

    pub(super) fn finish(mut self, rig: &Rig, outcome: &mut Outcome) {
        self.delays.sort_unstable_by(f32::total_cmp);
        outcome.shot_delay_ms_p50 = round(quantile(&self.delays, 0.5).into());
        let Self { meter, counts, rewound, marksmen, .. } = self;
        meter.finish(rig, outcome);
        // What is still under way was not refused.
        let open = |inside: bool| {
            let all = marksmen.iter().flat_map(|marksman| marksman.pending.iter());
            let recent = rig.tick().saturating_sub(UNDER_WAY_S * u64::from(rig.ground.rate_hz));
            let open = all.filter(|((tick, _), shot)| *tick > recent && shot.inside == inside);
            open.filter(|(_, shot)| matches!(shot.aimed.sight, Sight::Hits(_))).count() as u64
        };
        outcome.shots_inside = counts.shots_inside;
        outcome.in_window = round(counts.shots_inside as f64 / outcome.shots.max(1) as f64);
        outcome.hits_seen = counts.hits_seen - open(true);
        outcome.hits_confirmed = counts.hits_confirmed;
        outcome.hits_refused = outcome.hits_seen.saturating_sub(outcome.hits_confirmed);
        outcome.hits_refused_guessed = counts.hits_refused_guessed;
        outcome.hits_share = outcome.hits_confirmed as f64 / outcome.hits_seen.max(1) as f64;
        outcome.hits_unseen = counts.hits_unseen;
        outcome.outside_seen = counts.outside_seen - open(false);
        outcome.outside_confirmed = counts.outside_confirmed;
        (outcome.walled, outcome.through_walls) = (counts.walled, counts.through_walls);
        outcome.outside_through_walls = counts.outside_through_walls;
        outcome.rewound_ms_mean = round(rewound.0 as f64 / rewound.1.max(1) as f64);
        outcome.rewound_ms_max = counts.rewound_ms_max;
    }
}

/// Longer under way than this no answer is.
const UNDER_WAY_S: u64 = 2;

impl Script for Range {
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat) {
        let inputs = seat.client.stats().inputs;
        let Some(marksman) = self.marksmen.get_mut(seat.index) else { return };
        if std::mem::replace(&mut marksman.chosen_at, inputs) != inputs {
            marksman.walk = marksman.pilot.next(scene.rate, &Blind);
            self.meter.look(scene, seat);
        }
        let mut input = self.marksmen.get(seat.index).map_or_else(Input::default, |marksman| marksman.walk);
        if seat.index < SHOOTERS {
            let aimed = self.take_aim(scene, seat);
            if let Some((aimed, _)) = aimed {
                input = Input { yaw: aimed.yaw, pitch: aimed.pitch, buttons: input.buttons | FIRE, ..input };
            }
            if let Some(marksman) = self.marksmen.get_mut(seat.index) {
                marksman.aimed = aimed;
            }
        }
        seat.client.set_intent_at(scene.now, input);
    }

    fn hear(&mut self, _scene: &Scene<'_>, seat: &Seat, event: &Event) {
        self.meter.hear(event);
        match event {
            Event::Welcome(_) if seat.index >= SHOOTERS => self.targets.extend(seat.client.own()),
            Event::Fired { tick, ordinal, .. } => self.fired(seat.index, *tick, *ordinal),
            Event::Game(event) => self.judge(seat.index, event),
            _ => {}
        }
    }

    fn tick(&mut self, _scene: &Scene<'_>, _frame: &Frame, told: &[(usize, sim::Event)]) {
        told.iter().for_each(|(_, event)| self.meter.told(event.what));
    }
}

/// One of the targets: mostly one who is seen.
fn choose(rng: &mut Rng, screen: &Screen<'_>, targets: &[EntityId]) -> Option<EntityId> {
    let hidden = rng.chance(HIDDEN);
    let wanted = |shown: &&Shown| {
        let sight = screen.aim(shown).sight;
        targets.contains(&shown.id) && !shown.starved && matches!(sight, Sight::Walled { .. }) == hidden
    };
    let among: Vec<EntityId> = screen.bodies.iter().filter(wanted).map(|shown| shown.id).collect();
    among.get(rng.below(among.len().max(1) as u64) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_rulebook_is_read() {
        assert!(Range::rulebook().weapon_number("beam").is_some());
    }
}

//! What cheaters do that honest players do not.

use netcode::rng::Rng;
use sim::game::aim::EYE_M;
use sim::game::{Ground, can_fire};
use sim::input::{FIRE, VIEW_PARTS};
use sim::schema::LOOT;
use sim::{EntityId, Frame, Input};

use super::super::rig::{Scene, Seat};
use crate::behavior::aim::toward;
use crate::behavior::eyes::{ClientEyes, Eyes, Own, Prey};

/// A way to cheat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cheat {
    /// Sends the inputs of two ticks in each.
    Often,
    /// Sends inputs for ticks that are far ahead, again and again.
    Ahead,
    /// Wants to move along both axes at more than full speed.
    Oversize,
    /// Jumps to and fro between extremes.
    Teleport,
    /// Fires in each tick, whatever the weapon can do.
    RapidFire,
    /// Claims to have seen others where they were long ago, and aims there.
    Backwards,
    /// Knows where everybody is, and fires at whoever is near, through whatever is between.
    Walls,
    /// Picks up what lies anywhere.
    FarLoot,
    /// Sends its datagrams again.
    Replay,
}

impl Cheat {
    pub(super) const ALL: [Self; 9] = [
        Self::Often,
        Self::Ahead,
        Self::Oversize,
        Self::Teleport,
        Self::RapidFire,
        Self::Backwards,
        Self::Walls,
        Self::FarLoot,
        Self::Replay,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Often => "inputs_often",
            Self::Ahead => "inputs_ahead",
            Self::Oversize => "oversize",
            Self::Teleport => "teleport",
            Self::RapidFire => "rapid_fire",
            Self::Backwards => "backwards",
            Self::Walls => "walls",
            Self::FarLoot => "far_loot",
            Self::Replay => "replay",
        }
    }

    /// Whether what lies between two places does not matter to its eyes.
    pub(super) const fn sees_through(self) -> bool {
        matches!(self, Self::Walls)
    }

    /// Plays a tick: `input` is what an honest player would do.
    pub(super) fn play(self, scene: &Scene<'_>, seat: &mut Seat, input: Input, rng: &mut Rng) {
        match self {
            Self::Often => {
                seat.client.set_intent_at(scene.now, input);
                forge(scene, seat, input, 1 + rng.below(2), 2);
            }
            Self::Ahead => {
                seat.client.set_intent_at(scene.now, input);
                forge(scene, seat, input, 4 + rng.below(40), 4);
            }
            Self::Oversize => seat.client.set_intent_at(
                scene.now,
                Input { move_x: extreme(input.move_x), move_z: extreme(input.move_z), ..input },
            ),
            Self::Teleport => {
                let [move_x, move_z] = [(); 2].map(|()| if rng.chance(0.5) { i8::MAX } else { i8::MIN });
                seat.client.set_intent_at(scene.now, Input { move_x, move_z, ..input });
            }
            Self::RapidFire => {
                let raw = stamped(scene, seat, input);
                seat.client.set_raw_input(Input { buttons: raw.buttons | FIRE, ..raw });
            }
            Self::Backwards => {
                let raw = backwards(scene, seat, stamped(scene, seat, input), rng);
                seat.client.set_raw_input(raw);
            }
            Self::Walls => seat.client.set_intent_at(scene.now, input),
            Self::FarLoot => {
                let all = scene.history.newest().map(lying).unwrap_or_default();
                let target = all.get(rng.below(all.len().max(1) as u64) as usize).map_or(input.target, |id| id.raw());
                seat.client.set_intent_at(scene.now, Input { target, ..input });
            }
            Self::Replay => {
                seat.replays = true;
                seat.client.set_intent_at(scene.now, input);
            }
        }
    }
}

/// The farthest that a share of full speed goes that way.
const fn extreme(share: i8) -> i8 {
    match share {
        0 => 0,
        1.. => i8::MAX,
        _ => i8::MIN,
    }
}

/// Sends inputs for so many ticks, the first of them so far after the newest of its own.
fn forge(scene: &Scene<'_>, seat: &mut Seat, input: Input, after: u64, ticks: u64) {
    let Some((tick, _)) = seat.client.predicted() else { return };
    let inputs = vec![input; ticks as usize];
    seat.client.forge_inputs(scene.now, tick + after + ticks - 1, &inputs);
}

/// An intent as an honest client would send it with the next input.
fn stamped(scene: &Scene<'_>, seat: &Seat, input: Input) -> Input {
    let (Some((tick, state)), Some(render)) = (seat.client.predicted(), seat.client.render_tick(scene.now)) else {
        return Input::default();
    };
    let behind = ((tick + 1) as f64 - render) * f64::from(VIEW_PARTS);
    let fires = input.buttons & FIRE != 0 && can_fire(scene.ground, tick + 1, &state, &input);
    let buttons = if fires { input.buttons } else { input.buttons & !FIRE };
    Input { buttons, view: behind.clamp(0.0, 2047.0) as u16, instant: 15, ..input }
}

/// Aims at where the nearest one was some time ago, and claims to see it there.
fn backwards(scene: &Scene<'_>, seat: &Seat, input: Input, rng: &mut Rng) -> Input {
    const BACK_MS: [u64; 4] = [150, 300, 600, 1200];
    let back_ms = BACK_MS[rng.below(4) as usize];
    let ticks = back_ms * u64::from(scene.rate) / 1000;
    let view = input.view.saturating_add((ticks * u64::from(VIEW_PARTS)).min(2047) as u16).min(2047);
    let eyes = ClientEyes { client: &seat.client, now: scene.now, ground: None };
    let aim = || {
        let own = eyes.own()?;
        let mut seen = Vec::new();
        eyes.look(Prey::Body, 40.0, &mut seen);
        let (nearest, _) = seen.into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let frame = scene.history.at(scene.history.newest()?.tick.saturating_sub(ticks))?;
        let [x, y, z] = frame.position_m(frame.row(EntityId::from_raw(nearest)?)?);
        let eye = [own.feet[0], own.feet[1] + EYE_M, own.feet[2]];
        Some(toward(eye, [x, y + 0.9, z]))
    };
    let (yaw, pitch) = aim().unwrap_or((input.yaw, input.pitch));
    Input { yaw, pitch, view, ..input }
}

/// What lies around in a frame.
fn lying(frame: &Frame) -> Vec<EntityId> {
    (0..frame.len()).filter(|row| frame.kind(*row) == LOOT).map(|row| frame.id(row)).collect()
}

/// Eyes that see everybody where the server has them, through everything.
pub(super) struct XRay<'a> {
    pub own: ClientEyes<'a>,
    pub frame: &'a Frame,
}

impl Eyes for XRay<'_> {
    fn own(&self) -> Option<Own> {
        self.own.own()
    }

    fn feet(&self, id: u32) -> Option<[f32; 3]> {
        let row = self.frame.row(EntityId::from_raw(id)?)?;
        self.own.feet(id)?;
        Some(self.frame.position_m(row))
    }

    fn look(&self, prey: Prey, within_m: f32, out: &mut Vec<(u32, f32)>) {
        self.own.look(prey, within_m, out);
    }

    fn ground(&self) -> Option<&Ground> {
        self.own.ground()
    }

    fn sees(&self, _from: [f32; 3], _to: [f32; 3]) -> bool {
        true
    }
}

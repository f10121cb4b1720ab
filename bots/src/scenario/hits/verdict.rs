//! What a screen says of a shot: whom the ray meets first, as everything is shown at that moment.

use client::Client;
use netcode::Time;
use sim::EntityId;
use sim::game::aim::{EYE, direction};
use sim::game::ground::Ground;
use sim::ray::{Ray, body_hit};
use sim::rewind::Moment;
use sim::schema::{PLAYER, QUANTA_PER_M};

use crate::behavior::aim::toward;

/// How far the beam of the range reaches (1/256 m).
const REACH: f32 = 200.0 * QUANTA_PER_M as f32;
/// A wall hides a body for certain when it does so for eyes that far beside, either way, and stands that far before it.
const BESIDE_M: f32 = 0.05;
const BEFORE: f32 = 0.3 * QUANTA_PER_M as f32;
/// The middle of a body above its feet, in metres.
const MIDDLE_M: f32 = 0.9;

/// A body as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub id: EntityId,
    /// Its feet (metres).
    pub feet: [f32; 3],
    pub starved: bool,
}

/// Everything that a screen shows at a moment.
pub(super) struct Screen<'a> {
    /// The eye (metres).
    pub eye: [f32; 3],
    pub bodies: &'a [Shown],
    pub ground: &'a Ground,
    /// The moment at which the others, and what moves, are shown.
    pub moment: Moment,
}

/// What is to be seen of a shot at a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It hits this one.
    Hits(EntityId),
    /// A wall, or a gate, is in between; `firm`: not just so.
    Walled { firm: bool },
    /// Nothing is hit. Whoever aims well never sees it.
    Misses,
}

/// An aim, and what the screen says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aimed {
    pub target: EntityId,
    pub yaw: u16,
    pub pitch: i16,
    pub sight: Sight,
    /// The target is shown where it is guessed to be.
    pub guessed: bool,
}

impl Screen<'_> {
    /// Aims at the middle of a body.
    pub(super) fn aim(&self, target: &Shown) -> Aimed {
        let [x, y, z] = target.feet;
        let (yaw, pitch) = toward(self.eye, [x, y + MIDDLE_M, z]);
        Aimed { target: target.id, yaw, pitch, sight: self.sight(target, yaw, pitch), guessed: target.starved }
    }

    fn sight(&self, target: &Shown, yaw: u16, pitch: i16) -> Sight {
        let ray = |eye: [f32; 3]| Ray { from: eye.map(quanta), direction: direction(yaw, pitch), reach: REACH };
        let middle = ray(self.eye);
        let wall = self.ground.statics.cast(&middle, self.moment);
        let meets = |shown: &Shown| Some((body_hit(&middle, shown.feet.map(quanta))?, shown.id));
        let body = self.bodies.iter().filter_map(meets).min_by(|a, b| a.0.total_cmp(&b.0));
        match (body, wall) {
            (Some((at, _)), Some(wall)) if wall < at => Sight::Walled { firm: self.firm(target, &ray) },
            (Some((_, id)), _) => Sight::Hits(id),
            (None, _) => Sight::Misses,
        }
    }

    /// Whether a wall is before the body for eyes around, too.
    fn firm(&self, target: &Shown, ray: &dyn Fn([f32; 3]) -> Ray) -> bool {
        let [x, y, z] = self.eye;
        let b = BESIDE_M;
        let around = [[x + b, y, z], [x - b, y, z], [x, y + b, z], [x, y - b, z], [x, y, z + b], [x, y, z - b]];
        around.into_iter().all(|eye| {
            let ray = ray(eye);
            let body = body_hit(&ray, target.feet.map(quanta)).unwrap_or(REACH);
            self.ground.statics.cast(&ray, self.moment).is_some_and(|wall| wall + BEFORE < body)
        })
    }
}

/// Where a client shows its own eye, in metres.
pub(super) fn own_eye(client: &Client, now: Time) -> Option<[f32; 3]> {
    let [x, y, z] = client.own_pose(now)?.position;
    Some([x, y + EYE / QUANTA_PER_M as f32, z])
}

/// All other living players as a client shows them.
pub(super) fn others(client: &Client, now: Time, out: &mut Vec<Shown>) {
    out.clear();
    let own = client.own();
    for entity in client.view().entities().filter(|entity| entity.kind() == PLAYER) {
        let Some(id) = EntityId::from_raw(entity.id()).filter(|id| Some(*id) != own) else { continue };
        if let Some(pose) = client.interpolate(now, entity.id()) {
            out.push(Shown { id, feet: pose.position, starved: pose.starved });
        }
    }
}

/// The moment of a tick with a fraction.
pub(super) fn moment(tick: f64) -> Moment {
    let parts = (tick.max(0.0) * 32.0).round() as u64;
    Moment { tick: parts / 32, share: (parts % 32) as u8 }
}

fn quanta(metres: f32) -> f32 {
    metres * QUANTA_PER_M as f32
}

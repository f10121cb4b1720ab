//! Cheaters beside honest twins in the same fight: what do they gain?

mod cheat;
mod gains;

use client::Event;
use netcode::rng::Rng;
use sim::movement::MAX_HORIZONTAL_SPEED_MPS;
use sim::schema::{DEAD, FLAGS, position_m};
use sim::{EntityId, Frame};

use super::fight::Player;
use super::meter::Meter;
use super::outcome::{CheatRow, Outcome};
use super::rig::{Rig, Scene, Script, Seat};
use crate::behavior::aim::flat2;
use crate::behavior::eyes::ClientEyes;
use crate::tell::causes;
use cheat::{Cheat, XRay};
use gains::{Gains, advantage};

/// Pairs of a cheater and a twin, for each cheat.
const PAIRS: usize = 5;
/// A gate pushes a body by so much beside what it walks.
const PUSH_MPS: f32 = 2.0;
/// Rounding to position quanta, twice.
const SLACK_M: f32 = 0.02;

/// Somebody who fights.
struct Member {
    player: Player,
    rng: Rng,
    /// What it does beside fighting; its twin sits next to it.
    cheat: Option<Cheat>,
    entity: Option<EntityId>,
    gains: Gains,
}

/// See the module.
pub(super) struct Contest {
    meter: Meter,
    members: Vec<Member>,
    /// The frame before, as far as it matters: where each of them was, if alive.
    before: Vec<Option<[f32; 3]>>,
    too_fast: u64,
    noise: Rng,
}

impl Contest {
    pub(super) fn new(rng: &Rng) -> Self {
        let pairs = Cheat::ALL.into_iter().flat_map(|cheat| (0..PAIRS).map(move |pair| (cheat, pair)));
        let members: Vec<Member> = pairs
            .flat_map(|(cheat, pair)| {
                // Twins draw from the same stream.
                let rng = rng.fork(&format!("{} {pair}", cheat.name()));
                [Some(cheat), None].map(|cheat| Member {
                    player: Player::new(&rng),
                    rng: rng.fork("cheat"),
                    cheat,
                    entity: None,
                    gains: Gains::default(),
                })
            })
            .collect();
        let before = vec![None; members.len()];
        Self { meter: Meter::default(), members, before, too_fast: 0, noise: rng.fork("noise") }
    }

    pub(super) fn players(&self) -> usize {
        self.members.len()
    }

    pub(super) fn finish(mut self, rig: &Rig, outcome: &mut Outcome) {
        let minutes = outcome.seconds as f64 / 60.0;
        for (member, seat) in self.members.iter_mut().zip(&rig.seats) {
            let refusals = seat.client.conn().and_then(|conn| rig.cluster.refusals(conn));
            member.gains.refusals = refusals.unwrap_or_default();
        }
        self.meter.finish(rig, outcome);
        let sum = |cheat: Cheat, cheats: bool| {
            let at = Cheat::ALL.iter().position(|other| *other == cheat).unwrap_or(0) * 2 * PAIRS;
            let all = self.members.iter().skip(at).take(2 * PAIRS);
            Gains::sum(all.filter(|member| member.cheat.is_some() == cheats).map(|member| &member.gains))
        };
        for cheat in Cheat::ALL {
            let (cheaters, twins) = (sum(cheat, true), sum(cheat, false));
            let [distance, damage, loot] = cheaters.over(&twins);
            let each = |value: f64| super::meter::round(value / minutes / PAIRS as f64);
            outcome.cheats.push(CheatRow {
                cheat: cheat.name(),
                pairs: PAIRS as u64,
                metres_per_minute: each(cheaters.metres),
                damage_per_minute: each(cheaters.damage as f64),
                loot_per_minute: each(cheaters.loot as f64),
                distance,
                damage,
                loot,
                advantage: advantage(&cheaters, &twins),
                refusals: causes(&cheaters.refusals),
                twins_refusals: causes(&twins.refusals),
            });
        }
        outcome.cheat_advantage = outcome.cheats.iter().map(|row| row.advantage).fold(f64::NEG_INFINITY, f64::max);
        let honest: Vec<&Gains> =
            self.members.iter().filter(|member| member.cheat.is_none()).map(|member| &member.gains).collect();
        outcome.honest_noise = gains::noise(&honest, PAIRS, Cheat::ALL.len(), &mut self.noise);
        outcome.honest_noise_p99 = gains::noise_p99(&honest, PAIRS, Cheat::ALL.len(), &mut self.noise);
        outcome.too_fast = self.too_fast;
    }

    /// How far everybody moved, and whether anybody can have.
    fn measure(&mut self, frame: &Frame, rate: u16) {
        let ticks = frame.tick.saturating_sub(frame.prev).max(1) as f32;
        let most = (MAX_HORIZONTAL_SPEED_MPS + PUSH_MPS) / f32::from(rate.max(1)) * ticks + SLACK_M;
        for (member, before) in self.members.iter_mut().zip(&mut self.before) {
            let state = member.entity.and_then(|id| frame.row(id)).map(|row| frame.state(row));
            let now = state.filter(|state| state[FLAGS] & DEAD == 0).map(position_m);
            if let (Some(from), Some(to)) = (std::mem::replace(before, now), now) {
                let metres = flat2(from, to).sqrt();
                member.gains.metres += f64::from(metres);
                self.too_fast += u64::from(metres > most);
            }
        }
    }
}

impl Script for Contest {
    fn draw(&mut self, scene: &Scene<'_>, seat: &mut Seat) {
        let Some(member) = self.members.get_mut(seat.index) else { return };
        if !member.player.chooses(seat) {
            return;
        }
        let eyes = ClientEyes { client: &seat.client, now: scene.now, ground: Some(scene.ground) };
        let xray = scene.history.newest().map(|frame| XRay { own: eyes, frame });
        let input = match xray.filter(|_| member.cheat.is_some_and(Cheat::sees_through)) {
            Some(xray) => member.player.pilot.next(scene.rate, &xray),
            None => member.player.pilot.next(scene.rate, &eyes),
        };
        match member.cheat {
            Some(cheat) => cheat.play(scene, seat, input, &mut member.rng),
            None => seat.client.set_intent_at(scene.now, input),
        }
        self.meter.look(scene, seat);
    }

    fn hear(&mut self, _scene: &Scene<'_>, seat: &Seat, event: &Event) {
        self.meter.hear(event);
        if let (Event::Welcome(_), Some(member)) = (event, self.members.get_mut(seat.index)) {
            member.entity = seat.client.own();
        }
    }

    fn tick(&mut self, scene: &Scene<'_>, frame: &Frame, told: &[(usize, sim::Event)]) {
        self.measure(frame, scene.rate);
        for (seat, event) in told {
            self.meter.told(event.what);
            if let Some(member) = self.members.get_mut(*seat) {
                member.gains.told(event.what);
            }
        }
    }
}

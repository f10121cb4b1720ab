//! What strikes do: armour, health, death, experience.

use super::event::{Event, What};
use super::ground::Ground;
use super::hands::ready_at;
use super::loot;
use super::npc::Mind;
use super::schema::{ARCHETYPE, ARMOUR, DEAD, FLAGS, HEALTH, LEVEL, PLAYER, READY, RELOADING, SHIELDED, SPRINTING};
use super::shots::{Fired, lives};
use super::{Hidden, Skirmish};
use crate::engine::Stage;
use crate::entity::EntityId;
use netcode::schema::State;

/// Somebody is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// By whom; possibly one who has left.
    pub attacker: EntityId,
    /// The row of who is hit.
    pub victim: usize,
    /// Points, before levels and armour.
    pub damage: i32,
    /// Of a player's shot: the tick of its input, and its number among the hits of that shot.
    pub shot: Option<(u64, u8)>,
    /// How far the victim was set back, ms.
    pub rewound_ms: u16,
}

/// What a tick collects before anybody is hurt; kept for its memory.
#[derive(Default)]
pub struct Strikes {
    /// Shots to be made.
    pub fired: Vec<Fired>,
    /// In the order in which they take effect.
    pub all: Vec<Strike>,
    /// How often each row was hurt in this tick.
    hurts: Vec<u8>,
    /// The rows of those who learned something in this tick.
    learners: Vec<usize>,
    /// Scratch: rows of a frame, or of now.
    pub rows: Vec<u32>,
}

/// Applies all strikes of the tick.
pub fn step(stage: &mut Stage<'_, Skirmish>, ground: &Ground, lying: &mut u32, strikes: &mut Strikes) {
    strikes.hurts.clear();
    strikes.hurts.resize(stage.ids.len(), 0);
    let all = core::mem::take(&mut strikes.all);
    for strike in &all {
        if apply(stage, ground, strikes, strike) {
            die(stage, ground, lying, strikes, strike);
        }
    }
    strikes.all = all;
    strikes.all.clear();
    strikes.learners.sort_unstable();
    strikes.learners.dedup();
    for row in strikes.learners.drain(..) {
        let Hidden::Player(person) = &stage.hidden[row] else { continue };
        let what = What::Progress { xp: person.xp, level: stage.states[row][LEVEL] as u8 };
        stage.events.push((stage.ids[row], Event { tick: stage.tick, ordinal: 0, what }));
    }
}

/// Hurts the victim and tells both; whether it died of it.
fn apply(stage: &mut Stage<'_, Skirmish>, ground: &Ground, strikes: &mut Strikes, strike: &Strike) -> bool {
    let Strike { attacker, victim, rewound_ms, .. } = *strike;
    let by = stage.row(attacker).filter(|row| stage.kinds[*row] == PLAYER);
    let level = by.map_or(1, |row| stage.states[row][LEVEL]);
    let points = ground.book.levels.damage(strike.damage, level);
    let (kind, id) = (stage.kinds[victim], stage.ids[victim]);
    let was_alive = lives(kind, &stage.states[victim]);
    let taken = hurt(&mut stage.states[victim], kind, points, ground.book.player.armour_percent);
    let killed = was_alive && stage.states[victim][HEALTH] == 0;
    // Twice 100 points at most.
    let damage = taken as u8;
    if let Some((tick, ordinal)) = strike.shot
        && by.is_some()
    {
        let what = What::Shot { target: Some(id), damage, killed, rewound_ms };
        stage.events.push((attacker, Event { tick, ordinal, what }));
    }
    if taken > 0 {
        match &mut stage.hidden[victim] {
            Hidden::Player(_) => {
                let ordinal = strikes.hurts[victim];
                strikes.hurts[victim] = ordinal.saturating_add(1);
                let what = What::Hurt { attacker: Some(attacker), damage, rewound_ms };
                stage.events.push((id, Event { tick: stage.tick, ordinal, what }));
            }
            Hidden::Npc(mind) => mind.provoke(attacker, by.is_some()),
            _ => {}
        }
    }
    killed
}

/// Takes points of armour and health; how many it took. The dead and the shielded lose none.
fn hurt(state: &mut State, kind: u8, points: i32, armour_percent: u32) -> i32 {
    if !lives(kind, state) || state[FLAGS] & SHIELDED != 0 {
        return 0;
    }
    let armour = if kind == PLAYER { state[ARMOUR].min(points * armour_percent as i32 / 100) } else { 0 };
    let health = state[HEALTH].min(points - armour);
    if armour > 0 {
        state[ARMOUR] -= armour;
    }
    state[HEALTH] -= health;
    armour + health
}

fn die(stage: &mut Stage<'_, Skirmish>, ground: &Ground, lying: &mut u32, strikes: &mut Strikes, strike: &Strike) {
    let Strike { attacker: killer, victim, .. } = *strike;
    let (tick, id, book) = (stage.tick, stage.ids[victim], &ground.book);
    let state = &mut stage.states[victim];
    state[FLAGS] = state[FLAGS] & !(RELOADING | SPRINTING) | DEAD;
    let (table, xp) = match &mut stage.hidden[victim] {
        Hidden::Player(person) => {
            let ticks = ground.ticks(book.player.respawn_ms);
            person.until = tick + ticks;
            state[READY] = ready_at(person.until);
            let respawn_ticks = u16::try_from(ticks).unwrap_or(u16::MAX);
            let what = What::Died { killer: Some(killer), respawn_ticks };
            stage.events.push((id, Event { tick, ordinal: 0, what }));
            (&book.player.drop, book.player.xp)
        }
        Hidden::Npc(mind) => {
            let Some(kind) = book.npc(state[ARCHETYPE]) else { return };
            *mind = Mind { until: tick + ground.ticks(kind.respawn_ms), ..Mind::at(mind.home) };
            (&kind.drop, kind.xp)
        }
        _ => return,
    };
    loot::drop(stage, ground, lying, victim, table);
    if killer != id {
        learn(stage, ground, strikes, killer, xp);
    }
}

/// A player learns something, if it is here.
fn learn(stage: &mut Stage<'_, Skirmish>, ground: &Ground, strikes: &mut Strikes, id: EntityId, xp: u32) {
    let Some(row) = stage.row(id) else { return };
    let Hidden::Player(person) = &mut stage.hidden[row] else { return };
    person.xp = person.xp.saturating_add(xp);
    stage.states[row][LEVEL] = i32::from(ground.book.levels.level(person.xp));
    strikes.learners.push(row);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::schema::NPC;

    fn body(health: i32, armour: i32, flags: i32) -> State {
        let mut state = State::default();
        (state[HEALTH], state[ARMOUR], state[FLAGS]) = (health, armour, flags);
        state
    }

    #[test]
    fn armour_takes_its_share_until_it_is_gone() {
        let mut state = body(100, 50, 0);
        assert_eq!(hurt(&mut state, PLAYER, 50, 60), 50);
        assert_eq!((state[HEALTH], state[ARMOUR]), (80, 20));
        assert_eq!(hurt(&mut state, PLAYER, 50, 60), 50);
        assert_eq!((state[HEALTH], state[ARMOUR]), (50, 0));
        assert_eq!(hurt(&mut state, PLAYER, 80, 60), 50, "no more than there is");
        assert_eq!(state[HEALTH], 0);
    }

    #[test]
    fn the_dead_the_shielded_and_things_are_not_hurt() {
        assert_eq!(hurt(&mut body(100, 0, DEAD), PLAYER, 50, 60), 0);
        assert_eq!(hurt(&mut body(100, 0, SHIELDED), NPC, 50, 60), 0);
        assert_eq!(hurt(&mut body(100, 0, 0), crate::game::schema::LOOT, 50, 60), 0);
        assert_eq!(hurt(&mut body(100, 0, 0), NPC, 50, 60), 50);
    }
}

//! What the dead leave, and who picks it up.

use super::aim::{eye_of, feet};
use super::event::{Event, Refusal, What};
use super::ground::Ground;
use super::input::Input;
use super::rulebook::{Gives, Slot};
use super::schema::{
    AMOUNT, ARMOUR, DEAD, FLAGS, GROUNDED, HEALTH, HEALTH_FULL, ITEM, LOOT, QUANTA_PER_M, RESERVE, X, Y, Z,
};
use super::{Hidden, Skirmish, refuse};
use crate::contact::RADIUS;
use crate::engine::Stage;
use crate::entity::EntityId;
use crate::rewind::Moment;
use crate::rng::{Stream, below, draw};
use glam::Vec3;
use netcode::schema::State;

/// How far above its place a thing is looked for (1/256 m): as high as it is.
const LOOK: f32 = 26.0;

/// Leaves what the table says where the body of a row is, on the ground below it.
pub fn drop(stage: &mut Stage<'_, Skirmish>, ground: &Ground, lying: &mut u32, row: usize, table: &str) {
    let book = &ground.book;
    let Some(table) = book.drop_table(table) else { return };
    if *lying >= book.loot.most {
        return;
    }
    // Below a million each, and few.
    let total = table.nothing + table.entry.iter().map(|entry| entry.weight).sum::<u32>();
    let bits = draw(stage.seed, Stream::Drop, stage.tick, stage.ids[row].raw());
    let Some(mut lot) = below(bits, total).checked_sub(table.nothing) else { return };
    for entry in &table.entry {
        match lot.checked_sub(entry.weight) {
            Some(left) => lot = left,
            None => {
                let Some(item) = book.item_number(&entry.item) else { return };
                let state = lie(ground, stage.tick, &stage.states[row], item, entry.amount);
                let until = stage.tick + ground.ticks(book.loot.life_ms);
                // In a full world nothing is left.
                *lying += u32::from(stage.spawn(LOOT, state, Hidden::Loot { until }).is_ok());
                return;
            }
        }
    }
}

/// A thing on what is below that body.
fn lie(ground: &Ground, tick: u64, body: &State, item: u8, amount: i32) -> State {
    let [x, y, z] = feet(body);
    let waist = y + RADIUS as f32;
    let fall = ground.wall([x, waist, z], [x, -1.0, z], Moment::after(tick)).unwrap_or(waist);
    let mut state = State::default();
    (state[X], state[Z]) = (body[X], body[Z]);
    state[Y] = ((waist - fall + 0.5).floor() as i32).max(0);
    (state[FLAGS], state[ITEM], state[AMOUNT]) = (GROUNDED, i32::from(item), amount);
    state
}

/// Lets players pick up what they want, in order of their ids: the first one who can takes it.
pub fn step(stage: &mut Stage<'_, Skirmish>, ground: &Ground, inputs: &[Option<Input>]) {
    for (row, input) in inputs.iter().enumerate() {
        let Some(target) = input.map(|input| input.target).filter(|target| *target != 0) else { continue };
        match pick_up(stage, ground, row, target) {
            Ok(what) => stage.events.push((stage.ids[row], Event { tick: stage.tick, ordinal: 0, what })),
            Err(cause) => refuse(stage, row, 1, cause),
        }
    }
}

fn pick_up(stage: &mut Stage<'_, Skirmish>, ground: &Ground, row: usize, target: u32) -> Result<What, Refusal> {
    let player = stage.states[row];
    if player[FLAGS] & DEAD != 0 {
        return Err(Refusal::Dead);
    }
    let loot = EntityId::from_raw(target).ok_or(Refusal::Gone)?;
    let at = stage.row(loot).filter(|row| stage.kinds[*row] == LOOT).ok_or(Refusal::Gone)?;
    let thing = stage.states[at];
    let (eye, place) = (eye_of(&player), feet(&thing));
    let reach = ground.book.player.reach_m * QUANTA_PER_M as f32;
    // What cannot be reached tells nothing else about itself.
    if (Vec3::from_array(place) - Vec3::from_array(eye)).length() > reach {
        return Err(Refusal::Reach);
    }
    if !ground.sees(eye, [place[0], place[1] + LOOK, place[2]], Moment::after(stage.tick)) {
        return Err(Refusal::Sight);
    }
    let gives = ground.book.item(thing[ITEM]).map(|item| item.gives).ok_or(Refusal::Gone)?;
    let amount = give(ground, &mut stage.states[row], gives, thing[AMOUNT]);
    if amount <= 0 {
        return Err(Refusal::Gone);
    }
    stage.states[at][AMOUNT] -= amount;
    if stage.states[at][AMOUNT] == 0 {
        stage.despawn(loot);
    }
    Ok(What::Looted { loot, item: thing[ITEM] as u8, amount: amount as u16 })
}

/// Gives as much as there is room for; how much that was.
fn give(ground: &Ground, state: &mut State, gives: Gives, amount: i32) -> i32 {
    let mut rounds = |slot: Slot| {
        let room = ground.book.ammo(slot).reserve - super::hands::rounds(state, slot)[1];
        let taken = amount.min(room).max(0);
        state[slot.column()] += RESERVE * taken;
        taken
    };
    let column = match gives {
        Gives::AmmoA => return rounds(Slot::A),
        Gives::AmmoB => return rounds(Slot::B),
        Gives::Health => HEALTH,
        Gives::Armour => ARMOUR,
    };
    let taken = amount.min(HEALTH_FULL - state[column]).max(0);
    state[column] += taken;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::player;
    use crate::game::rulebook::Rulebook;
    use crate::game::schema::{AMMO_A, in_range};
    use crate::map::{Map, StaticBox};

    fn ground() -> Ground {
        let table = StaticBox { min: [-500, 0, -500], max: [500, 300, 500] };
        Ground::new(&Map::from_boxes(32, &[table]), 20, Rulebook::standard())
    }

    #[test]
    fn nobody_gets_more_than_fits() {
        let ground = ground();
        let mut state = player::fresh(&ground.book, [0; 2]);
        assert_eq!(give(&ground, &mut state, Gives::Health, 10), 0);
        state[HEALTH] = 95;
        assert_eq!(give(&ground, &mut state, Gives::Health, 10), 5);
        assert_eq!(give(&ground, &mut state, Gives::Armour, 1023), 100);
        state[AMMO_A] = 7 + RESERVE * 260;
        assert_eq!(give(&ground, &mut state, Gives::AmmoA, 30), 10);
        assert_eq!(state[AMMO_A], 7 + RESERVE * 270);
    }

    #[test]
    fn things_fall_onto_what_is_below() {
        let ground = ground();
        let mut body = State::default();
        for (x, y, height) in [(0, 900, 300), (0, 300, 300), (600, 900, 0), (600, 0, 0)] {
            (body[X], body[Y]) = (x, y);
            let thing = lie(&ground, 1, &body, 3, 1023);
            assert_eq!(thing[Y], height, "{x} {y}");
            assert!(in_range(LOOT, &thing));
        }
    }
}

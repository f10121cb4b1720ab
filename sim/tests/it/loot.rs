//! Loot: who may pick it up, and who gets it.

use crate::duel::{Duel, M, solid};
use crate::script::{CROWDED, book};
use sim::event::{Refusal, What};
use sim::game::hands::rounds;
use sim::game::rulebook::Slot;
use sim::schema::{AMOUNT, ARMOUR, HEALTH, ITEM, LOOT, X, Y, Z};
use sim::{EntityId, Input, WorldConfig};

const ALONE: WorldConfig = WorldConfig { npcs: 0, ..CROWDED };
const CELLS: i32 = 0;
const MEDKIT: i32 = 2;
const PLATES: i32 = 3;

fn things(duel: &Duel) -> Vec<EntityId> {
    let frame = duel.world.frame();
    (0..frame.len()).filter(|row| frame.kind(*row) == LOOT).map(|row| frame.id(row)).collect()
}

/// Three players and what the last of them, who was shot, left in the middle between the others: 30 of something.
fn battlefield(item: i32, boxes: &[sim::StaticBox]) -> (Duel, EntityId) {
    let mut duel = Duel::by(
        book(&[("weight = 1, amount = 3 }", "weight = 0, amount = 3 }")]),
        ALONE,
        boxes,
        &[[0, 0, -4 * M], [0, 0, 4 * M], [0; 3]],
    );
    duel.edit(2, |state| state[HEALTH] = 1);
    duel.fire(0, 2);
    let left = things(&duel);
    assert_eq!(left.len(), 1);
    duel.world.edit(left[0], |state, _| state[ITEM] = item);
    duel.put(0, [0, 0, -M]);
    duel.put(1, [0, 0, M]);
    duel.wait(1);
    for n in 0..3 {
        duel.take_events(n);
    }
    (duel, left[0])
}

fn take(loot: EntityId) -> Input {
    Input { target: loot.raw(), ..Input::default() }
}

#[test]
fn the_dead_leave_something_where_they_fell_and_it_is_gone_after_a_while() {
    let (mut duel, loot) = battlefield(CELLS, &[]);
    let state = duel.world.state(loot).unwrap();
    assert_eq!([state[X], state[Y], state[Z], state[AMOUNT]], [0, 0, 0, 30]);
    duel.wait(597);
    assert!(duel.world.state(loot).is_some());
    duel.wait(3);
    assert!(duel.world.state(loot).is_none(), "30 s after it was dropped");
}

#[test]
fn whoever_comes_first_by_id_takes_it_and_the_other_finds_nothing() {
    let (mut duel, loot) = battlefield(CELLS, &[]);
    let before = rounds(duel.state(0), Slot::A);
    // The order of the inputs does not matter.
    duel.step(&[(1, take(loot)), (0, take(loot))]);
    assert_eq!(duel.take_events(0), [What::Looted { loot, item: 0, amount: 30 }]);
    assert_eq!(duel.take_events(1), [What::Refused { cause: Refusal::Gone }]);
    assert_eq!(rounds(duel.state(0), Slot::A), [before[0], before[1] + 30]);
    assert_eq!(rounds(duel.state(1), Slot::A), [30, 90]);
    assert!(duel.world.state(loot).is_none());
    duel.step(&[(1, take(loot))]);
    assert_eq!(duel.take_events(1), [What::Refused { cause: Refusal::Gone }]);
}

#[test]
fn what_does_not_fit_stays_for_the_next_one() {
    let (mut duel, loot) = battlefield(MEDKIT, &[]);
    duel.edit(0, |state| state[HEALTH] = 90);
    duel.edit(1, |state| state[HEALTH] = 95);
    duel.step(&[(0, take(loot)), (1, take(loot))]);
    assert_eq!(duel.take_events(0), [What::Looted { loot, item: 2, amount: 10 }]);
    assert_eq!(duel.take_events(1), [What::Looted { loot, item: 2, amount: 5 }]);
    assert_eq!(duel.world.state(loot).unwrap()[AMOUNT], 15);
    duel.step(&[(0, take(loot))]);
    assert_eq!(duel.take_events(0), [What::Refused { cause: Refusal::Gone }], "the whole need nothing");
}

#[test]
fn nothing_is_picked_up_from_afar_or_through_a_wall() {
    let (mut duel, loot) = battlefield(PLATES, &[]);
    duel.put(0, [0, 0, -2 * M]);
    duel.step(&[(0, take(loot))]);
    assert_eq!(duel.take_events(0), [What::Refused { cause: Refusal::Reach }]);
    duel.put(0, [0, 0, -480]);
    duel.step(&[(0, take(loot))]);
    assert_eq!(duel.state(0)[ARMOUR], 30);

    // Between the one who is near and the thing, there is a wall.
    let wall = sim::StaticBox { min: [105, 0, -3 * M], max: [110, 3 * M, 3 * M] };
    let (mut duel, loot) = battlefield(PLATES, &[wall]);
    duel.put(1, [220, 0, 0]);
    duel.step(&[(1, take(loot))]);
    assert_eq!(duel.take_events(1), [What::Refused { cause: Refusal::Sight }]);
    assert_eq!(duel.world.refusals(duel.ids[1]).unwrap().total(), 1);
}

#[test]
fn only_loot_is_picked_up_and_only_by_the_living() {
    let (mut duel, loot) = battlefield(CELLS, &[]);
    for target in [duel.ids[1].raw(), 0xfff_f001, 4096, (1 << 28) - 1] {
        duel.step(&[(0, Input { target, ..Input::default() })]);
        assert_eq!(duel.take_events(0), [What::Refused { cause: Refusal::Gone }]);
    }
    duel.step(&[(2, take(loot))]);
    assert!(duel.take_events(2).contains(&What::Refused { cause: Refusal::Dead }));
    assert!(duel.world.state(loot).is_some());
}

#[test]
fn things_lie_on_what_is_below_the_dead_and_no_more_than_there_may_be() {
    let roof = solid([-2, 0, -2], [2, 1, 2]);
    let few = book(&[("most = 1024", "most = 2"), ("weight = 1, amount = 3 }", "weight = 0, amount = 3 }")]);
    let places = [[0, M, 0], [0, 3 * M, M], [20 * M, 0, 0], [30 * M, 0, 0]];
    let mut duel = Duel::by(few, ALONE, &[roof], &places);
    for n in [0, 1, 2] {
        duel.put(n, places[n]);
        duel.edit(n, |state| state[HEALTH] = 1);
        let dead = Input { view: 0, ..duel.shot(3, n) };
        duel.step(&[(3, dead)]);
        duel.wait(3);
    }
    let heights: Vec<_> = things(&duel).iter().map(|id| duel.world.state(*id).unwrap()[Y]).collect();
    assert!(heights.len() <= 2 && heights.iter().all(|height| *height == M), "{heights:?}");
}

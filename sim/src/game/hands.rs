//! What a player does with its hands: fire, reload, take another weapon. A function of its own state and input alone, so
//! that its client predicts it.

use super::event::Refusal;
use super::ground::Ground;
use super::input::{FIRE, Input, RELOAD};
use super::rulebook::{Slot, Weapon, ticks};
use super::schema::{
    DEAD, FLAGS, READY, READY_TURN, RELOADING, RESERVE, SHIELDED, SHOTS_MASK, SHOTS_SHIFT, WEAPON_MASK, WEAPON_SHIFT,
    shots, weapon,
};
use netcode::schema::State;

/// Nothing that the hands do takes more ticks; what [`READY`] says beyond that is long past (ticks were left out).
const LONGEST: u64 = ticks(super::rulebook::MAX_BUSY_MS, crate::config::MAX_RATE_HZ);
const _: () = assert!(LONGEST < READY_TURN);

/// A shot (or stroke) that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// The number of the weapon.
    pub weapon: u8,
}

/// What came of a tick's intents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// The shot that is made now.
    pub shot: Option<Shot>,
    /// Why something that was wanted is not done; the first cause.
    pub refused: Option<Refusal>,
}

/// What the [`READY`] column holds of one who is ready at `tick`.
#[must_use]
pub const fn ready_at(tick: u64) -> i32 {
    1 + (tick % READY_TURN) as i32
}

/// In how many ticks from `tick` what the hands do ends; 0 if it has ended, or ends in it.
#[must_use]
pub const fn wait(state: &State, tick: u64) -> u64 {
    if state[READY] <= 0 {
        return 0;
    }
    let at = state[READY] as u64 - 1;
    let wait = (at + READY_TURN - tick % READY_TURN) % READY_TURN;
    if wait > LONGEST { 0 } else { wait }
}

/// Rounds in the magazine and in reserve.
#[must_use]
pub const fn rounds(state: &State, slot: Slot) -> [i32; 2] {
    let both = state[slot.column()];
    [both % RESERVE, both / RESERVE]
}

/// Whether honest clients may set [`FIRE`] in the input of that tick: `state` is the one before it.
#[must_use]
pub fn can_fire(ground: &Ground, tick: u64, state: &State, input: &Input) -> bool {
    let mut state = *state;
    let input = Input { buttons: input.buttons | FIRE, ..*input };
    handle(ground, tick, &mut state, &input).shot.is_some()
}

/// One tick of the hands; a weapon that is drawn in it does not fire in it.
pub fn handle(ground: &Ground, tick: u64, state: &mut State, input: &Input) -> Handled {
    let mut handled = Handled::default();
    if state[FLAGS] & DEAD != 0 {
        let wants = input.buttons & (FIRE | RELOAD) != 0 || input.weapon != 0;
        handled.refused = wants.then_some(Refusal::Dead);
        return handled;
    }
    finish(ground, tick, state);
    if let Some(number) = input.weapon.checked_sub(1)
        && number != weapon(state)
    {
        handled.refused = draw(ground, tick, state, number).err();
    }
    if input.buttons & FIRE != 0 {
        match fire(ground, tick, state) {
            Ok(shot) => handled.shot = Some(shot),
            Err(cause) => handled.refused = handled.refused.or(Some(cause)),
        }
    }
    if input.buttons & RELOAD != 0
        && let Err(cause) = reload(ground, tick, state)
    {
        handled.refused = handled.refused.or(Some(cause));
    }
    handled
}

/// Ends what is over: the magazine is full, the hands are free.
fn finish(ground: &Ground, tick: u64, state: &mut State) {
    if state[READY] == 0 || wait(state, tick) > 0 {
        return;
    }
    state[READY] = 0;
    if state[FLAGS] & RELOADING != 0 {
        state[FLAGS] &= !RELOADING;
        if let Some(slot) = in_hand(ground, state).and_then(|weapon| weapon.ammo) {
            let [magazine, reserve] = rounds(state, slot);
            let filled = (ground.book.ammo(slot).magazine - magazine).clamp(0, reserve);
            state[slot.column()] = magazine + filled + RESERVE * (reserve - filled);
        }
    }
}

/// Takes another weapon. A reload is given up; a shot's cooldown is not cut short, else two weapons in turn would fire
/// faster than each.
fn draw(ground: &Ground, tick: u64, state: &mut State, number: u8) -> Result<(), Refusal> {
    let weapon = ground.book.weapon(number).ok_or(Refusal::Weapon)?;
    let busy = if state[FLAGS] & RELOADING == 0 { wait(state, tick) } else { 0 };
    state[READY] = ready_at(tick + busy.max(ground.ticks(weapon.draw_ms)));
    state[FLAGS] &= !(RELOADING | WEAPON_MASK << WEAPON_SHIFT);
    state[FLAGS] |= i32::from(number) << WEAPON_SHIFT;
    Ok(())
}

fn fire(ground: &Ground, tick: u64, state: &mut State) -> Result<Shot, Refusal> {
    let number = weapon(state);
    let weapon = ground.book.weapon(number).ok_or(Refusal::Weapon)?;
    if state[FLAGS] & RELOADING != 0 {
        return Err(Refusal::Reloading);
    }
    if state[READY] != 0 {
        return Err(Refusal::Rate);
    }
    if let Some(slot) = weapon.ammo {
        if rounds(state, slot)[0] < weapon.uses {
            return Err(Refusal::Ammo);
        }
        state[slot.column()] -= weapon.uses;
    }
    state[READY] = ready_at(tick + ground.ticks(weapon.cooldown_ms));
    let shots = (i32::from(shots(state)) + 1) & SHOTS_MASK;
    state[FLAGS] = state[FLAGS] & !(SHIELDED | SHOTS_MASK << SHOTS_SHIFT) | shots << SHOTS_SHIFT;
    Ok(Shot { weapon: number })
}

/// Begins to fill the magazine. With busy hands or a full magazine it does nothing.
fn reload(ground: &Ground, tick: u64, state: &mut State) -> Result<(), Refusal> {
    let Some(weapon) = in_hand(ground, state) else { return Ok(()) };
    let Some(slot) = weapon.ammo else { return Ok(()) };
    let [magazine, reserve] = rounds(state, slot);
    if state[READY] != 0 || magazine >= ground.book.ammo(slot).magazine {
        return Ok(());
    }
    if reserve == 0 {
        return Err(Refusal::Ammo);
    }
    state[READY] = ready_at(tick + ground.ticks(weapon.reload_ms));
    state[FLAGS] |= RELOADING;
    Ok(())
}

fn in_hand<'a>(ground: &'a Ground, state: &State) -> Option<&'a Weapon> {
    ground.book.weapon(weapon(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::player;
    use crate::game::rulebook::Rulebook;
    use crate::game::schema::AMMO_A;
    use crate::map::Map;

    const RIFLE: u8 = 0;
    const BLADE: u8 = 4;

    fn ground() -> Ground {
        Ground::new(&Map::from_boxes(32, &[]), 20, Rulebook::standard())
    }

    fn player(ground: &Ground) -> State {
        let mut state = player::fresh(&ground.book, [0; 2]);
        state[FLAGS] &= !SHIELDED;
        state
    }

    fn press(buttons: u8) -> Input {
        Input { buttons, ..Input::default() }
    }

    fn take(weapon: u8) -> Input {
        Input { weapon: weapon + 1, ..Input::default() }
    }

    #[test]
    fn a_held_trigger_fires_at_the_weapons_pace_and_the_rest_is_refused() {
        let ground = ground();
        let mut state = player(&ground);
        let shots = (100..110).filter(|tick| {
            let handled = handle(&ground, *tick, &mut state, &press(FIRE));
            assert_eq!(handled.refused, handled.shot.is_none().then_some(Refusal::Rate));
            handled.shot.is_some()
        });
        // 100 ms are two ticks.
        assert!(shots.eq([100, 102, 104, 106, 108]));
    }

    #[test]
    fn can_fire_says_what_fire_would_do() {
        let ground = ground();
        let mut state = player(&ground);
        for tick in 5000..5400 {
            let input = if tick % 90 == 0 { press(RELOAD) } else { Input::default() };
            let can = can_fire(&ground, tick, &state, &input);
            let fires = Input { buttons: FIRE | input.buttons, ..input };
            assert_eq!(handle(&ground, tick, &mut state, &fires).shot.is_some(), can, "{tick}");
        }
    }

    #[test]
    fn the_magazine_runs_empty_and_a_reload_moves_what_is_missing() {
        let ground = ground();
        let mut state = player(&ground);
        state[AMMO_A] = 2 + RESERVE * 40;
        let mut tick = 4090;
        let mut go = |state: &mut State, buttons, ticks: u64| {
            let handled = handle(&ground, tick, state, &press(buttons));
            for later in 1..ticks {
                handle(&ground, tick + later, state, &Input::default());
            }
            tick += ticks;
            handled
        };
        assert!(go(&mut state, FIRE, 2).shot.is_some() && go(&mut state, FIRE, 2).shot.is_some());
        assert_eq!(go(&mut state, FIRE, 1).refused, Some(Refusal::Ammo));
        assert_eq!(go(&mut state, RELOAD, 31).refused, None);
        assert_eq!(state[AMMO_A], RESERVE * 40);
        assert_eq!(go(&mut state, FIRE, 1).refused, Some(Refusal::Reloading));
        assert!(go(&mut state, FIRE, 2).shot.is_some());
        assert_eq!(rounds(&state, Slot::A), [29, 10]);
        go(&mut state, RELOAD, 33);
        assert_eq!(rounds(&state, Slot::A), [30, 9]);
        // Nothing to do, then nothing to do it with.
        assert_eq!(go(&mut state, RELOAD, 1), Handled::default());
        assert_eq!(state[READY], 0);
        state[AMMO_A] = 3;
        assert_eq!(go(&mut state, RELOAD, 1).refused, Some(Refusal::Ammo));
    }

    #[test]
    fn taking_another_weapon_gives_up_a_reload_but_no_cooldown() {
        let ground = ground();
        let mut state = player(&ground);
        handle(&ground, 10, &mut state, &take(2));
        assert_eq!((weapon(&state), wait(&state, 10)), (2, 10));
        assert!(handle(&ground, 20, &mut state, &press(FIRE)).shot.is_some());
        handle(&ground, 21, &mut state, &take(RIFLE));
        assert_eq!(wait(&state, 21), 17, "what is left of 18 ticks");
        state[AMMO_A] -= 5;
        handle(&ground, 38, &mut state, &press(RELOAD));
        assert_ne!(state[FLAGS] & RELOADING, 0);
        handle(&ground, 39, &mut state, &take(BLADE));
        assert_eq!((state[FLAGS] & RELOADING, wait(&state, 39)), (0, 4));
        assert_eq!(rounds(&state, Slot::A)[0], 25);
    }

    #[test]
    fn a_weapon_that_is_not_there_is_refused_and_the_one_in_hand_stays() {
        let ground = ground();
        let mut state = player(&ground);
        let before = state;
        assert_eq!(handle(&ground, 9, &mut state, &take(7)).refused, Some(Refusal::Weapon));
        assert_eq!(handle(&ground, 9, &mut state, &take(14)).refused, Some(Refusal::Weapon));
        assert_eq!(state, before);
        // A state that no server makes fires nothing.
        state[FLAGS] |= 7 << WEAPON_SHIFT;
        assert_eq!(handle(&ground, 9, &mut state, &press(FIRE | RELOAD)).shot, None);
    }

    #[test]
    fn the_dead_do_nothing_and_a_shot_ends_the_shield() {
        let ground = ground();
        let mut state = player(&ground);
        state[FLAGS] |= SHIELDED;
        handle(&ground, 1, &mut state, &press(RELOAD));
        assert_ne!(state[FLAGS] & SHIELDED, 0);
        handle(&ground, 2, &mut state, &press(FIRE));
        assert_eq!(state[FLAGS] & SHIELDED, 0);
        state[FLAGS] |= DEAD;
        let before = state;
        assert_eq!(handle(&ground, 90, &mut state, &press(FIRE)).refused, Some(Refusal::Dead));
        assert_eq!(handle(&ground, 90, &mut state, &Input::default()), Handled::default());
        assert_eq!(state, before);
    }

    #[test]
    fn what_was_due_in_ticks_left_out_is_done() {
        let mut state = State::default();
        state[READY] = ready_at(4000);
        assert_eq!([3990, 4000, 4001, 5000].map(|tick| wait(&state, tick)), [10, 0, 0, 0]);
        state[READY] = ready_at(4097);
        assert_eq!([4090, 4095, 4097].map(|tick| wait(&state, tick)), [7, 2, 0]);
    }
}

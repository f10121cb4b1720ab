//! Predictions of a toy game.

mod model;

use super::*;

/// A toy game. Column 0 moves by the input and, where it is odd, a bit more; column 1 is ammunition, which a shot needs
/// (and loot brings); column 2 is health, in which only others have a hand.
fn toy(tick: u64, state: &State, input: &Input) -> Stepped {
    let mut next = *state;
    let dead = state[2] == 0;
    let shot = !dead && input.buttons & 4 != 0 && state[1] > 0;
    if !dead {
        next[0] += i32::from(input.move_x) + (state[0] & 1) + (tick % 3) as i32;
        next[1] -= i32::from(shot);
    }
    Stepped { state: next, shot: shot.then_some(7) }
}

fn differ(predicted: &State, actual: &State) -> Difference {
    if (predicted[2] == 0) != (actual[2] == 0) {
        Difference::Cut
    } else if predicted[0] == actual[0] {
        Difference::Foreign
    } else {
        Difference::Error
    }
}

fn state(x: i32) -> State {
    let mut state = State::default();
    [state[0], state[1], state[2]] = [x, 9, 100];
    state
}

fn walk(move_x: i8) -> Input {
    Input { move_x, ..Input::default() }
}

const PLENTY: u32 = 10_000;

/// A prediction that began at tick 100 with 0, and has walked on for that many ticks.
fn walked(ticks: u64) -> Prediction {
    let mut prediction = Prediction::new();
    prediction.tell(100, &state(0), differ);
    for tick in 101..=100 + ticks {
        assert!(prediction.record(tick, walk(2)));
    }
    assert_eq!(prediction.run(&mut PLENTY.clone(), &mut toy), None);
    prediction
}

#[test]
fn what_was_predicted_right_is_not_touched() {
    let mut prediction = walked(10);
    let latest = prediction.latest();
    let told = prediction.after(105).unwrap();
    assert_eq!(prediction.tell(105, &told, differ), None);
    assert_eq!((prediction.pending(), prediction.steps(), prediction.latest()), (0, (10, 0), latest));
    assert_eq!(prediction.after(104).map(|state| state[0] < told[0]), Some(true), "what it came from is kept");
}

#[test]
fn an_error_is_replayed_from_what_the_server_said() {
    let mut prediction = walked(10);
    let mut told = prediction.after(104).unwrap();
    told[0] -= 3;
    let was = prediction.latest().unwrap();
    assert_eq!(prediction.tell(104, &told, differ), None);
    assert_eq!(prediction.latest(), Some(was), "until the replay is through the old one is shown");
    assert_eq!(prediction.pending(), 6);
    let replaced = prediction.run(&mut PLENTY.clone(), &mut toy).unwrap();
    assert_eq!((replaced.cause, replaced.was, Some(replaced.is)), (Difference::Error, was, prediction.latest()));
    assert_ne!(replaced.is[1][0], was[1][0]);
    assert_eq!(prediction.steps(), (16, 6));
}

#[test]
fn a_replay_beyond_the_steps_of_a_call_goes_on_in_the_next_and_new_ticks_do_not_wait_for_it() {
    let mut prediction = walked(10);
    let mut told = prediction.after(101).unwrap();
    told[0] += 8;
    prediction.tell(101, &told, differ);
    for (call, pending) in (111..).zip([8, 7, 6, 5, 4, 3, 2, 1]) {
        prediction.record(call, walk(1));
        assert_eq!(prediction.run(&mut 3, &mut toy), None);
        assert_eq!((prediction.head(), prediction.pending()), (Some(call), pending));
    }
    let replaced = prediction.run(&mut 3, &mut toy).unwrap();
    assert_eq!(replaced.is[1][0] - replaced.was[1][0], 8);
    assert_eq!(prediction.pending(), 0);
}

#[test]
fn news_of_a_later_tick_that_agree_end_a_replay_that_has_not_got_there() {
    let mut prediction = walked(10);
    let mut told = prediction.after(102).unwrap();
    told[0] += 8;
    prediction.tell(102, &told, differ);
    let told = prediction.after(106).unwrap();
    prediction.tell(106, &told, differ);
    assert_eq!(prediction.pending(), 0);
}

#[test]
fn news_of_the_newest_tick_are_shown_at_once() {
    let mut prediction = walked(4);
    let mut told = prediction.after(104).unwrap();
    told[0] += 8;
    let replaced = prediction.tell(104, &told, differ).unwrap();
    assert_eq!(replaced.was[0], replaced.is[0]);
    assert_eq!(replaced.is[1], told);
}

#[test]
fn a_death_remains_a_cut_whatever_comes_after_it() {
    let mut prediction = walked(10);
    let mut told = prediction.after(102).unwrap();
    told[2] = 0;
    prediction.tell(102, &told, differ);
    let mut later = prediction.after(104).unwrap();
    later[0] = told[0];
    prediction.tell(104, &later, differ);
    assert_eq!(prediction.run(&mut PLENTY.clone(), &mut toy).unwrap().cause, Difference::Cut);
}

#[test]
fn a_server_ahead_of_all_inputs_is_followed_at_once() {
    let mut prediction = walked(3);
    let replaced = prediction.tell(120, &state(50), differ).unwrap();
    assert_eq!(replaced.cause, Difference::Cut);
    assert_eq!(prediction.latest(), Some([state(50); 2]));
    assert!(prediction.record(110, walk(1)), "too late to matter");
    assert!(prediction.record(121, walk(1)));
    prediction.run(&mut PLENTY.clone(), &mut toy);
    assert_eq!(prediction.head(), Some(121));
}

#[test]
fn what_does_not_follow_or_never_ends_is_forgotten() {
    let mut prediction = walked(3);
    assert!(!prediction.record(110, walk(1)));
    assert_eq!(prediction.head(), None);
    let mut prediction = walked(MAX_TICKS as u64);
    assert!(!prediction.record(101 + MAX_TICKS as u64, walk(1)));
    assert_eq!(prediction.latest(), None);
}

#[test]
fn inputs_from_before_the_servers_first_word_count() {
    for first in [95, 98, 101, 104] {
        let mut prediction = Prediction::new();
        for tick in first..110 {
            assert!(prediction.record(tick, walk(2)));
        }
        prediction.tell(100, &state(0), differ);
        prediction.run(&mut PLENTY.clone(), &mut toy);
        assert_eq!(prediction.head(), Some(109));
        let walked = (101..110).filter(|tick| *tick >= first).map(|tick| prediction.input(tick).unwrap().move_x);
        assert!(walked.eq((first.max(101)..110).map(|_| 2)));
        assert_eq!(prediction.input(101).unwrap().move_x, if first > 101 { 0 } else { 2 });
    }
    let mut prediction = Prediction::new();
    for tick in 1000..1300 {
        assert!(prediction.record(tick, walk(2)));
    }
    prediction.tell(900, &state(0), differ);
    assert_eq!(prediction.head(), None, "that long ago nothing can be made of it");
    prediction.tell(1200, &state(0), differ);
    prediction.run(&mut PLENTY.clone(), &mut toy);
    assert_eq!(prediction.head(), Some(1299));
}

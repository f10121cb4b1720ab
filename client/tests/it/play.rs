//! Playing: the own body as predicted, shots, projectiles, what others do to one.

use core::time::Duration;

use client::Event;
use netcode::Time;
use netcode::emulator::LinkConfig;
use netcode::rng::Rng;
use sim::event::What;
use sim::input::{FIRE, JUMP, RELOAD, SPRINT};
use sim::schema::{DEAD, FLAGS, HEALTH, PROJECTILE, QUANTA_PER_M, SHIELDED, X};
use sim::{Input, MapConfig};

use crate::host::Host;
use crate::rig::{Rig, Wants};

const ROOM: MapConfig = MapConfig { half_extent_m: 40, boxes: 12, gates: 4, ramps: 4 };

fn path(rtt_ms: u64, jitter_ms: u64, loss: f64) -> LinkConfig {
    let [delay, jitter] = [rtt_ms / 2, jitter_ms].map(Duration::from_millis);
    LinkConfig { delay, jitter, loss, ..LinkConfig::default() }
}

fn alone(link: LinkConfig) -> Rig {
    Rig::in_world(link, Host::new(ROOM, 0, |_, _| Input::default()))
}

/// Wants something else all the time: walks, jumps, sprints, fires, reloads, takes other weapons.
fn restless(seed: u64) -> Wants {
    let mut random = Rng::new(seed);
    let (mut intent, mut until) = (Input::default(), Time::ZERO);
    Box::new(move |now, _| {
        if now >= until {
            let mut draw = |below| random.below(below);
            until = now + Duration::from_millis(20 + draw(600));
            let buttons = [SPRINT, JUMP, FIRE, RELOAD].into_iter().filter(|_| draw(3) == 0).sum();
            intent = Input {
                move_x: draw(32) as i8 - 16,
                move_z: draw(32) as i8 - 16,
                yaw: draw(1 << 16) as u16,
                pitch: draw(8000) as i16 - 4000,
                buttons,
                weapon: if draw(6) == 0 { 1 + draw(5) as u8 } else { 0 },
                ..Input::default()
            };
        }
        intent
    })
}

#[test]
fn alone_nothing_is_ever_corrected_whatever_the_path() {
    for (rtt, seed) in [(20, 1), (100, 2), (300, 3)] {
        let mut rig = alone(path(rtt, 30, 0.05));
        rig.wants = Some(restless(seed));
        rig.frame_ms = 10;
        rig.run(100);
        rig.host().late.clear();
        rig.run(12_000);
        let (late, stats) = (rig.host().late.clone(), rig.client.stats());
        assert_eq!(late, [], "a round trip of {rtt} ms");
        assert_eq!((stats.corrections, stats.restarts, stats.pending), (0, 0, 0), "a round trip of {rtt} ms");
        assert!(stats.predicted > 12_000, "{stats:?}");
        let fired = rig.events.iter().filter(|event| matches!(event, Event::Fired { .. })).count();
        assert!(fired > 100, "{fired}");
    }
}

#[test]
fn among_twenty_who_fight_what_others_do_is_no_error() {
    // In a small room, with blades.
    let fights = |tick: u64, number: usize| {
        let turn = tick * 700 + number as u64 * 3300;
        let (move_x, move_z) = ((turn / 9000 % 31) as i8 - 15, (turn / 7000 % 31) as i8 - 15);
        Input { move_x, move_z, yaw: turn as u16, weapon: 5, buttons: FIRE, ..Input::default() }
    };
    let room = MapConfig { half_extent_m: 16, boxes: 2, gates: 1, ramps: 1 };
    let mut rig = Rig::in_world(path(120, 20, 0.03), Host::new(room, 20, fights));
    rig.wants = Some(restless(9));
    rig.frame_ms = 10;
    rig.run(3000);
    let stats = rig.client.stats();
    let deaths = |event: &Event| matches!(event, Event::Game(sim::Event { what: What::Died { .. }, .. }));
    let deaths = rig.events.iter().filter(|event| deaths(event)).count() as u64;
    assert!(stats.adoptions > 10 && deaths > 0, "{deaths} {stats:?}");
    assert!((2 * deaths - 1..=2 * deaths).contains(&stats.cuts), "{deaths} {stats:?}");
    assert_eq!((stats.corrections, stats.restarts), (0, 0), "{stats:?}");
}

#[test]
fn every_shot_that_is_shown_is_made_and_told_once() {
    let mut rig = alone(path(100, 30, 0.05));
    rig.wants = Some(restless(5));
    rig.run(2000);
    rig.wants = Some(Box::new(|_, _| Input::default()));
    rig.run(200);
    let ticks = |wanted: fn(&Event) -> Option<u64>| {
        let mut ticks: Vec<_> = rig.events.iter().filter_map(wanted).collect();
        ticks.sort_unstable();
        ticks
    };
    let fired = ticks(|event| if let Event::Fired { tick, .. } = event { Some(*tick) } else { None });
    let mut landed = ticks(|event| match event {
        Event::Game(sim::Event { tick, what: What::Shot { .. }, .. }) => Some(*tick),
        _ => None,
    });
    // A shot can hit several times, its own shooter's feet included.
    landed.dedup();
    assert!(fired.len() > 50, "{}", fired.len());
    assert_eq!(fired, landed);
    let refused = rig.events.iter().filter(|event| {
        matches!(event, Event::Game(sim::Event { what: What::Refused { cause: sim::Refusal::Rate }, .. }))
    });
    assert_eq!(refused.count(), 0);
}

#[test]
fn the_shooter_is_told_what_was_on_its_screen() {
    let strafes = |tick: u64, _| Input { move_x: if tick % 34 < 17 { 15 } else { -15 }, ..Input::default() };
    for rtt in [20, 100, 200] {
        let mut rig = Rig::in_world(path(rtt, 10, 0.02), Host::new(ROOM, 1, strafes));
        let target = rig.host().others[0];
        let (mut missed, mut shots) = (0, 0);
        for tick in 0..600 {
            rig.run(1);
            let (now, wants_fire) = (rig.now, tick > 100 && tick % 3 == 0);
            let Some(shown) = rig.client.interpolate(now, target.raw()) else { continue };
            let Some(own) = rig.client.own_pose(now).map(|pose| pose.position) else { continue };
            rig.client.set_intent_at(now, Input { buttons: u8::from(wants_fire) * FIRE, ..Input::default() });
            let before = rig.events.len();
            // The input of the next tick has it.
            let next = rig.client.predicted().unwrap().0 + 1;
            while rig.client.predicted().unwrap().0 < next {
                rig.run_ms(1);
            }
            rig.client.set_intent_at(rig.now, Input::default());
            if !rig.events[before..].iter().any(|event| matches!(event, Event::Fired { tick, .. } if *tick == next)) {
                continue;
            }
            while rig.host().world.tick() < next {
                rig.run_ms(1);
            }
            shots += 1;
            let input = rig.inputs[&next];
            assert_ne!(input.buttons & FIRE, 0);
            let host = rig.host();
            let moment = sim::rewind::Moment::before(next, input.view);
            let place = host.world.past().place(moment, target).unwrap().map(|axis| axis / QUANTA_PER_M as f32);
            let [dx, dz] = [0, 2].map(|axis| place[axis] - shown.position[axis]);
            let error = (dx * dx + dz * dz).sqrt();
            missed += usize::from(error > 0.02);
            assert!(error < 0.3, "shown at {:?}, judged at {place:?}", shown.position);
            assert_eq!(own, host.place(host.own), "nobody moved the shooter");
        }
        assert!(shots > 20 && missed * 20 <= shots, "{missed} of {shots} at {rtt} ms");
    }
}

#[test]
fn a_push_is_corrected_without_a_jump_and_told_once() {
    let mut rig = alone(path(100, 0, 0.0));
    let walk = Input { move_x: 6, ..Input::default() };
    rig.wants = Some(Box::new(move |_, _| walk));
    rig.run(60);
    let id = rig.host().own;
    rig.host().world.edit(id, |state, _| state[X] -= QUANTA_PER_M / 2);
    let mut shown = vec![rig.client.own_pose(rig.now).unwrap().position[0]];
    for _ in 0..2000 {
        rig.run_ms(1);
        shown.push(rig.client.own_pose(rig.now).unwrap().position[0]);
    }
    let fastest = shown.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(fastest < 0.012, "{fastest} m in a millisecond");
    let corrections: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| if let Event::Corrected { metres } = event { Some(*metres) } else { None })
        .collect();
    assert_eq!((corrections.len(), rig.client.stats().corrections), (1, 1));
    assert!((corrections[0] - 0.5).abs() < 0.01, "{corrections:?}");
    assert!(rig.client.stats().replayed < 12);
}

#[test]
fn wounds_are_taken_over_and_a_death_and_a_return_are_cuts() {
    let mut rig = alone(path(100, 10, 0.0));
    let mut restless = restless(2);
    rig.wants = Some(Box::new(move |now, client| Input { buttons: 0, ..restless(now, client) }));
    rig.run(100);
    let id = rig.host().own;
    rig.host().world.edit(id, |state, _| state[HEALTH] -= 30);
    rig.run(10);
    assert_eq!(rig.client.predicted().unwrap().1[HEALTH], rig.host().world.state(id).unwrap()[HEALTH]);
    let stats = rig.client.stats();
    assert_eq!((stats.corrections, stats.cuts, stats.adoptions > 0), (0, 0, true), "{stats:?}");
    rig.host().world.edit(id, |state, hidden| {
        state[FLAGS] = state[FLAGS] & !SHIELDED | DEAD;
        state[HEALTH] = 0;
        if let sim::game::Hidden::Player(person) = hidden {
            person.until = 150;
        }
    });
    rig.run(80);
    let stats = rig.client.stats();
    assert_eq!((stats.corrections, stats.cuts), (0, 2), "{stats:?}");
    assert_eq!(rig.client.predicted().unwrap().1[FLAGS] & DEAD, 0);
}

#[test]
fn a_rocket_is_shown_from_the_shot_to_its_end_and_never_twice() {
    let mut rig = alone(path(120, 10, 0.02));
    rig.wants = Some(Box::new(|now, _| {
        // Up and away, every four seconds.
        let buttons = if now.as_micros() / 100_000 % 40 == 0 { FIRE } else { 0 };
        Input { pitch: 9000, yaw: 9000, buttons, weapon: 3, ..Input::default() }
    }));
    let (mut most, mut seen, mut flown, mut before) = (0, 0, 0, 0);
    for _ in 0..30_000 {
        rig.run_ms(1);
        let now = rig.now;
        let projectiles: Vec<_> = rig.client.projectiles(now).collect();
        let own = rig.client.view().entities().filter(|entity| entity.kind() == PROJECTILE).count();
        let (pending, twice) = (projectiles.len(), projectiles.iter().filter(|one| one.launched.is_none()).count());
        assert_eq!(twice, 0, "the server's is the one that was predicted");
        most = most.max(pending);
        seen += usize::from(own > 0);
        flown += usize::from(pending > before);
        before = pending;
    }
    assert_eq!(most, 1);
    let fired = rig.events.iter().filter(|event| matches!(event, Event::Fired { weapon: 2, .. })).count();
    assert!(fired >= 4 && flown == fired, "{flown} of {fired}");
    assert!(seen > 1000);
}

#[test]
fn a_shot_that_the_server_never_makes_is_taken_back() {
    let mut rig = alone(path(80, 0, 0.0));
    rig.wants = Some(Box::new(|_, _| Input { weapon: 3, pitch: 9000, ..Input::default() }));
    rig.run(60);
    // The server takes the rockets away at the moment of the shot.
    let id = rig.host().own;
    rig.wants = Some(Box::new(|_, _| Input { weapon: 3, pitch: 9000, buttons: FIRE, ..Input::default() }));
    rig.run_ms(60);
    rig.host().world.edit(id, |state, _| state[sim::schema::AMMO_B] = 0);
    rig.wants = Some(Box::new(|_, _| Input::default()));
    assert_eq!(rig.client.projectiles(rig.now).count(), 1);
    rig.run(12);
    assert_eq!(rig.client.projectiles(rig.now).count(), 0);
    let fired = rig.events.iter().filter(|event| matches!(event, Event::Fired { .. })).count();
    assert_eq!(fired, 1, "the flash was seen; it is not seen again");
}

#[test]
fn frames_of_400_ms_leave_ticks_out_and_the_body_goes_where_the_server_moves_it() {
    let mut rig = alone(path(60, 10, 0.0));
    rig.wants = Some(Box::new(|now, _| Input { move_x: 9, yaw: (now.as_micros() >> 8) as u16, ..Input::default() }));
    rig.run(60);
    rig.frame_ms = 400;
    rig.run(200);
    rig.frame_ms = 10;
    rig.run(60);
    let stats = rig.client.stats();
    assert!(stats.left_out > 50, "{stats:?}");
    assert_eq!(stats.pending, 0);
    let (tick, state) = rig.client.predicted().unwrap();
    while rig.host().world.tick() < tick {
        rig.run_ms(1);
    }
    let id = rig.host().own;
    assert_eq!(rig.host().world.state(id), Some(&state), "and it is right again");
}

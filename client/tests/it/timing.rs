//! Inputs on time, server time, interpolation: over bad networks.

use core::time::Duration;

use netcode::emulator::LinkConfig;
use sim::Input;
use sim::schema::{VELOCITY_QUANTA, VX};

use crate::rig::{PERIOD, RATE, Rig, player};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn one_input_per_tick_arrives_in_time_under_jitter() {
    let mut rig = Rig::new(LinkConfig { delay: ms(50), jitter: ms(20), ..LinkConfig::default() });
    rig.client.set_intent(Input { move_x: 15, yaw: 77, ..Input::default() });
    rig.run(600);
    let latest = &rig.margins[300..];
    let settled = latest.iter().filter(|margin| (1..=2).contains(*margin)).count();
    assert!(settled * 100 >= latest.len() * 85, "{latest:?}");
    assert!(latest.iter().all(|margin| *margin >= 0), "none was late");
    let ticks: Vec<_> = rig.inputs.keys().copied().collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "every tick has its input");
    assert!(rig.inputs.values().skip(1).all(|input| input.move_x == 15 && input.yaw == 77));
    assert_eq!(rig.client.stats().resyncs, 0);
}

#[test]
fn repeats_cover_a_loss_of_a_fifth() {
    let mut rig = Rig::new(LinkConfig { delay: ms(30), loss: 0.2, ..LinkConfig::default() });
    rig.run(1000);
    let (first, last) = (*rig.inputs.keys().next().unwrap(), *rig.inputs.keys().last().unwrap());
    let missing = (first..=last).count() - rig.inputs.len();
    // Four copies each: 0.2^4 of them are lost.
    assert!(missing <= 8, "{missing} of 1000 are missing");
    let late = rig.margins[200..].iter().filter(|margin| **margin < 0).count();
    // Two packets in a row are lost one time in 25; a margin of 1 or 2 covers most of these.
    assert!(late <= 24, "{late} of 800 were late");
}

#[test]
fn the_server_tick_is_known_within_the_paths_asymmetry() {
    let mut rig = Rig::new(LinkConfig { delay: ms(40), jitter: ms(10), ..LinkConfig::default() });
    rig.run(200);
    let estimate = rig.client.server_tick(rig.now).unwrap();
    let error = estimate - rig.tick as f64;
    assert!(error.abs() < 0.5, "{error}");
    assert!(rig.client.stats().rtt_min >= ms(80) && rig.client.stats().rtt_min < ms(100));
}

#[test]
fn a_body_in_motion_is_shown_moving_evenly() {
    let mut rig = Rig::new(LinkConfig { delay: ms(40), jitter: ms(20), loss: 0.02, ..LinkConfig::default() });
    let mut walker = player(-1000);
    walker[VX] = VELOCITY_QUANTA * i32::from(RATE);
    rig.shown.insert(3, (42, walker));
    rig.speed = 1;
    rig.run(100);
    let mut shown = Vec::new();
    for _ in 0..200 {
        rig.run(1);
        let pose = rig.client.interpolate(rig.now, 42).unwrap();
        shown.push(pose.position[0]);
    }
    let steps: Vec<_> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (0.9..1.1).contains(step)), "{steps:?}");
    let delay = rig.client.stats().render_delay;
    assert!(delay > PERIOD && delay < 3 * PERIOD / 2, "{delay:?}");
}

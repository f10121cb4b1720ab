use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::emulator::LinkConfig;
use crate::flow::{Flow, Load, World};
use crate::recovery::Packet;
use crate::rng::Rng;

const MS: Duration = Duration::from_millis(1);

fn config(cap: u32) -> RateConfig {
    RateConfig { start: 32_000, floor: 16_000, cap, tick: 50 * MS }
}

/// A path of 50 ms there and back, and its narrow place.
fn path(bottleneck: Option<u32>, loss: f64) -> LinkConfig {
    let delay = 25 * MS;
    LinkConfig { delay, loss, rate_bytes_per_s: bottleneck, queue_bytes: 60_000, ..LinkConfig::default() }
}

fn world(seed: u64, link: LinkConfig, flows: usize, cap: u32) -> World {
    let mut world = World::new(seed, link);
    for _ in 0..flows {
        world.add(Flow::new(RateControl::new(config(cap))));
    }
    world
}

fn per_second(bytes: u64, seconds: u64) -> u64 {
    bytes / seconds
}

#[test]
fn a_bottleneck_is_filled_and_its_queue_stays_short() {
    for (queue_bytes, load) in
        [(20_000, Load::Bulk), (60_000, Load::Bulk), (250_000, Load::Bulk), (60_000, Load::Ticks(50))]
    {
        let mut world = World::new(1, LinkConfig { queue_bytes, ..path(Some(250_000), 0.0) });
        world.add(Flow::new(RateControl::new(config(1_000_000))).with_load(load));
        world.run(5_000);
        world.mark();
        world.run(30_000);
        let report = world.report(0);
        assert!(per_second(report.delivered, 30) >= 212_500, "85 %: {report:?}");
        let burst = if matches!(load, Load::Bulk) { 0 } else { 25_000 };
        assert!(report.mean_queue <= 45_000 + burst && report.longest_queue <= 90_000 + 2 * burst, "{report:?}");
    }
}

#[test]
fn when_bytes_may_be_sent_does_not_depend_on_when_one_asks() {
    let mut rate = RateControl::new(config(32_000));
    let [spent, filled] = [1000, 1150].map(Time::from_millis);
    rate.spend(spent, 8000);
    rate.bucket.set_rate(filled, 32_000);
    let at = rate.next_at(filled, 1200);
    assert_eq!(rate.next_at(spent, 1200), at, "or an endpoint wakes up early, again and again");
    assert!(at > filled && rate.allows(at, 1200) && !rate.allows(filled, 1200));
}

#[test]
fn the_first_overshoot_ends_within_seconds_even_where_nothing_is_dropped() {
    let deep = LinkConfig { queue_bytes: 1_000_000, ..path(Some(250_000), 0.0) };
    let mut world = world(1, deep, 1, 4_000_000);
    world.run(5_000);
    assert!(world.report(0).longest_queue <= 700_000, "{:?}", world.report(0));
    world.mark();
    world.run(10_000);
    let report = world.report(0);
    assert!(report.mean_queue <= 60_000 && report.longest_queue <= 200_000, "{report:?}");
}

#[test]
fn random_loss_up_to_five_percent_leaves_the_cap_in_reach() {
    for loss in [0.0, 0.01, 0.05] {
        let sent = (0..8).map(|seed| {
            let mut world = world(seed, path(None, loss), 1, 1_000_000);
            world.run(3_000);
            world.mark();
            world.run(30_000);
            per_second(world.report(0).sent, 30)
        });
        let sent: Vec<_> = sent.collect();
        assert!(sent.iter().sum::<u64>() >= 8 * 900_000, "loss {loss}: {sent:?}");
    }
}

#[test]
fn random_loss_of_any_bearable_share_leaves_most_of_the_cap() {
    for loss in [0.05, 0.1, 0.2] {
        for seed in 0..6 {
            let mut world = world(seed, path(None, loss), 1, 1_000_000);
            world.run(20_000);
            world.mark();
            world.run(120_000);
            let report = world.report(0);
            assert!(per_second(report.sent, 120) >= 800_000, "loss {loss}, seed {seed}: {report:?}");
        }
    }
}

#[test]
fn unbearable_loss_leaves_the_floor() {
    for seed in 0..3 {
        let mut world = world(seed, path(None, 0.5), 1, 1_000_000);
        world.run(20_000);
        world.mark();
        world.run(60_000);
        let report = world.report(0);
        assert!(report.highest_rate <= 64_000, "{report:?}");
    }
}

#[test]
fn bursts_that_lose_a_few_percent_leave_much_of_the_cap() {
    for seed in 0..4 {
        // 3 % of all packets, five in a row.
        let link = LinkConfig { burst_enter: 1.0 / 150.0, burst_exit: 0.2, ..path(None, 0.0) };
        let mut world = world(seed, link, 1, 1_000_000);
        world.run(20_000);
        world.mark();
        world.run(120_000);
        let report = world.report(0);
        assert!(per_second(report.sent, 120) >= 400_000, "seed {seed}: {report:?}");
    }
}

/// Lets what is above the limit through for 20 ms only.
fn policed(limit: u32, loss: f64) -> LinkConfig {
    LinkConfig { queue_bytes: (limit / 50).max(3_000), ..path(Some(limit), loss) }
}

#[test]
fn a_policer_is_respected() {
    for (seed, limit) in (0..4).flat_map(|seed| [(seed, 300_000), (seed, 50_000)]) {
        let mut world = World::new(seed, policed(limit, 0.0));
        world.add(Flow::new(RateControl::new(RateConfig { start: 500_000, ..config(1_000_000) })));
        world.run(6_000);
        world.mark();
        world.run(60_000);
        let report = world.report(0);
        let lost = report.lost[0] * 1200 * 100 / report.sent;
        assert!(
            per_second(report.delivered, 60) * 100 >= u64::from(limit) * 85 && lost <= 8,
            "{limit}: {lost} % {report:?}"
        );
    }
}

#[test]
fn a_policer_on_a_path_that_loses_anyway_is_respected() {
    for seed in 0..4 {
        let mut world = world(seed, policed(300_000, 0.2), 1, 1_000_000);
        world.run(20_000);
        world.mark();
        world.run(120_000);
        let report = world.report(0);
        let lost = report.lost[0] * 1200 * 100 / report.sent;
        assert!(per_second(report.delivered, 120) * 100 >= 240_000 * 80 && lost <= 28, "{lost} % {report:?}");
    }
}

#[test]
fn a_queue_rules_also_where_packets_are_lost_at_random() {
    for seed in 0..4 {
        let mut world = world(seed, LinkConfig { queue_bytes: 250_000, ..path(Some(250_000), 0.2) }, 1, 1_000_000);
        world.run(15_000);
        world.mark();
        world.run(60_000);
        let report = world.report(0);
        assert!(report.mean_queue <= 45_000 && report.longest_queue <= 150_000, "{report:?}");
        // 200,000 get through.
        assert!(per_second(report.delivered, 60) >= 170_000, "{report:?}");
    }
}

#[test]
fn a_path_that_narrows_under_a_baseline_is_followed() {
    for (seed, limit) in (0..4).flat_map(|seed| [(seed, 600_000), (seed, 200_000)]) {
        let mut world = world(seed, path(None, 0.2), 1, 1_000_000);
        world.run(25_000);
        assert!(world.flows[0].rate.rate() >= 400_000, "{}", world.flows[0].rate.rate());
        world.set_link(policed(limit, 0.2));
        world.run(10_000);
        world.mark();
        world.run(60_000);
        let report = world.report(0);
        let lost = report.lost[0] * 1200 * 100 / report.sent;
        // A fifth is lost anyway.
        assert!(per_second(report.delivered, 60) * 100 >= u64::from(limit) * 80 * 75 / 100, "{limit}: {report:?}");
        assert!(lost <= 30, "{lost} %: {report:?}");
    }
}

#[test]
fn loss_that_ends_is_not_allowed_any_more() {
    for seed in 0..4 {
        let mut world = world(seed, path(None, 0.2), 1, 1_000_000);
        world.run(25_000);
        world.set_link(path(None, 0.0));
        world.run(5_000);
        world.set_link(policed(300_000, 0.0));
        world.run(6_000);
        world.mark();
        world.run(20_000);
        let report = world.report(0);
        let lost = report.lost[0] * 1200 * 100 / report.sent;
        assert!(lost <= 8, "{lost} %: {report:?}");
    }
}

#[test]
fn two_flows_share_a_bottleneck_that_loses_at_random() {
    let mut delivered = [0, 0];
    for seed in 0..6 {
        let mut world = world(seed, path(Some(250_000), 0.2), 1, 1_000_000);
        world.run(10_000 + 230 * seed);
        world.add(Flow::new(RateControl::new(config(1_000_000))));
        world.run(40_000);
        world.mark();
        world.run(60_000);
        let [a, b] = [0, 1].map(|flow| world.report(flow).delivered);
        assert!(a <= 3 * b && b <= 3 * a, "seed {seed}: {a} {b}");
        delivered = [delivered[0] + a, delivered[1] + b];
    }
    let [first, second] = delivered;
    assert!(first <= 2 * second && second <= 2 * first, "{first} {second}");
    assert!(first + second >= 6 * 60 * 170_000, "{first} {second}");
}

#[test]
fn two_flows_do_not_overrun_a_short_buffer() {
    for (seed, loss, most) in (0..4).flat_map(|seed| [(seed, 0.0, 15), (seed, 0.1, 25)]) {
        let mut world = world(seed, policed(250_000, loss), 2, 1_000_000);
        world.run(40_000);
        world.mark();
        world.run(60_000);
        let [a, b] = [0, 1].map(|flow| world.report(flow));
        let lost = (a.lost[0] + b.lost[0]) * 1200 * 100 / (a.sent + b.sent);
        let delivered = per_second(a.delivered + b.delivered, 60) as f64 / (250_000.0 * (1.0 - loss));
        assert!(delivered >= 0.85 && lost <= most, "loss {loss}: {delivered}, {lost} %");
    }
}

#[test]
fn jitter_is_not_taken_for_a_queue() {
    for (jitter, least) in [(10, 900_000), (20, 900_000), (50, 200_000)] {
        let mut world = world(1, LinkConfig { jitter: jitter * MS, ..path(None, 0.0) }, 1, 1_000_000);
        world.run(5_000);
        world.mark();
        world.run(30_000);
        let report = world.report(0);
        assert!(per_second(report.sent, 30) >= least / 30, "jitter {jitter}: {report:?}");
    }
}

#[test]
fn two_flows_come_to_share_a_bottleneck() {
    for phase in 0..8 {
        let mut world = world(1, path(Some(250_000), 0.0), 1, 1_000_000);
        world.run(10_000 + phase * 230);
        world.add(Flow::new(RateControl::new(config(1_000_000))));
        world.run(25_000);
        world.mark();
        world.run(20_000);
        let [a, b] = [0, 1].map(|flow| world.report(flow));
        assert!(a.delivered <= 2 * b.delivered && b.delivered <= 2 * a.delivered, "{a:?} {b:?}");
        assert!(per_second(a.delivered + b.delivered, 20) >= 212_500, "{a:?} {b:?}");
    }
}

#[test]
fn a_path_that_narrows_is_followed() {
    let mut world = world(1, path(Some(800_000), 0.0), 1, 1_000_000);
    world.run(10_000);
    world.set_link(path(Some(100_000), 0.0));
    world.run(8_000);
    world.mark();
    world.run(10_000);
    let report = world.report(0);
    assert!(report.highest_rate <= 140_000 && per_second(report.delivered, 10) >= 80_000, "{report:?}");
}

#[test]
fn a_longer_path_is_not_taken_for_a_queue_once_it_is_told() {
    let mut world = world(1, path(None, 0.0), 1, 1_000_000);
    world.run(5_000);
    world.set_link(LinkConfig { delay: 100 * MS, ..path(None, 0.0) });
    let now = world.now;
    world.flows[0].recovery.on_path_changed(now);
    world.flows[0].rate.on_path_changed(now);
    assert_eq!(world.flows[0].rate.rate(), 32_000);
    world.run(15_000);
    assert_eq!(world.flows[0].rate.rate(), 1_000_000);
}

#[test]
fn who_does_not_use_the_budget_neither_earns_more_nor_loses_it_to_chance() {
    for loss in [0.0, 0.05] {
        let mut world = World::new(7, path(None, loss));
        world.add(Flow::new(RateControl::new(config(1_000_000))).with_load(Load::Packets(&[400, 100], 50)));
        world.run(300_000);
        let report = world.report(0);
        assert!(report.highest_rate <= 32_000 && report.lowest_rate >= 20_000, "{report:?}");
    }
}

#[test]
fn the_budget_of_a_tick_is_its_part_of_the_rate() {
    let mut rate = RateControl::new(RateConfig { start: 64_000, ..config(100_000) });
    assert_eq!((rate.rate(), rate.tick_budget()), (64_000, 3_200));
    rate.set_cap(20_000);
    assert_eq!((rate.rate(), rate.tick_budget()), (20_000, 1_000));
    rate.set_cap(0);
    assert_eq!(rate.rate(), 1, "the least cap is a byte per second, not a division by zero");
    rate.set_cap(50_000);
    assert_eq!(rate.rate(), 16_000, "the floor is back with the cap");
    assert_eq!(RateControl::new(config(8_000)).rate(), 8_000, "a cap below the floor is obeyed");
}

#[test]
fn a_tick_may_go_into_debt_and_no_deeper() {
    let mut rate = RateControl::new(config(100_000));
    (0..100).for_each(|_| rate.spend(Time::ZERO, 60_000));
    let due = rate.next_at(Time::ZERO, 1200);
    // Four full buckets of two datagrams, and the 1,200 bytes.
    assert_eq!(due.as_micros(), (4 * 2 * 1452 + 1200) * 1_000_000 / 32_000);
    assert!(!rate.allows(Time::from_micros(due.as_micros() - 1), 1200) && rate.allows(due, 1200));
}

#[test]
fn an_mtu_probe_and_a_packet_from_before_the_fall_say_nothing_of_loss() {
    let mut rate = RateControl::new(config(100_000));
    rate.fall(Time::from_millis(10), 0, false);
    let packet = Packet { eliciting: true, bytes: 1000, ..Packet::default() };
    let lost = |ms, packet| Settled { pn: 0, acked: false, packet, sent: Time::from_millis(ms) };
    rate.on_settled(Time::from_millis(60), &lost(9, packet));
    rate.on_settled(Time::from_millis(60), &lost(20, Packet { probe: true, ..packet }));
    assert_eq!(rate.loss.counted(), (0, 0));
    rate.on_settled(Time::from_millis(60), &lost(20, packet));
    assert_eq!(rate.loss.counted(), (1, 1));
    rate.on_spurious(5);
    assert_eq!(rate.loss.counted(), (1, 0));
}

proptest! {
    #[test]
    fn no_interval_carries_more_than_the_rate_and_one_bucket(start in 1_000u32..2_000_000, seed: u64) {
        let mut rate = RateControl::new(RateConfig { start, floor: 1, cap: u32::MAX, tick: 50 * MS });
        let mut rng = Rng::new(seed);
        let mut sends: Vec<(u64, u64)> = Vec::new();
        let mut now = Time::ZERO;
        for _ in 0..200 {
            let bytes = 1 + rng.below(1452);
            let due = rate.next_at(now, bytes as usize);
            prop_assert_eq!(due <= now, rate.allows(now, bytes as usize));
            now = due + Duration::from_micros(if rng.chance(0.3) { rng.below(100_000) } else { 0 });
            prop_assert!(rate.allows(now, bytes as usize));
            rate.spend(now, bytes as usize);
            sends.push((now.as_micros(), bytes));
        }
        let bucket = rate.bucket.burst_bytes();
        for first in 0..sends.len() {
            let mut sum = 0;
            for (at, bytes) in &sends[first..] {
                sum += bytes;
                let most = bucket + (at - sends[first].0) * u64::from(start) / 1_000_000 + 1;
                prop_assert!(sum <= most, "{} of {}", sum, most);
            }
        }
    }

    #[test]
    fn no_feedback_breaks_its_bounds(steps in prop::collection::vec((0u8..4, any::<u32>(), any::<u64>()), 0..300), floor: u32, cap: u32, start: u32) {
        let mut rate = RateControl::new(RateConfig { start, floor, cap, tick: 50 * MS });
        let mut now = Time::ZERO;
        for (step, a, b) in steps {
            now = now + Duration::from_micros(u64::from(a % 200_000));
            match step {
                0 => rate.on_rtt(now, b >> (a % 64), b >> 32),
                1 => rate.spend(now, a as usize),
                2 => rate.on_spurious(a % 4),
                _ => {
                    let packet = Packet { eliciting: b % 5 > 0, probe: b % 7 == 0, bytes: a as u16, ..Packet::default() };
                    let sent = Time::from_micros(now.as_micros().saturating_sub(b % 1_000_000));
                    rate.on_settled(now, &Settled { pn: b, acked: b % 2 == 0, packet, sent });
                }
            }
            let cap = cap.max(1);
            prop_assert!(rate.rate() <= cap && rate.rate() >= floor.min(cap));
            let _ = (rate.tick_budget(), rate.allows(now, a as usize), rate.next_at(now, a as usize));
        }
    }
}

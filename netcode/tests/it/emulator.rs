//! Each fault of the emulated network: it strikes as often as configured, and the same way for the same seed.

use std::net::SocketAddr;
use std::time::Duration;

use netcode::Time;
use netcode::emulator::{Datagram, Emulator, LinkConfig, Stats};
use netcode::rng::Rng;

const MS: Duration = Duration::from_millis(1);

fn host(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn client() -> SocketAddr {
    host(1)
}

fn server() -> SocketAddr {
    host(2)
}

fn at(micros: u64) -> Time {
    Time::from_micros(micros)
}

/// Everything bad at once.
const BAD: LinkConfig = LinkConfig {
    delay: Duration::from_millis(30),
    jitter: Duration::from_millis(20),
    loss: 0.1,
    burst_enter: 0.01,
    burst_exit: 0.2,
    duplicate: 0.1,
    reorder: 0.1,
    reorder_delay: Duration::from_millis(100),
    corrupt: 0.1,
    rate_bytes_per_s: Some(120_000),
    queue_bytes: 2_000,
    mtu: None,
};

/// Sends datagrams of `bytes` bytes that carry their number, `gap` apart; returns all that arrives, with its time.
fn run(emulator: &mut Emulator, datagrams: u32, bytes: usize, gap: Duration) -> Vec<(Time, Datagram)> {
    let mut arrived = Vec::new();
    let mut now = Time::ZERO;
    for number in 0..datagrams {
        let mut datagram = vec![number as u8; bytes];
        datagram[..4].copy_from_slice(&number.to_le_bytes());
        emulator.send(now, client(), server(), &datagram);
        now = now + gap;
        drain(emulator, now, &mut arrived);
    }
    drain(emulator, Time::NEVER, &mut arrived);
    assert_eq!(emulator.in_flight(), 0);
    assert_balanced(emulator.stats());
    arrived
}

fn drain(emulator: &mut Emulator, now: Time, arrived: &mut Vec<(Time, Datagram)>) {
    while let Some(due) = emulator.next_delivery().filter(|due| *due <= now) {
        arrived.extend(emulator.poll(due).map(|datagram| (due, datagram)));
    }
}

fn assert_balanced(stats: &Stats) {
    let gone =
        stats.lost + stats.lost_in_burst + stats.blocked + stats.too_long + stats.queue_full + stats.dead_address;
    assert_eq!(stats.sent + stats.duplicated, stats.delivered + gone);
}

fn number(datagram: &Datagram) -> u32 {
    u32::from_le_bytes(*datagram.bytes.first_chunk().unwrap())
}

fn with(config: LinkConfig) -> Emulator {
    let mut emulator = Emulator::new(1);
    emulator.set_default(config);
    emulator
}

#[test]
fn a_perfect_link_delivers_everything_at_once_and_in_order() {
    let mut emulator = Emulator::new(1);
    let arrived = run(&mut emulator, 1000, 100, MS);
    assert!(arrived.iter().zip(0..).all(|((when, d), n)| number(d) == n && *when == at(u64::from(n) * 1000)));
    assert_eq!((arrived.len(), emulator.stats().delivered_bytes), (1000, 100_000));
}

#[test]
fn one_seed_means_one_outcome() {
    let outcome = |seed| {
        let mut emulator = Emulator::new(seed);
        emulator.set_default(BAD);
        (run(&mut emulator, 2000, 100, MS), *emulator.stats())
    };
    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
}

#[test]
fn every_fault_strikes_and_every_datagram_is_accounted_for() {
    let mut emulator = with(BAD);
    run(&mut emulator, 20_000, 130, MS);
    let stats = emulator.stats();
    let faults = [
        stats.lost,
        stats.lost_in_burst,
        stats.queue_full,
        stats.duplicated,
        stats.reordered,
        stats.flipped,
        stats.truncated,
        stats.extended,
        stats.spliced,
    ];
    assert!(faults.iter().all(|count| *count >= 100), "{stats:?}");
}

#[test]
fn traffic_elsewhere_shifts_nothing_here() {
    let outcome = |busy: bool| {
        let mut emulator = with(BAD);
        let mut rng = Rng::new(3);
        let mut arrived = Vec::new();
        for n in 0..2000u64 {
            if busy && rng.chance(0.5) {
                emulator.send(at(n * 1000), host(7), server(), &[1; 50]);
                emulator.send(at(n * 1000), server(), client(), &[1; 50]);
            }
            emulator.send(at(n * 1000), client(), server(), &n.to_le_bytes());
            drain(&mut emulator, at(n * 1000), &mut arrived);
        }
        arrived.retain(|(_, datagram)| (datagram.from, datagram.to) == (client(), server()));
        arrived
    };
    assert_eq!(outcome(false), outcome(true));
}

#[test]
fn loss_is_as_frequent_as_configured() {
    let mut emulator = with(LinkConfig { loss: 0.1, ..LinkConfig::default() });
    run(&mut emulator, 50_000, 10, MS);
    assert!((4_700..5_300).contains(&emulator.stats().lost), "{:?}", emulator.stats());
}

#[test]
fn bursts_have_the_configured_mean_length() {
    let mut emulator = with(LinkConfig { burst_enter: 0.01, burst_exit: 0.1, ..LinkConfig::default() });
    let arrived = run(&mut emulator, 100_000, 10, MS);
    let bursts = arrived.windows(2).filter(|pair| number(&pair[1].1) - number(&pair[0].1) > 1).count();
    let mean = emulator.stats().lost_in_burst as f64 / bursts as f64;
    assert!((9.0..11.0).contains(&mean), "{mean}");
}

#[test]
fn delay_and_jitter_stay_within_their_bounds_and_fill_them() {
    let mut emulator = with(LinkConfig { delay: 30 * MS, jitter: 10 * MS, ..LinkConfig::default() });
    let arrived = run(&mut emulator, 20_000, 10, 20 * MS);
    let sent = |datagram: &Datagram| at(u64::from(number(datagram)) * 20_000);
    let mut took: Vec<_> = arrived.iter().map(|(when, datagram)| when.saturating_since(sent(datagram))).collect();
    took.sort();
    assert!(took[0] >= 30 * MS && took[0] < Duration::from_micros(30_100), "{:?}", took[0]);
    assert!(took[19_999] <= 40 * MS && took[19_999] > Duration::from_micros(39_900), "{:?}", took[19_999]);
    let middle = took[10_000].as_micros();
    assert!((34_800..35_200).contains(&middle), "{middle}");
}

#[test]
fn a_rate_limit_holds_over_every_interval_and_drops_what_the_queue_cannot_take() {
    let limited = LinkConfig { rate_bytes_per_s: Some(50_000), queue_bytes: 1_000, ..LinkConfig::default() };
    let mut emulator = with(limited);
    // Twice the rate is offered.
    let arrived = run(&mut emulator, 5_000, 100, MS);
    let gaps = arrived.windows(2).map(|pair| pair[1].0.saturating_since(pair[0].0));
    assert!(gaps.min() >= Some(2 * MS));
    let waited = arrived.iter().map(|(when, d)| when.saturating_since(at(u64::from(number(d)) * 1000)));
    assert!(waited.max() <= Some(20 * MS), "no more than 1,000 bytes wait");
    assert!((2_490..2_510).contains(&emulator.stats().queue_full), "{:?}", emulator.stats());
}

#[test]
fn a_datagram_longer_than_the_mtu_vanishes_and_takes_no_room_in_the_queue() {
    let narrow = LinkConfig { mtu: Some(100), rate_bytes_per_s: Some(100_000), ..LinkConfig::default() };
    let mut emulator = with(narrow);
    for (number, bytes) in (0u8..).zip([100, 101, 99, 1452, 100]) {
        emulator.send(at(0), client(), server(), &vec![number; bytes]);
    }
    let mut arrived = Vec::new();
    drain(&mut emulator, Time::NEVER, &mut arrived);
    let seen: Vec<_> = arrived.iter().map(|(when, datagram)| (when.as_micros(), datagram.bytes[0])).collect();
    assert_eq!(seen, [(1000, 0), (1990, 2), (2990, 4)]);
    assert_eq!(emulator.stats().too_long, 2);
    assert_balanced(emulator.stats());
}

#[test]
fn an_mtu_moves_no_other_fault() {
    // Without a rate limit, whose queue does feel what vanished before it.
    let bad = LinkConfig { rate_bytes_per_s: None, ..BAD };
    let outcome = |mtu| {
        let mut emulator = with(LinkConfig { mtu, ..bad });
        let mut arrived = Vec::new();
        for n in 0..3000u64 {
            let long = if n % 3 == 0 { 300 } else { 100 };
            let mut datagram = vec![n as u8; long];
            datagram[..8].copy_from_slice(&n.to_le_bytes());
            emulator.send(at(n * 1000), client(), server(), &datagram);
        }
        drain(&mut emulator, Time::NEVER, &mut arrived);
        assert_balanced(emulator.stats());
        (arrived.into_iter().map(|(when, datagram)| (when, datagram.bytes)).collect::<Vec<_>>(), *emulator.stats())
    };
    let (wide, _) = outcome(None);
    let (narrow, stats) = outcome(Some(200));
    assert_eq!(stats.too_long, 1000);
    let mut wide = wide.into_iter();
    assert!(narrow.iter().all(|one| wide.any(|other| other == *one)), "what still arrives does so as before");
}

#[test]
fn a_duplicate_arrives_intact_and_a_reordered_datagram_late() {
    let mut emulator = with(LinkConfig { duplicate: 1.0, corrupt: 1.0, ..LinkConfig::default() });
    let arrived = run(&mut emulator, 100, 20, MS);
    assert_eq!(arrived.len(), 200);
    let intact = |n: u8, d: &Datagram| d.bytes.len() == 20 && d.bytes[4..].iter().all(|byte| *byte == n);
    assert!((0..100).all(|n| arrived.iter().any(|(when, d)| *when == at(u64::from(n) * 1000) && intact(n, d))));

    let mut emulator = with(LinkConfig { reorder: 0.2, reorder_delay: 5 * MS, ..LinkConfig::default() });
    let arrived = run(&mut emulator, 1000, 20, MS);
    let late = arrived.iter().filter(|(when, d)| *when == at(u64::from(number(d)) * 1000 + 5000)).count();
    assert_eq!((arrived.len(), late as u64), (1000, emulator.stats().reordered));
    assert!(!arrived.iter().map(|(_, d)| number(d)).is_sorted());
}

#[test]
fn a_link_of_its_own_differs_from_the_others_until_reset() {
    let mut emulator = Emulator::new(1);
    emulator.set_link(client(), server(), LinkConfig { loss: 1.0, ..LinkConfig::default() });
    emulator.send(Time::ZERO, client(), server(), &[1]);
    emulator.send(Time::ZERO, server(), client(), &[2]);
    assert_eq!(emulator.poll(Time::ZERO).map(|d| d.bytes), Some(vec![2]));
    emulator.reset_links(LinkConfig::default());
    emulator.send(Time::ZERO, client(), server(), &[3]);
    assert_eq!(emulator.poll(Time::ZERO).map(|d| d.bytes), Some(vec![3]));
}

#[test]
fn a_block_is_one_way_and_ends_by_itself_or_by_healing() {
    let mut emulator = Emulator::new(1);
    emulator.block(client(), server(), at(100));
    emulator.send(at(99), client(), server(), &[1]);
    emulator.send(at(99), server(), client(), &[2]);
    emulator.send(at(100), client(), server(), &[3]);
    emulator.block(client(), server(), Time::NEVER);
    emulator.send(at(101), client(), server(), &[4]);
    emulator.heal();
    emulator.send(at(102), client(), server(), &[5]);
    let arrived: Vec<_> = std::iter::from_fn(|| emulator.poll(at(102))).map(|d| d.bytes[0]).collect();
    assert_eq!(arrived, [2, 3, 5]);
    assert_eq!(emulator.stats().blocked, 2);
}

#[test]
fn after_a_rebind_only_the_new_outside_address_works() {
    let outside = host(9);
    let mut emulator = with(LinkConfig { delay: 10 * MS, ..LinkConfig::default() });
    emulator.send(at(0), server(), client(), &[1]);
    emulator.rebind(client(), outside);
    emulator.send(at(0), client(), server(), &[2]);
    emulator.send(at(0), server(), client(), &[3]);
    emulator.send(at(0), server(), outside, &[4]);
    let arrived: Vec<_> = std::iter::from_fn(|| emulator.poll(at(10_000))).collect();
    let seen: Vec<_> = arrived.iter().map(|d| (d.from, d.to, d.bytes[0])).collect();
    assert_eq!(seen, [(outside, server(), 2), (server(), client(), 4)]);
    assert_eq!((emulator.stats().dead_address, emulator.stats().rebinds), (2, 1));
}

#[test]
fn a_host_keeps_its_link_across_a_rebind() {
    let mut emulator = Emulator::new(1);
    emulator.set_link(server(), client(), LinkConfig { delay: 7 * MS, ..LinkConfig::default() });
    emulator.rebind(client(), host(9));
    emulator.send(at(0), server(), host(9), &[1]);
    assert_eq!(emulator.next_delivery(), Some(at(7000)));
}

#[test]
fn what_arrives_at_one_time_arrives_in_the_order_sent() {
    let mut emulator = Emulator::new(1);
    (0..50).for_each(|n| emulator.send(at(5), host(n), server(), &[n as u8]));
    assert_eq!(emulator.poll(at(4)), None);
    let arrived: Vec<_> = std::iter::from_fn(|| emulator.poll(at(5))).map(|d| u16::from(d.bytes[0])).collect();
    assert!(arrived.iter().copied().eq(0..50));
}

#[test]
fn what_strikes_does_not_depend_on_the_bytes() {
    // Runs of one seed differ in their ciphertexts. Datagrams of equal sizes must meet the same fate, whether a splice
    // happens to change them or not.
    let fates = |content: fn(u32) -> u8| {
        let mut emulator = with(LinkConfig { corrupt: 0.5, loss: 0.1, ..LinkConfig::default() });
        let mut now = Time::ZERO;
        let mut arrived = Vec::new();
        for number in 0..2000 {
            emulator.send(now, client(), server(), &[content(number); 40]);
            now = now + MS;
            drain(&mut emulator, now, &mut arrived);
        }
        let sizes: Vec<_> = arrived.into_iter().map(|(time, datagram)| (time, datagram.bytes.len())).collect();
        (sizes, *emulator.stats())
    };
    assert_eq!(fates(|_| 7), fates(|number| number as u8));
}

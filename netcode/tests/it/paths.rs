//! What a connection learns of its path: how long a packet may be, and what time it is at the other end.

use std::time::Duration;

use netcode::Time;
use netcode::emulator::LinkConfig;

use crate::lab::{End, GOOD, MS, ORDERED, SECOND, noise};
use crate::pair::{Pair, claims, client_addr, server_addr, server_config};

/// A world of snapshots of 1,300 bytes.
fn player(link: LinkConfig) -> Pair {
    let mut pair = Pair::lab(1, link);
    pair.snapshot_bytes = 1300;
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair
}

fn mtus(pair: &Pair) -> [u16; 2] {
    End::BOTH.map(|end| pair.quality(end).mtu)
}

#[test]
fn a_good_path_is_known_to_take_the_longest_datagram_within_half_a_second() {
    let mut pair = player(GOOD);
    pair.run_for(500 * MS);
    assert_eq!(mtus(&pair), [1452; 2]);
    pair.wire = Some(Vec::new());
    pair.run_for(SECOND);
    assert!(pair.wire.as_ref().unwrap().iter().filter(|sent| sent.bytes.len() > 1300).count() >= 19);
}

#[test]
fn a_path_of_1300_bytes_is_found_though_some_packets_are_lost() {
    for loss in [0.0, 0.1] {
        let link = LinkConfig { mtu: Some(1300), loss, ..GOOD };
        let mut pair = Pair::new(2, server_config());
        pair.net.set_default(link);
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, netcode::client::ClientConfig::new(crate::pair::SCHEMA_HASH));
        pair.start_ticks();
        pair.run_for(20 * SECOND);
        println!("loss {loss}: {:?}", mtus(&pair));
        assert!(mtus(&pair).iter().all(|mtu| (1300 - 16..=1300).contains(mtu)), "{:?}", mtus(&pair));
    }
}

#[test]
fn a_path_that_shrinks_under_long_packets_only_is_noticed_within_a_second_and_data_goes_on() {
    let mut pair = player(GOOD);
    pair.run_for(2 * SECOND);
    assert_eq!(mtus(&pair), [1452; 2]);
    pair.net.reset_links(LinkConfig { mtu: Some(1250), ..GOOD });
    let before = pair.count(End::Client, 0);
    for end in End::BOTH {
        for number in 0..50 {
            pair.send_from(end, ORDERED, &noise(number, 1024)).unwrap();
        }
    }
    pair.run_for(2 * SECOND);
    let snapshots = pair.count(End::Client, 0) - before;
    println!("{:?} after two seconds, {snapshots} of 40 snapshots", mtus(&pair));
    assert!(snapshots >= 20 && mtus(&pair)[1] <= 1250);
    pair.run_for(3 * SECOND);
    for end in End::BOTH {
        assert!(pair.arrived(end, ORDERED).into_iter().eq((0..50).map(|number| noise(number, 1024))), "{end:?}");
    }
    // Longer packets come back with the path, a minute later.
    pair.net.reset_links(GOOD);
    pair.run_for(90 * SECOND);
    assert_eq!(mtus(&pair)[1], 1452);
    pair.assert_honest();
}

/// Connects over such links, plays for two seconds, and says by how much the client's estimate of the server's time is then
/// wrong, in microseconds; it must never go back.
fn clock_error(seed: u64, up: LinkConfig, down: LinkConfig) -> u64 {
    let mut pair = Pair::new(seed, server_config());
    pair.net.set_link(client_addr(0), server_addr(), up);
    pair.net.set_link(server_addr(), client_addr(0), down);
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, netcode::client::ClientConfig::new(crate::pair::SCHEMA_HASH));
    pair.clients[0].plays = true;
    pair.start_ticks();
    while !pair.clients[0].is_connected() {
        pair.run_for(MS);
    }
    let until = pair.now + 2 * SECOND;
    let mut last = None::<(Time, Time)>;
    while pair.now < until {
        pair.run_for(5 * MS);
        if let Some(time) = pair.clients[0].endpoint.server_time(pair.now) {
            if let Some((then, before)) = last {
                let (passed, told) = (pair.now.saturating_since(then), time.saturating_since(before));
                assert!(time >= before, "seed {seed}: it went back");
                // Slewed by at most 3 %.
                let most = passed + passed / 33 + Duration::from_micros(2);
                assert!(
                    told <= most && told + passed / 33 + Duration::from_micros(2) >= passed,
                    "seed {seed}: {told:?}"
                );
            }
            last = Some((pair.now, time));
        }
    }
    let estimate = pair.clients[0].endpoint.server_time(pair.now).expect("two seconds have answers");
    estimate.as_micros().abs_diff(pair.now.as_micros())
}

#[test]
fn after_two_seconds_the_servers_time_is_known_to_a_millisecond_and_half_the_asymmetry() {
    let link = |delay: u32| LinkConfig { delay: delay * MS, jitter: 20 * MS, ..GOOD };
    for (up, down) in [(30u32, 30u32), (10, 40), (60, 20)] {
        let asymmetry = u64::from(up.abs_diff(down)) * 500;
        let errors: Vec<_> = (0..200).map(|seed| clock_error(seed, link(up), link(down))).collect();
        let good = errors.iter().filter(|error| **error <= 1000 + asymmetry).count();
        let worst = errors.iter().max().unwrap();
        println!("{up} ms up, {down} ms down: {good} of 200 within {} us, worst {worst}", 1000 + asymmetry);
        assert!(good >= 198, "{good}");
    }
}

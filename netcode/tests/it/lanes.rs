//! Priorities, weights, guarantees and limits, as seen in what arrives while the rate is short.

use netcode::channel::{Channel, Kind, Overflow, Table};

use crate::lab::{End, GOOD, MS, SECOND};
use crate::pair::Pair;

/// Bytes a second that each end may send.
const RATE: u32 = 30_000;

fn channel(name: &'static str, priority: u8, weight: u8) -> Channel {
    let channel = Channel::new(name, Kind::Unreliable, 1024, 16 * 1024).with_priority(priority).with_weight(weight);
    Channel { overflow: Overflow::DropOldest, ..channel }
}

/// Each end offers each channel 200-byte messages, so many bytes a second, for 20 s; the bytes a second that arrived at the
/// client and at the server.
fn run(channels: &[Channel], offered: &[u32]) -> [Vec<u32>; 2] {
    let table = Table(channels.iter().copied().collect());
    let mut pair = Pair::lab_with(1, GOOD, table, |server, client| (server.rate_cap, client.rate_cap) = (RATE, RATE));
    pair.start_ticks();
    for _ in 0..400 {
        for (number, bytes) in (0u8..).zip(offered) {
            for end in End::BOTH {
                for _ in 0..bytes / 20 / 200 {
                    pair.send_from(end, number, &[number; 200]).unwrap();
                }
            }
        }
        pair.run_for(50 * MS);
    }
    let arrived = |end| {
        let bytes = |number| pair.arrived(end, number).iter().map(Vec::len).sum::<usize>() as u32 / 20;
        (0..offered.len() as u8).map(bytes).collect::<Vec<_>>()
    };
    let result = End::BOTH.map(arrived);
    println!("offered {offered:?}, arrived {result:?}");
    pair.run_for(SECOND);
    result
}

#[test]
fn what_is_more_urgent_goes_whole_before_anything_else() {
    let channels = [channel("low", 6, 1), channel("high", 0, 1), channel("middle", 3, 1)];
    for [low, high, middle] in run(&channels, &[20_000, 20_000, 20_000]).map(|all| <[u32; 3]>::try_from(all).unwrap()) {
        assert!(high >= 19_500 && middle >= 4000 && low <= 700, "{low} {high} {middle}");
    }
}

#[test]
fn channels_of_one_priority_share_by_their_weights() {
    let channels = [channel("one", 3, 1), channel("three", 3, 3), channel("six", 3, 6)];
    for shares in run(&channels, &[40_000, 40_000, 40_000]) {
        let unit = shares.iter().sum::<u32>() / 10;
        for (share, weight) in shares.iter().zip([1, 3, 6]) {
            assert!(share.abs_diff(unit * weight) <= unit * weight / 5, "{shares:?}");
        }
    }
}

#[test]
fn what_one_channel_leaves_the_others_of_its_priority_use() {
    let channels = [channel("little", 3, 9), channel("much", 3, 1)];
    for shares in run(&channels, &[4000, 60_000]) {
        assert!(shares[0] >= 3900 && shares[1] >= 18_000, "{shares:?}");
    }
}

#[test]
fn a_guarantee_holds_against_every_priority_and_a_limit_against_an_empty_path() {
    let low = Channel { min_bytes: 300, ..channel("low", 7, 1) };
    let high = Channel { max_bytes: 500, ..channel("limited", 5, 1) };
    let channels = [low, channel("high", 0, 1), high];
    for shares in run(&channels, &[40_000, 60_000, 0]) {
        // A message may run over the guarantee.
        assert!((5000..=9000).contains(&shares[0]) && shares[1] >= 14_000, "{shares:?}");
    }
    for shares in run(&channels, &[0, 0, 40_000]) {
        assert!((8000..=10_000).contains(&shares[2]), "{shares:?}");
    }
}

//! Block transfers between two endpoints: whole, cancelled, paused, and never at anybody else's cost.

use std::sync::Arc;

use netcode::channel::{SNAPSHOT, Table};
use netcode::client::ClientConfig;
use netcode::delivery::blocks::window;
use netcode::emulator::LinkConfig;
use netcode::error::SendError;
use netcode::server::ServerConfig;

use crate::lab::{BLOCK, End, GOOD, MS, SECOND, TERRIBLE, noise, queue_bytes};
use crate::pair::{BlockTold, Heard, Pair, SCHEMA_HASH, Told, server_config};

const BAD: LinkConfig = LinkConfig { loss: 0.05, burst_enter: 0.002, burst_exit: 0.3, ..TERRIBLE };

fn block(seed: u64, len: usize) -> Arc<[u8]> {
    noise(seed, len).into()
}

/// The bytes of a block that arrived, which must have come in order.
fn assembled(pair: &Pair, at: End, wanted: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in pair.block_events(at) {
        if let BlockTold::Data(id, offset, data) = event
            && id == wanted
        {
            assert_eq!(offset as usize, bytes.len());
            bytes.extend(data);
        }
    }
    bytes
}

fn has(pair: &Pair, end: End, event: &BlockTold) -> bool {
    pair.has_block_event(end, event)
}

/// The acknowledged bytes of each progress event, which must grow.
fn progress(pair: &Pair, end: End, wanted: u64) -> Vec<u32> {
    let acked = |event: &BlockTold| {
        if let BlockTold::Progress(id, acked, _) = event { (*id == wanted).then_some(*acked) } else { None }
    };
    let steps: Vec<_> = pair.block_events(end).iter().filter_map(acked).collect();
    assert!(steps.is_sorted_by(|less, more| less < more), "{steps:?}");
    steps
}

#[test]
fn blocks_of_every_size_arrive_whole_both_ways_at_once() {
    for (name, link) in [("good", GOOD), ("bad", BAD), ("terrible", TERRIBLE)] {
        for len in [1, 1024, 100 * 1024, 4 << 20] {
            if len > 1 << 20 && name == "terrible" {
                continue;
            }
            let mut pair = Pair::lab(1, link);
            let start = pair.now;
            for end in End::BOTH {
                assert_eq!(pair.start_block(end, block(end as u64, len)), Ok(0));
            }
            let done = |pair: &Pair| End::BOTH.iter().all(|end| has(pair, *end, &BlockTold::Sent(0)));
            assert!(pair.run_while(1000 * SECOND, done), "{name} {len}");
            for end in End::BOTH {
                assert!(assembled(&pair, end.other(), 0) == *block(end as u64, len), "{name} {len} {end:?}");
                assert!(has(&pair, end.other(), &BlockTold::Started(0, len as u32)));
                assert!(has(&pair, end.other(), &BlockTold::Received(0)));
                let steps = progress(&pair, end, 0);
                assert!(steps.len() <= 64 && (len < 100 * 1024 || steps.len() > 30), "{}", steps.len());
            }
            println!("{name}: {len} bytes each way in {:?}", pair.now.saturating_since(start));
            pair.assert_honest();
        }
    }
}

#[test]
fn three_blocks_wait_behind_one_and_come_in_order() {
    for end in End::BOTH {
        let mut pair = Pair::lab(2, GOOD);
        for number in 0..4 {
            assert_eq!(pair.start_block(end, block(number, 30_000)), Ok(number));
        }
        assert_eq!(pair.start_block(end, block(4, 1)), Err(SendError::Full { free: 0 }));
        assert_eq!(pair.start_block(end, block(4, 0)), Err(SendError::EmptyBlock));
        let long = block(4, (16 << 20) + 1);
        assert_eq!(pair.start_block(end, long), Err(SendError::TooLong { limit: 16 << 20 }));
        assert_eq!(pair.send_from(end, BLOCK, b"x"), Err(SendError::NoSuchChannel(BLOCK)));
        assert!(pair.run_while(30 * SECOND, |pair| has(pair, end, &BlockTold::Sent(3))));
        for number in 0..4 {
            assert!(assembled(&pair, end.other(), number) == *block(number, 30_000));
        }
        let received =
            pair.block_events(end.other()).into_iter().filter(|event| matches!(event, BlockTold::Received(_)));
        assert!(received.eq((0..4).map(BlockTold::Received)));
    }
}

#[test]
fn whoever_cancels_a_block_the_other_learns_and_the_next_one_comes() {
    for link in [GOOD, BAD, TERRIBLE] {
        for end in End::BOTH {
            for by_sender in [false, true] {
                let mut pair = Pair::lab(3, link);
                for number in 0..2 {
                    pair.start_block(end, block(number, [2 << 20, 5000][number as usize])).unwrap();
                }
                let begun = |pair: &Pair| pair.block_bytes(end.other()) > 20_000;
                assert!(pair.run_while(60 * SECOND, begun));
                if by_sender {
                    assert!(pair.blocks(end).cancel_outgoing(0));
                } else {
                    assert_eq!(pair.blocks(end.other()).cancel_incoming(), Some(0));
                }
                assert!(pair.run_while(60 * SECOND, |pair| has(pair, end, &BlockTold::Sent(1))));
                assert!(assembled(&pair, end.other(), 1) == *block(1, 5000));
                assert!(assembled(&pair, end.other(), 0).len() < 2 << 20);
                assert_eq!(has(&pair, end.other(), &BlockTold::Stopped(0)), by_sender);
                assert_eq!(has(&pair, end, &BlockTold::Refused(0)), !by_sender);
                for end in End::BOTH {
                    assert!(!has(&pair, end, &BlockTold::Sent(0)) && !has(&pair, end, &BlockTold::Received(0)));
                }
                pair.run_for(10 * SECOND);
                for end in End::BOTH {
                    assert!(pair.blocks(end).is_idle() && pair.quality(end).queued_bytes == 0);
                }
                pair.assert_honest();
            }
        }
    }
}

#[test]
fn a_receiver_that_pauses_gets_no_more_than_the_window_until_it_resumes() {
    for link in [GOOD, BAD] {
        for end in End::BOTH {
            let mut pair = Pair::lab(4, link);
            pair.start_block(end, block(4, 2 << 20)).unwrap();
            let arrived = |pair: &Pair| pair.block_bytes(end.other());
            assert!(pair.run_while(30 * SECOND, |pair| arrived(pair) > 100_000));
            pair.blocks(end.other()).pause(true);
            let paused = arrived(&pair);
            pair.run_for(30 * SECOND);
            let held = arrived(&pair);
            pair.run_for(5 * SECOND);
            let most = usize::from(window(queue_bytes(BLOCK))) * 1024;
            assert_eq!(held, arrived(&pair), "it stands still");
            assert!(held - paused <= most, "{} bytes after the pause", held - paused);
            pair.blocks(end.other()).pause(false);
            assert!(pair.run_while(300 * SECOND, |pair| has(pair, end, &BlockTold::Sent(0))));
            assert!(assembled(&pair, end.other(), 0) == *block(4, 2 << 20));
            pair.assert_honest();
        }
    }
}

/// Snapshots of 400 bytes for so many seconds, with a block beside them or alone: how many were lost, how many arrived,
/// and the bytes of the block that did.
fn snapshots_beside(seed: u64, link: LinkConfig, with_block: bool, seconds: u32) -> (usize, usize, usize) {
    let mut pair = Pair::lab_with(seed, link, Table::lab(), |_, _| ());
    pair.snapshot_bytes = 400;
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair.run_for(SECOND);
    let (told, heard) = (pair.told.len(), pair.arrived(End::Client, SNAPSHOT).len());
    let (long, mut arrived) = (block(seed, 4 << 20), 0);
    for _ in 0..seconds * 10 {
        if with_block {
            // One waits behind the one on its way; where four do, the rest is refused.
            let _ = pair.start_block(End::Server, Arc::clone(&long));
        }
        pair.run_for(100 * MS);
        arrived += pair.block_bytes(End::Client);
        pair.clients[0].heard.retain(|heard| !matches!(heard, Heard::Block(..)));
    }
    let lost = pair.told[told..].iter().filter(|told| matches!(told, Told::Lost(..))).count();
    pair.assert_honest();
    (lost, pair.arrived(End::Client, SNAPSHOT).len() - heard, arrived)
}

#[test]
fn a_block_at_the_cap_of_a_megabyte_takes_what_is_left_and_no_snapshot() {
    let link = LinkConfig { loss: 0.01, delay: 50 * MS, ..GOOD };
    let (seeds, mut alone, mut beside, mut bytes, mut arrived) = (3, 0, 0, 0, [0; 2]);
    for seed in 0..seeds {
        let one = snapshots_beside(seed, link, false, 20);
        let two = snapshots_beside(seed, link, true, 20);
        (alone, beside, bytes) = (alone + one.0, beside + two.0, bytes + two.2);
        (arrived[0], arrived[1]) = (arrived[0] + one.1, arrived[1] + two.1);
    }
    let rate = bytes / (20 * seeds as usize);
    println!("{alone} and {beside} of {} snapshots lost; {arrived:?} arrived; block {rate} bytes/s", 400 * seeds);
    // 1 % of 1200 is 12, give or take 3.5.
    assert!(beside <= 12 + 11 && arrived[1] + 40 >= arrived[0], "{alone} {beside} {arrived:?}");
    assert!(rate >= 900_000, "{rate}");
}

#[test]
fn a_block_that_fills_a_narrow_path_loses_no_more_snapshots_than_there_would_be() {
    let link = LinkConfig { rate_bytes_per_s: Some(300_000), queue_bytes: 32 * 1024, ..GOOD };
    let alone = snapshots_beside(1, link, false, 60);
    let beside = snapshots_beside(1, link, true, 60);
    println!("alone {alone:?}, beside a block {beside:?}: lost, arrived, bytes of blocks");
    assert!(beside.2 / 60 >= 200_000, "two thirds of the path");
    assert!(alone.0 == 0 && beside.0 <= 24, "2 %: {beside:?}");
}

#[test]
fn a_rate_beyond_what_can_be_in_flight_neither_repeats_itself_nor_breaks_the_protocol() {
    let mut channels = Table::lab();
    channels.0[usize::from(BLOCK)].queue_bytes = 16 << 20;
    let server = ServerConfig { channels: channels.clone(), rate_cap: u32::MAX, ..server_config() };
    let client = ClientConfig { channels, ..ClientConfig::new(SCHEMA_HASH) };
    let mut pair = Pair::connected_as(11, 100 * MS, server, client);
    pair.net.reset_links(LinkConfig { delay: 100 * MS, loss: 0.05, ..LinkConfig::default() });
    let block: Arc<[u8]> = vec![0x5c; 4 << 20].into();
    pair.wire = Some(Vec::new());
    pair.server.send_block(pair.live[0], BLOCK, Arc::clone(&block)).unwrap();
    pair.run_for(20 * SECOND);
    let received = |heard: &Heard| matches!(heard, Heard::Block(BLOCK, BlockTold::Received(0)));
    let quality = pair.server.quality(pair.now, pair.live[0]);
    let last = pair.told.iter().rev().find(|told| matches!(told, Told::Block(..)));
    assert!(
        pair.clients[0].is_connected() && pair.clients[0].heard.iter().any(received),
        "{quality:?} {last:?} {:?} {:?}",
        pair.clients[0].endpoint.drops(),
        pair.clients[0].endpoint.traffic()
    );
    let sent: usize = pair.wire.as_ref().unwrap().iter().map(|sent| sent.bytes.len()).sum();
    assert!(sent < block.len() * 3 / 2, "{sent} bytes for {}", block.len());
}

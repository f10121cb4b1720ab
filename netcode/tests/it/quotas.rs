//! Every quota filled by a peer with good keys, and by an honest one on a terrible network, for whom none may fire.

use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::channel::{Kind, Table};
use netcode::client::ClientConfig;
use netcode::crypto::CookieKey;
use netcode::delivery::blocks::window;
use netcode::error::{CloseReason, DisconnectReason, RefuseReason, SendError};
use netcode::frame::{Head, write_message};
use netcode::packet::Preamble;
use netcode::server::{ServerConfig, ServerEndpoint, SingleUse};
use netcode::stats::Drop;

use crate::fiend::{Fiend, fiendish_client, hello_of};
use crate::lab::{BLOCK, DATAGRAM, End, MS, ORDERED, SECOND, TERRIBLE, UNORDERED, noise, queue_bytes, quota, quotas};
use crate::pair::{Pair, SCHEMA_HASH, Told, claims, client_addr, server_config};

const FULL: [u8; 1024] = [7; 1024];

/// A connected fiend at a server, and what the server held at the most.
struct Siege {
    pair: Pair,
    fiend: Fiend,
    most_held: usize,
}

impl Siege {
    fn new() -> Self {
        let mut pair = Pair::new(1, ServerConfig { channels: Table::lab(), ..server_config() });
        let fiend = fiendish_client(&mut pair, &Table::lab());
        Self { pair, fiend, most_held: 0 }
    }

    /// One packet with one frame; whether it was taken for honest.
    fn frame(&mut self, channel: u8, kind: Kind, head: Head, payload: &[u8]) -> bool {
        let before = self.pair.server_drops(Drop::Malformed);
        let packet = self.fiend.packet(|w: &mut BitWriter<'_>| {
            Preamble::default().write(w);
            assert!(write_message(w, channel, kind, head, payload));
        });
        self.pair.inject(client_addr(0), &packet);
        self.pair.flush();
        if let [conn] = self.pair.live[..] {
            let held = self.pair.server.quality(self.pair.now, conn).map_or(0, |quality| quality.held_bytes as usize);
            self.most_held = self.most_held.max(held);
        }
        self.pair.server_drops(Drop::Malformed) == before
    }

    /// The same frame three times, which must close the connection.
    fn ends_with(mut self, channel: u8, kind: Kind, head: Head, payload: &[u8]) -> usize {
        for offence in 1..=3 {
            assert!(self.pair.live.len() == 1, "offence {offence}");
            assert!(!self.frame(channel, kind, head, payload), "offence {offence}");
        }
        let reason = DisconnectReason::Local(CloseReason::ProtocolError);
        assert!(matches!(self.pair.told.last(), Some(Told::Disconnected(_, why)) if *why == reason));
        self.most_held
    }
}

fn segment(number: u16, first: bool, last: bool) -> Head {
    Head::Segment { number, first, last }
}

/// A segment of messages of 64 segments, the first of which begins with number 1.
fn long(number: u16) -> Head {
    segment(number, number % 64 == 1, number.is_multiple_of(64))
}

fn chunk(id: u16, total: u32, index: u16) -> Head {
    Head::Chunk { id, total, index }
}

#[test]
fn a_gap_that_is_never_filled_holds_a_window_and_no_more() {
    for (channel, kind) in [(ORDERED, Kind::ReliableOrdered), (UNORDERED, Kind::ReliableUnordered)] {
        let mut siege = Siege::new();
        // Message 0 never comes, nor does a segment of each of the others.
        for number in (1..256).filter(|number| number % 64 != 5) {
            assert!(siege.frame(channel, kind, long(number), &FULL), "{number}");
        }
        let held = siege.ends_with(channel, kind, segment(256, true, true), b"x");
        println!("{kind:?}: {held} bytes held, {} declared", quota(channel));
        assert!(held > 250_000 && held <= quota(channel));
    }
}

#[test]
fn messages_that_lack_one_segment_hold_the_queue_and_no_more() {
    for (channel, kind) in [(ORDERED, Kind::ReliableOrdered), (UNORDERED, Kind::ReliableUnordered)] {
        let mut siege = Siege::new();
        // Of the first message only the end is missing, of the others one segment each: beyond the window's 256, but
        // never beyond the queue's bytes.
        let mut taken = 0;
        for number in 0..319u16 {
            let at = number % 64;
            if at == 63 && number < 256 {
                continue;
            }
            if !siege.frame(channel, kind, segment(number, at == 0, at == 63), &FULL) {
                break;
            }
            taken += 1;
        }
        println!("{kind:?}: {taken} segments, {} bytes held, {} declared", siege.most_held, quota(channel));
        assert!(taken >= 250 && siege.most_held <= quota(channel));
        assert!(siege.pair.live.len() == 1);
    }
}

#[test]
fn parts_of_messages_that_never_end_hold_eight_messages_and_no_more() {
    let mut siege = Siege::new();
    for id in 0..500 {
        for index in 0..7 {
            assert!(siege.frame(DATAGRAM, Kind::Unreliable, Head::Part { id, index, last: 7 }, &FULL));
        }
    }
    let declared = quota(DATAGRAM);
    println!("parts: {} bytes held, {declared} declared", siege.most_held);
    assert!(siege.most_held > 50_000 && siege.most_held <= declared);
    assert_eq!(siege.pair.live.len(), 1, "on a path that loses the eighth of everything an honest peer does the same");
    let held = siege.ends_with(DATAGRAM, Kind::Unreliable, Head::Part { id: 499, index: 6, last: 6 }, &FULL);
    assert!(held <= declared, "contradicts its other parts");
}

#[test]
fn chunks_without_the_first_hold_a_window_and_those_beyond_the_credit_close() {
    let mut siege = Siege::new();
    let window = window(queue_bytes(BLOCK));
    for index in 1..window {
        assert!(siege.frame(BLOCK, Kind::Block, chunk(0, 1 << 24, index), &FULL), "{index}");
    }
    let held = siege.ends_with(BLOCK, Kind::Block, chunk(0, 1 << 24, window), &FULL);
    let declared = quota(BLOCK);
    println!("block: {held} bytes held, {declared} declared");
    assert!(held > 200_000 && held <= declared);
}

#[test]
fn what_no_honest_block_says_closes_after_the_third() {
    let window = window(queue_bytes(BLOCK));
    let cases = [
        ("the first chunk of a new block beyond its credit", chunk(0, 1 << 24, window), &FULL[..]),
        ("a chunk beyond the end", chunk(0, 2048, 2), &FULL),
        ("a chunk longer than it should be", chunk(0, 1500, 1), &FULL),
        ("credit for a block that never began", Head::Credit { id: 0, limit: 5 }, &[]),
        ("a refusal of a block that never began", Head::Cancel { id: 3, by_sender: false }, &[]),
    ];
    for (what, head, payload) in cases {
        let held = Siege::new().ends_with(BLOCK, Kind::Block, head, payload);
        assert_eq!(held, 0, "{what}");
    }
    // More credit than there can be, for a block that has begun.
    let mut siege = Siege::new();
    let conn = siege.pair.live[0];
    siege.pair.server.send_block(conn, BLOCK, Arc::from(noise(1, 100_000))).unwrap();
    siege.pair.run_for(MS);
    siege.ends_with(BLOCK, Kind::Block, Head::Credit { id: 0, limit: 2 * window }, &[]);
}

#[test]
fn every_quota_of_a_connection_at_once_is_their_sum() {
    let mut siege = Siege::new();
    for number in 1..256 {
        for (channel, kind) in [(ORDERED, Kind::ReliableOrdered), (UNORDERED, Kind::ReliableUnordered)] {
            assert!(number % 64 == 5 || siege.frame(channel, kind, long(number), &FULL));
        }
        assert!(siege.frame(BLOCK, Kind::Block, chunk(0, 1 << 24, number), &FULL));
        let part = Head::Part { id: number / 7, index: (number % 7) as u8, last: 7 };
        assert!(siege.frame(DATAGRAM, Kind::Unreliable, part, &FULL));
    }
    for index in 256..window(queue_bytes(BLOCK)) {
        assert!(siege.frame(BLOCK, Kind::Block, chunk(0, 1 << 24, index), &FULL));
    }
    let declared = quotas();
    println!("all at once: {} bytes held, {declared} declared", siege.most_held);
    assert!(siege.most_held > 1_600_000 && siege.most_held <= declared);
}

#[test]
fn a_full_set_of_used_tokens_refuses_and_forgets_none() {
    let mut pair = Pair::new(1, server_config());
    pair.single_use = Arc::new(SingleUse::new(3));
    pair.server = ServerEndpoint::new(server_config(), CookieKey::new([1; 32]), Arc::clone(&pair.single_use));
    let bundles: Vec<_> = (0..4).map(|_| pair.bundle(&claims())).collect();
    for bundle in &bundles[..3] {
        assert_eq!(pair.outcome(bundle), None);
    }
    assert_eq!(pair.outcome(&bundles[3]), Some(DisconnectReason::Refused(RefuseReason::Busy)));
    assert_eq!(pair.outcome(&bundles[0]), Some(DisconnectReason::Refused(RefuseReason::TokenUsed)));
    assert_eq!(pair.single_use.len(), 3);
    // What has expired makes room again.
    pair.run_for(60 * SECOND);
    let mut later = claims();
    later.expires_ms += 120_000;
    let bundle = pair.bundle(&later);
    assert_eq!((pair.outcome(&bundle), pair.single_use.len()), (None, 1));
}

#[test]
fn handshakes_that_nobody_finishes_fill_their_places_for_ten_seconds_and_no_more() {
    let config = ServerConfig { retry_above: u32::MAX, max_half_open: 20, ..server_config() };
    let mut pair = Pair::new(1, config);
    for number in 0..100u16 {
        let bundle = pair.bundle(&claims());
        pair.inject(client_addr(100 + usize::from(number)), &hello_of(&bundle, [9; 32], &Table::standard()));
        pair.flush();
    }
    assert_eq!((pair.server.half_open(), pair.server.connections()), (20, 20));
    assert_eq!(pair.server_drops(Drop::Overload), 80);
    pair.run_for(11 * SECOND);
    assert_eq!((pair.server.half_open(), pair.server.connections()), (0, 0));
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.run_for(SECOND);
    assert!(pair.clients[0].is_connected());
}

#[test]
fn two_thousand_and_more_small_honest_messages_on_a_terrible_network_fire_no_quota() {
    const COUNT: usize = 2049;
    let mut pair = Pair::lab(9, TERRIBLE);
    let mut sent = [[0; 2]; 2];
    let channels = [ORDERED, UNORDERED];
    let all = |end: End, channel: u8| {
        let len = move |number| 1 + (number + usize::from(channel) + end as usize) % 30;
        (0..COUNT).map(move |number| noise(number as u64, len(number)))
    };
    let messages = End::BOTH.map(|end| channels.map(|channel| all(end, channel).collect::<Vec<_>>()));
    let mut rounds = 0;
    let missing =
        |pair: &Pair| End::BOTH.iter().any(|end| channels.iter().any(|channel| pair.count(*end, *channel) < COUNT));
    while rounds < 3000 && missing(&pair) {
        for end in End::BOTH {
            for (at, channel) in channels.into_iter().enumerate() {
                let next = &mut sent[end as usize][at];
                while let Some(message) = messages[end as usize][at].get(*next) {
                    match pair.send_from(end, channel, message) {
                        Ok(()) => *next += 1,
                        Err(SendError::Full { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            // Beside them all the rest.
            let _ = pair.start_block(end, Arc::from(noise(rounds, 50_000)));
            let _ = pair.send_from(end, DATAGRAM, &noise(rounds, 8192));
        }
        pair.run_for(50 * MS);
        rounds += 1;
        pair.assert_honest();
        let declared = quotas();
        assert!(End::BOTH.iter().all(|end| pair.quality(*end).held_bytes as usize <= declared));
    }
    pair.run_for(30 * SECOND);
    for end in End::BOTH {
        for (at, channel) in channels.into_iter().enumerate() {
            let (mut arrived, mut sent) = (pair.arrived(end.other(), channel), messages[end as usize][at].clone());
            if channel == UNORDERED {
                arrived.sort();
                sent.sort();
            }
            assert!(arrived == sent, "{end:?} {channel}");
        }
    }
    println!("{COUNT} small messages on each of four ways in {:?}", pair.now);
    pair.assert_honest();
}

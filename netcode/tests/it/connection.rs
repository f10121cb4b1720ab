//! The life of a connection: messages, acks, silence and farewell, over good and bad networks.

use std::time::Duration;

use netcode::Time;
use netcode::channel::{Channel, INPUT, Kind, SESSION, SNAPSHOT, Table};
use netcode::client::ClientConfig;
use netcode::connection::ACK_SOON;
use netcode::emulator::LinkConfig;
use netcode::error::{CloseReason, DisconnectReason, SendError};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::server::ServerConfig;
use netcode::stats::Drop;
use netcode::token::TokenClaims;
use proptest::prelude::*;

use crate::lab::{ORDERED, STATE};
use crate::pair::{Heard, Pair, SCHEMA_HASH, Told, claims, client_addr, server_addr, server_config};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const BAD: LinkConfig = LinkConfig {
    delay: Duration::from_millis(40),
    jitter: Duration::from_millis(30),
    loss: 0.3,
    burst_enter: 0.0,
    burst_exit: 1.0,
    duplicate: 0.2,
    reorder: 0.2,
    reorder_delay: Duration::from_millis(200),
    corrupt: 0.05,
    rate_bytes_per_s: None,
    queue_bytes: 64 * 1024,
    mtu: None,
};

fn disconnected(pair: &Pair) -> Vec<DisconnectReason> {
    let reason = |told: &Told| if let Told::Disconnected(_, reason) = told { Some(*reason) } else { None };
    pair.told.iter().filter_map(reason).collect()
}

fn numbered(count: usize, len: usize) -> Vec<Vec<u8>> {
    let message = |number: usize| {
        let mut bytes = vec![number as u8; len.max(4)];
        bytes[..4].copy_from_slice(&(number as u32).to_le_bytes());
        bytes
    };
    (0..count).map(message).collect()
}

#[test]
fn a_quiet_connection_costs_one_small_packet_a_second_and_lives() {
    let mut pair = Pair::plain(1, 20 * MS);
    pair.wire = Some(Vec::new());
    pair.run_for(60 * SECOND);
    let wire = pair.wire.as_ref().unwrap();
    let from_client = wire.iter().filter(|sent| sent.from != server_addr());
    assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
    assert!((60..=150).contains(&from_client.count()), "pings and acks of pings, {} in all", wire.len());
    assert!(wire.iter().all(|sent| sent.bytes.len() <= 40));
}

#[test]
fn silence_ends_both_sides_after_the_idle_timeout() {
    let mut pair = Pair::connected(1, 20 * MS);
    pair.net.block(server_addr(), client_addr(0), Time::NEVER);
    pair.net.block(client_addr(0), server_addr(), Time::NEVER);
    pair.run_for(9 * SECOND);
    assert!(disconnected(&pair).is_empty() && pair.clients[0].is_connected());
    pair.run_for(2 * SECOND);
    assert_eq!(disconnected(&pair), [DisconnectReason::IdleTimeout]);
    assert_eq!(pair.clients[0].disconnected(), Some(DisconnectReason::IdleTimeout));
    assert_eq!(pair.server.connections(), 0);
}

#[test]
fn five_seconds_of_nothing_are_survived() {
    let mut pair = Pair::connected(1, 20 * MS);
    let until = pair.now + 5 * SECOND;
    pair.net.block(server_addr(), client_addr(0), until);
    pair.net.block(client_addr(0), server_addr(), until);
    pair.say(b"before");
    pair.run_for(20 * SECOND);
    assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
    assert_eq!(pair.received(SESSION), [b"before"]);
}

#[test]
fn a_client_that_closes_is_gone_at_once_and_its_slot_is_free() {
    let mut pair = Pair::connected(1, 20 * MS);
    pair.clients[0].endpoint.close(pair.now, CloseReason::Requested);
    pair.run_for(SECOND);
    assert_eq!(disconnected(&pair), [DisconnectReason::ByPeer(CloseReason::Requested)]);
    assert_eq!(pair.clients[0].disconnected(), Some(DisconnectReason::Local(CloseReason::Requested)));
    assert_eq!(pair.server.connections(), 0);
}

#[test]
fn a_server_that_closes_says_why_and_frees_the_slot() {
    for reason in CloseReason::ALL {
        let mut pair = Pair::connected(1, 20 * MS);
        pair.server.close(pair.now, pair.live[0], *reason);
        pair.run_for(SECOND);
        assert_eq!(pair.clients[0].disconnected(), Some(DisconnectReason::ByPeer(*reason)));
        assert_eq!(disconnected(&pair), [DisconnectReason::Local(*reason)]);
        assert_eq!(pair.server.connections(), 0);
    }
}

#[test]
fn a_farewell_gets_through_loss_nearly_always_and_silence_does_the_rest() {
    let mut told = 0;
    for seed in 0..100 {
        let mut pair = Pair::connected(seed, 20 * MS);
        pair.net.reset_links(LinkConfig { loss: 0.3, ..BAD });
        pair.server.close(pair.now, pair.live[0], CloseReason::Kicked);
        pair.run_for(12 * SECOND);
        let reason = pair.clients[0].disconnected();
        told += u32::from(reason == Some(DisconnectReason::ByPeer(CloseReason::Kicked)));
        assert!(reason.is_some() && pair.server.connections() == 0, "seed {seed}: {reason:?}");
    }
    assert!(told >= 90, "{told} of 100");
}

#[test]
fn reliable_messages_arrive_once_and_in_order_both_ways() {
    let mut pair = Pair::connected(7, 20 * MS);
    pair.net.reset_links(BAD);
    let up = numbered(400, 300);
    let down = numbered(400, 200);
    let (mut next_up, mut next_down) = (0, 0);
    let conn = pair.live[0];
    while pair.now < Time::from_millis(120_000)
        && pair.received(SESSION).len() + pair.clients[0].messages(SESSION).len() < 800
    {
        while next_up < up.len() && pair.clients[0].endpoint.send(pair.now, SESSION, &up[next_up]).is_ok() {
            next_up += 1;
        }
        while next_down < down.len() && pair.server.send(pair.now, conn, SESSION, &down[next_down]).is_ok() {
            next_down += 1;
        }
        pair.run_for(50 * MS);
    }
    assert_eq!(pair.received(SESSION), up);
    assert_eq!(pair.clients[0].messages(SESSION), down);
    assert_eq!(pair.server_drops(Drop::Malformed) + pair.clients[0].endpoint.drops().get(Drop::Malformed), 0);
}

#[test]
fn a_full_queue_is_an_error_to_the_caller_and_drops_nothing() {
    let mut pair = Pair::connected(1, 20 * MS);
    let messages = numbered(16, 1024);
    for message in &messages {
        pair.say(message);
    }
    let refused = pair.clients[0].endpoint.send(pair.now, SESSION, b"one more");
    assert_eq!(refused, Err(SendError::Full { free: 0 }));
    assert_eq!(pair.clients[0].endpoint.send(pair.now, SESSION, &[0; 1025]), Err(SendError::TooLong { limit: 1024 }));
    assert_eq!(pair.clients[0].endpoint.send(pair.now, SNAPSHOT, &[0]), Err(SendError::NoSuchChannel(SNAPSHOT)));
    assert_eq!(pair.clients[0].endpoint.send(pair.now, 9, &[0]), Err(SendError::NoSuchChannel(9)));
    pair.run_for(SECOND);
    assert_eq!(pair.received(SESSION), messages);
    pair.say(b"room again");
}

#[test]
fn a_burst_is_acknowledged_before_an_ack_would_no_longer_name_all_of_it() {
    let mut pair = Pair::plain(9, MS);
    pair.run_for(3 * SECOND);
    let (now, from) = (pair.now, client_addr(0));
    let (mut out, mut sent, mut acks) = ([0; MAX_DATAGRAM], 0, Vec::new());
    for _ in 0..24 {
        pair.clients[0].endpoint.send(now, SESSION, &[7; 600]).unwrap();
        while let Some(len) = pair.clients[0].endpoint.poll_transmit(now, &mut out) {
            pair.server.handle_datagram(now, pair.unix_ms(), from, &mut out[..len], &mut pair.entropy);
            sent += 1;
            // No timer runs in between.
            while pair.server.poll_transmit_control(now, &mut out).is_some() {
                acks.push(sent);
            }
        }
    }
    assert!((17..=32).contains(&sent), "{sent}");
    assert_eq!(acks, [usize::from(ACK_SOON)]);
}

#[test]
fn a_packet_delayed_for_seconds_is_no_offence() {
    let mut pair = Pair::connected(1, 20 * MS);
    pair.wire = Some(Vec::new());
    pair.net.block(client_addr(0), server_addr(), pair.now + MS);
    for number in 0..4u8 {
        pair.say(&[number]);
        pair.flush();
    }
    let late: Vec<_> = pair.wire.take().unwrap().into_iter().map(|sent| sent.bytes).collect();
    // The messages come in other packets; the first ones turn up when the stream is far ahead.
    for _ in 0..40 {
        for number in 0..10u8 {
            pair.say(&[number]);
        }
        pair.run_for(200 * MS);
    }
    assert_eq!((late.len(), pair.received(SESSION).len()), (4, 404));
    for packet in &late {
        pair.inject(client_addr(0), packet);
    }
    pair.run_for(SECOND);
    assert_eq!(pair.server_drops(Drop::Malformed), 0);
    assert!(pair.clients[0].is_connected() && pair.received(SESSION).len() == 404);
}

#[test]
fn inputs_never_go_back_and_the_newest_arrive() {
    let mut pair = Pair::connected(3, 20 * MS);
    pair.net.reset_links(BAD);
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair.run_for(30 * SECOND);
    let numbers: Vec<_> =
        pair.received(INPUT).iter().map(|bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(numbers.len() > 250, "{}", numbers.len());
    for told in &pair.told {
        if let Told::Message(_, INPUT, tick, bytes) = told {
            assert_eq!(tick.unwrap().to_le_bytes()[..], bytes[..], "the packet's tick is the input's");
        }
    }
}

#[test]
fn what_counts_as_acknowledged_was_applied_and_late_snapshots_are_not() {
    let mut pair = Pair::connected(5, 20 * MS);
    let reordering = LinkConfig { corrupt: 0.0, ..BAD };
    pair.net.reset_links(reordering);
    pair.start_ticks();
    pair.wire = Some(Vec::new());
    pair.run_for(60 * SECOND);
    let seen: Vec<_> = pair.clients[0].messages(SNAPSHOT);
    let ticks: Vec<_> = seen.iter().map(|bytes| u64::from_le_bytes(bytes[..8].try_into().unwrap())).collect();
    assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "snapshots only go forward");
    for heard in &pair.clients[0].heard {
        if let Heard::Message(SNAPSHOT, tick, bytes) = heard {
            assert_eq!(tick.unwrap().to_le_bytes()[..], bytes[..8]);
        }
    }
    let late = pair.clients[0].endpoint.drops().get(Drop::LateSnapshot);
    assert!(late > 50, "the network reordered: {late}");
    let acked = pair.told.iter().filter(|told| matches!(told, Told::Acked(..))).count();
    let lost = pair.told.iter().filter(|told| matches!(told, Told::Lost(..))).count();
    assert!(acked <= seen.len(), "{acked} acknowledged, {} applied", seen.len());
    assert!(acked + lost + 64 >= 60 * 20 && lost > 300, "{acked} acknowledged, {lost} lost");
}

#[test]
fn a_late_snapshot_packet_is_dropped_whole_and_is_not_acknowledged() {
    let mut pair = Pair::connected(1, 20 * MS);
    let conn = pair.live[0];
    let mut out = [0; MAX_DATAGRAM];
    let mut packet = |pair: &mut Pair, byte: u64| {
        let mut write = |w: &mut netcode::bits::BitWriter<'_>| w.write(byte, 8);
        let sent = pair.server.transmit(pair.now, conn, &mut out, Some(&mut write)).unwrap();
        (sent.pn, out[..sent.len].to_vec())
    };
    pair.server.send(pair.now, conn, SESSION, b"rides in the first").unwrap();
    let (first, mut first_bytes) = packet(&mut pair, 1);
    let (second, mut second_bytes) = packet(&mut pair, 2);
    let (now, client) = (pair.now, &mut pair.clients[0]);
    client.endpoint.handle_datagram(now, &mut second_bytes);
    client.endpoint.handle_datagram(now, &mut first_bytes);
    assert_eq!(client.endpoint.drops().get(Drop::LateSnapshot), 1);
    pair.run_for(2 * SECOND);
    assert_eq!(pair.clients[0].messages(SNAPSHOT), [[2]]);
    assert_eq!(pair.clients[0].messages(SESSION), [b"rides in the first"], "it came again in another packet");
    assert!(pair.told.contains(&Told::Acked(conn, second)) && pair.told.contains(&Told::Lost(conn, first)));
}

#[test]
fn a_snapshot_that_may_fill_the_packet_keeps_the_channels_limit() {
    let mut channels = Table::standard();
    channels.0[0].max_message = 900;
    let server = ServerConfig { channels: channels.clone(), ..server_config() };
    let client = ClientConfig { channels, ..ClientConfig::new(SCHEMA_HASH) };
    let mut pair = Pair::connected_as(1, 20 * MS, server, client);
    let conn = pair.live[0];
    let mut out = [0; MAX_DATAGRAM];
    let mut write = |w: &mut netcode::bits::BitWriter<'_>| {
        while w.remaining_bits() >= 8 {
            w.write(0x5a, 8);
        }
    };
    let sent = pair.server.transmit(pair.now, conn, &mut out, Some(&mut write)).unwrap();
    pair.launch(server_addr(), sent.to, &out[..sent.len]);
    pair.run_for(SECOND);
    assert_eq!(pair.clients[0].messages(SNAPSHOT), [[0x5a; 900]]);
}

#[test]
fn messages_that_are_not_more_urgent_leave_a_snapshot_its_room() {
    let mut pair = Pair::plain(1, 20 * MS);
    let conn = pair.live[0];
    for len in [1024usize, 1024, 100, 98, 30, 20, 10, 1000, 130] {
        pair.server.send(pair.now, conn, SESSION, &vec![7; len]).unwrap();
    }
    for _ in 0..6 {
        let mut out = [0; MAX_DATAGRAM];
        let mut room = None;
        let mut write = |w: &mut netcode::bits::BitWriter<'_>| {
            room = Some(w.remaining_bits());
            w.write(9, 64);
        };
        let sent = pair.server.transmit(pair.now, conn, &mut out, Some(&mut write)).unwrap();
        pair.launch(server_addr(), sent.to, &out[..sent.len]);
        assert!(room.is_some_and(|bits| bits >= 512 * 8), "{room:?} bits");
    }
    pair.run_for(SECOND);
    assert_eq!(pair.clients[0].messages(SNAPSHOT).len(), 6);
    assert_eq!(pair.clients[0].messages(SESSION).len(), 9, "they came in packets of their own");
    assert_eq!(pair.clients[0].endpoint.drops().get(Drop::Malformed), 0);
}

#[test]
fn the_round_trip_time_is_measured_right_though_every_ack_waits_for_its_tick() {
    for (delay, jitter) in [(5, 0), (50, 0), (100, 20)] {
        let mut pair = Pair::connected(1, delay * MS);
        pair.net.reset_links(LinkConfig { delay: delay * MS, jitter: jitter * MS, ..LinkConfig::default() });
        pair.clients[0].plays = true;
        pair.start_ticks();
        pair.run_for(10 * SECOND);
        let expected = u64::from(2 * delay + jitter) * 1000;
        for quality in
            [pair.clients[0].endpoint.quality(pair.now), pair.server.quality(pair.now, pair.live[0]).unwrap()]
        {
            let error = quality.rtt.abs_diff(expected);
            assert!(error <= 1000 + u64::from(jitter) * 700, "{delay} ms: {quality:?}");
            assert_eq!(quality.lost, quality.spurious, "late ones look lost for a while: {quality:?}");
        }
    }
}

#[test]
fn loss_is_measured_right() {
    let mut pair = Pair::connected(2, 20 * MS);
    pair.net.reset_links(LinkConfig { delay: 20 * MS, loss: 0.1, ..LinkConfig::default() });
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair.run_for(100 * SECOND);
    let quality = pair.server.quality(pair.now, pair.live[0]).unwrap();
    assert!((800..=1300).contains(&quality.loss_per_10_000()), "{quality:?}");
}

#[test]
fn slots_are_reused_under_new_ids_and_old_ids_are_refused() {
    let mut config = server_config();
    config.max_connections = 2;
    let mut pair = Pair::new(1, config);
    pair.wire = Some(Vec::new());
    let mut ids: Vec<ConnId> = Vec::new();
    for round in 0..6 {
        let bundle = pair.bundle(&claims());
        assert_eq!(pair.outcome(&bundle), None);
        let conn = pair.live[0];
        assert!(!ids.contains(&conn) && conn.slot() < 2);
        ids.push(conn);
        pair.clients[round].endpoint.close(pair.now, CloseReason::Requested);
        pair.run_for(SECOND);
        assert_eq!(pair.server.connections(), 0);
    }
    let generations: Vec<_> = ids.iter().map(|id| (id.slot(), id.generation())).collect();
    assert_eq!(generations, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
    let before = pair.server_drops(Drop::UnknownConnection);
    let old = pair.wire.as_ref().unwrap().iter().find(|sent| sent.bytes[0] == 0x40).unwrap().clone();
    pair.inject(old.from, &old.bytes);
    assert_eq!(pair.server_drops(Drop::UnknownConnection), before + 1);
}

#[test]
fn clients_that_come_and_go_leave_most_slots_untouched() {
    let mut config = server_config();
    config.max_connections = 1000;
    let mut pair = Pair::new(1, config);
    let mut ids: Vec<ConnId> = Vec::new();
    for round in 0..100 {
        // By then the token of the first round has expired.
        let late = round as u64 * 2_000;
        let fresh =
            TokenClaims { issued_ms: claims().issued_ms + late, expires_ms: claims().expires_ms + late, ..claims() };
        let bundle = pair.bundle(&fresh);
        assert_eq!(pair.outcome(&bundle), None);
        let conn = pair.live[0];
        assert!(!ids.contains(&conn));
        ids.push(conn);
        pair.clients[round].endpoint.close(pair.now, CloseReason::Requested);
        pair.run_for(100 * MS);
        assert_eq!(pair.server.connections(), 0);
    }
    let used = ids.iter().map(|id| id.slot()).max();
    assert_eq!(used, Some(63), "one at a time, and 64 wait before the first is used again");
}

#[test]
fn seventy_thousand_packets_each_way_pass_the_wrap_of_their_numbers() {
    let mut pair = Pair::plain(1, MS);
    let conn = pair.live[0];
    let mut out = [0; MAX_DATAGRAM];
    let (mut sent, mut received) = (0u32, 0u32);
    for round in 0..70_000u32 {
        pair.now = pair.now + MS;
        let now = pair.now;
        let mut write = |w: &mut netcode::bits::BitWriter<'_>| w.write(u64::from(round), 32);
        let packet = pair.server.transmit(now, conn, &mut out, Some(&mut write)).unwrap();
        assert!(packet.len < 40);
        sent += 1;
        let client = &mut pair.clients[0].endpoint;
        client.handle_datagram(now, &mut out[..packet.len]);
        client.send(now, INPUT, &round.to_le_bytes()).unwrap();
        if round % 50 == 0 {
            client.send(now, SESSION, &round.to_le_bytes()).unwrap();
        }
        let len = client.poll_transmit(now, &mut out).unwrap();
        pair.inject(client_addr(0), &out[..len]);
        while pair.clients[0].endpoint.poll_event().is_some() {
            received += 1;
        }
        pair.server.handle_timeout(now);
        while pair.server.poll_event().is_some() {}
    }
    assert_eq!((sent, received), (70_000, 70_000));
    let quality = [pair.server.quality(pair.now, conn).unwrap(), pair.clients[0].endpoint.quality(pair.now)];
    assert!(quality.iter().all(|quality| quality.lost == 0 && quality.acked > 69_000), "{quality:?}");
    assert_eq!(pair.server.drops().total() + pair.clients[0].endpoint.drops().total(), 0);
}

/// A table with one channel of each kind that takes messages.
fn mixed_table() -> Table {
    let channel = |name, kind| Channel::new(name, kind, 200, 4096);
    Table(
        [channel("u", Kind::Unreliable), channel("s", Kind::Sequenced), channel("r", Kind::ReliableOrdered)]
            .into_iter()
            .collect(),
    )
}

#[test]
fn unreliable_messages_arrive_at_most_once_and_go_in_lots() {
    let mut config = server_config();
    config.channels = mixed_table();
    let mut pair = Pair::new(4, config);
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig { channels: mixed_table(), ..ClientConfig::new(SCHEMA_HASH) });
    pair.run_for(SECOND);
    pair.net.reset_links(LinkConfig { corrupt: 0.0, ..BAD });
    let all = numbered(600, 8);
    for lot in all.chunks(20) {
        for message in lot {
            pair.clients[0].endpoint.send(pair.now, 0, message).unwrap();
        }
        pair.run_for(50 * MS);
    }
    pair.run_for(2 * SECOND);
    let mut received = pair.received(0);
    assert!(received.len() > 300 && received.len() < 550, "{}", received.len());
    received.sort();
    received.dedup();
    assert_eq!(received.len(), pair.received(0).len(), "none twice");
    for _ in 0..2 {
        pair.clients[0].endpoint.send(pair.now, 0, &[1; 200]).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Up(u16),
    Down(u16),
    Wait(u16),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0u16..1024).prop_map(Deed::Up),
        4 => (0u16..1024).prop_map(Deed::Down),
        2 => (0u16..400).prop_map(Deed::Wait),
    ]
}

fn link() -> impl Strategy<Value = LinkConfig> {
    (0u64..150, 0u64..100, 0.0..0.4f64, 0.0..0.5f64, 0.0..0.4f64, 0u64..500, 0.0..0.1f64).prop_map(
        |(delay, jitter, loss, duplicate, reorder, reorder_delay, corrupt)| LinkConfig {
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            loss,
            duplicate,
            reorder,
            reorder_delay: Duration::from_millis(reorder_delay),
            corrupt,
            ..LinkConfig::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against the model: a queue. What was taken comes out, once, in order, whatever the network does; and when
    /// the network heals all of it does.
    #[test]
    fn the_reliable_channel_is_a_queue(
        seed: u64,
        link in link(),
        ticking: bool,
        deeds in prop::collection::vec(deed(), 1..80),
    ) {
        let mut pair = Pair::connected(seed, MS);
        pair.net.reset_links(link);
        if ticking {
            pair.clients[0].plays = true;
            pair.start_ticks();
        }
        let conn = pair.live[0];
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (number, deed) in deeds.iter().enumerate() {
            let message = |len: u16| vec![number as u8; usize::from(len)];
            match deed {
                Deed::Up(len) => {
                    if pair.clients[0].endpoint.send(pair.now, SESSION, &message(*len)).is_ok() {
                        up.push(message(*len));
                    }
                }
                Deed::Down(len) => {
                    if pair.server.send(pair.now, conn, SESSION, &message(*len)).is_ok() {
                        down.push(message(*len));
                    }
                }
                Deed::Wait(ms) => pair.run_for(Duration::from_millis(u64::from(*ms))),
            }
            prop_assert!(up.starts_with(&pair.received(SESSION)));
            prop_assert!(down.starts_with(&pair.clients[0].messages(SESSION)));
        }
        pair.net.reset_links(LinkConfig { delay: MS, ..LinkConfig::default() });
        pair.run_for(30 * SECOND);
        prop_assert_eq!(pair.received(SESSION), up);
        prop_assert_eq!(pair.clients[0].messages(SESSION), down);
        prop_assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
        prop_assert_eq!(pair.server_drops(Drop::Malformed), 0);
    }
}

#[test]
fn a_close_is_said_three_times_the_last_one_too() {
    let mut pair = Pair::connected(1, 20 * MS);
    pair.wire = Some(Vec::new());
    pair.net.block(server_addr(), client_addr(0), netcode::Time::NEVER);
    pair.server.close(pair.now, pair.live[0], CloseReason::Kicked);
    pair.run_for(SECOND);
    let closes = pair.wire.as_ref().unwrap().iter().filter(|sent| sent.from == server_addr()).count();
    assert_eq!((closes, pair.server.connections()), (3, 0));
}

#[test]
fn a_new_state_behind_a_long_message_does_not_let_that_out_past_the_rate() {
    let server = ServerConfig { channels: Table::lab(), ..server_config() };
    let client = ClientConfig { channels: Table::lab(), ..ClientConfig::new(SCHEMA_HASH) };
    let mut pair = Pair::connected_as(9, 20 * MS, server, client);
    pair.wire = Some(Vec::new());
    let conn = pair.live[0];
    pair.server.send(pair.now, conn, ORDERED, &[1; 65_000]).unwrap();
    pair.server.send(pair.now, conn, STATE, &[2; 200]).unwrap();
    pair.clients[0].endpoint.send(pair.now, ORDERED, &[1; 65_000]).unwrap();
    pair.clients[0].endpoint.send(pair.now, STATE, &[2; 200]).unwrap();
    pair.server.handle_timeout(pair.now + 10 * MS);
    pair.flush();
    let bytes = |from_server: bool| -> usize {
        let wire = pair.wire.as_ref().unwrap();
        wire.iter().filter(|sent| (sent.from == server_addr()) == from_server).map(|sent| sent.bytes.len()).sum()
    };
    // A tick's budget at half of 1 MB/s is 25 kB.
    assert!((2000..27_000).contains(&bytes(true)), "{} bytes at once from the server", bytes(true));
    assert!((2000..27_000).contains(&bytes(false)), "{} bytes at once from the client", bytes(false));
    pair.run_for(2 * SECOND);
    assert_eq!((pair.clients[0].messages(ORDERED).len(), pair.clients[0].messages(STATE).len()), (1, 1));
}

#[test]
fn no_snapshot_is_reported_lost_after_the_disconnect() {
    let mut pair = Pair::plain(10, 20 * MS);
    let conn = pair.live[0];
    let mut out = [0; MAX_DATAGRAM];
    for _ in 0..netcode::recovery::MAX_IN_FLIGHT + 1 {
        let sent = pair.server.transmit(pair.now, conn, &mut out, Some(&mut |w| w.write(1, 8)));
        assert!(sent.is_some());
    }
    pair.flush();
    pair.server.close(pair.now, conn, CloseReason::Kicked);
    pair.server.handle_timeout(pair.now);
    pair.flush();
    assert!(matches!(pair.told.last(), Some(Told::Disconnected(..))), "{:?}", pair.told.last());
}

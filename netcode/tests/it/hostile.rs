//! Packets that nobody honest sends: junk, forgeries, damaged copies, and authentic ones that break the rules.

use std::time::Duration;

use netcode::bits::BitWriter;
use netcode::channel::{INPUT, Kind, SESSION, Table};
use netcode::client::ClientConfig;
use netcode::crypto::{Entropy, PacketKey, Psk, SessionKeys, SharedSecret};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::features::Features;
use netcode::frame::{Control, Head, write_control, write_message, write_snapshot_head};
use netcode::handshake::{Accepted, RawHello, VERSION, write_accept};
use netcode::packet::{AckBlock, ConnId, MAX_DATAGRAM, Preamble};
use netcode::rng::Rng;
use netcode::server::ServerConfig;
use netcode::stats::{Drop, Drops};

use crate::fiend::{Fiend, fiendish_client, hello_of};
use crate::pair::{Heard, Pair, SCHEMA_HASH, Sent, Told, claims, client_addr, server_addr, server_config};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What was counted since `before`.
fn since(before: &Drops, after: &Drops) -> Vec<(Drop, u64)> {
    let counts = Drop::ALL.map(|drop| (drop, after.get(drop) - before.get(drop)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// What must not change when a bad packet arrives at the server: connections, tokens, answers, events.
fn state(pair: &mut Pair) -> (usize, usize, u64, usize, u64) {
    pair.server.handle_timeout(pair.now);
    pair.flush();
    let traffic = pair.server.traffic().packets_out;
    (pair.server.connections(), pair.single_use.len(), pair.server.accepted(), pair.told.len(), traffic)
}

/// A connected pair, a HELLO that was never delivered, and data packets of the client that were not either.
fn with_samples() -> (Pair, Vec<u8>, Vec<Vec<u8>>) {
    let mut pair = Pair::connected(1, 20 * MS);
    pair.net.block(client_addr(0), server_addr(), pair.now + MS);
    pair.net.block(client_addr(1), server_addr(), pair.now + MS);
    pair.wire = Some(Vec::new());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.say(b"genuine");
    pair.clients[0].endpoint.send(pair.now, INPUT, &[1, 2, 3]).unwrap();
    pair.flush();
    pair.clients[0].endpoint.send(pair.now, INPUT, &[4, 5, 6]).unwrap();
    pair.flush();
    let wire = pair.wire.take().unwrap();
    let (hellos, data): (Vec<Sent>, Vec<Sent>) = wire.into_iter().partition(|sent| sent.bytes[0] == 1);
    pair.clients.pop();
    (pair, hellos[0].bytes.clone(), data.into_iter().map(|sent| sent.bytes).collect())
}

#[test]
fn every_prefix_of_every_packet_is_dropped_and_counted() {
    let (mut pair, hello, data) = with_samples();
    let before = (*pair.server.drops(), state(&mut pair));
    for packet in data.iter().chain([&hello]) {
        for len in 0..packet.len() {
            pair.inject(client_addr(0), &packet[..len]);
        }
    }
    assert_eq!(state(&mut pair), before.1);
    let counted = since(&before.0, pair.server.drops());
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    assert_eq!(total as usize, hello.len() + data.iter().map(Vec::len).sum::<usize>());
    let kinds: Vec<_> = counted.iter().map(|(drop, _)| *drop).collect();
    assert_eq!(kinds, [Drop::TooShort, Drop::WrongLength, Drop::AuthFailed]);
    // The genuine ones are taken as if nothing had been.
    for packet in &data {
        pair.inject(client_addr(0), packet);
    }
    pair.flush();
    assert_eq!(pair.received(SESSION), [b"genuine"]);
    assert_eq!(pair.received(INPUT), [[1, 2, 3], [4, 5, 6]]);
}

#[test]
fn every_flipped_bit_of_a_data_packet_is_noticed() {
    let (mut pair, _, data) = with_samples();
    let before = (*pair.server.drops(), state(&mut pair));
    let packet = &data[0];
    for bit in 0..packet.len() * 8 {
        let mut bent = packet.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        pair.inject(client_addr(0), &bent);
    }
    assert_eq!(state(&mut pair), before.1);
    let counted = since(&before.0, pair.server.drops());
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    assert_eq!(total as usize, packet.len() * 8);
    let kinds: Vec<_> = counted.iter().map(|(drop, _)| *drop).collect();
    assert_eq!(
        kinds,
        [Drop::UnknownType, Drop::ReservedBits, Drop::UnknownConnection, Drop::Duplicate, Drop::AuthFailed]
    );
    pair.inject(client_addr(0), packet);
    pair.flush();
    assert_eq!(pair.received(SESSION), [b"genuine"]);
}

#[test]
fn every_flipped_bit_of_a_hello_is_noticed_and_never_lets_anybody_in() {
    let (mut pair, hello, _) = with_samples();
    pair.now = pair.now + 100 * MS;
    let before = (pair.server.connections(), pair.single_use.len(), pair.server.accepted());
    let drops = *pair.server.drops();
    let mut cookie_bits = 0;
    for bit in 0..hello.len() * 8 {
        // A new window each time, so that no cookie is asked for; and past every timer of the one connection.
        pair.now = pair.now + 101 * MS;
        let mut bent = hello.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        if (44..76).contains(&(bit / 8)) {
            // The cookie is not looked at without load; this one would be let in.
            cookie_bits += 1;
            continue;
        }
        pair.inject(client_addr(1), &bent);
        pair.flush();
    }
    assert_eq!((pair.server.connections(), pair.single_use.len(), pair.server.accepted()), before);
    let counted = since(&drops, pair.server.drops());
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    assert_eq!(total as usize + cookie_bits, hello.len() * 8);
    let kinds: Vec<_> = counted.iter().map(|(drop, _)| *drop).collect();
    let expected = [
        Drop::TooShort,
        Drop::WrongLength,
        Drop::UnknownType,
        Drop::ReservedBits,
        Drop::WrongProtocol,
        Drop::UnknownConnection,
        Drop::BadMac,
        Drop::Refused,
    ];
    assert!(kinds.iter().all(|kind| expected.contains(kind)), "{kinds:?}");
}

#[test]
fn a_hello_is_dropped_for_its_first_broken_rule() {
    let (mut pair, hello, _) = with_samples();
    type Change = fn(&mut Vec<u8>);
    let cases: [(Drop, Change); 8] = [
        (Drop::WrongLength, |hello| hello.push(0)),
        (Drop::WrongProtocol, |hello| hello[4] = b'z'),
        (Drop::ReservedBits, |hello| hello[3] = VERSION - 1),
        (Drop::ReservedBits, |hello| hello[400..402].copy_from_slice(&1199u16.to_le_bytes())),
        (Drop::ReservedBits, |hello| hello[402] = 1),
        (Drop::ReservedBits, |hello| hello[1183] = 1),
        (Drop::ReservedBits, |hello| hello[2] = 2),
        (Drop::BadMac, |hello| hello[1184] ^= 1),
    ];
    for (drop, change) in cases {
        let before = (*pair.server.drops(), state(&mut pair));
        let mut bent = hello.clone();
        change(&mut bent);
        pair.inject(client_addr(1), &bent);
        assert_eq!(state(&mut pair), before.1, "{drop:?}");
        assert_eq!(since(&before.0, pair.server.drops()), [(drop, 1)]);
    }
}

#[test]
fn replayed_packets_are_dropped_whether_fresh_or_old() {
    let (mut pair, _, data) = with_samples();
    for packet in &data {
        pair.inject(client_addr(0), packet);
    }
    pair.flush();
    let told = pair.told.len();
    for _ in 0..1000 {
        data.iter().for_each(|packet| pair.inject(client_addr(0), packet));
    }
    pair.flush();
    assert_eq!((pair.told.len(), pair.server_drops(Drop::Duplicate)), (told, 1000 * data.len() as u64));
    for _ in 0..1100 {
        pair.clients[0].endpoint.send(pair.now, INPUT, &[9]).unwrap();
        pair.flush();
    }
    pair.run_for(SECOND);
    let told = pair.told.len();
    data.iter().for_each(|packet| pair.inject(client_addr(0), packet));
    pair.flush();
    assert_eq!((pair.told.len(), pair.server_drops(Drop::TooOld)), (told, data.len() as u64));
}

#[test]
fn a_packet_reflected_to_its_sender_is_dropped() {
    let (mut pair, _, data) = with_samples();
    let (now, heard) = (pair.now, pair.clients[0].heard.len());
    for packet in &data {
        pair.clients[0].endpoint.handle_datagram(now, &mut packet.clone());
    }
    // Its connection id stands where the packet number of the other direction is, so the cause varies.
    assert_eq!(pair.clients[0].endpoint.drops().total(), data.len() as u64);
    assert_eq!(pair.clients[0].heard.len(), heard);
}

#[test]
fn forged_packets_from_any_address_neither_move_nor_keep_nor_close_a_connection() {
    let mut pair = Pair::connected(1, 20 * MS);
    let conn = pair.live[0];
    let mut rng = Rng::new(1);
    pair.net.block(client_addr(0), server_addr(), netcode::Time::NEVER);
    pair.net.block(server_addr(), client_addr(0), netcode::Time::NEVER);
    for round in 0..10_000u64 {
        let mut forged = vec![0; 24 + rng.below(200) as usize];
        rng.fill(&mut forged);
        forged[0] = 0x40;
        forged[1..5].copy_from_slice(&conn.0.to_le_bytes());
        let from = client_addr(rng.below(3) as usize);
        pair.inject(from, &forged);
        if round % 10 == 0 {
            pair.run_for(MS);
        }
    }
    assert!(pair.live == [conn] && pair.clients[0].is_connected(), "nothing was closed");
    assert!(pair.server_drops(Drop::AuthFailed) > 9000, "{}", pair.server_drops(Drop::AuthFailed));
    assert_eq!((pair.server.roams(), pair.server.address(conn)), (0, Some(client_addr(0))));
    for _ in 0..100 {
        pair.inject(client_addr(0), &[&[0x40][..], &conn.0.to_le_bytes(), &[0; 30]].concat());
        pair.run_for(100 * MS);
    }
    assert_eq!(pair.told.last(), Some(&Told::Disconnected(conn, DisconnectReason::IdleTimeout)), "nothing was kept");
}

#[test]
fn random_junk_at_both_ends_is_only_counted() {
    let (mut pair, _, _) = with_samples();
    let mut rng = Rng::new(2);
    let before = state(&mut pair);
    let (server, client) = (pair.server.drops().total(), pair.clients[0].endpoint.drops().total());
    let now = pair.now;
    for _ in 0..20_000 {
        let mut junk = vec![0; rng.below(1400) as usize];
        rng.fill(&mut junk);
        if let Some(first) = junk.first_mut()
            && rng.chance(0.7)
        {
            *first = [1, 2, 3, 4, 0x40, 0x41, 0x7f][rng.below(7) as usize];
        }
        pair.inject(client_addr(2), &junk);
        pair.clients[0].endpoint.handle_datagram(now, &mut junk);
    }
    assert_eq!(state(&mut pair), before);
    assert_eq!(pair.server.drops().total() - server, 20_000);
    assert_eq!(pair.clients[0].endpoint.drops().total() - client, 20_000);
    assert!(pair.clients[0].is_connected());
}

/// The head of a message that is one segment.
fn segment(number: u16) -> Head {
    Head::Segment { number, first: true, last: true }
}

/// Sends it three times; says after how many the connection was closed for it.
fn offences_until_closed(write: impl Fn(&mut BitWriter<'_>)) -> Option<u32> {
    let mut pair = Pair::new(1, server_config());
    let mut fiend = fiendish_client(&mut pair, &Table::standard());
    let conn = pair.live[0];
    for offence in 1..=3 {
        let packet = fiend.packet(&write);
        pair.inject(client_addr(0), &packet);
        pair.flush();
        assert_eq!(pair.server_drops(Drop::Malformed), u64::from(offence));
        if pair.told.contains(&Told::Disconnected(conn, DisconnectReason::Local(CloseReason::ProtocolError))) {
            return Some(offence);
        }
    }
    None
}

#[test]
fn acks_of_the_never_sent_close_after_the_third() {
    for largest in [0, 1, 2, 1000, 0x7fff, 0xffff] {
        let closed = offences_until_closed(|w| {
            let ack = Some(AckBlock { largest, delay: 0, mask: u32::MAX });
            Preamble { ack, tick: None }.write(w);
            write_control(w, Control::Ping);
        });
        assert_eq!(closed, Some(3), "{largest}");
    }
}

#[test]
fn whatever_else_breaks_the_rules_closes_after_the_third() {
    let start = |w: &mut BitWriter<'_>| Preamble::default().write(w);
    let snapshot = |w: &mut BitWriter<'_>| {
        start(w);
        write_snapshot_head(w);
        w.write(0xab00 >> 3, 13);
    };
    assert_eq!(offences_until_closed(snapshot), Some(3), "a snapshot from a client");
    let too_far = |w: &mut BitWriter<'_>| {
        start(w);
        assert!(write_message(w, SESSION, Kind::ReliableOrdered, segment(256), b"x"));
    };
    assert_eq!(offences_until_closed(too_far), Some(3), "beyond the reliable window");
    let too_long = |w: &mut BitWriter<'_>| {
        start(w);
        assert!(write_message(w, INPUT, Kind::Sequenced, Head::Whole, &[0; 129]));
    };
    assert_eq!(offences_until_closed(too_long), Some(3), "longer than the channel allows");
    let no_channel = |w: &mut BitWriter<'_>| {
        start(w);
        assert!(write_message(w, 9, Kind::Sequenced, Head::Whole, b"x"));
    };
    assert_eq!(offences_until_closed(no_channel), Some(3), "a channel that is not there");
}

#[test]
fn a_gap_that_is_never_filled_costs_no_more_than_the_quota() {
    let mut pair = Pair::new(1, server_config());
    let mut fiend = fiendish_client(&mut pair, &Table::standard());
    for number in 1..=16 {
        let packet = fiend.packet(|w| {
            Preamble::default().write(w);
            assert!(write_message(w, SESSION, Kind::ReliableOrdered, segment(number), &[0; 1024]));
        });
        pair.inject(client_addr(0), &packet);
    }
    pair.flush();
    assert_eq!((pair.server_drops(Drop::Malformed), pair.live.len()), (0, 1), "an honest sender may do this");
    for _ in 0..3 {
        let packet = fiend.packet(|w| {
            Preamble::default().write(w);
            assert!(write_message(w, SESSION, Kind::ReliableOrdered, segment(17), b"x"));
        });
        pair.inject(client_addr(0), &packet);
    }
    pair.flush();
    assert!(pair.live.is_empty() && pair.received(SESSION).is_empty());
}

#[test]
fn words_behind_a_farewell_in_one_packet_are_not_heard() {
    let mut pair = Pair::new(1, server_config());
    let mut fiend = fiendish_client(&mut pair, &Table::standard());
    let packet = fiend.packet(|w| {
        Preamble::default().write(w);
        write_control(w, Control::Close(CloseReason::Requested));
        assert!(write_message(w, SESSION, Kind::ReliableOrdered, segment(0), b"and another thing"));
    });
    pair.inject(client_addr(0), &packet);
    pair.flush();
    let by_peer = DisconnectReason::ByPeer(CloseReason::Requested);
    assert!(matches!(pair.told.last(), Some(Told::Disconnected(_, reason)) if *reason == by_peer));
}

#[test]
fn random_plaintexts_under_good_keys_never_panic_and_end_soon() {
    let mut rng = Rng::new(3);
    for _ in 0..300 {
        let mut pair = Pair::new(1, server_config());
        let mut fiend = fiendish_client(&mut pair, &Table::standard());
        let conn = pair.live[0];
        for _ in 0..200 {
            let mut plaintext = vec![0; 1 + rng.below(60) as usize];
            rng.fill(&mut plaintext);
            let packet = fiend.sealed(&plaintext);
            pair.inject(client_addr(0), &packet);
        }
        pair.flush();
        assert!(pair.told.iter().any(|told| matches!(told, Told::Disconnected(gone, _) if *gone == conn)));
    }
}

#[test]
fn a_low_order_key_gets_no_answer_and_no_connection() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    let hello = hello_of(&bundle, [0; 32], &Table::standard());
    pair.inject(client_addr(0), &hello);
    assert_eq!((pair.server.connections(), pair.server_drops(Drop::Malformed)), (0, 1));
    assert_eq!(pair.server.traffic().packets_out, 0);
}

/// A client and a server without manners that accepted it.
fn client_of_a_fiend(change: impl Fn(&mut Accepted)) -> (Pair, Fiend) {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.wire = Some(Vec::new());
    pair.net.block(client_addr(0), server_addr(), netcode::Time::NEVER);
    pair.flush();
    let hello = pair.wire.as_ref().unwrap()[0].bytes.clone();
    let hello = RawHello::read(&hello).unwrap();
    let ephemeral = pair.entropy.ephemeral().unwrap();
    let public = ephemeral.public();
    let secret = ephemeral.agree(&hello.fields().public).unwrap();
    let mut accepted = Accepted {
        conn: ConnId::new(0, 0, 0),
        tick: 5,
        server_time: 0,
        client_time: 0,
        rate: 20,
        max_datagram: MAX_DATAGRAM as u16,
        idle_ms: 10_000,
        channel_hash: hello.fields().channel_hash,
        schema_hash: hello.fields().schema_hash,
        down_cap: 0,
        up_cap: 0,
        features: Features::ALL,
    };
    change(&mut accepted);
    let (accept, keys) = accept_by(&hello, &bundle.psk, &secret, &public, &accepted);
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut accept.clone());
    pair.flush();
    (pair, Fiend { tx: PacketKey::from_secret(keys.aead, &keys.s2c), conn: None, pn: 0 })
}

fn accept_by(
    hello: &RawHello<'_>,
    psk: &Psk,
    secret: &SharedSecret,
    public: &[u8; 32],
    accepted: &Accepted,
) -> (Vec<u8>, SessionKeys) {
    let (accept, keys) = write_accept(hello, psk, secret, public, accepted);
    (accept.to_vec(), keys)
}

#[test]
fn a_client_checks_what_its_server_accepts() {
    use netcode::error::RefuseReason::{ChannelMismatch, SchemaMismatch};
    let outcome = |change: fn(&mut Accepted)| client_of_a_fiend(change).0.clients[0].disconnected();
    assert_eq!(outcome(|_| ()), None);
    assert_eq!(outcome(|accepted| accepted.channel_hash += 1), Some(DisconnectReason::Refused(ChannelMismatch)));
    assert_eq!(outcome(|accepted| accepted.schema_hash += 1), Some(DisconnectReason::Refused(SchemaMismatch)));
    let impossible: [fn(&mut Accepted); 5] = [
        |accepted| accepted.rate = 0,
        |accepted| accepted.idle_ms = 0,
        |accepted| accepted.tick = netcode::handshake::MAX_TICK,
        |accepted| accepted.max_datagram = 1199,
        |accepted| accepted.features = Features(8),
    ];
    for change in impossible {
        let (pair, _) = client_of_a_fiend(change);
        assert_eq!(pair.clients[0].endpoint.drops().get(Drop::Malformed), 1);
        assert!(!pair.clients[0].is_connected());
    }
}

#[test]
fn a_client_survives_a_server_that_sends_anything_under_good_keys() {
    let mut rng = Rng::new(4);
    for _ in 0..300 {
        let (mut pair, mut fiend) = client_of_a_fiend(|_| ());
        assert!(pair.clients[0].is_connected());
        for _ in 0..200 {
            let mut plaintext = vec![0; 1 + rng.below(60) as usize];
            rng.fill(&mut plaintext);
            let (now, mut packet) = (pair.now, fiend.sealed(&plaintext));
            pair.clients[0].endpoint.handle_datagram(now, &mut packet);
        }
        pair.flush();
        assert!(!pair.clients[0].is_connected());
    }
}

#[test]
fn a_forged_close_closes_nothing_and_a_genuine_one_does() {
    let (mut pair, mut fiend) = client_of_a_fiend(|_| ());
    let close = |w: &mut BitWriter<'_>| {
        Preamble::default().write(w);
        write_control(w, Control::Close(CloseReason::Kicked));
    };
    let genuine = fiend.packet(close);
    let now = pair.now;
    for byte in 3..genuine.len() {
        let mut forged = genuine.clone();
        forged[byte] ^= 0xff;
        pair.clients[0].endpoint.handle_datagram(now, &mut forged);
    }
    pair.flush();
    assert!(pair.clients[0].is_connected());
    pair.clients[0].endpoint.handle_datagram(now, &mut genuine.clone());
    pair.flush();
    let by_peer = DisconnectReason::ByPeer(CloseReason::Kicked);
    assert_eq!(pair.clients[0].heard.last(), Some(&Heard::Disconnected(by_peer)));
}

#[test]
fn tokens_of_no_worth_do_not_use_up_the_handshakes_of_the_moment() {
    let config = ServerConfig { retry_above: u32::MAX, max_handshakes: 5, ..server_config() };
    let mut pair = Pair::new(1, config);
    let mut forged = pair.bundle(&claims());
    forged.token.0[40] ^= 1;
    let garbage = hello_of(&forged, [9; 32], &Table::standard());
    for _ in 0..60 {
        pair.inject(client_addr(7), &garbage);
    }
    assert_eq!(pair.server_drops(Drop::Refused), 60);
    let bundle = pair.bundle(&claims());
    pair.inject(client_addr(8), &hello_of(&bundle, [9; 32], &Table::standard()));
    assert_eq!(pair.server.accepted(), 1, "a good token is still worked on");
    // But garbage is not opened without end either.
    for _ in 0..60 {
        pair.inject(client_addr(7), &garbage);
    }
    assert!(pair.server_drops(Drop::Overload) > 0);
}

#[test]
fn half_open_connections_have_a_limit_of_their_own() {
    let config = ServerConfig { retry_above: u32::MAX, max_half_open: 3, ..server_config() };
    let mut pair = Pair::new(1, config);
    for _ in 0..5 {
        let bundle = pair.bundle(&claims());
        pair.inject(client_addr(7), &hello_of(&bundle, [9; 32], &Table::standard()));
    }
    assert_eq!((pair.server.connections(), pair.server_drops(Drop::Overload)), (3, 2));
    assert_eq!(pair.single_use.len(), 3, "who is dropped can come back with the same token");
}

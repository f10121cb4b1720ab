//! The handshake: its cost, its refusals, and what a network or an attacker can do to it.

use std::time::Duration;

use netcode::Time;
use netcode::client::{ClientConfig, ClientState};
use netcode::crypto::{Aead, ClusterKey, Psk};
use netcode::emulator::LinkConfig;
use netcode::error::{DisconnectReason, RefuseReason};
use netcode::features::Features;
use netcode::handshake::{
    ACCEPT, ACCEPT_BYTES, HELLO, HELLO_BYTES, REFUSE, RETRY, RETRY_BYTES, Refusal, Versions, write_refuse,
};
use netcode::packet::MAX_DATAGRAM;
use netcode::stats::Drop;
use netcode::token::{ServerEntry, TokenClaims, issue};

use crate::pair::{Pair, SCHEMA_HASH, Told, UNIX_MS, claims, client_addr, server_addr, server_config};

const MS: Duration = Duration::from_millis(1);

fn config() -> ClientConfig {
    ClientConfig { features: Features::NONE, ..ClientConfig::new(SCHEMA_HASH) }
}

/// Sender (server or not), first byte and length of everything sent.
fn wire(pair: &Pair) -> Vec<(bool, u8, usize)> {
    let sent = pair.wire.as_ref().unwrap();
    sent.iter().map(|sent| (sent.from == server_addr(), sent.bytes[0], sent.bytes.len())).collect()
}

#[test]
fn a_handshake_takes_one_round_trip_and_two_datagrams() {
    for aead in [Aead::Aes128Gcm, Aead::ChaCha20Poly1305] {
        let mut pair = Pair::new(1, server_config());
        pair.net.set_default(LinkConfig { delay: 50 * MS, ..LinkConfig::default() });
        pair.wire = Some(Vec::new());
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, ClientConfig { aead, ..config() });
        pair.run_until(Time::from_millis(100));
        assert!(pair.clients[0].is_connected());
        // The client's first data packet: header 7, tag 16, and a ping in nine bits.
        assert_eq!(wire(&pair), [(false, HELLO, HELLO_BYTES), (true, ACCEPT, ACCEPT_BYTES), (false, 0x40, 25)]);
        assert!(pair.told.is_empty(), "the server has not heard from it yet");
        pair.run_until(Time::from_millis(150));
        assert!(matches!(pair.told[..], [Told::Connected(_, 12)]));
        let accepted = pair.clients[0].endpoint.accepted().unwrap();
        assert_eq!((accepted.rate, accepted.idle_ms, accepted.max_datagram), (20, 10_000, 1452));
        assert_eq!((accepted.client_time, accepted.server_time), (0, 50_000));
    }
}

#[test]
fn under_load_a_handshake_takes_two_round_trips_and_nothing_is_stored_before_the_second() {
    let mut config = server_config();
    config.retry_above = 0;
    let mut pair = Pair::new(1, config);
    pair.net.set_default(LinkConfig { delay: 50 * MS, ..LinkConfig::default() });
    pair.wire = Some(Vec::new());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, self::config());
    pair.run_until(Time::from_millis(149));
    assert_eq!((pair.server.connections(), pair.single_use.len(), pair.server.retries()), (0, 0, 1));
    pair.run_until(Time::from_millis(200));
    assert!(pair.clients[0].is_connected());
    let both = [(false, HELLO, HELLO_BYTES), (true, RETRY, RETRY_BYTES)];
    let after = [(false, HELLO, HELLO_BYTES), (true, ACCEPT, ACCEPT_BYTES), (false, 0x40, 25)];
    assert_eq!(wire(&pair), [&both[..], &after[..]].concat());
}

#[test]
fn a_cookie_serves_one_address_one_token_and_ten_seconds() {
    let mut config = server_config();
    config.retry_above = 0;
    let mut pair = Pair::new(1, config);
    pair.wire = Some(Vec::new());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, self::config());
    pair.net.set_default(LinkConfig { delay: 5 * MS, ..LinkConfig::default() });
    pair.net.block(server_addr(), client_addr(0), Time::from_millis(5001));
    pair.run_for(12 * MS);
    let hello = pair.wire.as_ref().unwrap()[0].bytes.clone();
    pair.flush();
    // The RETRY was lost, but here is what was in it.
    let retry = pair.wire.as_ref().unwrap().iter().find(|sent| sent.bytes[0] == RETRY).unwrap().bytes.clone();
    let mut with_cookie = hello;
    with_cookie[44..76].copy_from_slice(&retry[20..52]);
    pair.inject(client_addr(5), &with_cookie);
    assert_eq!((pair.server.retries(), pair.server.accepted()), (2, 0), "another address");
    let mut other_token = with_cookie.clone();
    other_token[108 + 12] ^= 1;
    pair.inject(client_addr(0), &other_token);
    assert_eq!((pair.server.retries(), pair.server.accepted()), (3, 0), "another token");
    let later = pair.now;
    pair.now = later + Duration::from_secs(10);
    pair.inject(client_addr(0), &with_cookie);
    assert_eq!((pair.server.retries(), pair.server.accepted()), (4, 0), "too late");
    pair.now = later;
    pair.inject(client_addr(0), &with_cookie);
    assert_eq!((pair.server.retries(), pair.server.accepted()), (4, 1));
}

#[test]
fn handshakes_beyond_the_limit_of_the_moment_are_dropped_and_succeed_later() {
    let mut config = server_config();
    config.retry_above = 5;
    config.max_handshakes = 10;
    let mut pair = Pair::new(1, config);
    pair.net.set_default(LinkConfig { delay: 5 * MS, ..LinkConfig::default() });
    for _ in 0..40 {
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, self::config());
    }
    pair.run_for(90 * MS);
    assert_eq!(pair.server.accepted(), 10);
    assert_eq!(pair.server_drops(Drop::Overload), 30);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.clients.iter().all(|client| client.is_connected()));
}

#[test]
fn the_limit_holds_also_where_cookies_would_be_asked_for_only_beyond_it() {
    let mut config = server_config();
    config.retry_above = 50;
    config.max_handshakes = 10;
    let mut pair = Pair::new(1, config);
    for _ in 0..40 {
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, self::config());
    }
    pair.run_for(90 * MS);
    assert_eq!((pair.server.accepted(), pair.server.retries()), (10, 0));
    assert_eq!(pair.server_drops(Drop::Overload), 30);
}

#[test]
fn a_handshake_survives_loss_reorder_and_duplicates() {
    let bad = LinkConfig {
        delay: 40 * MS,
        jitter: 30 * MS,
        loss: 0.3,
        duplicate: 0.2,
        reorder: 0.2,
        reorder_delay: 300 * MS,
        ..LinkConfig::default()
    };
    for seed in 0..300 {
        let mut config = server_config();
        // Every other seed asks for a cookie first.
        config.retry_above = if seed % 2 == 0 { 50 } else { 0 };
        let mut pair = Pair::new(seed, config);
        pair.net.set_default(bad);
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, self::config());
        let done = |pair: &Pair| pair.clients[0].is_connected() && pair.live.len() == 1;
        while pair.now < Time::from_millis(10_000) && !done(&pair) {
            pair.step(Time::from_millis(10_000));
            pair.flush();
        }
        assert!(done(&pair), "seed {seed}: {:?}", pair.clients[0].heard);
        pair.run_for(Duration::from_secs(3));
        assert!(done(&pair), "seed {seed}: {:?} {:?}", pair.clients[0].heard, pair.told);
        assert_eq!((pair.server.accepted(), pair.server.connections()), (1, 1), "seed {seed}");
    }
}

#[test]
fn each_wrong_token_is_refused_with_its_own_reason() {
    let refused = |reason| Some(DisconnectReason::Refused(reason));
    let mut pair = Pair::new(1, server_config());
    let with = |change: &dyn Fn(&mut TokenClaims)| {
        let mut changed = claims();
        change(&mut changed);
        changed
    };
    let cases: [(TokenClaims, RefuseReason); 3] = [
        (with(&|claims| claims.expires_ms = UNIX_MS), RefuseReason::TokenExpired),
        (with(&|claims| claims.group += 1), RefuseReason::WrongGroup),
        (
            with(&|claims| {
                claims.servers = [ServerEntry { id: 8, addr: server_addr() }].into_iter().collect();
            }),
            RefuseReason::WrongServer,
        ),
    ];
    for (claims, reason) in cases {
        let bundle = pair.bundle(&claims);
        assert_eq!(pair.outcome(&bundle), refused(reason));
    }
    for key in [ClusterKey { epoch: 1, key: Psk::new([9; 32]) }, ClusterKey { epoch: 2, key: Psk::new([0xc1; 32]) }] {
        let bundle = issue(&key, &claims(), &mut pair.entropy).unwrap();
        assert_eq!(pair.outcome(&bundle), refused(RefuseReason::TokenInvalid), "epoch {}", key.epoch);
    }
    assert_eq!((pair.single_use.len(), pair.server.connections()), (0, 0), "no refusal burns a token");
    let bundle = pair.bundle(&claims());
    assert_eq!(pair.outcome(&bundle), None);
    assert_eq!(pair.outcome(&bundle), refused(RefuseReason::TokenUsed));
    assert_eq!(pair.server.connections(), 1);
}

#[test]
fn a_token_is_not_taken_again_after_the_wall_clock_went_back() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    let id = bundle.token.id();
    let expires = bundle.expires_ms;
    assert!(pair.single_use.claim(&id, expires, UNIX_MS).is_ok());
    // Somebody else's claim after the expiry forgets the first one; then the clock is set back.
    assert!(pair.single_use.claim(&[9; 16], expires + 60_000, expires).is_ok());
    assert!(pair.single_use.claim(&id, expires, UNIX_MS).is_err());
}

#[test]
fn two_servers_that_share_the_set_of_used_tokens_take_a_token_once() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    let mut other = Pair::new(2, server_config());
    let cookie_key = netcode::crypto::CookieKey::new([1; 32]);
    other.server =
        netcode::server::ServerEndpoint::new(server_config(), cookie_key, std::sync::Arc::clone(&pair.single_use));
    let outcomes = [pair.outcome(&bundle), other.outcome(&bundle)];
    assert_eq!(outcomes, [None, Some(DisconnectReason::Refused(RefuseReason::TokenUsed))]);
}

#[test]
fn mismatches_and_a_full_server_have_their_own_reasons_and_burn_no_token() {
    let refused = |reason| Some(DisconnectReason::Refused(reason));
    let mut config = server_config();
    config.max_connections = 1;
    let mut pair = Pair::new(1, config);
    let bundle = pair.bundle(&claims());
    let mut channels = self::config();
    channels.channels.0[1].max_message += 1;
    let schema = ClientConfig::new(SCHEMA_HASH + 1);
    for (config, reason) in [(channels, RefuseReason::ChannelMismatch), (schema, RefuseReason::SchemaMismatch)] {
        let index = pair.add_client(&bundle, config);
        pair.run_for(20 * MS);
        assert_eq!(pair.clients[index].disconnected(), refused(reason));
    }
    assert_eq!(pair.outcome(&bundle), None);
    let second = pair.bundle(&claims());
    assert_eq!(pair.outcome(&second), refused(RefuseReason::ServerFull));
    assert_eq!(pair.single_use.len(), 1);
}

/// The server's answer to a HELLO of another version, of which nothing but that, protocol and MAC is known.
fn answer_to_version(version: u8) -> Vec<u8> {
    let mut pair = Pair::new(1, server_config());
    pair.wire = Some(Vec::new());
    let mut hello = vec![0xee; HELLO_BYTES];
    hello[..2].copy_from_slice(&[HELLO, version]);
    hello[4..12].copy_from_slice(b"ZONEWIRE");
    pair.inject(client_addr(0), &hello);
    pair.flush();
    assert_eq!(pair.server.connections(), 0);
    pair.wire.unwrap()[0].bytes.clone()
}

#[test]
fn another_version_is_refused_by_name_even_if_everything_else_changed() {
    for version in [0, 3, 4, 255] {
        let sent = answer_to_version(version);
        let refusal = Refusal { reason: RefuseReason::VersionMismatch, versions: Some(Versions::SPOKEN) };
        assert_eq!(sent[..], write_refuse(&[0xee; 16], refusal, None));
        assert_eq!(sent[..4], [REFUSE, 1, 2, 2]);
    }
}

#[test]
fn a_client_of_version_one_gets_an_answer_that_it_can_read() {
    // To it the two bytes are reserved, and it drops what sets them.
    assert_eq!(answer_to_version(1)[..4], [REFUSE, 1, 0, 0]);
}

/// A pair whose client has sent its HELLO, which was recorded and has not arrived.
fn waiting() -> (Pair, Vec<u8>) {
    let mut pair = Pair::new(1, server_config());
    pair.net.set_default(LinkConfig { delay: 20 * MS, ..LinkConfig::default() });
    pair.wire = Some(Vec::new());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, config());
    pair.flush();
    let hello = pair.wire.as_ref().unwrap()[0].bytes.clone();
    (pair, hello)
}

#[test]
fn a_forged_refusal_does_not_stop_a_handshake_that_is_then_accepted() {
    let (mut pair, hello) = waiting();
    let mac = hello[HELLO_BYTES - 16..].try_into().unwrap();
    let mut forged = write_refuse(&mac, RefuseReason::ServerFull, None);
    pair.clients[0].endpoint.handle_datagram(pair.now, &mut forged);
    pair.run_for(Duration::from_secs(3));
    assert!(pair.clients[0].is_connected());
}

#[test]
fn an_unproven_refusal_is_believed_after_a_second_of_silence() {
    let (mut pair, hello) = waiting();
    let mac = hello[HELLO_BYTES - 16..].try_into().unwrap();
    pair.net.block(server_addr(), client_addr(0), Time::NEVER);
    let mut forged = write_refuse(&mac, RefuseReason::ServerFull, None);
    pair.clients[0].endpoint.handle_datagram(pair.now, &mut forged);
    pair.run_for(999 * MS);
    assert_eq!(pair.clients[0].endpoint.state(), ClientState::Connecting);
    pair.run_for(2 * MS);
    assert_eq!(pair.clients[0].disconnected(), Some(DisconnectReason::Refused(RefuseReason::ServerFull)));
}

#[test]
fn a_forged_accept_does_not_burn_the_clients_key() {
    let (mut pair, hello) = waiting();
    let mut forged = [0x55; ACCEPT_BYTES];
    forged[..4].copy_from_slice(&[ACCEPT, 0, 0, 0]);
    forged[4..20].copy_from_slice(&hello[HELLO_BYTES - 16..]);
    pair.clients[0].endpoint.handle_datagram(pair.now, &mut forged);
    assert_eq!(pair.clients[0].endpoint.drops().get(Drop::BadMac), 1);
    pair.run_for(200 * MS);
    assert!(pair.clients[0].is_connected());
}

#[test]
fn forged_retries_cannot_keep_a_client_from_connecting_without_load() {
    let (mut pair, hello) = waiting();
    for _ in 0..100 {
        let mut forged = netcode::handshake::write_retry(&hello[HELLO_BYTES - 16..].try_into().unwrap(), &[7; 32]);
        pair.clients[0].endpoint.handle_datagram(pair.now, &mut forged);
        pair.flush();
    }
    let hellos = pair.wire.as_ref().unwrap().iter().filter(|sent| sent.bytes[0] == HELLO).count();
    assert_eq!(hellos, 1 + 8, "a client follows at most eight");
    pair.run_for(200 * MS);
    assert!(pair.clients[0].is_connected());
}

#[test]
fn a_sniffed_hello_that_comes_first_from_elsewhere_takes_nothing_from_its_owner() {
    let (mut pair, hello) = waiting();
    pair.inject(client_addr(66), &hello);
    pair.run_for(200 * MS);
    assert!(pair.clients[0].is_connected());
    assert_eq!((pair.server.accepted(), pair.live.len()), (1, 1));
    // The first answer went to the thief, who cannot use it; the second to the owner.
    let accepts = pair.wire.as_ref().unwrap().iter().filter(|sent| sent.bytes[0] == ACCEPT).count();
    assert_eq!(accepts, 2);
    // And the connection is at the owner's address.
    pair.say(b"mine");
    pair.run_for(100 * MS);
    assert_eq!(pair.received(netcode::channel::SESSION), [b"mine"]);
}

#[test]
fn a_sniffed_hello_that_comes_later_is_refused_and_changes_nothing() {
    let (mut pair, hello) = waiting();
    pair.run_for(200 * MS);
    let heard = pair.clients[0].heard.len();
    for from in [client_addr(66), client_addr(0)] {
        pair.inject(from, &hello);
        pair.run_for(200 * MS);
    }
    assert_eq!(pair.server_drops(Drop::Refused), 2);
    assert_eq!(pair.clients[0].endpoint.drops().get(Drop::NotExpected), 1, "the refusal that reached the owner");
    assert!(pair.clients[0].is_connected() && pair.clients[0].heard.len() == heard);
    assert_eq!(pair.server.connections(), 1);
}

#[test]
fn an_accepted_client_that_stays_silent_is_forgotten_and_nobody_is_told() {
    let (mut pair, hello) = waiting();
    pair.clients.clear();
    pair.inject(client_addr(0), &hello);
    pair.run_for(9900 * MS);
    assert_eq!(pair.server.connections(), 1);
    pair.run_for(200 * MS);
    assert_eq!((pair.server.connections(), pair.told.len()), (0, 0));
}

#[test]
fn a_half_open_connection_gets_no_data_and_no_farewell() {
    let (mut pair, hello) = waiting();
    pair.clients.clear();
    pair.inject(client_addr(0), &hello);
    pair.run_for(30 * MS);
    let sent = pair.wire.as_ref().unwrap().len();
    pair.run_for(3000 * MS);
    pair.server.close_all(pair.now, netcode::error::CloseReason::ServerShutdown);
    pair.run_for(3000 * MS);
    assert_eq!(pair.told, [], "its owner never knew of it");
    assert_eq!(pair.wire.as_ref().unwrap().len(), sent);
    assert_eq!(pair.server.connections(), 0);
}

#[test]
fn no_fuzzed_hello_gets_more_bytes_than_it_brought() {
    let mut rng = netcode::rng::Rng::new(5);
    let (mut pair, hello) = waiting();
    let traffic = |pair: &Pair| (pair.server.traffic().bytes_in, pair.server.traffic().bytes_out);
    for round in 0..3000 {
        let mut bent = hello.clone();
        for _ in 0..rng.below(4) {
            let at = rng.below(bent.len() as u64) as usize;
            bent[at] ^= 1 << rng.below(8);
        }
        if rng.chance(0.2) {
            bent.truncate(rng.below(1201) as usize);
        }
        if rng.chance(0.1) {
            bent.extend_from_slice(&[0; 100]);
        }
        let before = traffic(&pair);
        pair.inject(client_addr(rng.below(50) as usize), &bent);
        pair.server.handle_timeout(pair.now);
        let mut out = [0; MAX_DATAGRAM];
        while pair.server.poll_transmit_control(pair.now, &mut out).is_some() {}
        let after = traffic(&pair);
        assert!(after.1 - before.1 <= after.0 - before.0, "round {round}");
        pair.now = pair.now + MS;
    }
    assert!(pair.server.connections() <= 1, "one token, one connection");
}

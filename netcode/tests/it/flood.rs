//! HELLOs in masses, from one network or from everywhere, and the honest players in between.

use std::net::SocketAddr;
use std::time::Duration;

use netcode::client::ClientConfig;
use netcode::crypto::CookieKey;
use netcode::emulator::LinkConfig;
use netcode::handshake::{HELLO_BYTES, cookie};
use netcode::packet::MAX_DATAGRAM;
use netcode::rng::Rng;
use netcode::server::{PrefixLimits, Rate, ServerConfig};
use netcode::stats::Drop;

use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_config};

const MS: Duration = Duration::from_millis(1);
const DELAY: Duration = Duration::from_millis(20);

/// A pair with a delay each way, and the bytes of a HELLO that nobody has sent.
fn pair_and_hello(config: ServerConfig) -> (Pair, Vec<u8>) {
    let mut other = Pair::new(9, server_config());
    other.wire = Some(Vec::new());
    let bundle = other.bundle(&claims());
    other.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    other.flush();
    let hello = other.wire.unwrap().remove(0).bytes;
    let mut pair = Pair::new(1, config);
    pair.net.set_default(LinkConfig { delay: DELAY, ..LinkConfig::default() });
    (pair, hello)
}

/// A host of the hostile network 203.0.113.0/24.
fn hostile(rng: &mut Rng) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, rng.below(256) as u8], 1024 + rng.below(60_000) as u16))
}

/// Makes a HELLO another client's: its token's id, and with it the whole token, worth nothing.
fn reword(hello: &mut [u8], rng: &mut Rng) {
    rng.fill(&mut hello[120..136]);
    rng.fill(&mut hello[HELLO_BYTES - 16..]);
}

/// 10,000 HELLOs a second from the hostile network, as `make` gives them; after `before` of it a client at `from` begins
/// to connect. Says how long that takes.
fn time_to_connect(
    pair: &mut Pair,
    from: Option<SocketAddr>,
    before: Duration,
    mut make: impl FnMut(&mut Pair) -> (SocketAddr, Vec<u8>),
) -> Option<Duration> {
    let start = pair.now + before;
    let mut joined = None;
    for _ in 0..before.as_millis() as u64 + 2000 {
        for _ in 0..10 {
            let (from, hello) = make(pair);
            pair.inject(from, &hello);
        }
        if pair.now >= start && joined.is_none() {
            let bundle = pair.bundle(&claims());
            let index = pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
            pair.clients[index].addr = from.unwrap_or(pair.clients[index].addr);
            joined = Some(index);
        }
        pair.run_for(MS);
        if joined.is_some_and(|index| pair.clients[index].is_connected()) {
            return Some(pair.now.saturating_since(start));
        }
    }
    None
}

#[test]
fn a_network_that_floods_hellos_does_not_slow_another_one() {
    let (mut pair, mut hello) = pair_and_hello(server_config());
    let mut rng = Rng::new(3);
    let took = time_to_connect(&mut pair, None, Duration::from_secs(1), |_| {
        reword(&mut hello, &mut rng);
        (hostile(&mut rng), hello.clone())
    });
    assert_eq!(took, Some(2 * DELAY), "one round trip, no cookie");
    // Its burst and its rate were worked on, all else was answered by a RETRY.
    let worked_on = pair.server_drops(Drop::Refused);
    assert!((140..=160).contains(&worked_on), "{worked_on}");
    assert!(pair.server.retries() > 9000 && pair.server.connections() == 1);
}

#[test]
fn an_honest_player_of_the_flooding_network_gets_in_by_cookie() {
    let (mut pair, mut hello) = pair_and_hello(server_config());
    let mut rng = Rng::new(3);
    let honest = SocketAddr::from(([203, 0, 113, 77], 999));
    let took = time_to_connect(&mut pair, Some(honest), 1007 * MS, |_| {
        reword(&mut hello, &mut rng);
        (hostile(&mut rng), hello.clone())
    });
    assert_eq!(took, Some(4 * DELAY), "two round trips");
}

#[test]
fn a_network_that_floods_with_real_cookies_is_dropped_beyond_its_rate_and_costs_others_one_round_trip() {
    let (mut pair, mut hello) = pair_and_hello(server_config());
    reword(&mut hello, &mut Rng::new(4));
    let (from, key) = (SocketAddr::from(([203, 0, 113, 5], 4000)), CookieKey::new([0xc0; 32]));
    let token_id = hello[120..136].try_into().unwrap();
    let took = time_to_connect(&mut pair, None, Duration::from_secs(3), |pair| {
        // As RETRYs would have brought it.
        let seconds = (pair.now.as_micros() / 1_000_000) as u32;
        hello[44..76].copy_from_slice(&cookie(&key, seconds, from, &token_id));
        (from, hello.clone())
    });
    assert!(took.is_some_and(|took| took <= 4 * DELAY), "{took:?}");
    let (worked_on, dropped) = (pair.server_drops(Drop::Refused), pair.server_drops(Drop::PrefixLimited));
    // 100 and 800 at once, 50 and 400 a second for three seconds; the flood sent 30,000.
    assert!((2200..2400).contains(&worked_on) && dropped > 20_000, "{worked_on} {dropped}");
}

#[test]
fn hundreds_of_players_behind_one_gateway_get_in_at_once() {
    let (mut pair, _) = pair_and_hello(server_config());
    for _ in 0..500 {
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    }
    pair.run_for(Duration::from_millis(1500));
    let connected = pair.clients.iter().filter(|client| client.is_connected()).count();
    assert_eq!((connected, pair.server_drops(Drop::PrefixLimited)), (500, 0));
}

#[test]
fn players_beyond_their_networks_rate_come_in_as_it_allows() {
    let prefixes = PrefixLimits { unproven: Rate { per_s: 1, burst: 1 }, proven: Rate { per_s: 20, burst: 10 } };
    let (mut pair, _) = pair_and_hello(ServerConfig { prefixes, ..server_config() });
    for _ in 0..60 {
        let bundle = pair.bundle(&claims());
        pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    }
    let connected = |pair: &Pair| pair.clients.iter().filter(|client| client.is_connected()).count();
    pair.run_for(200 * MS);
    assert_eq!(connected(&pair), 11);
    pair.run_for(Duration::from_secs(6));
    assert_eq!(connected(&pair), 60);
    assert!(pair.server_drops(Drop::PrefixLimited) > 0);
}

#[test]
fn packets_of_connections_never_pass_the_buckets() {
    let prefixes = PrefixLimits { unproven: Rate { per_s: 1, burst: 1 }, proven: Rate { per_s: 0, burst: 0 } };
    let (mut pair, mut hello) = pair_and_hello(ServerConfig { prefixes, ..server_config() });
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.run_for(100 * MS);
    assert!(pair.clients[0].is_connected(), "the one HELLO of this second");
    let mut rng = Rng::new(5);
    for said in 0..200u8 {
        for _ in 0..50 {
            reword(&mut hello, &mut rng);
            pair.inject(client_addr(0), &hello);
        }
        pair.say(&[said]);
        pair.run_for(MS);
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.received(netcode::channel::SESSION).len(), 200);
    assert_eq!(pair.server_drops(Drop::PrefixLimited), 0, "nobody of this network has got a cookie");
}

#[test]
fn a_million_spoofed_hellos_leave_nothing_behind_and_get_less_than_they_brought() {
    let (mut pair, mut hello) = pair_and_hello(server_config());
    let mut rng = Rng::new(6);
    let mut out = [0; MAX_DATAGRAM];
    let (mut replies, mut most) = (0, 0);
    for round in 0..1000 {
        for _ in 0..1000 {
            reword(&mut hello, &mut rng);
            let address = rng.below(100_000) as u32;
            let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0000 + address * 167), 1 + round));
            pair.server.handle_datagram(pair.now, 0, from, &mut hello, &mut pair.entropy);
        }
        let mut sent = 0;
        while pair.server.poll_transmit_control(pair.now, &mut out).is_some() {
            sent += 1;
        }
        (replies, most) = (replies + sent, most.max(sent));
        let traffic = pair.server.traffic();
        assert!(traffic.bytes_out <= traffic.bytes_in / 20, "{traffic:?}");
        pair.now = pair.now + 10 * MS;
    }
    assert_eq!((pair.server.connections(), pair.server.half_open(), pair.single_use.len()), (0, 0, 0));
    assert!(pair.server.poll_event().is_none());
    assert_eq!(replies, 1_000_000);
    assert!(most <= 1024, "{most} answers waited");
    // 50 in each 100 ms had their tokens opened, for nothing.
    assert_eq!((pair.server.retries(), pair.server_drops(Drop::Refused)), (995_000, 5000));
}

#[test]
fn answers_that_nobody_fetches_do_not_pile_up() {
    let (mut pair, mut hello) = pair_and_hello(server_config());
    let mut rng = Rng::new(7);
    for _ in 0..5000 {
        reword(&mut hello, &mut rng);
        let from = hostile(&mut rng);
        pair.server.handle_datagram(pair.now, 0, from, &mut hello, &mut pair.entropy);
    }
    let mut out = [0; MAX_DATAGRAM];
    let waiting = std::iter::from_fn(|| pair.server.poll_transmit_control(pair.now, &mut out)).count();
    assert_eq!((waiting, pair.server_drops(Drop::Overload)), (1024, 5000 - 1024));
}

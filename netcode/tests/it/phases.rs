//! Key phases over bad networks, and the proof that no nonce is ever used twice.

use std::time::Duration;

use netcode::channel::Table;
use netcode::client::ClientConfig;
#[cfg(debug_assertions)]
use netcode::crypto::nonce_log;
use netcode::emulator::LinkConfig;
use netcode::keys::KeyLimits;
use netcode::server::ServerConfig;
use netcode::stats::Drop;

use crate::lab::{End, MS, ORDERED, SECOND, TERRIBLE};
use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_config};

/// New keys every hundred packets.
const HUNDRED: KeyLimits = KeyLimits { packets: 100, age: Duration::from_secs(3600) };

/// Every fault but corruption, which is the only one that may make a packet fail to open.
const DISORDER: LinkConfig = LinkConfig { corrupt: 0.0, loss: 0.2, ..TERRIBLE };

fn rolling(seed: u64, link: LinkConfig) -> Pair {
    let mut pair = Pair::lab_with(seed, link, Table::lab(), |server, client| {
        (server.key_limits, client.key_limits) = (HUNDRED, HUNDRED);
    });
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair
}

/// Runs for so many ticks, with an ordered message from each end every tenth.
fn run_ticks(pair: &mut Pair, ticks: u32) {
    for number in 0..ticks {
        if number % 10 == 0 {
            for end in End::BOTH {
                pair.send_from(end, ORDERED, &number.to_le_bytes()).unwrap();
            }
        }
        pair.run_for(50 * MS);
    }
}

#[test]
fn five_thousand_ticks_of_rolling_keys_over_a_bad_network_fail_no_packet() {
    let mut pair = rolling(1, DISORDER);
    run_ticks(&mut pair, 5000);
    let client = pair.clients[0].endpoint.key_generations();
    let server = pair.server.key_generations(pair.live[0]).unwrap();
    println!("client {client:?}, server {server:?} (sent, received)");
    assert!(client.0 > 10 && server.0 > 10);
    // A receiver learns of a roll with the first packet of the new phase.
    assert!(client.0 - server.1 <= 1 && server.0 - client.1 <= 1);
    for end in End::BOTH {
        assert_eq!(pair.drops(end, Drop::AuthFailed), 0, "{end:?}");
        let sent = (0..500u32).map(|number| (number * 10).to_le_bytes().to_vec());
        pair.run_for(5 * SECOND);
        assert!(pair.arrived(end, ORDERED).into_iter().eq(sent), "{end:?}");
    }
    pair.assert_honest();
}

#[test]
fn only_packets_that_outlive_their_key_fail_to_open() {
    // One in fifty is 3.5 s late: the key of the phase before is held for three.
    let link = LinkConfig { loss: 0.05, jitter: 5 * MS, reorder: 0.02, reorder_delay: 3500 * MS, ..DISORDER };
    let mut pair = rolling(2, LinkConfig { burst_enter: 0.0, duplicate: 0.0, ..link });
    run_ticks(&mut pair, 5000);
    let (late, failed) =
        (pair.net.stats().reordered, End::BOTH.map(|end| pair.drops(end, Drop::AuthFailed)).iter().sum::<u64>());
    println!("{failed} of {late} late packets failed");
    assert!(failed > 0 && failed <= late);
    let generations = pair.clients[0].endpoint.key_generations();
    assert!(generations.0 > 10 && generations.1 > 10);
    pair.assert_honest();
}

#[test]
fn keys_of_half_a_second_roll_by_age() {
    let age = KeyLimits { age: 500 * MS, ..KeyLimits::default() };
    let mut pair = Pair::lab_with(3, DISORDER, Table::lab(), |server, client| {
        (server.key_limits, client.key_limits) = (age, age);
    });
    pair.clients[0].plays = true;
    pair.start_ticks();
    run_ticks(&mut pair, 600);
    let (sent, received) = pair.clients[0].endpoint.key_generations();
    println!("30 s of keys of half a second: {sent} and {received} rolls");
    assert!((25..=60).contains(&sent) && (25..=60).contains(&received));
    assert_eq!(End::BOTH.map(|end| pair.drops(end, Drop::AuthFailed)), [0, 0]);
}

#[test]
fn no_nonce_repeats_over_restarts_replayed_tokens_rollovers_and_roams() {
    #[cfg(debug_assertions)]
    nonce_log::start();
    let server = || ServerConfig { key_limits: HUNDRED, ..server_config() };
    let mut pair = Pair::new(4, server());
    pair.net.set_default(DISORDER);
    // The same four tokens, shown to every life of the server.
    let bundles: Vec<_> = (0..4).map(|_| pair.bundle(&claims())).collect();
    let mut hellos: Vec<Vec<u8>> = Vec::new();
    pair.start_ticks();
    let (mut rolls, mut roams) = (0, 0);
    for life in 0..5u16 {
        pair.restart_server(server());
        pair.wire = Some(Vec::new());
        for bundle in &bundles {
            let config = ClientConfig { key_limits: HUNDRED, ..ClientConfig::new(SCHEMA_HASH) };
            let index = pair.add_client(bundle, config);
            pair.clients[index].plays = true;
        }
        // What was heard in an earlier life is heard again: in every other life before the genuine ones, which are then
        // refused, since their tokens are used.
        let first_come = life % 2 == 1;
        for hello in hellos.iter().filter(|_| first_come) {
            pair.inject(client_addr(9), hello);
            pair.inject(client_addr(9), hello);
        }
        pair.run_for(2 * SECOND);
        let wire = pair.wire.take().unwrap();
        hellos = wire.into_iter().filter(|sent| sent.bytes[0] == 1).map(|sent| sent.bytes).collect();
        for hello in &hellos {
            pair.inject(client_addr(8), hello);
        }
        let first = 4 * usize::from(life);
        for second in 0..9 {
            let port = 20_000 + life * 100 + second;
            pair.net.rebind(client_addr(first), std::net::SocketAddr::from(([100, 64, 0, 1], port)));
            pair.run_for(SECOND);
        }
        roams += pair.server.roams();
        let conns = pair.live.clone();
        rolls += conns.iter().filter_map(|conn| pair.server.key_generations(*conn)).map(|(sent, _)| sent).sum::<u64>();
        assert_eq!(conns.is_empty(), first_come);
    }
    assert!(rolls > 10 && roams > 20, "{rolls} rolls, {roams} roams, 5 lives");
    // In a release build there is no recorder.
    #[cfg(debug_assertions)]
    {
        let report = nonce_log::report();
        nonce_log::stop();
        println!("{report:?}; {rolls} rolls, {roams} roams, 5 lives");
        assert!(report.seals > 10_000 && report.keys > 80);
        assert_eq!((report.repeats, report.unrecorded), (0, 0));
    }
}

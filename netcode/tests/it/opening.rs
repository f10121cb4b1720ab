//! The first packets of a connection, and where they come from.

use std::net::SocketAddr;
use std::time::Duration;

use netcode::channel::SNAPSHOT;
use netcode::client::ClientConfig;
use netcode::emulator::LinkConfig;
use netcode::error::CloseReason;
use netcode::handshake::{ACCEPT_BYTES, HELLO, HELLO_BYTES};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::path::{AMPLIFICATION, CHALLENGE_BYTES};
use netcode::rng::Rng;
use netcode::server::ServerEvent;

use crate::lab::{GOOD, MS, SECOND};
use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_config};

const TICK: Duration = Duration::from_millis(50);

/// Somebody who reads and overtakes a client's packets.
fn copier() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 66], 666))
}

/// A server that has sent its ACCEPT, and the client's first data packet, which nobody has delivered.
fn opened() -> (Pair, Vec<u8>) {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    let hello = from_client(&mut pair).unwrap();
    to_server(&mut pair, client_addr(0), &hello);
    let (to, mut accept) = from_server(&mut pair).unwrap();
    assert_eq!(to, client_addr(0));
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut accept);
    let first = from_client(&mut pair).unwrap();
    (pair, first)
}

fn from_client(pair: &mut Pair) -> Option<Vec<u8>> {
    let mut out = [0; MAX_DATAGRAM];
    let now = pair.now;
    let endpoint = &mut pair.clients[0].endpoint;
    endpoint.handle_timeout(now);
    let len = endpoint.poll_transmit(now, &mut out)?;
    Some(out[..len].to_vec())
}

fn from_server(pair: &mut Pair) -> Option<(SocketAddr, Vec<u8>)> {
    let mut out = [0; MAX_DATAGRAM];
    pair.server.handle_timeout(pair.now);
    let (to, len) = pair.server.poll_transmit_control(pair.now, &mut out)?;
    Some((to, out[..len].to_vec()))
}

fn to_server(pair: &mut Pair, from: SocketAddr, datagram: &[u8]) {
    let unix_ms = pair.unix_ms();
    pair.server.handle_datagram(pair.now, unix_ms, from, &mut datagram.to_vec(), &mut pair.entropy);
}

/// Whether the server says that a client has connected.
fn admitted(pair: &mut Pair) -> Option<ConnId> {
    let mut admitted = None;
    while let Some(event) = pair.server.poll_event() {
        if let ServerEvent::Connected { conn, .. } = event {
            admitted = Some(conn);
        }
    }
    admitted
}

fn snapshot(pair: &mut Pair, conn: ConnId) -> Option<SocketAddr> {
    let mut out = [0; MAX_DATAGRAM];
    let sent = pair.server.transmit(pair.now, conn, &mut out, Some(&mut |w| w.write(0, 64)))?;
    Some(sent.to)
}

/// Runs the server for a second, with a snapshot in every tick; the bytes that went to the copier, and to where the ACCEPT
/// went.
fn play(pair: &mut Pair, conn: ConnId) -> (usize, usize) {
    let mut bytes = (0, 0);
    for _ in 0..20 {
        assert_eq!(snapshot(pair, conn), None, "no address has proved itself");
        while let Some((to, datagram)) = from_server(pair) {
            assert!(to == copier() || to == client_addr(0));
            *(if to == copier() { &mut bytes.0 } else { &mut bytes.1 }) += datagram.len();
        }
        pair.now = pair.now + TICK;
    }
    bytes
}

#[test]
fn the_first_packet_from_where_the_accept_went_opens_the_connection_to_that_address() {
    let (mut pair, first) = opened();
    to_server(&mut pair, client_addr(0), &first);
    let conn = admitted(&mut pair).unwrap();
    assert_eq!((pair.server.address(conn), pair.server.roams()), (Some(client_addr(0)), 0));
    assert_eq!(snapshot(&mut pair, conn), Some(client_addr(0)));
}

#[test]
fn a_copy_of_the_first_packet_that_arrives_first_draws_nothing_but_challenges() {
    let (mut pair, first) = opened();
    to_server(&mut pair, copier(), &first);
    let conn = admitted(&mut pair).expect("its keys are right");
    assert_eq!(pair.server.address(conn), None);
    let (bytes, others) = play(&mut pair, conn);
    assert!((1..=AMPLIFICATION * first.len()).contains(&bytes), "{bytes} bytes for {}", first.len());
    assert!((1..=AMPLIFICATION * HELLO_BYTES - ACCEPT_BYTES).contains(&others), "{others} bytes for a HELLO");
    // The original is a duplicate now. The next packet is not.
    to_server(&mut pair, client_addr(0), &first);
    assert_eq!(pair.server.address(conn), None);
    let next = from_client(&mut pair).unwrap();
    to_server(&mut pair, client_addr(0), &next);
    assert_eq!((pair.server.address(conn), pair.server.roams()), (Some(client_addr(0)), 0));
    assert_eq!(snapshot(&mut pair, conn), Some(client_addr(0)));
}

#[test]
fn a_client_that_moves_before_its_first_packet_answers_a_challenge_and_is_in() {
    let (mut pair, first) = opened();
    to_server(&mut pair, copier(), &first);
    let conn = admitted(&mut pair).unwrap();
    pair.now = pair.now + TICK;
    let mut challenges = core::iter::from_fn(|| from_server(&mut pair));
    // Which is the client itself this time.
    let (_, mut challenge) = challenges.find(|(to, _)| *to == copier()).unwrap();
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut challenge);
    let answer = from_client(&mut pair).unwrap();
    to_server(&mut pair, copier(), &answer);
    assert_eq!((pair.server.address(conn), pair.server.roams()), (Some(copier()), 1));
    assert_eq!(snapshot(&mut pair, conn), Some(copier()));
}

#[test]
fn who_copies_a_hello_after_and_the_first_packet_before_it_arrives_gets_no_more_than_challenges() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    let hello = from_client(&mut pair).unwrap();
    to_server(&mut pair, client_addr(0), &hello);
    to_server(&mut pair, copier(), &hello);
    let (_, mut accept) = from_server(&mut pair).unwrap();
    assert_eq!(from_server(&mut pair).unwrap().0, copier(), "where the last ACCEPT goes");
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut accept);
    let first = from_client(&mut pair).unwrap();
    to_server(&mut pair, copier(), &first);
    let conn = admitted(&mut pair).unwrap();
    let (bytes, _) = play(&mut pair, conn);
    assert!(bytes <= AMPLIFICATION * (HELLO_BYTES + first.len()) - ACCEPT_BYTES, "{bytes} bytes");
    // The client answers, and so has its address, though a copy of the answer comes first, and from elsewhere.
    let mut challenges = core::iter::from_fn(|| from_server(&mut pair));
    let (_, mut challenge) = challenges.find(|(to, _)| *to == client_addr(0)).unwrap();
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut challenge);
    let answer = from_client(&mut pair).unwrap();
    to_server(&mut pair, copier(), &answer);
    assert_eq!(pair.server.address(conn), Some(client_addr(0)));
    assert_eq!(snapshot(&mut pair, conn), Some(client_addr(0)));
}

#[test]
fn a_connection_without_an_address_ends_without_a_word() {
    let (mut pair, first) = opened();
    to_server(&mut pair, copier(), &first);
    let conn = admitted(&mut pair).unwrap();
    pair.server.close(pair.now, conn, CloseReason::Requested);
    assert!(pair.server.poll_event().is_some(), "its owner is told");
    assert_eq!(pair.server.connections(), 0);

    let (mut pair, first) = opened();
    to_server(&mut pair, copier(), &first);
    assert_eq!(pair.server.connections(), 1);
    pair.now = pair.now + server_config().idle_timeout;
    while from_server(&mut pair).is_some() {}
    assert_eq!(pair.server.connections(), 0);
}

/// A client that joins over such a network while somebody overtakes the HELLO, if `hello`, and this share of all its other
/// packets with copies. The time until its first snapshot.
fn join_among_copies(seed: u64, link: LinkConfig, hello: bool, share: f64) -> Duration {
    let (mut pair, mut rng) = (Pair::new(seed, server_config()), Rng::new(seed));
    pair.net.set_default(link);
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.start_ticks();
    let (mut received, mut sent) = (0, 0);
    while pair.clients[0].messages(SNAPSHOT).is_empty() {
        pair.wire = Some(Vec::new());
        assert!(pair.step(pair.now + SECOND) && pair.now.as_micros() < 9_000_000, "seed {seed}: kept out");
        for datagram in pair.wire.take().unwrap() {
            let copied = if datagram.bytes[0] == HELLO { hello } else { rng.chance(share) };
            if datagram.from == client_addr(0) && copied {
                received += datagram.bytes.len();
                pair.inject(copier(), &datagram.bytes);
            } else if datagram.to == copier() {
                let len = datagram.bytes.len();
                assert!(len <= CHALLENGE_BYTES || len == ACCEPT_BYTES, "seed {seed}: more than a challenge");
                sent += len;
            }
        }
        assert!(sent <= AMPLIFICATION * received, "seed {seed}: {sent} bytes for {received}");
    }
    assert_eq!(pair.server.address(pair.live[0]), Some(client_addr(0)));
    pair.now.saturating_since(netcode::Time::ZERO)
}

/// Half of the seeds are in within the first time, all within the second.
fn assert_let_in(link: LinkConfig, hello: bool, share: f64, [median, worst]: [Duration; 2]) {
    let mut times: Vec<_> = (0..100).map(|seed| join_among_copies(seed, link, hello, share)).collect();
    times.sort();
    println!("loss {}, copies {share}, HELLO {hello}: median {:?}, worst {:?}", link.loss, times[50], times[99]);
    assert!(times[50] <= median && times[99] <= worst);
}

#[test]
fn who_copies_packets_of_a_client_from_the_hello_on_does_not_keep_it_out() {
    let link = LinkConfig { delay: 40 * MS, jitter: 20 * MS, loss: 0.02, ..GOOD };
    for share in [0.1, 0.5, 0.9, 1.0] {
        for hello in [false, true] {
            assert_let_in(link, hello, share, [400 * MS, SECOND]);
        }
    }
}

#[test]
fn a_copied_hello_costs_a_client_one_challenge_and_its_loss_is_made_up_for() {
    let link = |loss: f64| LinkConfig { delay: 40 * MS, jitter: 20 * MS, loss, ..GOOD };
    assert_let_in(link(0.0), true, 0.0, [360 * MS, 400 * MS]);
    assert_let_in(link(0.05), true, 0.0, [400 * MS, 2 * SECOND]);
    assert_let_in(link(0.3), true, 0.0, [800 * MS, 6 * SECOND]);
}

#[test]
fn challenges_to_those_who_copied_a_hello_are_bounded_by_what_each_of_them_sent() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    let hello = from_client(&mut pair).unwrap();
    let lairs: Vec<_> = (0..10).map(|number| SocketAddr::from(([192, 0, 2, number], 666))).collect();
    to_server(&mut pair, client_addr(0), &hello);
    lairs.iter().for_each(|lair| to_server(&mut pair, *lair, &hello));
    let (_, mut accept) = from_server(&mut pair).unwrap();
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut accept);
    let first = from_client(&mut pair).unwrap();
    to_server(&mut pair, client_addr(0), &first);
    let conn = admitted(&mut pair).unwrap();
    let mut sent = std::collections::BTreeMap::<_, usize>::from([(client_addr(0), accept.len())]);
    for _ in 0..100 {
        assert_eq!(snapshot(&mut pair, conn), None, "no address has proved itself");
        while let Some((to, datagram)) = from_server(&mut pair) {
            *sent.entry(to).or_default() += datagram.len();
        }
        pair.now = pair.now + TICK;
    }
    // ACCEPTs to all, challenges to a few.
    assert_eq!(sent.len(), 11);
    assert!(sent.values().all(|bytes| *bytes <= AMPLIFICATION * HELLO_BYTES), "{sent:?}");
    assert_eq!(sent.values().filter(|bytes| **bytes > ACCEPT_BYTES).count(), 3, "{sent:?}");
}

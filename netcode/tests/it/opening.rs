//! The first packets of a connection, and where they come from.

use std::net::SocketAddr;
use std::time::Duration;

use netcode::client::ClientConfig;
use netcode::error::CloseReason;
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::path::AMPLIFICATION;
use netcode::server::ServerEvent;

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

/// Runs the server for a second, with a snapshot in every tick; the bytes that went to the copier.
fn play(pair: &mut Pair, conn: ConnId) -> usize {
    let mut bytes = 0;
    for _ in 0..20 {
        assert_eq!(snapshot(pair, conn), None, "no address has proved itself");
        while let Some((to, datagram)) = from_server(pair) {
            assert_eq!(to, copier());
            bytes += datagram.len();
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
    let bytes = play(&mut pair, conn);
    assert!((1..=AMPLIFICATION * first.len()).contains(&bytes), "{bytes} bytes for {}", first.len());
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
    let (to, mut challenge) = from_server(&mut pair).unwrap();
    assert_eq!(to, copier(), "which is the client itself this time");
    let now = pair.now;
    pair.clients[0].endpoint.handle_datagram(now, &mut challenge);
    let answer = from_client(&mut pair).unwrap();
    to_server(&mut pair, copier(), &answer);
    assert_eq!((pair.server.address(conn), pair.server.roams()), (Some(copier()), 1));
    assert_eq!(snapshot(&mut pair, conn), Some(copier()));
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

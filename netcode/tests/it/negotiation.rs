//! What the two ends agree on: version, features, longest datagrams; and who tries to make them agree on less.

use std::time::Duration;

use netcode::Time;
use netcode::client::{ClientConfig, ClientState};
use netcode::crypto::{Aead, Entropy, handshake_mac_key};
use netcode::emulator::LinkConfig;
use netcode::error::{DisconnectReason, RefuseReason};
use netcode::features::Features;
use netcode::handshake::{ACCEPT, HELLO_BYTES, Hello, REFUSE, RawAccept, RawHello, Refusal, read_refuse, write_refuse};
use netcode::server::ServerConfig;
use netcode::stats::Drop;
use netcode::token::ConnectBundle;
use netcode::version::{VERSION, Versions};

use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_addr, server_config};

const MS: Duration = Duration::from_millis(1);
const TWO_AND_THREE: Versions = Versions { lowest: 2, highest: 3 };
const MISMATCH: RefuseReason = RefuseReason::VersionMismatch;

/// What client and server agree on.
fn agreed(offered: Features, taken: Features) -> Features {
    let mut pair = Pair::new(1, ServerConfig { features: taken, ..server_config() });
    let bundle = pair.bundle(&claims());
    let config = ClientConfig { features: offered, ..ClientConfig::new(SCHEMA_HASH) };
    pair.add_client(&bundle, config);
    pair.run_for(50 * MS);
    assert!(pair.clients[0].is_connected() && pair.live.len() == 1, "features keep nobody out");
    pair.clients[0].endpoint.accepted().unwrap().features
}

#[test]
fn features_are_those_that_both_ends_have_and_unknown_ones_disturb_nobody() {
    let all = Features::ALL;
    assert_eq!(agreed(all, all), all);
    assert_eq!(agreed(Features::CLOCK, all), Features::CLOCK);
    assert_eq!(agreed(all, Features::MTU), Features::MTU);
    assert_eq!(agreed(Features::CLOCK, Features::MTU), Features::NONE);
    assert_eq!(agreed(Features::NONE, all), Features::NONE);
    assert_eq!(agreed(Features(u64::MAX), all), all, "a client from the future");
    assert_eq!(agreed(all, Features(u64::MAX)), all, "a server from the future");
}

#[test]
fn each_end_names_the_longest_datagram_that_it_takes() {
    for (client, server, told) in [(1452, 1452, [1452, 1452]), (1300, 1400, [1300, 1400]), (9, 0, [1200, 1200])] {
        let mut pair = Pair::new(1, ServerConfig { max_datagram: server, ..server_config() });
        pair.wire = Some(Vec::new());
        let bundle = pair.bundle(&claims());
        let config = ClientConfig { max_datagram: client, ..ClientConfig::new(SCHEMA_HASH) };
        pair.add_client(&bundle, config);
        pair.run_for(50 * MS);
        let hello = &pair.wire.as_ref().unwrap()[0].bytes;
        let longest = u16::from_le_bytes(hello[400..402].try_into().unwrap());
        assert_eq!([longest, pair.clients[0].endpoint.accepted().unwrap().max_datagram], told);
    }
}

#[test]
fn a_client_that_takes_longer_datagrams_than_we_ever_send_is_let_in() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    let (hello, _) = hello_by_hand(&mut pair, &bundle, VERSION, |hello| hello.max_datagram = u16::MAX);
    assert_eq!(answer(&mut pair, &hello)[0], ACCEPT);
}

/// A HELLO of that version from a client that speaks up to version 3. Of version 3 no more is known than what all
/// versions have in common.
fn hello_by_hand(
    pair: &mut Pair,
    bundle: &ConnectBundle,
    version: u8,
    change: impl FnOnce(&mut Hello),
) -> ([u8; HELLO_BYTES], netcode::crypto::Ephemeral) {
    let ephemeral = pair.entropy.ephemeral().unwrap();
    let mut hello = Hello {
        highest_version: 3,
        aead: Aead::Aes128Gcm,
        client_time: 0,
        channel_hash: netcode::channel::Table::standard().hash(),
        schema_hash: SCHEMA_HASH,
        features: Features::ALL,
        cookie: [0; 32],
        public: ephemeral.public(),
        token: bundle.token.clone(),
        max_datagram: 1452,
    };
    change(&mut hello);
    let mut bytes = [0; HELLO_BYTES];
    let _ = hello.write(&mut bytes, &handshake_mac_key(&bundle.psk));
    bytes[1] = version;
    (bytes, ephemeral)
}

/// The server's answer to a datagram.
fn answer(pair: &mut Pair, datagram: &[u8]) -> Vec<u8> {
    pair.wire = Some(Vec::new());
    pair.inject(client_addr(0), datagram);
    pair.flush();
    let mut sent = pair.wire.take().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].from, server_addr());
    sent.remove(0).bytes
}

fn refusal(hello: &[u8; HELLO_BYTES], bundle: &ConnectBundle, answer: &[u8]) -> (Refusal, bool) {
    let mac = hello[HELLO_BYTES - 16..].try_into().unwrap();
    read_refuse(answer, &mac, &handshake_mac_key(&bundle.psk)).unwrap()
}

#[test]
fn a_client_that_speaks_version_three_comes_down_to_this_server_and_gets_in() {
    let mut pair = Pair::new(1, server_config());
    let bundle = pair.bundle(&claims());
    let (third, _) = hello_by_hand(&mut pair, &bundle, 3, |_| ());
    let refused = answer(&mut pair, &third);
    assert_eq!(refused[..4], [REFUSE, 1, 2, 2]);
    let (said, proven) = refusal(&third, &bundle, &refused);
    let server = said.versions.unwrap();
    assert!(!proven && said.reason == MISMATCH && server == Versions::SPOKEN);

    let version = TWO_AND_THREE.fallback(server, 3).unwrap();
    let (second, ephemeral) = hello_by_hand(&mut pair, &bundle, version, |_| ());
    let accept = answer(&mut pair, &second);
    let hello = RawHello::read(&second).unwrap();
    let raw = RawAccept::read(&accept, &hello.mac(), &handshake_mac_key(&bundle.psk)).unwrap();
    let secret = ephemeral.agree(&raw.public()).unwrap();
    let (accepted, _) = raw.open(&hello, &bundle.psk, &secret).unwrap();
    assert_eq!((accepted.features, pair.server.half_open()), (Features::TRANSPORT, 1));
}

#[test]
fn a_client_pushed_down_by_a_forged_refusal_is_told_so_with_proof_and_keeps_its_token() {
    // A server of tomorrow; its word for it is enough here.
    let mut pair = Pair::new(1, ServerConfig { versions: TWO_AND_THREE, ..server_config() });
    let bundle = pair.bundle(&claims());
    let (hello, _) = hello_by_hand(&mut pair, &bundle, 2, |_| ());
    let (said, proven) = refusal(&hello, &bundle, &answer(&mut pair, &hello));
    assert!(proven);
    assert_eq!(said, Refusal { reason: MISMATCH, versions: Some(TWO_AND_THREE) });
    assert_eq!((pair.server.connections(), pair.single_use.len(), pair.server_drops(Drop::Refused)), (0, 0, 1));
    // Who cannot make the MAC learns nothing, and cannot hide the highest version either.
    for (at, version) in [(3, 2), (1184, 0)] {
        let mut forged = hello;
        forged[at] = if at == 3 { version } else { !forged[at] };
        pair.inject(client_addr(0), &forged);
    }
    assert_eq!((pair.server_drops(Drop::BadMac), pair.single_use.len()), (2, 0));
    // A client of today, which speaks nothing higher, gets in there.
    assert_eq!(pair.outcome(&bundle), None);
}

/// A client whose HELLO gets nowhere, and that HELLO.
fn unanswered() -> (Pair, ConnectBundle, [u8; HELLO_BYTES]) {
    let mut pair = Pair::new(1, server_config());
    pair.net.set_default(LinkConfig { delay: 20 * MS, ..LinkConfig::default() });
    pair.net.block(client_addr(0), server_addr(), Time::NEVER);
    pair.wire = Some(Vec::new());
    let bundle = pair.bundle(&claims());
    pair.add_client(&bundle, ClientConfig::new(SCHEMA_HASH));
    pair.flush();
    let hello = pair.wire.as_ref().unwrap()[0].bytes.clone().try_into().unwrap();
    (pair, bundle, hello)
}

#[test]
fn a_client_of_this_version_alone_fails_with_the_reason_whatever_the_server_speaks() {
    let later = Versions { lowest: 3, highest: 9 };
    for (versions, proven) in [(None, false), (Some(later), false), (Some(TWO_AND_THREE), true), (None, true)] {
        let (mut pair, bundle, hello) = unanswered();
        let key = proven.then(|| handshake_mac_key(&bundle.psk));
        let mac = hello[HELLO_BYTES - 16..].try_into().unwrap();
        let mut refuse = write_refuse(&mac, Refusal { reason: MISMATCH, versions }, key.as_ref());
        let now = pair.now;
        pair.clients[0].endpoint.handle_datagram(now, &mut refuse);
        if !proven {
            pair.run_for(999 * MS);
            assert_eq!(pair.clients[0].endpoint.state(), ClientState::Connecting, "it may be forged");
        }
        pair.run_for(2 * MS);
        assert_eq!(pair.clients[0].disconnected(), Some(DisconnectReason::Refused(MISMATCH)));
    }
}

#[test]
fn version_bytes_that_make_no_sense_are_dropped() {
    let cases = [
        (RefuseReason::ServerFull, [2, 2]),
        (RefuseReason::TokenUsed, [0, 1]),
        (MISMATCH, [3, 2]),
        (MISMATCH, [0, 2]),
        (MISMATCH, [2, 0]),
    ];
    for (reason, versions) in cases {
        let (mut pair, _, hello) = unanswered();
        let mut refuse = write_refuse(&hello[HELLO_BYTES - 16..].try_into().unwrap(), reason, None);
        refuse[2..4].copy_from_slice(&versions);
        let now = pair.now;
        pair.clients[0].endpoint.handle_datagram(now, &mut refuse);
        assert_eq!(pair.clients[0].endpoint.drops().get(Drop::ReservedBits), 1, "{reason:?} {versions:?}");
    }
}

//! Packet protection, and what a HELLO costs: refused by cookie, refused by its MAC, accepted.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use benches::BenchEntropy;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use netcode::Time;
use netcode::channel::Table;
use netcode::client::{ClientConfig, ClientEndpoint, ClientState};
use netcode::crypto::{
    Aead, ClusterKey, CookieKey, Entropy, PacketKey, Psk, SessionKeys, SharedSecret, handshake_mac_key,
};
use netcode::features::Features;
use netcode::handshake::{HELLO_BYTES, Hello, RawHello, VERSION};
use netcode::packet::MAX_DATAGRAM;
use netcode::server::{PrefixLimits, ServerConfig, ServerEndpoint, SingleUse};
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue, open};

const UNIX_MS: u64 = 1_700_000_000_000;
const SCHEMA_HASH: u64 = 1;

fn client_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 5000))
}

fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }
}

fn bundle(entropy: &mut BenchEntropy) -> ConnectBundle {
    let claims = TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms: UNIX_MS + 60_000,
        account: 1,
        character: 2,
        group: 0,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: 1, addr: SocketAddr::from(([10, 0, 0, 1], 7777)) }].into_iter().collect(),
    };
    issue(&cluster_key(), &claims, entropy).expect("the entropy is seeded")
}

/// A server that works on every HELLO, or asks all for a cookie.
fn server(asks: bool) -> ServerEndpoint {
    let mut config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, 20);
    config.retry_above = if asks { 0 } else { u32::MAX };
    config.max_handshakes = u32::MAX;
    config.prefixes = PrefixLimits::UNLIMITED;
    ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::new(SingleUse::new(1 << 20)))
}

fn hello(entropy: &mut BenchEntropy) -> ([u8; HELLO_BYTES], ConnectBundle) {
    let bundle = bundle(entropy);
    let mut public = [0; 32];
    public[0] = 9;
    let hello = Hello {
        highest_version: VERSION,
        aead: Aead::Aes128Gcm,
        client_time: 0,
        channel_hash: Table::standard().hash(),
        schema_hash: SCHEMA_HASH,
        features: Features::ALL,
        cookie: [0; 32],
        public,
        token: bundle.token.clone(),
        max_datagram: MAX_DATAGRAM as u16,
    };
    let mut bytes = [0; HELLO_BYTES];
    let _ = hello.write(&mut bytes, &handshake_mac_key(&bundle.psk));
    (bytes, bundle)
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet_200_bytes");
    group.throughput(Throughput::Bytes(200));
    for (name, aead) in [("aes_128_gcm", Aead::Aes128Gcm), ("chacha20_poly1305", Aead::ChaCha20Poly1305)] {
        let keys = SessionKeys::derive(aead, &SharedSecret::new([1; 32]), &Psk::new([2; 32]), &[3; 32]);
        let (c2s, s2c) = (PacketKey::from_secret(aead, &keys.c2s), PacketKey::from_secret(aead, &keys.s2c));
        let mut buffer = [7; 200];
        let mut pn = 0;
        group.bench_function(format!("{name}/seal"), |b| {
            b.iter(|| {
                pn += 1;
                s2c.seal(pn, &[0x40, 1, 2], black_box(&mut buffer))
            });
        });
        let mut sealed = vec![7; 200];
        let tag = c2s.seal(1, &[0x40], &mut sealed).expect("a short plaintext");
        sealed.extend_from_slice(&tag);
        let mut copy = sealed.clone();
        group.bench_function(format!("{name}/open"), |b| {
            b.iter(|| {
                copy.copy_from_slice(&sealed);
                c2s.open(1, &[0x40], black_box(&mut copy)).is_ok()
            });
        });
    }
    group.finish();
}

fn hellos(c: &mut Criterion) {
    let mut entropy = BenchEntropy::new(1);
    let (bytes, bundle) = hello(&mut entropy);
    let mut group = c.benchmark_group("hello");
    group.bench_function("verify", |b| {
        // What an authentic HELLO costs before the key agreement.
        b.iter(|| {
            let raw = RawHello::read(black_box(&bytes)).expect("a good HELLO");
            let (_, psk) = open(&[cluster_key()], &raw.fields().token).expect("a good token");
            assert!(raw.verify(&handshake_mac_key(&psk)));
        });
    });
    let mut asking = server(true);
    let mut out = [0; MAX_DATAGRAM];
    group.bench_function("refused_by_cookie", |b| {
        b.iter(|| {
            asking.handle_datagram(Time::ZERO, UNIX_MS, client_addr(), &mut bytes.clone(), &mut entropy);
            assert!(asking.poll_transmit_control(Time::ZERO, &mut out).is_some_and(|(_, len)| len < 100));
        });
    });
    let mut forged = bytes;
    forged[HELLO_BYTES - 1] ^= 1;
    let mut open_server = server(false);
    group.bench_function("refused_by_mac", |b| {
        b.iter(|| {
            open_server.handle_datagram(Time::ZERO, UNIX_MS, client_addr(), &mut forged.clone(), &mut entropy);
            assert!(open_server.poll_transmit_control(Time::ZERO, &mut out).is_none());
        });
    });
    group.bench_function("accepted", |b| {
        // The server's whole share of a handshake.
        b.iter_batched(
            || (server(false), bytes),
            |(mut server, mut bytes)| {
                server.handle_datagram(Time::ZERO, UNIX_MS, client_addr(), &mut bytes, &mut entropy);
                assert!(server.poll_transmit_control(Time::ZERO, &mut out).is_some_and(|(_, len)| len > 100));
                server
            },
            BatchSize::SmallInput,
        );
    });
    let mut entropy = BenchEntropy::new(2);
    group.bench_function("handshake_both_ends", |b| {
        b.iter_batched(
            || server(false),
            |mut server| {
                let ephemeral = entropy.ephemeral().expect("the system's entropy works");
                let config = ClientConfig::new(SCHEMA_HASH);
                let mut client = ClientEndpoint::connect(config, &bundle, ephemeral, Time::ZERO).expect("a good table");
                let len = client.poll_transmit(Time::ZERO, &mut out).expect("a HELLO");
                server.handle_datagram(Time::ZERO, UNIX_MS, client_addr(), &mut out[..len], &mut entropy);
                let (_, len) = server.poll_transmit_control(Time::ZERO, &mut out).expect("an ACCEPT");
                client.handle_datagram(Time::ZERO, &mut out[..len]);
                assert_eq!(client.state(), ClientState::Connected);
                (server, client)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, packets, hellos);
criterion_main!(benches);

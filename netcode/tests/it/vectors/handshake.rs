//! A token and two whole handshakes, one for each cipher, with every value on the way.

use netcode::channel::{INPUT, SESSION, Table};
use netcode::crypto::ClusterKey;
use netcode::crypto::{
    self, Aead, CookieKey, PacketKey, Psk, Secret, SessionKeys, SharedSecret, handshake_mac_key, hkdf_sha256,
};
use netcode::error::{CloseReason, RefuseReason};
use netcode::features::Features;
use netcode::frame::Control;
use netcode::handshake::{
    Accepted, HELLO_BYTES, Hello, RawAccept, RawHello, Refusal, VERSION, Versions, cookie, read_refuse, read_retry,
    write_accept, write_refuse, write_retry,
};
use netcode::packet::{ConnId, Direction, Header};
use netcode::stats::Drop;
use netcode::token::{self, ServerEntry, Token, TokenClaims};
use serde_json::{Value, json};
use x25519_dalek::{PublicKey, StaticSecret};

use super::packets::{Content, plaintext, segment, whole};
use super::schema::SCHEMA;
use super::{big, hex};

const PSK: [u8; 32] = [0x5c; 32];
const COOKIE_KEY: [u8; 32] = [0xc0; 32];
const FROM: &str = "192.0.2.33:40123";

fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 3, key: Psk::new(core::array::from_fn(|i| i as u8)) }
}

fn token_id() -> [u8; 16] {
    core::array::from_fn(|i| 0xa0 + i as u8)
}

fn claims() -> TokenClaims {
    let servers = [(7, "192.0.2.1:7777"), (8, "[2001:db8::1]:7778")];
    TokenClaims {
        issued_ms: 1_763_800_000_000,
        expires_ms: 1_763_800_060_000,
        account: 0x1122_3344_5566_7788,
        character: 42,
        group: 5,
        down_cap: 100_000,
        up_cap: 0,
        servers: servers.into_iter().map(|(id, addr)| ServerEntry { id, addr: addr.parse().unwrap() }).collect(),
    }
}

fn sealed_token() -> Token {
    token::seal(&cluster_key(), &claims(), &token_id(), &Psk::new(PSK))
}

pub fn token() -> Value {
    let (claims, token) = (claims(), sealed_token());
    assert_eq!(token::open(&[cluster_key()], &token), Ok((claims.clone(), Psk::new(PSK))));
    let mut okm = [0; 44];
    hkdf_sha256(&token_id(), &[cluster_key().key.as_bytes(), &[]], b"zonewire v1 token", &mut okm);
    let server = |server: &ServerEntry| json!({ "id": server.id, "addr": server.addr.to_string() });
    json!({
        "cluster_key": hex(cluster_key().key.as_bytes()),
        "epoch": cluster_key().epoch,
        "id": hex(token_id()),
        "psk": hex(PSK),
        "issued_ms": big(claims.issued_ms),
        "expires_ms": big(claims.expires_ms),
        "account": big(claims.account),
        "character": big(claims.character),
        "group": claims.group,
        "down_cap": claims.down_cap,
        "up_cap": claims.up_cap,
        "servers": claims.servers.iter().map(server).collect::<Vec<_>>(),
        "key": hex(&okm[..32]),
        "nonce": hex(&okm[32..]),
        "bytes": hex(token.0),
    })
}

/// Everything that one handshake makes.
struct Handshake {
    aead: Aead,
    secrets: [StaticSecret; 2],
    shared: SharedSecret,
    hello: [u8; HELLO_BYTES],
    accepted: Accepted,
    accept: Vec<u8>,
    keys: SessionKeys,
}

impl Handshake {
    fn new(aead: Aead) -> Self {
        let secrets = [0x11, 0x22].map(|byte| StaticSecret::from([byte; 32]));
        let publics = secrets.each_ref().map(|secret| *PublicKey::from(secret).as_bytes());
        let shared = SharedSecret::new(*secrets[0].diffie_hellman(&PublicKey::from(publics[1])).as_bytes());
        let hello = Hello {
            highest_version: VERSION,
            aead,
            client_time: 1_234_567_890,
            channel_hash: Table::standard().hash(),
            schema_hash: SCHEMA.hash(),
            features: Features::ALL,
            cookie: [0; 32],
            public: publics[0],
            token: sealed_token(),
            max_datagram: 1452,
        };
        let psk = Psk::new(PSK);
        let mut bytes = [0; HELLO_BYTES];
        let _ = hello.write(&mut bytes, &handshake_mac_key(&psk));
        let accepted = Accepted {
            conn: ConnId::new(2, 300, 7),
            tick: 70_000,
            server_time: 3_500_000_000,
            client_time: hello.client_time,
            rate: 20,
            max_datagram: 1452,
            idle_ms: 10_000,
            channel_hash: hello.channel_hash,
            schema_hash: hello.schema_hash,
            down_cap: 100_000,
            up_cap: 0,
            features: Features::ALL,
        };
        let raw = RawHello::read(&bytes).unwrap();
        assert!(raw.verify(&handshake_mac_key(&psk)));
        let (accept, keys) = write_accept(&raw, &psk, &shared, &publics[1], &accepted);
        Self { aead, secrets, shared, hello: bytes, accepted, accept: accept.to_vec(), keys }
    }

    fn raw_hello(&self) -> RawHello<'_> {
        RawHello::read(&self.hello).unwrap()
    }

    fn transcript(&self) -> [u8; 32] {
        let (hello, zero) = (&self.hello, [0; 32]);
        crypto::sha256(&[&hello[..44], &zero, &hello[76..], &self.accept[..52]])
    }

    fn okm(&self, info: &str) -> Value {
        let mut okm = vec![0; self.aead.key_bytes() + 12];
        hkdf_sha256(&self.transcript(), &[self.shared.as_bytes(), &PSK], info.as_bytes(), &mut okm);
        let (key, iv) = okm.split_at(self.aead.key_bytes());
        json!({ "info": info, "key": hex(key), "iv": hex(iv) })
    }

    /// A direction's secret, and key and IV of a phase.
    fn phase(&self, to_server: bool, phase: u64) -> Value {
        let secret = self.secret(to_server, phase);
        let mut okm = vec![0; self.aead.key_bytes() + 12];
        hkdf_sha256(&[], &[secret.as_bytes(), &[]], b"zonewire v2 key", &mut okm);
        let (key, iv) = okm.split_at(self.aead.key_bytes());
        json!({ "secret": hex(secret.as_bytes()), "key": hex(key), "iv": hex(iv) })
    }

    /// The sealed parameters, opened as the client does it.
    fn parameters(&self) -> Vec<u8> {
        let raw = RawAccept::read(&self.accept, &self.raw_hello().mac(), &handshake_mac_key(&Psk::new(PSK))).unwrap();
        let (accepted, _) = raw.open(&self.raw_hello(), &Psk::new(PSK), &self.shared).unwrap();
        assert_eq!(accepted, self.accepted);
        self.keys.handshake.open(0, &self.accept[..52], &mut self.accept[52..136].to_vec()).unwrap().to_vec()
    }

    fn packet(&self, name: &str, to_server: bool, pn: u64, content: &[Content]) -> Value {
        self.packet_in_phase(name, to_server, 0, pn, content)
    }

    fn secret(&self, to_server: bool, phase: u64) -> Secret {
        let first = if to_server { &self.keys.c2s } else { &self.keys.s2c };
        (0..phase).fold(first.clone(), |secret, _| secret.next())
    }

    fn packet_in_phase(&self, name: &str, to_server: bool, phase: u64, pn: u64, content: &[Content]) -> Value {
        let plaintext = plaintext(content);
        let key = PacketKey::from_secret(self.aead, &self.secret(to_server, phase));
        let mut header = [0; 7];
        let len = Header::write(&mut header, to_server.then_some(self.accepted.conn), pn, phase % 2 == 1);
        let mut sealed = plaintext.clone();
        let tag = key.seal(pn, &header[..len], &mut sealed).unwrap();
        let datagram = [&header[..len], &sealed, &tag].concat();
        json!({
            "name": name,
            "to": if to_server { "server" } else { "client" },
            "number": big(pn),
            "plaintext": hex(plaintext),
            "datagram": hex(datagram),
        })
    }

    fn packets(&self) -> Vec<Value> {
        let ack = Content::Ack { largest: 4, delay: 20, mask: u32::MAX };
        let late = Content::Ack { largest: 65_530, delay: 255, mask: 0xffff_fffa };
        let input = whole(INPUT, vec![0x00, 0x1f, 0x20, 0x03]);
        let session = segment(SESSION, 65_537, b"session".to_vec());
        let ping = Content::Control(Control::Ping);
        vec![
            self.packet("the client's first", true, 0, std::slice::from_ref(&ping)),
            self.packet(
                "the server's first, an ack",
                false,
                0,
                &[Content::Ack { largest: 0, delay: 1, mask: u32::MAX }, Content::Tick(70_001)],
            ),
            self.packet("an input", true, 1, &[ack.clone(), Content::Tick(70_005), input]),
            self.packet(
                "a snapshot behind a message",
                false,
                300,
                &[ack, Content::Tick(70_300), session, Content::Snapshot(vec![0x02, 0x00])],
            ),
            self.packet("past the wrap of the number", false, 65_536 + 5, &[late, Content::Tick(70_301), ping]),
            self.packet("a close", true, 0x1_2345_6789, &[Content::Control(Control::Close(CloseReason::Requested))]),
        ]
    }

    fn value(&self) -> Value {
        let psk = Psk::new(PSK);
        let mac_key = handshake_mac_key(&psk);
        let mac = self.raw_hello().mac();
        let cookie = cookie(&CookieKey::new(COOKIE_KEY), 3500, FROM.parse().unwrap(), &token_id());
        let retry = write_retry(&mac, &cookie);
        assert_eq!(read_retry(&retry), Ok((mac, cookie)));
        let mut with_cookie = self.hello;
        with_cookie[44..76].copy_from_slice(&cookie);
        assert!(RawHello::read(&with_cookie).unwrap().verify(&mac_key));
        let proven = write_refuse(&mac, RefuseReason::TokenUsed, Some(&mac_key));
        let unproven = write_refuse(&mac, RefuseReason::TokenInvalid, None);
        assert_eq!(read_refuse(&proven, &mac, &mac_key), Ok((RefuseReason::TokenUsed.into(), true)));
        assert_eq!(read_refuse(&unproven, &mac, &mac_key), Ok((RefuseReason::TokenInvalid.into(), false)));
        let mismatch =
            Refusal { reason: RefuseReason::VersionMismatch, versions: Some(Versions { lowest: 2, highest: 3 }) };
        let version = write_refuse(&mac, mismatch, Some(&mac_key));
        assert_eq!(read_refuse(&version, &mac, &mac_key), Ok((mismatch, true)));
        json!({
            "cipher": self.aead.wire(),
            "client_private": hex(self.secrets[0].to_bytes()),
            "client_public": hex(PublicKey::from(&self.secrets[0]).as_bytes()),
            "server_private": hex(self.secrets[1].to_bytes()),
            "server_public": hex(PublicKey::from(&self.secrets[1]).as_bytes()),
            "shared": hex(self.shared.as_bytes()),
            "psk": hex(PSK),
            "client_time": big(self.accepted.client_time),
            "mac_key": hex(mac_key),
            "mac": hex(mac),
            "hello": hex(self.hello),
            "cookie": { "key": hex(COOKIE_KEY), "seconds": 3500, "from": FROM, "bytes": hex(cookie) },
            "retry": hex(retry),
            "hello_with_cookie": hex(with_cookie),
            "refuse_proven": { "reason": RefuseReason::TokenUsed.wire(), "bytes": hex(proven) },
            "refuse_version": { "lowest": 2, "highest": 3, "bytes": hex(version) },
            "refuse_unproven": { "reason": RefuseReason::TokenInvalid.wire(), "bytes": hex(unproven) },
            "accept": hex(&self.accept),
            "transcript": hex(self.transcript()),
            "keys": {
                "handshake": self.okm("zonewire v2 handshake"),
                "c2s": self.phase(true, 0),
                "s2c": self.phase(false, 0),
            },
            "parameters": hex(self.parameters()),
            "accepted": {
                "connection": self.accepted.conn.0,
                "tick": big(self.accepted.tick),
                "server_time": big(self.accepted.server_time),
                "rate": self.accepted.rate,
                "longest_packet": self.accepted.max_datagram,
                "features": big(self.accepted.features.0),
                "idle_ms": self.accepted.idle_ms,
                "down_cap": self.accepted.down_cap,
                "up_cap": self.accepted.up_cap,
            },
            "packets": self.packets(),
        })
    }
}

/// Phases 0 to 2 of each direction after the handshakes, with a packet sealed in each.
pub fn key_phases() -> Value {
    let mut out = Vec::new();
    for handshake in [Aead::Aes128Gcm, Aead::ChaCha20Poly1305].map(Handshake::new) {
        for (to_server, phase) in [(true, 0), (true, 1), (true, 2), (false, 0), (false, 1), (false, 2)] {
            let mut value = handshake.phase(to_server, phase);
            value["cipher"] = handshake.aead.wire().into();
            value["direction"] = if to_server { "c2s" } else { "s2c" }.into();
            value["phase"] = phase.into();
            let ping = Content::Control(Control::Ping);
            value["packet"] = handshake.packet_in_phase("a ping", to_server, phase, 1000 * phase + 7, &[ping]);
            out.push(value);
        }
    }
    out.into()
}

pub fn handshakes() -> Value {
    [Aead::Aes128Gcm, Aead::ChaCha20Poly1305].map(|aead| Handshake::new(aead).value()).into_iter().collect()
}

/// Answers to the first handshake's HELLO that its client drops, with the cause.
pub fn dropped_by_client() -> Value {
    let handshake = Handshake::new(Aead::Aes128Gcm);
    let (mac, mac_key) = (handshake.raw_hello().mac(), handshake_mac_key(&Psk::new(PSK)));
    let refuse = write_refuse(&mac, RefuseReason::ServerFull, Some(&mac_key)).to_vec();
    let retry = write_retry(&mac, &[9; 32]).to_vec();
    let accept = &handshake.accept;
    let mut out = Vec::new();
    let mut add = |name: &str, mut bytes: Vec<u8>, change: &dyn Fn(&mut Vec<u8>)| {
        change(&mut bytes);
        let cause = cause(&bytes, &mac, &mac_key, &handshake);
        out.push(json!({ "name": name, "datagram": hex(&bytes), "cause": cause.name() }));
    };
    add("an ACCEPT cut short", accept.clone(), &|bytes| bytes.truncate(151));
    add("an ACCEPT with a reserved byte", accept.clone(), &|bytes| bytes[2] = 1);
    add("an ACCEPT of another attempt", accept.clone(), &|bytes| bytes[4] ^= 1);
    add("an ACCEPT with another key", accept.clone(), &|bytes| bytes[20] ^= 1);
    add("an ACCEPT with other parameters", accept.clone(), &|bytes| bytes[60] ^= 1);
    add("a RETRY that is too long", retry.clone(), &|bytes| bytes.push(0));
    add("a RETRY with a reserved byte", retry.clone(), &|bytes| bytes[3] = 1);
    add("a RETRY of another attempt", retry.clone(), &|bytes| bytes[19] ^= 1);
    add("a REFUSE cut short", refuse.clone(), &|bytes| bytes.truncate(20));
    add("a REFUSE of an unknown reason", refuse.clone(), &|bytes| bytes[1] = 11);
    add("a REFUSE with a reserved byte", refuse.clone(), &|bytes| bytes[2] = 1);
    let mismatch = write_refuse(&mac, RefuseReason::VersionMismatch, None).to_vec();
    add("a REFUSE whose lowest version is above its highest", mismatch, &|bytes| bytes[2..4].copy_from_slice(&[3, 2]));
    add("a REFUSE of another attempt", refuse.clone(), &|bytes| bytes[8] ^= 1);
    add("a data packet", vec![0x40; 40], &|_| {});
    add("a HELLO", handshake.hello.to_vec(), &|_| {});
    add("an unknown type", vec![0x80; 40], &|_| {});
    out.into()
}

fn cause(bytes: &[u8], mac: &[u8; 16], mac_key: &[u8; 32], handshake: &Handshake) -> Drop {
    match bytes[0] {
        2 => read_retry(bytes).map_or_else(
            |drop| drop,
            |(other, _)| {
                assert_ne!(other, *mac);
                Drop::NotExpected
            },
        ),
        3 => RawAccept::read(bytes, mac, mac_key)
            .and_then(|raw| raw.open(&handshake.raw_hello(), &Psk::new(PSK), &handshake.shared))
            .unwrap_err(),
        4 => read_refuse(bytes, mac, mac_key).unwrap_err(),
        // P-4: a client without a connection reads no more than the header.
        _ => Header::read(bytes, Direction::ToClient).err().unwrap_or(Drop::NotExpected),
    }
}

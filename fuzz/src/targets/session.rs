//! An admitted client that seals whatever it likes, against the server's side of its connection.
//!
//! One connection per input, on its own keys. Each number is taken at most once, from the right address only; drops are
//! counted once; messages keep their channels' limits; a snapshot is settled once, and as acknowledged only if an ack
//! could name it; everything the server sends opens under the next number and parses; after the end there is silence and
//! the slot comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcode::Time;
use netcode::channel::SESSION;
use netcode::crypto::{Aead, Entropy, PacketKey, SessionKeys};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::features::Features;
use netcode::frame::{Parsed, write_control};
use netcode::handshake::{HELLO_BYTES, Hello, RawAccept, RawHello, VERSION};
use netcode::packet::{AckBlock, C2S_HEADER, ConnId, Direction, Header, MAX_DATAGRAM, S2C_HEADER};
use netcode::server::{ServerEndpoint, ServerEvent, SingleUse};
use netcode::stats::Drop;

use super::fixture::{self, FuzzEntropy};
use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Taken => "a packet taken",
    Duplicate => "a duplicate",
    TooOld => "a packet too old to tell",
    AuthFailed => "a packet sealed with other keys",
    Malformed => "a malformed packet",
    WrongAddress => "another address",
    UnknownConnection => "another connection's id",
    Acked => "a snapshot acknowledged",
    Lost => "a snapshot lost",
    Delivered => "a reliable message delivered",
    ProtocolError => "closed for a protocol error",
    ByPeer => "closed by the client",
    IdleTimeout => "an idle timeout",
    Closed => "closed by the server",
    QueueFull => "a queue full of messages that nobody acknowledges",
}

const MAX_STEPS: usize = 64;

/// The target.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::admitted(program.u8());
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        let op = program.u8();
        match op % 8 {
            0 | 1 => {
                let plaintext = program.sized(MAX_DATAGRAM - C2S_HEADER - 16).to_vec();
                world.packet(op >> 3, &plaintext);
            }
            2 => {
                let plaintext = built(&mut program, world.next_from_server);
                world.packet(op >> 3, &plaintext);
            }
            3 => world.again(usize::from(program.u8()), op & 0x80 != 0),
            4 => world.snapshot(usize::from(program.u8())),
            5 => world.say(usize::from(program.u16()) % 1025),
            6 => world.wait(u64::from(program.u16()) >> (op >> 5)),
            _ if op & 0xf8 == 0xf8 => world.close(),
            _ => world.jump(u64::from(program.u16())),
        }
    }
    world.end();
}

/// A plaintext in which every frame is well-formed: the input chooses acks, numbers and lengths.
fn built(program: &mut Program<'_>, next_from_server: u64) -> Vec<u8> {
    let (flags, back, mask) = (program.u8(), program.u8(), program.u32());
    let largest = next_from_server.wrapping_sub(1).wrapping_sub(u64::from(back >> 2)) as u16;
    let ack = (flags & 1 != 0).then_some(AckBlock { largest, delay: back, mask });
    fixture::plaintext(ack, |w| {
        for _ in 0..flags >> 1 & 7 {
            let (what, number) = (program.u8(), program.u8());
            let body = [number; 64];
            let len = usize::from(what >> 2);
            match what & 3 {
                0 => write_control(w, netcode::frame::Control::Ping),
                1 => _ = fixture::write_input(w, &body[..len]),
                _ => _ = fixture::write_segment(w, u16::from(number), &body[..len]),
            }
        }
    })
}

struct World {
    server: ServerEndpoint,
    entropy: FuzzEntropy,
    keys: SessionKeys,
    stranger: SessionKeys,
    conn: ConnId,
    now: Time,
    next_pn: u64,
    largest: u64,
    sent: Vec<(u64, Vec<u8>)>,
    next_from_server: u64,
    /// The packets with snapshots whose fate is open.
    snapshots: BTreeMap<u64, ()>,
    scratch: Parsed,
    over: Option<DisconnectReason>,
    closing: bool,
}

impl World {
    /// A server with one client, which has proved its address.
    fn admitted(choice: u8) -> Self {
        let (mut entropy, mut config) = (FuzzEntropy::new(), fixture::server_config());
        config.worker = choice >> 1 & 63;
        let mut server = ServerEndpoint::new(config, fixture::cookie_key(), Arc::new(SingleUse::new(4)));
        let now = Time::from_millis(1);
        let ephemeral = entropy.ephemeral().expect("the system's entropy works");
        let aead = if choice & 1 == 0 { Aead::Aes128Gcm } else { Aead::ChaCha20Poly1305 };
        let hello = Hello {
            highest_version: VERSION,
            aead,
            client_time: 0,
            channel_hash: fixture::CHANNELS.1,
            schema_hash: fixture::SCHEMA_HASH,
            features: Features::ALL,
            cookie: [0; 32],
            public: ephemeral.public(),
            token: fixture::bundle().token,
            max_datagram: MAX_DATAGRAM as u16,
        };
        let mac_key = netcode::crypto::handshake_mac_key(&fixture::psk());
        let mut bytes = [0; HELLO_BYTES];
        let mac = hello.write(&mut bytes, &mac_key);
        server.handle_datagram(now, fixture::UNIX_MS, fixture::client_addr(0), &mut bytes.clone(), &mut entropy);
        let mut out = [0; MAX_DATAGRAM];
        let (_, len) = server.poll_transmit_control(now, &mut out).expect("an ACCEPT");
        let accept = RawAccept::read(&out[..len], &mac, &mac_key).expect("a genuine ACCEPT");
        let secret = ephemeral.agree(&accept.public()).expect("a good key");
        let hello = RawHello::read(&bytes).expect("our own HELLO");
        let (accepted, keys) = accept.open(&hello, &fixture::psk(), &secret).expect("a genuine ACCEPT");
        let stranger = SessionKeys::derive(aead, &secret, &fixture::psk(), &[0; 32]);
        let mut world = Self {
            server,
            entropy,
            keys,
            stranger,
            conn: accepted.conn,
            now,
            next_pn: 0,
            largest: 0,
            sent: Vec::new(),
            next_from_server: 0,
            snapshots: BTreeMap::new(),
            scratch: Parsed::default(),
            over: None,
            closing: false,
        };
        assert!(world.server.transmit(now, world.conn, &mut out, None).is_none(), "data for an unproven address");
        let ping = fixture::plaintext(None, |w| write_control(w, netcode::frame::Control::Ping));
        let datagram = world.seal(&ping, false);
        world.server.handle_datagram(
            now,
            fixture::UNIX_MS,
            fixture::client_addr(0),
            &mut datagram.clone(),
            &mut world.entropy,
        );
        world.sent.push((0, datagram));
        world.next_pn = 1;
        assert!(matches!(world.server.poll_event(), Some(ServerEvent::Connected { conn, .. }) if conn == world.conn));
        world.settle();
        world
    }

    fn seal(&mut self, plaintext: &[u8], strange: bool) -> Vec<u8> {
        let pn = self.next_pn;
        let mut datagram = vec![0; C2S_HEADER];
        Header::write(&mut datagram, Some(self.conn), pn, false);
        datagram.extend_from_slice(plaintext);
        let keys = if strange { &self.stranger } else { &self.keys };
        let (aad, plaintext) = datagram.split_at_mut(C2S_HEADER);
        let tag = PacketKey::from_secret(keys.aead, &keys.c2s).seal(pn, aad, plaintext).expect("a short plaintext");
        datagram.extend_from_slice(&tag);
        datagram
    }

    /// Hands a datagram to the server; returns the kind of drop it counted, if any.
    fn hand_over(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Drop> {
        let before = *self.server.drops();
        let unix_ms = fixture::UNIX_MS + self.now.as_micros() / 1000;
        self.server.handle_datagram(self.now, unix_ms, from, &mut datagram.to_vec(), &mut self.entropy);
        let after = *self.server.drops();
        assert!(after.total() - before.total() <= 1);
        Drop::ALL.into_iter().find(|kind| after.get(*kind) > before.get(*kind))
    }

    /// A packet of the next number, as its flags say: 1 sealed with other keys, 2 from another address, 4 with another
    /// connection's id.
    fn packet(&mut self, flags: u8, plaintext: &[u8]) {
        // Nothing shorter is a packet.
        if plaintext.is_empty() {
            return;
        }
        let mut datagram = self.seal(plaintext, flags & 1 != 0);
        let mut from = fixture::client_addr(0);
        let expected = if flags & 4 != 0 {
            datagram[2] ^= 1 + (flags & 1);
            Some(Drop::UnknownConnection)
        } else if self.server.connections() == 0 {
            Some(Drop::UnknownConnection)
        } else if flags & 2 != 0 {
            from = fixture::client_addr(1);
            Some(Drop::WrongAddress)
        } else if flags & 1 != 0 {
            Some(Drop::AuthFailed)
        } else {
            None
        };
        let dropped = self.hand_over(from, &datagram);
        if let Some(expected) = expected {
            note(expected);
            assert_eq!(dropped, Some(expected));
            assert!(self.server.poll_event().is_none(), "what is dropped changes nothing");
            return;
        }
        match dropped {
            None => reach(Feature::Taken),
            Some(Drop::Malformed) => reach(Feature::Malformed),
            // A snapshot from a client goes by its own rule.
            Some(Drop::LateSnapshot) => {}
            Some(other) => panic!("an authentic packet of a new number is dropped as {other:?}"),
        }
        // A closed connection takes no notice of numbers any more.
        if self.over.is_none() {
            self.largest = self.next_pn;
            self.sent.push((self.next_pn, datagram));
        }
        self.next_pn += 1;
        self.settle();
    }

    /// A packet that was sent before.
    fn again(&mut self, which: usize, elsewhere: bool) {
        let (pn, datagram) = self.sent[which % self.sent.len()].clone();
        let from = fixture::client_addr(u8::from(elsewhere));
        // From so long ago, its 16 bits mean another number by now.
        let ambiguous = self.largest + 1 - pn >= 1 << 15;
        let expected = if self.server.connections() == 0 {
            Drop::UnknownConnection
        } else if elsewhere {
            Drop::WrongAddress
        } else if self.largest - pn >= netcode::replay::WINDOW {
            Drop::TooOld
        } else {
            Drop::Duplicate
        };
        note(expected);
        let dropped = self.hand_over(from, &datagram);
        if ambiguous {
            assert!(dropped.is_some(), "packet {pn} is taken again, after {}", self.largest);
        } else {
            assert_eq!(dropped, Some(expected), "packet {pn} again, after {}", self.largest);
        }
        assert!(self.server.poll_event().is_none(), "a replay changes nothing");
    }

    /// The client leaves numbers out; not so many that 16 bits could mean another one.
    fn jump(&mut self, by: u64) {
        self.next_pn = (self.next_pn + by % 3000).min(self.largest + 30_000);
    }

    fn snapshot(&mut self, len: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let mut write =
            |w: &mut netcode::bits::BitWriter<'_>| w.write_bytes(&[0x5a; 300][..len.clamp(1, w.remaining_bits() / 8)]);
        let sent = self.server.transmit(self.now, self.conn, &mut out, Some(&mut write));
        if let Some(sent) = sent {
            assert_eq!((sent.to, sent.pn), (fixture::client_addr(0), self.next_from_server));
            self.open(&mut out[..sent.len]);
            if matches!(self.scratch.frames.last(), Some(netcode::frame::Frame::Snapshot { .. })) {
                self.snapshots.insert(sent.pn, ());
            }
        }
        self.settle();
    }

    fn say(&mut self, len: usize) {
        let result = self.server.send(self.now, self.conn, SESSION, &[7; 1100][..len]);
        match result {
            Err(netcode::error::SendError::Full { free }) => {
                reach(Feature::QueueFull);
                assert!(free < len || free == 0);
            }
            Err(netcode::error::SendError::TooLong { limit }) => assert!(len > limit),
            Err(netcode::error::SendError::NotConnected) => assert!(self.over.is_some()),
            Err(error) => panic!("{error}"),
            Ok(()) => assert!(self.over.is_none(), "a closed connection takes messages"),
        }
        self.settle();
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.server.handle_timeout(self.now);
        self.settle();
    }

    fn close(&mut self) {
        self.server.close(self.now, self.conn, CloseReason::Kicked);
        self.closing = true;
        self.settle();
    }

    /// Everything that the server sends opens under the next number, and parses.
    fn open(&mut self, datagram: &mut [u8]) {
        assert!(datagram.len() <= MAX_DATAGRAM);
        let header = Header::read(datagram, Direction::ToClient).expect("a data packet");
        assert_eq!(u64::from(header.pn), self.next_from_server & 0xffff, "numbers follow one another");
        let (aad, sealed) = datagram.split_at_mut(S2C_HEADER);
        let plaintext = PacketKey::from_secret(self.keys.aead, &self.keys.s2c)
            .open(self.next_from_server, aad, sealed)
            .expect("sealed under the session's key");
        assert_eq!(
            self.scratch.parse(plaintext, &fixture::CHANNELS.0, Features::ALL),
            Ok(()),
            "the server breaks the protocol"
        );
        self.next_from_server += 1;
    }

    fn settle(&mut self) {
        self.drain();
        let mut out = [0; MAX_DATAGRAM];
        for sent in 0.. {
            let Some((to, len)) = self.server.poll_transmit_control(self.now, &mut out) else { break };
            assert!(to == fixture::client_addr(0) && sent < 64, "packets without end, or elsewhere");
            self.open(&mut out[..len]);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.server.poll_event() {
            assert!(self.over.is_none(), "{event:?} after the end");
            match event {
                ServerEvent::Connected { .. } => panic!("connected twice"),
                ServerEvent::Message { conn, channel, bytes, .. } => {
                    let limits = fixture::CHANNELS.0.get(channel).expect("a channel of the table");
                    assert!(conn == self.conn && bytes.len() <= limits.max_message as usize);
                    if channel == SESSION {
                        reach(Feature::Delivered);
                    }
                    bucket(u64::from(channel) << 8 | bytes.len().min(64) as u64);
                }
                ServerEvent::Block { .. } => panic!("the standard table has no blocks"),
                ServerEvent::Acked { pn, .. } => {
                    reach(Feature::Acked);
                    assert!(self.snapshots.remove(&pn).is_some(), "packet {pn} acknowledged twice, or never sent");
                }
                ServerEvent::Lost { pn, .. } => {
                    reach(Feature::Lost);
                    assert!(self.snapshots.remove(&pn).is_some(), "packet {pn} lost twice, or never sent");
                }
                ServerEvent::Disconnected { reason, .. } => {
                    reach(match reason {
                        DisconnectReason::Local(CloseReason::ProtocolError) => Feature::ProtocolError,
                        DisconnectReason::Local(_) => Feature::Closed,
                        DisconnectReason::ByPeer(_) => Feature::ByPeer,
                        DisconnectReason::IdleTimeout => Feature::IdleTimeout,
                        other => panic!("a connection cannot end with {other:?}"),
                    });
                    self.over = Some(reason);
                }
            }
        }
        assert!(!self.closing || self.over.is_some(), "a close is told at once");
    }

    /// Silence ends every connection, and its slot comes back.
    fn end(&mut self) {
        for _ in 0..40 {
            self.wait(500);
        }
        assert!(self.over.is_some());
        assert_eq!(self.server.connections(), 0, "the slot does not come back");
        assert_eq!(self.server.poll_timeout(), None);
    }
}

fn note(drop: Drop) {
    reach(match drop {
        Drop::Duplicate => Feature::Duplicate,
        Drop::TooOld => Feature::TooOld,
        Drop::AuthFailed => Feature::AuthFailed,
        Drop::WrongAddress => Feature::WrongAddress,
        Drop::UnknownConnection => Feature::UnknownConnection,
        other => panic!("no step expects {other:?}"),
    });
}

/// Each plaintext of the fixture, each way to be dropped, each end.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = || Script::default().u8(0);
    let packet = |script: Script, flags: u8, plaintext: &[u8]| script.u8(flags << 3).sized(plaintext);
    let snapshots = |script: Script, count: u8| (0..count).fold(script, |script, len| script.u8(4).u8(len));
    let ack = |script: Script, mask: u32| script.u8(2).u8(1).u8(0).bytes(&mask.to_le_bytes());
    let plaintexts = fixture::plaintexts();
    let mut scripts: Vec<Script> =
        plaintexts.iter().map(|plaintext| packet(snapshots(start(), 1), 0, plaintext)).collect();
    scripts.push(plaintexts.iter().fold(Script::default().u8(1), |script, plaintext| packet(script, 0, plaintext)));
    scripts.extend([1, 2, 4, 5].map(|flags| packet(start(), flags, &plaintexts[3])));
    scripts.push(packet(start(), 0, &plaintexts[3]).u8(3).u8(0).u8(3).u8(1).u8(0x83).u8(1));
    scripts.push(packet(start().u8(7).u16(1500), 0, &plaintexts[3]).u8(3).u8(0).u8(3).u8(1));
    scripts.push(ack(snapshots(start(), 8), u32::MAX));
    scripts.push(ack(ack(snapshots(start(), 8), 0xff00_0003), 1));
    scripts.push(snapshots(start(), 200).u8(6).u16(3000));
    scripts.push((0..20).fold(start(), |script, _| script.u8(5).u16(1000)).u8(6).u16(900).u8(6).u16(2000));
    scripts.push((0..6).fold(start(), |script, _| packet(script, 0, &[0xff; 30])));
    scripts.push(ack(start().u8(5).u16(10).u8(0xff), u32::MAX).u8(6).u16(100));
    // Messages out of order, in one packet and in several.
    let messages = [2, 8, 1 << 1, 0, 2 | 20 << 2, 0, 2 | 9 << 2, 2, 2, 1];
    scripts.push(start().u8(2).u8(5 << 1).u8(0).bytes(&[0; 4]).bytes(&messages));
    scripts.push((0..12).fold(start(), |script, at| {
        script.u8(2).u8(1 | 1 << 1).u8(0).bytes(&[0xff; 4]).u8(2 | 5 << 2).u8(at ^ 1).u8(4).u8(at).u8(6).u16(50)
    }));
    scripts.into_iter().map(|script| script.0).collect()
}

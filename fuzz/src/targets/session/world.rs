//! The server, its client, and what is known of both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcode::Time;
use netcode::channel::{Channel, Kind};
use netcode::crypto::{Aead, Entropy, PacketKey, SessionKeys};
use netcode::delivery::{BlockEvent, MAX_BLOCK, blocks, fragments, inbound};
use netcode::error::{CloseReason, DisconnectReason, SendError};
use netcode::features::Features;
use netcode::frame::{Control, Frame, Parsed, write_control};
use netcode::handshake::{HELLO_BYTES, Hello, RawAccept, RawHello, VERSION};
use netcode::keys::{KeyLimits, RxKeys};
use netcode::packet::{C2S_HEADER, ConnId, Direction, Header, MAX_DATAGRAM, S2C_HEADER};
use netcode::server::{ServerEndpoint, ServerEvent, SingleUse};
use netcode::stats::Drop;

use super::keys::{Keys, Phases};
use super::{ELSEWHERE, Feature, HELD_BACK, OTHER_ID, STRANGE, reach};
use crate::feature::bucket;
use crate::targets::fixture::{self, BLOCK, FuzzEntropy};

/// The client's addresses; the first is where it connects from.
const ADDRESSES: u8 = 3;
/// After so many the connection is closed.
const MAX_MALFORMED: u64 = 3;
/// What an address that has not proved itself gets at most for each byte.
const AMPLIFICATION: usize = 3;

/// A packet of the client's.
#[derive(Clone)]
struct Sealed {
    pn: u64,
    generation: u64,
    datagram: Vec<u8>,
    /// An answer to a challenge.
    response: Option<[u8; 8]>,
}

/// Bytes to and from an address.
#[derive(Clone, Copy, Default)]
struct Path {
    received: usize,
    sent: usize,
    challenge: Option<[u8; 8]>,
    /// The connection was here at some time.
    proven: bool,
}

pub struct World {
    server: ServerEndpoint,
    entropy: FuzzEntropy,
    aead: Aead,
    features: Features,
    keys: Keys,
    stranger: PacketKey,
    phases: Phases,
    rx: RxKeys,
    conn: ConnId,
    now: Time,
    next_pn: u64,
    largest: u64,
    sent: Vec<Sealed>,
    held_back: Vec<Sealed>,
    next_from_server: u64,
    /// The packets with snapshots whose fate is open.
    snapshots: BTreeMap<u64, ()>,
    paths: BTreeMap<SocketAddr, Path>,
    malformed: u64,
    scratch: Parsed,
    over: Option<DisconnectReason>,
    closing: bool,
}

impl World {
    /// A server with one client, which has proved its address.
    pub fn admitted(choice: u8) -> Self {
        let (mut entropy, mut config) = (FuzzEntropy::new(), fixture::server_config());
        config.worker = choice >> 2 & 63;
        config.channels = fixture::LAB.0.clone();
        // Rolls after every second packet, once one is acknowledged.
        config.key_limits = KeyLimits { packets: 2, ..KeyLimits::default() };
        let mut server = ServerEndpoint::new(config, fixture::cookie_key(), Arc::new(SingleUse::new(4)));
        let now = Time::from_millis(1);
        let ephemeral = entropy.ephemeral().expect("the system's entropy works");
        let aead = if choice & 1 == 0 { Aead::Aes128Gcm } else { Aead::ChaCha20Poly1305 };
        let features = if choice & 2 == 0 { Features::ALL } else { Features::NONE };
        let hello = Hello {
            highest_version: VERSION,
            aead,
            client_time: 0,
            channel_hash: fixture::LAB.1,
            schema_hash: fixture::SCHEMA_HASH,
            features,
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
            aead,
            features,
            keys: Keys::new(aead, keys.c2s),
            stranger: PacketKey::from_secret(aead, &stranger.c2s),
            phases: Phases::new(),
            rx: RxKeys::new(aead, keys.s2c),
            conn: accepted.conn,
            now,
            next_pn: 0,
            largest: 0,
            sent: Vec::new(),
            held_back: Vec::new(),
            next_from_server: 0,
            snapshots: BTreeMap::new(),
            paths: BTreeMap::new(),
            malformed: 0,
            scratch: Parsed::default(),
            over: None,
            closing: false,
        };
        world.admit();
        world
    }

    fn admit(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        assert!(self.server.transmit(self.now, self.conn, &mut out, None).is_none(), "data for an unproven address");
        let home = fixture::client_addr(0);
        let ping = fixture::plaintext(None, |w| write_control(w, Control::Ping));
        let first = self.seal(&ping, None);
        assert!(self.phases.open(self.now, 0, 0));
        let unix_ms = fixture::UNIX_MS;
        self.server.handle_datagram(self.now, unix_ms, home, &mut first.datagram.clone(), &mut self.entropy);
        self.sent.push(first);
        self.paths.entry(home).or_default().proven = true;
        assert!(matches!(self.server.poll_event(), Some(ServerEvent::Connected { conn, .. }) if conn == self.conn));
        self.settle();
    }

    pub const fn next_from_server(&self) -> u64 {
        self.next_from_server
    }

    fn seal(&mut self, plaintext: &[u8], stranger: Option<()>) -> Sealed {
        let (pn, generation) = (self.next_pn, self.keys.generation);
        self.next_pn += 1;
        let mut datagram = vec![0; C2S_HEADER];
        Header::write(&mut datagram, Some(self.conn), pn, self.keys.phase());
        datagram.extend_from_slice(plaintext);
        let (aad, plaintext) = datagram.split_at_mut(C2S_HEADER);
        let tag = match stranger {
            None => self.keys.seal(pn, aad, plaintext),
            Some(()) => self.stranger.seal(pn, aad, plaintext).expect("a short plaintext"),
        };
        datagram.extend_from_slice(&tag);
        Sealed { pn, generation, datagram, response: None }
    }

    /// Hands a datagram to the server; returns the kind of drop it counted, if any. The address moves only for an answer
    /// to a challenge that was sent to where it comes from.
    fn hand_over(&mut self, from: SocketAddr, datagram: &[u8], response: Option<[u8; 8]>) -> Option<Drop> {
        let (before, address) = (*self.server.drops(), self.server.address(self.conn));
        let unix_ms = fixture::UNIX_MS + self.now.as_micros() / 1000;
        self.server.handle_datagram(self.now, unix_ms, from, &mut datagram.to_vec(), &mut self.entropy);
        let after = *self.server.drops();
        assert!(after.total() - before.total() <= 1);
        let dropped = Drop::ALL.into_iter().find(|kind| after.get(*kind) > before.get(*kind));
        let path = self.paths.entry(from).or_default();
        path.received += datagram.len();
        let moved = self.server.address(self.conn);
        if moved != address && moved.is_some() {
            reach(Feature::Moved);
            assert_eq!(moved, Some(from));
            assert!(response.is_some() && path.challenge == response && dropped.is_none(), "moved without an answer");
            path.proven = true;
        } else if response.is_some() {
            reach(Feature::WrongAnswer);
        }
        dropped
    }

    /// A packet of the next number, as its flags say.
    pub fn packet(&mut self, flags: u8, plaintext: &[u8]) {
        // Nothing shorter is a packet.
        if plaintext.is_empty() {
            return;
        }
        let from = fixture::client_addr(if flags & ELSEWHERE == 0 { 0 } else { 1 + (flags >> 7) });
        if flags & (STRANGE | OTHER_ID) == 0 {
            let sealed = self.seal(plaintext, None);
            if flags & HELD_BACK == 0 {
                self.arrive(from, sealed);
            } else {
                self.held_back.push(sealed);
            }
            return;
        }
        let mut sealed = self.seal(plaintext, (flags & STRANGE != 0).then_some(()));
        let mut expected = Drop::AuthFailed;
        if flags & OTHER_ID != 0 || self.server.connections() == 0 {
            sealed.datagram[2] ^= u8::from(flags & OTHER_ID != 0);
            expected = Drop::UnknownConnection;
        }
        // Its number is free again: nobody has seen it.
        self.next_pn = sealed.pn;
        note(expected);
        assert_eq!(self.hand_over(from, &sealed.datagram, None), Some(expected));
        assert!(self.server.poll_event().is_none(), "what is dropped changes nothing");
    }

    /// A genuine packet arrives for the first time.
    fn arrive(&mut self, from: SocketAddr, sealed: Sealed) {
        let Sealed { pn, generation, response, .. } = sealed;
        let gone = self.server.connections() == 0;
        let too_old = self.largest.saturating_sub(pn) >= netcode::replay::WINDOW;
        let expected = if gone {
            Some(Drop::UnknownConnection)
        } else if too_old && self.largest - pn < 1 << 15 {
            Some(Drop::TooOld)
        } else if too_old || !self.phases.open(self.now, generation, pn) {
            Some(Drop::AuthFailed)
        } else {
            None
        };
        let dropped = self.hand_over(from, &sealed.datagram, response);
        if let Some(expected) = expected {
            note(expected);
            assert_eq!(dropped, Some(expected), "packet {pn} after {}", self.largest);
            assert!(self.server.poll_event().is_none(), "what is dropped changes nothing");
            return;
        }
        match dropped {
            None => reach(if pn > self.largest { Feature::Taken } else { Feature::Late }),
            Some(Drop::Malformed) => {
                reach(Feature::Malformed);
                self.malformed += 1;
            }
            Some(other) => panic!("an authentic packet of a new number is dropped as {other:?}"),
        }
        if from != fixture::client_addr(0) {
            reach(Feature::Elsewhere);
        }
        // A closed connection takes no notice of numbers any more.
        if self.over.is_none() {
            self.largest = self.largest.max(pn);
            self.sent.push(sealed);
        }
        self.settle();
        assert!(self.malformed < MAX_MALFORMED || self.over.is_some(), "the third malformed packet is the last");
    }

    /// A packet that was held back arrives now, or a copy of it before.
    pub fn late(&mut self, flags: u8) {
        if self.held_back.is_empty() {
            return;
        }
        let which = usize::from(flags & 0x3f) % self.held_back.len();
        let from = fixture::client_addr(flags >> 6 & 2 | flags >> 6 & 1);
        let sealed = self.held_back.remove(which);
        self.arrive(from, sealed);
    }

    /// A packet that was sent before.
    pub fn again(&mut self, which: usize, elsewhere: bool) {
        let Sealed { pn, datagram, response, .. } = self.sent[which % self.sent.len()].clone();
        let from = fixture::client_addr(u8::from(elsewhere));
        // From so long ago, its 16 bits mean another number by now.
        let ambiguous = self.largest + 1 - pn >= 1 << 15;
        let expected = if self.server.connections() == 0 {
            Drop::UnknownConnection
        } else if self.largest - pn >= netcode::replay::WINDOW {
            Drop::TooOld
        } else {
            Drop::Duplicate
        };
        note(expected);
        let before = self.server.address(self.conn);
        let dropped = self.hand_over(from, &datagram, response);
        if ambiguous {
            assert!(dropped.is_some(), "packet {pn} is taken again, after {}", self.largest);
        } else {
            assert_eq!(dropped, Some(expected), "packet {pn} again, after {}", self.largest);
        }
        assert_eq!(self.server.address(self.conn), before, "a copy moves the connection");
        assert!(self.server.poll_event().is_none(), "a replay changes nothing");
    }

    /// The client answers a challenge: rightly, or with other bytes (1), or from another address (2, 4).
    pub fn answer(&mut self, flags: u8) {
        let mut challenged = self.paths.iter().filter_map(|(address, path)| Some((*address, path.challenge?)));
        let Some((to, mut data)) = challenged.next_back() else { return };
        let mut from = to;
        if flags & 1 != 0 {
            data[usize::from(flags >> 5)] ^= 1;
        }
        if flags & 6 != 0 {
            from = fixture::client_addr(if flags & 2 != 0 { 0 } else { ADDRESSES });
        }
        let plaintext = fixture::plaintext(None, |w| write_control(w, Control::PathResponse(data)));
        let sealed = Sealed { response: Some(data), ..self.seal(&plaintext, None) };
        self.arrive(from, sealed);
    }

    pub fn roll(&mut self) {
        self.keys.roll();
    }

    /// The client leaves numbers out; not so many that 16 bits could mean another one.
    pub fn jump(&mut self, by: u64) {
        self.next_pn = (self.next_pn + by % 3000).min(self.largest + 30_000).max(self.next_pn);
    }

    pub fn snapshot(&mut self, len: usize) {
        let mut out = [0; MAX_DATAGRAM];
        let mut write =
            |w: &mut netcode::bits::BitWriter<'_>| w.write_bytes(&[0x5a; 300][..len.clamp(1, w.remaining_bits() / 8)]);
        let address = self.server.address(self.conn);
        let sent = self.server.transmit(self.now, self.conn, &mut out, Some(&mut write));
        if let Some(sent) = sent {
            assert_eq!((Some(sent.to), sent.pn), (address, self.next_from_server));
            self.open(sent.to, &mut out[..sent.len]);
            if matches!(self.scratch.frames.last(), Some(Frame::Snapshot { .. })) {
                self.snapshots.insert(sent.pn, ());
            }
        }
        self.settle();
    }

    pub fn say(&mut self, channel: u8, len: usize) {
        let channel = channel % 10;
        let longest = fixture::LAB.0.get(channel).map_or(0, |limits| limits.max_message as usize);
        let len = len % (longest + 2);
        match self.server.send(self.now, self.conn, channel, &vec![7; len]) {
            Err(SendError::Full { free }) => {
                reach(Feature::QueueFull);
                assert!(free < len || free == 0);
            }
            Err(SendError::TooLong { limit }) => assert!(len > limit),
            Err(SendError::NotConnected) => assert!(self.over.is_some()),
            Err(SendError::NoSuchChannel(_)) => assert!(matches!(channel, 0 | BLOCK..)),
            Err(error) => panic!("{error}"),
            Ok(()) => assert!(self.over.is_none(), "a closed connection takes messages"),
        }
        self.settle();
    }

    /// A block to the client; or what comes from it is cancelled or paused.
    pub fn block(&mut self, flags: u8, len: usize) {
        if flags & 3 == 0 {
            let started = self.server.send_block(self.conn, BLOCK, vec![9; len].into());
            assert!(started.is_err() || (self.over.is_none() && len > 0));
        } else if let Ok(blocks) = self.server.blocks(self.conn, BLOCK) {
            match flags & 3 {
                1 => _ = blocks.cancel_incoming(),
                2 => _ = blocks.cancel_outgoing(u64::from(flags >> 2 & 3)),
                _ => blocks.pause(flags & 4 != 0),
            }
        }
        self.settle();
    }

    pub fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.server.handle_timeout(self.now);
        self.settle();
    }

    pub fn close(&mut self) {
        self.server.close(self.now, self.conn, CloseReason::Kicked);
        self.closing = true;
        self.settle();
    }

    /// Everything that the server sends opens under the next number, and parses.
    fn open(&mut self, to: SocketAddr, datagram: &mut [u8]) {
        assert!(datagram.len() <= MAX_DATAGRAM);
        let header = Header::read(datagram, Direction::ToClient).expect("a data packet");
        assert_eq!(u64::from(header.pn), self.next_from_server & 0xffff, "numbers follow one another");
        let len = datagram.len();
        let (aad, sealed) = datagram.split_at_mut(S2C_HEADER);
        let (plaintext, rolled) = self
            .rx
            .open(self.now, header.phase, self.next_from_server, aad, sealed)
            .expect("sealed under the session's key");
        if rolled {
            reach(Feature::ServerRolled);
        }
        let parsed = self.scratch.parse(plaintext, &fixture::LAB.0, self.features);
        assert_eq!(parsed, Ok(()), "the server breaks the protocol");
        self.next_from_server += 1;
        let path = self.paths.entry(to).or_default();
        path.sent += len;
        assert!(path.proven || path.sent <= path.received * AMPLIFICATION, "{} bytes for {}", path.sent, path.received);
        for frame in &self.scratch.frames {
            match *frame {
                Frame::Control(Control::PathChallenge(data)) => {
                    reach(Feature::Challenged);
                    assert_eq!(self.scratch.frames.len(), 1, "data for an unproven address");
                    path.challenge = Some(data);
                }
                Frame::Control(Control::MtuProbe) => reach(Feature::MtuProbe),
                Frame::Control(Control::TimeReply { .. }) => reach(Feature::TimeReply),
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        self.drain();
        let mut out = [0; MAX_DATAGRAM];
        for sent in 0.. {
            let Some((to, len)) = self.server.poll_transmit_control(self.now, &mut out) else { break };
            assert!(sent < 64, "packets without end");
            self.open(to, &mut out[..len]);
            let here = self.server.address(self.conn).is_none_or(|address| address == to);
            let challenge = matches!(self.scratch.frames.first(), Some(Frame::Control(Control::PathChallenge(_))));
            assert!(here || challenge, "data for another address");
        }
        self.drain();
        if let Some(quality) = self.server.quality(self.now, self.conn) {
            let most: usize = fixture::LAB.0.0.iter().map(most_held).sum();
            assert!(quality.queued_bytes <= most as u64, "{} bytes are held", quality.queued_bytes);
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.server.poll_event() {
            assert!(self.over.is_none(), "{event:?} after the end");
            match event {
                ServerEvent::Connected { .. } => panic!("connected twice"),
                ServerEvent::Message { conn, channel, bytes, .. } => {
                    let limits = fixture::LAB.0.get(channel).expect("a channel of the table");
                    assert!(conn == self.conn && bytes.len() <= limits.max_message as usize);
                    match limits.kind {
                        Kind::ReliableOrdered | Kind::ReliableUnordered => reach(Feature::Delivered),
                        Kind::Unreliable if bytes.len() > 1024 => reach(Feature::Parts),
                        _ => {}
                    }
                    bucket(u64::from(channel) << 8 | bytes.len().min(64) as u64);
                }
                ServerEvent::Block { event, .. } => match event {
                    BlockEvent::Data { offset, bytes, .. } => {
                        reach(Feature::BlockIn);
                        assert!(offset as usize + bytes.len() <= MAX_BLOCK);
                    }
                    BlockEvent::Progress { acked, total, .. } => {
                        reach(Feature::BlockOut);
                        assert!(acked <= total);
                    }
                    _ => {}
                },
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
    pub fn end(&mut self) {
        for _ in 0..40 {
            self.wait(500);
        }
        assert!(self.over.is_some(), "{:?}", self.aead);
        assert_eq!(self.server.connections(), 0, "the slot does not come back");
        assert_eq!(self.server.poll_timeout(), None);
    }
}

/// The most bytes that one end may hold for a channel, overhead included.
fn most_held(channel: &Channel) -> usize {
    let queue = channel.queue_bytes as usize;
    match channel.kind {
        Kind::Unreliable => queue + fragments::quota(queue),
        Kind::Sequenced => channel.max_message as usize,
        Kind::Snapshot => 0,
        Kind::ReliableOrdered | Kind::ReliableUnordered => queue + inbound::quota(queue),
        Kind::Block => blocks::quota(channel.queue_bytes),
    }
}

fn note(drop: Drop) {
    reach(match drop {
        Drop::Duplicate => Feature::Duplicate,
        Drop::TooOld => Feature::TooOld,
        Drop::AuthFailed => Feature::AuthFailed,
        Drop::UnknownConnection => Feature::UnknownConnection,
        other => panic!("no step expects {other:?}"),
    });
}

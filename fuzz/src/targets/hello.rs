//! Whatever arrives at a server that knows nobody, against a model of the rules for HELLOs.
//!
//! For each datagram: the reply and the kind of drop are the model's; never more bytes go out than came in; nothing but
//! an authentic, acceptable HELLO makes a connection; every refused datagram is counted once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use netcode::Time;
use netcode::crypto::{Aead, handshake_mac, handshake_mac_key};
use netcode::error::RefuseReason;
use netcode::features::Features;
use netcode::handshake::{
    ACCEPT, ACCEPT_BYTES, HELLO, HELLO_BYTES, Hello, Mac, PROTOCOL, REFUSE, REFUSE_BYTES, RETRY, RETRY_BYTES, VERSION,
    cookie, cookie_is_valid,
};
use netcode::packet::{BASE_DATAGRAM, MAX_DATAGRAM};
use netcode::server::{ServerEndpoint, SingleUse};
use netcode::stats::Drop;
use netcode::token::{TOKEN_BYTES, Token, TokenClaims};

use super::fixture::{self, FuzzEntropy};
use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Accepted => "accepted",
    AcceptedAgain => "the same ACCEPT again",
    Retry => "a RETRY",
    CookieTaken => "a cookie taken",
    TooShort => "too short",
    WrongLength => "wrong length",
    UnknownType => "unknown type",
    ReservedBits => "reserved bits",
    WrongProtocol => "wrong protocol",
    BadMac => "bad MAC",
    Overload => "overload",
    Malformed => "a public key of low order",
    Data => "a data packet of no connection",
    VersionMismatch => "another version",
    TokenInvalid => "token invalid",
    TokenExpired => "token expired",
    TokenUsed => "token used",
    WrongServer => "wrong server",
    WrongGroup => "wrong group",
    ServerFull => "server full",
    Busy => "token set full",
    ChannelMismatch => "another channel table",
    SchemaMismatch => "another schema",
}

const MAX_STEPS: usize = 8;
const TOKEN_AT: usize = 108;
const PUBLIC_AT: usize = 76;
const COOKIE_AT: usize = 44;
const LONGEST_AT: usize = TOKEN_AT + TOKEN_BYTES;
const MAC_AT: usize = HELLO_BYTES - 16;
/// X25519's base point: a public key like any other, without the cost of making one.
const PUBLIC: [u8; 32] = {
    let mut key = [0; 32];
    key[0] = 9;
    key
};

/// The genuine tokens by name, and what they say: one that is good, and one for each reason to refuse.
static TOKENS: LazyLock<Vec<(Token, TokenClaims)>> = LazyLock::new(|| {
    let good = fixture::claims();
    let mut expired = good.clone();
    expired.expires_ms = fixture::UNIX_MS;
    let mut group = good.clone();
    group.group += 1;
    let mut server = good.clone();
    server.servers[0].id += 1;
    let all = [good.clone(), good, expired, group, server];
    (1..).zip(all).map(|(name, claims)| (fixture::token(&claims, name), claims)).collect()
});

static MAC_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| handshake_mac_key(&fixture::psk()));

/// The target. The first byte says how the server stands, then come datagrams and waits.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::new(program.u8());
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        let (op, who) = (program.u8() % 4, program.u8());
        match op {
            0 => {
                let raw = program.sized(MAX_DATAGRAM + 50).to_vec();
                world.datagram(fixture::client_addr(who & 1), raw);
            }
            3 => world.wait(u64::from(program.u16())),
            _ => {
                let hello = world.hello(&mut program, fixture::client_addr(who & 1), who);
                world.datagram(fixture::client_addr(who & 1), hello);
            }
        }
    }
}

/// What a datagram should lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Drop(Drop),
    /// Some drop, nothing else.
    AnyDrop,
    Retry,
    Refuse(RefuseReason),
    Accept,
    Again([u8; ACCEPT_BYTES]),
}

struct World {
    server: ServerEndpoint,
    entropy: FuzzEntropy,
    now: Time,
    /// Cookies are asked for; nobody is worked on even with one.
    asks: bool,
    overloaded: bool,
    full: bool,
    single_use: usize,
    most_half_open: usize,
    used: BTreeMap<[u8; 16], ()>,
    /// Half-open connections by token id: attempt, answer, end.
    half_open: BTreeMap<[u8; 16], (Mac, [u8; ACCEPT_BYTES], Time)>,
}

impl World {
    fn new(flags: u8) -> Self {
        let (asks, overloaded, full) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        let single_use = usize::from(flags >> 3 & 3);
        let mut config = fixture::server_config();
        config.retry_above = if asks { 0 } else { 50 };
        config.max_handshakes = if overloaded { 0 } else { 200 };
        config.max_connections = if full { 0 } else { 4 };
        let most_half_open = if flags & 0x20 == 0 { 4 } else { 1 };
        config.max_half_open = most_half_open;
        let set = Arc::new(SingleUse::new(single_use));
        Self {
            server: ServerEndpoint::new(config, fixture::cookie_key(), set),
            entropy: FuzzEntropy::new(),
            now: Time::from_millis(5000),
            asks,
            overloaded,
            full,
            single_use,
            most_half_open: usize::from(most_half_open),
            used: BTreeMap::new(),
            half_open: BTreeMap::new(),
        }
    }

    fn seconds(&self) -> u32 {
        (self.now.as_micros() / 1_000_000) as u32
    }

    fn unix_ms(&self) -> u64 {
        fixture::UNIX_MS + self.now.as_micros() / 1000
    }

    /// A HELLO with a genuine token, changed as the input says; then, perhaps, given a right MAC.
    fn hello(&self, program: &mut Program<'_>, from: SocketAddr, who: u8) -> Vec<u8> {
        let (flags, which) = (program.u8(), usize::from(program.u8()) % TOKENS.len());
        let (token, _) = &TOKENS[which];
        let hello = Hello {
            highest_version: VERSION,
            aead: if flags & 1 == 0 { Aead::Aes128Gcm } else { Aead::ChaCha20Poly1305 },
            client_time: u64::from(who >> 1),
            channel_hash: fixture::CHANNELS.1,
            schema_hash: fixture::SCHEMA_HASH,
            features: Features::ALL,
            cookie: [0; 32],
            public: PUBLIC,
            token: token.clone(),
            max_datagram: MAX_DATAGRAM as u16,
        };
        let mut bytes = [0; HELLO_BYTES];
        let _ = hello.write(&mut bytes, &MAC_KEY);
        for _ in 0..flags >> 4 & 3 {
            let at = usize::from(program.u16()) % HELLO_BYTES;
            let change = program.sized(40);
            for (place, byte) in bytes[at..].iter_mut().zip(change) {
                *place ^= byte;
            }
        }
        if flags & 2 != 0 {
            // A moment ago, or too long ago.
            let ago = if flags & 0x40 == 0 { 2 } else { 11 };
            let given =
                cookie(&fixture::cookie_key(), self.seconds().saturating_sub(ago), from, &array(&bytes, TOKEN_AT + 12));
            bytes[COOKIE_AT..PUBLIC_AT].copy_from_slice(&given);
        }
        if flags & 4 != 0 {
            let mac = mac_of(&bytes);
            bytes[MAC_AT..].copy_from_slice(&mac);
        }
        let len = if flags & 0x80 == 0 { HELLO_BYTES } else { usize::from(program.u16()) % (HELLO_BYTES + 1) };
        bytes[..len].to_vec()
    }

    fn datagram(&mut self, from: SocketAddr, mut bytes: Vec<u8>) {
        let expected = self.expect(from, &bytes);
        let before = (self.server.drops().total(), self.server.connections(), self.server.accepted());
        let (unix_ms, original) = (self.unix_ms(), bytes.clone());
        self.server.handle_datagram(self.now, unix_ms, from, &mut bytes, &mut self.entropy);
        let mut out = [0; MAX_DATAGRAM];
        let reply = self.server.poll_transmit_control(self.now, &mut out).map(|(to, len)| {
            assert_eq!(to, from, "the reply goes elsewhere");
            assert!(len <= original.len(), "{len} bytes answer {}", original.len());
            out[..len].to_vec()
        });
        assert_eq!(self.server.poll_transmit_control(self.now, &mut [0; MAX_DATAGRAM]), None, "more than one reply");
        assert!(self.server.poll_event().is_none(), "nobody has proved an address");
        let dropped = self.server.drops().total() - before.0;
        let expected = self.low_order_key(expected, &original, reply.is_none());
        self.check(&expected, &original, reply.as_deref(), dropped);
        let grown = u64::from(expected == Outcome::Accept);
        assert_eq!(self.server.connections(), before.1 + grown as usize, "{expected:?}");
        assert_eq!(self.server.accepted(), before.2 + grown);
        assert_eq!(self.server.connections(), self.half_open.len());
    }

    fn check(&mut self, expected: &Outcome, hello: &[u8], reply: Option<&[u8]>, dropped: u64) {
        note(expected);
        match expected {
            Outcome::Drop(kind) => {
                assert_eq!((reply, dropped), (None, 1), "{kind:?}");
                assert!(self.server.drops().get(*kind) > 0, "counted as something else than {kind:?}");
            }
            Outcome::AnyDrop => assert_eq!((reply, dropped), (None, 1)),
            Outcome::Retry => {
                let reply = reply.expect("a RETRY");
                assert_eq!((reply.len(), reply[0], dropped), (RETRY_BYTES, RETRY, 0));
            }
            Outcome::Refuse(reason) => {
                let reply = reply.expect("a REFUSE");
                assert_eq!((reply.len(), reply[0], dropped), (REFUSE_BYTES, REFUSE, 1));
                assert_eq!(RefuseReason::from_wire(reply[1]), Some(*reason));
                // What is spoken is said to those who can read it.
                let says = *reason == RefuseReason::VersionMismatch && hello[1] != 1;
                assert_eq!(reply[2..4], if says { [VERSION; 2] } else { [0; 2] });
            }
            Outcome::Again(accept) => assert_eq!((reply, dropped), (Some(accept.as_slice()), 0)),
            Outcome::Accept => {
                let accept: [u8; ACCEPT_BYTES] = reply.and_then(|reply| reply.try_into().ok()).expect("an ACCEPT");
                assert_eq!((accept[0], dropped), (ACCEPT, 0));
                let id = array(hello, TOKEN_AT + 12);
                let until = self.now + fixture::server_config().half_open_timeout;
                self.half_open.insert(id, (array(hello, MAC_AT), accept, until));
            }
        }
        if let Some(reply) = reply {
            assert_eq!(reply[4..20], hello[MAC_AT..], "the reply names another attempt");
        }
    }

    /// The model: what the rules say to a datagram, in their order.
    fn expect(&mut self, from: SocketAddr, bytes: &[u8]) -> Outcome {
        match bytes.first() {
            None => return Outcome::Drop(Drop::TooShort),
            Some(&HELLO) => {}
            Some(first) if first & 0x40 != 0 => return Outcome::AnyDrop,
            Some(_) => return Outcome::Drop(Drop::UnknownType),
        }
        if bytes.len() != HELLO_BYTES {
            return Outcome::Drop(Drop::WrongLength);
        }
        if bytes[4..12] != PROTOCOL {
            return Outcome::Drop(Drop::WrongProtocol);
        }
        if bytes[1] != VERSION {
            return Outcome::Refuse(RefuseReason::VersionMismatch);
        }
        let longest = u16::from_le_bytes(array(bytes, LONGEST_AT));
        let padding = bytes[LONGEST_AT + 2..MAC_AT].iter().any(|byte| *byte != 0);
        if bytes[2] > 1 || bytes[3] < VERSION || usize::from(longest) < BASE_DATAGRAM || padding {
            return Outcome::Drop(Drop::ReservedBits);
        }
        let id: [u8; 16] = array(bytes, TOKEN_AT + 12);
        if let Some((attempt, accept, _)) = self.half_open.get(&id)
            && bytes[MAC_AT..] == *attempt
        {
            return Outcome::Again(*accept);
        }
        if self.asks {
            if !cookie_is_valid(&fixture::cookie_key(), self.seconds(), from, &id, &array(bytes, COOKIE_AT)) {
                return Outcome::Retry;
            }
            reach(Feature::CookieTaken);
        }
        if self.overloaded || self.half_open.len() >= self.most_half_open {
            return Outcome::Drop(Drop::Overload);
        }
        let known = TOKENS.iter().find(|(token, _)| token.0 == bytes[TOKEN_AT..TOKEN_AT + TOKEN_BYTES]);
        let Some((_, claims)) = known else { return Outcome::Refuse(RefuseReason::TokenInvalid) };
        if mac_of(bytes) != bytes[MAC_AT..] {
            return Outcome::Drop(Drop::BadMac);
        }
        self.judge(bytes, id, claims)
    }

    fn judge(&mut self, bytes: &[u8], id: [u8; 16], claims: &TokenClaims) -> Outcome {
        let (channels, schema) = (array(bytes, 20), array(bytes, 28));
        let reason = if claims.expires_ms <= self.unix_ms() {
            RefuseReason::TokenExpired
        } else if claims.group != fixture::GROUP {
            RefuseReason::WrongGroup
        } else if claims.servers[0].id != fixture::SERVER_ID {
            RefuseReason::WrongServer
        } else if u64::from_le_bytes(channels) != fixture::CHANNELS.1 {
            RefuseReason::ChannelMismatch
        } else if u64::from_le_bytes(schema) != fixture::SCHEMA_HASH {
            RefuseReason::SchemaMismatch
        } else if self.full {
            RefuseReason::ServerFull
        } else if self.used.contains_key(&id) {
            RefuseReason::TokenUsed
        } else if self.used.len() >= self.single_use {
            RefuseReason::Busy
        } else {
            self.used.insert(id, ());
            return Outcome::Accept;
        };
        Outcome::Refuse(reason)
    }

    /// A public key of low order shows only in the key agreement. Only a changed key can be one.
    fn low_order_key(&self, expected: Outcome, bytes: &[u8], silent: bool) -> Outcome {
        if expected == Outcome::Accept && silent && bytes[PUBLIC_AT..TOKEN_AT] != PUBLIC {
            return Outcome::Drop(Drop::Malformed);
        }
        expected
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(10 + millis);
        self.server.handle_timeout(self.now);
        let now = self.now;
        self.half_open.retain(|_, (_, _, until)| *until > now);
        assert_eq!(self.server.connections(), self.half_open.len(), "half-open connections end in time");
        assert!(self.server.poll_event().is_none(), "nobody knew of them");
        let unix_ms = self.unix_ms();
        self.used
            .retain(|id, ()| TOKENS.iter().any(|(token, claims)| token.id() == *id && claims.expires_ms > unix_ms));
    }
}

fn note(outcome: &Outcome) {
    let feature = match outcome {
        Outcome::AnyDrop => Feature::Data,
        Outcome::Retry => Feature::Retry,
        Outcome::Accept => Feature::Accepted,
        Outcome::Again(_) => Feature::AcceptedAgain,
        Outcome::Drop(kind) => match kind {
            Drop::TooShort => Feature::TooShort,
            Drop::WrongLength => Feature::WrongLength,
            Drop::UnknownType => Feature::UnknownType,
            Drop::ReservedBits => Feature::ReservedBits,
            Drop::WrongProtocol => Feature::WrongProtocol,
            Drop::BadMac => Feature::BadMac,
            Drop::Overload => Feature::Overload,
            Drop::Malformed => Feature::Malformed,
            other => panic!("the model never drops as {other:?}"),
        },
        Outcome::Refuse(reason) => match reason {
            RefuseReason::VersionMismatch => Feature::VersionMismatch,
            RefuseReason::TokenInvalid => Feature::TokenInvalid,
            RefuseReason::TokenExpired => Feature::TokenExpired,
            RefuseReason::TokenUsed => Feature::TokenUsed,
            RefuseReason::WrongServer => Feature::WrongServer,
            RefuseReason::WrongGroup => Feature::WrongGroup,
            RefuseReason::ServerFull => Feature::ServerFull,
            RefuseReason::Busy => Feature::Busy,
            RefuseReason::ChannelMismatch => Feature::ChannelMismatch,
            RefuseReason::SchemaMismatch => Feature::SchemaMismatch,
        },
    };
    bucket(feature as u64);
    reach(feature);
}

/// The right MAC of a HELLO: over all before it, the cookie taken as zero.
fn mac_of(bytes: &[u8]) -> Mac {
    handshake_mac(&MAC_KEY, &[&bytes[..COOKIE_AT], &[0; 32], &bytes[PUBLIC_AT..MAC_AT]])
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Flags of a HELLO step.
const COOKIE: u8 = 2;
const REMAC: u8 = 4;
const PATCH: u8 = 0x10;

/// A HELLO for each outcome, and short ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = |flags: u8| Script::default().u8(flags | 3 << 3);
    let hello = |script: Script, flags: u8, token: u8| script.u8(1).u8(0).u8(flags).u8(token);
    let patched = |at: u16, change: &[u8]| hello(start(0), REMAC | PATCH, 0).u16(at).sized(change).0;
    let mut seeds: Vec<Vec<u8>> = (0..5).map(|token| hello(start(0), token & 1, token).0).collect();
    // The same again; another attempt with the same token; both after the first was forgotten.
    let again = hello(hello(start(0), 0, 0), 0, 0).u8(1).u8(2).u8(0).u8(0);
    seeds.push(again.clone().u8(3).u8(0).u16(5000).u8(1).u8(0).u8(0).u8(0).0);
    seeds.push(again.u8(3).u8(0).u16(40_000).u8(1).u8(0).u8(0).u8(0).0);
    // Under load, without and with a cookie, with one of another address, and beyond the last limit.
    seeds.push(hello(hello(start(1), 0, 0), COOKIE, 0).0);
    seeds.push(hello(hello(start(3), COOKIE, 0), COOKIE | 0x40, 0).0);
    seeds.push(hello(hello(start(2), 0, 0), COOKIE, 0).0);
    seeds.push(hello(start(4), 0, 0).0);
    seeds.push(hello(hello(start(0x20), 0, 0), 0, 1).0);
    seeds.push(hello(hello(Script::default().u8(1 << 3), 0, 0), 0, 1).0);
    // Every field, changed and authentic: version, cipher, reserved, protocol, time, hashes, features, key, token.
    for (at, change) in [
        (1, 2),
        (2, 3),
        (3, 1),
        (3, 2),
        (4, 1),
        (12, 1),
        (20, 1),
        (28, 1),
        (36, 1),
        (80, 1),
        (110, 1),
        (401, 4),
        (600, 1),
    ] {
        seeds.push(patched(at, &[change]));
    }
    // A public key of zero, a wrong MAC, a truncated HELLO.
    seeds.push(patched(PUBLIC_AT as u16, &[9]));
    seeds.push(hello(start(0), PATCH, 0).u16(1190).sized(&[1]).0);
    seeds.push(hello(start(0), 0x80, 0).u16(1199).0);
    for raw in [&[][..], &[HELLO], &[9; 20], &[0x40; 60], &[0xc0; 40]] {
        seeds.push(start(0).u8(0).u8(0).sized(raw).0);
    }
    seeds
}

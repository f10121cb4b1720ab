//! Whatever arrives at a client that connects, against a model of its rules.
//!
//! Nothing unauthentic ends or makes a connection (an unproven refusal only after a wait); every dropped datagram is
//! counted once; HELLOs stay the same but for the cookie and are as many as the rules allow; what a server says after
//! that is delivered only within the channels' limits, and nothing follows a disconnect.

use std::time::Duration;

use netcode::Time;
use netcode::channel::Kind;
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent, ClientState};
use netcode::crypto::{Aead, Entropy, PacketKey, SessionKeys, handshake_mac_key};
use netcode::error::{DisconnectReason, RefuseReason};
use netcode::features::Features;
use netcode::frame::{Head, write_message};
use netcode::handshake::{
    ACCEPT, ACCEPT_BYTES, Accepted, HELLO_BYTES, MAX_TICK, REFUSE, REFUSE_BYTES, RETRY, RETRY_BYTES, write_refuse,
    write_retry,
};
use netcode::packet::{BASE_DATAGRAM, ConnId, Header, MAX_DATAGRAM, S2C_HEADER};

use super::fixture::{self, FuzzEntropy};
use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Connected => "connected",
    BadAccept => "a changed ACCEPT",
    InsaneAccept => "an authentic ACCEPT of nonsense",
    OtherChannels => "an ACCEPT with other channels",
    OtherSchema => "an ACCEPT with another schema",
    Retried => "a RETRY followed",
    TooManyRetries => "one RETRY too many",
    Refused => "a proven refusal",
    Unproven => "an unproven refusal believed after its wait",
    Outrun => "an unproven refusal that an ACCEPT outran",
    TimedOut => "a handshake that timed out",
    Data => "a data packet taken",
    Block => "a block from the server",
    Replayed => "a data packet twice",
    IdleTimeout => "an idle timeout",
    ByPeer => "closed by the server",
    ProtocolError => "closed for a protocol error",
}

const MAX_STEPS: usize = 24;
const COOKIE: std::ops::Range<usize> = 44..76;
const MAX_RETRIES: usize = 8;
const UNPROVEN_WAIT: Duration = Duration::from_secs(1);

/// The target. The first byte chooses the cipher, then come datagrams and waits.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::new(program.u8());
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        match program.u8() % 6 {
            0 => world.raw(program.sized(MAX_DATAGRAM + 50)),
            1 => world.retry(&mut program),
            2 => world.refuse(&mut program),
            3 => world.accept(&mut program),
            4 => world.wait(u64::from(program.u16())),
            _ => world.data(&mut program),
        }
        world.settle();
    }
}

/// Where the client must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Connecting { refusal: Option<(RefuseReason, Time)> },
    Connected,
    Over,
}

struct World {
    client: ClientEndpoint,
    entropy: FuzzEntropy,
    now: Time,
    hello: [u8; HELLO_BYTES],
    hellos: usize,
    retries: usize,
    /// An authentic ACCEPT was seen: its one-time key is gone.
    key_used: bool,
    expected: Expected,
    keys: Option<SessionKeys>,
    next_pn: u64,
    sent: Vec<Vec<u8>>,
    events: usize,
    over: bool,
}

impl World {
    fn new(choice: u8) -> Self {
        let mut config = ClientConfig::new(fixture::SCHEMA_HASH);
        config.channels = fixture::LAB.0.clone();
        config.aead = if choice & 1 == 0 { Aead::Aes128Gcm } else { Aead::ChaCha20Poly1305 };
        let mut entropy = FuzzEntropy::new();
        let ephemeral = entropy.ephemeral().expect("the system's entropy works");
        let now = Time::from_millis(1);
        let mut client = ClientEndpoint::connect(config, &fixture::bundle(), ephemeral, now).expect("a good config");
        let mut hello = [0; HELLO_BYTES];
        assert_eq!(client.poll_transmit(now, &mut hello), Some(HELLO_BYTES));
        Self {
            client,
            entropy,
            now,
            hello,
            hellos: 1,
            retries: 0,
            key_used: false,
            expected: Expected::Connecting { refusal: None },
            keys: None,
            next_pn: 0,
            sent: Vec::new(),
            events: 0,
            over: false,
        }
    }

    fn attempt(&self) -> [u8; 16] {
        self.hello[HELLO_BYTES - 16..].try_into().expect("16 bytes")
    }

    /// Hands a datagram to the client; returns how many drops it counted: none or one.
    fn hand_over(&mut self, datagram: &[u8]) -> u64 {
        let before = self.client.drops().total();
        self.client.handle_datagram(self.now, &mut datagram.to_vec());
        let dropped = self.client.drops().total() - before;
        assert!(dropped <= 1);
        dropped
    }

    /// Bytes that nobody authenticated. They can only be a RETRY or an unproven REFUSE of this attempt by copying it.
    fn raw(&mut self, datagram: &[u8]) {
        if datagram.len() >= 20 && datagram[4..20] == self.attempt() {
            return;
        }
        assert_eq!(self.hand_over(datagram), 1, "junk is counted");
    }

    fn retry(&mut self, program: &mut Program<'_>) {
        let mut cookie = [0; 32];
        program.take(32).iter().zip(&mut cookie).for_each(|(from, to)| *to = *from);
        let mut datagram = write_retry(&self.attempt(), &cookie);
        let (flags, changed) = (program.u8(), patch(program, &mut datagram[..20]));
        let genuine = !changed && matches!(self.expected, Expected::Connecting { .. });
        if datagram[0] != RETRY {
            return;
        }
        let taken = genuine && self.retries < MAX_RETRIES && flags & 1 == 0;
        let len = if flags & 1 == 0 { RETRY_BYTES } else { usize::from(flags) % RETRY_BYTES };
        assert_eq!(self.hand_over(&datagram[..len]), u64::from(!taken));
        if taken {
            reach(Feature::Retried);
            self.retries += 1;
            self.hello[COOKIE].copy_from_slice(&cookie);
        } else if genuine && self.retries == MAX_RETRIES {
            reach(Feature::TooManyRetries);
        }
    }

    fn refuse(&mut self, program: &mut Program<'_>) {
        let which = usize::from(program.u8());
        let reason = RefuseReason::ALL[which % RefuseReason::ALL.len()];
        let proven = which & 0x80 != 0;
        let key = proven.then(|| handshake_mac_key(&fixture::psk()));
        let mut datagram = write_refuse(&self.attempt(), reason, key.as_ref());
        let changed = patch(program, &mut datagram[..20]);
        if datagram[0] != REFUSE {
            return;
        }
        let dropped = self.hand_over(&datagram[..REFUSE_BYTES]);
        let Expected::Connecting { refusal } = &mut self.expected else {
            assert_eq!(dropped, 1, "a late refusal is counted");
            return;
        };
        if dropped == 1 {
            assert!(changed, "a good refusal is dropped");
        } else if proven && !changed {
            reach(Feature::Refused);
            self.expected = Expected::Over;
            self.expect_end(DisconnectReason::Refused(reason));
        } else if refusal.is_none() {
            // A changed reason breaks the MAC, so it is another reason's unproven refusal.
            let reason = RefuseReason::from_wire(datagram[1]).expect("only known reasons are taken");
            *refusal = Some((reason, self.now + UNPROVEN_WAIT));
        }
    }

    fn accept(&mut self, program: &mut Program<'_>) {
        let flags = program.u8();
        let accepted = Accepted {
            conn: ConnId(program.u32()),
            tick: program.u64(),
            server_time: program.u64(),
            client_time: self.now.as_micros(),
            rate: if flags & 1 == 0 { fixture::RATE } else { 0 },
            max_datagram: if flags & 0x20 == 0 { MAX_DATAGRAM as u16 } else { BASE_DATAGRAM as u16 - 1 },
            idle_ms: if flags & 2 == 0 { 10_000 } else { 0 },
            channel_hash: fixture::LAB.1 ^ u64::from(flags >> 2 & 1),
            schema_hash: fixture::SCHEMA_HASH ^ u64::from(flags >> 3 & 1),
            down_cap: 0,
            up_cap: 0,
            features: match flags >> 4 & 5 {
                0 => Features::ALL,
                4 => Features::NONE,
                // Nobody offered that.
                _ => Features(1 << 3),
            },
        };
        let (mut datagram, keys) = fixture::accept(&mut self.entropy, &self.hello, &accepted);
        let changed = patch(program, &mut datagram);
        if datagram[0] != ACCEPT {
            return;
        }
        let dropped = self.hand_over(&datagram[..ACCEPT_BYTES]);
        let Expected::Connecting { refusal } = self.expected else {
            assert_eq!(dropped, 1, "a late ACCEPT is counted");
            return;
        };
        if changed || self.key_used {
            assert_eq!(dropped, 1);
            return reach(Feature::BadAccept);
        }
        self.key_used = true;
        if flags & 0x33 != 0 || accepted.tick >= MAX_TICK {
            assert_eq!(dropped, 1, "nonsense is counted");
            return reach(Feature::InsaneAccept);
        }
        assert_eq!(dropped, 0);
        if flags & 12 != 0 {
            let channels = flags & 4 != 0;
            reach(if channels { Feature::OtherChannels } else { Feature::OtherSchema });
            self.expected = Expected::Over;
            let reason = if channels { RefuseReason::ChannelMismatch } else { RefuseReason::SchemaMismatch };
            return self.expect_end(DisconnectReason::Refused(reason));
        }
        reach(if refusal.is_some() { Feature::Outrun } else { Feature::Connected });
        self.expected = Expected::Connected;
        self.keys = Some(keys);
        match self.client.poll_event() {
            Some(ClientEvent::Connected(told)) => assert_eq!(told, accepted),
            other => panic!("not the news of a connection: {other:?}"),
        }
    }

    /// A data packet under the session's keys: of the next number, or one before again.
    fn data(&mut self, program: &mut Program<'_>) {
        let Some(keys) = &self.keys else { return };
        let flags = program.u8();
        let datagram = if flags & 0x80 != 0 && !self.sent.is_empty() {
            reach(Feature::Replayed);
            self.sent[usize::from(flags & 0x7f) % self.sent.len()].clone()
        } else {
            let mut datagram = vec![0; S2C_HEADER];
            Header::write(&mut datagram, None, self.next_pn, false);
            datagram.extend_from_slice(program.sized(MAX_DATAGRAM - S2C_HEADER - 16));
            let (aad, plaintext) = datagram.split_at_mut(S2C_HEADER);
            let tag = PacketKey::from_secret(keys.aead, &keys.s2c)
                .seal(self.next_pn, aad, plaintext)
                .expect("a short plaintext");
            datagram.extend_from_slice(&tag);
            self.next_pn += 1 + u64::from(flags & 3);
            datagram
        };
        let again = self.sent.contains(&datagram);
        let open = self.expected == Expected::Connected;
        let dropped = self.hand_over(&datagram);
        if !open {
            // A closed connection takes no notice, nor does it count.
            assert!(self.client.poll_event().is_none());
        } else if again {
            assert_eq!((dropped, self.client.poll_event().is_none()), (1, true), "a replay is taken");
        } else {
            if dropped == 0 {
                reach(Feature::Data);
            }
            self.sent.push(datagram);
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        let before = self.expected;
        self.client.handle_timeout(self.now);
        if let Expected::Connecting { refusal } = before {
            let end = match refusal {
                Some((reason, at)) if at <= self.now => Some((DisconnectReason::Refused(reason), Feature::Unproven)),
                _ if self.now >= Time::from_millis(10_001) => {
                    Some((DisconnectReason::HandshakeTimeout, Feature::TimedOut))
                }
                _ => None,
            };
            if let Some((reason, feature)) = end {
                reach(feature);
                self.expected = Expected::Over;
                self.expect_end(reason);
            }
        }
    }

    fn expect_end(&mut self, reason: DisconnectReason) {
        match self.client.poll_event() {
            Some(ClientEvent::Disconnected(told)) => assert_eq!(told, reason),
            other => panic!("not the end for {reason:?}: {other:?}"),
        }
        self.over = true;
    }

    /// What the client says now must fit what it was told.
    fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            assert!(!self.over, "{event:?} after the end");
            self.events += 1;
            match event {
                ClientEvent::Connected(_) => panic!("connected without an ACCEPT"),
                ClientEvent::Message { channel, bytes, .. } => {
                    let limits = fixture::LAB.0.get(channel).expect("a channel of the table");
                    assert!(bytes.len() <= limits.max_message as usize);
                    bucket(u64::from(channel) << 8 | bytes.len().min(4) as u64);
                }
                ClientEvent::Block { .. } => reach(Feature::Block),
                ClientEvent::Disconnected(reason) => {
                    assert_eq!(self.expected, Expected::Connected, "{reason:?} ends an attempt");
                    reach(match reason {
                        DisconnectReason::IdleTimeout => Feature::IdleTimeout,
                        DisconnectReason::ByPeer(_) => Feature::ByPeer,
                        DisconnectReason::Local(_) => Feature::ProtocolError,
                        other => panic!("a connection cannot end with {other:?}"),
                    });
                    self.expected = Expected::Over;
                    self.over = true;
                }
            }
        }
        let state = match self.expected {
            Expected::Connecting { .. } => ClientState::Connecting,
            Expected::Connected => ClientState::Connected,
            Expected::Over => ClientState::Closed,
        };
        assert_eq!(self.client.state(), state);
        self.transmit();
    }

    fn transmit(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        for sent in 0.. {
            let Some(len) = self.client.poll_transmit(self.now, &mut out) else { break };
            assert!(sent < 4, "packets without end");
            if self.keys.is_none() {
                self.hellos += 1;
                assert!(out[..len] == self.hello, "another HELLO than the first with the cookie");
                // The first after 250 ms, then at most half as long again, and one for each RETRY.
                let resends = 3 + (self.now.as_micros() / 500_000) as usize;
                assert!(self.hellos <= resends + self.retries, "{} HELLOs", self.hellos);
            }
        }
    }
}

/// Changes bytes as the input says; whether it made a difference.
fn patch(program: &mut Program<'_>, datagram: &mut [u8]) -> bool {
    let before = datagram.to_vec();
    for _ in 0..program.u8() & 3 {
        let at = usize::from(program.u8()) % datagram.len();
        datagram[at] ^= program.u8();
    }
    datagram != before.as_slice()
}

/// Each answer, good and changed, alone and one after the other; then data of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = || Script::default().u8(0);
    let accept = |script: Script, flags: u8| script.u8(3).u8(flags).bytes(&[1, 4, 0, 0]).u64(900).u64(7).u8(0);
    let refuse = |script: Script, which: u8| script.u8(2).u8(which).u8(0);
    let retry = |script: Script, cookie: u8| script.u8(1).bytes(&[cookie; 32]).u8(0).u8(0);
    let wait = |script: Script, millis: u16| script.u8(4).u16(millis);
    let data = |script: Script, plaintext: &[u8]| script.u8(5).u8(0).sized(plaintext);
    let connected = || accept(start(), 0);
    let mut scripts = vec![
        connected(),
        accept(Script::default().u8(1), 0),
        accept(retry(start(), 3), 0),
        refuse(start(), 3),
        refuse(start(), 0x84),
        wait(wait(refuse(start(), 2), 400), 700),
        accept(wait(refuse(start(), 2), 400), 0),
        wait(wait(wait(start(), 300), 5000), 6000),
        (0..10).fold(start(), retry),
        wait(connected(), 11_000),
    ];
    scripts.extend([1, 2, 4, 8, 0x10, 0x20, 0x40].map(|flags| accept(accept(start(), flags), 0)));
    scripts.extend([0, 5, 30, 60, 140].map(|at| start().u8(3).u8(0).bytes(&[0; 20]).u8(1).u8(at).u8(1)));
    scripts.extend(
        [&[][..], &[RETRY; 52], &[ACCEPT; 152], &[REFUSE; 36], &[0x40; 30]].map(|raw| start().u8(0).sized(raw)),
    );
    for plaintext in fixture::plaintexts() {
        scripts.push(data(connected(), &plaintext));
    }
    let chunk = Head::Chunk { id: 0, total: 9, index: 0 };
    let block = fixture::plaintext(None, |w| assert!(write_message(w, 7, Kind::Block, chunk, b"all of it")));
    scripts.push(data(connected(), &block));
    let all = fixture::plaintexts().iter().fold(connected(), |script, plaintext| data(script, plaintext));
    scripts.push(all.u8(5).u8(0x80));
    scripts.push((0..4).fold(connected(), |script, _| data(script, &[0xff; 9])));
    scripts.into_iter().map(|script| script.0).collect()
}

//! Junk for a server on this machine, as fast as the sockets take it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netcode::Time;
use netcode::channel::Table;
use netcode::client::{ClientConfig, ClientEndpoint};
use netcode::crypto::{Aead, Entropy as _, OsEntropy, PUBLIC_KEY_BYTES, TAG_BYTES};
use netcode::features::Features;
use netcode::handshake::{COOKIE_BYTES, HELLO_BYTES, Hello, RawHello};
use netcode::packet::{BASE_DATAGRAM, ConnId, Header};
use netcode::rng::Rng;
use netcode::token::{TOKEN_BYTES, TOKEN_VERSION, Token};
use netcode::version::VERSION;
use sim::SCHEMA;

use super::clock::Clock;
use super::error::RunError;
use super::lines;
use super::tokens::Tokens;

/// Sockets that take turns.
const SOCKETS: u8 = 16;
/// Datagrams between two looks at the clock.
const BATCH: u32 = 64;
/// Slots that made-up connection ids name: those that a server fills first.
const SLOTS: u64 = 4096;
/// Bytes of a made-up data packet between its header and its tag, at the most.
const MAX_CONTENTS: u64 = 200;

/// The key epoch that a server without configuration has.
const TOKEN_EPOCH: u8 = 0;
/// Where a HELLO has its token's id (SPEC.md, "HELLO").
const TOKEN_ID_AT: usize = 120;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Junk {
    /// Random bytes of random length.
    Random,
    /// Valid headers, random contents.
    Header,
    /// HELLOs with a token that nobody issued.
    Hello,
    /// One valid HELLO.
    ReplayedHello,
}

/// Makes one datagram after the other.
struct Source {
    kind: Junk,
    rng: Rng,
    bytes: [u8; HELLO_BYTES],
}

impl Source {
    fn next(&mut self) -> &[u8] {
        let len = match self.kind {
            Junk::Random => {
                let len = 1 + self.rng.below(BASE_DATAGRAM as u64) as usize;
                self.scramble(0, len);
                len
            }
            Junk::Header => {
                let conn = ConnId::new(0, self.rng.below(SLOTS) as u16, self.rng.below(2) as u16);
                let head = Header::write(&mut self.bytes, Some(conn), self.rng.below(1 << 16), false);
                let len = head + 1 + self.rng.below(MAX_CONTENTS) as usize + TAG_BYTES;
                self.scramble(head, len);
                len
            }
            Junk::Hello => {
                // Another token each time, and another attempt: its MAC is the attempt's name.
                self.scramble(TOKEN_ID_AT, TOKEN_ID_AT + 16);
                self.scramble(HELLO_BYTES - TAG_BYTES, HELLO_BYTES);
                HELLO_BYTES
            }
            Junk::ReplayedHello => HELLO_BYTES,
        };
        self.bytes.get(..len).unwrap_or_default()
    }

    fn scramble(&mut self, from: usize, to: usize) {
        self.rng.fill(self.bytes.get_mut(from..to).unwrap_or_default());
    }
}

/// A flood.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub server: SocketAddr,
    pub http: Option<SocketAddr>,
    pub kind: Junk,
    pub seconds: f64,
    pub rate: Option<u32>,
    pub seed: u64,
}

/// Sends it, and prints how much that was.
pub fn run(flood: &Flood) -> Result<bool, RunError> {
    let sockets = (0..SOCKETS).map(|at| open(flood.server, at)).collect::<Result<Vec<_>, _>>()?;
    let hello = match flood.kind {
        Junk::ReplayedHello => valid_hello(flood)?,
        Junk::Hello => worthless_hello(),
        Junk::Random | Junk::Header => [0; HELLO_BYTES],
    };
    let mut source = Source { kind: flood.kind, rng: Rng::new(flood.seed), bytes: hello };
    let clock = Clock::start();
    let end = Time::ZERO + Duration::from_secs_f64(flood.seconds);
    let (mut sent, mut refused, mut bytes) = (0u64, 0u64, 0u64);
    let mut turns = sockets.iter().cycle();
    loop {
        let now = clock.now();
        if now >= end {
            break;
        }
        let due = flood.rate.map_or(u64::MAX, |rate| u64::from(rate) * now.as_micros() / 1_000_000);
        if sent + refused >= due {
            pause(Duration::from_micros(200));
            continue;
        }
        for _ in 0..u64::from(BATCH).min(due - sent - refused) {
            let Some(socket) = turns.next() else { break };
            let datagram = source.next();
            match socket.send(datagram) {
                Ok(_) => (sent, bytes) = (sent + 1, bytes + datagram.len() as u64),
                Err(_) => refused += 1,
            }
        }
    }
    let seconds = clock.now().as_micros() as f64 / 1e6;
    lines::result(format_args!(
        "{sent} datagrams in {seconds:.2} s: {:.0}/s, {:.1} MB/s; the system took {refused} not",
        sent as f64 / seconds,
        bytes as f64 / seconds / 1e6
    ))?;
    Ok(true)
}

/// A socket at one of several loopback addresses (IPv4 has many), the first of which is the players'.
fn open(server: SocketAddr, at: u8) -> Result<UdpSocket, RunError> {
    let here: IpAddr = match server.ip() {
        IpAddr::V4(_) => Ipv4Addr::new(127, 0, at, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(here, 0)).map_err(RunError::system("open a socket"))?;
    socket.connect(server).map_err(RunError::system("address the server"))?;
    // Blocking, it would wait for a server that is slow; a flood does not.
    socket.set_nonblocking(true).map_err(RunError::system("open a socket"))?;
    Ok(socket)
}

/// The HELLO of a client that means it.
fn valid_hello(flood: &Flood) -> Result<[u8; HELLO_BYTES], RunError> {
    let bundle = Tokens::open(flood.server, flood.http, 1, 0, None)?.take().ok_or(RunError::NoToken)?;
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    let ephemeral = OsEntropy::new().ephemeral()?;
    let mut client = ClientEndpoint::connect(ClientConfig::new(SCHEMA.hash()), &bundle, ephemeral, Time::ZERO)?;
    let mut hello = [0; HELLO_BYTES];
    client.poll_transmit(Time::ZERO, &mut hello);
    Ok(hello)
}

/// A HELLO that is right in all that can be checked without a key, with a token of which only the head looks right.
fn worthless_hello() -> [u8; HELLO_BYTES] {
    let mut token = [0x5a; TOKEN_BYTES];
    token[..4].copy_from_slice(&[TOKEN_VERSION, TOKEN_EPOCH, 0, 0]);
    let hello = Hello {
        highest_version: VERSION,
        aead: Aead::default(),
        client_time: 0,
        channel_hash: Table::standard().hash(),
        schema_hash: SCHEMA.hash(),
        features: Features::ALL,
        cookie: [0; COOKIE_BYTES],
        public: [9; PUBLIC_KEY_BYTES],
        token: Token(token),
        max_datagram: BASE_DATAGRAM as u16,
    };
    let mut bytes = [0; HELLO_BYTES];
    // The key is nobody's; what it makes is replaced each time.
    let _ = hello.write(&mut bytes, &[0; 32]);
    debug_assert_eq!(RawHello::read(&bytes).map(|hello| hello.token_id()), Ok([0x5a; 16]));
    debug_assert_eq!(bytes.get(TOKEN_ID_AT - 12..TOKEN_ID_AT), token.get(..12), "the token lies there");
    bytes
}

#[expect(clippy::disallowed_methods, reason = "the main thread has nothing to wait for but time")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

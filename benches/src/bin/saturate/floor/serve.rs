//! The floor's server: one socket, one thread.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use ring::aead::{Aad, LessSafeKey};
use socket2::{Domain, Socket, Type};

use super::{BUFFER_KIB, Counts, DOWN_HEADER, Lengths, Load, UP_HEADER, key, nonce, seal};
use crate::batch::{BATCH, Receiver, Sender};
use crate::error::Error;
use crate::now;
use crate::stop::Stop;

/// System calls for receiving in a row: as the server's worker does.
const RECEIVES_PER_TURN: usize = 4;

struct Peer {
    up: LessSafeKey,
    down: LessSafeKey,
    addr: Option<SocketAddr>,
    number: u16,
}

struct Server {
    load: Load,
    poll: Poll,
    socket: UdpSocket,
    receiver: Receiver,
    sender: Sender,
    peers: Vec<Peer>,
    lengths: Lengths,
    /// Whose turn it is.
    next: usize,
    /// Datagrams of a tick that are not whole ones.
    owed: f64,
    readable: bool,
    counts: Counts,
}

/// Runs it until its time is over or a signal comes.
pub fn run(load: Load) -> Result<(), Error> {
    let stop = Stop::watch()?;
    let mut server = Server::new(load).map_err(Error::system("open the floor's socket"))?;
    let mut events = Events::with_capacity(16);
    let start = now();
    let period = Duration::from_secs(1) / u32::from(load.hz);
    let mut due = start + period;
    let mut next_line = start + Duration::from_secs(1);
    while !stop.is_set() && start.elapsed().as_secs_f64() < load.limit {
        server.wait(&mut events, due).map_err(Error::system("wait for datagrams"))?;
        server.receive();
        let at = now();
        if at >= due {
            due += period;
            server.tick();
        }
        if at >= next_line {
            next_line += Duration::from_secs(1);
            say(&server.counts.json().to_string())?;
        }
    }
    Ok(())
}

/// Whoever reads this wants it now.
fn say(line: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::system("write to stdout"))
}

impl Server {
    fn new(load: Load) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(BUFFER_KIB * 1024)?;
        socket.set_send_buffer_size(BUFFER_KIB * 1024)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let mut socket = UdpSocket::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        let _ = say(&socket.local_addr()?.to_string());
        let peer = |client| Peer { up: key(client, false), down: key(client, true), addr: None, number: 0 };
        Ok(Self {
            load,
            poll,
            socket,
            receiver: Receiver::new(),
            sender: Sender::new(),
            peers: (0..load.players).map(peer).collect(),
            lengths: Lengths::new(load.down_bytes),
            next: 0,
            owed: 0.0,
            readable: true,
            counts: Counts::default(),
        })
    }

    fn wait(&mut self, events: &mut Events, due: Instant) -> std::io::Result<()> {
        let timeout = if self.readable { Duration::ZERO } else { due.saturating_duration_since(now()) };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.readable |= events.iter().any(mio::event::Event::is_readable);
        Ok(())
    }

    fn receive(&mut self) {
        for _ in 0..RECEIVES_PER_TURN {
            if !self.readable {
                return;
            }
            let count = self.receiver.receive(&self.socket).unwrap_or(0);
            self.readable = count == BATCH;
            for at in 0..count {
                let Some((from, datagram)) = self.receiver.datagram(at) else { continue };
                match open(&mut self.peers, from, datagram) {
                    Some(first) => {
                        self.counts.packets_in += 1;
                        self.counts.known += u64::from(first);
                    }
                    None => self.counts.failed += 1,
                }
            }
        }
    }

    /// All that is due in a tick, to one client after the other.
    fn tick(&mut self) {
        self.counts.ticks += 1;
        self.owed += self.load.down_per_s / f64::from(self.load.hz);
        let count = self.owed.floor();
        self.owed -= count;
        let players = self.peers.len();
        for _ in 0..count as u64 {
            let at = self.next;
            self.next = (at + 1) % players.max(1);
            if self.sender.slot().is_none() {
                self.flush();
            }
            let Some(peer) = self.peers.get_mut(at) else { return };
            let Some(addr) = peer.addr else { continue };
            let Some(slot) = self.sender.slot() else { return };
            peer.number = peer.number.wrapping_add(1);
            let [low, high] = peer.number.to_le_bytes();
            let len = self.lengths.next(DOWN_HEADER);
            if seal(&peer.down, peer.number, &[0x40, low, high], slot, len).is_some() {
                self.sender.commit(addr, len);
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let flushed = self.sender.flush(&self.socket);
        self.counts.packets_out += flushed.sent;
        // What the kernel does not take at once is lost: it is to take everything.
        self.counts.failed += flushed.refused + self.sender.clear();
    }
}

/// Opens a datagram; whether it is its client's first one. `None`: it cannot be opened.
fn open(peers: &mut [Peer], from: SocketAddr, datagram: &mut [u8]) -> Option<bool> {
    let (header, body) = datagram.split_at_mut_checked(UP_HEADER)?;
    let &mut [_, a, b, c, d, low, high] = header else { return None };
    let peer = peers.get_mut(usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?)?;
    peer.up.open_in_place(nonce([low, high]), Aad::from(&*header), body).ok()?;
    Some(peer.addr.replace(from).is_none())
}

//! A socket, an endpoint and the players in it.

use std::io;
use std::sync::Arc;

use benches::peer::{CONNECT_TIMEOUT, RELIABLE, UNRELIABLE, nanos, now_ns, server_config, sleep_until, time, unix_ms};
use benches::peer::{Kind, Workload};
use mio::net::UdpSocket;
use netcode::Time;
use netcode::crypto::{CookieKey, Entropy, OsEntropy};
use netcode::packet::{ConnId, conn_of};
use netcode::prefetch::{Prefetch, Way};
use netcode::server::{ServerEndpoint, ServerEvent, SingleUse};
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::{BATCH, Receiver, Sender, prefetch};

/// Bytes of the socket's buffers, which the kernel doubles.
const SOCKET_BYTES: usize = 4 << 20;
/// So many packets before its turn a connection's state is asked for.
const AHEAD: usize = 4;
const PREFETCH: Prefetch = Prefetch::new(prefetch);
/// After so many datagrams the engine is asked for what it wants to send for a reason of its own.
const CONTROL_EVERY: usize = 16;
/// How often the engine is polled while clients come in.
const ACCEPT_POLL: u64 = 1_000_000;

/// Everything but the workload.
pub struct World {
    socket: UdpSocket,
    receiver: Receiver,
    sender: Sender,
    endpoint: ServerEndpoint,
    entropy: OsEntropy,
    /// In the order in which they came.
    players: Vec<ConnId>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a server's keys are drawn from the system's entropy")]
    pub fn bind(workload: &Workload) -> io::Result<Self> {
        let mut entropy = OsEntropy::new();
        let mut cookie_key = [0; 32];
        entropy.fill(&mut cookie_key).map_err(io::Error::other)?;
        let single_use = Arc::new(SingleUse::new(usize::from(workload.clients())));
        let endpoint = ServerEndpoint::new(server_config(workload.clients()), CookieKey::new(cookie_key), single_use);
        Ok(Self {
            socket: bind(workload)?,
            receiver: Receiver::new(),
            sender: Sender::new(),
            endpoint,
            entropy,
            players: Vec::with_capacity(usize::from(workload.clients())),
        })
    }

    pub fn players(&self) -> usize {
        self.players.len()
    }

    /// Polls until all clients are in; false when they are not within [`CONNECT_TIMEOUT`].
    pub fn accept(&mut self, clients: u16) -> io::Result<bool> {
        let deadline = now_ns() + nanos(CONNECT_TIMEOUT);
        while self.players.len() < usize::from(clients) {
            self.poll(|_| {})?;
            let now = now_ns();
            if now > deadline {
                return Ok(false);
            }
            sleep_until(now + ACCEPT_POLL);
        }
        Ok(true)
    }

    /// Takes everything that has arrived, runs the timers, sends what connections want sent for a reason of their own, and
    /// hands each message to `sink`.
    pub fn poll(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        let unix_ms = unix_ms();
        loop {
            let count = self.receiver.receive(&self.socket)?;
            let now = time(now_ns());
            for at in 0..count + AHEAD {
                self.expect(at);
                let Some(at) = at.checked_sub(AHEAD) else { continue };
                if let Some((from, datagram)) = self.receiver.datagram(at) {
                    self.endpoint.handle_datagram(now, unix_ms, from, datagram, &mut self.entropy);
                }
                // Who sends many gets its acks in between.
                if at % CONTROL_EVERY == CONTROL_EVERY - 1 {
                    self.write_control(now);
                }
            }
            self.take_events(&mut sink);
            self.flush();
            if count < BATCH {
                break;
            }
        }
        let now = time(now_ns());
        self.endpoint.handle_timeout(now);
        self.take_events(&mut sink);
        self.send_control(now);
        Ok(())
    }

    /// Brings near what the datagrams need that are to be handled soon: the `at`-th, and what one before it points to.
    fn expect(&mut self, at: usize) {
        for (at, itself) in [(Some(at), true), (at.checked_sub(AHEAD / 2), false)] {
            let datagram = at.and_then(|at| self.receiver.datagram(at));
            if let Some(conn) = datagram.and_then(|(_, datagram)| conn_of(datagram)) {
                self.endpoint.prefetch(conn.slot(), Way::In, itself, PREFETCH);
            }
        }
    }

    /// Brings near what the next players need.
    fn expect_turns(&self, at: usize) {
        for (at, itself) in [(at + AHEAD, true), (at + AHEAD / 2, false)] {
            if let Some(conn) = self.players.get(at) {
                self.endpoint.prefetch(conn.slot(), Way::Out, itself, PREFETCH);
            }
        }
    }

    fn take_events(&mut self, sink: &mut impl FnMut(&[u8])) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ServerEvent::Connected { conn, .. } => self.players.push(conn),
                ServerEvent::Message { bytes, .. } => sink(bytes),
                ServerEvent::Disconnected { conn, .. } => self.players.retain(|player| *player != conn),
                ServerEvent::Block { .. } | ServerEvent::Acked { .. } | ServerEvent::Lost { .. } => {}
            }
        }
    }

    fn send_control(&mut self, now: Time) {
        self.write_control(now);
        self.flush();
    }

    fn write_control(&mut self, now: Time) {
        loop {
            let Some(slot) = self.sender.slot() else {
                self.flush();
                continue;
            };
            let Some((to, len)) = self.endpoint.poll_transmit_control(now, slot) else { break };
            self.sender.commit(to, len);
        }
    }

    /// The tick that packets name from now on.
    pub fn set_tick(&mut self, tick: u64) {
        self.endpoint.set_tick(tick);
    }

    /// Queues a message for the player in place `at`.
    pub fn send(&mut self, now: Time, at: usize, kind: Kind, message: &[u8]) -> bool {
        let channel = match kind {
            Kind::Unreliable => UNRELIABLE,
            Kind::Reliable => RELIABLE,
        };
        self.expect_turns(at);
        self.players.get(at).is_some_and(|conn| self.endpoint.send(now, *conn, channel, message).is_ok())
    }

    /// Writes the tick's packet of the player in place `at`; it leaves when a batch is full, or by [`World::flush`].
    pub fn transmit(&mut self, now: Time, at: usize) {
        if self.sender.slot().is_none() {
            self.flush();
        }
        let (Some(slot), Some(conn)) = (self.sender.slot(), self.players.get(at)) else { return };
        if let Some(sent) = self.endpoint.transmit(now, *conn, slot, None) {
            self.sender.commit(sent.to, sent.len);
        }
    }

    /// Hands everything written to the kernel. What it does not take is lost, as it would be on the wire.
    pub fn flush(&mut self) {
        self.sender.flush(&self.socket);
        self.sender.clear();
    }
}

fn bind(workload: &Workload) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.bind(&workload.addr().into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

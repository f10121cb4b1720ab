//! The floor's clients: a socket each, as the bots have. They take what comes without looking at it, and send evenly in time.
//!
//! They take it as the bots do, since who waits for a datagram, and when it is fetched, is part of what its delivery costs
//! the sender: as many as there are whole clients when it comes, the others right before they send.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use ring::aead::LessSafeKey;

use super::{Lengths, Load, UP_HEADER, key, seal};
use crate::descriptors;
use crate::error::Error;
use crate::now;
use crate::stop::Stop;

/// Events taken from the system at once.
const EVENTS: usize = 1024;

struct Client {
    socket: UdpSocket,
    key: LessSafeKey,
    number: u16,
    /// What comes is taken when it comes.
    watched: bool,
}

/// Runs them until their time is over or a signal comes.
pub fn run(load: Load, server: SocketAddr) -> Result<(), Error> {
    let stop = Stop::watch()?;
    descriptors::raise(u64::from(load.players) + descriptors::SPARE)?;
    let mut poll = Poll::new().map_err(Error::system("start the event loop"))?;
    let clients: Result<Vec<_>, _> =
        (0..load.players).map(|at| Client::open(at, at < load.watched, server, &poll)).collect();
    let mut clients = clients.map_err(Error::system("open a client's socket"))?;
    let mut events = Events::with_capacity(EVENTS);
    let mut lengths = Lengths::new(load.up_bytes);
    let (mut buffer, mut sent) = ([0; 2048], 0u64);
    let start = now();
    while !stop.is_set() && start.elapsed().as_secs_f64() < load.limit {
        match poll.poll(&mut events, Some(Duration::from_millis(1))) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(Error::System { what: "wait for datagrams".into(), error });
            }
            _ => {}
        }
        for event in &events {
            let Some(client) = clients.get(event.token().0) else { continue };
            client.receive(&mut buffer);
        }
        // Each in its turn, so each at even intervals and all at different times.
        let due = (start.elapsed().as_secs_f64() * load.up_per_s) as u64;
        while sent < due {
            let at = (sent % u64::from(load.players)) as usize;
            if let Some(client) = clients.get_mut(at) {
                if !client.watched {
                    client.receive(&mut buffer);
                }
                client.send(at as u32, lengths.next(UP_HEADER), &mut buffer);
            }
            sent += 1;
        }
    }
    Ok(())
}

impl Client {
    fn open(at: u16, watched: bool, server: SocketAddr, poll: &Poll) -> std::io::Result<Self> {
        let mut socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        socket.connect(server)?;
        if watched {
            poll.registry().register(&mut socket, Token(at.into()), Interest::READABLE)?;
        }
        Ok(Self { socket, key: key(at, false), number: 0, watched })
    }

    fn receive(&self, buffer: &mut [u8]) {
        while self.socket.recv(buffer).is_ok() {}
    }

    fn send(&mut self, id: u32, len: usize, buffer: &mut [u8]) {
        self.number = self.number.wrapping_add(1);
        let ([a, b, c, d], [low, high]) = (id.to_le_bytes(), self.number.to_le_bytes());
        if seal(&self.key, self.number, &[0x40, a, b, c, d, low, high], buffer, len).is_some() {
            // What the system does not take is lost, as on any network.
            let _ = self.socket.send(buffer.get(..len).unwrap_or_default());
        }
    }
}

//! The kernel's part: the tick's datagrams over loopback, 64 a call, by the server's own code.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use benches::rig::Datagrams;

use crate::batch::{BATCH, Receiver, Sender};
use crate::time;

/// Sockets that stand for the clients.
const PEERS: usize = 512;

/// A server's socket and some clients'.
pub struct Wire {
    server: mio::net::UdpSocket,
    server_addr: SocketAddr,
    peers: Vec<(UdpSocket, SocketAddr)>,
    sender: Sender,
    receiver: Receiver,
}

impl Wire {
    pub fn new() -> Self {
        let bind = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback socket");
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            let addr = socket.local_addr().expect("a bound socket has an address");
            (socket, addr)
        };
        let (server, server_addr) = bind();
        Self {
            server: mio::net::UdpSocket::from_std(server),
            server_addr,
            peers: (0..PEERS).map(|_| bind()).collect(),
            sender: Sender::new(),
            receiver: Receiver::new(),
        }
    }

    /// Nanoseconds to send them all. Filling the buffers is not counted: the server writes its packets in place.
    pub fn send(&mut self, datagrams: &Datagrams) -> f64 {
        let (mut nanos, mut queued) = (0.0, 0);
        for (at, (_, datagram)) in datagrams.iter().enumerate() {
            let slot = self.sender.slot().expect("a batch has room until it is flushed");
            slot[..datagram.len()].copy_from_slice(datagram);
            self.sender.commit(self.peers[at % PEERS].1, datagram.len());
            queued += 1;
            if queued == BATCH || at + 1 == datagrams.len() {
                let mut sent = 0;
                nanos += time(|| sent = self.sender.flush(&self.server).sent);
                assert_eq!(sent, queued as u64, "loopback takes what is sent");
                queued = 0;
                self.drain();
            }
        }
        nanos
    }

    /// The clients read what they got, so that no buffer fills up.
    fn drain(&self) {
        let mut buffer = [0; 2048];
        for (peer, _) in &self.peers {
            while peer.recv(&mut buffer).is_ok() {}
        }
    }

    /// Nanoseconds to receive them all.
    pub fn receive(&mut self, datagrams: &Datagrams) -> f64 {
        let (mut nanos, mut queued) = (0.0, 0);
        for (at, (_, datagram)) in datagrams.iter().enumerate() {
            let sent = self.peers[at % PEERS].0.send_to(datagram, self.server_addr);
            assert_eq!(sent.ok(), Some(datagram.len()), "loopback takes what is sent");
            queued += 1;
            if queued == BATCH || at + 1 == datagrams.len() {
                let mut received = Ok(0);
                nanos += time(|| received = self.receiver.receive(&self.server));
                assert_eq!(received.ok(), Some(queued), "loopback delivers what was sent");
                queued = 0;
            }
        }
        nanos
    }
}

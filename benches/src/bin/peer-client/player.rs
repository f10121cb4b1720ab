//! One client: a socket and an endpoint.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use benches::peer::{Kind, RELIABLE, UNRELIABLE, Workload, bundle, client_config, now_ns, time, unix_ms};
use mio::net::UdpSocket;
use netcode::client::{ClientEndpoint, ClientEvent, ClientState};
use netcode::crypto::{Entropy as _, OsEntropy};
use netcode::packet::MAX_DATAGRAM;

/// Datagrams that are read of one socket before others have their turn.
const MAX_READS: usize = 256;

pub struct Player {
    pub socket: UdpSocket,
    endpoint: ClientEndpoint,
}

impl Player {
    /// Starts the handshake of client `number`; what it sends goes with the first [`Player::run`].
    pub fn connect(workload: &Workload, number: u16, entropy: &mut OsEntropy) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        socket.connect(workload.addr())?;
        let bundle = bundle(number, workload.addr(), unix_ms(), entropy).map_err(io::Error::other)?;
        let ephemeral = entropy.ephemeral().map_err(io::Error::other)?;
        let endpoint = ClientEndpoint::connect(client_config(), &bundle, ephemeral, time(now_ns()));
        Ok(Self { socket, endpoint: endpoint.map_err(io::Error::other)? })
    }

    pub fn is_connected(&self) -> bool {
        self.endpoint.state() == ClientState::Connected
    }

    /// Queues a message; false when the queue has no room.
    pub fn send(&mut self, now_ns: u64, kind: Kind, message: &[u8]) -> bool {
        let channel = match kind {
            Kind::Unreliable => UNRELIABLE,
            Kind::Reliable => RELIABLE,
        };
        self.endpoint.send(time(now_ns), channel, message).is_ok()
    }

    /// Takes what has arrived, hands each message to `sink`, and sends what that calls for.
    pub fn receive(&mut self, mut sink: impl FnMut(&[u8])) {
        let mut buffer = [0; 2048];
        for _ in 0..MAX_READS {
            let Ok(len) = self.socket.recv(&mut buffer) else { break };
            self.endpoint.handle_datagram(time(now_ns()), buffer.get_mut(..len).unwrap_or_default());
            while let Some(event) = self.endpoint.poll_event() {
                if let ClientEvent::Message { bytes, .. } = event {
                    sink(bytes);
                }
            }
        }
        self.transmit(now_ns());
    }

    /// Runs the timers and sends what is due.
    pub fn run(&mut self, now_ns: u64) {
        self.endpoint.handle_timeout(time(now_ns));
        while self.endpoint.poll_event().is_some() {}
        self.transmit(now_ns);
    }

    fn transmit(&mut self, now_ns: u64) {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(len) = self.endpoint.poll_transmit(time(now_ns), &mut buffer) {
            // What the socket does not take is lost, as it would be on the wire.
            let _ = self.socket.send(buffer.get(..len).unwrap_or_default());
        }
    }
}

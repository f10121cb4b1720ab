//! Nonblocking UDP sockets, one per client or one for all: the only file that names mio.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use super::error::RunError;

/// Events taken from the system at once.
const BATCH: usize = 1024;

/// File descriptors that a process needs beside its clients' sockets.
#[cfg(target_os = "linux")]
const SPARE_DESCRIPTORS: u64 = 64;

/// Makes sure that there can be a socket for each of so many clients: raises the soft limit, as far as the hard one goes.
///
/// # Errors
/// What the hard limit is, where it is too low, or that the system says no.
#[cfg(target_os = "linux")]
pub fn allow(clients: usize) -> Result<(), RunError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = clients as u64 + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(limit) = limit.maximum.filter(|maximum| *maximum < wanted) {
        return Err(RunError::Descriptors { wanted, limit });
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| RunError::System { what: "raise the limit of open files", error: error.into() })
}

#[cfg(not(target_os = "linux"))]
pub fn allow(_: usize) -> Result<(), RunError> {
    Ok(())
}

/// The sockets of one thread.
pub struct Sockets {
    poll: Poll,
    events: Events,
    sockets: Vec<Option<UdpSocket>>,
}

impl Sockets {
    /// Room for the sockets of that many clients.
    pub fn new(clients: usize) -> io::Result<Self> {
        let sockets = (0..clients).map(|_| None).collect();
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(BATCH), sockets })
    }

    /// Gives a client a socket that talks to `server`, in place of the one that it had, if it had one: the new one has another
    /// port. [`Sockets::wait`] tells of those watched.
    pub fn open(&mut self, index: usize, server: SocketAddr, watched: bool) -> io::Result<()> {
        let Some(slot) = self.sockets.get_mut(index) else { return Ok(()) };
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        forbid_fragments(&socket, server);
        socket.connect(server)?;
        if watched {
            self.poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
        }
        *slot = Some(socket);
        Ok(())
    }

    /// Gives a client another socket that talks to the same server, as a NAT does whose mapping ran out: what the old one had
    /// is lost.
    pub fn rebind(&mut self, index: usize, watched: bool) -> io::Result<()> {
        let Some(Some(socket)) = self.sockets.get(index) else { return Ok(()) };
        let server = socket.peer_addr()?;
        self.open(index, server, watched)
    }

    /// Waits until a watched socket has something, at most that long; the clients concerned are appended to `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        ready.extend(self.events.iter().map(|event| event.token().0));
        Ok(())
    }

    /// The next datagram of a client; `None` when there is no more for now.
    pub fn receive(&self, index: usize, buffer: &mut [u8]) -> Option<usize> {
        let socket = self.sockets.get(index)?.as_ref()?;
        loop {
            match take(socket, buffer) {
                Ok(len) => return Some(len),
                // An ICMP error of an earlier datagram: nobody listens there. The handshake's time-out tells.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a datagram; what the system does not take is lost, as on any network.
    pub fn send(&self, index: usize, datagram: &[u8]) {
        if let Some(Some(socket)) = self.sockets.get(index) {
            let _ = give(socket, datagram);
        }
    }
}

/// The system call and nothing around it: what std calls is the C library's, which looks each time whether the thread is
/// to be cancelled, and that is a tenth of what a light client costs.
#[cfg(target_os = "linux")]
fn take(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let (len, _) = rustix::net::recv(socket, buffer, rustix::net::RecvFlags::empty())?;
    Ok(len)
}

#[cfg(not(target_os = "linux"))]
fn take(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    socket.recv(buffer)
}

/// As [`take`].
#[cfg(target_os = "linux")]
fn give(socket: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, datagram, rustix::net::SendFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn give(socket: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    socket.send(datagram)
}

/// The one socket of a server.
pub struct Listener {
    poll: Poll,
    events: Events,
    socket: UdpSocket,
}

impl Listener {
    /// A socket at that address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut socket = UdpSocket::bind(address)?;
        forbid_fragments(&socket, address);
        poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(4), socket })
    }

    /// Where it is: the port that the system chose, where none was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until there is something, at most that long.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// The next datagram; `None` when there is no more for now.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            match self.socket.recv_from(buffer) {
                Ok(datagram) => return Some(datagram),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a datagram; what the system does not take is lost, as on any network.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, to);
    }
}

/// Sets "don't fragment" on all that is sent, so that probes for the path's longest datagram mean something. Where the
/// system cannot, they mean less, and everything still works.
#[cfg(target_os = "linux")]
fn forbid_fragments(socket: &UdpSocket, peer: SocketAddr) {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
    use rustix::net::sockopt::{set_ip_mtu_discover, set_ipv6_mtu_discover};
    let _ = set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE);
    if peer.is_ipv6() {
        let _ = set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE);
    }
}

#[cfg(not(target_os = "linux"))]
fn forbid_fragments(_: &UdpSocket, _: SocketAddr) {}

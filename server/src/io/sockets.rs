//! Binding: one UDP socket per worker on the same address, one TCP listener for HTTP.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use server::config::Network;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

#[cfg(target_os = "linux")]
use super::batch;
use super::error::RunError;

/// Binds one socket per worker; all have the address of the first one.
pub fn bind_udp(network: &Network) -> Result<(SocketAddr, Vec<UdpSocket>), RunError> {
    let shared = network.workers > 1;
    let failed = |error| RunError::Bind { protocol: "udp", addr: network.listen, flag: "--listen", error };
    if shared && network.listen.port() != 0 {
        // With SO_REUSEPORT a second server would silently take half of the first one's datagrams; a socket without it
        // can only be bound to a port that nobody has.
        UdpSocket::bind(network.listen).map_err(failed)?;
    }
    let first = bind_one(network, network.listen, shared).map_err(failed)?;
    let addr = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..network.workers {
        sockets.push(bind_one(network, addr, shared).map_err(failed)?);
    }
    #[cfg(target_os = "linux")]
    if let Some(first) = sockets.first().filter(|_| shared)
        && let Err(error) = batch::steer(first)
    {
        warn!(%error, "datagrams of clients that moved are handed from worker to worker: the kernel takes no program");
    }
    Ok((addr, sockets))
}

fn bind_one(network: &Network, addr: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(unix))]
    if shared {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "more than one worker needs SO_REUSEPORT"));
    }
    set_buffers(&socket, bytes(network.receive_buffer_kib), bytes(network.send_buffer_kib))?;
    warn_if_clipped("receive_buffer_kib", "net.core.rmem_max", network.receive_buffer_kib, socket.recv_buffer_size()?);
    warn_if_clipped("send_buffer_kib", "net.core.wmem_max", network.send_buffer_kib, socket.send_buffer_size()?);
    if let Err(error) = forbid_fragments(&socket, addr) {
        warn!(%error, "routers may cut datagrams up: the longest that a path carries whole cannot be found out");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = batch::tune(&socket, addr.is_ipv6()) {
        warn!(%error, "the kernel does not join datagrams of one peer, or does not tell of congestion");
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Beyond the system's limits, where this process may; else as far as they go.
fn set_buffers(socket: &Socket, receive: usize, send: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if batch::force_buffers(socket, receive, send).is_ok() {
        return Ok(());
    }
    socket.set_recv_buffer_size(receive)?;
    socket.set_send_buffer_size(send)
}

/// Sets "don't fragment" on all that is sent, and leaves it to the protocol to find out how long that may be; the kernel's
/// own guess, which anybody's ICMP message could lower, is not used.
#[cfg(target_os = "linux")]
fn forbid_fragments(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
    use rustix::net::sockopt::{set_ip_mtu_discover, set_ipv6_mtu_discover};
    if addr.is_ipv6() {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    // An IPv6 socket may talk to IPv4-mapped addresses as well.
    if addr.is_ipv4() || !socket.only_v6()? {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn forbid_fragments(_: &Socket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

fn bytes(kib: u32) -> usize {
    kib as usize * 1024
}

/// Linux reports twice what it will use for payload, so `granted` below the wish means less than half of it.
fn warn_if_clipped(key: &str, limit: &str, wanted_kib: u32, granted_bytes: usize) {
    let usable = if cfg!(target_os = "linux") { granted_bytes / 2 } else { granted_bytes };
    if usable < bytes(wanted_kib) {
        warn!(key, wanted_kib, granted_kib = usable / 1024, limit, "the system grants a smaller socket buffer");
    }
}

/// Binds the HTTP listener.
pub fn bind_http(addr: SocketAddr) -> Result<TcpListener, RunError> {
    let bind = || {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| RunError::Bind { protocol: "tcp", addr, flag: "--http", error })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover};

    use super::*;

    #[test]
    fn what_a_server_sends_is_never_fragmented() {
        let network = |listen: &str| Network { listen: listen.parse().unwrap(), ..Network::default() };
        let (_, sockets) = bind_udp(&network("127.0.0.1:0")).unwrap();
        assert_eq!(ip_mtu_discover(&sockets[0]).unwrap(), Ipv4PathMtuDiscovery::PROBE);
        if let Ok((_, sockets)) = bind_udp(&network("[::1]:0")) {
            assert_eq!(ipv6_mtu_discover(&sockets[0]).unwrap(), Ipv6PathMtuDiscovery::PROBE);
        }
    }
}

//! Batched datagram I/O: up to [`BATCH`] datagrams per system call, into and out of buffers that are allocated once.
//!
//! Linux uses `recvmmsg` and `sendmmsg`; elsewhere the same interface makes one plain call per datagram. This is the
//! only file of the server with unsafe code.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe wrapper among our dependencies")
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::UdpSocket;
use netcode::packet::MAX_DATAGRAM;

/// The most datagrams per system call.
pub const BATCH: usize = 64;
/// Room for one received datagram. More than any valid one, so that a truncated one is still too long to be valid.
pub const RECEIVE_BYTES: usize = 2048;
/// Room for one datagram to send: an Ethernet frame's worth.
pub const SEND_BYTES: usize = 1500;
const _: () = assert!(RECEIVE_BYTES > MAX_DATAGRAM && SEND_BYTES >= MAX_DATAGRAM);

const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where a datagram comes from or goes to, and how long it is.
#[derive(Clone, Copy)]
struct Meta {
    addr: SocketAddr,
    len: usize,
}

/// The receiving half: call [`Receiver::receive`], then look at each datagram in place.
pub struct Receiver {
    buffers: Box<[[u8; RECEIVE_BYTES]]>,
    metas: Box<[Meta]>,
    calls: system::Calls,
}

impl Receiver {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; RECEIVE_BYTES]; BATCH].into_boxed_slice(),
            metas: vec![Meta { addr: NOBODY, len: 0 }; BATCH].into_boxed_slice(),
            calls: system::Calls::new(),
        }
    }

    /// Receives what is there, at most [`BATCH`] datagrams, without waiting: how many came. Fewer than [`BATCH`] means
    /// that the socket is drained.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        loop {
            // `try_io` lets mio re-arm its readiness on the platforms where it must.
            match socket.try_io(|| self.calls.receive(socket, &mut self.buffers, &mut self.metas)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                other => return other,
            }
        }
    }

    /// The `i`-th datagram of the last [`Receiver::receive`].
    pub fn datagram(&mut self, i: usize) -> Option<(SocketAddr, &mut [u8])> {
        let meta = self.metas.get(i)?;
        Some((meta.addr, self.buffers.get_mut(i)?.get_mut(..meta.len)?))
    }
}

/// The sending half: fill [`Sender::slot`]s, [`Sender::commit`] each, [`Sender::flush`]. What the kernel does not take
/// stays for the next flush.
pub struct Sender {
    buffers: Box<[[u8; SEND_BYTES]]>,
    metas: Box<[Meta]>,
    /// Datagrams `head..tail` wait to be sent.
    head: usize,
    tail: usize,
    calls: system::Calls,
}

/// What one [`Sender::flush`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Datagrams that the kernel refused for good (no route, forbidden address, longer than the interface takes): dropped,
    /// which to the connection is as if they were lost on their way.
    pub refused: u64,
    /// Why some are still here.
    pub blocked: Option<Blocked>,
}

/// Why the kernel takes no more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The socket's buffer is full; the poll reports when it is writable again.
    Full,
    /// The interface's queue or the kernel's memory is full; nothing reports when that ends.
    NoBuffers,
}

impl Sender {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; SEND_BYTES]; BATCH].into_boxed_slice(),
            metas: vec![Meta { addr: NOBODY, len: 0 }; BATCH].into_boxed_slice(),
            head: 0,
            tail: 0,
            calls: system::Calls::new(),
        }
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The next free buffer, unless all are filled.
    pub fn slot(&mut self) -> Option<&mut [u8; SEND_BYTES]> {
        self.buffers.get_mut(self.tail)
    }

    /// Queues the first `len` bytes of the last [`Sender::slot`].
    pub fn commit(&mut self, addr: SocketAddr, len: usize) {
        if let Some(meta) = self.metas.get_mut(self.tail) {
            *meta = Meta { addr, len: len.min(SEND_BYTES) };
            self.tail += 1;
        }
    }

    /// Hands everything queued to the kernel, as far as it takes it.
    pub fn flush(&mut self, socket: &UdpSocket) -> Flushed {
        let mut done = Flushed::default();
        while let (Some(buffers), Some(metas)) =
            (self.buffers.get_mut(self.head..self.tail), self.metas.get(self.head..self.tail))
            && !metas.is_empty()
        {
            match socket.try_io(|| self.calls.send(socket, buffers, metas)) {
                Ok(sent) => {
                    done.sent += sent as u64;
                    done.bytes += metas.iter().take(sent).map(|meta| meta.len as u64).sum::<u64>();
                    self.head += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match blocked(&error) {
                    Some(reason) => {
                        done.blocked = Some(reason);
                        return done;
                    }
                    None => {
                        // The error is the first datagram's own; the ones behind it may well go.
                        done.refused += 1;
                        self.head += 1;
                    }
                },
            }
        }
        (self.head, self.tail) = (0, 0);
        done
    }

    /// Drops what is queued: how many datagrams.
    pub fn clear(&mut self) -> u64 {
        let dropped = self.tail - self.head;
        (self.head, self.tail) = (0, 0);
        dropped as u64
    }
}

fn blocked(error: &io::Error) -> Option<Blocked> {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => Some(Blocked::Full),
        Some(libc::ENOBUFS | libc::ENOMEM) => Some(Blocked::NoBuffers),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::mem;
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd as _;
    use std::ptr;

    use mio::net::UdpSocket;

    use super::{BATCH, Meta, NOBODY, RECEIVE_BYTES, SEND_BYTES};

    /// The headers that the kernel reads. Every pointer in them is written right before the call that uses it.
    pub struct Calls {
        headers: Box<[libc::mmsghdr]>,
        slices: Box<[libc::iovec]>,
        addrs: Box<[libc::sockaddr_storage]>,
    }

    impl Calls {
        pub fn new() -> Self {
            // SAFETY: all three are plain C structures for which all zero bytes are a valid value.
            let (header, addr) = unsafe { (mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::sockaddr_storage>()) };
            let slice = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
            Self {
                headers: vec![header; BATCH].into_boxed_slice(),
                slices: vec![slice; BATCH].into_boxed_slice(),
                addrs: vec![addr; BATCH].into_boxed_slice(),
            }
        }

        pub fn receive(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; RECEIVE_BYTES]],
            metas: &mut [Meta],
        ) -> io::Result<usize> {
            let parts = self.headers.iter_mut().zip(self.slices.iter_mut()).zip(self.addrs.iter_mut());
            let mut count = 0;
            for (((header, slice), addr), buffer) in parts.zip(buffers.iter_mut()) {
                *slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
                point(header, slice, addr, mem::size_of::<libc::sockaddr_storage>());
                count += 1;
            }
            // SAFETY: the first `count` headers point to slices, addresses and buffers that are borrowed mutably for the
            // whole call and are as long as the headers say; `count` is at most the number of headers.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
            for ((meta, header), addr) in
                metas.iter_mut().zip(self.headers.iter()).zip(self.addrs.iter()).take(received)
            {
                let len = usize::try_from(header.msg_len).unwrap_or(0).min(RECEIVE_BYTES);
                *meta = Meta { addr: read_addr(addr).unwrap_or(NOBODY), len };
            }
            Ok(received)
        }

        pub fn send(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; SEND_BYTES]],
            metas: &[Meta],
        ) -> io::Result<usize> {
            let parts = self.headers.iter_mut().zip(self.slices.iter_mut()).zip(self.addrs.iter_mut());
            let mut count = 0;
            for (((header, slice), addr), (buffer, meta)) in parts.zip(buffers.iter_mut().zip(metas)) {
                let len = meta.len.min(buffer.len());
                *slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: len };
                let addr_len = write_addr(addr, meta.addr);
                point(header, slice, addr, addr_len);
                count += 1;
            }
            // SAFETY: as in `receive`; the kernel only reads through these pointers.
            let sent =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        }
    }

    fn point(header: &mut libc::mmsghdr, slice: &mut libc::iovec, addr: &mut libc::sockaddr_storage, addr_len: usize) {
        header.msg_len = 0;
        header.msg_hdr.msg_name = ptr::from_mut(addr).cast();
        header.msg_hdr.msg_namelen = addr_len as libc::socklen_t;
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = ptr::null_mut();
        header.msg_hdr.msg_controllen = 0;
        header.msg_hdr.msg_flags = 0;
    }

    /// Writes the address and says how many bytes of the storage it takes.
    fn write_addr(storage: &mut libc::sockaddr_storage, addr: SocketAddr) -> usize {
        match addr {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is larger than and at least as aligned as every socket address type.
                unsafe { ptr::from_mut(storage).cast::<libc::sockaddr_in>().write(raw) };
                mem::size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { ptr::from_mut(storage).cast::<libc::sockaddr_in6>().write(raw) };
                mem::size_of::<libc::sockaddr_in6>()
            }
        }
    }

    fn read_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
        match libc::c_int::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the kernel wrote a `sockaddr_in`, and the storage is large and aligned
                // enough for one.
                let raw = unsafe { ptr::from_ref(storage).cast::<libc::sockaddr_in>().read() };
                let ip = raw.sin_addr.s_addr.to_ne_bytes().into();
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for a `sockaddr_in6`.
                let raw = unsafe { ptr::from_ref(storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), raw.sin6_flowinfo, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use mio::net::UdpSocket;

    use super::{Meta, RECEIVE_BYTES, SEND_BYTES};

    /// No state: one plain call per datagram.
    pub struct Calls;

    impl Calls {
        pub fn new() -> Self {
            Self
        }

        pub fn receive(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; RECEIVE_BYTES]],
            metas: &mut [Meta],
        ) -> io::Result<usize> {
            let mut received = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas) {
                match socket.recv_from(buffer) {
                    Ok((len, addr)) => *meta = Meta { addr, len },
                    Err(error) if received == 0 => return Err(error),
                    Err(_) => break,
                }
                received += 1;
            }
            Ok(received)
        }

        pub fn send(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; SEND_BYTES]],
            metas: &[Meta],
        ) -> io::Result<usize> {
            let mut sent = 0;
            for (buffer, meta) in buffers.iter().zip(metas) {
                match socket.send_to(buffer.get(..meta.len).unwrap_or_default(), meta.addr) {
                    Ok(_) => sent += 1,
                    Err(error) if sent == 0 => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(sent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(ip: &str) -> UdpSocket {
        UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap()
    }

    fn fill(sender: &mut Sender, count: usize, to: SocketAddr) {
        for i in 0..count {
            let slot = sender.slot().unwrap();
            slot[..2].copy_from_slice(&(i as u16).to_le_bytes());
            sender.commit(to, 2 + i);
        }
    }

    fn round_trip(ip: &str) {
        let (a, b) = (socket(ip), socket(ip));
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        fill(&mut sender, BATCH, b.local_addr().unwrap());
        assert!(sender.slot().is_none(), "a full batch offers no slot");
        assert_eq!(sender.flush(&a).sent, BATCH as u64);
        assert!(sender.is_empty());
        assert_eq!(receiver.receive(&b).unwrap(), BATCH);
        for i in 0..BATCH {
            let (from, datagram) = receiver.datagram(i).unwrap();
            assert_eq!(from, a.local_addr().unwrap());
            assert_eq!(datagram.len(), 2 + i);
            assert_eq!(datagram[..2], (i as u16).to_le_bytes());
        }
        assert_eq!(receiver.receive(&b).unwrap(), 0, "drained");
    }

    #[test]
    fn a_whole_batch_arrives_in_order_with_lengths_and_addresses() {
        round_trip("127.0.0.1");
    }

    #[test]
    fn a_whole_batch_arrives_over_ipv6() {
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            round_trip("::1");
        }
    }

    #[test]
    fn a_refused_datagram_does_not_hold_back_the_others() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        let good = b.local_addr().unwrap();
        // Broadcast needs a permission that this socket does not have.
        let bad = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
        for to in [good, bad, good, bad, bad, good] {
            sender.slot().unwrap();
            sender.commit(to, 10);
        }
        let flushed = sender.flush(&a);
        assert_eq!(flushed, Flushed { sent: 3, bytes: 30, refused: 3, blocked: None });
        assert_eq!(receiver.receive(&b).unwrap(), 3);
    }

    #[test]
    fn a_datagram_too_long_for_the_interface_is_refused_for_good_and_blocks_nothing() {
        assert_eq!(blocked(&io::Error::from_raw_os_error(libc::EMSGSIZE)), None);
    }

    #[test]
    fn a_datagram_longer_than_the_buffer_is_cut_to_a_length_that_no_protocol_packet_has() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        a.send_to(&[7; 4000], b.local_addr().unwrap()).unwrap();
        let mut receiver = Receiver::new();
        assert_eq!(receiver.receive(&b).unwrap(), 1);
        assert_eq!(receiver.datagram(0).unwrap().1.len(), RECEIVE_BYTES);
    }

    #[test]
    fn clearing_says_how_many_were_dropped() {
        let mut sender = Sender::new();
        fill(&mut sender, 5, NOBODY);
        assert_eq!(sender.clear(), 5);
        assert!(sender.is_empty());
    }
}

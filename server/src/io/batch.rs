//! Batched datagram I/O: up to [`BATCH`] datagrams per system call, into and out of buffers that are allocated once.
//!
//! Linux uses `recvmmsg` and `sendmmsg`; elsewhere the same interface makes one plain call per datagram. On a socket that was
//! [`tune`]d the kernel may also join what comes from one peer in a row (`UDP_GRO`), and a row of datagrams to one peer goes
//! out as one message that the kernel cuts up (`UDP_SEGMENT`); both are taken apart here, so nobody else sees a difference.
//! This is the only file of the server with unsafe code.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "recvmmsg, sendmmsg, some socket options, prefetching and a thread's slice have no safe wrapper among our dependencies"
    )
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

/// The two low bits of a datagram's traffic class that say "congestion experienced" (RFC 3168).
const CONGESTED: u8 = 3;

/// Where a datagram comes from or goes to, and how long it is.
#[derive(Clone, Copy)]
struct Meta {
    addr: SocketAddr,
    len: usize,
}

const NOWHERE: Meta = Meta { addr: NOBODY, len: 0 };

/// What one message of a receive call holds: a datagram, or several of one peer in a row.
#[derive(Clone, Copy)]
struct Received {
    addr: SocketAddr,
    len: usize,
    /// What each datagram but the last is long; as long as all of it where it is just one.
    segment: usize,
    /// Congestion was experienced on its way.
    congested: bool,
}

const NOTHING: Received = Received { addr: NOBODY, len: 0, segment: 0, congested: false };

/// A datagram of a message.
#[derive(Clone, Copy)]
struct Part {
    message: usize,
    start: usize,
    len: usize,
}

/// Bytes from one message's buffer to the next one's: the longest row of datagrams that a kernel joins, and an odd number of
/// cache lines, so that the buffers' starts do not compete for the same places in the caches.
const ROW_BYTES: usize = 1027 * 64;
/// The most datagrams that a kernel joins.
const ROW_DATAGRAMS: usize = 128;
const _: () = assert!(ROW_BYTES > 65_535 && RECEIVE_BYTES <= ROW_BYTES);

/// The receiving half: call [`Receiver::receive`], then look at each datagram in place.
pub struct Receiver {
    buffers: Box<[u8]>,
    received: Box<[Received]>,
    parts: Vec<Part>,
    congested: u64,
    calls: Calls,
}

impl Receiver {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self::with(Calls::new())
    }

    fn with(calls: Calls) -> Self {
        Self {
            // The system gives pages only to what is used of it.
            buffers: vec![0; ROW_BYTES * BATCH].into_boxed_slice(),
            received: vec![NOTHING; BATCH].into_boxed_slice(),
            parts: Vec::with_capacity(BATCH * ROW_DATAGRAMS),
            congested: 0,
            calls,
        }
    }

    /// Receives what is there, at most [`BATCH`] messages, without waiting: how many datagrams came. Fewer than [`BATCH`]
    /// means that the socket is drained.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.parts.clear();
        let messages = loop {
            // `try_io` lets mio re-arm its readiness on the platforms where it must.
            match socket.try_io(|| self.calls.receive(socket, &mut self.buffers, &mut self.received)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
                Ok(messages) => break messages,
            }
        };
        for (message, received) in self.received.iter().enumerate().take(messages) {
            let before = self.parts.len();
            take_apart(message, received, &mut self.parts);
            self.congested += if received.congested { (self.parts.len() - before) as u64 } else { 0 };
        }
        Ok(self.parts.len())
    }

    /// The `i`-th datagram of the last [`Receiver::receive`].
    pub fn datagram(&mut self, i: usize) -> Option<(SocketAddr, &mut [u8])> {
        let Part { message, start, len } = *self.parts.get(i)?;
        let row = self.buffers.get_mut(message * ROW_BYTES..)?;
        Some((self.received.get(message)?.addr, row.get_mut(start..start + len)?))
    }

    /// Datagrams so far that experienced congestion on their way, as far as the socket tells.
    pub fn congested(&self) -> u64 {
        self.congested
    }
}

/// A message of more datagrams than a kernel joins loses the rest of them.
fn take_apart(message: usize, received: &Received, parts: &mut Vec<Part>) {
    let Received { len, segment, .. } = *received;
    if segment >= len {
        parts.push(Part { message, start: 0, len: len.min(RECEIVE_BYTES) });
        return;
    }
    for start in (0..len).step_by(segment.max(1)).take(ROW_DATAGRAMS) {
        parts.push(Part { message, start, len: segment.min(len - start).min(RECEIVE_BYTES) });
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
    calls: Calls,
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
        Self::with(Calls::new())
    }

    fn with(calls: Calls) -> Self {
        Self {
            buffers: vec![[0; SEND_BYTES]; BATCH].into_boxed_slice(),
            metas: vec![NOWHERE; BATCH].into_boxed_slice(),
            head: 0,
            tail: 0,
            calls,
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

/// How many datagrams at the start of `metas` may go as one message that the kernel cuts up: to one peer, of one length, but
/// for the last, which may be shorter.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux joins"))]
fn row(metas: &[Meta]) -> usize {
    let Some(first) = metas.first().filter(|first| first.len > 0) else { return metas.len().min(1) };
    let most = (ROW_DATAGRAMS / 2).min(65_000 / first.len).max(1);
    let like_first = |meta: &&Meta| meta.addr == first.addr && meta.len == first.len;
    let equal = metas.iter().take(most).take_while(like_first).count();
    let shorter = |meta: &&Meta| meta.addr == first.addr && (1..first.len).contains(&meta.len);
    equal + usize::from(equal < most && metas.get(equal).as_ref().is_some_and(shorter))
}

/// The calls that are made.
enum Calls {
    /// Many datagrams each.
    #[cfg(target_os = "linux")]
    Batched(system::Calls),
    /// One each.
    #[cfg_attr(all(target_os = "linux", not(test)), expect(dead_code, reason = "Linux has batched calls"))]
    Plain,
}

impl Calls {
    fn new() -> Self {
        #[cfg(target_os = "linux")]
        return Self::Batched(system::Calls::new());
        #[cfg(not(target_os = "linux"))]
        Self::Plain
    }

    fn receive(&mut self, socket: &UdpSocket, buffers: &mut [u8], received: &mut [Received]) -> io::Result<usize> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Batched(calls) => calls.receive(socket, buffers, received),
            Self::Plain => plain::receive(socket, buffers, received),
        }
    }

    /// How many datagrams the kernel took; an error is the first one's.
    fn send(&mut self, socket: &UdpSocket, buffers: &mut [[u8; SEND_BYTES]], metas: &[Meta]) -> io::Result<usize> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Batched(calls) => calls.send(socket, buffers, metas),
            Self::Plain => plain::send(socket, buffers, metas),
        }
    }
}

/// Lets the kernel join datagrams that come in a row from one peer, and tell of congestion. For sockets that a [`Receiver`]
/// reads.
#[cfg(target_os = "linux")]
pub fn tune(socket: &impl std::os::fd::AsFd, ipv6: bool) -> io::Result<()> {
    system::set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    if ipv6 {
        system::set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
    } else {
        system::set(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
    }
}

/// Sets the receive and the send buffer beyond the system's limits, where this process may (`CAP_NET_ADMIN`).
#[cfg(target_os = "linux")]
pub fn force_buffers(socket: &impl std::os::fd::AsFd, receive: usize, send: usize) -> io::Result<()> {
    let size = |bytes: usize| libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    system::set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size(receive))?;
    system::set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size(send))
}

/// Asks the processor to bring that memory into its nearest cache; where there is no such instruction at hand, nothing.
pub fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    for line in system::lines(at, bytes) {
        system::prefetch_line(line);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, bytes);
}

/// Asks that the calling thread be let run at once when it wakes, in exchange for short turns: a tick should begin when it is
/// due, though a worker is at work on the same core. Linux from 6.12 on (`sched_setattr`, the slice of a fair thread); nothing for
/// threads that a real-time scheduler has.
pub fn be_prompt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return system::shorten_slice();
    #[cfg(not(target_os = "linux"))]
    Ok(())
}

/// Datagrams that the kernel dropped so far because the socket's receive buffer was full.
pub fn dropped(socket: &UdpSocket) -> u64 {
    #[cfg(target_os = "linux")]
    return system::dropped(socket).unwrap_or(0);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        0
    }
}

/// Lets the kernel give each data packet to the socket of the worker that its connection id names. `socket` is any of those
/// that share an address by `SO_REUSEPORT`, of which the `i`-th to be bound is worker `i`'s. Handshakes, junk and ids of
/// workers that are not there go to a socket by the peer's address, as without.
#[cfg(target_os = "linux")]
pub fn steer(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    system::steer(socket)
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::mem;
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::{AsFd, AsRawFd as _};
    use std::ptr;

    use mio::net::UdpSocket;

    use super::{BATCH, CONGESTED, Meta, NOBODY, ROW_BYTES, Received, SEND_BYTES, row};

    /// Room for the control messages of one message: a segment's length and a traffic class.
    const CONTROL_BYTES: usize = 96;
    const CONTROL_HEADER: usize = mem::size_of::<libc::cmsghdr>();
    /// Joined rows that the kernel may refuse before no more are made: some interfaces cannot cut them up.
    const REFUSALS: u32 = 8;

    #[derive(Clone, Copy)]
    #[repr(align(8))]
    struct Control([u8; CONTROL_BYTES]);

    /// The headers that the kernel reads. Every pointer in them is written right before the call that uses it.
    pub struct Calls {
        headers: Box<[libc::mmsghdr]>,
        slices: Box<[libc::iovec]>,
        addrs: Box<[libc::sockaddr_storage]>,
        controls: Box<[Control]>,
        /// Datagrams of each message to send.
        rows: Box<[usize]>,
        refusals: u32,
    }

    impl Calls {
        pub fn new() -> Self {
            // SAFETY: both are plain C structures for which all zero bytes are a valid value.
            let (header, addr) = unsafe { (mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::sockaddr_storage>()) };
            let slice = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
            Self {
                headers: vec![header; BATCH].into_boxed_slice(),
                slices: vec![slice; BATCH].into_boxed_slice(),
                addrs: vec![addr; BATCH].into_boxed_slice(),
                controls: vec![Control([0; CONTROL_BYTES]); BATCH].into_boxed_slice(),
                rows: vec![0; BATCH].into_boxed_slice(),
                refusals: 0,
            }
        }

        pub fn receive(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [u8],
            received: &mut [Received],
        ) -> io::Result<usize> {
            let parts = self.headers.iter_mut().zip(self.slices.iter_mut()).zip(self.addrs.iter_mut());
            let mut count = 0;
            for ((((header, slice), addr), control), buffer) in
                parts.zip(self.controls.iter_mut()).zip(buffers.chunks_exact_mut(ROW_BYTES))
            {
                *slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
                point(header, core::slice::from_mut(slice), addr, mem::size_of::<libc::sockaddr_storage>());
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
                count += 1;
            }
            // SAFETY: the first `count` headers point to slices, addresses, control messages and buffers that are borrowed
            // mutably for the whole call and are as long as the headers say; `count` is at most the number of headers.
            let got = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
            let came = self.headers.iter().zip(self.addrs.iter()).zip(self.controls.iter());
            for (received, ((header, addr), control)) in received.iter_mut().zip(came).take(got) {
                let len = usize::try_from(header.msg_len).unwrap_or(0).min(ROW_BYTES);
                // Its type depends on the C library.
                #[allow(clippy::unnecessary_cast)]
                let told = control.0.get(..header.msg_hdr.msg_controllen as usize).unwrap_or_default();
                let (segment, class) = read_control(told);
                *received = Received {
                    addr: read_addr(addr).unwrap_or(NOBODY),
                    len,
                    segment: segment.unwrap_or(len),
                    congested: class & CONGESTED == CONGESTED,
                };
            }
            Ok(got)
        }

        pub fn send(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; SEND_BYTES]],
            metas: &[Meta],
        ) -> io::Result<usize> {
            let joined = self.refusals < REFUSALS;
            match self.send_rows(socket, buffers, metas, joined) {
                Err(error)
                    if joined
                        && self.rows.first().is_some_and(|row| *row > 1)
                        && !matches!(
                            error.raw_os_error(),
                            Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM | libc::EPERM)
                        ) =>
                {
                    // It may be the row that is refused, not its datagrams.
                    self.refusals += 1;
                    self.send_rows(socket, buffers, metas, false)
                }
                other => other,
            }
        }

        fn send_rows(
            &mut self,
            socket: &UdpSocket,
            buffers: &mut [[u8; SEND_BYTES]],
            metas: &[Meta],
            joined: bool,
        ) -> io::Result<usize> {
            let mut waiting = (metas, &mut *self.slices, buffers);
            let parts = self.headers.iter_mut().zip(self.addrs.iter_mut());
            let mut count = 0;
            for (((header, addr), control), len) in parts.zip(self.controls.iter_mut()).zip(self.rows.iter_mut()) {
                let (metas, slices, buffers) = core::mem::take(&mut waiting);
                *len = if joined { row(metas) } else { metas.len().min(1) };
                let (Some((of_row, metas)), Some((row_slices, slices)), Some((row_buffers, buffers))) = (
                    metas.split_at_checked(*len),
                    slices.split_at_mut_checked(*len),
                    buffers.split_at_mut_checked(*len),
                ) else {
                    break;
                };
                let Some(first) = of_row.first() else { break };
                for ((slice, buffer), meta) in row_slices.iter_mut().zip(row_buffers).zip(of_row) {
                    let len = meta.len.min(buffer.len());
                    *slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: len };
                }
                let addr_len = write_addr(addr, first.addr);
                point(header, row_slices, addr, addr_len);
                if *len > 1 {
                    header.msg_hdr.msg_controllen = write_segment(control, first.len) as _;
                    header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                }
                waiting = (metas, slices, buffers);
                count += 1;
            }
            // SAFETY: as in `receive`; each header points to as many slices as it says. The kernel only reads through these
            // pointers.
            let sent =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
            Ok(self.rows.iter().take(sent).sum())
        }
    }

    /// Sets an option whose value is a number.
    pub fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the kernel reads an integer from a pointer to one, of the length of one.
        let done = unsafe {
            libc::setsockopt(
                fd,
                level,
                option,
                ptr::from_ref(&value).cast(),
                mem::size_of_val(&value) as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Bytes of a cache line.
    const LINE: usize = 64;

    /// An address in each cache line that a stretch of memory touches.
    pub fn lines(at: *const u8, bytes: usize) -> impl Iterator<Item = *const u8> {
        let first = at.wrapping_sub(at.addr() % LINE);
        let end = at.addr().saturating_add(bytes);
        let count = if bytes == 0 { 0 } else { (end - first.addr()).div_ceil(LINE) };
        (0..count).map(move |line| first.wrapping_add(line * LINE))
    }

    #[cfg(target_arch = "x86_64")]
    pub fn prefetch_line(at: *const u8) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }

    #[cfg(target_arch = "aarch64")]
    pub fn prefetch_line(at: *const u8) {
        // SAFETY: the instruction is a hint: it changes neither registers, flags nor memory, and faults at no address.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(readonly, nostack, preserves_flags))
        };
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn prefetch_line(_: *const u8) {}

    pub fn dropped(socket: &UdpSocket) -> Option<u64> {
        /// Numbers that SO_MEMINFO tells, and the place of that of the drops among them (linux/sock_diag.h).
        const NUMBERS: usize = 9;
        const DROPS: usize = 8;
        let mut numbers = [0u32; NUMBERS];
        let mut len = mem::size_of_val(&numbers) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to an array that is as long, and the length that it wrote to `len`.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                ptr::from_mut(&mut len),
            )
        };
        (done == 0).then(|| numbers.get(DROPS).copied().map(u64::from))?
    }

    /// The shortest that there is, 0.1 ms.
    const SLICE_NS: u64 = 100_000;

    pub fn shorten_slice() -> io::Result<()> {
        const THIS_THREAD: libc::pid_t = 0;
        const NO_FLAGS: libc::c_uint = 0;
        let mut attr = libc::sched_attr {
            size: mem::size_of::<libc::sched_attr>() as u32,
            sched_policy: 0,
            sched_flags: 0,
            sched_nice: 0,
            sched_priority: 0,
            sched_runtime: 0,
            sched_deadline: 0,
            sched_period: 0,
        };
        let size = attr.size;
        // SAFETY: the kernel writes at most `size` bytes to a structure that is as long.
        let got =
            unsafe { libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, ptr::from_mut(&mut attr), size, NO_FLAGS) };
        if got != 0 {
            return Err(io::Error::last_os_error());
        }
        if attr.sched_policy != libc::SCHED_OTHER as u32 {
            return Ok(());
        }
        attr.sched_runtime = SLICE_NS;
        // SAFETY: the kernel reads a structure whose first field says how long it is.
        let set = unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, ptr::from_ref(&attr), NO_FLAGS) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub fn steer(socket: &impl AsFd) -> io::Result<()> {
        let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        // What the program sees begins with the datagram's first byte. A look beyond its end ends the program with 0, the
        // first worker's; more than there are workers means "as without this program".
        let mut program = [
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0xc0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, netcode::packet::DATA_FLAGS.into()),
            // The worker is the six highest bits of the connection id, whose last byte is the highest.
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 4),
            op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 2),
            op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        ];
        let program = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
        // SAFETY: the kernel copies the program, whose length and place the structure says, before the call returns.
        let done = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                ptr::from_ref(&program).cast(),
                mem::size_of_val(&program) as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Rounded up to where the next control message begins.
    const fn aligned(len: usize) -> usize {
        len.next_multiple_of(mem::size_of::<usize>())
    }

    /// Writes the control message that says how long the datagrams of a row are: its length.
    fn write_segment(control: &mut Control, segment: usize) -> usize {
        let data = u16::try_from(segment).unwrap_or(u16::MAX).to_ne_bytes();
        let (len, number) = (CONTROL_HEADER + data.len(), mem::size_of::<usize>());
        control.0 = [0; CONTROL_BYTES];
        let (head, rest) = control.0.split_at_mut(number);
        head.copy_from_slice(&len.to_ne_bytes());
        rest[..4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        rest[4..8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        rest[8..10].copy_from_slice(&data);
        aligned(len)
    }

    /// What the control messages say: how long the datagrams of a row are, and the traffic class.
    fn read_control(mut bytes: &[u8]) -> (Option<usize>, u8) {
        let (mut segment, mut class) = (None, 0);
        while let Some((len, rest)) = bytes.split_first_chunk() {
            let len = usize::from_ne_bytes(*len);
            let Some(([level, kind], data)) = numbers(rest) else { break };
            let Some(data) = len.checked_sub(CONTROL_HEADER).and_then(|len| data.get(..len)) else { break };
            match (level, kind, data) {
                (libc::SOL_UDP, libc::UDP_GRO, &[a, b, c, d]) => {
                    segment = usize::try_from(i32::from_ne_bytes([a, b, c, d])).ok().filter(|segment| *segment > 0);
                }
                (libc::IPPROTO_IP, libc::IP_TOS, &[tos, ..]) => class = tos,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &[a, b, c, d]) => {
                    class = i32::from_ne_bytes([a, b, c, d]) as u8
                }
                _ => {}
            }
            bytes = bytes.get(aligned(len)..).unwrap_or_default();
        }
        (segment, class)
    }

    fn numbers(bytes: &[u8]) -> Option<([i32; 2], &[u8])> {
        let (level, rest) = bytes.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        Some(([i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)], rest))
    }

    fn point(
        header: &mut libc::mmsghdr,
        slices: &mut [libc::iovec],
        addr: &mut libc::sockaddr_storage,
        addr_len: usize,
    ) {
        header.msg_len = 0;
        header.msg_hdr.msg_name = ptr::from_mut(addr).cast();
        header.msg_hdr.msg_namelen = addr_len as libc::socklen_t;
        header.msg_hdr.msg_iov = slices.as_mut_ptr();
        header.msg_hdr.msg_iovlen = slices.len() as _;
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

/// One call per datagram.
mod plain {
    use std::io;

    use mio::net::UdpSocket;

    use super::{Meta, RECEIVE_BYTES, ROW_BYTES, Received, SEND_BYTES};

    pub fn receive(socket: &UdpSocket, buffers: &mut [u8], received: &mut [Received]) -> io::Result<usize> {
        let mut count = 0;
        for (buffer, received) in buffers.chunks_exact_mut(ROW_BYTES).zip(received) {
            match socket.recv_from(buffer.get_mut(..RECEIVE_BYTES).unwrap_or_default()) {
                Ok((len, addr)) => *received = Received { addr, len, segment: len, congested: false },
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        Ok(count)
    }

    pub fn send(socket: &UdpSocket, buffers: &mut [[u8; SEND_BYTES]], metas: &[Meta]) -> io::Result<usize> {
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

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_may_ask_to_be_prompt_more_than_once() {
        be_prompt().unwrap();
        be_prompt().unwrap();
    }

    #[test]
    fn a_stretch_of_memory_is_asked_for_line_by_line_and_no_line_twice() {
        let lines = |at: usize, bytes| -> Vec<usize> {
            system::lines(std::ptr::without_provenance(at), bytes).map(|line| line.addr()).collect()
        };
        assert_eq!(lines(6400, 64), [6400]);
        assert_eq!(lines(6410, 64), [6400, 6464]);
        assert_eq!(lines(6463, 2), [6400, 6464]);
        assert_eq!(lines(6410, 0), [0; 0]);
        // Whatever is there, or is not.
        prefetch(std::ptr::null(), 4096);
        prefetch(std::ptr::without_provenance(usize::MAX - 10), 11);
    }

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

    /// Batched calls where there are any, and plain ones.
    fn kinds() -> [(Sender, Receiver); 2] {
        let plain = (Sender::with(Calls::Plain), Receiver::with(Calls::Plain));
        [(Sender::new(), Receiver::new()), plain]
    }

    fn round_trip(ip: &str) {
        for (sender, receiver) in kinds() {
            round_trip_of(ip, sender, receiver);
        }
    }

    fn round_trip_of(ip: &str, mut sender: Sender, mut receiver: Receiver) {
        let (a, b) = (socket(ip), socket(ip));
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
        for (mut sender, mut receiver) in kinds() {
            let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
            let good = b.local_addr().unwrap();
            // Broadcast needs a permission that this socket does not have.
            let bad = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
            for to in [good, bad, good, bad, bad, good, good] {
                sender.slot().unwrap();
                sender.commit(to, 10);
            }
            let flushed = sender.flush(&a);
            assert_eq!(flushed, Flushed { sent: 4, bytes: 40, refused: 3, blocked: None });
            assert_eq!(receiver.receive(&b).unwrap(), 4);
        }
    }

    #[test]
    fn what_goes_as_one_message_is_to_one_peer_and_of_one_length_but_for_the_last() {
        let (one, other) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 1], 2)));
        let rows = |datagrams: &[(SocketAddr, usize)]| {
            let metas: Vec<Meta> = datagrams.iter().map(|(addr, len)| Meta { addr: *addr, len: *len }).collect();
            let (mut rest, mut rows) = (metas.as_slice(), Vec::new());
            while !rest.is_empty() {
                rows.push(row(rest));
                rest = &rest[row(rest)..];
            }
            rows
        };
        assert_eq!(rows(&[(one, 9), (one, 9), (one, 9), (other, 9), (one, 9)]), [3, 1, 1]);
        assert_eq!(rows(&[(one, 9), (one, 9), (one, 3), (one, 9), (one, 10), (one, 10)]), [3, 1, 2]);
        assert_eq!(rows(&[(one, 0), (one, 0), (one, 5), (one, 0)]), [1, 1, 1, 1], "an empty one ends no row");
        assert_eq!(rows(&[(one, 1400); 64]), [46, 18], "a row has no more bytes than a datagram can have");
    }

    #[test]
    fn a_row_to_one_peer_arrives_as_it_was_whatever_the_kernels_join() {
        for (mut sender, mut receiver) in kinds() {
            for tuned in [false, true] {
                let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
                #[cfg(target_os = "linux")]
                if tuned && matches!(receiver.calls, Calls::Batched(_)) {
                    tune(&b, false).unwrap();
                }
                let lens = [700, 700, 700, 5, 700, 700, 1200, 1200, 1199, 1];
                for (i, len) in lens.into_iter().enumerate() {
                    sender.slot().unwrap()[..len].fill(i as u8);
                    sender.commit(b.local_addr().unwrap(), len);
                }
                let flushed = sender.flush(&a);
                assert_eq!((flushed.sent, flushed.bytes, flushed.refused), (10, lens.iter().sum::<usize>() as u64, 0));
                let mut came = Vec::new();
                while let count @ 1.. = receiver.receive(&b).unwrap() {
                    for i in 0..count {
                        let (from, datagram) = receiver.datagram(i).unwrap();
                        assert_eq!(from, a.local_addr().unwrap());
                        assert!(datagram.iter().all(|byte| *byte == datagram[0]));
                        came.push((usize::from(datagram[0]), datagram.len()));
                    }
                }
                assert!(came.into_iter().eq(lens.into_iter().enumerate()), "tuned: {tuned}");
            }
        }
    }

    #[test]
    fn a_joined_message_is_taken_apart_within_its_bounds() {
        for (len, segment, parts) in
            [(0, 0, 1), (10, 10, 1), (10, 3, 4), (65_535, 1, ROW_DATAGRAMS), (9, 0, 9), (5, 70_000, 1)]
        {
            let mut out = Vec::new();
            take_apart(3, &Received { len, segment, ..NOTHING }, &mut out);
            assert_eq!(out.len(), parts, "{len} bytes in parts of {segment}");
            assert!(out.iter().all(|part| part.start + part.len <= len && part.len <= RECEIVE_BYTES));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn congestion_on_the_way_is_counted() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        tune(&b, false).unwrap();
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        for class in [0, 2, 3] {
            system::set(&a, libc::IPPROTO_IP, libc::IP_TOS, class).unwrap();
            fill(&mut sender, 2, b.local_addr().unwrap());
            assert_eq!(sender.flush(&a).sent, 2);
            assert_eq!(receiver.receive(&b).unwrap(), 2);
            assert_eq!(receiver.congested(), if class == 3 { 2 } else { 0 });
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_full_buffer_drops_is_told() {
        let (a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        system::set(&b, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096).unwrap();
        assert_eq!(dropped(&b), 0);
        let mut sender = Sender::new();
        fill(&mut sender, BATCH, b.local_addr().unwrap());
        sender.flush(&a);
        let mut receiver = Receiver::new();
        let came = receiver.receive(&b).unwrap() as u64;
        assert!(came < BATCH as u64);
        assert_eq!(dropped(&b), BATCH as u64 - came);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_data_packet_goes_to_the_worker_that_it_names_and_all_else_to_any() {
        use netcode::packet::{ConnId, Header};
        use socket2::{Domain, Socket, Type};
        let mut addr: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let workers: Vec<UdpSocket> = (0..3)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                socket.set_reuse_port(true).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket.bind(&addr.into()).unwrap();
                addr = socket.local_addr().unwrap().as_socket().unwrap();
                UdpSocket::from_std(socket.into())
            })
            .collect();
        steer(&workers[1]).unwrap();
        let mut receiver = Receiver::new();
        let mut came = |worker: &UdpSocket| receiver.receive(worker).unwrap();
        for round in 0..8 {
            let client = socket("127.0.0.1");
            for named in [0, 2, 1] {
                let mut packet = [0; 40];
                Header::write(&mut packet, Some(ConnId::new(named, 65_535, round)), 1, round % 2 == 0);
                client.send_to(&packet, addr).unwrap();
                for (at, worker) in workers.iter().enumerate() {
                    assert_eq!(came(worker), usize::from(at == usize::from(named)), "worker {named}, at {at}");
                }
            }
            // Of a worker that is not there; a handshake; junk.
            let mut nobodys = [0; 40];
            Header::write(&mut nobodys, Some(ConnId::new(63, 0, 0)), 1, false);
            for other in [nobodys.as_slice(), &[0x80; 1200], &[7], &[]] {
                client.send_to(other, addr).unwrap();
                assert_eq!(workers.iter().map(&mut came).sum::<usize>(), 1);
            }
        }
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

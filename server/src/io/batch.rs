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

/// Asks the processor to bring that memory into a near cache; where there is no such instruction at hand, nothing.
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

    /// Into the second cache, not the first: a packet needs more lines than the first one waits for at a time (some two dozen),
    /// and whoever asks for more waits itself.
    #[cfg(target_arch = "x86_64")]
    pub fn prefetch_line(at: *const u8) {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
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

// Named, since `saturate` takes this file in from elsewhere.
#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;

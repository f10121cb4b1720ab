//! Datagrams through real sockets, by both ways of calling.

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

#[test]
#[cfg(target_os = "linux")]
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

#[test]
fn a_thread_may_ask_to_be_prompt_more_than_once() {
    be_prompt().unwrap();
    be_prompt().unwrap();
}

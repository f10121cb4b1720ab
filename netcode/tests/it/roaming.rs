//! Changes of the client's address, its own and those that somebody else pretends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcode::Time;
use netcode::channel::SNAPSHOT;
use netcode::emulator::LinkConfig;
use netcode::path::AMPLIFICATION;

use crate::lab::{End, GOOD, MS, SECOND, noise};
use crate::pair::{BlockTold, Heard, Pair, client_addr, server_addr};

const DELAY: Duration = Duration::from_millis(50);
const RTT: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(50);
/// How far apart a server looks at its timers.
const GRAIN: Duration = Duration::from_millis(10);

/// A client that plays at 20 Hz.
fn player(seed: u64, link: LinkConfig) -> Pair {
    let mut pair = Pair::connected(seed, DELAY);
    pair.net.reset_links(link);
    pair.clients[0].plays = true;
    pair.start_ticks();
    pair.run_for(SECOND);
    pair
}

/// The `number`th outside address: another port, or another host as well.
fn outside(number: u16, host: bool) -> SocketAddr {
    let ip = if host { [100, 64, (number >> 8) as u8, number as u8] } else { [100, 64, 0, 1] };
    SocketAddr::from((ip, 20_000 + number))
}

/// Moves the client there and runs for a second. The time from its first packet from there to the first snapshot that
/// finds it there.
fn rebind(pair: &mut Pair, to: SocketAddr) -> Option<Duration> {
    pair.net.rebind(client_addr(0), to);
    pair.flush();
    pair.wire = Some(Vec::new());
    let (mut seen, until) = (pair.clients[0].heard.len(), pair.now + SECOND);
    let (mut spoke, mut found) = (None, None);
    loop {
        let now = pair.now;
        let more = pair.step(until);
        if spoke.is_none() && pair.wire.as_ref().unwrap().iter().any(|sent| sent.to == server_addr()) {
            spoke = Some(now);
        }
        let heard = &pair.clients[0].heard;
        if found.is_none() && heard[seen..].iter().any(|heard| matches!(heard, Heard::Message(SNAPSHOT, ..))) {
            found = Some(now);
        }
        seen = heard.len();
        if !more {
            break;
        }
    }
    pair.wire = None;
    Some(found?.saturating_since(spoke?))
}

/// Sixty moves, a second apart; how long each took.
fn a_minute_of_moves(link: LinkConfig, host: bool) -> Vec<Option<Duration>> {
    let mut pair = player(1, link);
    let times: Vec<_> = (0..60).map(|number| rebind(&mut pair, outside(number, host))).collect();
    pair.run_for(SECOND);
    assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
    assert_eq!(pair.server.address(pair.live[0]), Some(outside(59, host)));
    assert_eq!(pair.server.roams(), 60, "each move was followed, and nothing else");
    times
}

#[test]
fn a_nat_that_rebinds_every_second_for_a_minute_loses_no_connection_and_two_round_trips_each_time() {
    for host in [false, true] {
        let times = a_minute_of_moves(LinkConfig { delay: DELAY, ..GOOD }, host);
        let worst = times.iter().map(|time| time.unwrap()).max().unwrap();
        println!("new host: {host}; snapshots are back after {worst:?} at the most");
        // Two round trips, and the waits for the server's timers and for its next tick.
        assert!(worst <= 2 * RTT + GRAIN + TICK, "{worst:?}");
    }
}

#[test]
fn a_rebind_at_a_fifth_of_loss_is_followed_as_well() {
    let link = LinkConfig { delay: DELAY, jitter: 5 * MS, loss: 0.2, ..GOOD };
    let mut pair = player(2, link);
    let times: Vec<_> = (0..60).map(|number| rebind(&mut pair, outside(number, number % 2 == 0))).collect();
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    times.sort();
    println!("{} of 60 within the second, median {:?}, worst {:?}", times.len(), times[30], times[times.len() - 1]);
    assert!(pair.clients[0].is_connected() && pair.live.len() == 1);
    assert!(times.len() >= 58 && times[30] <= 3 * RTT + GRAIN + TICK, "{times:?}");
    pair.run_for(2 * SECOND);
    assert_eq!(pair.server.address(pair.live[0]), Some(outside(59, false)));
}

/// Somebody who reads what a client sends, and delivers copies from addresses of its own.
struct Copier {
    /// Bytes that each of its addresses sent and was sent.
    accounts: BTreeMap<SocketAddr, (usize, usize)>,
    copies: u16,
    /// Copies that go out again, and when.
    again: Vec<(Time, SocketAddr, Vec<u8>)>,
}

impl Copier {
    /// The address of its `number`th copy, when it has so many.
    fn address(number: u16, addresses: u16) -> SocketAddr {
        SocketAddr::from(([66, 66, 66, 66], 1000 + number % addresses))
    }

    /// Runs for so long. Each packet of the client reaches the server from one of so many addresses, at once, the
    /// original after the network's delay, and another copy 200 ms later.
    fn run(&mut self, pair: &mut Pair, duration: Duration, addresses: u16) {
        let until = pair.now + duration;
        loop {
            pair.wire = Some(Vec::new());
            let more = pair.step(until);
            for sent in pair.wire.take().unwrap() {
                if sent.from == client_addr(0) {
                    let from = Self::address(self.copies, addresses);
                    self.copies += 1;
                    self.deliver(pair, from, &sent.bytes);
                    self.again.push((pair.now + 200 * MS, from, sent.bytes));
                } else if sent.to != client_addr(0) {
                    self.accounts.get_mut(&sent.to).unwrap().1 += sent.bytes.len();
                }
            }
            let now = pair.now;
            for (_, from, bytes) in self.again.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                self.deliver(pair, from, &bytes);
            }
            for (address, (received, sent)) in &self.accounts {
                assert!(*sent <= AMPLIFICATION * received, "{address}: {sent} bytes for {received}");
            }
            if !more {
                break;
            }
        }
    }

    fn deliver(&mut self, pair: &mut Pair, from: SocketAddr, bytes: &[u8]) {
        self.accounts.entry(from).or_default().0 += bytes.len();
        pair.inject(from, bytes);
    }
}

fn copier() -> Copier {
    Copier { accounts: BTreeMap::new(), copies: 0, again: Vec::new() }
}

#[test]
fn a_copier_that_is_always_first_moves_nothing() {
    let mut pair = player(3, LinkConfig { delay: DELAY, ..GOOD });
    let before = pair.clients[0].messages(SNAPSHOT).len();
    let mut copier = copier();
    copier.run(&mut pair, 60 * SECOND, 1);
    assert_eq!((pair.server.roams(), pair.server.address(pair.live[0])), (0, Some(client_addr(0))));
    let snapshots = pair.clients[0].messages(SNAPSHOT).len() - before;
    assert!(pair.clients[0].is_connected() && snapshots >= 1195, "{snapshots} of 1200 snapshots");
    let (received, sent) = copier.accounts.values().next().unwrap();
    println!("{} copies, {sent} bytes for {received}; {snapshots} of 1200 snapshots arrived", copier.copies);
}

#[test]
fn ten_thousand_forged_rebinds_make_no_move() {
    let mut pair = player(4, LinkConfig { delay: DELAY, ..GOOD });
    let mut copier = copier();
    while copier.copies < 10_000 {
        copier.run(&mut pair, 10 * SECOND, 20_000);
        // What was told is not looked at here.
        pair.told.clear();
        pair.clients[0].heard.clear();
    }
    assert_eq!((pair.server.roams(), pair.server.address(pair.live[0])), (0, Some(client_addr(0))));
    let (received, sent) = copier.accounts.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{} forged rebinds in {} addresses: {sent} bytes for {received}", copier.copies, copier.accounts.len());
    assert!(pair.clients[0].is_connected() && copier.accounts.len() >= 10_000);
}

#[test]
fn who_roams_while_blocks_are_under_way_finishes_them() {
    let mut pair = Pair::lab(5, LinkConfig { delay: DELAY, loss: 0.02, ..GOOD });
    pair.clients[0].plays = true;
    pair.start_ticks();
    let blocks = End::BOTH.map(|end| (end, Arc::<[u8]>::from(noise(end as u64, 1 << 20))));
    for (end, block) in &blocks {
        pair.start_block(*end, Arc::clone(block)).unwrap();
    }
    for number in 0..30 {
        rebind(&mut pair, outside(number, number % 2 == 0)).unwrap();
    }
    let done = |pair: &Pair| End::BOTH.iter().all(|end| pair.block_events(*end).contains(&BlockTold::Sent(0)));
    assert!(pair.run_while(30 * SECOND, done));
    for (end, block) in &blocks {
        let mut arrived = Vec::new();
        for event in pair.block_events(end.other()) {
            if let BlockTold::Data(0, offset, bytes) = event {
                assert_eq!(offset as usize, arrived.len());
                arrived.extend(bytes);
            }
        }
        assert!(arrived == **block, "from {end:?}");
    }
    pair.assert_honest();
    assert_eq!(pair.server.roams(), 30);
}

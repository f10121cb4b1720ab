//! What a traced connection says happened, against what did.

use std::collections::BTreeSet;

use netcode::Time;
use netcode::channel::Table;
use netcode::client::ClientConfig;
use netcode::emulator::LinkConfig;
use netcode::error::CloseReason;
use netcode::keys::KeyLimits;
use netcode::server::ServerConfig;
use netcode::stats::Drop;
use netcode::trace::{PathStep, TraceEvent, TraceState};

use crate::lab::{End, GOOD, MS, ORDERED, SECOND};
use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr, server_config};

#[derive(Default)]
struct Seen {
    sent: BTreeSet<u64>,
    received: BTreeSet<u64>,
    bytes_sent: u64,
    acked: u64,
    lost: u64,
    duplicates: u64,
    rolls: [u64; 2],
    mtus: Vec<u16>,
    paths: Vec<PathStep>,
    states: Vec<TraceState>,
    snapshots: u64,
    last: Time,
}

impl Seen {
    /// The server's trace begins a moment after its connection.
    fn assert_sent(&self, pn: u64) {
        assert!(self.sent.contains(&pn) || self.sent.first().is_none_or(|first| pn < *first), "{pn}");
    }

    fn note(&mut self, now: Time, event: &TraceEvent) {
        assert!(now >= self.last, "in order of time");
        self.last = now;
        match event {
            TraceEvent::Sent { pn, bytes, contents, .. } => {
                assert!(self.sent.insert(*pn), "{pn} was sent twice");
                self.bytes_sent += u64::from(*bytes);
                self.snapshots += u64::from(contents.snapshot > 0);
            }
            TraceEvent::Received { pn, .. } => assert!(self.received.insert(*pn), "{pn} was taken twice"),
            TraceEvent::Acked { pn, .. } => {
                self.assert_sent(*pn);
                self.acked += 1;
            }
            TraceEvent::Lost { pn } => {
                self.assert_sent(*pn);
                self.lost += 1;
            }
            TraceEvent::Dropped { cause } => self.duplicates += u64::from(*cause == Drop::Duplicate),
            TraceEvent::KeyRolled { sending, generation } => {
                let rolls = &mut self.rolls[usize::from(!sending)];
                *rolls += 1;
                assert_eq!(rolls, generation);
            }
            TraceEvent::Mtu { bytes } => self.mtus.push(*bytes),
            TraceEvent::Path { step, .. } => self.paths.push(*step),
            TraceEvent::State { state } => self.states.push(*state),
            TraceEvent::Rate { .. } => {}
            TraceEvent::Missed { events } => panic!("{events} events were missed"),
        }
    }
}

/// Takes what both ends recorded.
fn take(pair: &mut Pair, seen: &mut [Seen; 2]) {
    while let Some((now, event)) = pair.clients[0].endpoint.poll_trace() {
        seen[0].note(now, &event);
    }
    if let Some(conn) = pair.live.first().copied() {
        while let Some((now, event)) = pair.server.poll_trace(conn) {
            seen[1].note(now, &event);
        }
    }
}

#[test]
fn the_traces_of_both_ends_agree_with_each_other_and_with_what_happened() {
    let keys = KeyLimits { packets: 100, ..KeyLimits::default() };
    let mut pair = Pair::new(1, ServerConfig { channels: Table::lab(), key_limits: keys, ..server_config() });
    pair.net.set_default(GOOD);
    let bundle = pair.bundle(&claims());
    let config = ClientConfig { channels: Table::lab(), key_limits: keys, ..ClientConfig::new(SCHEMA_HASH) };
    pair.add_client(&bundle, config);
    pair.clients[0].endpoint.enable_trace();
    while pair.live.is_empty() {
        pair.step(Time::NEVER);
    }
    let conn = pair.live[0];
    pair.server.enable_trace(pair.now, conn);
    pair.net.reset_links(LinkConfig { loss: 0.05, duplicate: 0.05, ..GOOD });
    pair.clients[0].plays = true;
    pair.start_ticks();
    let mut seen = [Seen::default(), Seen::default()];
    for number in 0..60u32 {
        for end in End::BOTH {
            pair.send_from(end, ORDERED, &number.to_le_bytes()).unwrap();
        }
        if number == 30 {
            pair.net.rebind(client_addr(0), ([100, 64, 0, 1], 20_000).into());
        }
        pair.run_for(500 * MS);
        take(&mut pair, &mut seen);
    }
    let ends = End::BOTH.map(|end| (pair.quality(end), pair.drops(end, Drop::Duplicate)));
    let generations = [pair.clients[0].endpoint.key_generations(), pair.server.key_generations(conn).unwrap()];
    for (at, (quality, duplicates)) in ends.into_iter().enumerate() {
        let (mine, theirs) = (&seen[at], &seen[1 - at]);
        let counts = [mine.sent.len() as u64, mine.received.len() as u64, mine.acked, mine.lost];
        println!("{at}: sent, received, acked, lost {counts:?}, {:?} rolls", mine.rolls);
        let strangers = mine.received.difference(&theirs.sent).count();
        assert!(strangers <= 5, "{strangers} packets received that were never sent");
        let share = mine.received.len() as f64 / theirs.sent.len() as f64;
        assert!((0.9..=0.98).contains(&share), "{share} of what was sent arrived");
        // Packets that ask for no ack and probes are traced, but not counted.
        assert!(mine.acked >= quality.acked && mine.lost + 3 >= quality.lost, "{quality:?}");
        assert!(duplicates.abs_diff(mine.duplicates) <= 3);
        assert_eq!(mine.rolls, [generations[at].0, generations[at].1]);
        assert!(mine.rolls[0] >= 3 && mine.mtus.contains(&1452));
        assert_eq!(mine.states.first(), Some(&TraceState::Established));
    }
    assert!(seen[1].snapshots >= 595);
    assert_eq!(seen[1].paths.last(), Some(&PathStep::Moved));
    assert!(seen[0].paths.is_empty(), "a client does not know where it is seen");
    pair.clients[0].endpoint.close(pair.now, CloseReason::Requested);
    pair.run_for(SECOND);
    take(&mut pair, &mut seen);
    assert!(seen[0].states.contains(&TraceState::Closing(CloseReason::Requested)));
}

#[test]
fn who_is_not_traced_has_no_trace() {
    let mut pair = Pair::lab(2, GOOD);
    pair.run_for(SECOND);
    assert_eq!(pair.clients[0].endpoint.poll_trace(), None);
    let conn = pair.live[0];
    assert_eq!(pair.server.poll_trace(conn), None);
}

//! Two endpoints against reference queues: random deeds over random bad networks, and arenas in which everything happens
//! at once, heals, and must come to rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use netcode::channel::Table;
use netcode::emulator::LinkConfig;
use netcode::error::SendError;
use netcode::keys::KeyLimits;
use netcode::rng::Rng;
use netcode::stats::Drop;
use proptest::prelude::*;

use crate::lab::{BLOCK, DATAGRAM, End, GOOD, MS, ORDERED, SECOND, STATE, UNORDERED, noise, quotas};
use crate::pair::{BlockTold, Heard, Pair, Told, client_addr};

/// What one end sent and the other must still get; every check is made the moment something arrives.
#[derive(Default)]
struct Reference {
    ordered: VecDeque<Vec<u8>>,
    unordered: BTreeMap<Vec<u8>, u32>,
    /// Sent at most once each, and so to arrive at most once each.
    datagrams: BTreeMap<Vec<u8>, u32>,
    /// The number of the newest message of the sequenced channel that arrived.
    state: Option<u32>,
    /// Blocks that are not there yet, and how much of the first one is.
    blocks: VecDeque<Arc<[u8]>>,
    block_bytes: usize,
    sent: u32,
}

impl Reference {
    fn note(&mut self, channel: u8, message: Vec<u8>) {
        self.sent += 1;
        match channel {
            ORDERED => self.ordered.push_back(message),
            UNORDERED => *self.unordered.entry(message).or_default() += 1,
            DATAGRAM => *self.datagrams.entry(message).or_default() += 1,
            _ => {}
        }
    }

    fn on_message(&mut self, channel: u8, message: &[u8]) {
        match channel {
            ORDERED => assert_eq!(self.ordered.pop_front().as_deref(), Some(message), "ordered"),
            UNORDERED => take(&mut self.unordered, message),
            DATAGRAM => take(&mut self.datagrams, message),
            STATE => {
                let number = u32::from_le_bytes(*message.first_chunk().unwrap());
                assert!(self.state.is_none_or(|newest| number > newest), "an older state");
                assert_eq!(message, state(number));
                self.state = Some(number);
            }
            _ => {}
        }
    }

    fn on_block(&mut self, event: &BlockTold) {
        match event {
            BlockTold::Data(_, offset, bytes) => {
                let block = self.blocks.front().expect("a block that was sent");
                assert_eq!(
                    (*offset as usize, &block[self.block_bytes..][..bytes.len()]),
                    (self.block_bytes, &bytes[..])
                );
                self.block_bytes += bytes.len();
            }
            BlockTold::Received(_) => {
                assert_eq!(self.blocks.pop_front().map(|block| block.len()), Some(self.block_bytes));
                self.block_bytes = 0;
            }
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        self.ordered.is_empty() && self.unordered.is_empty() && self.blocks.is_empty()
    }
}

fn take(bag: &mut BTreeMap<Vec<u8>, u32>, message: &[u8]) {
    let left = bag.get_mut(message).expect("nobody sent that, or it came before");
    *left -= 1;
    if *left == 0 {
        bag.remove(message);
    }
}

fn state(number: u32) -> Vec<u8> {
    [&number.to_le_bytes()[..], &noise(u64::from(number), 40)].concat()
}

/// A pair and what each end sent.
struct World {
    pair: Pair,
    /// By sender.
    sent: [Reference; 2],
    seen: [usize; 2],
    full: u64,
    /// The most bytes that an end may hold.
    declared: usize,
}

impl World {
    fn new(pair: Pair) -> Self {
        let seen = [pair.clients[0].heard.len(), pair.told.len()];
        Self { pair, sent: Default::default(), seen, full: 0, declared: quotas() }
    }

    fn send(&mut self, end: End, channel: u8, message: Vec<u8>) {
        match self.pair.send_from(end, channel, &message) {
            Ok(()) => self.sent[end as usize].note(channel, message),
            Err(SendError::Full { .. }) => self.full += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn send_block(&mut self, end: End, bytes: Arc<[u8]>) {
        match self.pair.start_block(end, Arc::clone(&bytes)) {
            Ok(_) => self.sent[end as usize].blocks.push_back(bytes),
            Err(SendError::Full { .. }) => self.full += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let until = self.pair.now + duration;
        loop {
            let more = self.pair.step(until);
            self.check();
            if !more {
                break;
            }
        }
        self.pair.flush();
        self.check();
    }

    /// What must be so after every step.
    fn check(&mut self) {
        let [client, server] = &mut self.sent;
        for heard in self.pair.clients[0].heard.drain(self.seen[0]..) {
            match heard {
                Heard::Message(channel, _, bytes) => server.on_message(channel, &bytes),
                Heard::Block(BLOCK, event) => server.on_block(&event),
                Heard::Disconnected(reason) => panic!("the client lost its server: {reason}"),
                Heard::Block(..) | Heard::Connected(_) => {}
            }
        }
        for told in self.pair.told.drain(self.seen[1]..) {
            match told {
                Told::Message(_, channel, _, bytes) => client.on_message(channel, &bytes),
                Told::Block(_, BLOCK, event) => client.on_block(&event),
                Told::Disconnected(_, reason) => panic!("the server lost its client: {reason}"),
                _ => {}
            }
        }
        for end in End::BOTH {
            assert_eq!(self.pair.drops(end, Drop::Malformed), 0, "{end:?} was taken for a peer that breaks the rules");
            let held = self.pair.quality(end).held_bytes as usize;
            assert!(held <= self.declared, "{end:?} holds {held} of {}", self.declared);
        }
    }

    /// The network is good from now on: within 30 s everything is there.
    fn come_to_rest(&mut self) {
        self.pair.net.heal();
        self.pair.net.reset_links(GOOD);
        for _ in 0..300 {
            if self.sent.iter().all(Reference::is_done) {
                break;
            }
            self.run_for(100 * MS);
        }
        let [client, server] = &self.sent;
        for (end, sent) in [("client", client), ("server", server)] {
            let left = (sent.ordered.len(), sent.unordered.len(), sent.blocks.len());
            assert!(sent.is_done(), "{left:?} ordered, unordered and blocks of the {end} never came");
        }
        self.run_for(2 * SECOND);
        for end in End::BOTH {
            let quality = self.pair.quality(end);
            assert_eq!((quality.queued_bytes, quality.queued_messages), (0, 0), "{end:?} knows that all is there");
        }
        let client = self.pair.clients[0].endpoint.key_generations();
        let server = self.pair.server.key_generations(self.pair.live[0]).unwrap();
        // The first packet of a phase may be under way.
        let apart = [client.0 - server.1, server.0 - client.1];
        assert!(apart.iter().all(|rolls| *rolls <= 1), "both agree on the keys: {client:?} {server:?}");
    }
}

/// A bad network out of a seed: each fault is there or not, at a rate of its own.
fn bad_link(rng: &mut Rng) -> LinkConfig {
    let mut some = |most: f64| if rng.chance(0.6) { most * rng.below(1000) as f64 / 1000.0 } else { 0.0 };
    let (loss, duplicate, reorder, corrupt) = (some(0.3), some(0.3), some(0.3), some(0.1));
    let burst_enter = some(0.03);
    LinkConfig {
        delay: (1 + rng.below(100)) as u32 * MS,
        jitter: rng.below(40) as u32 * MS,
        loss,
        burst_enter,
        burst_exit: 0.1 + rng.below(9) as f64 / 10.0,
        duplicate,
        reorder,
        reorder_delay: rng.below(500) as u32 * MS,
        corrupt,
        rate_bytes_per_s: rng.chance(0.2).then(|| 60_000 + rng.below(400_000) as u32),
        queue_bytes: 64 * 1024,
        mtu: rng.chance(0.3).then(|| 1200 + rng.below(300) as u16),
    }
}

/// Five seconds in which everything happens, and then peace.
fn arena(seed: u64) -> (u64, u64, u64) {
    let mut rng = Rng::new(seed).fork("arena");
    let mut keys = || KeyLimits { packets: 50 + rng.below(151), age: 3600 * SECOND };
    let (up, down) = (keys(), keys());
    let mut pair = Pair::lab_with(seed, bad_link(&mut rng), Table::lab(), |server, client| {
        (server.key_limits, client.key_limits) = (down, up);
    });
    pair.clients[0].plays = true;
    pair.snapshot_bytes = 8 + rng.below(800) as usize;
    pair.start_ticks();
    let mut world = World::new(pair);
    let rebinds = rng.chance(0.7);
    for step in 0..100u32 {
        for end in End::BOTH {
            deeds(&mut world, &mut rng, end, step);
        }
        if rebinds && rng.chance(0.05) {
            let outside = ([100, 64, 0, rng.below(3) as u8], 20_000 + step as u16);
            world.pair.net.rebind(client_addr(0), outside.into());
        }
        if rng.chance(0.02) {
            let link = bad_link(&mut rng);
            world.pair.net.reset_links(link);
        }
        world.run_for(50 * MS);
    }
    let stats = *world.pair.net.stats();
    world.come_to_rest();
    let rolls = world.pair.clients[0].endpoint.key_generations();
    (rolls.0 + rolls.1, world.pair.server.roams(), stats.sent + stats.duplicated - stats.delivered)
}

/// What an end may do in a step.
fn deeds(world: &mut World, rng: &mut Rng, end: End, step: u32) {
    let sizes = [0, 1, 20, 200, 1024, 1025, 4000, 65_536];
    for channel in [ORDERED, UNORDERED] {
        if rng.chance(0.5) {
            let kinds = if rng.chance(0.05) { 8 } else { 6 };
            let len = sizes[rng.below(kinds) as usize];
            world.send(end, channel, noise(rng.next_u64(), len));
        }
    }
    if rng.chance(0.3) {
        let len = 4 + sizes[rng.below(7) as usize];
        world.send(end, DATAGRAM, noise(rng.next_u64(), len));
    }
    if rng.chance(0.8) {
        world.send(end, STATE, state(step));
    }
    if rng.chance(0.03) {
        let len = 1 + rng.below(60_000) as usize;
        world.send_block(end, noise(rng.next_u64(), len).into());
    }
}

#[test]
fn two_hundred_arenas_break_no_invariant_and_come_to_rest() {
    let (mut rolls, mut roams, mut vanished) = (0, 0, 0);
    for seed in 0..200 {
        let outcome = std::panic::catch_unwind(|| arena(seed));
        let Ok(sums) = outcome else { panic!("arena {seed}") };
        (rolls, roams, vanished) = (rolls + sums.0, roams + sums.1, vanished + sums.2);
    }
    println!("200 arenas: {rolls} key rolls, {roams} roams, {vanished} datagrams vanished or are still under way");
    assert!(rolls > 1000 && roams > 100);
}

#[derive(Clone, Debug)]
enum Deed {
    Send { end: usize, ordered: bool, len: usize },
    Pass { ms: u16 },
    Link { seed: u64 },
}

fn deed() -> impl Strategy<Value = Deed> {
    let len = prop_oneof![6 => 0usize..40, 2 => Just(1024), 2 => Just(1025), 1 => 0usize..10_000, 1 => Just(65_536)];
    prop_oneof![
        6 => (0usize..2, any::<bool>(), len).prop_map(|(end, ordered, len)| Deed::Send { end, ordered, len }),
        3 => (0u16..300).prop_map(|ms| Deed::Pass { ms }),
        1 => any::<u64>().prop_map(|seed| Deed::Link { seed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reliable_channels_do_what_a_queue_does(seed: u64, deeds in prop::collection::vec(deed(), 1..150)) {
        let link = bad_link(&mut Rng::new(seed));
        let mut world = World::new(Pair::lab(seed, link));
        for (number, deed) in deeds.into_iter().enumerate() {
            match deed {
                Deed::Send { end, ordered, len } => {
                    let channel = if ordered { ORDERED } else { UNORDERED };
                    world.send(End::BOTH[end], channel, noise(seed ^ number as u64, len));
                }
                Deed::Pass { ms } => world.run_for(u32::from(ms) * MS),
                Deed::Link { seed } => world.pair.net.reset_links(bad_link(&mut Rng::new(seed))),
            }
        }
        world.come_to_rest();
    }
}

//! The reliable channel: the receiving half against a model, and both halves over a network that the input controls.

use std::collections::{BTreeMap, VecDeque};

use netcode::error::SendError;
use netcode::reliable::{OutOfWindow, Outbox, Reorder, WINDOW};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    InOrder => "a message in order",
    Early => "an early message",
    Released => "early messages set free",
    Old => "a message delivered before",
    Outside => "a number outside the window",
    Quota => "an early message beyond the quota",
    Sent => "a message sent",
    FullQueue => "a queue that is full",
    Lost => "a packet lost",
    Probe => "a probe",
    Doubled => "a packet delivered twice",
    Arrived => "all arrived",
}

/// The target. The first byte chooses a hostile sender or an honest one.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    if program.u8() & 1 == 0 { hostile_sender(&mut program) } else { honest_sender(&mut program) }
}

/// What a receiver must do, with whole numbers and a map.
struct Model {
    expected: u64,
    held: BTreeMap<u64, Vec<u8>>,
    limit: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }

    /// The messages that are now in order.
    fn accept(&mut self, number: u64, message: &[u8]) -> Result<Vec<Vec<u8>>, OutOfWindow> {
        if number < self.expected {
            reach(Feature::Old);
            return if self.expected - number <= WINDOW as u64 { Ok(Vec::new()) } else { Err(OutOfWindow) };
        }
        if number - self.expected >= WINDOW as u64 {
            reach(Feature::Outside);
            return Err(OutOfWindow);
        }
        if number > self.expected {
            let known = self.held.contains_key(&number);
            if !known && self.bytes() + message.len() > self.limit {
                reach(Feature::Quota);
                return Err(OutOfWindow);
            }
            reach(Feature::Early);
            self.held.entry(number).or_insert_with(|| message.to_vec());
            return Ok(Vec::new());
        }
        reach(Feature::InOrder);
        let mut out = vec![message.to_vec()];
        self.expected += 1;
        while let Some(next) = self.held.remove(&self.expected) {
            reach(Feature::Released);
            out.push(next);
            self.expected += 1;
        }
        Ok(out)
    }
}

fn hostile_sender(program: &mut Program<'_>) {
    let limit = usize::from(program.u8()) * 4;
    let mut reorder = Reorder::new(limit);
    let mut model = Model { expected: 0, held: BTreeMap::new(), limit };
    while !program.is_empty() {
        let distance = i64::from(program.u16() as i16) >> (program.u8() % 16);
        // The wire carries 16 bits; a number below zero can't be meant.
        let Some(number) = model.expected.checked_add_signed(distance) else { continue };
        let len = usize::from(program.u8() % 64);
        let message = vec![program.u8(); len];
        let mut delivered = Vec::new();
        let result = reorder.accept(number as u16, &message, |bytes| delivered.push(bytes.to_vec()));
        let expected = model.accept(number, &message);
        assert_eq!(result.map(|()| delivered), expected);
        assert_eq!(reorder.bytes(), model.bytes());
        assert!(reorder.bytes() <= limit, "more is held than the quota");
        bucket(model.held.len() as u64 | u64::from(result.is_ok()) << 16);
    }
}

/// A packet and the messages in it.
struct Packet {
    pn: u64,
    messages: Vec<(u64, Vec<u8>)>,
}

struct Link {
    outbox: Outbox,
    reorder: Reorder,
    limit: usize,
    sent: Vec<Vec<u8>>,
    arrived: usize,
    /// Packets whose fate at the sender is open, and whether they arrived.
    in_flight: VecDeque<(Packet, bool)>,
    next_pn: u64,
}

fn honest_sender(program: &mut Program<'_>) {
    let limit = 16 + usize::from(program.u8()) * 4;
    let mut link = Link {
        outbox: Outbox::new(limit),
        reorder: Reorder::new(limit),
        limit,
        sent: Vec::new(),
        arrived: 0,
        in_flight: VecDeque::new(),
        next_pn: 0,
    };
    while !program.is_empty() {
        let (op, operand) = (program.u8() % 8, program.u8());
        bucket(u64::from(op) | (link.in_flight.len() as u64).min(15) << 8);
        match op {
            0 | 1 => link.push(operand),
            2 => link.carry(1 + usize::from(operand % 8)),
            3 | 4 => link.deliver(operand),
            5 => link.settle(operand, true),
            6 => link.settle(operand, false),
            _ => {
                reach(Feature::Probe);
                link.outbox.on_probe();
            }
        }
        assert!(link.outbox.bytes() <= limit && link.reorder.bytes() <= limit);
    }
    link.heal();
}

impl Link {
    fn push(&mut self, operand: u8) {
        let message = vec![self.sent.len() as u8; usize::from(operand % 40)];
        match self.outbox.push(&message) {
            Ok(()) => {
                reach(Feature::Sent);
                self.sent.push(message);
            }
            Err(SendError::Full { free }) => {
                reach(Feature::FullQueue);
                assert!(free < message.len() || self.sent.len() - self.arrived >= WINDOW || free == 0);
                assert!(free <= self.limit);
            }
            Err(error) => panic!("a push cannot fail with {error:?}"),
        }
    }

    fn carry(&mut self, most: usize) {
        let mut packet = Packet { pn: self.next_pn, messages: Vec::new() };
        self.outbox.carry(self.next_pn, |number, bytes| {
            let room = packet.messages.len() < most;
            if room {
                packet.messages.push((number, bytes.to_vec()));
            }
            room
        });
        self.next_pn += 1;
        if !packet.messages.is_empty() {
            self.in_flight.push_back((packet, false));
        }
    }

    /// The network delivers a packet in flight, perhaps once more.
    fn deliver(&mut self, operand: u8) {
        let which = usize::from(operand) % self.in_flight.len().max(1);
        let Some((packet, arrived)) = self.in_flight.get_mut(which) else { return };
        if *arrived {
            reach(Feature::Doubled);
        }
        *arrived = true;
        for (number, bytes) in &packet.messages {
            let (sent, arrived) = (&self.sent, &mut self.arrived);
            let taken = self.reorder.accept(*number as u16, bytes, |message| {
                assert_eq!(Some(message), sent.get(*arrived).map(Vec::as_slice), "not the next message");
                *arrived += 1;
            });
            assert_eq!(taken, Ok(()), "an honest sender is refused");
        }
    }

    /// The sender learns that a packet arrived, if it did, or (rightly or wrongly) takes it for lost.
    fn settle(&mut self, operand: u8, acked: bool) {
        let which = usize::from(operand) % self.in_flight.len().max(1);
        match self.in_flight.get(which) {
            Some((_, arrived)) if *arrived || !acked => {}
            _ => return,
        }
        let Some((packet, _)) = self.in_flight.remove(which) else { return };
        if acked {
            self.outbox.on_acked(packet.pn);
        } else {
            reach(Feature::Lost);
            self.outbox.on_lost(packet.pn);
        }
    }

    /// Without any more faults everything arrives.
    fn heal(&mut self) {
        while !self.in_flight.is_empty() {
            self.settle(0, false);
        }
        self.outbox.on_probe();
        while self.outbox.has_due() {
            self.carry(4);
            self.deliver(0);
            self.settle(0, true);
        }
        assert_eq!(self.arrived, self.sent.len(), "not all arrived");
        assert_eq!((self.outbox.bytes(), self.reorder.bytes()), (0, 0));
        if self.arrived > 0 {
            reach(Feature::Arrived);
        }
    }
}

/// A sender in order, with gaps, far off; and an honest one on a good and on a bad network.
pub fn seeds() -> Vec<Vec<u8>> {
    let step =
        |script: Script, distance: i16, shift: u8, len: u8| script.u16(distance as u16).u8(shift).u8(len).u8(len);
    let hostile = || Script::default().u8(0).u8(60);
    let in_order = (0..6).fold(hostile(), |script, len| step(script, 0, 0, len * 5));
    let gaps =
        [3, 1, 2, 0, 5, -1, 4, 0, -3].into_iter().fold(hostile(), |script, distance| step(script, distance, 0, 9));
    let far =
        [255, 256, -256, -257, 0x7fff].into_iter().fold(hostile(), |script, distance| step(script, distance, 0, 63));
    let quota = (1..9).fold(hostile(), |script, distance| step(script, distance, 0, 63));
    let honest = || Script::default().u8(1).u8(40);
    let good = (0..12).fold(honest(), |script, len| script.bytes(&[0, len * 3, 2, 7, 3, 0, 5, 0]));
    let bad = (0..12).fold(honest(), |script, at| script.bytes(&[0, at, 1, 9, 2, 1, 2, 0, 4, at, 6, at, 3, at, 5, at]));
    let full = (0..40).fold(honest(), |script, _| script.bytes(&[0, 39])).bytes(&[2, 7, 7, 0, 2, 7, 3, 1, 5, 1]);
    [in_order, gaps, far, quota, good, bad, full].map(|script| script.0).into()
}

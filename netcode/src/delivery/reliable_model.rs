//! Both reliable kinds, sender to receiver over a lossy channel, beside a reference queue.

use core::time::Duration;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::lossy::{Fate, Lossy, Weather};
use super::*;
use crate::Time;
use crate::error::SendError;
use crate::rng::Rng;
use crate::seq::low16;

type Frame = (u16, bool, bool, Vec<u8>);

#[derive(Clone, Copy, Debug)]
struct Plan {
    weather: Weather,
    limit: usize,
    messages: u64,
    /// Messages are of at most so many bytes, ...
    longest: u64,
    /// ... but of this share at most 40.
    short: f64,
    ordered: bool,
    seed: u64,
}

enum Receiver {
    Ordered(Ordered),
    Unordered(Unordered),
}

impl Receiver {
    fn accept(&mut self, (low, first, last, bytes): &Frame, deliver: impl FnMut(&[u8])) -> Result<(), OutOfWindow> {
        match self {
            Self::Ordered(half) => half.accept(*low, *first, *last, bytes, MAX_RELIABLE, deliver),
            Self::Unordered(half) => half.accept(*low, *first, *last, bytes, MAX_RELIABLE, deliver),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Ordered(half) => half.bytes(),
            Self::Unordered(half) => half.bytes(),
        }
    }
}

struct Run {
    plan: Plan,
    outbox: Outbox,
    channel: Lossy<Frame>,
    receiver: Receiver,
    rng: Rng,
    now: Time,
    /// Messages pushed and not yet delivered, in order.
    reference: VecDeque<Vec<u8>>,
    pushed: u64,
    most_held: usize,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let rng = Rng::new(plan.seed);
        let receiver = if plan.ordered {
            Receiver::Ordered(Ordered::new(plan.limit))
        } else {
            Receiver::Unordered(Unordered::new(plan.limit))
        };
        let channel = Lossy::new(plan.weather, rng.fork("channel"));
        let (outbox, now) = (Outbox::new(plan.limit), Time::ZERO);
        Self { plan, outbox, channel, receiver, rng, now, reference: VecDeque::new(), pushed: 0, most_held: 0 }
    }

    fn push(&mut self) {
        let most = if self.rng.chance(self.plan.short) { self.plan.longest.min(40) } else { self.plan.longest };
        let mut message = vec![0; self.rng.below(most + 1) as usize];
        self.rng.fill(&mut message);
        let before = (self.outbox.bytes(), self.outbox.queued());
        match self.outbox.push(&message) {
            Ok(()) => {
                self.reference.push_back(message);
                self.pushed += 1;
            }
            Err(SendError::Full { free }) => {
                assert!(free < message.len() || before.1 == WINDOW);
                assert_eq!(before, (self.outbox.bytes(), self.outbox.queued()));
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn carry(&mut self) {
        let channel = &mut self.channel;
        let mut frame = None;
        let put = |segment: Segment<'_>| {
            frame = Some((low16(segment.number), segment.first, segment.last, segment.bytes.to_vec()));
            true
        };
        let number = if self.rng.chance(0.1) {
            self.outbox.repeat(self.now, Duration::from_millis(3), put)
        } else {
            self.outbox.carry(self.now, put)
        };
        if let (Some(number), Some(frame)) = (number, frame) {
            channel.send(number, frame);
        }
    }

    fn arrive(&mut self) {
        let Some(frame) = self.channel.arrival() else { return };
        let (reference, ordered) = (&mut self.reference, self.plan.ordered);
        let result = self.receiver.accept(&frame, |message| {
            let place = reference.iter().position(|waiting| waiting == message);
            assert!(place.is_some(), "delivered twice, or never sent");
            assert!(!ordered || place == Some(0), "out of order");
            reference.remove(place.unwrap());
        });
        assert_eq!(result, Ok(()), "an honest sender was refused");
        self.most_held = self.most_held.max(self.receiver.bytes());
        assert!(self.receiver.bytes() <= inbound::quota(self.plan.limit));
    }

    fn learn(&mut self) {
        match self.channel.fate() {
            Some(Fate::Acked(number)) => self.outbox.on_acked(number),
            Some(Fate::Lost(number)) => self.outbox.on_lost(number),
            None => {}
        }
    }

    fn run(mut self) -> Self {
        let mut steps = 0;
        while self.pushed < self.plan.messages || self.outbox.queued() > 0 {
            steps += 1;
            assert!(steps < 4000 + self.plan.messages * 2000, "stuck: {} queued", self.outbox.queued());
            self.now = self.now + Duration::from_micros(500);
            match self.rng.below(8) {
                0 | 1 if self.pushed < self.plan.messages => self.push(),
                0..=3 => self.carry(),
                4 | 5 => self.arrive(),
                6 if self.rng.chance(0.02) => self.outbox.on_probe(),
                _ => self.learn(),
            }
        }
        assert_eq!((self.outbox.bytes(), self.reference.len()), (0, 0));
        self
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    (0.0..0.4, 0.0..0.4, 0.0..0.2, 1u64..200).prop_map(|(loss, twice, wrongly_lost, reorder)| Weather {
        loss,
        twice,
        wrongly_lost,
        reorder,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn every_message_arrives_exactly_once_and_on_an_ordered_channel_in_order(
        weather in weather(), seed: u64, limit in 6000usize..100_000, longest in 0u64..6000, ordered: bool,
    ) {
        Run::new(Plan { weather, limit, messages: 150, longest, short: 0.8, ordered, seed }).run();
    }
}

#[test]
fn numbers_wrap_past_65_536_segments() {
    for ordered in [true, false] {
        let weather = Weather { loss: 0.1, twice: 0.1, wrongly_lost: 0.02, reorder: 20 };
        let plan = Plan { weather, limit: 60_000, messages: 140_000, longest: 8, short: 0.0, ordered, seed: 5 };
        let run = Run::new(plan).run();
        assert!(run.pushed >= 140_000);
    }
}

#[test]
fn messages_of_64_kib_fill_the_senders_limit_over_a_terrible_network_and_the_receiver_refuses_nothing() {
    for (seed, ordered) in (0..6).zip([true, false].into_iter().cycle()) {
        let weather = Weather { loss: 0.3, twice: 0.3, wrongly_lost: 0.1, reorder: 300 };
        let plan = Plan { weather, limit: 66_000, messages: 200, longest: 65_536, short: 0.1, ordered, seed };
        let run = Run::new(plan).run();
        assert!(run.most_held > 40_000, "the quota was hardly used: {}", run.most_held);
    }
}

#[test]
fn two_thousand_small_messages_behind_a_lost_one_are_limited_by_the_window_and_refused_by_nobody() {
    let limit = 2049;
    let (mut outbox, mut ordered, mut unordered) = (Outbox::new(limit), Ordered::new(limit), Unordered::new(limit));
    let mut early = 0;
    let mut lost_taken = false;
    for _ in 0..2049 {
        let _ = outbox.push(b"m");
        while let Some(number) = outbox.carry(Time::ZERO, |segment| {
            lost_taken |= segment.number == 0;
            if segment.number > 0 {
                let (low, bytes) = (low16(segment.number), segment.bytes);
                assert_eq!(ordered.accept(low, true, true, bytes, 1, |_| panic!("number 0 is lost")), Ok(()));
                assert_eq!(unordered.accept(low, true, true, bytes, 1, |_| early += 1), Ok(()));
            }
            true
        }) {
            if number > 0 {
                outbox.on_acked(number);
            }
        }
    }
    assert_eq!((lost_taken, outbox.queued(), early), (true, WINDOW, 255));
    let mut late = 0;
    ordered.accept(0, true, true, b"m", 1, |_| late += 1).unwrap();
    assert_eq!(late, 256);
}

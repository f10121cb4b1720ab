use proptest::prelude::*;

use super::*;
use crate::delivery::lossy::{Fate, Lossy, Weather};
use crate::rng::Rng;

/// A frame that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Chunk { id: u16, total: u32, index: u16, bytes: Vec<u8> },
    Credit { id: u16, limit: u16 },
    Cancel { id: u16, by_sender: bool },
}

impl Owned {
    fn new(frame: BlockFrame<'_>) -> Self {
        match frame {
            BlockFrame::Chunk { id, total, index, bytes } => Self::Chunk { id, total, index, bytes: bytes.to_vec() },
            BlockFrame::Credit { id, limit } => Self::Credit { id, limit },
            BlockFrame::Cancel { id, by_sender } => Self::Cancel { id, by_sender },
        }
    }

    fn frame(&self) -> BlockFrame<'_> {
        match *self {
            Self::Chunk { id, total, index, ref bytes } => BlockFrame::Chunk { id, total, index, bytes },
            Self::Credit { id, limit } => BlockFrame::Credit { id, limit },
            Self::Cancel { id, by_sender } => BlockFrame::Cancel { id, by_sender },
        }
    }
}

fn take(blocks: &mut Blocks) -> Option<(u64, Owned)> {
    let mut frame = None;
    let item = blocks.carry(Time::ZERO, |offered| {
        frame = Some(Owned::new(offered));
        true
    })?;
    Some((item, frame.unwrap()))
}

/// Everything that is due, to the other end, without a loss. The sender's events as text.
fn exchange(from: &mut Blocks, to: &mut Blocks) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let mut idle = true;
        for backwards in [false, true] {
            let (sender, receiver) = if backwards { (&mut *to, &mut *from) } else { (&mut *from, &mut *to) };
            while let Some((item, frame)) = take(sender) {
                idle = false;
                let note = |event: BlockEvent<'_>| events.push(name(event));
                receiver.accept(frame.frame(), note).unwrap();
                let note = |event: BlockEvent<'_>| events.push(name(event));
                sender.on_acked(item, note);
            }
        }
        if idle {
            return events;
        }
    }
}

fn name(event: BlockEvent<'_>) -> String {
    match event {
        BlockEvent::Started { id, total } => format!("started {id} {total}"),
        BlockEvent::Data { id, offset, bytes } => format!("data {id} {offset}+{}", bytes.len()),
        BlockEvent::Received { id } => format!("received {id}"),
        BlockEvent::Stopped { id } => format!("stopped {id}"),
        BlockEvent::Progress { id, acked, .. } => format!("progress {id} {acked}"),
        BlockEvent::Sent { id } => format!("sent {id}"),
        BlockEvent::Refused { id } => format!("refused {id}"),
    }
}

fn block(len: usize, seed: u64) -> Arc<[u8]> {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    bytes.into()
}

#[test]
fn a_block_goes_chunk_by_chunk_and_ends_with_received_and_sent() {
    let (mut a, mut b) = (Blocks::new(4096), Blocks::new(4096));
    assert_eq!(a.start(block(2000, 0)), Ok(0));
    let events = exchange(&mut a, &mut b);
    let expected = [
        "started 0 2000",
        "data 0 0+1024",
        "progress 0 1024",
        "data 0 1024+976",
        "received 0",
        "progress 0 2000",
        "sent 0",
    ];
    assert_eq!(events, expected);
    assert!(a.is_idle() && b.is_idle());
    assert_eq!((a.queued_bytes(), b.held_bytes()), (0, 0));
}

#[test]
fn one_block_is_active_three_wait_and_the_next_is_refused() {
    let mut a = Blocks::new(4096);
    for id in 0..4 {
        assert_eq!(a.start(block(10, id)), Ok(id));
    }
    assert_eq!(a.start(block(10, 4)), Err(SendError::Full { free: 0 }));
    assert_eq!(a.start(block(0, 0)), Err(SendError::EmptyBlock));
    assert_eq!(a.start(vec![0; MAX_BLOCK + 1].into()), Err(SendError::TooLong { limit: MAX_BLOCK }));
    assert!(a.cancel_outgoing(2) && !a.cancel_outgoing(2) && a.cancel_outgoing(0));
    let mut b = Blocks::new(4096);
    let events = exchange(&mut a, &mut b);
    let sent: Vec<_> = events.iter().filter(|event| event.starts_with("sent")).collect();
    assert_eq!(sent, ["sent 1", "sent 3"]);
}

#[test]
fn the_longest_block_arrives_and_progress_is_told_at_most_64_times() {
    let (mut a, mut b) = (Blocks::new(256 * 1024), Blocks::new(256 * 1024));
    a.start(block(MAX_BLOCK, 1)).unwrap();
    let events = exchange(&mut a, &mut b);
    let progress = events.iter().filter(|event| event.starts_with("progress")).count();
    let data = events.iter().filter(|event| event.starts_with("data")).count();
    assert_eq!((progress, data, events.last().unwrap().as_str()), (64, 16_384, "sent 0"));
}

#[test]
fn a_paused_receiver_takes_one_window_and_goes_on_afterwards() {
    let (mut a, mut b) = (Blocks::new(8192), Blocks::new(8192));
    b.pause(true);
    a.start(block(100_000, 2)).unwrap();
    let events = exchange(&mut a, &mut b);
    assert_eq!(events.iter().filter(|event| event.starts_with("data")).count(), 8);
    assert!(!a.has_due() && !a.is_idle());
    b.pause(false);
    assert_eq!(exchange(&mut a, &mut b).last().unwrap(), "sent 0");
}

#[test]
fn either_side_cancels_and_the_next_block_goes() {
    let (mut a, mut b) = (Blocks::new(4096), Blocks::new(4096));
    b.pause(true);
    a.start(block(10_000, 3)).unwrap();
    exchange(&mut a, &mut b);
    assert!(a.cancel_outgoing(0));
    assert_eq!(exchange(&mut a, &mut b), ["stopped 0"]);
    a.start(block(10_000, 4)).unwrap();
    a.start(block(1, 5)).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(b.cancel_incoming(), Some(1));
    assert_eq!(b.cancel_incoming(), None);
    let events = exchange(&mut a, &mut b);
    assert_eq!(events[0], "refused 1");
    assert_eq!(events.last().unwrap(), "sent 2");
}

#[test]
fn acknowledged_chunks_of_a_cancelled_block_do_not_make_it_sent() {
    let (mut a, mut b) = (Blocks::new(4096), Blocks::new(4096));
    a.start(block(2000, 6)).unwrap();
    let (first, frame) = take(&mut a).unwrap();
    b.accept(frame.frame(), |_| ()).unwrap();
    b.cancel_incoming().unwrap();
    let (second, frame) = take(&mut a).unwrap();
    b.accept(frame.frame(), |_| panic!("cancelled")).unwrap();
    let no_end = |event: BlockEvent<'_>| assert!(matches!(event, BlockEvent::Progress { .. }));
    a.on_acked(first, no_end);
    a.on_acked(second, no_end);
    assert_eq!(exchange(&mut b, &mut a), ["refused 0"]);
}

#[test]
fn a_cancel_that_overtakes_the_chunks_and_the_cancels_before_it_ends_them_all() {
    let (mut a, mut b) = (Blocks::new(4096), Blocks::new(4096));
    a.start(block(3000, 0)).unwrap();
    let (_, chunk) = take(&mut a).unwrap();
    b.accept(chunk.frame(), |_| ()).unwrap();
    let (_, late) = take(&mut a).unwrap();
    assert!(a.cancel_outgoing(0));
    let (lost, _) = take(&mut a).unwrap();
    a.start(block(3000, 1)).unwrap();
    let (_, later) = take(&mut a).unwrap();
    assert!(a.cancel_outgoing(1));
    a.on_lost(lost);
    assert_eq!(exchange(&mut a, &mut b), ["stopped 0"]);
    for chunk in [late, later] {
        b.accept(chunk.frame(), |_| panic!("cancelled before")).unwrap();
    }
    assert!(a.is_idle() && b.is_idle());
}

#[test]
fn a_chunk_that_a_probe_and_a_loss_make_due_is_sent_again_once() {
    let mut a = Blocks::new(4096);
    a.start(block(4096, 0)).unwrap();
    let items: Vec<_> = core::iter::from_fn(|| take(&mut a)).map(|(item, _)| item).collect();
    a.on_acked(items[1], |_| ());
    a.on_probe();
    a.on_lost(items[0]);
    let again: Vec<_> = core::iter::from_fn(|| take(&mut a)).map(|(item, _)| item).collect();
    assert_eq!(again, [items[0], items[2]]);
}

#[test]
fn the_end_of_a_block_is_repeated_once_and_only_when_all_was_sent() {
    let at = Time::from_millis;
    let mut a = Blocks::new(8192);
    a.start(block(8 * 1024, 0)).unwrap();
    let mut items = Vec::new();
    for ms in 0..8 {
        assert_eq!(a.tail_sent(), None, "the end was not sent yet");
        items.extend(a.carry(at(ms), |_| true));
    }
    a.on_acked(items[0], |_| ());
    a.on_lost(items[1]);
    assert_eq!(a.tail_sent(), None, "a resend waits");
    assert_eq!(a.carry(at(8), |_| true), Some(items[1]));
    assert_eq!(a.tail_sent(), Some(at(2)));
    a.repeat_tail(at(4));
    let again: Vec<_> = core::iter::from_fn(|| a.carry(at(9), |_| true)).collect();
    assert_eq!(again, items[2..5]);
    assert_eq!(a.tail_sent(), Some(at(5)));
    a.repeat_tail(at(9));
    assert_eq!(core::iter::from_fn(|| a.carry(at(9), |_| true)).count(), 3);
    assert_eq!(a.tail_sent(), None, "once is enough");
    items.iter().for_each(|item| a.on_lost(*item));
    let lost: Vec<_> = core::iter::from_fn(|| a.carry(at(20), |_| true)).collect();
    assert_eq!(lost, items[1..2], "one packet under way is left of the others");
}

#[test]
fn credit_is_given_by_quarters_of_the_window_and_not_beyond_the_block_until_its_end() {
    let (mut a, mut b) = (Blocks::new(16 * 1024), Blocks::new(16 * 1024));
    a.start(block(30 * 1024, 0)).unwrap();
    let mut limits = Vec::new();
    while let Some((_, chunk)) = take(&mut a) {
        b.accept(chunk.frame(), |_| ()).unwrap();
        while let Some((item, frame)) = take(&mut b) {
            let Owned::Credit { limit, .. } = frame else { panic!("{frame:?}") };
            limits.push(limit);
            a.accept(frame.frame(), |_| ()).unwrap();
            b.on_acked(item, |_| ());
        }
    }
    assert_eq!(limits, [20, 24, 28, 32, 30 + 16]);
}

#[test]
fn frames_that_no_honest_peer_sends_are_refused_and_change_nothing() {
    let full = [0; SEGMENT_BYTES];
    let mut b = Blocks::new(4096);
    let mut refused = |id, total, index, bytes: &[u8]| {
        let before = b.held_bytes();
        let frame = BlockFrame::Chunk { id, total, index, bytes };
        assert_eq!(b.accept(frame, |_| panic!("an event")), Err(OutOfWindow), "{id} {total} {index}");
        assert_eq!(b.held_bytes(), before);
    };
    refused(0, 0, 0, &[]);
    refused(0, (1 << 24) + 1, 0, &full);
    refused(0, u32::MAX, 0, &full);
    refused(0, 2000, 2, &[]);
    refused(0, 2000, 1, &full);
    refused(0, 2000, 0, &full[1..]);
    refused(0, 100_000, 4, &full);
    refused(0, u32::MAX, u16::MAX, &full);
    b.accept(BlockFrame::Chunk { id: 0, total: 100_000, index: 3, bytes: &full }, |_| ()).unwrap();
    let mut refused = |frame| assert_eq!(b.accept(frame, |_| panic!("an event")), Err(OutOfWindow));
    refused(BlockFrame::Chunk { id: 0, total: 99_000, index: 1, bytes: &full });
    refused(BlockFrame::Chunk { id: 0, total: 100_000, index: 4, bytes: &full });
    refused(BlockFrame::Credit { id: 0, limit: 1 });
    refused(BlockFrame::Cancel { id: 0, by_sender: false });
}

#[test]
fn credit_for_what_was_not_sent_is_refused() {
    let mut a = Blocks::new(4096);
    a.start(block(100_000, 7)).unwrap();
    let credit = |a: &mut Blocks, limit| a.accept(BlockFrame::Credit { id: 0, limit }, |_| panic!("an event"));
    assert_eq!(credit(&mut a, 4), Err(OutOfWindow), "nothing was sent");
    take(&mut a).unwrap();
    assert_eq!(credit(&mut a, 5), Ok(()));
    assert_eq!(credit(&mut a, 6), Err(OutOfWindow));
    assert_eq!(credit(&mut a, 102), Err(OutOfWindow), "all delivered, after one chunk");
    assert_eq!(credit(&mut a, 0), Ok(()), "an old one");
    assert_eq!(core::iter::from_fn(|| take(&mut a)).count(), 4);
}

#[test]
fn the_quota_holds_and_a_newer_block_frees_it() {
    for queue_bytes in [0, 4096, 10_000, 1 << 20, u32::MAX] {
        let mut b = Blocks::new(queue_bytes);
        let full = [0; SEGMENT_BYTES];
        let mut stopped = 0;
        for id in 0..3 {
            for index in (1..16_384u16).rev() {
                let frame = BlockFrame::Chunk { id, total: 1 << 24, index, bytes: &full };
                let _ = b.accept(frame, |event| stopped += u32::from(matches!(event, BlockEvent::Stopped { .. })));
                assert!(b.held_bytes() <= quota(queue_bytes));
            }
        }
        assert_eq!(stopped, 2);
        assert!(b.held_bytes() > usize::from(window(queue_bytes) - 1) * SEGMENT_BYTES);
    }
}

#[test]
fn items_and_numbers_beyond_16_bits_keep_their_parts() {
    for item in [
        Item::Chunk { id: 1 << 40, index: 16_383 },
        Item::Credit { id: 70_000, limit: (1 << 15) - 1 },
        Item::Cancel { id: 0, by_sender: true },
        Item::Cancel { id: 3, by_sender: false },
    ] {
        assert_eq!(Item::unpack(item.pack()), item);
    }
    let (mut a, mut b) = (Blocks::new(4096), Blocks::new(4096));
    for id in 0..66_000 {
        assert_eq!(a.start(block(1, id)), Ok(id));
        assert_eq!(exchange(&mut a, &mut b).last().unwrap(), &format!("sent {id}"));
    }
}

/// What the receiver saw of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    ended: Option<&'static str>,
}

struct Run {
    ends: [Blocks; 2],
    /// From the first end to the second, and back.
    channels: [Lossy<Owned>; 2],
    rng: Rng,
    blocks: Vec<Arc<[u8]>>,
    seen: Vec<Seen>,
    /// What the sender was told, or did, last of each block.
    told: Vec<Option<&'static str>>,
    quota: usize,
    /// Without probes, a loss that is not made good leaves the run stuck.
    probes: bool,
}

impl Run {
    fn new(weather: Weather, queue_bytes: u32, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let channels = ["there", "back"].map(|name| Lossy::new(weather, rng.fork(name)));
        let ends = [Blocks::new(queue_bytes), Blocks::new(queue_bytes)];
        let (blocks, seen, told) = (Vec::new(), Vec::new(), Vec::new());
        Self { ends, channels, rng, blocks, seen, told, quota: quota(queue_bytes), probes: seed.is_multiple_of(2) }
    }

    fn start(&mut self, longest: u64) {
        let bytes = block(1 + self.rng.below(longest) as usize, self.rng.next_u64());
        if let Ok(id) = self.ends[0].start(bytes.clone()) {
            assert_eq!(id, self.blocks.len() as u64);
            self.blocks.push(bytes);
            self.seen.push(Seen::default());
            self.told.push(None);
        }
    }

    fn cancel(&mut self) {
        if self.rng.chance(0.5) {
            let id = self.rng.below(self.blocks.len() as u64 + 1);
            if self.ends[0].cancel_outgoing(id) {
                self.told[id as usize] = Some("cancelled");
            }
        } else if let Some(id) = self.ends[1].cancel_incoming() {
            self.seen[id as usize].ended = Some("refused");
        }
    }

    fn move_frames(&mut self, from: usize) {
        for _ in 0..2 {
            if let Some((item, frame)) = take(&mut self.ends[from]) {
                self.channels[from].send(item, frame);
            }
        }
        let (blocks, seen, told) = (&self.blocks, &mut self.seen, &mut self.told);
        let mut note = |event: BlockEvent<'_>| note(event, blocks, seen, told);
        if let Some(frame) = self.channels[from].arrival() {
            assert_eq!(self.ends[1 - from].accept(frame.frame(), &mut note), Ok(()), "an honest peer was refused");
            assert!(self.ends[1].held_bytes() <= self.quota);
        }
        match self.channels[from].fate() {
            Some(Fate::Acked(item)) => self.ends[from].on_acked(item, note),
            Some(Fate::Lost(item)) => self.ends[from].on_lost(item),
            None => {}
        }
    }

    fn run(&mut self, count: usize, longest: u64, cancels: f64) {
        let mut steps = 0;
        while self.blocks.len() < count || !self.is_idle() {
            steps += 1;
            assert!(steps < 200_000, "stuck: {:?}", self.told);
            if self.blocks.len() < count && self.rng.chance(0.05) {
                self.start(longest);
            }
            if self.rng.chance(cancels) {
                self.cancel();
            }
            if self.rng.chance(0.01) {
                let paused = self.rng.chance(0.3);
                self.ends[1].pause(paused);
            }
            if self.probes && self.rng.chance(0.01) {
                let end = self.rng.below(2) as usize;
                self.ends[end].on_probe();
            }
            let from = self.rng.below(2) as usize;
            self.move_frames(from);
        }
    }

    fn is_idle(&self) -> bool {
        self.ends.iter().all(Blocks::is_idle) && self.channels.iter().all(Lossy::is_idle)
    }
}

fn note(event: BlockEvent<'_>, blocks: &[Arc<[u8]>], seen: &mut [Seen], told: &mut [Option<&'static str>]) {
    let mut end = |id: u64, how| assert_eq!(seen[id as usize].ended.replace(how), None, "ended twice");
    match event {
        BlockEvent::Started { id, total } => {
            assert_eq!(blocks[id as usize].len(), total as usize);
            assert_eq!(seen[id as usize], Seen::default(), "started twice");
        }
        BlockEvent::Data { id, offset, bytes } => {
            let seen = &mut seen[id as usize];
            assert_eq!((seen.bytes.len(), seen.ended), (offset as usize, None), "out of order, or after the end");
            seen.bytes.extend_from_slice(bytes);
        }
        BlockEvent::Received { id } => end(id, "received"),
        BlockEvent::Stopped { id } => end(id, "stopped"),
        BlockEvent::Progress { id, acked, total } => assert!(acked <= total && told[id as usize].is_none()),
        BlockEvent::Sent { id } => assert_eq!(told[id as usize].replace("sent"), None),
        BlockEvent::Refused { id } => assert_eq!(told[id as usize].replace("refused"), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn blocks_arrive_whole_and_in_order_or_end_the_same_way_at_both_ends(
        loss in 0.0..0.4, twice in 0.0..0.4, wrongly_lost in 0.0..0.2, reorder in 1u64..100,
        queue_bytes in 0u32..40_000, cancels in prop_oneof![Just(0.0), 0.0..0.02], seed: u64,
    ) {
        let mut run = Run::new(Weather { loss, twice, wrongly_lost, reorder }, queue_bytes, seed);
        run.run(12, 60_000, cancels);
        for (id, seen) in run.seen.iter().enumerate() {
            prop_assert!(run.blocks[id].starts_with(&seen.bytes));
            let complete = seen.bytes.len() == run.blocks[id].len();
            match (run.told[id], seen.ended) {
                (Some("sent"), Some("received")) => prop_assert!(complete),
                (Some("refused"), Some("refused")) => {}
                // Cancelled by the sender: never seen, stopped, complete already, or refused at the same time.
                (Some("cancelled"), None) => prop_assert!(seen.bytes.is_empty()),
                (Some("cancelled"), Some(how)) => prop_assert_eq!(how == "received", complete),
                (told, ended) => prop_assert!(false, "block {}: {:?}, {:?}", id, told, ended),
            }
            prop_assert!(cancels > 0.0 || run.told[id] == Some("sent"));
        }
    }
}

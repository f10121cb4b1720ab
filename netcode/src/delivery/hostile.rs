//! Whatever an authenticated peer sends, the receiving halves neither panic nor hold more than their quotas.

use proptest::prelude::*;

use super::*;
use crate::time::Time;

const BYTES: [u8; SEGMENT_BYTES + 1] = [7; SEGMENT_BYTES + 1];

/// Lengths at which something happens.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(SEGMENT_BYTES - 1),
        Just(SEGMENT_BYTES),
        Just(SEGMENT_BYTES),
        Just(SEGMENT_BYTES + 1)
    ]
}

/// Mostly numbers near the window, some anywhere.
fn low() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 0u16..10, 4 => 0u16..330, 1 => any::<u16>()]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), 1usize..5000, Just(1 << 20)]
}

fn frame() -> impl Strategy<Value = (u8, u16, u32, u16, usize)> {
    let total = prop_oneof![Just(1u32), Just(5000), Just(1 << 24), any::<u32>()];
    let id = prop_oneof![4 => 0u16..3, 1 => any::<u16>()];
    (0u8..12, id, total, low(), len())
}

proptest! {
    #[test]
    fn reliable_segments(
        limit in limit(), max in 0usize..70_000,
        input in prop::collection::vec((low(), any::<bool>(), any::<bool>(), len()), 1..400),
    ) {
        let (mut ordered, mut unordered) = (Ordered::new(limit), Unordered::new(limit));
        for (low, first, last, len) in input {
            let bytes = &BYTES[..len];
            let before = (ordered.bytes(), unordered.bytes());
            let result = ordered.accept(low, first, last, bytes, max, |message| assert!(message.len() <= max));
            prop_assert!(result.is_ok() || ordered.bytes() == before.0);
            let result = unordered.accept(low, first, last, bytes, max, |message| assert!(message.len() <= max));
            prop_assert!(result.is_ok() || unordered.bytes() == before.1);
            prop_assert!(ordered.bytes().max(unordered.bytes()) <= inbound::quota(limit));
        }
    }

    #[test]
    fn parts_of_unreliable_messages(
        limit in limit(), max in 0usize..9000,
        input in prop::collection::vec((low(), 0u8..10, 0u8..10, len()), 1..400),
    ) {
        let mut half = Reassembly::new(limit);
        for (id, index, last, len) in input {
            let _ = half.accept(id, index, last, &BYTES[..len], max, |message| assert!(message.len() <= max));
            prop_assert!(half.bytes() <= fragments::quota(limit));
        }
    }

    #[test]
    fn frames_of_block_channels(queue in limit(), input in prop::collection::vec(frame(), 1..400)) {
        let mut half = Blocks::new(queue as u32);
        half.start(vec![1; 9000].into()).unwrap();
        for (kind, id, total, number, len) in input {
            let frame = match kind {
                0 => BlockFrame::Credit { id, limit: number },
                1 => BlockFrame::Cancel { id, by_sender: number % 2 == 0 },
                _ => BlockFrame::Chunk { id, total, index: number, bytes: &BYTES[..len] },
            };
            let mut events = 0;
            let result = half.accept(frame, |_| events += 1);
            prop_assert!(result.is_ok() || events == 0);
            if number % 3 == 0 && let Some(item) = half.carry(Time::ZERO, |_| true) {
                if number % 2 == 0 { half.on_lost(item) } else { half.on_acked(item, |_| ()) }
            }
            prop_assert!(half.held_bytes() <= blocks::quota(queue as u32));
        }
    }
}

//! What no protocol of this packet format can beat, on a path that loses each datagram with the same chance.
//!
//! - Goodput: `cap × (1 - loss) × share`. What is lost has used up its part of the cap; `share` is the payload's part of a
//!   full packet's bytes.
//! - Overhead: `1 / ((1 - loss) × share)` bytes sent per byte of payload: each byte is sent `1 / (1 - loss)` times on
//!   average.
//! - Delay of a message at the quantile q: half a round trip, and a round trip for each resend that the quantile needs
//!   when losses are noticed at once and only then: `RTT × (0.5 + k)` with the smallest k for which
//!   `loss^(k + 1) <= 1 - q`. A sender that repeats before it knows of a loss can be faster.
//! - Delay of a small block: half a round trip and its length at the goodput's bound. The wait for resends is left out.

use core::time::Duration;

use super::Traffic;

/// Payload of a full packet: a segment or a chunk.
pub const PAYLOAD_BYTES: u32 = 1024;
/// What a packet from the server costs beside a segment: header and tag 19, ack and tick 43 bits, frame 37 bits.
const MESSAGE_OVERHEAD: u32 = 29;
/// What it costs beside a chunk, whose head is 56 bits long.
const CHUNK_OVERHEAD: u32 = 34;

/// The payload's part of a full packet.
#[must_use]
pub fn share(traffic: Traffic) -> f64 {
    let overhead = match traffic {
        Traffic::ReliableOrdered | Traffic::ReliableUnordered => MESSAGE_OVERHEAD,
        Traffic::Block => CHUNK_OVERHEAD,
    };
    f64::from(PAYLOAD_BYTES) / f64::from(PAYLOAD_BYTES + overhead)
}

/// Payload bytes a second, of a cap in bytes a second; `loss` is a chance from 0 to 1.
#[must_use]
pub fn goodput(traffic: Traffic, cap: u32, loss: f64) -> f64 {
    f64::from(cap) * (1.0 - loss) * share(traffic)
}

/// Bytes sent per byte of payload.
#[must_use]
pub fn overhead(traffic: Traffic, loss: f64) -> f64 {
    1.0 / ((1.0 - loss) * share(traffic))
}

/// Delay of a message at a quantile below 1.
#[must_use]
pub fn message_delay(rtt: Duration, loss: f64, quantile: f64) -> Duration {
    let (mut resends, mut left) = (0, loss);
    // In floats 1 - 0.99 is a little more than 0.01.
    while left > (1.0 - quantile) + 1e-9 && resends < 100 {
        resends += 1;
        left *= loss;
    }
    rtt / 2 + rtt * resends
}

/// Delay of a small block.
#[must_use]
pub fn block_delay(rtt: Duration, cap: u32, loss: f64, bytes: u32) -> Duration {
    rtt / 2 + Duration::from_secs_f64(f64::from(bytes) / goodput(Traffic::Block, cap, loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_needs_as_many_resends_as_losses_in_a_row_are_likelier_than_it_leaves() {
        let rtt = Duration::from_millis(100);
        let p99 = |loss| message_delay(rtt, loss, 0.99).as_millis();
        assert_eq!([0.0, 0.01, 0.05, 0.2].map(p99), [50, 50, 150, 250]);
        assert_eq!(message_delay(rtt, 0.2, 0.5).as_millis(), 50);
        assert!(message_delay(rtt, 1.0, 0.99) > Duration::from_secs(9), "it ends");
    }

    #[test]
    fn goodput_and_overhead_are_two_sides_of_the_same() {
        for traffic in Traffic::ALL {
            for loss in [0.0, 0.05, 0.2] {
                let product = goodput(traffic, 1_000_000, loss) * overhead(traffic, loss);
                assert!((product - 1e6).abs() < 1e-3, "{product}");
            }
        }
    }
}

//! The table, for people and scripts.

use std::fmt;

use serde::Serialize;

use super::Traffic;

/// The most round trips that the small messages may take at the 99th percentile.
const SMALL_LIMIT: f64 = 2.2;
/// The least share of the cap that the big block may reach.
const BIG_LIMIT: f64 = 0.9;
/// By how many standard deviations more snapshots may be lost beside the block than alone: what is left to chance.
const DEVIATIONS: f64 = 3.0;

/// A kind of traffic over one path. The fields' names are a contract with scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was sent.
    pub traffic: Traffic,
    /// The path's round-trip time.
    pub rtt_ms: f64,
    /// Its loss in each direction.
    pub loss_percent: f64,
    /// Payload bytes a second that arrived while there was always something to send.
    pub goodput: f64,
    /// Its bound.
    pub goodput_bound: f64,
    /// From sending to delivery of a message or small block, with little to send: median.
    pub delay_ms_p50: f64,
    /// Its bound.
    pub delay_ms_p50_bound: f64,
    /// 99th percentile of the same.
    pub delay_ms_p99: f64,
    /// Its bound.
    pub delay_ms_p99_bound: f64,
    /// Bytes that the server sent (UDP payload) per byte of payload that arrived, while there was always something to send.
    pub overhead: f64,
    /// Its bound.
    pub overhead_bound: f64,
}

/// 64-byte ordered messages, 10 a second, 5 % loss, 100 ms round-trip time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmallMessages {
    /// That arrived.
    pub messages: u64,
    /// That did not.
    pub missing: u64,
    /// Delay in round trips: median.
    pub rtts_p50: f64,
    /// 99th percentile of the same.
    pub rtts_p99: f64,
    /// The longest.
    pub rtts_max: f64,
    /// The 99th percentile's bound for a sender that resends only what it knows to be lost.
    pub rtts_p99_bound: f64,
}

impl SmallMessages {
    /// Whether all arrived, and in time.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.missing == 0 && self.rtts_p99 <= SMALL_LIMIT
    }
}

/// A block of 4 MiB at 1 % loss and 100 ms round-trip time, snapshots beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BigBlock {
    /// How often.
    pub runs: u32,
    /// From sending to its last byte's arrival.
    pub seconds_mean: f64,
    /// The slowest.
    pub seconds_max: f64,
    /// The block's bytes a second as a share of the cap, from the first moment on.
    pub share_of_cap: f64,
    /// The same over the middle half of the block: without the first rounds, in which the rate grows, and the last.
    pub middle_share_of_cap: f64,
    /// All bytes that the server sent meanwhile, as a share of the cap.
    pub sent_share_of_cap: f64,
    /// What the block could reach if there were no snapshots.
    pub share_bound: f64,
    /// Ticks meanwhile.
    pub snapshots_due: u64,
    /// Of these, without a snapshot that arrived.
    pub snapshots_lost: u64,
    /// Ticks of as much time without the block.
    pub snapshots_due_alone: u64,
    /// Of these, without a snapshot that arrived.
    pub snapshots_lost_alone: u64,
}

impl BigBlock {
    /// Whether it is fast enough and does the snapshots no harm.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.share_of_cap >= BIG_LIMIT && self.spares_snapshots()
    }

    fn spares_snapshots(&self) -> bool {
        let due = (self.snapshots_due as f64).max(1.0);
        let alone = self.snapshots_lost_alone as f64 / (self.snapshots_due_alone as f64).max(1.0) * due;
        self.snapshots_lost as f64 <= alone + DEVIATIONS * alone.max(1.0).sqrt()
    }
}

/// The whole table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What it was made with.
    pub seed: u64,
    /// Bytes a second that the server might send.
    pub cap: u32,
    /// The grid.
    pub rows: Vec<Row>,
    /// The first special row.
    pub small_messages: SmallMessages,
    /// The second.
    pub big_block: BigBlock,
}

impl Report {
    /// Whether the special rows hold their limits.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.small_messages.is_fine() && self.big_block.is_fine()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} | {:.3} |",
            self.traffic.name(),
            self.rtt_ms,
            self.loss_percent,
            self.goodput / 1e3,
            self.goodput_bound / 1e3,
            self.delay_ms_p50,
            self.delay_ms_p50_bound,
            self.delay_ms_p99,
            self.delay_ms_p99_bound,
            self.overhead,
            self.overhead_bound
        )
    }
}

const fn verdict(fine: bool) -> &'static str {
    if fine { "holds" } else { "DOES NOT HOLD" }
}

impl fmt::Display for SmallMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "64-byte ordered messages at 10/s, 5 % loss, 100 ms RTT, beside snapshots: p50 {:.2}, p99 {:.2}, max {:.2} RTT \
             of {} messages, {} missing (p99 at most {SMALL_LIMIT}: {}; bound without early repeats {:.2})",
            self.rtts_p50,
            self.rtts_p99,
            self.rtts_max,
            self.messages,
            self.missing,
            verdict(self.is_fine()),
            self.rtts_p99_bound
        )
    }
}

impl fmt::Display for BigBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "4 MiB block, 1 % loss, 100 ms RTT, beside snapshots: {:.2} s on average, {:.2} s at most of {}; {:.1} % of \
             the cap (at least {:.0} %: {}; bound {:.1} %), {:.1} % over its middle half, {:.1} % with all that was sent; snapshots lost {} of {}, \
             without the block {} of {} ({})",
            self.seconds_mean,
            self.seconds_max,
            self.runs,
            self.share_of_cap * 100.0,
            BIG_LIMIT * 100.0,
            verdict(self.share_of_cap >= BIG_LIMIT),
            self.share_bound * 100.0,
            self.middle_share_of_cap * 100.0,
            self.sent_share_of_cap * 100.0,
            self.snapshots_lost,
            self.snapshots_due,
            self.snapshots_lost_alone,
            self.snapshots_due_alone,
            verdict(self.spares_snapshots())
        )
    }
}

/// Markdown. Bounds: see [`bound`](super::bound).
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Seed {}, cap {} bytes/s, server to client; each value beside its bound.\n", self.seed, self.cap)?;
        writeln!(
            f,
            "| traffic | RTT ms | loss % | goodput kB/s | bound | delay p50 ms | bound | delay p99 ms | bound | overhead \
             | bound |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\n- {}", self.small_messages)?;
        writeln!(f, "- {}", self.big_block)?;
        write!(
            f,
            "\nGoodput: cap x (1 - loss) x the payload's share of a packet. Delay of messages (200 bytes, 50/s): half an \
             RTT, and an RTT for each resend that the quantile needs; of blocks (64 KiB): half an RTT, and the length at the \
             goodput's bound. What waits for the server's next tick (50 ms) is in the delays, not in the bounds. Overhead: \
             bytes sent per byte of payload, 1 / ((1 - loss) x share)."
        )
    }
}

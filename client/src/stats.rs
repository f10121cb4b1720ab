//! Figures of one client.

use core::time::Duration;

/// Counters since the start and the newest measurements; see [`Client::stats`](crate::Client::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Snapshots applied.
    pub snapshots: u64,
    /// Of these, such in the compact codec.
    pub compact_snapshots: u64,
    /// Tables for the compact codec that came whole.
    pub tables: u64,
    /// Tick of the newest snapshot.
    pub newest: Option<u64>,
    /// By how many ticks the newest input that the server held was ahead of it.
    pub margin: Option<i8>,
    /// Snapshots that broke the format or did not fit the view; the first one closes the connection.
    pub decode_errors: u64,
    /// Session messages, and snapshots without a tick, that broke the protocol; the first one closes the connection.
    pub bad_messages: u64,
    /// Inputs recorded, one per client tick.
    pub inputs: u64,
    /// How often the input clock was so far off that it jumped or waited.
    pub resyncs: u64,
    /// Ticks left out because the caller came too late to make them up.
    pub left_out: u64,
    /// Predictions of the body that turned out wrong.
    pub corrections: u64,
    /// The largest of them as it showed, in metres.
    pub correction_m: f32,
    /// Times that others had a hand in the body (wounds, loot): taken over, no errors.
    pub adoptions: u64,
    /// Deaths and returns: what was predicted ended there.
    pub cuts: u64,
    /// Times that the prediction began anew, because the server told nothing for too long or too many ticks were left out.
    pub restarts: u64,
    /// Ticks predicted so far, replayed ones included.
    pub predicted: u64,
    /// Of these, ticks that were predicted again.
    pub replayed: u64,
    /// Ticks whose prediction waits for the next call.
    pub pending: u64,
    /// Events of the game that were dropped because nobody took those before.
    pub events_dropped: u64,
    /// The smallest round trip seen; zero before the connection stands.
    pub rtt_min: Duration,
    /// How unevenly snapshots arrive: what they are later than the earliest, smoothed.
    pub jitter: Duration,
    /// How far the others are shown behind what has arrived.
    pub render_delay: Duration,
}

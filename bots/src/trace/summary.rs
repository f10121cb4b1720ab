//! A trace in numbers.

use std::fmt;

use super::reader::Log;
use super::record::Event;

/// What a trace adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// From the first event to the last, in microseconds.
    pub micros: u64,
    /// Packets sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets acknowledged.
    pub acked: u64,
    /// Packets lost.
    pub lost: u64,
    /// Datagrams dropped.
    pub dropped: u64,
    /// Key rolls, both directions.
    pub key_rolls: u64,
    /// Moves to another address.
    pub moves: u64,
    /// Events that the trace lacks.
    pub missed: u64,
    /// Median round-trip time in microseconds, if any was measured.
    pub rtt_us_p50: Option<u64>,
    /// 99th percentile of the same.
    pub rtt_us_p99: Option<u64>,
}

impl Summary {
    /// Adds up a trace.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        let mut sum = Self::default();
        let mut rtts = Vec::new();
        for record in &log.records {
            match &record.event {
                Event::PacketSent { bytes, .. } => {
                    sum.sent += 1;
                    sum.sent_bytes += u64::from(*bytes);
                }
                Event::PacketReceived { bytes, .. } => {
                    sum.received += 1;
                    sum.received_bytes += u64::from(*bytes);
                }
                Event::PacketAcked { rtt_us, .. } => {
                    sum.acked += 1;
                    rtts.extend(*rtt_us);
                }
                Event::PacketLost { .. } => sum.lost += 1,
                Event::PacketDropped { .. } => sum.dropped += 1,
                Event::KeyRolled { .. } => sum.key_rolls += 1,
                Event::PathUpdated { step, .. } => sum.moves += u64::from(step == "moved"),
                Event::EventsMissed { events } => sum.missed = sum.missed.saturating_add(*events),
                Event::RateUpdated { .. } | Event::MtuUpdated { .. } | Event::StateUpdated { .. } => {}
            }
        }
        let times = || log.records.iter().map(|record| record.time);
        sum.micros = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        rtts.sort_unstable();
        let quantile = |per_100: usize| rtts.get((rtts.len() * per_100 / 100).min(rtts.len().wrapping_sub(1))).copied();
        (sum.rtt_us_p50, sum.rtt_us_p99) = (quantile(50), quantile(99));
        sum
    }

    /// The numbers in short lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let seconds = self.micros as f64 / 1e6;
        let rate = |bytes: u64| if seconds > 0.0 { bytes as f64 / seconds / 1000.0 } else { 0.0 };
        let settled = self.acked + self.lost;
        let loss = if settled > 0 { self.lost as f64 / settled as f64 * 100.0 } else { 0.0 };
        let rtt = match (self.rtt_us_p50, self.rtt_us_p99) {
            (Some(p50), Some(p99)) => format!("p50 {:.1} ms, p99 {:.1} ms", p50 as f64 / 1e3, p99 as f64 / 1e3),
            _ => "not measured".into(),
        };
        let mut lines = vec![
            format!("{seconds:.3} s"),
            format!("sent {} packets, {} bytes, {:.1} kB/s", self.sent, self.sent_bytes, rate(self.sent_bytes)),
            format!(
                "received {} packets, {} bytes, {:.1} kB/s",
                self.received,
                self.received_bytes,
                rate(self.received_bytes)
            ),
            format!("acked {}, lost {} ({loss:.2} %), dropped {}", self.acked, self.lost, self.dropped),
            format!("round trip {rtt}"),
            format!("key rolls {}, moves {}", self.key_rolls, self.moves),
        ];
        if self.missed > 0 {
            lines.push(format!("{} events are missing", self.missed));
        }
        lines
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

//! The server's log: where it listens, whether it is ready, and its figures once a second; and what the bots say meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

/// A line of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// It starts, and will listen there.
    Starting(SocketAddr),
    /// It serves.
    Ready,
    /// Counters of the last second.
    Status(Status),
    /// Distributions of the last second.
    Times(Times),
}

/// Counters; each counts since the line before, but for the tick, the players, the connections and the pace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest tick.
    pub tick: u64,
    /// Players in the world.
    pub players: u64,
    /// Connections that there are.
    pub connections: u64,
    /// Connections that ended.
    pub disconnects: u64,
    /// Connections whose client changed its address.
    pub roams: u64,
    /// Ticks that did not take place.
    pub skipped: u64,
    /// Datagrams received.
    pub packets_in: u64,
    /// Datagrams sent.
    pub packets_out: u64,
    /// Bytes of UDP payload received.
    pub bytes_in: u64,
    /// Bytes of UDP payload sent.
    pub bytes_out: u64,
    /// Snapshots sent.
    pub snapshots: u64,
    /// Snapshots without room for all that they should have told.
    pub snapshots_cut: u64,
    /// Messages between threads that found a queue full.
    pub queue_drops: u64,
    /// Datagrams that the kernel did not take.
    pub send_drops: u64,
    /// Each client is sent a snapshot every so many ticks: the most.
    pub snapshots_every: u64,
    /// What a tick takes, in per cent of what it takes by the rate: the most.
    pub tick_percent: u64,
}

/// Distributions in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the beginning of a tick to the frame's publication.
    pub tick: Values,
    /// From taking a frame to its last datagram.
    pub send: Values,
    /// From when a tick was due to the last datagram of its frame.
    pub round: Values,
    /// From when a tick was due to its beginning.
    pub late: Values,
}

/// How often each value was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<u64, u64>);

impl Line {
    /// What that line says, if it is one of these.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        match value.get("message")?.as_str()? {
            "starting" => Some(Self::Starting(value.get("listen")?.as_str()?.parse().ok()?)),
            "ready" => Some(Self::Ready),
            "status" => Some(Self::Status(Status::parse(&value))),
            "times" => Some(Self::Times(Times::parse(&value))),
            _ => None,
        }
    }
}

impl Status {
    fn parse(line: &Value) -> Self {
        let field = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or(0);
        Self {
            tick: field("tick"),
            players: field("players"),
            connections: field("connections"),
            disconnects: field("disconnects"),
            roams: field("roams"),
            skipped: field("skipped"),
            packets_in: field("packets_in"),
            packets_out: field("packets_out"),
            bytes_in: field("bytes_in"),
            bytes_out: field("bytes_out"),
            snapshots: field("snapshots"),
            snapshots_cut: field("snapshots_cut"),
            queue_drops: field("queue_drops"),
            send_drops: field("send_drops"),
            snapshots_every: field("snapshots_every"),
            tick_percent: field("tick_percent"),
        }
    }

    /// Adds the counters of a later line, and takes its tick and connections; of the players the fewest stay.
    pub fn add(&mut self, later: &Self) {
        (self.tick, self.connections) = (later.tick, later.connections);
        self.players = self.players.min(later.players);
        self.disconnects += later.disconnects;
        self.roams += later.roams;
        self.skipped += later.skipped;
        self.packets_in += later.packets_in;
        self.packets_out += later.packets_out;
        self.bytes_in += later.bytes_in;
        self.bytes_out += later.bytes_out;
        self.snapshots += later.snapshots;
        self.snapshots_cut += later.snapshots_cut;
        self.queue_drops += later.queue_drops;
        self.send_drops += later.send_drops;
        self.snapshots_every = self.snapshots_every.max(later.snapshots_every);
        self.tick_percent = self.tick_percent.max(later.tick_percent);
    }
}

/// What the bots saw in some seconds of their window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Age of what a client knows of others, in ticks: 99th percentile.
    pub staleness_ticks_p99: f64,
    /// Age of its newest snapshot, in ticks: 99th percentile.
    pub view_age_ticks_p99: f64,
}

impl Seen {
    /// What that line of the bots says, if it is one of `--every`.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        value.get("interval")?.as_u64()?;
        let field = |name: &str| value.get(name).and_then(Value::as_f64);
        Some(Self {
            staleness_ticks_p99: field("staleness_ticks_p99")?,
            view_age_ticks_p99: field("view_age_ticks_p99")?,
        })
    }
}

impl Times {
    fn parse(line: &Value) -> Self {
        let field = |name: &str| Values::parse(line.get(name).and_then(Value::as_str).unwrap_or(""));
        Self { tick: field("tick_us"), send: field("send_us"), round: field("round_us"), late: field("late_us") }
    }

    /// Adds those of another second.
    pub fn add(&mut self, other: &Self) {
        self.tick.add(&other.tick);
        self.send.add(&other.send);
        self.round.add(&other.round);
        self.late.add(&other.late);
    }
}

impl Values {
    /// `value:count value:count`.
    fn parse(text: &str) -> Self {
        let pair = |pair: &str| {
            let (value, count) = pair.split_once(':')?;
            Some((value.parse().ok()?, count.parse().ok()?))
        };
        Self(text.split_whitespace().filter_map(pair).collect())
    }

    fn add(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            *self.0.entry(*value).or_default() += count;
        }
    }

    /// The value below which that share (0 to 1) of them is, in milliseconds; 0 where there is none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let all: u64 = self.0.values().sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (value, count) in &self.0 {
            seen += count;
            if seen >= wanted {
                return *value as f64 / 1000.0;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_matter_are_read_and_others_are_not() {
        let line = r#"{"level":"INFO","message":"starting","listen":"127.0.0.1:41234","workers":1}"#;
        assert_eq!(Line::parse(line), Some(Line::Starting("127.0.0.1:41234".parse().unwrap())));
        assert_eq!(Line::parse(r#"{"message":"ready"}"#), Some(Line::Ready));
        let Some(Line::Status(status)) = Line::parse(r#"{"message":"status","tick":7,"players":3,"bytes_out":99}"#)
        else {
            panic!("no status")
        };
        assert_eq!((status.tick, status.players, status.bytes_out), (7, 3, 99));
        assert_eq!(Line::parse(r#"{"message":"something else"}"#), None);
        assert_eq!(Line::parse("no JSON"), None);
        let line = r#"{"interval":3,"seconds":30.0,"staleness_ticks_p99":1.25,"view_age_ticks_p99":1.1}"#;
        let seen = Seen { staleness_ticks_p99: 1.25, view_age_ticks_p99: 1.1 };
        assert_eq!((Seen::parse(line), Seen::parse("   3 s  measuring  online 5")), (Some(seen), None));
    }

    #[test]
    fn quantiles_are_those_of_all_seconds_together() {
        let second = |text: &str| Times { round: Values::parse(text), ..Times::default() };
        let mut times = second("1000:98 2000:1");
        times.add(&second("50000:1 junk 3"));
        assert_eq!((times.round.quantile_ms(0.5), times.round.quantile_ms(0.99)), (1.0, 2.0));
        assert_eq!((times.round.quantile_ms(1.0), times.send.quantile_ms(0.5)), (50.0, 0.0));
    }
}

//! The lines of a trace. The names and fields are a contract with scripts.

use core::net::SocketAddr;

use netcode::Time;
use netcode::trace::{Contents, PathStep, TraceEvent, TraceState};
use serde::{Deserialize, Serialize};

/// Version of the format; a reader refuses any other.
pub const FORMAT: u32 = 1;

/// Which end of the connection was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format: [`FORMAT`].
    pub zonewire_trace: u32,
    /// Which end was traced.
    pub role: Role,
    /// The connection's id at the server, where it was known.
    pub conn: Option<u32>,
    /// The wall clock at time 0 of the records, Unix milliseconds.
    pub reference_unix_ms: u64,
    /// The names of the channels, by number.
    #[serde(default)]
    pub channels: Vec<String>,
}

/// Any other line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the header's reference time.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened; `name` and `data` of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A packet was sent.
    PacketSent {
        /// Its number.
        pn: u64,
        /// Bytes of the datagram.
        bytes: u16,
        /// Its key phase bit, 0 or 1.
        #[serde(default)]
        phase: u8,
        /// What is in it.
        #[serde(default)]
        carries: Carries,
    },
    /// An authentic packet was taken.
    PacketReceived {
        /// Its number.
        pn: u64,
        /// Bytes of the datagram.
        bytes: u16,
        /// What is in it.
        #[serde(default)]
        carries: Carries,
    },
    /// The peer has a packet.
    PacketAcked {
        /// Its number.
        pn: u64,
        /// The round-trip time it measured, in microseconds, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rtt_us: Option<u64>,
    },
    /// A packet is given up as lost.
    PacketLost {
        /// Its number.
        pn: u64,
    },
    /// A datagram was dropped.
    PacketDropped {
        /// Why: a name as in the server's status line.
        cause: String,
    },
    /// The budget changed.
    RateUpdated {
        /// Bytes a second.
        bytes_per_s: u32,
    },
    /// One direction has new keys.
    KeyRolled {
        /// Of what this side sends (else: receives).
        sending: bool,
        /// How often that direction has rolled.
        generation: u64,
    },
    /// The longest datagram that the path is taken to carry changed.
    MtuUpdated {
        /// UDP payload.
        bytes: u16,
    },
    /// The peer spoke from another address.
    PathUpdated {
        /// `challenged`, `moved` or `abandoned`.
        step: String,
        /// The address.
        address: SocketAddr,
    },
    /// The connection's state changed.
    StateUpdated {
        /// `established`, `closing` or `closed`.
        state: String,
        /// Why, where there is a reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Older events were dropped, because nobody took them in time.
    EventsMissed {
        /// How many.
        events: u64,
    },
}

/// What is in a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Carries {
    /// It acknowledges packets.
    #[serde(skip_serializing_if = "is_false")]
    pub ack: bool,
    /// It has control frames.
    #[serde(skip_serializing_if = "is_false")]
    pub control: bool,
    /// It probes the path's MTU.
    #[serde(skip_serializing_if = "is_false")]
    pub probe: bool,
    /// Bytes of the snapshot.
    #[serde(skip_serializing_if = "is_zero")]
    pub snapshot: u16,
    /// Bytes of messages by channel: pairs of number and bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<(u8, u16)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(value: &u16) -> bool {
    *value == 0
}

impl From<&Contents> for Carries {
    fn from(contents: &Contents) -> Self {
        Self {
            ack: contents.ack,
            control: contents.control,
            probe: contents.probe,
            snapshot: contents.snapshot,
            channels: contents.channels().collect(),
        }
    }
}

impl Record {
    /// The record of an event at `now`, in a trace whose reference is the time `reference`.
    #[must_use]
    pub fn new(reference: Time, now: Time, event: &TraceEvent) -> Self {
        let micros = now.saturating_since(reference).as_micros();
        Self { time: u64::try_from(micros).unwrap_or(u64::MAX), event: event.into() }
    }
}

impl From<&TraceEvent> for Event {
    fn from(event: &TraceEvent) -> Self {
        match *event {
            TraceEvent::Sent { pn, bytes, phase, ref contents } => {
                Self::PacketSent { pn, bytes, phase: phase.into(), carries: contents.into() }
            }
            TraceEvent::Received { pn, bytes, ref contents } => {
                Self::PacketReceived { pn, bytes, carries: contents.into() }
            }
            TraceEvent::Acked { pn, rtt } => {
                let micros = |rtt: core::time::Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                Self::PacketAcked { pn, rtt_us: rtt.map(micros) }
            }
            TraceEvent::Lost { pn } => Self::PacketLost { pn },
            TraceEvent::Dropped { cause } => Self::PacketDropped { cause: cause.name().into() },
            TraceEvent::Rate { bytes_per_s } => Self::RateUpdated { bytes_per_s },
            TraceEvent::KeyRolled { sending, generation } => Self::KeyRolled { sending, generation },
            TraceEvent::Mtu { bytes } => Self::MtuUpdated { bytes },
            TraceEvent::Path { step, address } => Self::PathUpdated { step: step_name(step).into(), address },
            TraceEvent::State { state } => state_updated(state),
            TraceEvent::Missed { events } => Self::EventsMissed { events },
        }
    }
}

const fn step_name(step: PathStep) -> &'static str {
    match step {
        PathStep::Challenged => "challenged",
        PathStep::Moved => "moved",
        PathStep::Abandoned => "abandoned",
    }
}

fn state_updated(state: TraceState) -> Event {
    let (state, reason) = match state {
        TraceState::Established => ("established", None),
        TraceState::Closing(reason) => ("closing", Some(reason.to_string())),
        TraceState::Closed(reason) => ("closed", Some(reason.to_string())),
    };
    Event::StateUpdated { state: state.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use netcode::error::CloseReason;
    use netcode::stats::Drop;

    /// One of every kind, as it stands in a file.
    #[test]
    fn every_event_has_the_line_that_is_documented_and_reads_back() {
        let mut contents = Contents::default();
        contents.ack = true;
        contents.add(1, 24);
        contents.add_snapshot(310);
        let sent = TraceEvent::Sent { pn: 7, bytes: 380, phase: true, contents };
        let address = "127.0.0.1:4000".parse().unwrap();
        let cases = [
            (
                sent,
                r#""packet_sent","data":{"pn":7,"bytes":380,"phase":1,"carries":{"ack":true,"snapshot":310,"channels":[[1,24]]}}"#,
            ),
            (
                TraceEvent::Received { pn: 8, bytes: 40, contents: Contents::default() },
                r#""packet_received","data":{"pn":8,"bytes":40,"carries":{}}"#,
            ),
            (
                TraceEvent::Acked { pn: 7, rtt: Some(Duration::from_millis(51)) },
                r#""packet_acked","data":{"pn":7,"rtt_us":51000}"#,
            ),
            (TraceEvent::Acked { pn: 6, rtt: None }, r#""packet_acked","data":{"pn":6}"#),
            (TraceEvent::Lost { pn: 5 }, r#""packet_lost","data":{"pn":5}"#),
            (TraceEvent::Dropped { cause: Drop::Duplicate }, r#""packet_dropped","data":{"cause":"duplicate"}"#),
            (TraceEvent::Rate { bytes_per_s: 9 }, r#""rate_updated","data":{"bytes_per_s":9}"#),
            (
                TraceEvent::KeyRolled { sending: true, generation: 2 },
                r#""key_rolled","data":{"sending":true,"generation":2}"#,
            ),
            (TraceEvent::Mtu { bytes: 1452 }, r#""mtu_updated","data":{"bytes":1452}"#),
            (
                TraceEvent::Path { step: PathStep::Moved, address },
                r#""path_updated","data":{"step":"moved","address":"127.0.0.1:4000"}"#,
            ),
            (
                TraceEvent::State { state: TraceState::Closing(CloseReason::Requested) },
                r#""state_updated","data":{"state":"closing","reason":"closed on request"}"#,
            ),
            (TraceEvent::Missed { events: 3 }, r#""events_missed","data":{"events":3}"#),
        ];
        for (event, rest) in cases {
            let record = Record::new(Time::from_millis(1), Time::from_millis(3), &event);
            let line = serde_json::to_string(&record).unwrap();
            assert_eq!(line, format!(r#"{{"time":2000,"name":{rest}}}"#));
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}

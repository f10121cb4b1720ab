//! What happened on a connection, event by event, for whoever wants to look at it afterwards.
//!
//! A connection that is traced keeps its events in a bounded queue ([`Trace`]) until its owner takes them. What cannot be
//! kept is counted and told, never waited for. One that is not traced pays nothing.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use crate::channel::MAX_CHANNELS;
use crate::error::{CloseReason, DisconnectReason};
use crate::stats::Drop;
use crate::time::Time;

/// The most events that wait to be taken; one more drops the oldest.
pub const MAX_EVENTS: usize = 4096;

/// What a packet carries, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of messages by channel number, heads not counted; the snapshot's are in `snapshot`.
    channels: [u16; MAX_CHANNELS],
    /// Bytes of the snapshot; 0 = none.
    pub snapshot: u16,
    /// It acknowledges packets.
    pub ack: bool,
    /// It has control frames other than the padding of an MTU probe.
    pub control: bool,
    /// It probes the path's MTU.
    pub probe: bool,
}

impl Contents {
    /// Counts a message, or a part of one, on a channel.
    pub fn add(&mut self, channel: u8, bytes: usize) {
        if let Some(sum) = self.channels.get_mut(usize::from(channel)) {
            *sum = sum.saturating_add(u16::try_from(bytes).unwrap_or(u16::MAX));
        }
    }

    /// Counts the snapshot.
    pub fn add_snapshot(&mut self, bytes: usize) {
        self.snapshot = self.snapshot.saturating_add(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    /// The channels with messages, and how many bytes of them.
    pub fn channels(&self) -> impl Iterator<Item = (u8, u16)> + '_ {
        (0u8..).zip(self.channels).filter(|(_, bytes)| *bytes > 0)
    }
}

/// What became of a peer's new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// A packet came from there, and a challenge goes there.
    Challenged,
    /// It echoed the challenge: the connection moved there.
    Moved,
    /// It did not in time, or the old address spoke again.
    Abandoned,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceState {
    /// Keys are agreed.
    Established,
    /// This side closes.
    Closing(CloseReason),
    /// It is over.
    Closed(DisconnectReason),
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A packet was sent.
    Sent {
        /// Its number.
        pn: u64,
        /// Bytes of the datagram.
        bytes: u16,
        /// Its key phase bit.
        phase: bool,
        /// What it carries.
        contents: Contents,
    },
    /// An authentic packet was taken.
    Received {
        /// Its number.
        pn: u64,
        /// Bytes of the datagram.
        bytes: u16,
        /// What it carries.
        contents: Contents,
    },
    /// The peer has a packet.
    Acked {
        /// Its number.
        pn: u64,
        /// The round-trip time that its acknowledgement measured, the peer's ack delay taken out; only the newest packet
        /// of an acknowledgement measures any.
        rtt: Option<Duration>,
    },
    /// A packet is given up as lost.
    Lost {
        /// Its number.
        pn: u64,
    },
    /// A datagram was dropped.
    Dropped {
        /// Why.
        cause: Drop,
    },
    /// The budget changed.
    Rate {
        /// Bytes a second.
        bytes_per_s: u32,
    },
    /// One direction has new keys.
    KeyRolled {
        /// The direction: what this side sends, or what it receives.
        sending: bool,
        /// How often that direction has rolled.
        generation: u64,
    },
    /// The longest datagram that the path is taken to carry changed.
    Mtu {
        /// UDP payload.
        bytes: u16,
    },
    /// The peer spoke from another address.
    Path {
        /// What became of it.
        step: PathStep,
        /// The address.
        address: SocketAddr,
    },
    /// The connection's state changed.
    State {
        /// To this.
        state: TraceState,
    },
    /// Older events were dropped, because nobody took them in time.
    Missed {
        /// How many.
        events: u64,
    },
}

/// The events of one connection that wait to be taken: at most [`MAX_EVENTS`].
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: VecDeque<(Time, TraceEvent)>,
    /// Dropped since the last that was told.
    missed: u64,
}

impl Trace {
    /// Keeps an event; where there is no room, the oldest one goes.
    pub fn push(&mut self, now: Time, event: TraceEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.missed = self.missed.saturating_add(1);
        }
        self.events.push_back((now, event));
    }

    /// The oldest event. Where events were dropped, [`TraceEvent::Missed`] comes in their place.
    pub fn poll(&mut self) -> Option<(Time, TraceEvent)> {
        if self.missed > 0 {
            let (oldest, _) = self.events.front()?;
            return Some((*oldest, TraceEvent::Missed { events: core::mem::take(&mut self.missed) }));
        }
        self.events.pop_front()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

// A full queue is 256 KiB.
const _: () = assert!(size_of::<(Time, TraceEvent)>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_went_in() {
        let mut trace = Trace::default();
        for pn in 0..10 {
            trace.push(Time::from_millis(pn), TraceEvent::Lost { pn });
        }
        for pn in 0..10 {
            assert_eq!(trace.poll(), Some((Time::from_millis(pn), TraceEvent::Lost { pn })));
        }
        assert_eq!(trace.poll(), None);
    }

    #[test]
    fn a_queue_that_nobody_empties_stays_bounded_and_says_once_how_many_are_gone() {
        let mut trace = Trace::default();
        for pn in 0..MAX_EVENTS as u64 + 7 {
            trace.push(Time::from_micros(pn), TraceEvent::Lost { pn });
        }
        assert_eq!(trace.len(), MAX_EVENTS);
        let oldest = Time::from_micros(7);
        assert_eq!(trace.poll(), Some((oldest, TraceEvent::Missed { events: 7 })));
        assert_eq!(trace.poll(), Some((oldest, TraceEvent::Lost { pn: 7 })));
        assert_eq!(trace.len(), MAX_EVENTS - 1);
    }

    #[test]
    fn contents_add_up_by_channel_and_never_overflow() {
        let mut contents = Contents::default();
        contents.add(3, 100);
        contents.add(3, 24);
        contents.add(0, usize::MAX);
        contents.add(0, 1);
        contents.add(200, 5);
        contents.add_snapshot(40);
        contents.add_snapshot(usize::MAX);
        assert_eq!(contents.channels().collect::<Vec<_>>(), [(0, u16::MAX), (3, 124)]);
        assert_eq!(contents.snapshot, u16::MAX);
    }
}

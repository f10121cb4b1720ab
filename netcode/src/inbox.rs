//! What an endpoint has to tell its owner: events in order, message bytes in one reused buffer.

use core::ops::Range;
use std::collections::VecDeque;

use crate::delivery::BlockEvent;
use crate::error::DisconnectReason;
use crate::packet::ConnId;
use crate::token::TokenClaims;

#[derive(Debug)]
pub(crate) enum Record {
    /// At a client: the server accepted.
    Accepted,
    /// At a server: a client has proved itself and its address.
    Admitted(Box<TokenClaims>),
    Message {
        channel: u8,
        tick: Option<u64>,
        bytes: Range<usize>,
    },
    /// Something about a block. Of received data the bytes are kept apart; `event` has none.
    Block {
        channel: u8,
        event: BlockEvent<'static>,
        bytes: Range<usize>,
    },
    /// At a server: the fate of a packet that carried a snapshot.
    Settled {
        pn: u64,
        acked: bool,
    },
    Disconnected(DisconnectReason),
}

/// Events that wait to be polled. The buffer is emptied, not freed, when the last event is gone.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    records: VecDeque<(ConnId, Record)>,
    bytes: Vec<u8>,
}

impl Inbox {
    pub(crate) fn push(&mut self, conn: ConnId, record: Record) {
        self.records.push_back((conn, record));
    }

    pub(crate) fn message(&mut self, conn: ConnId, channel: u8, tick: Option<u64>, message: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.push(conn, Record::Message { channel, tick, bytes: start..self.bytes.len() });
    }

    pub(crate) fn block(&mut self, conn: ConnId, channel: u8, event: BlockEvent<'_>) {
        let start = self.bytes.len();
        let event = match event {
            BlockEvent::Data { id, offset, bytes } => {
                self.bytes.extend_from_slice(bytes);
                BlockEvent::Data { id, offset, bytes: &[] }
            }
            BlockEvent::Started { id, total } => BlockEvent::Started { id, total },
            BlockEvent::Received { id } => BlockEvent::Received { id },
            BlockEvent::Stopped { id } => BlockEvent::Stopped { id },
            BlockEvent::Progress { id, acked, total } => BlockEvent::Progress { id, acked, total },
            BlockEvent::Sent { id } => BlockEvent::Sent { id },
            BlockEvent::Refused { id } => BlockEvent::Refused { id },
        };
        self.push(conn, Record::Block { channel, event, bytes: start..self.bytes.len() });
    }

    /// How many events wait: a place to [`insert`](Self::insert) at later.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Puts an event in front of those that came after `place` was taken.
    pub(crate) fn insert(&mut self, place: usize, conn: ConnId, record: Record) {
        self.records.insert(place.min(self.records.len()), (conn, record));
    }

    /// The next event and the bytes that its range points into.
    pub(crate) fn poll(&mut self) -> Option<(ConnId, Record, &[u8])> {
        let Some((conn, record)) = self.records.pop_front() else {
            self.bytes.clear();
            return None;
        };
        Some((conn, record, &self.bytes))
    }
}

/// The event with its bytes.
pub(crate) fn with_bytes<'a>(event: BlockEvent<'static>, bytes: &'a [u8]) -> BlockEvent<'a> {
    match event {
        BlockEvent::Data { id, offset, .. } => BlockEvent::Data { id, offset, bytes },
        other => other,
    }
}

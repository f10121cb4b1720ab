//! What an endpoint has to tell its owner: events in order, message bytes in one reused buffer.

use core::ops::Range;
use std::collections::VecDeque;

use crate::error::DisconnectReason;
use crate::packet::ConnId;

#[derive(Debug)]
pub(crate) enum Record {
    Connected,
    Message { channel: u8, tick: Option<u64>, bytes: Range<usize> },
    Settled { pn: u64, acked: bool },
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

    /// The next event and the bytes that its range points into.
    pub(crate) fn poll(&mut self) -> Option<(ConnId, Record, &[u8])> {
        let Some((conn, record)) = self.records.pop_front() else {
            self.bytes.clear();
            return None;
        };
        Some((conn, record, &self.bytes))
    }
}

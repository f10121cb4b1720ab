//! What is sent, and what is measured of it.

use core::time::Duration;
use std::sync::Arc;

use netcode::Time;
use netcode::delivery::BlockEvent;
use netcode::error::SendError;
use netcode::packet::ConnId;
use netcode::rng::Rng;
use netcode::server::ServerEndpoint;

/// How often a load that is always full looks for room.
const REFILL: Duration = Duration::from_millis(2);

/// Something to send, and an eye on what arrives.
pub(super) trait Load {
    /// Sends what is due.
    fn produce(&mut self, _now: Time, _server: &mut ServerEndpoint, _conn: ConnId) -> Result<(), SendError> {
        Ok(())
    }

    /// When [`Load::produce`] has something to do.
    fn next(&self) -> Time {
        Time::NEVER
    }

    /// Whether nothing more is expected.
    fn is_done(&self) -> bool {
        false
    }

    fn on_connected(&mut self, _conn: ConnId) {}

    fn on_message(&mut self, _now: Time, _channel: u8, _bytes: &[u8]) {}

    fn on_block(&mut self, _now: Time, _event: &BlockEvent<'_>) {}
}

/// Nothing but what the connection does by itself.
pub(super) struct Idle;

impl Load for Idle {}

/// When messages are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As soon as there is room.
    Full,
    /// One in each period, at a random moment of it.
    Every(Duration),
}

/// Messages on one channel, numbered.
pub(super) struct Messages {
    channel: u8,
    length: usize,
    pace: Pace,
    rng: Rng,
    period: Time,
    next: Time,
    until: Time,
    sent: Vec<Time>,
    /// Bytes that arrived.
    pub bytes: u64,
    /// From [`ServerEndpoint::send`] to the client's event, in microseconds, as they arrived.
    pub delays: Vec<u64>,
}

impl Messages {
    /// Messages of that length, at least 8 bytes, from `start` until `until`.
    pub(super) fn new(channel: u8, length: usize, pace: Pace, start: Time, until: Time, rng: Rng) -> Self {
        let mut messages = Self {
            channel,
            length: length.max(8),
            pace,
            rng,
            period: start,
            next: start,
            until,
            sent: Vec::new(),
            bytes: 0,
            delays: Vec::new(),
        };
        messages.plan();
        messages
    }

    fn plan(&mut self) {
        if let Pace::Every(period) = self.pace {
            let micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
            self.next = self.period + Duration::from_micros(self.rng.below(micros));
            self.period = self.period + period;
        }
    }

    /// Messages that were sent and have not arrived.
    pub(super) fn missing(&self) -> usize {
        self.sent.len() - self.delays.len()
    }

    fn send(&mut self, now: Time, server: &mut ServerEndpoint, conn: ConnId) -> Result<(), SendError> {
        let mut message = vec![0; self.length];
        if let Some((number, _)) = message.split_first_chunk_mut() {
            *number = (self.sent.len() as u64).to_le_bytes();
        }
        server.send(now, conn, self.channel, &message)?;
        self.sent.push(now);
        Ok(())
    }
}

impl Load for Messages {
    fn produce(&mut self, now: Time, server: &mut ServerEndpoint, conn: ConnId) -> Result<(), SendError> {
        while self.next <= now && self.next < self.until {
            match (self.send(now, server, conn), self.pace) {
                (Ok(()), Pace::Full) => {}
                (Ok(()), Pace::Every(_)) => self.plan(),
                // A path of long round trips can hold more than the channel's queue: wait for room.
                (Err(SendError::Full { .. }), _) => self.next = now + REFILL,
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    fn next(&self) -> Time {
        if self.next < self.until { self.next } else { Time::NEVER }
    }

    fn is_done(&self) -> bool {
        self.next >= self.until && self.missing() == 0
    }

    fn on_message(&mut self, now: Time, channel: u8, bytes: &[u8]) {
        let number = bytes.first_chunk().map(|number| u64::from_le_bytes(*number));
        let sent = number.and_then(|number| self.sent.get(usize::try_from(number).ok()?));
        if let Some(sent) = sent.filter(|_| channel == self.channel) {
            self.bytes += bytes.len() as u64;
            self.delays.push(now.saturating_since(*sent).as_micros() as u64);
        }
    }
}

/// Blocks on one channel, one after the other.
pub(super) struct BlockLoad {
    channel: u8,
    block: Arc<[u8]>,
    pause: Duration,
    left: u32,
    next: Time,
    /// When the one under way was sent.
    sent: Option<Time>,
    /// Bytes that arrived.
    pub bytes: u64,
    /// From [`ServerEndpoint::send_block`] to the client's last byte, in microseconds.
    pub delays: Vec<u64>,
    /// From a block's first quarter to its third, in microseconds: without start and end.
    pub halves: Vec<u64>,
    /// When the first quarter of the one under way had arrived.
    quarter: Option<Time>,
}

impl BlockLoad {
    /// That many blocks of that length, the first at `start`, each further one a `pause` after the one before it arrived.
    pub(super) fn new(channel: u8, length: u32, count: u32, start: Time, pause: Duration) -> Self {
        let block = (0..length).map(|at| (at % 251) as u8).collect();
        Self {
            channel,
            block,
            pause,
            left: count,
            next: start,
            sent: None,
            bytes: 0,
            delays: Vec::new(),
            halves: Vec::new(),
            quarter: None,
        }
    }

    /// The block has arrived up to there.
    fn on_data(&mut self, now: Time, end: usize) {
        let length = self.block.len();
        if self.quarter.is_none() && end >= length / 4 {
            self.quarter = Some(now);
        }
        if let Some(quarter) = self.quarter.filter(|_| self.halves.len() == self.delays.len() && end >= length / 4 * 3)
        {
            self.halves.push(now.saturating_since(quarter).as_micros() as u64);
        }
    }
}

impl Load for BlockLoad {
    fn produce(&mut self, now: Time, server: &mut ServerEndpoint, conn: ConnId) -> Result<(), SendError> {
        if self.next > now || self.left == 0 {
            return Ok(());
        }
        match server.send_block(conn, self.channel, Arc::clone(&self.block)) {
            Ok(_) => {
                (self.left, self.sent, self.next) = (self.left - 1, Some(now), Time::NEVER);
                Ok(())
            }
            // The sender still waits for the last acks of the one before.
            Err(SendError::Full { .. }) => {
                self.next = now + REFILL;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn next(&self) -> Time {
        if self.left > 0 { self.next } else { Time::NEVER }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.sent.is_none()
    }

    fn on_block(&mut self, now: Time, event: &BlockEvent<'_>) {
        match event {
            BlockEvent::Data { offset, bytes, .. } => {
                self.bytes += bytes.len() as u64;
                self.on_data(now, *offset as usize + bytes.len());
            }
            BlockEvent::Received { .. } => {
                if let Some(sent) = self.sent.take() {
                    self.delays.push(now.saturating_since(sent).as_micros() as u64);
                }
                self.quarter = None;
                self.next = now + self.pause;
            }
            _ => {}
        }
    }
}

//! What a connection waits for.

use super::lane::Lane;
use super::{ACK_SOON, Connection, KEEPALIVE, MAX_ACK_DELAY, SHORT_PING_INTERVAL, State};
use crate::error::DisconnectReason;
use crate::inbox::Inbox;
use crate::packet::BASE_DATAGRAM;
use crate::recovery::MAX_IN_FLIGHT;
use crate::time::{Time, micros};

/// Packets in flight that are left to ticks, acks and probes.
const FLIGHT_RESERVE: usize = 128;
/// What a packet with one message takes beside it, at the most.
const OVERHEAD: usize = 64;

impl Connection {
    /// Whether a packet is due for a reason of its own: an ack or message that found no ride, something large or lost
    /// that the rate lets go, a probe, a keepalive, a close.
    #[must_use]
    pub fn wants_packet(&self, now: Time) -> bool {
        match self.state {
            State::Open => {
                self.waiting.ping
                    || self.waiting.short_ping
                    || self.waiting.at_once
                    || self.owed.due() <= now
                    || self.clock.as_ref().is_some_and(|clock| clock.next_time() <= now)
                    || self.mtu.next_time() <= now
                    || (self.hurry && self.may_send(now))
            }
            State::Closing { next, .. } => next <= now,
            State::Closed => false,
        }
    }

    /// Whether an ack is due that soon would not name all packets that ask for it.
    pub(crate) fn owes_soon(&self) -> bool {
        self.owed.packets >= ACK_SOON && self.state == State::Open
    }

    /// Whether a message waits that the rate lets go and the scheduler would pick.
    #[must_use]
    pub fn has_staged(&self, now: Time) -> bool {
        self.state == State::Open && self.may_send(now)
    }

    /// Whether something waits that may go now: the newest of a sequenced channel always, the rest as the rate allows.
    pub(super) fn may_send(&self, now: Time) -> bool {
        // With a new tick, what had used up its bytes may go again.
        let fresh = now >= self.tick_ends;
        self.lanes.any_urgent() || self.next_bulk(fresh).is_some_and(|bytes| self.rate.allows(now, bytes))
    }

    /// Bytes of a packet with what the scheduler would pick next.
    pub(super) fn next_bulk(&self, fresh: bool) -> Option<usize> {
        // Beyond what recovery follows, packets would count as lost for the sake of newer ones, and be sent again; far
        // beyond it, 16 bits would not tell which one an ack means.
        if self.next_pn.saturating_sub(self.recovery.oldest()) >= (MAX_IN_FLIGHT - FLIGHT_RESERVE) as u64 {
            return None;
        }
        let first = self.lanes.first_due()?;
        let due = |at: usize| self.lanes.due_bytes(at, true);
        let at = self.scheduler.pick(|at| due(at).is_some()).or(if fresh { Some(first) } else { None })?;
        Some(due(at)? + OVERHEAD)
    }

    fn bulk_due(&self) -> Time {
        if !self.hurry {
            return Time::NEVER;
        }
        if let Some(bytes) = self.next_bulk(false) {
            return self.rate.next_at(self.last_sent, bytes);
        }
        let later = self.next_bulk(true);
        later.map_or(Time::NEVER, |bytes| self.rate.next_at(self.last_sent, bytes).max(self.tick_ends))
    }

    /// When to ask whether the path still takes short packets: where all that is sent is long, nothing else would tell.
    fn silence_time(&self) -> Time {
        if self.mtu.current() <= BASE_DATAGRAM as u16 {
            return Time::NEVER;
        }
        self.recovery.silence_time(micros(MAX_ACK_DELAY)).max(self.next_short_ping)
    }

    /// When a long message or a block that is all sent, but not all answered, has its end repeated: nothing else tells
    /// that the last packets are lost before the probe timeout, which allows for the longest delay of an ack. Only on a
    /// path that loses packets, and while nothing else waits.
    fn tail_time(&self) -> Time {
        if self.recovery.loss_recent() == 0 {
            return Time::NEVER;
        }
        let Some(sent) = self.lanes.iter().filter_map(Lane::tail_sent).min() else { return Time::NEVER };
        if self.next_bulk(true).is_some() { Time::NEVER } else { sent + self.recovery.rtt().loss_delay() }
    }

    fn repeat_tail(&mut self, now: Time) {
        let age = self.recovery.rtt().loss_delay().as_micros() as u64;
        let Some(sent) = now.as_micros().checked_sub(age).map(Time::from_micros) else { return };
        self.lanes.iter_mut().for_each(|(_, lane)| lane.repeat_tail(sent));
        self.hurry = true;
    }

    /// When a timer or a packet is next due; a time in the past: at once.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        match self.state {
            State::Open if self.waiting.ping || self.waiting.short_ping || self.waiting.at_once => Time::ZERO,
            State::Open => (self.last_received + self.idle_timeout)
                .min(self.last_sent + KEEPALIVE)
                .min(self.owed.due())
                .min(self.clock.as_ref().map_or(Time::NEVER, |clock| clock.next_time()))
                .min(self.mtu.next_time())
                .min(self.bulk_due())
                .min(self.silence_time())
                .min(self.tail_time())
                .min(self.recovery.loss_time())
                .min(self.recovery.probe_time(micros(MAX_ACK_DELAY))),
            State::Closing { next, .. } => next,
            State::Closed => Time::NEVER,
        }
    }

    /// No later than [`Self::next_timeout`] when a message has just been queued and it was `before` until then: all that a
    /// message makes due is an ack or a small message that finds no ride, or itself.
    pub(crate) fn timeout_after_send(&self, before: Time) -> Time {
        before.min(self.owed.due()).min(self.bulk_due())
    }

    /// Runs what is due: idle timeout, losses, probe, keepalive.
    pub(crate) fn handle_timeout(&mut self, now: Time, inbox: &mut Inbox) {
        if self.state != State::Open {
            return;
        }
        if self.last_received + self.idle_timeout <= now {
            return self.disconnect(now, DisconnectReason::IdleTimeout, inbox);
        }
        let (recovery, mut settler) = self.settler(now, inbox);
        recovery.detect_losses(now, |settled| settler.settle(settled, None));
        self.after_settling(now);
        if !self.waiting.ping && self.recovery.probe_time(micros(MAX_ACK_DELAY)) <= now {
            self.recovery.on_probe();
            self.waiting.ping = true;
            self.hurry = true;
            for (_, lane) in self.lanes.iter_mut() {
                lane.on_probe();
            }
        }
        if self.silence_time() <= now {
            self.waiting.short_ping = true;
            self.next_short_ping = now + SHORT_PING_INTERVAL;
        }
        if self.tail_time() <= now {
            self.repeat_tail(now);
        }
        if self.last_sent + KEEPALIVE <= now {
            self.waiting.ping = true;
        }
    }
}

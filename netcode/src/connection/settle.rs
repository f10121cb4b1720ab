//! What follows from a packet's fate.

use core::time::Duration;

use super::Connection;
use super::lanes::Lanes;
use super::manifest::Manifest;
use crate::inbox::{Inbox, Record};
use crate::keys::TxKeys;
use crate::mtu::Mtu;
use crate::packet::ConnId;
use crate::rate::RateControl;
use crate::recovery::{Recovery, Settled};
use crate::time::Time;
use crate::trace::{Trace, TraceEvent};

/// Everything that learns of a packet's fate; apart from [`Recovery`], which finds it out.
pub(super) struct Settler<'a> {
    now: Time,
    conn: ConnId,
    manifest: &'a Manifest,
    lanes: &'a mut Lanes,
    tx: &'a mut TxKeys,
    pub(super) rate: &'a mut RateControl,
    mtu: &'a mut Mtu,
    hurry: &'a mut bool,
    trace: Option<&'a mut Trace>,
    inbox: &'a mut Inbox,
}

impl Connection {
    pub(super) fn settler<'a>(&'a mut self, now: Time, inbox: &'a mut Inbox) -> (&'a mut Recovery, Settler<'a>) {
        let Self { recovery, conn, manifest, lanes, tx, rate, mtu, hurry, trace, .. } = self;
        let trace = trace.as_deref_mut();
        (recovery, Settler { now, conn: *conn, manifest, lanes, tx, rate, mtu, hurry, trace, inbox })
    }
}

impl Settler<'_> {
    /// Tells everybody concerned; `ack_delay` is known of a packet that measures the round trip.
    pub(super) fn settle(&mut self, settled: Settled, ack_delay: Option<Duration>) {
        let Settled { pn, acked, packet, sent } = settled;
        for item in self.manifest.of(pn) {
            if let Some(lane) = self.lanes.get_mut(usize::from(item.channel)) {
                lane.settle(item.name, acked, self.conn, item.channel, self.inbox);
            }
        }
        *self.hurry |= !acked;
        if acked {
            self.tx.on_acked(pn);
        }
        self.rate.on_settled(self.now, &settled);
        if let Some(bytes) = self.mtu.on_settled(self.now, &settled) {
            self.record(TraceEvent::Mtu { bytes });
        }
        if packet.snapshot {
            self.inbox.push(self.conn, Record::Settled { pn, acked });
        }
        if self.trace.is_some() {
            let rtt = ack_delay.map(|delay| self.now.saturating_since(sent).saturating_sub(delay));
            self.record(if acked { TraceEvent::Acked { pn, rtt } } else { TraceEvent::Lost { pn } });
        }
    }

    fn record(&mut self, event: TraceEvent) {
        if let Some(trace) = &mut self.trace {
            trace.push(self.now, event);
        }
    }
}

//! For tests: senders with recovery, rate control and path MTU over an emulated path, and receivers that acknowledge.
//!
//! All flows have one sending host and one receiving host, and so share the links between them.

use core::time::Duration;
use std::net::SocketAddr;

use crate::emulator::{Emulator, LinkConfig};
use crate::mtu::Mtu;
use crate::packet::AckBlock;
use crate::rate::RateControl;
use crate::recovery::{Packet, Recovery, Settled};
use crate::replay::ReplayWindow;
use crate::seq::low16;
use crate::time::Time;

const STEP: Duration = Duration::from_millis(1);
const MAX_ACK_DELAY: Duration = Duration::from_millis(60);

fn sender() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1))
}

fn receiver() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 2))
}

/// What a flow did since it was marked.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: u64,
    pub delivered: u64,
    /// Packets lost, MTU probes apart, by whether they were long.
    pub lost: [u64; 2],
    /// Longest and mean wait in the bottleneck, in microseconds; and how often the rate fell.
    pub longest_queue: u64,
    pub mean_queue: u64,
    pub falls: u64,
    pub lowest_rate: u32,
    pub highest_rate: u32,
    /// Probes sent, and changes of the MTU.
    pub probes: u64,
    pub mtus: Vec<(Time, u16)>,
}

/// What the sender has to send.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// As much as the rate allows, whenever it does.
    Bulk,
    /// As much as the rate allows, at every tick of so many milliseconds.
    Ticks(u64),
    /// One packet of these bytes (or the MTU, if less) every so many milliseconds, in turn.
    Packets(&'static [u16], u64),
}

pub struct Flow {
    pub rate: RateControl,
    pub mtu: Mtu,
    pub recovery: Recovery,
    load: Load,
    next_pn: u64,
    /// The receiver's end.
    window: ReplayWindow,
    largest_at: Time,
    owes: u32,
    ack_at: Time,
    report: Report,
    queues: (u64, u64),
}

impl Flow {
    pub fn new(rate: RateControl) -> Self {
        let report = Report { lowest_rate: u32::MAX, ..Report::default() };
        Self {
            rate,
            mtu: Mtu::new(1200, 1200),
            recovery: Recovery::default(),
            load: Load::Bulk,
            next_pn: 0,
            window: ReplayWindow::default(),
            largest_at: Time::ZERO,
            owes: 0,
            ack_at: Time::NEVER,
            report,
            queues: (0, 0),
        }
    }

    pub fn with_load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    pub fn with_mtu(mut self, mtu: Mtu) -> Self {
        self.mtu = mtu;
        self
    }

    fn settle(&mut self, now: Time, settled: &[Settled]) {
        for one in settled {
            self.rate.on_settled(now, one);
            if !one.packet.probe && !one.acked {
                self.report.lost[usize::from(one.packet.bytes > 1200)] += 1;
            }
            if let Some(mtu) = self.mtu.on_settled(now, one) {
                self.report.mtus.push((now, mtu));
            }
        }
    }

    fn on_ack(&mut self, now: Time, ack: &AckBlock) {
        let mut all = Vec::new();
        let (samples, spurious) = (self.recovery.rtt().samples(), self.recovery.spurious());
        self.recovery.on_ack(now, ack, self.next_pn, |settled| all.push(settled)).unwrap();
        self.settle(now, &all);
        self.rate.on_spurious((self.recovery.spurious() - spurious) as u32);
        let rtt = self.recovery.rtt();
        if rtt.samples() > samples {
            let before = self.rate.rate();
            self.rate.on_rtt(now, rtt.latest(), rtt.recent_min());
            self.report.falls += u64::from(self.rate.rate() < before);
        }
        self.report.lowest_rate = self.report.lowest_rate.min(self.rate.rate());
        self.report.highest_rate = self.report.highest_rate.max(self.rate.rate());
    }

    fn send(&mut self, now: Time, number: u8, net: &mut Emulator) {
        let mut lost = Vec::new();
        self.recovery.detect_losses(now, |settled| lost.push(settled));
        self.settle(now, &lost);
        let ms = now.as_micros() / 1000;
        if let Some(size) = self.mtu.probe_due(now) {
            self.mtu.on_sent_probe(now, size);
            self.report.probes += 1;
            self.transmit(now, number, net, size, true);
        }
        match self.load {
            Load::Bulk => self.send_allowed(now, number, net),
            Load::Ticks(every) if ms.is_multiple_of(every) => self.send_allowed(now, number, net),
            Load::Packets(sizes, every) if ms.is_multiple_of(every) => {
                let size = sizes[(ms / every) as usize % sizes.len()];
                self.transmit(now, number, net, size.min(self.mtu.current()), false);
            }
            Load::Ticks(_) | Load::Packets(..) => {}
        }
    }

    fn send_allowed(&mut self, now: Time, number: u8, net: &mut Emulator) {
        let size = self.mtu.current();
        while self.rate.allows(now, size.into()) {
            assert!(self.rate.next_at(now, size.into()) <= now);
            self.transmit(now, number, net, size, false);
        }
        assert!(self.rate.next_at(now, size.into()) > now);
    }

    fn transmit(&mut self, now: Time, number: u8, net: &mut Emulator, bytes: u16, probe: bool) {
        let mut datagram = vec![0; usize::from(bytes)];
        datagram[..8].copy_from_slice(&self.next_pn.to_le_bytes());
        datagram[8] = number;
        datagram[9..17].copy_from_slice(&now.as_micros().to_le_bytes());
        net.send(now, sender(), receiver(), &datagram);
        self.rate.spend(now, datagram.len());
        self.report.sent += u64::from(bytes);
        let packet = Packet { eliciting: true, snapshot: false, probe, bytes };
        let mut lost = Vec::new();
        self.recovery.on_sent(now, self.next_pn, packet, |settled| lost.push(settled));
        self.settle(now, &lost);
        self.next_pn += 1;
    }

    fn receive(&mut self, now: Time, datagram: &[u8]) {
        let pn = u64::from_le_bytes(*datagram.first_chunk().unwrap());
        if self.window.check(pn).is_err() {
            return;
        }
        let expected = self.window.largest().map_or(0, |largest| largest + 1);
        self.window.commit(pn);
        if pn >= expected {
            self.largest_at = now;
        }
        self.owes += 1;
        let soon = if pn != expected || self.owes >= 8 { now } else { now + MAX_ACK_DELAY };
        self.ack_at = self.ack_at.min(soon);
        self.report.delivered += datagram.len() as u64;
        let sent = u64::from_le_bytes(datagram[9..17].try_into().unwrap());
        let queue = (now.as_micros() - sent).saturating_sub(25_000);
        self.report.longest_queue = self.report.longest_queue.max(queue);
        self.queues = (self.queues.0 + queue, self.queues.1 + 1);
    }

    fn acknowledge(&mut self, now: Time, number: u8, net: &mut Emulator) {
        let Some(largest) = self.window.largest().filter(|_| self.ack_at <= now) else { return };
        (self.owes, self.ack_at) = (0, Time::NEVER);
        let delay = now.saturating_since(self.largest_at).as_micros() as u64;
        let mut datagram = vec![number, AckBlock::delay_from_micros(delay)];
        datagram.extend(low16(largest).to_le_bytes());
        datagram.extend(self.window.mask32().to_le_bytes());
        net.send(now, receiver(), sender(), &datagram);
    }
}

pub struct World {
    pub net: Emulator,
    pub flows: Vec<Flow>,
    pub now: Time,
}

impl World {
    /// Datagrams meet `link`; acks its delay and loss, but neither its rate nor its MTU.
    pub fn new(seed: u64, link: LinkConfig) -> Self {
        let mut world = Self { net: Emulator::new(seed), flows: Vec::new(), now: Time::ZERO };
        world.set_link(link);
        world
    }

    pub fn set_link(&mut self, link: LinkConfig) {
        self.net.set_link(sender(), receiver(), link);
        let back = LinkConfig { rate_bytes_per_s: None, mtu: None, ..link };
        self.net.set_link(receiver(), sender(), back);
    }

    pub fn add(&mut self, mut flow: Flow) {
        flow.mtu.on_established(self.now);
        self.flows.push(flow);
    }

    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            while let Some(datagram) = self.net.poll(self.now) {
                let bytes = &datagram.bytes;
                if datagram.to == receiver() {
                    self.flows[usize::from(bytes[8])].receive(self.now, bytes);
                } else {
                    let largest = u16::from_le_bytes([bytes[2], bytes[3]]);
                    let mask = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
                    let ack = AckBlock { largest, delay: bytes[1], mask };
                    self.flows[usize::from(bytes[0])].on_ack(self.now, &ack);
                }
            }
            // In turn, or the first one would always find the room that a full buffer has.
            let count = self.flows.len();
            for turn in 0..count {
                let at = (turn + self.now.as_micros() as usize / 1000) % count;
                self.flows[at].acknowledge(self.now, at as u8, &mut self.net);
                self.flows[at].send(self.now, at as u8, &mut self.net);
            }
            self.now = self.now + STEP;
        }
    }

    /// Starts the reports anew.
    pub fn mark(&mut self) {
        for flow in &mut self.flows {
            flow.report = Report { lowest_rate: u32::MAX, ..Report::default() };
            flow.queues = (0, 0);
        }
    }

    pub fn report(&self, flow: usize) -> Report {
        let flow = &self.flows[flow];
        let (sum, count) = flow.queues;
        Report { mean_queue: sum.checked_div(count).unwrap_or(0), ..flow.report.clone() }
    }
}

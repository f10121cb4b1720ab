//! What became of packets, and what follows from it: loss recovery, rate, path MTU, scheduler, under any acks, times and
//! sizes.
//!
//! Each packet's fate is told at most once and as it was sent, as acknowledged only if an ack named it; memory is bounded;
//! times that are due are due; the rate stays between floor and cap and keeps its own promises; the MTU stays between base
//! and maximum; the scheduler picks only what is ready and has room.

use std::collections::BTreeMap;
use std::time::Duration;

use netcode::Time;
use netcode::mtu::Mtu;
use netcode::packet::{AckBlock, BASE_DATAGRAM, MAX_DATAGRAM};
use netcode::rate::{RateConfig, RateControl};
use netcode::recovery::{MAX_IN_FLIGHT, Packet, Recovery, Settled};
use netcode::scheduler::{Scheduler, Share};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Acked => "a packet acknowledged",
    Lost => "a packet lost",
    Spurious => "a lost packet acknowledged after all",
    Unsent => "an ack of what was never sent",
    Full => "more packets than memory",
    LossTime => "a loss by time",
    Probe => "a probe timeout",
    Fell => "a rate that fell",
    Rose => "a rate that rose",
    Broke => "a budget that is used up",
    MtuProbe => "an MTU probe",
    Longer => "longer datagrams",
    Shorter => "a black hole",
    Picked => "a channel picked",
    Resting => "channels that wait for the next tick",
}

/// Times end here, after 35 years.
const END: u64 = 1 << 50;

struct World {
    recovery: Recovery,
    rate: RateControl,
    cap: u32,
    floor: u32,
    mtu: Mtu,
    scheduler: Scheduler,
    shares: Vec<Share>,
    now: Time,
    next_pn: u64,
    /// Packets whose fate is open.
    open: BTreeMap<u64, (Time, Packet)>,
}

/// The target. The first bytes are the rate's limits and the channels' shares.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::new(&mut program);
    while !program.is_empty() {
        let op = program.u8();
        match op % 10 {
            0 | 1 => world.send(op >> 4, u16::from(program.u8()) * 6, 1),
            2 => world.send(op >> 4, 1452, usize::from(program.u8()) * 8),
            3 | 4 => {
                let (back, delay, mask) = (program.u8(), program.u8(), program.u32());
                world.ack(i64::from(back as i8) * [1, 300][usize::from(op >> 7)], delay, mask);
            }
            5 => world.wait(u64::from(program.u16()) << (op >> 6)),
            6 => world.wait(program.u64() >> (op >> 4 << 2)),
            7 => world.timers(),
            8 => world.mtu_probe(op >= 0x80),
            _ if op >= 0xf0 => world.set_cap(program.u32()),
            _ => world.schedule(program.u16(), usize::from(program.u16())),
        }
        world.check();
    }
}

impl World {
    fn new(program: &mut Program<'_>) -> Self {
        let choice = program.u8();
        let cap = program.u32() >> (choice & 31);
        let floor = program.u32() >> (choice & 31);
        let tick = Duration::from_millis(u64::from(program.u8()));
        let share = |bits: u32| Share {
            priority: (bits & 15) as u8,
            weight: (bits >> 4 & 7) as u8,
            min_bytes: bits >> 8 & 0x3ff,
            max_bytes: bits >> 20,
        };
        let shares: Vec<Share> = (0..choice >> 5).map(|_| share(program.u32())).collect();
        let now = Time::from_millis(1);
        let mut mtu = Mtu::new(BASE_DATAGRAM as u16, MAX_DATAGRAM as u16);
        mtu.on_established(now);
        Self {
            recovery: Recovery::default(),
            rate: RateControl::new(RateConfig { start: cap / 2, floor, cap, tick }),
            cap,
            floor,
            mtu,
            scheduler: Scheduler::new(&shares),
            shares,
            now,
            next_pn: 0,
            open: BTreeMap::new(),
        }
    }

    fn send(&mut self, flags: u8, bytes: u16, count: usize) {
        for _ in 0..count {
            let packet = Packet { eliciting: flags & 1 == 0, snapshot: flags & 2 != 0, probe: false, bytes };
            self.next_pn += u64::from(flags & 12 == 12);
            self.send_packet(packet);
        }
    }

    fn send_packet(&mut self, packet: Packet) {
        let (pn, now) = (self.next_pn, self.now);
        self.next_pn += 1;
        self.rate.spend(now, usize::from(packet.bytes));
        self.open.insert(pn, (now, packet));
        let mut settled = Vec::new();
        self.recovery.on_sent(now, pn, packet, |fate| settled.push(fate));
        if !settled.is_empty() {
            reach(Feature::Full);
        }
        assert!(settled.iter().all(|fate| !fate.acked));
        self.settle(&settled);
    }

    fn settle(&mut self, settled: &[Settled]) {
        for fate in settled {
            let (sent, packet) = self.open.remove(&fate.pn).expect("a fate is told once");
            assert_eq!((fate.sent, fate.packet), (sent, packet));
            reach(if fate.acked { Feature::Acked } else { Feature::Lost });
            self.rate.on_settled(self.now, fate);
            let before = self.mtu.current();
            if let Some(after) = self.mtu.on_settled(self.now, fate) {
                assert!(after == self.mtu.current() && after != before);
                reach(if after > before { Feature::Longer } else { Feature::Shorter });
            }
        }
    }

    fn ack(&mut self, back: i64, delay: u8, mask: u32) {
        let Some(largest) = self.next_pn.checked_sub(1).and_then(|newest| newest.checked_add_signed(-back)) else {
            return;
        };
        let ack = AckBlock { largest: largest as u16, delay, mask };
        let (samples, spurious, rate) = (self.recovery.rtt().samples(), self.recovery.spurious(), self.rate.rate());
        let mut settled = Vec::new();
        let result = self.recovery.on_ack(self.now, &ack, self.next_pn, |fate| settled.push(fate));
        if result.is_err() {
            reach(Feature::Unsent);
            // Sixteen bits that mean something far behind may mean something ahead.
            assert!(
                settled.is_empty()
                    && (largest >= self.next_pn || self.next_pn - largest >= 1 << 15 || self.next_pn < 1 << 16)
            );
            return;
        }
        assert!(largest < self.next_pn, "an ack of what was never sent is taken");
        for fate in settled.iter().filter(|fate| fate.acked) {
            let behind = largest.checked_sub(fate.pn).expect("no ack names it");
            assert!(behind == 0 || (behind <= 32 && mask >> (behind - 1) & 1 == 1), "no ack names it");
        }
        self.settle(&settled);
        if self.recovery.rtt().samples() > samples {
            let rtt = self.recovery.rtt();
            assert!(rtt.recent_min() <= rtt.latest());
            self.rate.on_rtt(self.now, rtt.latest(), rtt.recent_min());
        }
        if self.recovery.spurious() > spurious {
            reach(Feature::Spurious);
            self.rate.on_spurious((self.recovery.spurious() - spurious) as u32);
        }
        match self.rate.rate().cmp(&rate) {
            std::cmp::Ordering::Less => reach(Feature::Fell),
            std::cmp::Ordering::Greater => reach(Feature::Rose),
            std::cmp::Ordering::Equal => {}
        }
    }

    fn wait(&mut self, micros: u64) {
        self.now = Time::from_micros((self.now.as_micros().saturating_add(micros)).min(END));
    }

    fn timers(&mut self) {
        let due = self.recovery.loss_time() <= self.now;
        let mut settled = Vec::new();
        self.recovery.detect_losses(self.now, |fate| settled.push(fate));
        assert!(!due || !settled.is_empty(), "nothing was lost when it was due");
        if due {
            reach(Feature::LossTime);
        }
        assert!(settled.iter().all(|fate| !fate.acked));
        self.settle(&settled);
        assert!(self.recovery.loss_time() > self.now, "due without end");
        if self.recovery.probe_time(60_000) <= self.now {
            reach(Feature::Probe);
            self.recovery.on_probe();
        }
    }

    fn mtu_probe(&mut self, moved: bool) {
        if moved {
            self.mtu.on_established(self.now);
        }
        let due = self.mtu.probe_due(self.now);
        assert_eq!(due.is_some(), self.mtu.next_time() <= self.now);
        let Some(size) = due else { return };
        reach(Feature::MtuProbe);
        assert!(size > self.mtu.current() && usize::from(size) <= MAX_DATAGRAM, "a probe of {size}");
        self.mtu.on_sent_probe(self.now, size);
        assert_eq!(self.mtu.probe_due(self.now), None);
        self.send_packet(Packet { eliciting: true, snapshot: false, probe: true, bytes: size });
    }

    fn set_cap(&mut self, cap: u32) {
        self.cap = cap;
        self.floor = self.floor.min(cap);
        self.rate.set_cap(cap);
    }

    /// A tick: whatever is ready is picked until nothing has room.
    fn schedule(&mut self, ready: u16, bytes: usize) {
        self.scheduler.new_tick();
        for _ in 0..64 {
            let Some(picked) = self.scheduler.pick(|channel| ready >> channel & 1 == 1) else {
                let blocked = |channel: usize| ready >> channel & 1 == 0 || self.scheduler.room(channel) == Some(0);
                assert!((0..self.shares.len()).all(blocked), "nothing is picked, though something may");
                return reach(Feature::Resting);
            };
            reach(Feature::Picked);
            assert!(ready >> picked & 1 == 1 && self.scheduler.room(picked) != Some(0));
            let level = |share: &Share| share.priority.min(7);
            let (room, share) = (self.scheduler.room(picked), self.shares[picked]);
            assert!(share.max_bytes == 0 || room.is_some_and(|room| room <= share.max_bytes));
            self.scheduler.charge(picked, bytes);
            bucket(u64::from(level(&share)) | (picked as u64) << 8);
        }
    }

    fn check(&self) {
        assert!(self.open.len() <= MAX_IN_FLIGHT, "{} packets are remembered", self.open.len());
        assert!(self.open.keys().next().is_none_or(|first| *first >= self.recovery.oldest()));
        let waits = self.open.values().any(|(_, packet)| packet.eliciting && !packet.probe);
        assert_eq!(self.recovery.probe_time(60_000) != Time::NEVER, waits);
        let quality = self.recovery.quality();
        assert!(quality.loss_recent <= 10_000 && quality.rtt_p50 <= quality.rtt_p99);
        let (rate, cap) = (self.rate.rate(), self.cap.max(1));
        assert!(rate <= cap && rate >= self.floor.min(cap).max(1), "{rate} is not within {} and {cap}", self.floor);
        for bytes in [1, 1200, 1452, 1 << 20] {
            let at = self.rate.next_at(self.now, bytes);
            assert!(self.rate.allows(at, bytes), "{bytes} bytes may not be sent when they may");
            if at > self.now {
                reach(Feature::Broke);
            }
        }
        let current = usize::from(self.mtu.current());
        assert!((BASE_DATAGRAM..=MAX_DATAGRAM).contains(&current));
        bucket(1 << 32 | u64::from(rate.ilog2()) << 8 | (self.open.len() as u64).min(15));
    }
}

/// Good and bad networks, bursts, silence, probes, ticks.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = |cap: u32, floor: u32, shares: &[u32]| {
        let script =
            Script::default().u8((shares.len() as u8) << 5).bytes(&cap.to_le_bytes()).bytes(&floor.to_le_bytes());
        shares.iter().fold(script.u8(50), |script, share| script.bytes(&share.to_le_bytes()))
    };
    let plain = || start(1_000_000, 16_000, &[]);
    let ack = |script: Script, back: u8, mask: u32| script.u8(3).u8(back).u8(4).bytes(&mask.to_le_bytes());
    let wait = |script: Script, millis: u16| script.u8(5 | 1 << 6).u16(millis.saturating_mul(500));
    let good = |script: Script| ack(wait(script.u8(0).u8(200).u8(0).u8(100), 30), 0, u32::MAX);
    let lossy = |script: Script| {
        ack(wait(script.u8(0).u8(200).u8(0).u8(240).u8(0).u8(9).u8(0).u8(8).u8(0).u8(7), 60), 0, 0x1111_0001)
    };
    let probe = |script: Script| ack(wait(script.u8(8), 51), 0, 1);
    let busy = |script: Script| ack(wait(script.u8(2).u8(2), 40), 0, u32::MAX);
    let mut scripts = vec![
        (0..30).fold(plain(), |script, _| good(script)),
        (0..30).fold(plain(), |script, _| busy(script)),
        (0..30).fold(plain(), |script, _| lossy(script)),
        (0..30).fold(start(1000, 10, &[]), |script, _| busy(script)).u8(6).u64(u64::MAX),
        ack(ack(plain().u8(2).u8(255), 0, 0).u8(3).u8(255).u8(0).bytes(&[0; 4]), 4, 0xff),
        wait(ack(plain().u8(2).u8(1), 1, 0), 500).u8(7),
        wait(plain().u8(0).u8(9), 900).u8(7).u8(7),
        (0..8).fold(plain(), |script, _| probe(script)),
        ack(wait(plain().u8(0).u8(1).u8(0).u8(1).u8(0).u8(1).u8(0).u8(1), 10), 0, 0)
            .u8(7)
            .u8(3)
            .u8(1)
            .u8(0)
            .bytes(&[7, 0, 0, 0]),
    ];
    // Long packets vanish, short ones arrive.
    let hole = probe(probe(probe(plain()))).u8(2).u8(1).u8(0).u8(9).u8(0).u8(9).u8(0).u8(9).u8(0).u8(9);
    scripts.push(ack(wait(hole, 30), 0, 7));
    let ticks = |script: Script| script.u8(9).u16(0xffff).u16(300);
    scripts.push(
        (0..4)
            .fold(start(1 << 20, 0, &[0x0010_0032, 0x1000_0113, 0x0640_0013, 0x0000_6423]), |script, _| ticks(script)),
    );
    scripts.push(ticks(start(1 << 20, 0, &[0x2000_0013, 0x3000_0012])).u8(0xf9).bytes(&[9, 0, 0, 0]));
    scripts.into_iter().map(|script| script.0).collect()
}

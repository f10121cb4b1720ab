//! One client of the swarm: the SDK, a player, and perhaps a bad network in between.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use client::{Client, Event, Unplayable};
use netcode::Time;
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::DisconnectReason;
use netcode::packet::ConnId;
use netcode::rng::Rng;
use netcode::stats::Traffic;
use netcode::trace::TraceEvent;

use super::light::Light;
use super::tally::Tally;
use super::witnesses::Witnesses;
use crate::behavior::Pilot;
use crate::behavior::eyes::ClientEyes;

/// The two ends inside a bot's own emulator.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1);
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 2);
/// Ticks between two samples of the view, in thousandths. No multiple of a tick comes near a whole one soon (it is the
/// golden ratio), so samples fall evenly on all moments between two snapshots, whatever the phase of the inputs.
const SAMPLE_EVERY: u64 = 1618;

/// A network emulated between a client and its real socket.
pub(super) enum Link {
    /// It loses datagrams and does nothing else to them, which takes no queue and no timer.
    Lossy(Lossy),
    /// It delays them.
    Slow(Box<Slow>),
}

/// Chances of each datagram.
pub(super) struct Lossy {
    loss: f64,
    up: Rng,
    down: Rng,
}

/// Datagrams under way.
pub(super) struct Slow {
    emulator: Emulator,
    /// What has come through and waits for the socket.
    outgoing: VecDeque<Vec<u8>>,
    longest: Duration,
}

impl Link {
    pub(super) fn new(config: LinkConfig, seed: u64) -> Self {
        if Self::is_prompt(&config) {
            let rng = Rng::new(seed);
            return Self::Lossy(Lossy { loss: config.loss, up: rng.fork("up"), down: rng.fork("down") });
        }
        let mut emulator = Emulator::new(seed);
        emulator.set_default(config);
        let longest = config.delay + config.jitter;
        Self::Slow(Box::new(Slow { emulator, outgoing: VecDeque::new(), longest }))
    }

    /// Whether what such a link does not lose comes through at once, as it is.
    pub(super) fn is_prompt(config: &LinkConfig) -> bool {
        *config == LinkConfig { loss: config.loss, ..LinkConfig::default() }
    }

    fn slow(&self) -> Option<&Slow> {
        match self {
            Self::Slow(slow) => Some(slow),
            Self::Lossy(_) => None,
        }
    }
}

/// What plays.
pub(super) enum Player {
    /// The SDK.
    Whole(Box<Client>),
    /// What only looks like it from outside.
    Light(Box<Light>),
}

/// Where goes what is measured.
pub(super) struct Measured<'a> {
    pub tally: &'a mut Tally,
    pub witnesses: &'a mut Witnesses,
}

impl Measured<'_> {
    const fn again(&mut self) -> Measured<'_> {
        Measured { tally: self.tally, witnesses: self.witnesses }
    }
}

/// One connection of a bot, from its start to its end.
pub(super) struct Bot {
    player: Player,
    pilot: Pilot,
    link: Option<Link>,
    rate: u16,
    /// Inputs recorded when the pilot last chose.
    chosen_at: u64,
    snapshots: u64,
    compact: u64,
    next_sample: Time,
    samples: u64,
    /// When it got in; taken once its part of the window is counted.
    pub connected: Option<Time>,
    /// From getting in to when what it sees is measured.
    settle: Duration,
    /// When that is.
    pub settled: Time,
    /// It got a new address, and a snapshot that comes from then on shows that the server knows it.
    pub rebound: Option<Time>,
    /// Such a snapshot came.
    pub found: bool,
    /// Why it is over.
    pub ended: Option<DisconnectReason>,
    /// Why it left by itself, if nothing can be played there.
    pub unplayable: Option<Unplayable>,
    /// It leaves because it wants to.
    pub leaving: bool,
    counted: Traffic,
}

impl Bot {
    /// What it sees is measured once it has been in for `settle`.
    pub(super) fn new(player: Player, pilot: Pilot, link: Option<Link>, settle: Duration) -> Self {
        Self {
            player,
            pilot,
            link,
            rate: 0,
            chosen_at: 0,
            snapshots: 0,
            compact: 0,
            next_sample: Time::NEVER,
            samples: 0,
            connected: None,
            settle,
            settled: Time::NEVER,
            rebound: None,
            found: false,
            ended: None,
            unplayable: None,
            leaving: false,
            counted: Traffic::default(),
        }
    }

    /// The oldest event of its trace, if it keeps one.
    pub(super) fn poll_trace(&mut self) -> Option<(Time, TraceEvent)> {
        match &mut self.player {
            Player::Whole(client) => client.poll_trace(),
            Player::Light(_) => None,
        }
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        match &self.player {
            Player::Whole(client) => client.conn(),
            Player::Light(light) => light.conn(),
        }
    }

    /// Gives back what the next connection of the same client goes on with.
    pub(super) fn into_parts(self) -> (Pilot, Option<Link>) {
        (self.pilot, self.link)
    }

    pub(super) fn rate(&self) -> u16 {
        self.rate
    }

    pub(super) fn pilot(&mut self) -> &mut Pilot {
        &mut self.pilot
    }

    /// A datagram came from the socket.
    pub(super) fn handle_datagram(&mut self, now: Time, datagram: &mut [u8], measured: Option<Measured<'_>>) {
        let measured = measured.filter(|_| now >= self.settled);
        if let Some(Link::Lossy(link)) = &mut self.link
            && link.down.chance(link.loss)
        {
            return;
        }
        match &mut self.link {
            // Whoever is gone hears nothing, so that what is under way comes to an end.
            Some(Link::Slow(_)) if self.player.is_finished() => {}
            Some(Link::Slow(link)) => link.emulator.send(now, THERE, HERE, datagram),
            Some(Link::Lossy(_)) | None => {
                self.player.handle_datagram(now, datagram);
                self.after_datagram(now, measured);
                self.drain_events(now);
            }
        }
    }

    /// Runs what is due: the emulated network, timers, this tick's input.
    pub(super) fn handle_timeout(&mut self, now: Time, measured: Option<Measured<'_>>) {
        let mut measured = measured.filter(|_| now >= self.settled);
        self.pump_link(now, measured.as_mut().map(Measured::again));
        match &mut self.player {
            Player::Whole(client) => client.handle_timeout(now),
            Player::Light(light) => light.handle_timeout(now, &mut self.pilot),
        }
        self.drain_events(now);
        let Player::Whole(client) = &mut self.player else { return };
        let inputs = client.stats().inputs;
        if inputs != self.chosen_at {
            self.chosen_at = inputs;
            let eyes = ClientEyes { client, now, ground: client.ground() };
            let intent = self.pilot.next(self.rate, &eyes);
            client.set_intent(intent);
        }
        if self.next_sample <= now {
            self.next_sample = now + Duration::from_micros(1000 * SAMPLE_EVERY / u64::from(self.rate.max(1)));
            self.samples += 1;
            if let Some(measured) = measured {
                sample(client, now, self.samples, measured);
            }
        }
    }

    /// Whether its socket is read at its turns, and in this one it wants another datagram.
    pub(super) fn reads_on(&self) -> bool {
        matches!(&self.player, Player::Light(light) if light.reads_on())
    }

    /// The next datagram for the socket.
    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        let link = match &mut self.link {
            None => return self.player.poll_transmit(now, out),
            Some(Link::Lossy(link)) => loop {
                let len = self.player.poll_transmit(now, out)?;
                if !link.up.chance(link.loss) {
                    return Some(len);
                }
            },
            Some(Link::Slow(link)) => link,
        };
        while let Some(len) = self.player.poll_transmit(now, out) {
            link.emulator.send(now, HERE, THERE, out.get(..len)?);
        }
        let datagram = link.outgoing.pop_front()?;
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    pub(super) fn poll_timeout(&self) -> Time {
        let slow = self.link.as_ref().and_then(Link::slow);
        let link = slow.and_then(|link| link.emulator.next_delivery()).unwrap_or(Time::NEVER);
        self.player.poll_timeout().min(link).min(self.next_sample)
    }

    /// Its socket has just got another address, and the server was not told.
    pub(super) fn rebind(&mut self, now: Time) {
        // What is under way in the emulated network is past that address already.
        let longest = self.link.as_ref().and_then(Link::slow).map_or(Duration::ZERO, |link| link.longest);
        self.rebound = Some(now + longest);
    }

    /// The entity that it plays, if it knows.
    pub(super) fn own(&self) -> Option<u32> {
        match &self.player {
            Player::Whole(client) => client.own().map(|own| own.raw()),
            Player::Light(_) => None,
        }
    }

    pub(super) fn leave(&mut self, now: Time) {
        self.leaving = true;
        match &mut self.player {
            Player::Whole(client) => client.close(now),
            Player::Light(light) => light.close(now),
        }
        self.drain_events(now);
    }

    /// Whether nothing is left to be sent.
    pub(super) fn is_finished(&self) -> bool {
        let under_way = |link: &Slow| link.emulator.in_flight() > 0 || !link.outgoing.is_empty();
        self.player.is_finished() && !self.link.as_ref().and_then(Link::slow).is_some_and(under_way)
    }

    /// Counts the bytes since the last call.
    pub(super) fn count_traffic(&mut self, tally: Option<&mut Tally>) {
        let traffic = match &self.player {
            Player::Whole(client) => *client.traffic(),
            Player::Light(light) => *light.traffic(),
        };
        if let Some(tally) = tally {
            tally.traffic(&self.counted, &traffic);
        }
        self.counted = traffic;
    }

    fn pump_link(&mut self, now: Time, mut measured: Option<Measured<'_>>) {
        while let Some(Link::Slow(link)) = &mut self.link
            && let Some(mut datagram) = link.emulator.poll(now)
        {
            if datagram.to == HERE {
                self.player.handle_datagram(now, &mut datagram.bytes);
                self.after_datagram(now, measured.as_mut().map(Measured::again));
            } else {
                link.outgoing.push_back(datagram.bytes);
            }
        }
    }

    fn after_datagram(&mut self, now: Time, measured: Option<Measured<'_>>) {
        let snapshots = match &self.player {
            Player::Whole(client) => client.stats().snapshots,
            Player::Light(light) => light.snapshots,
        };
        let fresh = snapshots - core::mem::replace(&mut self.snapshots, snapshots);
        if fresh > 0 && self.rebound.take_if(|from| *from <= now).is_some() {
            self.found = true;
        }
        let client = match &self.player {
            Player::Whole(client) => client,
            Player::Light(_) => {
                measured.into_iter().for_each(|measured| measured.tally.snapshots += fresh);
                return;
            }
        };
        let stats = client.stats();
        let compact = stats.compact_snapshots - core::mem::replace(&mut self.compact, stats.compact_snapshots);
        let Some(Measured { tally, witnesses }) = measured.filter(|_| fresh > 0) else { return };
        if let Some(own) = client.own_entity() {
            witnesses.note(client.view(), &own);
        }
        tally.snapshots += fresh;
        tally.compact += compact;
        tally.round_trip(client.quality(now).rtt_latest);
        if let Some(margin) = stats.margin {
            tally.margin(margin);
        }
    }

    fn drain_events(&mut self, now: Time) {
        let client = match &mut self.player {
            Player::Whole(client) => client,
            Player::Light(light) => {
                if let Some(at) = light.connected.take() {
                    (self.rate, self.connected, self.settled) = (light.rate, Some(at), at + self.settle);
                }
                self.ended = self.ended.or(light.ended);
                return;
            }
        };
        while let Some(event) = client.poll_event() {
            match event {
                Event::Connected { rate } => {
                    self.rate = rate;
                    (self.connected, self.settled) = (Some(now), now + self.settle);
                    self.next_sample = now;
                }
                Event::Unplayable(why) => self.unplayable = Some(why),
                Event::Disconnected(reason) => {
                    self.ended = Some(reason);
                    self.next_sample = Time::NEVER;
                }
                _ => {}
            }
        }
    }
}

impl Player {
    fn handle_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        match self {
            Self::Whole(client) => client.handle_datagram(now, datagram),
            Self::Light(light) => light.handle_datagram(now, datagram),
        }
    }

    fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Whole(client) => client.poll_transmit(now, out),
            Self::Light(light) => light.poll_transmit(now, out),
        }
    }

    fn poll_timeout(&self) -> Time {
        match self {
            Self::Whole(client) => client.poll_timeout().unwrap_or(Time::NEVER),
            Self::Light(light) => light.poll_timeout(),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Whole(client) => client.is_finished(),
            Self::Light(light) => light.is_finished(),
        }
    }
}

/// How old is what that client knows of each of the others, and is it still so?
fn sample(client: &Client, now: Time, number: u64, measured: Measured<'_>) {
    let Measured { tally, witnesses } = measured;
    let (Some(own), Some(server_tick)) = (client.own(), client.server_tick(now)) else { return };
    tally.samples += 1;
    if let Some(newest) = client.view().tick() {
        tally.view_age(server_tick - newest as f64);
    }
    witnesses.untold(client.view(), own.raw(), number).for_each(|ticks| tally.untold(ticks));
    for entity in client.view().entities().filter(|entity| entity.id() != own.raw()) {
        tally.entities += 1;
        tally.stale(server_tick - entity.confirmed() as f64);
    }
}

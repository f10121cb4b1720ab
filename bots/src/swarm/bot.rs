//! One client of the swarm: the SDK, a player, and perhaps a bad network in between.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use client::{Client, Event, Unplayable};
use netcode::Time;
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::DisconnectReason;
use netcode::packet::ConnId;
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
pub(super) struct Link {
    emulator: Emulator,
    /// What has come through and waits for the socket.
    outgoing: VecDeque<Vec<u8>>,
}

impl Link {
    pub(super) fn new(config: LinkConfig, seed: u64) -> Self {
        let mut emulator = Emulator::new(seed);
        emulator.set_default(config);
        Self { emulator, outgoing: VecDeque::new() }
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
    /// When it got in.
    pub connected: Option<Time>,
    /// Why it is over.
    pub ended: Option<DisconnectReason>,
    /// Why it left by itself, if nothing can be played there.
    pub unplayable: Option<Unplayable>,
    /// It leaves because it wants to.
    pub leaving: bool,
    counted: Traffic,
}

impl Bot {
    pub(super) fn new(player: Player, pilot: Pilot, link: Option<Link>) -> Self {
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
        match &mut self.link {
            // Whoever is gone hears nothing, so that what is under way comes to an end.
            Some(_) if self.player.is_finished() => {}
            Some(link) => link.emulator.send(now, THERE, HERE, datagram),
            None => {
                self.player.handle_datagram(now, datagram);
                self.after_datagram(now, measured);
                self.drain_events(now);
            }
        }
    }

    /// Runs what is due: the emulated network, timers, this tick's input.
    pub(super) fn handle_timeout(&mut self, now: Time, mut measured: Option<Measured<'_>>) {
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
        let Some(link) = &mut self.link else { return self.player.poll_transmit(now, out) };
        while let Some(len) = self.player.poll_transmit(now, out) {
            link.emulator.send(now, HERE, THERE, out.get(..len)?);
        }
        let datagram = link.outgoing.pop_front()?;
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    pub(super) fn poll_timeout(&self) -> Time {
        let link = self.link.as_ref().and_then(|link| link.emulator.next_delivery()).unwrap_or(Time::NEVER);
        self.player.poll_timeout().min(link).min(self.next_sample)
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
        let under_way = |link: &Link| link.emulator.in_flight() > 0 || !link.outgoing.is_empty();
        self.player.is_finished() && !self.link.as_ref().is_some_and(under_way)
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
        while let Some(mut datagram) = self.link.as_mut().and_then(|link| link.emulator.poll(now)) {
            if datagram.to == HERE {
                self.player.handle_datagram(now, &mut datagram.bytes);
                self.after_datagram(now, measured.as_mut().map(Measured::again));
            } else if let Some(link) = &mut self.link {
                link.outgoing.push_back(datagram.bytes);
            }
        }
    }

    fn after_datagram(&mut self, now: Time, measured: Option<Measured<'_>>) {
        let client = match &self.player {
            Player::Whole(client) => client,
            Player::Light(light) => {
                let fresh = light.snapshots - core::mem::replace(&mut self.snapshots, light.snapshots);
                measured.into_iter().for_each(|measured| measured.tally.snapshots += fresh);
                return;
            }
        };
        let stats = client.stats();
        let fresh = stats.snapshots - self.snapshots;
        let compact = stats.compact_snapshots - core::mem::replace(&mut self.compact, stats.compact_snapshots);
        self.snapshots = stats.snapshots;
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
                    (self.rate, self.connected) = (light.rate, Some(at));
                }
                self.ended = self.ended.or(light.ended);
                return;
            }
        };
        while let Some(event) = client.poll_event() {
            match event {
                Event::Connected { rate } => {
                    self.rate = rate;
                    self.connected = Some(now);
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

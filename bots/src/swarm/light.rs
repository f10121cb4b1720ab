//! A client that costs little: it opens what comes, acknowledges it and sends as many inputs as a whole one, but neither
//! decodes a snapshot nor predicts, nor does it measure the server's clock, which would cost more than all the rest. To
//! the server it is a player like any other; it sees nothing, so it says nothing about how it is served.
//!
//! It is like a game that looks at its socket once in a turn of its loop: where nothing is emulated in between, what has
//! come is read together with the next input, which answers it. Thousands of them do not fit into a processor's cache, so
//! what is dear is to come to one of them, and this comes to each once a tick.
//!
//! Its inputs are a fixed time ahead of the newest tick that it heard of, once per tick and with the one before: what a
//! whole client comes to on a good path. (On one that loses datagrams a whole client sends up to three packets a tick.)
//!
//! Its turn may also come once in several ticks, for servers with more cores than are left for who plays on them: then it
//! reads those ticks' snapshots at once, and one packet acknowledges them and has the inputs of as many ticks, and the one
//! before, which are that much farther ahead. The server then gets fewer datagrams, and hears later what has come.

use core::time::Duration;

use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{INPUT, SESSION, SNAPSHOT};
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent, ClientState};
use netcode::crypto::Ephemeral;
use netcode::error::{CloseReason, ConnectError, DisconnectReason};
use netcode::features::Features;
use netcode::input::{MAX_INPUTS, max_input_bits, write_inputs};
use netcode::message::{MAX_MESSAGE_BYTES, Message};
use netcode::packet::ConnId;
use netcode::rng::Rng;
use netcode::schema::State;
use netcode::stats::Traffic;
use netcode::token::ConnectBundle;
use sim::input::{FIRE, Input, RELOAD};
use sim::schema::SCHEMA;

use crate::behavior::eyes::Blind;
use crate::behavior::{Behavior, Pilot};

/// How far the newest input is ahead of the tick that the server is in, beside the ticks until the next turn.
const AHEAD_TICKS: u64 = 1;
/// An input whose tick is farther than this from where it should be jumps there.
const MAX_DRIFT: u64 = 1;
/// The most ticks from a turn to the next: a server that hears nothing for longer doubts the path.
pub(super) const MAX_EVERY: u16 = 4;
/// Inputs of a packet at the most: those of a turn, and the one before.
const INPUTS: usize = MAX_EVERY as usize + 1;
const INPUT_BYTES: usize = input_bytes(INPUTS);
const _: () = assert!(INPUTS <= MAX_INPUTS);
/// One that fights cannot see whether it has a shot: it pulls the trigger in every so many ticks, ...
const FIRE_EVERY: u64 = 4;
/// ... having seen the others so long ago, in 1/32 ticks, ...
const VIEW: u16 = 3 * 32;
/// ... and reloads in every so many.
const RELOAD_EVERY: u64 = 101;
/// In every so many turns its socket is read until nothing is left, and not just until a snapshot has come for each tick;
/// and it sends until nothing is left, and not just until it has sent a packet of no more bytes than one with inputs and
/// acknowledgements has.
const DRAIN_EVERY: u64 = 4;
/// That many, where a packet has the inputs of a tick, and the one before.
const SMALL_PACKET: usize = 100;
/// How often one whose socket is read at its turns looks at it before it plays.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One attempt to connect, then one connection.
pub(super) struct Light {
    endpoint: ClientEndpoint,
    fights: bool,
    rng: Rng,
    /// The newest tick heard of, and when.
    heard: Option<(u64, Time)>,
    /// When the next input is due.
    next: Time,
    /// Its socket is read when it is due.
    by_turns: bool,
    /// When its socket is next looked at before it plays.
    look: Time,
    /// Snapshots that have come since the last turn.
    fresh: u64,
    /// This turn's snapshots have come, and nothing else is expected.
    sated: bool,
    /// It may have something to send. Whatever comes is answered together with the next input: that is soon enough for
    /// acknowledgements, and asking costs.
    may_send: bool,
    period: Duration,
    /// Ticks from a turn to the next.
    every: u64,
    /// The newest first.
    inputs: [State; INPUTS],
    tick: u64,
    parts: Parts,
    pub rate: u16,
    pub snapshots: u64,
    /// When it got in.
    pub connected: Option<Time>,
    /// Why it is over.
    pub ended: Option<DisconnectReason>,
}

impl Light {
    /// Starts an attempt. `rng` decides when within the ticks of a turn its inputs go; `by_turns`: its socket is read when
    /// it is due, and at no other time; `every`: ticks from a turn to the next, 1 to [`MAX_EVERY`].
    #[expect(clippy::too_many_arguments, reason = "what all clients have in common, and what this one is")]
    pub(super) fn connect(
        bundle: &ConnectBundle,
        ephemeral: Ephemeral,
        patience: Duration,
        behavior: Behavior,
        rng: Rng,
        by_turns: bool,
        every: u16,
        now: Time,
    ) -> Result<Self, ConnectError> {
        let features = Features(Features::ALL.0 & !Features::CLOCK.0);
        let config = ClientConfig { handshake_timeout: patience, features, ..ClientConfig::new(SCHEMA.hash()) };
        Ok(Self {
            endpoint: ClientEndpoint::connect(config, bundle, ephemeral, now)?,
            fights: behavior == Behavior::Fight,
            rng,
            heard: None,
            next: Time::NEVER,
            by_turns,
            look: now + LOOK_EVERY,
            fresh: 0,
            sated: false,
            may_send: true,
            period: Duration::ZERO,
            every: every.clamp(1, MAX_EVERY).into(),
            inputs: [State::default(); INPUTS],
            tick: 0,
            parts: Parts::default(),
            rate: 0,
            snapshots: 0,
            connected: None,
            ended: None,
        })
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        self.endpoint.accepted().map(|accepted| accepted.conn)
    }

    pub(super) fn handle_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        self.endpoint.handle_datagram(now, datagram);
        self.pump(now);
    }

    /// Timers; and the input, if it is due, as `pilot` wants it.
    pub(super) fn handle_timeout(&mut self, now: Time, pilot: &mut Pilot) {
        self.endpoint.handle_timeout(now);
        self.pump(now);
        (self.fresh, self.sated) = (0, false);
        self.look = now + LOOK_EVERY;
        if self.next <= now {
            self.send_inputs(now, pilot);
            // From when it was due, so that it stays where it is within a tick; not all that was missed at once.
            self.next = (self.next + self.turn()).max(now);
            self.may_send = true;
        }
    }

    /// While it plays, its endpoint's timers are looked at with each input, and no more often.
    pub(super) fn poll_timeout(&self) -> Time {
        if self.plays() {
            return self.next;
        }
        let look = if self.by_turns && self.ended.is_none() { self.look } else { Time::NEVER };
        self.endpoint.poll_timeout().unwrap_or(Time::NEVER).min(look)
    }

    /// The time from a turn to the next.
    fn turn(&self) -> Duration {
        self.period * self.every as u32
    }

    /// Whether its socket is read at its turns, and in this one it wants another datagram. A snapshot comes with each tick,
    /// and hardly ever anything else: to ask for that every time would cost a third as much as to read the one that came.
    pub(super) const fn reads_on(&self) -> bool {
        self.by_turns && !self.sated
    }

    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        if self.plays() && !self.may_send {
            return None;
        }
        let sent = self.endpoint.poll_transmit(now, out);
        // A small packet had all in it that there was.
        self.may_send = sent.is_some_and(|len| !self.plays() || len > self.small_packet() || self.drains());
        sent
    }

    const fn small_packet(&self) -> usize {
        SMALL_PACKET - input_bytes(2) + input_bytes(self.every as usize + 1)
    }

    /// Whether nothing is taken as read in this turn.
    const fn drains(&self) -> bool {
        (self.tick / self.every).is_multiple_of(DRAIN_EVERY)
    }

    const fn plays(&self) -> bool {
        self.heard.is_some() && self.ended.is_none()
    }

    pub(super) fn close(&mut self, now: Time) {
        self.endpoint.close(now, CloseReason::Requested);
        self.pump(now);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.endpoint.state() == ClientState::Closed && self.endpoint.poll_timeout().is_none()
    }

    pub(super) const fn traffic(&self) -> &Traffic {
        self.endpoint.traffic()
    }

    fn pump(&mut self, now: Time) {
        let mut answer = None;
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ClientEvent::Connected(accepted) => {
                    self.rate = accepted.rate.max(1);
                    self.period = Duration::from_secs(1) / u32::from(self.rate);
                    self.connected = Some(now);
                }
                ClientEvent::Message { channel: SNAPSHOT, tick: Some(tick), .. } => {
                    self.snapshots += 1;
                    if self.heard.is_none() {
                        // Each at another time within a tick, and in another tick.
                        let micros = self.rng.below(self.turn().as_micros() as u64 + 1);
                        self.next = now + Duration::from_micros(micros);
                    }
                    if self.heard.is_none_or(|(newest, _)| tick > newest) {
                        self.heard = Some((tick, now));
                    }
                    self.fresh += 1;
                    // Who comes a tick late finds more.
                    let late = now >= self.next + self.period;
                    self.sated = self.fresh >= self.every && !late && !self.drains();
                }
                ClientEvent::Message { channel: SESSION, bytes, .. } => {
                    if let Ok(Message::Tables { version, part, last, .. }) = Message::decode(bytes)
                        && self.parts.add(version, part, last)
                    {
                        answer = Some(version);
                    }
                }
                ClientEvent::Disconnected(reason) => {
                    self.ended = Some(reason);
                    self.next = Time::NEVER;
                }
                ClientEvent::Message { .. } | ClientEvent::Block { .. } => {}
            }
        }
        if let Some(version) = answer {
            let mut bytes = [0; MAX_MESSAGE_BYTES];
            let len = Message::TablesReady { version }.encode(&mut bytes);
            // A full queue would mean that the server reads nothing: then it need not know.
            let _ = self.endpoint.send(now, SESSION, bytes.get(..len).unwrap_or_default());
        }
    }

    /// The inputs of the ticks until the next turn.
    fn send_inputs(&mut self, now: Time, pilot: &mut Pilot) {
        let Some((heard, at)) = self.heard else { return };
        let since = now.saturating_since(at).as_micros() / self.period.as_micros().max(1);
        let wanted = heard.saturating_add(since as u64).saturating_add(AHEAD_TICKS + self.every);
        let next = self.tick.saturating_add(self.every);
        let jumps = next.abs_diff(wanted) > MAX_DRIFT;
        self.tick = if jumps { wanted } else { next };
        for before in (0..self.every).rev() {
            let input = self.input(self.tick.saturating_sub(before), pilot);
            self.inputs.rotate_right(1);
            if let Some(newest) = self.inputs.first_mut() {
                *newest = input.to_state();
            }
        }
        let mut message = [0; INPUT_BYTES];
        let mut w = BitWriter::new(&mut message);
        // After a jump the one before is of another tick.
        let count = self.every as usize + usize::from(!jumps);
        write_inputs(&mut w, &SCHEMA, self.inputs.get(..count).unwrap_or_default());
        let len = w.finish();
        self.endpoint.set_tick(self.tick);
        // On this channel a newer message replaces one that still waits.
        let _ = self.endpoint.send(now, INPUT, message.get(..len).unwrap_or_default());
    }

    /// The input of that tick, as `pilot` wants it.
    fn input(&self, tick: u64, pilot: &mut Pilot) -> Input {
        let mut input = pilot.next(self.rate, &Blind);
        if self.fights && tick.is_multiple_of(FIRE_EVERY) {
            input = Input { buttons: input.buttons | FIRE, view: VIEW, ..input };
        } else if self.fights && tick.is_multiple_of(RELOAD_EVERY) {
            input.buttons |= RELOAD;
        }
        input
    }
}

/// What a message of so many inputs takes at the most.
const fn input_bytes(inputs: usize) -> usize {
    max_input_bits(&SCHEMA, inputs).div_ceil(8)
}

/// Which parts of the compact codec's tables have come.
#[derive(Default)]
struct Parts {
    version: u8,
    seen: [u64; 4],
}

impl Parts {
    /// Notes a part; whether they are all there now.
    fn add(&mut self, version: u8, part: u8, last: u8) -> bool {
        if self.version != version {
            *self = Self { version, seen: [0; 4] };
        }
        if let Some(word) = self.seen.get_mut(usize::from(part / 64)) {
            *word |= 1 << (part % 64);
        }
        self.seen.iter().map(|word| word.count_ones()).sum::<u32>() == u32::from(last) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_ready_when_every_part_has_come_in_whatever_order() {
        let mut parts = Parts::default();
        assert!(!parts.add(1, 2, 2) && !parts.add(1, 0, 2) && !parts.add(1, 0, 2) && parts.add(1, 1, 2));
        assert!(!parts.add(2, 0, 1) && parts.add(2, 1, 1));
        let mut many = Parts::default();
        assert_eq!((0..=255).filter(|part| many.add(3, *part, 255)).count(), 1);
    }
}

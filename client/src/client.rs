//! The client: an endpoint, what its messages mean, and one input per tick.

use core::time::Duration;

use netcode::Time;
use netcode::channel::{INPUT, SESSION};
use netcode::client::{ClientEndpoint, ClientEvent, ClientState};
use netcode::crypto::Ephemeral;
use netcode::error::{CloseReason, ConnectError};
use netcode::message::{MAX_MESSAGE_BYTES, Message};
use netcode::packet::ConnId;
use netcode::schema::State;
use netcode::snapshot::{Entity, View};
use netcode::stats::{Drops, Quality, Traffic};
use netcode::token::ConnectBundle;
use netcode::trace::TraceEvent;
use sim::game::Ground;
use sim::schema::{PROJECTILE, weapon};
use sim::{EntityId, Input};

use crate::body::{Seen, shown, steps_of_a_call};
use crate::config::Config;
use crate::event::Event;
use crate::inputs::{Inputs, MAX_BYTES};
use crate::interpolation::{self, Pose};
use crate::prediction::Prediction;
use crate::session::{Closing, Session};
use crate::stats::Stats;

/// Sees each message that arrives, before the client acts on it: channel, tick, bytes. For recorders and checkers.
pub type Tap<'a> = &'a mut dyn FnMut(u8, Option<u64>, &[u8]);

/// A projectile to be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projectile {
    /// Its entity, if the server has shown it.
    pub id: Option<u32>,
    /// For one of the player's own that was predicted: the tick of its input, and its number among those of that tick.
    pub launched: Option<(u64, u8)>,
    /// The number of the weapon that launched it.
    pub weapon: u8,
    /// Where to show it; the feet are its middle.
    pub pose: Pose,
}

/// What goes into the inputs.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// What the player wants, and what it had on its screen when it said so.
    Intent(Input, Option<Seen>),
    /// Exactly this.
    Raw(Input),
}

/// One attempt to connect, then one connection. See the crate's documentation for the loop around it.
pub struct Client {
    config: Config,
    endpoint: ClientEndpoint,
    session: Session,
    wanted: Wanted,
    /// The latest time that a call was given.
    now: Time,
    /// When the HELLO was first sent, until it has given a first bound of the round trip.
    hello_at: Option<Time>,
    /// An upper bound of the smallest round trip, in microseconds.
    rtt_min: Option<u64>,
}

impl Client {
    /// Starts an attempt with a bundle from the control plane. The caller sends what
    /// [`poll_transmit`](Self::poll_transmit) gives to one of the bundle's servers, and hands in what comes from there.
    ///
    /// # Errors
    /// [`ConnectError`], when no attempt can be started from this.
    pub fn connect(
        config: Config,
        bundle: &ConnectBundle,
        ephemeral: Ephemeral,
        now: Time,
    ) -> Result<Self, ConnectError> {
        let endpoint = ClientEndpoint::connect(config.endpoint(), bundle, ephemeral, now)?;
        let session = Session::new();
        let wanted = Wanted::Intent(Input::default(), None);
        Ok(Self { config, endpoint, session, wanted, now, hello_at: None, rtt_min: None })
    }

    /// Takes a datagram from the server's address. It is decrypted in place; junk is counted and dropped.
    pub fn handle_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        self.handle_datagram_tapped(now, datagram, &mut |_, _, _| {});
    }

    /// [`handle_datagram`](Self::handle_datagram), showing each message to `tap`.
    pub fn handle_datagram_tapped(&mut self, now: Time, datagram: &mut [u8], tap: Tap<'_>) {
        self.now = self.now.max(now);
        self.endpoint.handle_datagram(now, datagram);
        self.note_rtt(now);
        self.pump(now, tap);
    }

    /// What the player wants from now on: recorded once per tick until it is set anew. The same as
    /// [`set_intent_at`](Self::set_intent_at) with the latest time that this client was told.
    pub fn set_intent(&mut self, intent: Input) {
        self.set_intent_at(self.now, intent);
    }

    /// What the player wants from now on, having seen the world as [`interpolate`](Self::interpolate) and
    /// [`own_pose`](Self::own_pose) showed it at `now`: recorded once per tick until it is set anew.
    ///
    /// `FIRE` means that the trigger is held: it goes into those ticks only in which the weapon fires, and not before the
    /// server is known to have heard of this player, since it believes nobody to have seen what it does not know to have
    /// arrived. `view` and `instant` are the SDK's, whatever they are here.
    pub fn set_intent_at(&mut self, now: Time, intent: Input) {
        let Session { clock, body, horizon, stats, .. } = &self.session;
        // Nobody is shown farther ahead of what is known.
        let limit = stats.newest.map(|newest| newest as f64 + horizon.silent);
        let others = clock.render_tick(now).zip(limit).map(|(tick, limit)| tick.min(limit));
        let seen = Seen { others, head: body.prediction().head(), share: clock.share(now) };
        self.wanted = Wanted::Intent(intent.clamped(), Some(seen));
    }

    /// Puts exactly this into the inputs of all ticks until something else is set: for tests of servers. What it does
    /// is predicted like anything else.
    pub fn set_raw_input(&mut self, input: Input) {
        self.wanted = Wanted::Raw(input.clamped());
    }

    /// Sends these inputs with the next packet, the oldest first, the last one for tick `newest`: for tests of servers. The
    /// client itself knows nothing of them, and an input of its own that waits is not sent.
    pub fn forge_inputs(&mut self, now: Time, newest: u64, inputs: &[Input]) {
        let mut forged = Inputs::default();
        for (input, back) in inputs.iter().zip((0..inputs.len() as u64).rev()) {
            forged.record(newest.saturating_sub(back), *input);
        }
        let mut message = [0; MAX_BYTES];
        let message = forged.write(&mut message);
        if self.endpoint.state() == ClientState::Connected && !message.is_empty() {
            self.endpoint.set_tick(newest);
            let _ = self.endpoint.send(now, INPUT, message);
        }
    }

    /// Runs what is due at `now`: timers, and the inputs of the ticks that have come. Calling it early is harmless.
    ///
    /// A call does a bounded amount of work: it makes up at most an eighth of a second of ticks, and replays at most 64
    /// ticks, or half a second of them if that is less; what is left of a replay waits for the next call.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.endpoint.handle_timeout(now);
        self.pump(now, &mut |_, _, _| {});
        if self.endpoint.state() == ClientState::Connected {
            let mut steps = steps_of_a_call(self.session.rate);
            self.session.predict(now, &mut steps);
            self.send_inputs(now);
            self.session.predict(now, &mut steps);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due: for the endpoint, or for the next input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let endpoint = self.endpoint.poll_timeout().unwrap_or(Time::NEVER);
        let input = match self.endpoint.state() {
            ClientState::Connected => self.session.clock.next_due(),
            ClientState::Connecting | ClientState::Closed => Time::NEVER,
        };
        let due = endpoint.min(input);
        (due != Time::NEVER).then_some(due)
    }

    /// Writes the next datagram into `out` (at least `MAX_DATAGRAM` bytes) and returns its length; call until `None`.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        let len = self.endpoint.poll_transmit(now, out)?;
        if self.endpoint.state() == ClientState::Connecting {
            self.hello_at.get_or_insert(now);
        }
        Some(len)
    }

    /// The next event; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.session.events.pop_front()
    }

    /// Leaves: the server is told by the packets that follow, for about 100 ms.
    pub fn close(&mut self, now: Time) {
        self.endpoint.close(now, CloseReason::Requested);
        self.pump(now, &mut |_, _, _| {});
    }

    /// From now on keeps what happens on the connection for [`poll_trace`](Self::poll_trace).
    pub fn enable_trace(&mut self) {
        self.endpoint.enable_trace();
    }

    /// The oldest event of the trace; whoever enabled it should take them at least once a second.
    pub fn poll_trace(&mut self) -> Option<(Time, TraceEvent)> {
        self.endpoint.poll_trace()
    }

    /// The connection's id at the server, once it accepted.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        self.endpoint.accepted().map(|accepted| accepted.conn)
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> ClientState {
        self.endpoint.state()
    }

    /// Whether the connection is over and its last packet is sent: the client can be dropped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.endpoint.state() == ClientState::Closed && self.endpoint.poll_timeout().is_none()
    }

    /// Everything this client was told about the world: states as of the newest snapshot.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.session.view
    }

    /// The entity that the player controls, once welcomed.
    #[must_use]
    pub fn own(&self) -> Option<EntityId> {
        self.session.own
    }

    /// The player's own entity as the server last told it, with the fields that only its owner gets, and without anything that
    /// the inputs since then did.
    #[must_use]
    pub fn own_entity(&self) -> Option<Entity<'_>> {
        self.session.view.entity(self.session.own?.raw())
    }

    /// Where the server's tick counter is by now (snapshot arrivals plus half the smallest round trip), with the
    /// fraction of the running tick; `None` before the first snapshot.
    #[must_use]
    pub fn server_tick(&self, now: Time) -> Option<f64> {
        self.session.clock.server_tick(now)
    }

    /// The tick, with fraction, that [`interpolate`](Self::interpolate) shows: 2 ticks and the measured jitter behind
    /// what arrives.
    #[must_use]
    pub fn render_tick(&self, now: Time) -> Option<f64> {
        self.session.clock.render_tick(now)
    }

    /// Where to show the player's own body now: between its two newest predicted states, and what is left of a correction
    /// away from there. `None` before the server has shown it.
    #[must_use]
    pub fn own_pose(&self, now: Time) -> Option<Pose> {
        self.session.body.pose(now, self.session.clock.share(now))
    }

    /// The newest tick that is predicted, and the player's state after it.
    #[must_use]
    pub fn predicted(&self) -> Option<(u64, State)> {
        let prediction = self.session.body.prediction();
        let head = prediction.head()?;
        Some((head, prediction.after(head)?))
    }

    /// What is predicted: the ring of inputs and states.
    #[must_use]
    pub fn prediction(&self) -> &Prediction {
        self.session.body.prediction()
    }

    /// All projectiles in sight, each once: the player's own as predicted, from the shot on; the others' as the server
    /// shows them.
    pub fn projectiles(&self, now: Time) -> impl Iterator<Item = Projectile> {
        let Session { body, view, clock, .. } = &self.session;
        let share = clock.share(now);
        let own = body.projectiles().iter().filter(|one| one.flies).map(move |one| Projectile {
            id: one.entity,
            launched: Some((one.launched, one.ordinal)),
            weapon: weapon(&one.states[1]),
            pose: shown(&one.states, share),
        });
        let others = view.entities().filter(|entity| entity.kind() == PROJECTILE);
        let others = others.filter(|entity| self.session.body.projectiles().of(entity.id()).is_none());
        own.chain(others.filter_map(move |entity| {
            let (id, weapon) = (Some(entity.id()), weapon(&entity.state()));
            let pose = self.interpolate(now, entity.id())?;
            Some(Projectile { id, launched: None, weapon, pose })
        }))
    }

    /// The ground that the player stands on, once welcomed: map, laws of motion, rulebook.
    #[must_use]
    pub fn ground(&self) -> Option<&Ground> {
        self.session.body.ground()
    }

    /// Where to show an entity now: where it was at the render tick, between its two courses where it is not known how it got
    /// from one to the other, or where its newest course leads when no more is known. `None` when it is not in view.
    ///
    /// It is not for the player's own body and projectiles: see [`own_pose`](Self::own_pose) and
    /// [`projectiles`](Self::projectiles).
    #[must_use]
    pub fn interpolate(&self, now: Time, id: u32) -> Option<Pose> {
        interpolation::pose(&self.session.view.entity(id)?, self.render_tick(now)?, &self.session.horizon)
    }

    /// Counters and measurements.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Session { clock, body, .. } = &self.session;
        let (counts, (predicted, replayed)) = (body.counts(), body.prediction().steps());
        Stats {
            resyncs: clock.resyncs(),
            left_out: clock.left_out(),
            corrections: counts.corrections,
            correction_m: counts.largest_m,
            adoptions: counts.adoptions,
            cuts: counts.cuts,
            restarts: counts.restarts,
            predicted,
            replayed,
            pending: body.prediction().pending(),
            rtt_min: Duration::from_micros(self.rtt_min.unwrap_or(0)),
            jitter: Duration::from_micros(clock.jitter() as u64),
            render_delay: Duration::from_micros(clock.render_delay() as u64),
            ..self.session.stats
        }
    }

    /// The server's clock by now, in its own time, as packets tell it: never jumps, never goes back. `None` before the first
    /// answer. For what must happen at one moment at many clients; the game's own times are in ticks
    /// ([`server_tick`](Self::server_tick)).
    #[must_use]
    pub fn server_time(&self, now: Time) -> Option<Time> {
        self.endpoint.server_time(now)
    }

    /// How often the keys were rolled: of what is sent, of what is received.
    #[must_use]
    pub fn key_generations(&self) -> (u64, u64) {
        self.endpoint.key_generations()
    }

    /// Round-trip time, jitter, loss, rates, the path's longest datagram, queues; zeroes before the connection stands.
    #[must_use]
    pub fn quality(&self, now: Time) -> Quality {
        self.endpoint.quality(now)
    }

    /// Packets and bytes so far.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        self.endpoint.traffic()
    }

    /// Datagrams dropped so far, by cause.
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        self.endpoint.drops()
    }

    /// The ACCEPT answers some HELLO at once, so from the first HELLO to it is a bound of the round trip that holds no
    /// wait for a tick. Packets refine it.
    fn note_rtt(&mut self, now: Time) {
        if self.endpoint.state() != ClientState::Connected {
            return;
        }
        let handshake = self.hello_at.take().map(|sent| now.saturating_since(sent).as_micros() as u64);
        let quality = self.endpoint.quality(now);
        let packets = Some(quality.rtt_min).filter(|rtt| *rtt > 0);
        let bounds = [self.rtt_min, handshake, packets];
        self.rtt_min = bounds.into_iter().flatten().min();
        if let Some(rtt_min) = self.rtt_min {
            self.session.clock.set_rtt_min(rtt_min);
        }
        self.session.clock.on_settled(quality.acked, quality.lost.saturating_sub(quality.spurious));
    }

    /// Acts on what the endpoint has to tell.
    fn pump(&mut self, now: Time, tap: Tap<'_>) {
        let ack = self.endpoint.take_ack_timing();
        while let Some(event) = self.endpoint.poll_event() {
            let result = match event {
                ClientEvent::Connected(accepted) => self.session.on_accepted(&accepted, &self.config),
                ClientEvent::Message { channel, tick, bytes } => {
                    tap(channel, tick, bytes);
                    self.session.on_message(now, channel, tick, bytes, ack, &self.config)
                }
                // The channel table has none.
                ClientEvent::Block { .. } => Err(Closing::Misbehaved),
                ClientEvent::Disconnected(reason) => {
                    self.session.events.push_back(Event::Disconnected(reason));
                    Ok(())
                }
            };
            match result {
                Ok(()) => {}
                Err(Closing::Misbehaved) => self.endpoint.close(now, CloseReason::ProtocolError),
                Err(Closing::Unplayable) => self.endpoint.close(now, CloseReason::Requested),
            }
            if let Some(version) = self.session.tables_ready.take() {
                let mut bytes = [0; MAX_MESSAGE_BYTES];
                let len = Message::TablesReady { version }.encode(&mut bytes);
                // A full queue would mean that the server reads nothing: then it need not know.
                let _ = self.endpoint.send(now, SESSION, bytes.get(..len).unwrap_or_default());
            }
        }
    }

    fn send_inputs(&mut self, now: Time) {
        let mut newest = None;
        while let Some(tick) = self.session.clock.take(now) {
            let Session { inputs, body, stats, rate, .. } = &mut self.session;
            let input = match &self.wanted {
                Wanted::Intent(intent, seen) => body.gate(tick, intent, seen.filter(|_| inputs.any_received())),
                Wanted::Raw(input) => *input,
            };
            inputs.record(tick, input);
            body.record(tick, input, *rate);
            stats.inputs += 1;
            // Before the next one, whose shot depends on it.
            self.session.predict(now, &mut 1);
            newest = Some(tick);
        }
        let again = self.session.clock.take_again(now);
        let Some(tick) = newest.or(self.session.inputs.newest().filter(|_| again)) else { return };
        let mut message = [0; MAX_BYTES];
        let message = self.session.inputs.write(&mut message);
        self.endpoint.set_tick(tick);
        // On this channel a newer message replaces one that still waits, and the connection is open: it is taken.
        let _ = self.endpoint.send(now, INPUT, message);
    }
}

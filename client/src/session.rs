//! What the messages of an established connection mean to a client.

use std::collections::VecDeque;

use netcode::Time;
use netcode::channel::{SESSION, SNAPSHOT};
use netcode::handshake::Accepted;
use netcode::message::Message;
use netcode::snapshot::{self, Limits, MAX_AGE, View};
use sim::EntityId;
use sim::schema::SCHEMA;

use crate::clock::Clock;
use crate::config::Config;
use crate::event::Event;
use crate::inputs::Inputs;
use crate::stats::Stats;

/// The rate of the empty view before the server named its own.
const ANY_RATE: u16 = 20;

/// The server sent authentic packets that break the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misbehaved;

/// Everything above the packets.
pub(crate) struct Session {
    pub view: View,
    pub clock: Clock,
    pub inputs: Inputs,
    pub own: Option<EntityId>,
    pub events: VecDeque<Event>,
    pub stats: Stats,
    /// For how many ticks an entity of which nothing is known any more moves on.
    pub extrapolate: f64,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            view: View::new(&SCHEMA, ANY_RATE, Limits::default()),
            clock: Clock::new(ANY_RATE),
            inputs: Inputs::default(),
            own: None,
            events: VecDeque::new(),
            stats: Stats::default(),
            extrapolate: 0.0,
        }
    }

    pub(crate) fn on_accepted(&mut self, accepted: &Accepted, config: &Config) -> Result<(), Misbehaved> {
        let rate = accepted.rate;
        if rate == 0 {
            self.stats.bad_messages += 1;
            return Err(Misbehaved);
        }
        let ticks = config.keep.as_micros() * u128::from(rate) / 1_000_000;
        let keep_ticks = u8::try_from(ticks).unwrap_or(MAX_AGE).min(MAX_AGE);
        self.view = View::new(&SCHEMA, rate, Limits { max_entities: config.max_entities, keep_ticks });
        self.clock = Clock::new(rate);
        self.extrapolate = config.extrapolate.as_secs_f64() * f64::from(rate);
        self.events.push_back(Event::Connected { rate });
        Ok(())
    }

    pub(crate) fn on_message(
        &mut self,
        now: Time,
        channel: u8,
        tick: Option<u64>,
        bytes: &[u8],
    ) -> Result<(), Misbehaved> {
        match channel {
            SNAPSHOT => self.on_snapshot(now, tick, bytes),
            SESSION => self.on_session(bytes),
            // The channel table has only one more, and it leads to the server.
            _ => {
                self.stats.bad_messages += 1;
                Err(Misbehaved)
            }
        }
    }

    fn on_snapshot(&mut self, now: Time, tick: Option<u64>, body: &[u8]) -> Result<(), Misbehaved> {
        let Some(tick) = tick else {
            self.stats.bad_messages += 1;
            return Err(Misbehaved);
        };
        if self.view.apply(tick, body).is_err() {
            self.stats.decode_errors += 1;
            return Err(Misbehaved);
        }
        self.events.extend(self.view.drain_events().map(|event| match event {
            snapshot::Event::Spawned { id, kind } => Event::Spawned { id, kind },
            snapshot::Event::Despawned { id } => Event::Despawned { id },
        }));
        let margin = self.view.margin();
        if let Some(margin) = margin {
            self.inputs.on_margin(tick, margin);
        }
        self.clock.on_snapshot(now, tick, margin);
        self.stats.snapshots += 1;
        self.stats.newest = Some(tick);
        self.stats.margin = margin;
        Ok(())
    }

    fn on_session(&mut self, bytes: &[u8]) -> Result<(), Misbehaved> {
        match Message::decode(bytes) {
            Ok(Message::Welcome { entity, zone, map_seed, aoi_radius_m }) => {
                if let Some(entity) = EntityId::from_raw(entity) {
                    self.own = Some(entity);
                    self.events.push_back(Event::Welcome { entity, zone, map_seed, aoi_radius_m });
                    return Ok(());
                }
            }
            Ok(Message::Notice { text }) => {
                self.events.push_back(Event::Notice(text.into()));
                return Ok(());
            }
            Err(_) => {}
        }
        self.stats.bad_messages += 1;
        Err(Misbehaved)
    }
}

//! What the messages of an established connection mean to a client.

use std::collections::VecDeque;

use netcode::Time;
use netcode::channel::{SESSION, SNAPSHOT};
use netcode::features::Features;
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
use crate::tables::{Parts, Refused};

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
    tables: Parts,
    /// The version of tables that the server is to be told are here.
    pub tables_ready: Option<u8>,
    /// Whether the server may push any.
    compact: bool,
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
            tables: Parts::default(),
            tables_ready: None,
            compact: false,
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
        self.compact = accepted.features.contains(Features::COMPACT);
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
        // The first bit of a body says the codec.
        self.stats.compact_snapshots += u64::from(body.first().is_some_and(|first| first & 1 != 0));
        self.stats.newest = Some(tick);
        self.stats.margin = margin;
        Ok(())
    }

    fn on_session(&mut self, bytes: &[u8]) -> Result<(), Misbehaved> {
        match Message::decode(bytes) {
            Ok(Message::Welcome {
                entity,
                zone,
                map_seed,
                aoi_radius_m,
                half_extent_m,
                boxes,
                gates,
                ramps,
                rules,
            }) => {
                if let Some(entity) = EntityId::from_raw(entity) {
                    self.own = Some(entity);
                    self.events.push_back(Event::Welcome {
                        entity,
                        zone,
                        map_seed,
                        aoi_radius_m,
                        half_extent_m,
                        boxes,
                        gates,
                        ramps,
                        rules,
                    });
                    return Ok(());
                }
            }
            Ok(Message::Notice { text }) => {
                self.events.push_back(Event::Notice(text.into()));
                return Ok(());
            }
            Ok(Message::Tables { version, part, last, bytes }) if self.compact => {
                match self.tables.add(version, part, last, bytes) {
                    Ok(None) => return Ok(()),
                    Ok(Some(tables)) => {
                        self.view.add_tables(tables);
                        self.stats.tables += 1;
                        self.tables_ready = Some(version);
                        return Ok(());
                    }
                    Err(Refused) => {}
                }
            }
            Ok(Message::Tables { .. } | Message::TablesReady { .. }) | Err(_) => {}
        }
        self.stats.bad_messages += 1;
        Err(Misbehaved)
    }
}

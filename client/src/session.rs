//! What the messages of an established connection mean to a client.

use std::collections::VecDeque;
use std::sync::Arc;

use netcode::Time;
use netcode::channel::{EVENT, SESSION, SNAPSHOT};
use netcode::connection::AckTiming;
use netcode::features::Features;
use netcode::handshake::Accepted;
use netcode::message::{Message, Welcome};
use netcode::snapshot::{self, Limits, MAX_AGE, View};
use sim::config::{MAX_RATE_HZ, MIN_RATE_HZ};
use sim::event::What;
use sim::game::Ground;
use sim::schema::{PROJECTILE, SCHEMA};
use sim::{EntityId, Map, MapConfig};

use crate::body::{Body, Happened};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{Event, Unplayable};
use crate::inputs::Inputs;
use crate::interpolation::Horizon;
use crate::stats::Stats;
use crate::tables::{Parts, Refused};

/// The rate of the empty view before the server named its own.
const ANY_RATE: u16 = 20;

/// No server counts to more ticks (in a thousand years it does not), so that sums of ticks never overflow.
const MAX_TICK: u64 = 1 << 40;
/// The most events of the game that wait to be taken.
const MAX_WAITING: usize = 1024;

/// Why the connection is to be closed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closing {
    /// The server sent authentic packets that break the protocol.
    Misbehaved,
    /// All is well, but nothing can be played here.
    Unplayable,
}

/// Everything above the packets.
pub(crate) struct Session {
    pub view: View,
    pub clock: Clock,
    pub inputs: Inputs,
    pub own: Option<EntityId>,
    pub events: VecDeque<Event>,
    pub stats: Stats,
    pub body: Body,
    pub rate: u16,
    tables: Parts,
    /// The version of tables that the server is to be told are here.
    pub tables_ready: Option<u8>,
    /// Whether the server may push any.
    compact: bool,
    /// How far entities move on of which nothing is known any more.
    pub horizon: Horizon,
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
            body: Body::default(),
            rate: ANY_RATE,
            tables: Parts::default(),
            tables_ready: None,
            compact: false,
            horizon: Horizon { newest: 0, silent: 0.0, told: 0.0 },
        }
    }

    pub(crate) fn on_accepted(&mut self, accepted: &Accepted, config: &Config) -> Result<(), Closing> {
        let rate = accepted.rate;
        if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&rate) || accepted.tick > MAX_TICK {
            self.stats.bad_messages += 1;
            return Err(Closing::Misbehaved);
        }
        let ticks = config.keep.as_micros() * u128::from(rate) / 1_000_000;
        let keep_ticks = u8::try_from(ticks).unwrap_or(MAX_AGE).min(MAX_AGE);
        self.view = View::new(&SCHEMA, rate, Limits { max_entities: config.max_entities, keep_ticks });
        self.clock = Clock::new(rate);
        self.rate = rate;
        self.compact = accepted.features.contains(Features::COMPACT);
        let [silent, told] = [config.extrapolate, config.told].map(|time| time.as_secs_f64() * f64::from(rate));
        self.horizon = Horizon { newest: 0, silent, told };
        self.events.push_back(Event::Connected { rate });
        Ok(())
    }

    pub(crate) fn on_message(
        &mut self,
        now: Time,
        channel: u8,
        tick: Option<u64>,
        bytes: &[u8],
        ack: Option<AckTiming>,
        config: &Config,
    ) -> Result<(), Closing> {
        match channel {
            SNAPSHOT => self.on_snapshot(now, tick, bytes, ack),
            SESSION => self.on_session(bytes, config),
            EVENT => self.on_event(bytes),
            // The channel table has only one more, and it leads to the server.
            _ => {
                self.stats.bad_messages += 1;
                Err(Closing::Misbehaved)
            }
        }
    }

    fn on_snapshot(
        &mut self,
        now: Time,
        tick: Option<u64>,
        body: &[u8],
        ack: Option<AckTiming>,
    ) -> Result<(), Closing> {
        let Some(tick) = tick else {
            self.stats.bad_messages += 1;
            return Err(Closing::Misbehaved);
        };
        if self.view.apply(tick, body).is_err() {
            self.stats.decode_errors += 1;
            return Err(Closing::Misbehaved);
        }
        self.take_news();
        let margin = self.view.margin();
        if let Some(margin) = margin {
            self.inputs.on_margin(tick, margin);
        }
        self.clock.on_snapshot(now, tick, margin, ack);
        self.stats.snapshots += 1;
        // The first bit of a body says the codec.
        self.stats.compact_snapshots += u64::from(body.first().is_some_and(|first| first & 1 != 0));
        self.stats.newest = Some(tick);
        self.horizon.newest = tick;
        self.stats.margin = margin;
        self.body.confirm(tick, self.rate);
        Ok(())
    }

    /// Who came and went, and what is known of the player's own entity.
    fn take_news(&mut self) {
        let Self { view, body, events, .. } = self;
        for event in view.events() {
            events.push_back(match *event {
                snapshot::Event::Spawned { id, kind } => Event::Spawned { id, kind },
                snapshot::Event::Despawned { id } => Event::Despawned { id },
            });
            match *event {
                snapshot::Event::Despawned { id } => body.hide(id),
                snapshot::Event::Spawned { id, kind: PROJECTILE } => {
                    if let Some(shown) = view.entity(id) {
                        body.show_projectile(id, shown.confirmed(), &shown.state());
                    }
                }
                snapshot::Event::Spawned { .. } => {}
            }
        }
        if let Some(own) = self.own.and_then(|own| view.entity(own.raw())).filter(snapshot::Entity::owner) {
            // Without a record it is on its course, also where a snapshot is not complete: its own goes first.
            let tick = view.tick().unwrap_or(0).max(own.confirmed());
            if let Some(state) = own.state_at(tick) {
                body.tell(tick, &state);
            }
        }
    }

    fn on_event(&mut self, bytes: &[u8]) -> Result<(), Closing> {
        let Some(event) = sim::Event::read(bytes, self.stats.newest.unwrap_or(0)) else {
            self.stats.bad_messages += 1;
            return Err(Closing::Misbehaved);
        };
        match event.what {
            What::Shot { .. } => self.body.landed(event.tick),
            What::Refused { .. } => self.body.refused(event.tick),
            _ => {}
        }
        self.push(Event::Game(event));
        Ok(())
    }

    /// Queues an event of the game, while the caller takes them.
    fn push(&mut self, event: Event) {
        if self.events.len() < MAX_WAITING {
            self.events.push_back(event);
        } else {
            self.stats.events_dropped += 1;
        }
    }

    /// Predicts with at most so many steps.
    pub(crate) fn predict(&mut self, now: Time, steps: &mut u32) {
        let Self { body, events, stats, clock, .. } = self;
        body.run(now, clock.share(now), steps, &mut |happened| {
            let event = match happened {
                Happened::Fired { tick, ordinal, weapon } => Event::Fired { tick, ordinal, weapon },
                Happened::Corrected { metres } => Event::Corrected { metres },
            };
            if events.len() < MAX_WAITING {
                events.push_back(event);
            } else {
                stats.events_dropped += 1;
            }
        });
    }

    fn on_session(&mut self, bytes: &[u8], config: &Config) -> Result<(), Closing> {
        match Message::decode(bytes) {
            Ok(Message::Welcome(welcome)) => {
                let Welcome { half_extent_m, boxes, gates, ramps, .. } = welcome;
                let map = MapConfig { half_extent_m, boxes, gates, ramps };
                if let (Some(entity), Ok(())) = (EntityId::from_raw(welcome.entity), map.validate()) {
                    self.events.push_back(Event::Welcome(welcome));
                    return self.enter(entity, welcome.map_seed, map, welcome.rules, config);
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
            Ok(Message::Pace { tick, percent }) => {
                self.clock.set_pace(tick, percent);
                return Ok(());
            }
            Ok(Message::Tables { .. } | Message::TablesReady { .. }) | Err(_) => {}
        }
        self.stats.bad_messages += 1;
        Err(Closing::Misbehaved)
    }

    /// The player is in the world: makes its map, if it can be played there.
    fn enter(
        &mut self,
        entity: EntityId,
        seed: u64,
        map: MapConfig,
        rules: u64,
        config: &Config,
    ) -> Result<(), Closing> {
        let solids = u64::from(map.boxes) + u64::from(map.gates) + u64::from(map.ramps);
        let (ours, most) = (config.book.hash(), config.max_solids);
        let unplayable = if rules != ours {
            Unplayable::Rules { theirs: rules, ours }
        } else if solids > u64::from(most) {
            Unplayable::Map { solids, most }
        } else {
            let map = Map::generate(seed, map).map_err(|_| Closing::Misbehaved)?;
            self.own = Some(entity);
            self.body.enter(entity, Ground::new(&map, self.rate, Arc::clone(&config.book)));
            return Ok(());
        };
        self.events.push_back(Event::Unplayable(unplayable));
        Err(Closing::Unplayable)
    }
}

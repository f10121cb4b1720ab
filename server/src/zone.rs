//! The zone: owns the world, admits players, gives each tick its inputs.
//!
//! Sans-I/O. In order: [`Zone::handle`] whatever the shards have sent, [`Zone::step`] once per tick, then
//! [`Zone::poll`] until `None` and deliver the answers before the frame.
//!
//! Deterministic: within a tick leaves take effect in the order of their entities, then joins in the order of
//! (account, character, connection). So a world depends on which messages arrived before which tick, and not on how the
//! threads that brought them interleaved.

use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::ArrayVec;
use netcode::packet::ConnId;
use netcode::prefetch::Prefetch;
use sim::event::What;
use sim::input::FIRE;
use sim::log::{InputLog, LogError};
use sim::{EntityId, Frame, Input, Refusal, Refusals, SCHEMA, World, WorldConfig, replay};

use crate::input_buffer::{InputBuffer, Put, Source};
use crate::load::Pace;
use crate::view_time::{Seen, is_plausible};

/// How long a missing input is replaced by the last one, in milliseconds.
pub const REPEAT_MS: u32 = 250;

/// What a zone needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The world to make.
    pub world: WorldConfig,
    /// Players admitted at once.
    pub max_players: u32,
}

/// From a shard to the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToZone {
    /// A client has connected.
    Join {
        /// Its connection.
        conn: ConnId,
        /// Its account.
        account: u64,
        /// Its character.
        character: u64,
    },
    /// A connection has ended.
    Leave {
        /// The connection.
        conn: ConnId,
    },
    /// A client's input.
    Input {
        /// Its connection.
        conn: ConnId,
        /// The tick that it is for.
        tick: u64,
        /// What it wants to do.
        input: Input,
        /// What it had seen by then.
        seen: Seen,
    },
}

/// From the zone to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToShard {
    /// The player is in the world, from the next frame on.
    Spawned {
        /// The connection.
        conn: ConnId,
        /// The player's entity.
        entity: EntityId,
    },
    /// The zone is full.
    Refused {
        /// The connection.
        conn: ConnId,
    },
    /// How fast the zone goes from now on.
    Pace {
        /// How many clients are sent a snapshot in a tick, and what a tick takes.
        pace: Pace,
        /// From this tick on ticks take that.
        from: u64,
    },
    /// Something happened that the player is told once.
    Event {
        /// The connection.
        conn: ConnId,
        /// What.
        event: sim::Event,
    },
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneStats {
    /// Players admitted.
    pub joined: u64,
    /// Players refused because the zone was full.
    pub refused: u64,
    /// Players who left.
    pub left: u64,
    /// Inputs held for their ticks.
    pub inputs_held: u64,
    /// Copies of inputs that were held or used.
    pub inputs_copies: u64,
    /// Inputs whose ticks had passed without them.
    pub inputs_late: u64,
    /// Inputs too far ahead.
    pub inputs_ahead: u64,
    /// Inputs of connections without a player.
    pub inputs_unknown: u64,
    /// Player ticks that repeated the last input.
    pub inputs_repeated: u64,
    /// Player ticks without any input.
    pub inputs_neutral: u64,
    /// What players were told once.
    pub events: u64,
    /// What players wanted and was not done, by cause: of all who were ever here.
    pub refusals: Refusals,
}

/// The most players that [`Zone::most_refused`] names.
pub const MOST_REFUSED: usize = 20;

/// What a player was refused since it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedPlayer {
    /// Its character, as its token named it.
    pub character: u64,
    /// Its entity.
    pub entity: EntityId,
    /// How often, by cause.
    pub refusals: Refusals,
}

/// The owner of the world.
pub struct Zone {
    world: World,
    rate_hz: u16,
    max_players: usize,
    /// Ticks in a row that a missing input is replaced by the last one.
    repeat_limit: u32,
    /// All players, ascending by entity.
    players: Vec<(EntityId, u32)>,
    /// What is theirs, by the place that `players` and `seats` name; free places are used again.
    held: Vec<Held>,
    free: Vec<u32>,
    /// Who sits where, by worker and slot of the connection.
    seats: Vec<Vec<Option<Seat>>>,
    joins: Vec<Joining>,
    leaves: Vec<ConnId>,
    inputs: Vec<(EntityId, Input)>,
    answers: VecDeque<(u8, ToShard)>,
    log: Option<InputLog>,
    stats: ZoneStats,
}

/// What a zone keeps of a player.
struct Held {
    conn: ConnId,
    character: u64,
    buffer: InputBuffer,
    refusals: Refusals,
}

#[derive(Clone, Copy)]
struct Seat {
    conn: ConnId,
    entity: EntityId,
    place: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Joining {
    account: u64,
    character: u64,
    conn: ConnId,
}

impl Zone {
    /// Generates the map and populates the world, which plays by the standard rulebook; nobody has joined.
    ///
    /// # Errors
    /// The world's configuration makes no world.
    pub fn new(config: ZoneConfig) -> Result<Self, sim::ConfigError> {
        Ok(Self::with_world(World::new(config.world)?, config.max_players))
    }

    /// A zone around a world in which nobody is yet.
    #[must_use]
    pub fn with_world(world: World, max_players: u32) -> Self {
        let rate_hz = world.config().rate_hz;
        Self {
            world,
            rate_hz,
            max_players: max_players as usize,
            repeat_limit: u32::from(rate_hz) * REPEAT_MS / 1000,
            players: Vec::new(),
            held: Vec::new(),
            free: Vec::new(),
            seats: Vec::new(),
            joins: Vec::new(),
            leaves: Vec::new(),
            inputs: Vec::new(),
            answers: VecDeque::new(),
            log: None,
            stats: ZoneStats::default(),
        }
    }

    /// The same zone with a log of all that enters its world, for [`sim::replay()`]; with the rows that left their course,
    /// so that a replay that diverges can tell in what, or without. Take its bytes now and then.
    ///
    /// # Errors
    /// [`LogError::TooLong`] for a rulebook that no log takes.
    ///
    /// # Panics
    /// After the first [`Zone::step`]: a replay begins at the beginning.
    pub fn with_log(mut self, states: bool) -> Result<Self, LogError> {
        assert_eq!(self.world.tick(), 0, "a log begins with the world");
        self.log = Some(InputLog::new(&SCHEMA, &replay::header(&self.world, states))?);
        Ok(self)
    }

    /// The log's bytes since the last call; the first ones begin with its header. Empty without a log.
    pub fn take_log(&mut self) -> Vec<u8> {
        self.log.as_mut().map(InputLog::take_bytes).unwrap_or_default()
    }

    /// Logs no more.
    pub fn end_log(&mut self) {
        self.log = None;
    }

    /// Makes ready for a message that is to be handled soon, after some others.
    #[inline]
    pub fn expect(&self, message: &ToZone, prefetch: Prefetch) {
        if let ToZone::Input { conn, tick, .. } = message
            && let Some(held) = self.seat(*conn).and_then(|seat| self.held.get(seat.place as usize))
        {
            held.buffer.prefetch(*tick, prefetch);
        }
    }

    /// Takes a message: inputs at once, joins and leaves with the next [`Zone::step`].
    pub fn handle(&mut self, message: ToZone) {
        match message {
            ToZone::Join { conn, account, character } => self.handle_join(Joining { account, character, conn }),
            ToZone::Leave { conn } => self.handle_leave(conn),
            ToZone::Input { conn, tick, input, seen } => self.handle_input(conn, tick, input, seen),
        }
    }

    /// Simulates one tick.
    pub fn step(&mut self) -> Arc<Frame> {
        self.apply_leaves();
        self.apply_joins();
        self.take_inputs();
        self.world.step(&self.inputs);
        let frame = self.world.frame();
        if let Some(log) = &mut self.log {
            log.tick(self.inputs.iter().map(|(id, input)| (*id, input.to_state())), &frame);
        }
        self.pass_events();
        frame
    }

    /// Leaves out ticks that could not be simulated in time, so that tick `n` stays due when it always was and the
    /// clients' clocks stay right.
    pub fn skip(&mut self, ticks: u32) {
        self.world.skip(ticks);
        if let Some(log) = &mut self.log {
            log.skip(ticks);
        }
        for (_, place) in &self.players {
            if let Some(held) = self.held.get_mut(*place as usize) {
                held.buffer.skip(ticks);
            }
        }
    }

    /// The next answer, and the worker that it is for.
    pub fn poll(&mut self) -> Option<(u8, ToShard)> {
        self.answers.pop_front()
    }

    /// The newest tick that was simulated.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.world.tick()
    }

    /// Players in the world.
    #[must_use]
    pub fn players(&self) -> usize {
        self.players.len()
    }

    /// Digest of the world's state after the newest tick.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.world.digest()
    }

    /// The world, for checks.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> &ZoneStats {
        &self.stats
    }

    /// The newest tick that an input of this connection is held for.
    #[must_use]
    pub fn newest_input(&self, conn: ConnId) -> Option<u64> {
        self.held.get(self.seat(conn)?.place as usize)?.buffer.newest()
    }

    /// What the player of this connection wanted and was not done, by cause.
    #[must_use]
    pub fn refusals(&self, conn: ConnId) -> Option<&Refusals> {
        Some(&self.held.get(self.seat(conn)?.place as usize)?.refusals)
    }

    /// The players who were refused most, at most [`MOST_REFUSED`], the most refused first (of equals, the lower entity);
    /// none who was refused nothing. Looks at every player once: for a report each second, not for each tick.
    #[must_use]
    pub fn most_refused(&self) -> ArrayVec<RefusedPlayer, MOST_REFUSED> {
        let mut most: ArrayVec<RefusedPlayer, MOST_REFUSED> = ArrayVec::new();
        for (entity, place) in &self.players {
            let Some(held) = self.held.get(*place as usize) else { continue };
            let total = held.refusals.total();
            let at = most.partition_point(|other| other.refusals.total() >= total);
            if total == 0 || at == MOST_REFUSED {
                continue;
            }
            if most.is_full() {
                most.pop();
            }
            most.insert(at, RefusedPlayer { character: held.character, entity: *entity, refusals: held.refusals });
        }
        most
    }

    /// The entity of this connection's player.
    #[must_use]
    pub fn entity(&self, conn: ConnId) -> Option<EntityId> {
        Some(self.seat(conn)?.entity)
    }

    fn handle_join(&mut self, joining: Joining) {
        // More than could ever be admitted are not even remembered.
        if self.joins.len() >= self.max_players {
            self.refuse(joining.conn);
        } else {
            self.joins.push(joining);
        }
    }

    fn handle_leave(&mut self, conn: ConnId) {
        if self.seat(conn).is_some() {
            self.leaves.push(conn);
        } else {
            // Gone before it was admitted; nobody waits for the answer.
            self.joins.retain(|joining| joining.conn != conn);
        }
    }

    fn handle_input(&mut self, conn: ConnId, tick: u64, mut input: Input, seen: Seen) {
        let place = self.seat(conn).map(|seat| seat.place as usize);
        let Some(held) = place.and_then(|place| self.held.get_mut(place)) else {
            self.stats.inputs_unknown += 1;
            return;
        };
        let refused = input.buttons & FIRE != 0 && !is_plausible(tick, &input, seen, self.rate_hz);
        if refused {
            input.buttons &= !FIRE;
        }
        match held.buffer.put(tick, input) {
            Put::Held => {
                self.stats.inputs_held += 1;
                if refused {
                    held.refusals.count(Refusal::ViewTime);
                    self.stats.refusals.count(Refusal::ViewTime);
                }
            }
            Put::Copy => self.stats.inputs_copies += 1,
            Put::Late => self.stats.inputs_late += 1,
            Put::Ahead => self.stats.inputs_ahead += 1,
        }
    }

    /// Hands out what the step told players, in its order.
    fn pass_events(&mut self) {
        for (entity, event) in self.world.events() {
            let Ok(at) = self.players.binary_search_by_key(entity, |(player, _)| *player) else { continue };
            let place = self.players.get(at).map(|(_, place)| *place as usize);
            let Some(held) = place.and_then(|place| self.held.get_mut(place)) else { continue };
            if let What::Refused { cause } = event.what {
                held.refusals.count(cause);
                self.stats.refusals.count(cause);
            }
            self.stats.events += 1;
            self.answers.push_back((held.conn.worker(), ToShard::Event { conn: held.conn, event: *event }));
        }
    }

    fn apply_leaves(&mut self) {
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.sort_unstable_by_key(|conn| self.seat(*conn).map(|seat| seat.entity));
        for conn in leaves.drain(..) {
            self.leave(conn);
        }
        self.leaves = leaves;
    }

    fn leave(&mut self, conn: ConnId) {
        // Told twice, it is gone the second time.
        let Some(seat) = self.seat_mut(conn).take_if(|seat| seat.conn == conn) else { return };
        self.world.despawn(seat.entity);
        if let Some(log) = &mut self.log {
            log.leave(seat.entity);
        }
        if let Ok(at) = self.players.binary_search_by_key(&seat.entity, |(entity, _)| *entity) {
            self.players.remove(at);
        }
        self.free.push(seat.place);
        self.stats.left += 1;
    }

    fn apply_joins(&mut self) {
        let mut joins = std::mem::take(&mut self.joins);
        joins.sort_unstable();
        for joining in joins.drain(..) {
            match self.spawn(joining) {
                Some(entity) => {
                    self.stats.joined += 1;
                    let conn = joining.conn;
                    self.answers.push_back((conn.worker(), ToShard::Spawned { conn, entity }));
                }
                None => self.refuse(joining.conn),
            }
        }
        self.joins = joins;
    }

    fn spawn(&mut self, Joining { conn, character, .. }: Joining) -> Option<EntityId> {
        if let Some(old) = *self.seat_mut(conn) {
            // Its shard uses the slot again, so whoever sat there is gone.
            self.leave(old.conn);
        }
        if self.players.len() >= self.max_players {
            return None;
        }
        let entity = self.world.spawn_player().ok()?;
        if let Some(log) = &mut self.log {
            log.join(entity);
        }
        let buffer = InputBuffer::new(self.world.tick() + 1);
        let place = self.place(Held { conn, character, buffer, refusals: Refusals::default() });
        let at = self.players.partition_point(|(other, _)| *other < entity);
        self.players.insert(at, (entity, place));
        *self.seat_mut(conn) = Some(Seat { conn, entity, place });
        Some(entity)
    }

    fn place(&mut self, held: Held) -> u32 {
        let free = self.free.pop();
        if let Some((place, old)) = free.and_then(|place| Some((place, self.held.get_mut(place as usize)?))) {
            *old = held;
            return place;
        }
        self.held.push(held);
        (self.held.len() - 1) as u32
    }

    fn refuse(&mut self, conn: ConnId) {
        self.stats.refused += 1;
        self.answers.push_back((conn.worker(), ToShard::Refused { conn }));
    }

    /// Fills `self.inputs`, ascending by entity.
    fn take_inputs(&mut self) {
        self.inputs.clear();
        for (entity, place) in &self.players {
            let Some(held) = self.held.get_mut(*place as usize) else { continue };
            let (input, source) = held.buffer.take(self.repeat_limit);
            match source {
                Source::Own => {}
                Source::Repeated => self.stats.inputs_repeated += 1,
                Source::Neutral => self.stats.inputs_neutral += 1,
            }
            self.inputs.push((*entity, input));
        }
    }

    fn seat(&self, conn: ConnId) -> Option<Seat> {
        let seat = (*self.seats.get(usize::from(conn.worker()))?.get(usize::from(conn.slot()))?)?;
        (seat.conn == conn).then_some(seat)
    }

    /// The seat for that worker and slot, whoever sits there; the tables grow as far as the ids reach (64 workers,
    /// 65,536 slots).
    fn seat_mut(&mut self, conn: ConnId) -> &mut Option<Seat> {
        let (worker, slot) = (usize::from(conn.worker()), usize::from(conn.slot()));
        if self.seats.len() <= worker {
            self.seats.resize_with(worker + 1, Vec::new);
        }
        let seats = &mut self.seats[worker];
        if seats.len() <= slot {
            seats.resize(slot + 1, None);
        }
        &mut seats[slot]
    }
}

//! A shard: the connections of one worker, and what each of them is told of the world.
//!
//! Sans-I/O. In each turn of the loop: [`Shard::handle_datagram`] for what arrived, [`Shard::handle_zone`] and
//! [`Shard::handle_frame`] for what the zone sent, [`Shard::handle_timeout`] when due; then
//! [`Shard::poll_transmit`] and [`Shard::poll_zone`] until `None`.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::ArrayVec;
use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{EVENT, INPUT, SESSION};
use netcode::connection::MIN_SNAPSHOT_BYTES;
use netcode::crypto::{ClusterKey, CookieKey, Entropy};
use netcode::error::CloseReason;
use netcode::features::Features;
use netcode::input::{MAX_INPUTS, read_inputs};
use netcode::message::{MAX_MESSAGE_BYTES, MAX_PART_BYTES, Message, Welcome};
use netcode::packet::{ConnId, conn_of};
use netcode::prefetch::{Prefetch, Way};
use netcode::rate::RateConfig;
use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::stats::{Drops, Quality, Traffic};
use sim::{EntityId, Frame, Input, SCHEMA};

use crate::input_buffer::AHEAD_TICKS;
use crate::load::Pace;
pub use crate::places::Codecs;
use crate::places::{Places, Progress};
use crate::replication::{
    Aoi, DEFAULT_CROWD, DEFAULT_FOLLOW, Explained, Inconsistent, Priority, Relation, Replica, ReplicaStats,
    Replication, ReplicationConfig, Training,
};
use crate::round::Round;
use crate::view_time::Seen;
use crate::zone::{ToShard, ToZone};

/// Inputs for ticks farther in the past than this are dropped without a look.
const INPUT_PAST: u64 = 128;
/// The most messages that wait for the zone; beyond it inputs are dropped, never joins or leaves.
const MAX_TO_ZONE: usize = 65_536;

/// So many packets before a client's its state is asked for, which then is there after a few.
pub const PREFETCH_FAR: usize = 4;
/// So many before, what that points to.
pub const PREFETCH_NEAR: usize = 2;
/// And the one whose known entities it wants, in a crowd.
pub const PREFETCH_NEXT: usize = 1;
/// How many clients of a worker may have the compact codec at a time by default.
pub const DEFAULT_COMPACT_CLIENTS: u16 = 200;
/// Where snapshots are shed, the area is looked at so many times less often at the most: into a crowd so many are let at each
/// look, and who stood there for minutes until all are in would be worse off than by what is saved.
const MOST_LOOKS_SHED: u8 = 2;
/// Tables are pushed as long as fewer bytes than this wait to go to the client.
const PUSH_BELOW_BYTES: u64 = 4096;

/// How a shard behaves.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The endpoint's part: worker number, keys, limits, time-outs.
    pub endpoint: ServerConfig,
    /// Radius of the area of interest in metres.
    pub aoi_radius_m: u16,
    /// The most bytes of a snapshot's body; a datagram's room, the client's cap and the path's rate limit it as well.
    pub snapshot_bytes: u16,
    /// The most bytes of snapshots a second; each has its tick's share.
    pub snapshot_bytes_per_s: u32,
    /// The most entities that a client can know at once, itself included.
    pub max_known: u16,
    /// A client that knows more entities than this is in a crowd.
    pub crowd: u16,
    /// How many of the nearest a client in a crowd follows, at most `crowd`.
    pub follow: u16,
    /// Which clients get their snapshots in the compact codec, of those that can read it.
    pub codec: Codecs,
    /// How many may at a time; the others have the fast codec, which costs the server less.
    pub compact_clients: u16,
    /// When tables of the compact codec are trained and pushed.
    pub training: Training,
    /// Who goes first when not everything fits.
    pub priority: Priority,
    /// The zone's number, told to clients.
    pub zone: u32,
    /// Seed of the map, told to clients.
    pub map_seed: u64,
    /// How far the map reaches from its middle along x and z in metres, told to clients.
    pub half_extent_m: u16,
    /// Boxes on the map, told to clients.
    pub boxes: u32,
    /// Gates on the map, told to clients.
    pub gates: u32,
    /// Ramps on the map, told to clients.
    pub ramps: u32,
    /// Hash of the rulebook, told to clients.
    pub rules: u64,
}

impl ShardConfig {
    /// Defaults for all but keys and rate: 64 m radius, 1352 bytes and 32 kB/s, 4000 entities, crowds of more than 128, of
    /// whom 56 are followed, the compact codec for up to 200 clients that need it, zone 1, map 0 without
    /// anything on it.
    #[must_use]
    pub fn new(cluster_keys: Vec<ClusterKey>, rate: u16) -> Self {
        let endpoint = ServerConfig::new(cluster_keys, SCHEMA.hash(), rate);
        Self {
            endpoint,
            aoi_radius_m: 64,
            snapshot_bytes: 1352,
            snapshot_bytes_per_s: 32_000,
            max_known: 4000,
            crowd: DEFAULT_CROWD,
            follow: DEFAULT_FOLLOW,
            codec: Codecs::Auto,
            compact_clients: DEFAULT_COMPACT_CLIENTS,
            training: Training::default(),
            priority: Priority::default(),
            zone: 1,
            map_seed: 0,
            half_extent_m: 0,
            boxes: 0,
            gates: 0,
            ramps: 0,
            rules: 0,
        }
    }

    /// The area of interest.
    #[must_use]
    pub fn aoi(&self) -> Aoi {
        let area = Aoi::new(f32::from(self.aoi_radius_m), self.endpoint.rate);
        Aoi { crowd: self.crowd, follow: self.follow.min(self.crowd), ..area }
    }
}

/// Counters of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Datagrams dropped, by cause.
    pub drops: Drops,
    /// Connections, half-open ones included.
    pub connections: u64,
    /// Connections with a player in the world.
    pub players: u64,
    /// Handshakes accepted.
    pub accepted: u64,
    /// RETRYs sent.
    pub retries: u64,
    /// Clients whose address changed.
    pub roams: u64,
    /// Keys rolled, by either end.
    pub key_rolls: u64,
    /// Connections that ended.
    pub disconnects: u64,
    /// Inputs passed on to the zone.
    pub inputs: u64,
    /// Inputs dropped: malformed, for a tick out of reach, or because the zone's queue was full.
    pub inputs_dropped: u64,
    /// What players were told once.
    pub events: u64,
    /// What they were not told, because the queue to them was full.
    pub events_dropped: u64,
    /// What replication did.
    pub replica: ReplicaStats,
}

struct Session {
    conn: ConnId,
    /// Bytes of body per snapshot, at the most; the connection gives less room where its path carries less.
    budget: usize,
    in_world: bool,
    newest_input: Option<u64>,
    compact: Progress,
}

/// The connections of one worker.
pub struct Shard {
    config: ShardConfig,
    replication: Replication,
    endpoint: ServerEndpoint,
    /// By connection slot.
    sessions: Vec<Option<Session>>,
    /// Whose turn it is in the newest frame's round, by the place in the order.
    round: Round,
    /// Rounds begun.
    rounds: u32,
    to_zone: VecDeque<ToZone>,
    /// The character whose snapshots are explained as soon as it connects.
    watched: Option<u64>,
    watched_conn: Option<ConnId>,
    places: Places,
    /// How fast the zone goes, and the last tick from which its ticks changed their length.
    pace: Pace,
    pace_from: u64,
    prefetch: Prefetch,
    players: u64,
    disconnects: u64,
    inputs: u64,
    inputs_dropped: u64,
    events: u64,
    events_dropped: u64,
}

impl Shard {
    /// A shard without connections. `cookie_key` should be fresh for each process; `single_use` is shared with the other
    /// shards.
    #[must_use]
    pub fn new(mut config: ShardConfig, cookie_key: CookieKey, single_use: Arc<SingleUse>) -> Self {
        if config.codec != Codecs::Fast {
            config.endpoint.features.0 |= Features::COMPACT.0;
        }
        let places = Places::new(config.compact_clients);
        let endpoint = ServerEndpoint::new(config.endpoint.clone(), cookie_key, single_use);
        let rate = config.endpoint.rate;
        let replication = ReplicationConfig {
            schema: &SCHEMA,
            rate,
            aoi: config.aoi(),
            priority: config.priority,
            max_known: config.max_known,
            training: config.training,
        };
        Self {
            replication: Replication::new(&replication),
            config,
            endpoint,
            sessions: Vec::new(),
            round: Round::default(),
            rounds: 0,
            to_zone: VecDeque::new(),
            watched: None,
            watched_conn: None,
            places,
            pace: Pace::FULL,
            pace_from: 0,
            prefetch: Prefetch::NONE,
            players: 0,
            disconnects: 0,
            inputs: 0,
            inputs_dropped: 0,
            events: 0,
            events_dropped: 0,
        }
    }

    /// Brings memory near before it is used, from now on.
    pub fn set_prefetch(&mut self, prefetch: Prefetch) {
        self.prefetch = prefetch;
    }

    /// Makes ready for [`handle_datagram`](Self::handle_datagram) with this datagram, which is `ahead` datagrams off: call it
    /// at [`PREFETCH_FAR`], [`PREFETCH_NEAR`] and [`PREFETCH_NEXT`].
    #[inline]
    pub fn expect_datagram(&self, datagram: &[u8], ahead: usize) {
        if let Some(conn) = conn_of(datagram) {
            self.prefetch_client(conn.slot(), Way::In, ahead);
        }
    }

    #[inline]
    fn prefetch_client(&self, slot: u16, way: Way, ahead: usize) {
        if ahead <= PREFETCH_NEXT {
            return self.replication.prefetch_known(slot, way, self.prefetch);
        }
        let itself = ahead >= PREFETCH_FAR;
        self.endpoint.prefetch(slot, way, itself, self.prefetch);
        self.replication.prefetch(slot, way, itself, self.prefetch);
        if let Some(session) = self.sessions.get(usize::from(slot)).filter(|_| itself) {
            self.prefetch.of(session);
        }
    }

    /// Makes ready for the clients whose turn comes next.
    #[inline]
    fn expect_turns(&self, at: usize) {
        let order = self.replication.order();
        for ahead in [PREFETCH_FAR, PREFETCH_NEAR, PREFETCH_NEXT] {
            if let Some(client) = order.get((at + ahead) % order.len().max(1)) {
                self.prefetch_client(*client, Way::Out, ahead);
            }
        }
    }

    /// Takes a datagram; it is decrypted in place. `unix_ms` is the wall clock, for token expiry alone.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        unix_ms: u64,
        from: SocketAddr,
        datagram: &mut [u8],
        entropy: &mut dyn Entropy,
    ) {
        self.endpoint.handle_datagram(now, unix_ms, from, datagram, entropy);
        self.drain_events();
    }

    /// Takes the zone's next frame: a round of snapshots is now due.
    pub fn handle_frame(&mut self, now: Time, frame: Arc<Frame>) {
        self.endpoint.set_tick(frame.tick);
        self.replication.handle_frame(frame);
        self.round.begin(self.replication.order().len());
        self.rounds = self.rounds.wrapping_add(1);
        self.handle_timeout(now);
    }

    /// Takes a message from the zone.
    pub fn handle_zone(&mut self, now: Time, message: ToShard) {
        match message {
            ToShard::Spawned { conn, entity } => {
                let Some(session) = self.session_mut(conn) else { return };
                let fresh = !core::mem::replace(&mut session.in_world, true);
                self.players += u64::from(fresh);
                let clients = self.replication.order().len();
                self.replication.insert(conn.slot(), entity);
                if self.replication.order().len() > clients {
                    self.round.added(clients);
                }
                let welcome = Message::Welcome(Welcome {
                    entity: entity.raw(),
                    zone: self.config.zone,
                    map_seed: self.config.map_seed,
                    aoi_radius_m: self.config.aoi_radius_m,
                    half_extent_m: self.config.half_extent_m,
                    boxes: self.config.boxes,
                    gates: self.config.gates,
                    ramps: self.config.ramps,
                    rules: self.config.rules,
                });
                self.send_message(now, conn, &welcome);
                if self.pace.dilation != Pace::FULL.dilation {
                    self.send_message(now, conn, &Message::Pace { tick: self.pace_from, percent: self.pace.dilation });
                }
            }
            ToShard::Refused { conn } => self.endpoint.close(now, conn, CloseReason::ZoneFull),
            ToShard::Pace { pace, from } => self.set_pace(now, pace, from),
            ToShard::Event { conn, event } => self.tell(now, conn, &event),
        }
        self.drain_events();
    }

    /// How much of a tick's time the last round of snapshots took, in percent. Where time gets short, fewer clients have the
    /// compact codec.
    pub fn on_round_took(&mut self, percent: u8) {
        self.places.on_round_took(percent);
    }

    /// Sends a notice to every player.
    pub fn notify_all(&mut self, now: Time, text: &str) {
        self.tell_all(now, &Message::Notice { text }, |_| true);
    }

    fn set_pace(&mut self, now: Time, pace: Pace, from: u64) {
        let stretched = pace.dilation != self.pace.dilation;
        self.pace = pace;
        let slower = u64::from(pace.divisor.clamp(1, MOST_LOOKS_SHED));
        self.replication.set_refresh_ticks(self.config.aoi().refresh_ticks * slower);
        if stretched {
            self.pace_from = from;
            // The others are told with their welcome.
            let message = Message::Pace { tick: from, percent: pace.dilation };
            self.tell_all(now, &message, |session| session.in_world);
        }
    }

    fn tell_all(&mut self, now: Time, message: &Message<'_>, whom: impl Fn(&Session) -> bool) {
        for at in 0..self.sessions.len() {
            let session = self.sessions.get(at).and_then(Option::as_ref);
            if let Some(conn) = session.filter(|session| whom(session)).map(|session| session.conn) {
                self.send_message(now, conn, message);
            }
        }
    }

    /// Tells a player once. One that does not take what it is told misses this, and goes on playing.
    fn tell(&mut self, now: Time, conn: ConnId, event: &sim::Event) {
        if self.session_mut(conn).is_none() {
            return;
        }
        match self.endpoint.send(now, conn, EVENT, &event.write()) {
            Ok(()) => self.events += 1,
            Err(_) => self.events_dropped += 1,
        }
    }

    fn send_message(&mut self, now: Time, conn: ConnId, message: &Message<'_>) {
        let mut bytes = [0; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut bytes);
        // A client that lets its session queue fill up does not read what it is told; it is not waited for.
        if self.endpoint.send(now, conn, SESSION, bytes.get(..len).unwrap_or_default()).is_err() {
            self.endpoint.close(now, conn, CloseReason::ProtocolError);
        }
    }

    /// Closes every connection with a reason; the closes go out with the next transmissions.
    pub fn shutdown(&mut self, now: Time) {
        self.endpoint.close_all(now, CloseReason::ServerShutdown);
        self.handle_timeout(now);
    }

    /// Writes the next due datagram into `out` (at least `MAX_DATAGRAM` bytes): where it goes, and its length.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if let Some(transmit) = self.endpoint.poll_transmit_control(now, out) {
            return Some(transmit);
        }
        while let Some(at) = self.round.turn(self.replication.order().len()) {
            let client = self.replication.order().get(at).copied().unwrap_or_default();
            self.expect_turns(at);
            // By its slot, since its place in the order changes: so nobody's turn is passed over.
            let divisor = self.replication.divisor(client, self.pace.divisor);
            if !(self.rounds.wrapping_add(u32::from(client))).is_multiple_of(divisor.into()) {
                continue;
            }
            if let Some(transmit) = self.transmit_snapshot(now, usize::from(client), out) {
                return Some(transmit);
            }
        }
        None
    }

    fn transmit_snapshot(&mut self, now: Time, at: usize, out: &mut [u8]) -> Option<(SocketAddr, usize)> {
        self.push_tables(now, at);
        let Self { sessions, replication, endpoint, .. } = self;
        let session = sessions.get_mut(at)?.as_mut().filter(|session| session.in_world)?;
        let tick = replication.newest()?.tick;
        let client = session.conn.slot();
        replication.look(client);
        let rate = self.config.endpoint.rate;
        replication.set_compact(client, self.places.settle(&mut session.compact, tick, rate));
        // Tables would wait for ever where snapshots take all that the path carries.
        let waits = session.compact.is_pushing()
            && endpoint.quality(now, session.conn).is_some_and(|quality| quality.queued_bytes > 0);
        let budget = if waits { (session.budget / 2).max(MIN_SNAPSHOT_BYTES) } else { session.budget };
        let margin = session.newest_input.map(|newest| saturated_difference(newest, tick));
        let mut written = false;
        let mut write = |w: &mut BitWriter<'_>| {
            let cut = replication.choose(client, budget.min(w.remaining_bits() / 8));
            replication.pack(margin, w);
            written = true;
            session.compact.note(cut, self.config.codec);
        };
        let transmit = endpoint.transmit(now, session.conn, out, Some(&mut write))?;
        // Messages may have left no room for a snapshot.
        if written {
            replication.on_sent(client, transmit.pn);
        }
        Some((transmit.to, transmit.len))
    }

    /// Sends the next part of the newest tables to a client that is to have them.
    fn push_tables(&mut self, now: Time, at: usize) -> Option<()> {
        let session = self.sessions.get_mut(at)?.as_mut()?;
        let (version, tables) = self.replication.tables()?;
        let part = session.compact.next_part(version)?;
        if self.endpoint.quality(now, session.conn)?.queued_bytes >= PUSH_BELOW_BYTES {
            return None;
        }
        let last = u8::try_from(tables.len().div_ceil(MAX_PART_BYTES).checked_sub(1)?).ok()?;
        let bytes = tables.chunks(MAX_PART_BYTES).nth(usize::from(part))?;
        let mut message = [0; MAX_MESSAGE_BYTES];
        let len = Message::Tables { version, part, last, bytes }.encode(&mut message);
        // A queue that is full takes it in a later tick.
        if self.endpoint.send(now, session.conn, SESSION, message.get(..len)?).is_ok() {
            session.compact.on_part(part, last, self.replication.newest()?.tick);
        }
        Some(())
    }

    /// Takes what a client says on the session channel; false if it is nothing that a client may say.
    fn take_message(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let Ok(Message::TablesReady { version }) = Message::decode(bytes) else { return false };
        let Some(session) = find(&mut self.sessions, conn) else { return true };
        let has = session.compact.on_ready(version);
        if has {
            self.replication.on_tables_ready(conn.slot(), version);
        }
        has
    }

    /// The next message for the zone.
    pub fn poll_zone(&mut self) -> Option<ToZone> {
        self.to_zone.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.endpoint.poll_timeout()
    }

    /// Runs what is due at `now`; calling it early is harmless.
    pub fn handle_timeout(&mut self, now: Time) {
        self.endpoint.handle_timeout(now);
        self.drain_events();
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        ShardStats {
            traffic: *self.endpoint.traffic(),
            drops: *self.endpoint.drops(),
            connections: self.endpoint.connections() as u64,
            players: self.players,
            accepted: self.endpoint.accepted(),
            retries: self.endpoint.retries(),
            roams: self.endpoint.roams(),
            key_rolls: self.endpoint.key_rolls(),
            disconnects: self.disconnects,
            inputs: self.inputs,
            inputs_dropped: self.inputs_dropped,
            events: self.events,
            events_dropped: self.events_dropped,
            replica: self.replication.stats(),
        }
    }

    /// How a connection fares, seen from here.
    #[must_use]
    pub fn quality(&self, now: Time, conn: ConnId) -> Option<Quality> {
        self.endpoint.quality(now, conn)
    }

    /// The replication state of a connection, for checkers.
    #[must_use]
    pub fn replica(&self, conn: ConnId) -> Option<&Replica> {
        let session = self.sessions.get(usize::from(conn.slot()))?.as_ref()?;
        self.replication.client(conn.slot()).filter(|_| session.conn == conn)
    }

    /// Looks through all that replication keeps for contradictions. It is not cheap: for tests.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check_replication(&self) -> Result<(), Inconsistent> {
        self.replication.check()
    }

    /// Says what an entity is to a player: it stays in the player's area, and its priority rises. False if the player is
    /// not in the world, or has as many relations as there may be.
    pub fn relate(&mut self, conn: ConnId, entity: EntityId, relation: Relation) -> bool {
        self.session_mut(conn).is_some_and(|session| session.in_world)
            && self.replication.relate(conn.slot(), entity, relation)
    }

    /// Explains from now on what goes into one connection's snapshots, and why; `None` for nobody's.
    pub fn watch(&mut self, conn: Option<ConnId>) {
        self.watched_conn = conn;
        self.replication.watch(conn.map(|conn| conn.slot()));
    }

    /// Explains the snapshots of a character's connections, of the newest if there are several; `None` for nobody's.
    pub fn watch_character(&mut self, character: Option<u64>) {
        self.watched = character;
    }

    /// The explanation of the watched connection's last snapshot.
    #[must_use]
    pub fn explained(&self) -> &[Explained] {
        self.replication.explained()
    }

    fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let session = self.sessions.get_mut(usize::from(conn.slot()))?.as_mut()?;
        (session.conn == conn).then_some(session)
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ServerEvent::Connected { conn, claims } => {
                    let budget = snapshot_budget(&self.config, claims.down_cap);
                    let agreed =
                        self.endpoint.features(conn).is_some_and(|features| features.contains(Features::COMPACT));
                    let compact = Progress::new(agreed, self.config.codec);
                    let session = Session { conn, budget, in_world: false, newest_input: None, compact };
                    let at = usize::from(conn.slot());
                    if self.sessions.len() <= at {
                        self.sessions.resize_with(at + 1, || None);
                    }
                    if let Some(slot) = self.sessions.get_mut(at) {
                        *slot = Some(session);
                    }
                    if self.watched == Some(claims.character) {
                        self.watch(Some(conn));
                    }
                    let join = ToZone::Join { conn, account: claims.account, character: claims.character };
                    self.to_zone.push_back(join);
                }
                ServerEvent::Message { conn, channel: INPUT, tick: Some(tick), bytes } => {
                    let present = self.replication.newest().map_or(0, |frame| frame.tick);
                    let Some(session) = find(&mut self.sessions, conn) else { continue };
                    // Without room they are not looked at, so that their copies in the next packet still count.
                    let room = self.to_zone.len() < MAX_TO_ZONE;
                    match room.then(|| take_inputs(session, present, tick, bytes)).flatten() {
                        Some(fresh) => {
                            self.inputs += fresh.len() as u64;
                            // The acks of a packet come before its messages, so what it acknowledges is part of this.
                            let replica = self.replication.client(conn.slot());
                            let seen = Seen {
                                tick: replica.map_or(0, Replica::seen),
                                jitter_ms: self.endpoint.jitter(conn).map_or(0, whole_ms),
                            };
                            let input = |(tick, input)| ToZone::Input { conn, tick, input, seen };
                            self.to_zone.extend(fresh.into_iter().map(input));
                        }
                        None => self.inputs_dropped += 1,
                    }
                }
                ServerEvent::Message { conn, channel: SESSION, bytes, .. } => {
                    let bytes: ArrayVec<u8, MAX_READY_BYTES> = bytes.iter().copied().take(MAX_READY_BYTES).collect();
                    if !self.take_message(conn, &bytes) {
                        self.inputs_dropped += 1;
                    }
                }
                // Nothing else is said to a server in this version; an input without a tick says nothing.
                ServerEvent::Message { .. } => self.inputs_dropped += 1,
                // The channel table has none.
                ServerEvent::Block { .. } => {}
                ServerEvent::Acked { conn, pn } => {
                    if find(&mut self.sessions, conn).is_some() {
                        self.replication.on_acked(conn.slot(), pn);
                    }
                }
                ServerEvent::Lost { conn, pn } => {
                    if find(&mut self.sessions, conn).is_some() {
                        self.replication.on_lost(conn.slot(), pn);
                    }
                }
                ServerEvent::Disconnected { conn, .. } => {
                    self.disconnects += 1;
                    if self.watched_conn == Some(conn) {
                        self.watch(None);
                    }
                    if let Some(slot) = self.sessions.get_mut(usize::from(conn.slot()))
                        && let Some(mut session) = slot.take_if(|session| session.conn == conn)
                    {
                        self.places.leave(&mut session.compact);
                        self.players -= u64::from(session.in_world);
                        let order = self.replication.order();
                        if let Some(at) = order.iter().position(|client| *client == conn.slot()) {
                            self.round.removed(at, order.len());
                        }
                        self.replication.remove(conn.slot());
                        self.to_zone.push_back(ToZone::Leave { conn });
                    }
                }
            }
        }
    }
}

/// More than the longest message that a client may send on the session channel has.
const MAX_READY_BYTES: usize = 4;

fn find(sessions: &mut [Option<Session>], conn: ConnId) -> Option<&mut Session> {
    let session = sessions.get_mut(usize::from(conn.slot()))?.as_mut()?;
    (session.conn == conn).then_some(session)
}

/// The inputs of a message that are new, oldest first; `None` when it is malformed or out of reach.
fn take_inputs(
    session: &mut Session,
    present: u64,
    newest: u64,
    bytes: &[u8],
) -> Option<ArrayVec<(u64, Input), MAX_INPUTS>> {
    let inputs = read_inputs(&SCHEMA, bytes).ok()?;
    // What the zone would not hold must not count as the newest either, or later inputs would be taken for old.
    if newest > present.saturating_add(AHEAD_TICKS) || newest.saturating_add(INPUT_PAST) < present {
        return None;
    }
    let ticked = (0u64..).map_while(|back| newest.checked_sub(back)).zip(&inputs);
    let is_new = |tick: u64| session.newest_input.is_none_or(|known| tick > known);
    let mut fresh: ArrayVec<(u64, Input), MAX_INPUTS> =
        ticked.take_while(|(tick, _)| is_new(*tick)).map(|(tick, state)| (tick, Input::from_state(state))).collect();
    fresh.reverse();
    session.newest_input = session.newest_input.max(Some(newest));
    Some(fresh)
}

/// Bytes of body per snapshot, at the most: the configured budget, or a tick's share of the bytes per second that this client
/// may be sent at all. In which part of that the path's rate leaves room is the connection's business: it gives the writer
/// less, never more.
fn snapshot_budget(config: &ShardConfig, down_cap: u32) -> usize {
    /// Our header and tag, and the ack, per datagram.
    const OVERHEAD: usize = 19 + 8;
    let cap = RateConfig::capped(config.endpoint.rate_cap, down_cap, Duration::ZERO).cap;
    let rate = usize::from(config.endpoint.rate.max(1));
    let share = (cap as usize / rate).saturating_sub(OVERHEAD).min(config.snapshot_bytes_per_s as usize / rate);
    usize::from(config.snapshot_bytes).min(share).max(MIN_SNAPSHOT_BYTES)
}

fn whole_ms(time: Duration) -> u16 {
    u16::try_from(time.as_millis()).unwrap_or(u16::MAX)
}

fn saturated_difference(a: u64, b: u64) -> i8 {
    let magnitude = i8::try_from(a.abs_diff(b)).unwrap_or(i8::MAX);
    if a >= b { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use netcode::input::write_inputs;
    use netcode::snapshot::{MAX_GAP_BITS, MAX_HEADER_BITS, max_spawn_bits, max_update_bits};

    use super::*;

    fn session() -> Session {
        Session { conn: ConnId(0), budget: 1100, in_world: false, newest_input: None, compact: Progress::default() }
    }

    fn body(count: usize) -> Vec<u8> {
        let mut bytes = [0; 64];
        let mut w = BitWriter::new(&mut bytes);
        write_inputs(&mut w, &SCHEMA, &vec![Input::default().to_state(); count]);
        let len = w.finish();
        bytes[..len].to_vec()
    }

    fn ticks(session: &mut Session, newest: u64, count: usize) -> Option<Vec<u64>> {
        let fresh = take_inputs(session, 100, newest, &body(count))?;
        Some(fresh.into_iter().map(|(tick, _)| tick).collect())
    }

    #[test]
    fn a_client_may_hold_as_many_entities_as_a_server_shows_by_default() {
        let shown = ShardConfig::new(Vec::new(), 20).max_known;
        assert!(shown <= netcode::snapshot::Limits::default().max_entities);
    }

    #[test]
    fn repeated_inputs_are_passed_on_once_and_in_order() {
        let mut session = session();
        assert_eq!(ticks(&mut session, 101, 4), Some(vec![98, 99, 100, 101]));
        assert_eq!(ticks(&mut session, 103, 4), Some(vec![102, 103]));
        assert_eq!(ticks(&mut session, 103, 4), Some(vec![]));
    }

    #[test]
    fn an_input_too_far_ahead_does_not_lock_out_the_ones_that_follow() {
        for ahead in [AHEAD_TICKS + 1, 40, 127, 30_000, u64::MAX - 100] {
            let mut session = session();
            assert_eq!(ticks(&mut session, 100 + ahead, 1), None);
            assert_eq!(session.newest_input, None);
            assert_eq!(ticks(&mut session, 101, 1), Some(vec![101]));
        }
    }

    #[test]
    fn a_snapshot_has_a_ticks_share_of_the_cap_and_room_for_the_players_own_entity() {
        let budget = |rate_cap: u32, down_cap: u32| {
            let mut config = ShardConfig::new(Vec::new(), 20);
            config.endpoint.rate_cap = rate_cap;
            snapshot_budget(&config, down_cap)
        };
        assert_eq!(budget(1_000_000, 0), 1352);
        assert_eq!((budget(1_000_000, 8000), budget(8000, 0), budget(8000, 9000)), (373, 373, 373));
        assert_eq!(budget(1_000_000, 1), MIN_SNAPSHOT_BYTES);
        let own =
            max_spawn_bits(&SCHEMA, sim::schema::PLAYER, true).max(max_update_bits(&SCHEMA, sim::schema::PLAYER, true));
        assert!(MAX_HEADER_BITS + MAX_GAP_BITS + own <= MIN_SNAPSHOT_BYTES * 8);
    }

    #[test]
    fn differences_saturate() {
        assert_eq!((saturated_difference(5, 3), saturated_difference(3, 5)), (2, -2));
        assert_eq!((saturated_difference(u64::MAX, 0), saturated_difference(0, u64::MAX)), (127, -127));
    }
}

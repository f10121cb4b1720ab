//! A zone, its shards and some players on virtual time, pumped by one thread; the paths between can stall.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{EVENT, INPUT, SESSION, SNAPSHOT};
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent};
use netcode::crypto::{ClusterKey, CookieKey, Entropy as _, OsEntropy, Psk};
use netcode::error::CloseReason;
use netcode::input::write_inputs;
use netcode::message::{Message, Welcome};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::rng::Rng;
use netcode::server::SingleUse;
use netcode::snapshot::{Limits, View};
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};
use server::config::ServerConfig;
use server::shard::Shard;
use server::zone::{ToZone, Zone};
use sim::rng::mix;
use sim::schema::SCHEMA;
use sim::{EntityId, Event, Input};

const UNIX_MS: u64 = 1_700_000_000_000;
/// The ticks of the test's zone, milliseconds.
pub const TICK_MS: u64 = 50;
/// Inputs are repeated in so many packets.
const REPEATS: usize = 4;

#[expect(clippy::disallowed_methods, reason = "a test; only keys and ciphertexts differ")]
fn entropy() -> OsEntropy {
    OsEntropy::new()
}

/// One direction of a path: its delay, and until when it carries nothing.
#[derive(Default)]
struct Link {
    delay_ms: u64,
    blocked_until: Time,
    packets: VecDeque<(Time, Vec<u8>)>,
}

impl Link {
    fn push(&mut self, now: Time, datagram: &[u8]) {
        let due = now.max(self.blocked_until) + Duration::from_millis(self.delay_ms);
        self.packets.push_back((due, datagram.to_vec()));
    }

    fn pop(&mut self, now: Time) -> Option<Vec<u8>> {
        self.packets.pop_front_if(|(due, _)| *due <= now).map(|(_, datagram)| datagram)
    }
}

/// A player as a client sees it: what it has received, and what it has told.
pub struct Player {
    endpoint: ClientEndpoint,
    worker: usize,
    /// As the server names it.
    pub conn: Option<ConnId>,
    up: Link,
    down: Link,
    pub entity: Option<EntityId>,
    pub events: Vec<Event>,
    /// The tick of the newest snapshot.
    pub newest: u64,
    /// What it sees.
    view: View,
    /// The server's milliseconds when a snapshot came that was least delayed, less the client's then.
    offset_ms: i64,
    /// Newest first.
    inputs: Vec<netcode::schema::State>,
    tick: u64,
    gone: bool,
}

impl Player {
    fn new(index: usize, worker: usize, delay_ms: u64) -> Self {
        let config = ClientConfig::new(SCHEMA.hash());
        let endpoint =
            ClientEndpoint::connect(config, &token(index), entropy().ephemeral().unwrap(), Time::ZERO).unwrap();
        let link = || Link { delay_ms, ..Link::default() };
        Self {
            endpoint,
            worker,
            conn: None,
            up: link(),
            down: link(),
            entity: None,
            events: Vec::new(),
            newest: 0,
            view: View::new(&SCHEMA, 20, Limits::default()),
            offset_ms: i64::MIN,
            inputs: Vec::new(),
            tick: 0,
            gone: false,
        }
    }

    /// What an honest client shows at that time, as milliseconds of the server's time: by the least delayed snapshot, 100 ms
    /// behind it, and never more than 250 ms beyond the newest one.
    pub fn view_ms(&self, now: Time) -> i64 {
        let flowing = ms(now) as i64 + self.offset_ms - 100;
        flowing.min((self.newest * TICK_MS) as i64 + 250)
    }

    /// A digest of what it sees: of every entity the name, the kind, all fields, and the tick that they are of.
    pub fn sees(&self) -> u64 {
        let mut digest = 0;
        let mut fold = |value: u64| digest = mix(digest ^ value);
        fold(self.newest);
        for entity in self.view.entities() {
            fold(u64::from(entity.id()) << 16 | u64::from(entity.kind()) << 1 | u64::from(entity.owner()));
            fold(entity.confirmed());
            entity.state().iter().for_each(|field| fold(*field as u64));
        }
        digest
    }

    /// Its path carries nothing until then.
    pub fn stall(&mut self, until: Time) {
        (self.up.blocked_until, self.down.blocked_until) = (until, until);
    }

    /// Whether it has left.
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    /// It leaves; the packet that says so.
    fn leave(&mut self, now: Time) -> Vec<u8> {
        self.gone = true;
        self.endpoint.close(now, CloseReason::Requested);
        let mut out = [0; MAX_DATAGRAM];
        let len = self.endpoint.poll_transmit(now, &mut out).expect("a close");
        out[..len].to_vec()
    }

    fn receive(&mut self, now: Time) {
        while let Some(mut datagram) = self.down.pop(now) {
            self.endpoint.handle_datagram(now, &mut datagram);
        }
        self.endpoint.handle_timeout(now);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ClientEvent::Message { channel: SNAPSHOT, tick: Some(tick), bytes } => {
                    self.view.apply(tick, bytes).expect("a snapshot");
                    self.newest = tick;
                    self.offset_ms = self.offset_ms.max((tick * TICK_MS) as i64 - ms(now) as i64);
                }
                ClientEvent::Message { channel: SESSION, bytes, .. } => {
                    if let Ok(Message::Welcome(Welcome { entity, .. })) = Message::decode(bytes) {
                        self.entity = EntityId::from_raw(entity);
                    }
                }
                ClientEvent::Message { channel: EVENT, bytes, .. } => {
                    self.events.push(Event::read(bytes, self.newest).expect("an event"));
                }
                ClientEvent::Disconnected(reason) => panic!("{reason:?}"),
                _ => {}
            }
        }
    }

    /// The input of the tick that the server will be at when this arrives, and it has one tick to spare.
    fn say(&mut self, now: Time, input: impl FnOnce(u64, &Self) -> Input) {
        let tick = (ms(now) + self.up.delay_ms) / TICK_MS + 2;
        if self.entity.is_none() || self.newest == 0 || tick <= self.tick {
            return;
        }
        if tick != self.tick + 1 {
            self.inputs.clear();
        }
        self.tick = tick;
        self.inputs.insert(0, input(tick, self).to_state());
        self.inputs.truncate(REPEATS);
        let mut bytes = [0; 200];
        let mut w = BitWriter::new(&mut bytes);
        write_inputs(&mut w, &SCHEMA, &self.inputs);
        let len = w.finish();
        self.endpoint.set_tick(tick);
        self.endpoint.send(now, INPUT, &bytes[..len]).unwrap();
    }

    fn send(&mut self, now: Time) {
        let mut out = [0; MAX_DATAGRAM];
        while let Some(len) = self.endpoint.poll_transmit(now, &mut out) {
            self.up.push(now, &out[..len]);
        }
    }
}

/// All of it.
pub struct Cluster {
    pub now: Time,
    pub zone: Zone,
    pub shards: Vec<Shard>,
    pub players: Vec<Player>,
    pub digests: Vec<u64>,
    /// What each player sees just before the next tick, tick by tick.
    pub seen: Vec<Vec<u64>>,
    rng: Rng,
    /// Paths stall at times.
    pub stalls: bool,
    /// In the next round, once so many datagrams have gone, a player's leaving arrives: how many, and which.
    pub leaves: Option<(usize, usize)>,
    /// Inputs that came with the ack of a newer snapshot than any before.
    pub seen_with_its_packet: u64,
}

impl Cluster {
    /// So many workers and players, spread over them; `delay_ms` each way.
    pub fn new(config: &ServerConfig, workers: u8, players: usize, delay_ms: u64) -> Self {
        assert_eq!(u64::from(config.world.tick_rate_hz) * TICK_MS, 1000);
        let single_use = Arc::new(SingleUse::new(1000));
        let shard = |worker| {
            let part = config.shard(vec![key()], worker, 0);
            Shard::new(part, CookieKey::new([1; 32]), Arc::clone(&single_use))
        };
        Self {
            now: Time::ZERO,
            zone: Zone::new(config.zone()).unwrap().with_log(true).unwrap(),
            shards: (0..workers).map(shard).collect(),
            players: (0..players).map(|index| Player::new(index, index % usize::from(workers), delay_ms)).collect(),
            digests: Vec::new(),
            seen: Vec::new(),
            rng: Rng::new(7),
            stalls: false,
            leaves: None,
            seen_with_its_packet: 0,
        }
    }

    /// Goes on for so many ticks; `input` is what player `index` says for a tick.
    pub fn run(&mut self, ticks: u64, input: impl Fn(usize, u64, Time, &Player) -> Input) {
        for _ in 0..ticks * TICK_MS {
            self.step(&input);
        }
    }

    /// One millisecond.
    fn step(&mut self, input: impl Fn(usize, u64, Time, &Player) -> Input) {
        self.now = self.now + Duration::from_millis(1);
        let now = self.now;
        for (index, player) in self.players.iter_mut().enumerate().filter(|(_, player)| !player.gone) {
            player.receive(now);
            // Clients are not in step with the server, nor with each other.
            if (ms(now) + 7 * index as u64).is_multiple_of(TICK_MS) {
                player.say(now, |tick, player| input(index, tick, now, player));
            }
            player.send(now);
            while let Some(mut datagram) = player.up.pop(now) {
                let from = ([10, 0, 1, index as u8], 5000).into();
                let shard = &mut self.shards[player.worker];
                let acked = |shard: &Shard| shard.replica(player.conn?)?.newest_acked();
                let before = acked(shard);
                shard.handle_datagram(now, UNIX_MS, from, &mut datagram, &mut entropy());
                let after = acked(shard);
                while let Some(message) = shard.poll_zone() {
                    match message {
                        ToZone::Join { conn, .. } => player.conn = Some(conn),
                        ToZone::Input { seen, .. } => {
                            assert_eq!(seen.tick, after.unwrap_or(0));
                            self.seen_with_its_packet += u64::from(before < after);
                        }
                        ToZone::Leave { .. } => {}
                    }
                    self.zone.handle(message);
                }
            }
            if self.stalls && self.rng.chance(0.0005) {
                let until = now + Duration::from_millis(100 + self.rng.below(900));
                let both = self.rng.below(3);
                player.up.blocked_until = if both == 1 { player.up.blocked_until } else { until };
                player.down.blocked_until = if both == 0 { player.down.blocked_until } else { until };
            }
        }
        for shard in &mut self.shards {
            shard.handle_timeout(now);
            while let Some(message) = shard.poll_zone() {
                self.zone.handle(message);
            }
        }
        if ms(now).is_multiple_of(TICK_MS) {
            self.seen.push(self.players.iter().map(Player::sees).collect());
            let frame = self.zone.step();
            self.digests.push(frame.digest);
            while let Some((worker, message)) = self.zone.poll() {
                self.shards[usize::from(worker)].handle_zone(now, message);
            }
            for shard in &mut self.shards {
                shard.handle_frame(now, Arc::clone(&frame));
            }
        }
        let mut out = [0; MAX_DATAGRAM];
        for shard in &mut self.shards {
            let mut sent = 0;
            while let Some((to, len)) = shard.poll_transmit(now, &mut out) {
                let std::net::SocketAddr::V4(to) = to else { panic!("the addresses are IPv4") };
                self.players[usize::from(to.ip().octets()[3])].down.push(now, &out[..len]);
                sent += 1;
                if let Some((_, player)) = self.leaves.take_if(|(after, _)| *after == sent) {
                    let mut close = self.players[player].leave(now);
                    let from = ([10, 0, 1, player as u8], 5000).into();
                    shard.handle_datagram(now, UNIX_MS, from, &mut close, &mut entropy());
                }
            }
        }
    }
}

fn key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([3; 32]) }
}

fn token(index: usize) -> ConnectBundle {
    let claims = TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms: UNIX_MS + 3_600_000,
        account: index as u64,
        character: index as u64,
        group: 0,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: 1, addr: ([10, 0, 0, 1], 7777).into() }].into_iter().collect(),
    };
    issue(&key(), &claims, &mut entropy()).unwrap()
}

fn ms(time: Time) -> u64 {
    time.as_micros() / 1000
}

//! A client, a server made of an endpoint and a script, and the network between them.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Client, Config, Event};
use netcode::Time;
use netcode::bits::BitWriter;
use netcode::channel::{EVENT, INPUT, SESSION};
use netcode::crypto::{ClusterKey, CookieKey, Entropy, OsEntropy, Psk};
use netcode::emulator::{Emulator, LinkConfig};
use netcode::error::DisconnectReason;
use netcode::input::read_inputs;
use netcode::message::Message;
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::schema::State;
use netcode::server::{ServerConfig, ServerEndpoint, ServerEvent, SingleUse};
use netcode::snapshot::{Ages, Codec, Header, write_codec, write_despawn, write_gap, write_header, write_spawn};
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};
use sim::Input;
use sim::schema::{PLAYER, PROJECTILE, SCHEMA, X};

use crate::host::{Host, Told, players};

pub const RATE: u16 = 20;
pub const PERIOD: Duration = Duration::from_millis(50);
/// Where the client's own entity is shown.
pub const OWN_SLOT: u16 = 0;
/// The wall clock at the start, in Unix milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;
const STEP: Duration = Duration::from_millis(1);

fn server_address() -> SocketAddr {
    ([10, 0, 0, 1], 7777).into()
}

fn client_address() -> SocketAddr {
    ([10, 0, 0, 2], 5000).into()
}

#[expect(clippy::disallowed_methods, reason = "a test")]
pub fn entropy() -> OsEntropy {
    OsEntropy::new()
}

/// A player: what it wants, given the time and its client.
pub type Wants = Box<dyn FnMut(Time, &Client) -> Input>;

/// What the script sends instead of a snapshot.
pub enum Sabotage {
    Body(Vec<u8>),
    /// The client's own entity in that state, and what it is said to have launched in that one.
    States(State, State),
}

pub struct Rig {
    pub now: Time,
    pub tick: u64,
    pub client: Client,
    pub network: Emulator,
    pub server: ServerEndpoint,
    pub conn: Option<ConnId>,
    pub ended: Option<DisconnectReason>,
    /// The entities that every snapshot shows, by slot; their x moves by `speed` metres a tick.
    pub shown: BTreeMap<u16, (u32, State)>,
    pub speed: i32,
    /// The inputs that arrived, by tick, with their first copy.
    pub inputs: BTreeMap<u64, Input>,
    /// Per server tick: how far the newest input was ahead.
    pub margins: Vec<i64>,
    pub events: Vec<Event>,
    pub sabotage: Option<Sabotage>,
    /// The world, where the script has one; `shown` and `speed` are not looked at then.
    pub host: Option<Host>,
    /// What the player wants, asked in each frame; nothing is set where it is `None`.
    pub wants: Option<Wants>,
    /// How often the client is called, in milliseconds.
    pub frame_ms: u64,
    next_tick: Time,
    next_frame: Time,
}

pub fn claims(expires_ms: u64) -> TokenClaims {
    TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms,
        account: 1,
        character: 1,
        group: 0,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: 1, addr: server_address() }].into_iter().collect(),
    }
}

pub fn bundle(expires_ms: u64) -> ConnectBundle {
    issue(&cluster_key(), &claims(expires_ms), &mut entropy()).unwrap()
}

fn cluster_key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([7; 32]) }
}

pub fn player(x_m: i32) -> State {
    let mut state = State::default();
    state[X] = x_m * 256;
    state
}

impl Rig {
    pub fn new(link: LinkConfig) -> Self {
        Self::with_bundle(link, &bundle(UNIX_MS + 60_000))
    }

    pub fn with_bundle(link: LinkConfig, bundle: &ConnectBundle) -> Self {
        Self::with_config(link, bundle, Config::default())
    }

    pub fn with_config(link: LinkConfig, bundle: &ConnectBundle, client: Config) -> Self {
        let config = ServerConfig::new(vec![cluster_key()], SCHEMA.hash(), RATE);
        let server = ServerEndpoint::new(config, CookieKey::new([1; 32]), Arc::new(SingleUse::new(16)));
        let mut network = Emulator::new(5);
        network.set_default(link);
        let now = Time::from_millis(5_000);
        let client = Client::connect(client, bundle, entropy().ephemeral().unwrap(), now).unwrap();
        Self {
            now,
            tick: 1000,
            client,
            network,
            server,
            conn: None,
            ended: None,
            shown: BTreeMap::new(),
            speed: 0,
            inputs: BTreeMap::new(),
            margins: Vec::new(),
            events: Vec::new(),
            sabotage: None,
            host: None,
            wants: None,
            frame_ms: 1,
            next_tick: now,
            next_frame: now,
        }
    }

    /// A server with a world, on that path.
    pub fn in_world(link: LinkConfig, host: Host) -> Self {
        Self { tick: 0, host: Some(host), ..Self::with_bundle(link, &bundle(u64::MAX)) }
    }

    pub fn host(&mut self) -> &mut Host {
        self.host.as_mut().expect("the rig has a world")
    }

    /// Runs for that many server ticks.
    pub fn run(&mut self, ticks: u64) {
        let end = self.tick + ticks;
        while self.tick < end {
            self.step();
        }
    }

    /// Runs for that many milliseconds.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now = self.now + STEP;
        while let Some(mut datagram) = self.network.poll(self.now) {
            if datagram.to == client_address() {
                self.client.handle_datagram(self.now, &mut datagram.bytes);
            } else {
                let unix_ms = UNIX_MS + self.now.as_micros() / 1000;
                let bytes = &mut datagram.bytes;
                self.server.handle_datagram(self.now, unix_ms, datagram.from, bytes, &mut entropy());
            }
        }
        if self.now >= self.next_tick {
            self.next_tick = self.next_tick + PERIOD;
            self.server_tick();
        }
        self.server.handle_timeout(self.now);
        self.server_events();
        let mut out = [0; MAX_DATAGRAM];
        while let Some((to, len)) = self.server.poll_transmit_control(self.now, &mut out) {
            self.network.send(self.now, server_address(), to, &out[..len]);
        }
        if self.now < self.next_frame {
            return;
        }
        self.next_frame = self.now + Duration::from_millis(self.frame_ms);
        if let Some(wants) = &mut self.wants {
            let intent = wants(self.now, &self.client);
            self.client.set_intent_at(self.now, intent);
        }
        self.client.handle_timeout(self.now);
        while let Some(len) = self.client.poll_transmit(self.now, &mut out) {
            self.network.send(self.now, client_address(), server_address(), &out[..len]);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
    }

    fn server_tick(&mut self) {
        self.tick += 1;
        self.server.set_tick(self.tick);
        for (_, state) in self.shown.values_mut() {
            state[X] += self.speed * 256;
        }
        if let Some(host) = &mut self.host {
            host.step(&self.inputs);
        }
        let Some(conn) = self.conn else { return };
        let newest = self.inputs.last_key_value().map(|(tick, _)| *tick as i64 - self.tick as i64);
        self.margins.extend(newest);
        let margin = newest.map(|margin| margin.clamp(-128, 127) as i8);
        self.send_events(conn);
        let mut shown = self.host.as_mut().map_or_else(|| players(&self.shown), Host::told);
        let sabotage = self.sabotage.take();
        if let Some(Sabotage::States(own, projectile)) = &sabotage {
            let id = shown.get(&OWN_SLOT).copied().flatten().map_or(1, |(id, ..)| id);
            shown.insert(OWN_SLOT, Some((id, PLAYER, *own)));
            shown.insert(900, Some(((self.tick as u32) << 12 | 1, PROJECTILE, *projectile)));
        }
        let mut write = |w: &mut BitWriter<'_>| match &sabotage {
            Some(Sabotage::Body(body)) => w.write_bytes(body),
            _ => write_all(w, margin, &shown),
        };
        let mut out = [0; MAX_DATAGRAM];
        if let Some(sent) = self.server.transmit(self.now, conn, &mut out, Some(&mut write)) {
            self.network.send(self.now, server_address(), sent.to, &out[..sent.len]);
        }
    }

    fn send_events(&mut self, conn: ConnId) {
        let Some(host) = &self.host else { return };
        for (_, event) in host.world.events().iter().filter(|(to, _)| *to == host.own) {
            self.server.send(self.now, conn, EVENT, &event.write()).unwrap();
        }
    }

    fn server_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Connected { conn, .. } => {
                    self.conn = Some(conn);
                    if let Some(welcome) = self.host.as_ref().map(Host::welcome) {
                        self.say(&welcome);
                    }
                }
                ServerEvent::Message { channel: INPUT, tick, bytes, .. } => {
                    let newest = tick.expect("an input has a tick");
                    for (back, state) in read_inputs(&SCHEMA, bytes).unwrap().iter().enumerate() {
                        self.inputs.entry(newest - back as u64).or_insert(Input::from_state(state));
                    }
                }
                ServerEvent::Disconnected { reason, .. } => {
                    self.ended = Some(reason);
                    self.conn = None;
                }
                _ => {}
            }
        }
    }

    /// Sends a session message.
    pub fn say(&mut self, message: &Message<'_>) {
        let mut bytes = [0; 300];
        let len = message.encode(&mut bytes);
        self.say_raw(&bytes[..len]);
    }

    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.server.send(self.now, self.conn.expect("connected"), SESSION, bytes).unwrap();
    }
}

/// Every entity in full: legal, if not thrifty.
fn write_all(w: &mut BitWriter<'_>, margin: Option<i8>, shown: &BTreeMap<u16, Told>) {
    write_codec(w, Codec::Fast);
    write_header(w, &Header { margin, complete: true, ages: Ages::default(), count: shown.len() as u16 });
    let mut next = 0;
    for (slot, told) in shown {
        write_gap(w, slot - next);
        match told {
            Some((id, kind, state)) => write_spawn(w, &SCHEMA, *id, *kind, *slot == OWN_SLOT, state),
            None => write_despawn(w),
        }
        next = slot + 1;
    }
}

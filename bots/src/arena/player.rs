//! One client of the arena, over all its connections.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use client::{Client, ClientState, Config, Event};
use netcode::Time;
use netcode::crypto::Ephemeral;
use netcode::error::DisconnectReason;
use netcode::handshake::{COOKIE_BYTES, HELLO, HELLO_BYTES};
use netcode::rng::Rng;
use netcode::stats::Drops;
use netcode::token::ConnectBundle;
use sim::Input;
use sim::game::Ground;

use super::agreement::Agreement;
use super::digest::Digest;
use super::pace::Pace;
use crate::behavior::Pilot;
use crate::behavior::eyes::ClientEyes;

const PORT: u16 = 5000;
/// Where the cookie is in a HELLO (SPEC.md, "HELLO").
const COOKIE: core::ops::Range<usize> = 44..44 + COOKIE_BYTES;
/// Digests of one client's datagrams sealed last that are kept: more than are under way at a time.
const SEALS: usize = 1024;
/// A connection that rebinds more often than it can move is given up. This is a pause in which it can.
const TIME_TO_MOVE: Duration = Duration::from_secs(3);
/// The idle time-out.
const IDLE: Duration = Duration::from_secs(10);

/// Where a client is, as itself knows it.
pub(crate) fn inside(client: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, (client >> 8) as u8, client as u8)), PORT)
}

/// Where it seems to be after its NAT has rebound that often.
pub(super) fn outside(client: usize, rebinds: u16) -> SocketAddr {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 2, (client >> 8) as u8, client as u8));
    SocketAddr::new(ip, PORT.wrapping_add(rebinds))
}

/// The client at an inside or outside address.
pub(crate) fn client_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [_, net, high, low] = ip.octets();
    (net == 1 || net == 2).then_some(usize::from(high) << 8 | usize::from(low))
}

/// The digest of what a datagram's sender vouches for: all of it, but in a HELLO not the cookie, which is the server's
/// own and looked at only under load.
fn seal(datagram: &[u8]) -> u64 {
    if datagram.len() == HELLO_BYTES && datagram.first() == Some(&HELLO) {
        let mut hello = [0; HELLO_BYTES];
        hello.copy_from_slice(datagram);
        hello[COOKIE].fill(0);
        return Digest::of(&hello);
    }
    Digest::of(datagram)
}

/// What was really sent in one direction, so that what arrives can be told from forgeries.
#[derive(Debug)]
pub(super) struct Seals {
    recent: VecDeque<u64>,
    kept: usize,
}

impl Default for Seals {
    fn default() -> Self {
        Self::keeping(SEALS)
    }
}

impl Seals {
    pub(super) fn keeping(kept: usize) -> Self {
        Self { recent: VecDeque::new(), kept }
    }

    pub(super) fn sealed(&mut self, datagram: &[u8]) {
        if self.recent.len() == self.kept {
            self.recent.pop_front();
        }
        self.recent.push_back(seal(datagram));
    }

    pub(super) fn knows(&self, datagram: &[u8]) -> bool {
        let digest = seal(datagram);
        // What arrives was mostly sent just before.
        self.recent.iter().rev().any(|sealed| *sealed == digest)
    }
}

/// One client.
pub(super) struct Player {
    pub client: Option<Client>,
    pub shard: usize,
    /// When its timer fires.
    pub scheduled: Time,
    /// When it joins (without a connection) or leaves (with one).
    pub turn: Time,
    pub to_server: Seals,
    pub to_client: Seals,
    pub rebinds: u16,
    /// Until when it is, or was, cut off, if it ever was.
    pub cut_until: Option<Time>,
    /// Until when it left unread most of what came, if it ever did.
    pub deaf_until: Option<Time>,
    /// Snapshots of this connection that were checked.
    pub snapshots: u64,
    /// How they follow each other.
    pub pace: Pace,
    pub welcomed: bool,
    /// What it predicted, and whether that was right.
    pub agreement: Agreement,
    /// What it was told once and nobody has looked at yet.
    pub heard: Vec<sim::Event>,
    /// Predictions that were corrected.
    pub corrections: u64,
    /// It wants nothing any more.
    pub rests: bool,
    /// Drops of past connections.
    pub drops: Drops,
    pilot: Pilot,
    rng: Rng,
    config: Config,
    /// When its NAT rebound lately.
    rebound: VecDeque<Time>,
    rate: u16,
    chosen_at: u64,
    leaving: bool,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Connected,
    Ended(DisconnectReason),
}

impl Player {
    pub(super) fn new(shard: usize, config: Config, pilot: Pilot, rng: Rng, turn: Time) -> Self {
        Self {
            client: None,
            shard,
            scheduled: Time::NEVER,
            turn,
            to_server: Seals::default(),
            to_client: Seals::default(),
            rebinds: 0,
            cut_until: None,
            deaf_until: None,
            snapshots: 0,
            pace: Pace::default(),
            welcomed: false,
            agreement: Agreement::default(),
            heard: Vec::new(),
            corrections: 0,
            rests: false,
            drops: Drops::default(),
            pilot,
            rng,
            config,
            rebound: VecDeque::new(),
            rate: 0,
            chosen_at: 0,
            leaving: false,
        }
    }

    pub(super) fn connect(&mut self, now: Time, bundle: &ConnectBundle, ephemeral: Ephemeral) {
        // The table is the SDK's own, so nothing can be wrong with it.
        self.client = Client::connect(self.config.clone(), bundle, ephemeral, now).ok();
        (self.snapshots, self.chosen_at, self.welcomed, self.leaving) = (0, 0, false, false);
        self.pace = Pace::default();
        self.agreement = Agreement::default();
        self.turn = Time::NEVER;
    }

    /// Its NAT takes another outside address; gives how often it has.
    pub(super) fn rebind(&mut self, now: Time) -> u16 {
        while self.rebound.front().is_some_and(|at| *at + IDLE < now) {
            self.rebound.pop_front();
        }
        self.rebound.push_back(now);
        self.rebinds = self.rebinds.wrapping_add(1);
        self.rebinds
    }

    /// Whether something beside the links can have silenced its connection by `now`: it was cut off (and the server gave it
    /// up while it was), it changed its address again and again, or it did not listen for a part of the silence.
    pub(super) fn is_excused(&self, now: Time) -> bool {
        let times = self.rebound.iter().copied().filter(|at| *at + IDLE >= now);
        let mut since = Time::from_micros(now.as_micros().saturating_sub(IDLE.as_micros() as u64));
        let mut longest = Duration::ZERO;
        for at in times.chain([now]) {
            longest = longest.max(at.saturating_since(since));
            since = at;
        }
        let cut = self.cut_until.is_some_and(|until| until + 2 * IDLE + Duration::from_secs(1) > now);
        let deaf = self.deaf_until.is_some_and(|until| until + IDLE > now);
        cut || deaf || longest < TIME_TO_MOVE
    }

    /// Timers, and the intent for the next tick.
    pub(super) fn handle_timeout(&mut self, now: Time, ground: &Ground) {
        let Some(client) = &mut self.client else { return };
        client.handle_timeout(now);
        self.agreement.note(client);
        let inputs = client.stats().inputs;
        if inputs != self.chosen_at {
            self.chosen_at = inputs;
            let eyes = ClientEyes { client, now, ground: Some(ground) };
            let intent = if self.rests { Input::default() } else { self.pilot.next(self.rate, &eyes) };
            client.set_intent(intent);
        }
    }

    /// Closes the connection because it wants to.
    pub(super) fn leave(&mut self, now: Time) {
        self.leaving = true;
        self.turn = Time::NEVER;
        if let Some(client) = &mut self.client {
            client.close(now);
        }
    }

    /// Reads the client's events; new entities are appended to `spawned`. `churn`: it may decide to leave.
    pub(super) fn drain(&mut self, now: Time, churn: bool, spawned: &mut Vec<u32>) -> Option<Change> {
        let mut change = None;
        while let Some(event) = self.client.as_mut().and_then(Client::poll_event) {
            match event {
                Event::Connected { rate } => {
                    self.rate = rate;
                    change = Some(Change::Connected);
                    let stay = if churn { self.pilot.stay_ms() } else { None };
                    self.turn = stay.map_or(Time::NEVER, |ms| now + Duration::from_millis(ms));
                }
                Event::Welcome(_) => self.welcomed = true,
                Event::Spawned { id, .. } => spawned.push(id),
                Event::Game(event) => self.heard.push(event),
                Event::Corrected { .. } => self.corrections += 1,
                Event::Unplayable(_) | Event::Fired { .. } | Event::Despawned { .. } | Event::Notice(_) => {}
                Event::Disconnected(reason) => change = Some(Change::Ended(reason)),
            }
        }
        change
    }

    /// Forgets a connection that is over and whose last packet is sent, and decides when to come back.
    pub(super) fn retire(&mut self, now: Time) {
        let Some(client) = self.client.take_if(|client| client.is_finished()) else { return };
        self.drops.add(client.drops());
        self.welcomed = false;
        let away = self.pilot.away_ms() + self.rng.below(200);
        self.turn = now + Duration::from_millis(away);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.state() == ClientState::Connected)
    }

    /// When something is next due.
    pub(super) fn due(&self) -> Time {
        self.client.as_ref().and_then(Client::poll_timeout).unwrap_or(Time::NEVER).min(self.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_covers_every_bit_but_a_hellos_cookie() {
        let mut seals = Seals::default();
        let mut hello = [0; HELLO_BYTES];
        hello[0] = HELLO;
        for datagram in [&[0x40, 1, 2, 3][..], &hello] {
            seals.sealed(datagram);
        }
        assert!(seals.knows(&[0x40, 1, 2, 3]) && seals.knows(&hello));
        assert!(!seals.knows(&[0x40, 1, 2, 2]) && !seals.knows(&[0x40, 1, 2, 3, 0]));
        hello[50] = 1;
        assert!(seals.knows(&hello));
        hello[80] = 1;
        assert!(!seals.knows(&hello));
    }

    #[test]
    fn who_listens_again_is_excused_until_no_silence_can_be_from_before() {
        let pilot = Pilot::new(crate::behavior::Behavior::Idle, Rng::new(1));
        let mut player = Player::new(0, Config::default(), pilot, Rng::new(1), Time::NEVER);
        let start = Time::from_millis(10_000);
        assert!(!player.is_excused(start));
        player.deaf_until = Some(start);
        assert!(player.is_excused(start + Duration::from_millis(115)));
        assert!(player.is_excused(start + (IDLE - Duration::from_millis(1))) && !player.is_excused(start + IDLE));
    }

    #[test]
    fn inside_and_outside_addresses_name_the_same_client() {
        for client in [0, 255, 256, 3999] {
            assert_eq!(client_at(inside(client)), Some(client));
            assert_eq!(client_at(outside(client, 60_000)), Some(client));
        }
        assert_eq!(client_at(([10, 0, 0, 1], 7000).into()), None);
    }
}

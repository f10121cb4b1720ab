//! What a squad is made of, and how far it is.

use core::time::Duration;
use std::sync::Arc;

use client::{Client, Config};
use netcode::Time;
use netcode::crypto::Ephemeral;
use netcode::emulator::LinkConfig;
use netcode::error::ConnectError;
use netcode::rng::Rng;
use netcode::token::ConnectBundle;
use sim::game::Rulebook;

use super::bot::{Link, Player};
use super::light::{Light, MAX_EVERY};
use crate::behavior::Behavior;

/// How long a client that leaves by [`SquadOptions::churn`] is away before it connects anew; and how long one whose attempt to
/// come back failed waits for the next.
pub const AWAY: Duration = Duration::from_secs(1);
/// The most of [`SquadOptions::light_every`].
pub const MAX_LIGHT_EVERY: u16 = MAX_EVERY;

/// What a squad is made of.
#[derive(Clone, Debug)]
pub struct SquadOptions {
    /// How many clients.
    pub clients: usize,
    /// How they play.
    pub behavior: Behavior,
    /// The share of them, 0 to 1, that is light: does all that a server sees, and neither decodes nor predicts.
    pub light: f64,
    /// Ticks from a light client's turn to its next, 1 to [`MAX_LIGHT_EVERY`]: it then reads what has come, and sends one
    /// packet, which has the inputs of so many ticks.
    pub light_every: u16,
    /// The network to emulate in each direction between each client and its socket.
    pub link: Option<LinkConfig>,
    /// Handshakes under way at a time, at least 1.
    pub handshakes: usize,
    /// Decides what the clients do, and which datagrams the emulated network loses.
    pub seed: u64,
    /// An attempt to connect fails after so long.
    pub connect_timeout: Duration,
    /// Per cent of the clients that leave and come back each minute of the window.
    pub churn: f64,
    /// Per cent of the clients that get another address each minute of the window.
    pub rebind: f64,
    /// What a client sees is measured once it has been in for so long.
    pub settle: Duration,
    /// The rules that the clients play by; a server with others is left.
    pub book: Arc<Rulebook>,
    /// Keep what happens on the first client's first connection, for [`Squad::poll_trace`](super::Squad::poll_trace).
    pub trace: bool,
}

impl SquadOptions {
    /// Whether that client is a whole one; these are spread evenly, and the first one is one if any is.
    pub(super) fn is_whole(&self, index: u32) -> bool {
        let whole = 1.0 - self.light.clamp(0.0, 1.0);
        // Shares come as decimals.
        let before = |clients: u32| (f64::from(clients) * whole - 1e-6).ceil();
        before(index) < before(index + 1)
    }

    /// Whether that client's socket is read when it is due, and at no other time.
    pub(super) fn reads_by_turns(&self, index: u32) -> bool {
        self.link.as_ref().is_none_or(Link::is_prompt) && !self.is_whole(index)
    }

    pub(super) fn connect(
        &self,
        index: u32,
        bundle: &ConnectBundle,
        ephemeral: Ephemeral,
        traced: bool,
        now: Time,
    ) -> Result<Player, ConnectError> {
        let patience = self.connect_timeout;
        if !self.is_whole(index) {
            let rng = Rng::new(self.seed).fork(&format!("light {index}"));
            let (by_turns, every) = (self.reads_by_turns(index), self.light_every);
            let light = Light::connect(bundle, ephemeral, patience, self.behavior, rng, by_turns, every, now)?;
            return Ok(Player::Light(Box::new(light)));
        }
        let config = Config { handshake_timeout: patience, book: Arc::clone(&self.book), ..Config::default() };
        let mut client = Client::connect(config, bundle, ephemeral, now)?;
        if traced {
            client.enable_trace();
        }
        Ok(Player::Whole(Box::new(client)))
    }
}

/// How far a squad is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Clients connected now.
    pub online: u64,
    /// Clients that are out on purpose, and will come back.
    pub away: u64,
    /// Clients that have connected or failed at least once.
    pub settled: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Connections that ended unwanted.
    pub disconnected: u64,
    /// Snapshots applied in the window.
    pub snapshots: u64,
    /// Bytes received in the window, as far as counted.
    pub down_bytes: u64,
}

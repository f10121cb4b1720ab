//! What a client tells the game.

use netcode::error::DisconnectReason;
use netcode::message::Welcome;

/// Something the game should know; see [`Client::poll_event`](crate::Client::poll_event).
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The server accepted the connection; it runs at that many ticks a second.
    Connected {
        /// Ticks, and snapshots, a second.
        rate: u16,
    },
    /// The player is in the world, which is as the server says here. Its entity is [`Client::own`](crate::Client::own), unless
    /// [`Unplayable`](Self::Unplayable) follows.
    Welcome(Welcome),
    /// An entity came into view; its state is in [`Client::view`](crate::Client::view).
    Spawned {
        /// The entity, as in the view.
        id: u32,
        /// `sim::schema::PLAYER` or `sim::schema::NPC`.
        kind: u8,
    },
    /// An entity left the view.
    Despawned {
        /// The entity.
        id: u32,
    },
    /// Nothing can be played here, for that reason; the connection is being closed.
    Unplayable(Unplayable),
    /// The player's weapon fires, by its own client's word: time for the flash and the sound. Each shot once, whatever is
    /// replayed.
    Fired {
        /// The tick of its input.
        tick: u64,
        /// Its number among those of the tick.
        ordinal: u8,
        /// The number of the weapon in the rulebook.
        weapon: u8,
    },
    /// The body was not where it was predicted, and is on its way there.
    Corrected {
        /// How far it was shown from where it is, in metres.
        metres: f32,
    },
    /// What the server tells the player once: hits, wounds, deaths, loot, refusals.
    Game(sim::Event),
    /// A line for the player to read, at most 256 bytes.
    Notice(Box<str>),
    /// The connection, or the attempt, is over; nothing follows.
    Disconnected(DisconnectReason),
}

/// Why nothing can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    /// The server plays by another rulebook.
    #[error("the server plays by other rules ({theirs:016x}) than this client ({ours:016x})")]
    Rules {
        /// Hash of the server's rulebook.
        theirs: u64,
        /// Hash of [`Config::book`](crate::Config::book).
        ours: u64,
    },
    /// More stands on the map than [`Config::max_solids`](crate::Config::max_solids).
    #[error("the map has {solids} boxes, gates and ramps, more than the {most} that this client takes")]
    Map {
        /// What stands on it.
        solids: u64,
        /// The most that the client takes.
        most: u32,
    },
}

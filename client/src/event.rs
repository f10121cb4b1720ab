//! What a client tells the game.

use netcode::error::DisconnectReason;
use sim::EntityId;

/// Something the game should know; see [`Client::poll_event`](crate::Client::poll_event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server accepted the connection; it runs at that many ticks a second.
    Connected {
        /// Ticks, and snapshots, a second.
        rate: u16,
    },
    /// The player is in the world.
    Welcome {
        /// The entity that the player controls.
        entity: EntityId,
        /// The zone.
        zone: u32,
        /// The seed from which `sim::Map::generate` makes the zone's map.
        map_seed: u64,
        /// Within this distance the player is told of other entities, in metres.
        aoi_radius_m: u16,
        /// The map reaches that far from its middle along x and z, in metres.
        half_extent_m: u16,
        /// How many boxes stand on the map.
        boxes: u32,
        /// How many gates slide on it.
        gates: u32,
        /// How many ramps lie on it.
        ramps: u32,
        /// Hash of the rulebook that the zone plays by.
        rules: u64,
    },
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
    /// A line for the player to read, at most 256 bytes.
    Notice(Box<str>),
    /// The connection, or the attempt, is over; nothing follows.
    Disconnected(DisconnectReason),
}

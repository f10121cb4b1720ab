//! Channels: the table that both sides agree on, and what each kind promises.

use arrayvec::ArrayVec;

use crate::schema::Fnv;

/// The number of the channel that carries the game's snapshots in [`Table::standard`].
pub const SNAPSHOT: u8 = 0;
/// The number of the channel that carries the players' inputs in [`Table::standard`].
pub const INPUT: u8 = 1;
/// The number of the channel that carries session messages in [`Table::standard`].
pub const SESSION: u8 = 2;
/// The channel number that stands for control frames.
pub const CONTROL: u8 = 15;
/// The most channels of a table.
pub const MAX_CHANNELS: usize = 15;
/// The longest message of any channel in bytes: with every overhead it fits one datagram.
pub const MAX_MESSAGE: usize = 1100;

/// What a channel promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each message once or not at all, in any order.
    Unreliable,
    /// Only ever newer messages: one that arrives after a newer one is dropped.
    Sequenced,
    /// World snapshots, server to client: at most one a packet, in tick order, deltas against what was acknowledged.
    Snapshot,
    /// Each message exactly once, in the order sent.
    ReliableOrdered,
}

impl Kind {
    const fn wire(self) -> u8 {
        match self {
            Self::Unreliable => 0,
            Self::Sequenced => 1,
            Self::Snapshot => 2,
            Self::ReliableOrdered => 3,
        }
    }
}

/// What becomes of a message for which an unreliable channel's queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The caller gets an error.
    Refuse,
    /// The oldest messages that wait are dropped, and counted, until it fits.
    DropOldest,
}

/// One channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// What it promises.
    pub kind: Kind,
    /// The longest message in bytes, at most [`MAX_MESSAGE`].
    pub max_message: u16,
    /// The most bytes that wait on one side: unacknowledged at the sender, out of order at the receiver.
    pub queue_bytes: u32,
}

/// The channels of a connection; the index is the number on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(pub ArrayVec<Channel, MAX_CHANNELS>);

impl Table {
    /// The table of Zonewire's own server and SDK: snapshots, inputs, session messages.
    #[must_use]
    pub fn standard() -> Self {
        let snapshot =
            Channel { name: "snapshot", kind: Kind::Snapshot, max_message: MAX_MESSAGE as u16, queue_bytes: 0 };
        let input = Channel { name: "input", kind: Kind::Sequenced, max_message: 64, queue_bytes: 0 };
        let session =
            Channel { name: "session", kind: Kind::ReliableOrdered, max_message: 1024, queue_bytes: 16 * 1024 };
        Self([snapshot, input, session].into_iter().collect())
    }

    /// FNV-1a over the canonical bytes (SPEC.md, "Channel table"); both sides must agree on it to connect.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let start = Fnv::new().byte(self.0.len() as u8);
        let channel_bytes = |hash: Fnv, channel: &Channel| {
            hash.text(channel.name)
                .byte(channel.kind.wire())
                .u32(u32::from(channel.max_message))
                .u32(channel.queue_bytes)
        };
        self.0.iter().fold(start, channel_bytes).0
    }

    /// Whether the table keeps its own rules: message limits that fit a datagram and their queue, and at most
    /// one snapshot channel.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let fits = |channel: &Channel| {
            let max = usize::from(channel.max_message);
            let queued = matches!(channel.kind, Kind::Unreliable | Kind::ReliableOrdered);
            max <= MAX_MESSAGE && (!queued || channel.queue_bytes >= u32::from(channel.max_message))
        };
        self.0.iter().all(fits) && self.0.iter().filter(|channel| channel.kind == Kind::Snapshot).count() <= 1
    }

    /// The channel with that number.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<&Channel> {
        self.0.get(usize::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_table_is_valid_and_named_by_its_constants() {
        let table = Table::standard();
        assert!(table.is_valid());
        let kind = |number| table.get(number).map(|channel| channel.kind);
        assert_eq!(kind(SNAPSHOT), Some(Kind::Snapshot));
        assert_eq!(kind(INPUT), Some(Kind::Sequenced));
        assert_eq!(kind(SESSION), Some(Kind::ReliableOrdered));
        assert_eq!(kind(CONTROL), None);
    }

    #[test]
    fn any_change_changes_the_hash() {
        let mut other = Table::standard();
        other.0[1].max_message += 1;
        assert_ne!(other.hash(), Table::standard().hash());
    }

    #[test]
    fn two_snapshot_channels_and_messages_beyond_a_datagram_are_invalid() {
        let mut twice = Table::standard();
        twice.0[1].kind = Kind::Snapshot;
        assert!(!twice.is_valid());
        let mut long = Table::standard();
        long.0[2].max_message = 1101;
        assert!(!long.is_valid());
    }
}

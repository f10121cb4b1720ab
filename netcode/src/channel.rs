//! Channels: the table that both sides agree on, and what each kind promises.

use arrayvec::ArrayVec;

use crate::schema::Fnv;

/// The number of the channel that carries the game's snapshots in [`Table::standard`].
pub const SNAPSHOT: u8 = 0;
/// The number of the channel that carries the players' inputs in [`Table::standard`].
pub const INPUT: u8 = 1;
/// The number of the channel that carries session messages in [`Table::standard`].
pub const SESSION: u8 = 2;
/// The number of the channel that carries the game's events in [`Table::standard`].
pub const EVENT: u8 = 3;
/// The most channels of a table.
pub const MAX_CHANNELS: usize = 16;
/// How many levels of priority there are; 0 is the most urgent.
pub const PRIORITIES: u8 = 8;
/// The longest message in bytes that is never cut: with every overhead it fits the shortest datagram limit.
pub const MAX_WHOLE: u32 = 1100;
/// The longest snapshot in bytes; it fits where the path carries the longest datagrams.
pub const MAX_SNAPSHOT: u32 = 1352;
/// The longest message of an unreliable channel: eight parts of 1024 bytes.
pub const MAX_UNRELIABLE: u32 = 8 * 1024;
/// The longest message of a reliable channel.
pub const MAX_RELIABLE: u32 = 64 * 1024;
/// The longest block.
pub const MAX_BLOCK: u32 = 16 * 1024 * 1024;
/// The least window of a block channel: four chunks.
const LEAST_WINDOW: u32 = 4 * 1024;

/// What a channel promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each message once or not at all, in any order; up to eight parts.
    Unreliable,
    /// Only ever newer messages: one that arrives after a newer one is dropped.
    Sequenced,
    /// World snapshots, server to client: at most one a packet, in tick order, deltas against what was acknowledged.
    Snapshot,
    /// Each message exactly once, in the order sent.
    ReliableOrdered,
    /// Each message exactly once, as soon as it is whole.
    ReliableUnordered,
    /// Large transfers, one after the other: each byte once, in order, paced by the receiver's credit and sent from
    /// what every other channel leaves over.
    Block,
}

impl Kind {
    /// Its number in the table's hash.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::Unreliable => 0,
            Self::Sequenced => 1,
            Self::Snapshot => 2,
            Self::ReliableOrdered => 3,
            Self::ReliableUnordered => 4,
            Self::Block => 5,
        }
    }

    /// The longest message of this kind, in bytes.
    #[must_use]
    pub const fn longest(self) -> u32 {
        match self {
            Self::Unreliable => MAX_UNRELIABLE,
            Self::Sequenced => MAX_WHOLE,
            Self::Snapshot => MAX_SNAPSHOT,
            Self::ReliableOrdered | Self::ReliableUnordered => MAX_RELIABLE,
            Self::Block => MAX_BLOCK,
        }
    }
}

/// What happens to a message for which an unreliable channel's queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The caller gets [`Full`](crate::error::SendError::Full).
    #[default]
    Refuse,
    /// The oldest that wait make room; they are counted.
    DropOldest,
}

impl Overflow {
    const fn wire(self) -> u8 {
        match self {
            Self::Refuse => 0,
            Self::DropOldest => 1,
        }
    }
}

/// One channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// What it promises.
    pub kind: Kind,
    /// 0 to 7: what waits on a lower number goes first. Blocks come after everything, whatever theirs is.
    pub priority: u8,
    /// 1 to 255: the share of what channels of one priority can send, when they cannot send all.
    pub weight: u8,
    /// Bytes of messages a tick that go before any other channel's, whatever its priority; 0 = none. On the snapshot
    /// channel: what messages of a lower priority leave free in a packet with a snapshot.
    pub min_bytes: u32,
    /// The most bytes of messages a tick; 0 = no limit.
    pub max_bytes: u32,
    /// The longest message in bytes, at most [`Kind::longest`].
    pub max_message: u32,
    /// The most bytes that wait on one side: unacknowledged at the sender, out of order or in parts at the receiver. On
    /// a block channel the receiver's window.
    pub queue_bytes: u32,
    /// What happens when the queue is full; anything but [`Overflow::Refuse`] on unreliable channels only.
    pub overflow: Overflow,
}

impl Channel {
    /// A channel of priority 3 and weight 1 without limits per tick.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, max_message: u32, queue_bytes: u32) -> Self {
        let overflow = Overflow::Refuse;
        Self { name, kind, priority: 3, weight: 1, min_bytes: 0, max_bytes: 0, max_message, queue_bytes, overflow }
    }

    /// The same with another priority.
    #[must_use]
    pub const fn with_priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    /// The same with another weight.
    #[must_use]
    pub const fn with_weight(self, weight: u8) -> Self {
        Self { weight, ..self }
    }

    fn is_valid(&self) -> bool {
        let queue_holds_a_message = match self.kind {
            Kind::Sequenced | Kind::Snapshot => true,
            Kind::Unreliable => self.queue_bytes >= self.max_message,
            Kind::ReliableOrdered | Kind::ReliableUnordered => self.queue_bytes >= self.max_message,
            Kind::Block => self.queue_bytes >= LEAST_WINDOW,
        };
        let drops_where_it_may = self.overflow == Overflow::Refuse || self.kind == Kind::Unreliable;
        queue_holds_a_message
            && drops_where_it_may
            && self.name.len() <= 255
            && self.priority < PRIORITIES
            && self.weight > 0
            && self.max_message <= self.kind.longest()
            && (self.max_bytes == 0 || self.max_bytes >= self.min_bytes)
    }
}

/// The channels of a connection; the index is the number on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(pub ArrayVec<Channel, MAX_CHANNELS>);

impl Table {
    /// The table of Zonewire's own server and SDK: snapshots, inputs, session messages, the game's events.
    #[must_use]
    pub fn standard() -> Self {
        let snapshot = Channel { min_bytes: 512, ..Channel::new("snapshot", Kind::Snapshot, MAX_SNAPSHOT, 0) };
        let input = Channel::new("input", Kind::Sequenced, 128, 0);
        let session = Channel::new("session", Kind::ReliableOrdered, 1024, 16 * 1024);
        let event = Channel::new("event", Kind::ReliableUnordered, 64, 16 * 1024);
        Self([snapshot.with_priority(2), input.with_priority(1), session, event].into_iter().collect())
    }

    /// One channel of every kind beside the standard ones: for laboratories, benches and tests of client libraries.
    #[must_use]
    pub fn lab() -> Self {
        let mut table = Self::standard();
        table.0.extend([
            Channel::new("ordered", Kind::ReliableOrdered, MAX_RELIABLE, 256 * 1024),
            Channel::new("unordered", Kind::ReliableUnordered, MAX_RELIABLE, 256 * 1024),
            Channel { overflow: Overflow::DropOldest, ..Channel::new("datagram", Kind::Unreliable, 8192, 64 * 1024) }
                .with_priority(4),
            Channel::new("state", Kind::Sequenced, MAX_WHOLE, 0).with_priority(4),
            Channel::new("block", Kind::Block, MAX_BLOCK, 1024 * 1024).with_priority(7),
        ]);
        table
    }

    /// FNV-1a over the canonical bytes (rule C-12 of SPEC.md); both sides must agree on it to connect.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let start = Fnv::new().byte(self.0.len() as u8);
        let channel_bytes = |hash: Fnv, channel: &Channel| {
            hash.text(channel.name)
                .byte(channel.kind.wire())
                .byte(channel.priority)
                .byte(channel.weight)
                .u32(channel.min_bytes)
                .u32(channel.max_bytes)
                .u32(channel.max_message)
                .u32(channel.queue_bytes)
                .byte(channel.overflow.wire())
        };
        self.0.iter().fold(start, channel_bytes).0
    }

    /// Whether the table keeps its own rules: every channel's limits are in range, its queue holds its longest message,
    /// and there is at most one snapshot channel.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.iter().all(Channel::is_valid)
            && self.0.iter().filter(|channel| channel.kind == Kind::Snapshot).count() <= 1
    }

    /// The channel with that number.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<&Channel> {
        self.0.get(usize::from(number))
    }

    /// The number of the snapshot channel.
    #[must_use]
    pub fn snapshot(&self) -> Option<u8> {
        (0u8..).zip(&self.0).find(|(_, channel)| channel.kind == Kind::Snapshot).map(|(number, _)| number)
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
        assert_eq!(kind(EVENT), Some(Kind::ReliableUnordered));
        assert_eq!(kind(4), None);
        assert_eq!(table.snapshot(), Some(SNAPSHOT));
    }

    #[test]
    fn the_lab_table_has_every_kind() {
        let table = Table::lab();
        assert!(table.is_valid());
        for number in 0..6 {
            assert!(table.0.iter().any(|channel| channel.kind.wire() == number), "kind {number}");
        }
    }

    #[test]
    fn any_change_changes_the_hash() {
        let changes: [fn(&mut Channel); 9] = [
            |channel| channel.name = "other",
            |channel| channel.kind = Kind::ReliableUnordered,
            |channel| channel.priority += 1,
            |channel| channel.weight += 1,
            |channel| channel.min_bytes += 1,
            |channel| channel.max_bytes += 1,
            |channel| channel.max_message += 1,
            |channel| channel.queue_bytes += 1,
            |channel| channel.overflow = Overflow::DropOldest,
        ];
        for change in changes {
            let mut other = Table::standard();
            change(&mut other.0[2]);
            assert_ne!(other.hash(), Table::standard().hash());
        }
    }

    #[test]
    fn what_breaks_a_rule_of_the_table_is_invalid() {
        let breaches: [fn(&mut Channel); 7] = [
            |channel| channel.kind = Kind::Snapshot,
            |channel| channel.max_message = MAX_RELIABLE + 1,
            |channel| channel.queue_bytes = 1023,
            |channel| channel.priority = 8,
            |channel| channel.weight = 0,
            |channel| channel.overflow = Overflow::DropOldest,
            |channel| (channel.min_bytes, channel.max_bytes) = (2, 1),
        ];
        for (number, breach) in breaches.into_iter().enumerate() {
            let mut table = Table::standard();
            breach(&mut table.0[2]);
            assert!(!table.is_valid(), "breach {number}");
        }
    }
}

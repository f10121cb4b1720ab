//! What came out.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use server::replication::Inconsistent;

/// Something that must never happen, happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The server's tick by then.
    pub tick: u64,
    /// The client concerned, if one is.
    pub client: Option<usize>,
    /// What it was.
    pub what: Broken,
}

/// The invariants, by how they broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A state confirmed for a tick is not the server's at that tick.
    #[error("entity {id} in the snapshot of tick {snapshot} is not as in the frame")]
    ViewDiffers {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A client has what only the owner of an entity gets, and is not; or lacks it, and is.
    #[error("entity {id} shows the owner's fields to another, or not to its owner, in the snapshot of tick {snapshot}")]
    NotTheOwner {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A client does not have what the server believes it has.
    #[error("the client does not have entity {id} as acknowledged at tick {acked}")]
    NotHeld {
        /// The entity.
        id: u32,
        /// The tick.
        acked: u64,
    },
    /// An entity in view left its course more than a second ago, and no record told it.
    #[error("entity {id} starves in the snapshot of tick {snapshot}: its newest record is of tick {told}")]
    Starving {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
        /// The tick of the newest record.
        told: u64,
    },
    /// A snapshot is longer than it may be.
    #[error("the snapshot of tick {snapshot} has {bytes} bytes, and {most} are allowed")]
    BudgetExceeded {
        /// The snapshot.
        snapshot: u64,
        /// Its body.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// A datagram held more than one snapshot, or not the whole of one.
    #[error("a datagram held {snapshots} snapshots")]
    NotOneSnapshot {
        /// How many.
        snapshots: usize,
    },
    /// What the shards keep for replication contradicts itself.
    #[error("replication: {0}")]
    Inconsistent(Inconsistent),
    /// A view holds an entity that the world no longer has.
    #[error("entity {id} is left over after the snapshot of tick {snapshot}")]
    LeftOver {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A view lacks an entity that has long been near.
    #[error("entity {id} is near and unknown after the snapshot of tick {snapshot}")]
    Unknown {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A view lacks an entity that has long been tied to the client.
    #[error("entity {id} is tied to the client and unknown after the snapshot of tick {snapshot}")]
    TiedUnknown {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A client was told of an entity outside its area of interest.
    #[error("entity {id} is outside the area of interest in the snapshot of tick {snapshot}")]
    OutsideArea {
        /// The entity.
        id: u32,
        /// The snapshot.
        snapshot: u64,
    },
    /// A datagram was accepted that nobody sealed.
    #[error("a datagram that nobody sealed was accepted {}", if *.by_server { "by the server" } else { "by a client" })]
    ForgeryAccepted {
        /// By which side.
        by_server: bool,
    },
    /// A connection was given up that only had to follow its client.
    #[error("a connection over a mild network was given up")]
    Abandoned,
    /// An address that proved nothing was sent more than it may be.
    #[error("{sent} bytes went to an unproven address from which {received} came")]
    Amplified {
        /// Bytes that came from there.
        received: u64,
        /// Bytes that went there.
        sent: u64,
    },
    /// Queues hold more than the channel table allows.
    #[error("queues hold {bytes} bytes, and {most} are allowed")]
    QueueTooLong {
        /// What they hold.
        bytes: u64,
        /// What they may.
        most: u64,
    },
    /// A packet number was sealed twice under one key (looked for in debug builds).
    #[error("{repeats} nonces were used twice")]
    NonceRepeated {
        /// How often.
        repeats: u64,
    },
    /// The server took other datagrams than those that were delivered to it.
    #[error("{delivered} datagrams were delivered to the server, which counted {counted}")]
    Uncounted {
        /// By the network.
        delivered: u64,
        /// By the server.
        counted: u64,
    },
    /// Inputs went to the zone out of order.
    #[error("the input for tick {input} came after a newer one")]
    InputsOutOfOrder {
        /// Its tick.
        input: u64,
    },
    /// The game broke one of its own rules.
    #[error("entity {id} is beyond the rules: {rule}")]
    RuleBroken {
        /// The entity.
        id: u32,
        /// The rule.
        rule: Rule,
    },
    /// A client heard something that nobody told it, or heard it twice.
    #[error("something of tick {told} was heard that was not told, or once too often")]
    HeardUntold {
        /// Its tick.
        told: u64,
    },
    /// A client did not hear what it was told.
    #[error("something told in tick {told} was not heard")]
    Unheard {
        /// The tick.
        told: u64,
    },
    /// After the faults, a client does not predict what the server makes of its inputs.
    #[error("what is predicted for tick {predicted} is not what happens")]
    PredictionDiffers {
        /// The tick.
        predicted: u64,
    },
    /// A replay of the zone's log went another way.
    #[error("the replay of the log differs after tick {after}")]
    ReplayDiffers {
        /// The last tick that did not.
        after: u64,
    },
    /// An honest client on a mild path was not believed when it saw others.
    #[error("{shots} shots of honest clients on a mild path were refused for the time that they claim to have seen")]
    ViewRefused {
        /// How many.
        shots: u64,
    },
    /// Honest ends found each other breaking the protocol.
    #[error("a connection between honest ends broke the protocol")]
    ProtocolError,
    /// The network lost count of datagrams.
    #[error("the network's counters do not add up")]
    Accounting,
    /// After the faults, somebody was not connected in time.
    #[error("not connected, or not welcomed, {seconds} s after the faults")]
    NotConnected {
        /// How long it was waited for.
        seconds: u32,
    },
    /// After the faults, a view did not become complete in time.
    #[error("the view is not complete and up to date {seconds} s after the faults")]
    NotComplete {
        /// How long it was waited for.
        seconds: u32,
    },
    /// After the faults, the server still held connections or players that nobody has.
    #[error("{connections} connections and {players} players, {seconds} s after the faults")]
    NotDrained {
        /// Connections at all shards.
        connections: u64,
        /// Players in the zone.
        players: u64,
        /// How long it was waited for.
        seconds: u32,
    },
}

/// The game's own rules, as far as anybody can see from outside whether they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Every field is in its range.
    #[error("fields in their ranges")]
    Range,
    /// Nobody is faster than one can be.
    #[error("speed")]
    Speed,
    /// No weapon fires faster than it can, and nobody dead fires.
    #[error("the weapon's pace")]
    Rate,
    /// Rounds are used by shots, come by loot or with a new life, and there is a most of them.
    #[error("ammunition")]
    Ammunition,
    /// Health and armour are within their bounds, and who has no health is dead.
    #[error("health")]
    Health,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}: ", self.tick)?;
        if let Some(client) = self.client {
            write!(f, "client {client}: ")?;
        }
        self.what.fmt(f)
    }
}

/// The report of one seed. The fields' names are a contract with scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Ticks simulated.
    pub ticks: u64,
    /// It was ended before its time: what is looked at in the end was not, or not all of it.
    pub interrupted: bool,
    /// Clients.
    pub clients: u64,
    /// Broken invariants.
    pub violations: u64,
    /// The first of them, in words.
    pub first_violations: Vec<String>,
    /// Worlds, plaintexts, times and sizes in one number, hexadecimal.
    pub digest: String,
    /// Predictions that were corrected.
    pub corrections: u64,
    /// Virtual seconds after the faults until everything had converged.
    pub converged_after_s: u64,
    /// Snapshots checked against the truth.
    pub snapshots_checked: u64,
    /// Of these, complete ones.
    pub complete_snapshots: u64,
    /// States checked against the truth.
    pub states_checked: u64,
    /// Snapshots too old to be checked.
    pub unchecked: u64,
    /// Snapshots in which some had to starve: more turned than fits the budget of a second.
    pub unfeedable: u64,
    /// Damaged datagrams that arrived, all of which must be dropped.
    pub forgeries: u64,
    /// Connections made.
    pub connects: u64,
    /// Ends of connections and of attempts, by reason.
    pub ends: BTreeMap<String, u64>,
    /// Datagrams delivered.
    pub delivered: u64,
    /// How often a client's address changed on the same connection.
    pub roams: u64,
    /// Keys rolled, by servers and clients.
    pub key_rolls: u64,
    /// Clients that meant harm.
    pub hostile: u64,
    /// Bytes of all snapshots that were checked.
    pub snapshot_bytes: u64,
    /// Bytes of the longest.
    pub longest_snapshot: u64,
    /// The longest time between two snapshots of a connection, in ticks.
    pub longest_wait: u64,
    /// The longest time between two complete snapshots of a connection, in ticks.
    pub longest_incomplete: u64,
    /// How often each state of replication was reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// What the network and hostile clients did, by fault.
    pub faults: BTreeMap<&'static str, u64>,
    /// Datagrams dropped by the server, by cause.
    pub server_drops: BTreeMap<&'static str, u64>,
    /// Datagrams dropped by clients, by cause.
    pub client_drops: BTreeMap<&'static str, u64>,
    /// Ticks in which a player's input was missing.
    pub inputs_missing: u64,
    /// What the server did not do for players, by cause.
    pub refusals: BTreeMap<&'static str, u64>,
}

/// Violations in words that a report holds.
const FIRST: usize = 20;

impl Report {
    pub(super) fn violate(&mut self, violation: &Violation) {
        self.violations += 1;
        if self.first_violations.len() < FIRST {
            self.first_violations.push(violation.to_string());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.interrupted {
            "interrupted before its end".to_owned()
        } else {
            format!("converged after {} s", self.converged_after_s)
        };
        write!(
            f,
            "seed {}: {} violations, digest {}, {} ticks, {} clients, {} connects, {} snapshots and {} states checked, \
             {}",
            self.seed,
            self.violations,
            self.digest,
            self.ticks,
            self.clients,
            self.connects,
            self.snapshots_checked,
            self.states_checked,
            end
        )?;
        for violation in &self.first_violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

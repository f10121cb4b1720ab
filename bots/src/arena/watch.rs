//! Why each entity went into a client's snapshots, or did not.

use netcode::packet::ConnId;
use serde::Serialize;
use server::replication::{Explained, Tier};

use super::cluster::Cluster;
use super::player::Player;

/// An entity that could have gone into a snapshot, with the terms of its priority (`server::replication::Terms`). The
/// fields' names are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Weighed {
    /// The snapshot's tick.
    pub tick: u64,
    /// The client.
    pub client: usize,
    /// The entity's id.
    pub entity: u32,
    /// Its slot.
    pub slot: u16,
    /// What overrides the score: `plain`, `starved`, `followed`, `first`, each before the one named before it.
    pub tier: &'static str,
    /// Weight of its kind, percent.
    pub class: u32,
    /// Weight of its distance.
    pub distance: u32,
    /// Weight of the relation, percent.
    pub relation: u32,
    /// Weight of the error of the client's guess, percent.
    pub error: u32,
    /// Weight of losses, percent.
    pub loss: u32,
    /// Ticks that it has waited.
    pub age: u32,
    /// What they come to.
    pub score: u32,
    /// Bits of its record.
    pub bits: u16,
    /// Whether it went.
    pub sent: bool,
}

impl Weighed {
    fn new(client: usize, explained: &Explained) -> Self {
        let Explained { tick, id, slot, terms, bits, sent } = *explained;
        let tier = match terms.tier {
            Tier::Plain => "plain",
            Tier::Starved => "starved",
            Tier::Followed => "followed",
            Tier::First => "first",
        };
        Self {
            tick,
            client,
            entity: id.raw(),
            slot,
            tier,
            class: terms.class,
            distance: terms.distance,
            relation: terms.relation,
            error: terms.error,
            loss: terms.loss,
            age: terms.age,
            score: terms.score,
            bits,
            sent,
        }
    }
}

/// Is told of each entity that could have gone into a snapshot.
pub type Tell = Box<dyn FnMut(&Weighed)>;

/// Somebody who wants to know.
pub(super) struct Watch {
    pub client: usize,
    conn: Option<ConnId>,
    /// The tick that was told last.
    told: u64,
    tell: Tell,
}

impl Watch {
    pub(super) fn new(client: usize, tell: Tell) -> Self {
        Self { client, conn: None, told: 0, tell }
    }

    /// Follows the client to its newest connection.
    pub(super) fn follow(&mut self, player: &Player, cluster: &mut Cluster) {
        let conn = player.client.as_ref().and_then(|client| client.conn());
        if conn != self.conn
            && let Some(shard) = cluster.shard_mut(player.shard)
        {
            shard.watch(conn);
            self.conn = conn;
        }
    }

    /// Tells what was chosen for the snapshot of that tick, if there was one.
    pub(super) fn tell(&mut self, player: &Player, cluster: &Cluster, tick: u64) {
        let explained = cluster.shard(player.shard).map_or(&[][..], |shard| shard.explained());
        if self.told >= tick || explained.first().is_none_or(|first| first.tick != tick) {
            return;
        }
        self.told = tick;
        for entry in explained {
            (self.tell)(&Weighed::new(self.client, entry));
        }
    }
}

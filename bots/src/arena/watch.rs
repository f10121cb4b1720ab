//! Why each entity went into a client's snapshots, or did not.

use netcode::packet::ConnId;
use serde::Serialize;
use server::replication::Weighed;

use super::cluster::Cluster;
use super::player::Player;

/// An entity that could have gone into a client's snapshot. The fields' names are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The client.
    pub client: usize,
    /// The entity, and the terms of its priority.
    #[serde(flatten)]
    pub weighed: Weighed,
}

/// Is told of each entity that could have gone into a snapshot.
pub type Tell = Box<dyn FnMut(&Line)>;

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
            (self.tell)(&Line { client: self.client, weighed: entry.into() });
        }
    }
}

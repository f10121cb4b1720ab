//! Looks for contradictions in what is kept: for checkers, never on the way of a packet.

use sim::{EntityId, Frame};
use thiserror::Error;

use super::Replication;
use super::replica::{Known, Phase, Replica};
use super::viewers::Viewer;

/// What the server believes that a client has of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The entity.
    pub id: EntityId,
    /// Its slot.
    pub slot: u16,
    /// The newest tick whose state the client acknowledged.
    pub acked: u64,
    /// Nothing is on its way, or to be sent: the entity was still on that tick's course when the newest snapshot was
    /// written, as far as the server has looked.
    pub settled: bool,
    /// The server is told when it turns; the others are looked at by turns.
    pub followed: bool,
}

/// A contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Inconsistent {
    /// The index of entities names another slot, or a vacant one, or lacks one.
    #[error("client {client}: slot {slot} and the index of entities disagree")]
    Index {
        /// The client's place.
        client: u16,
        /// The slot.
        slot: u16,
    },
    /// A slot is neither in use nor among the vacant, or both.
    #[error("client {client}: {used} slots in use and {vacant} vacant are not {slots}")]
    Slots {
        /// The client's place.
        client: u16,
        /// In use.
        used: usize,
        /// Vacant.
        vacant: usize,
        /// All.
        slots: usize,
    },
    /// A followed entity has not exactly this one viewer in its list.
    #[error("client {client}: slot {slot} is followed and is {times} times among its entity's viewers")]
    Viewer {
        /// The client's place.
        client: u16,
        /// The slot.
        slot: u16,
        /// How often it is there.
        times: usize,
    },
    /// The lists of viewers hold others than those who follow.
    #[error("{listed} viewers are listed, and {followed} slots are followed")]
    Strangers {
        /// In all lists.
        listed: usize,
        /// Slots of all clients that are followed.
        followed: usize,
    },
    /// Nobody would ever look at a slot whose entity needs a record.
    #[error("client {client}: slot {slot} needs a record and is not pending")]
    Forgotten {
        /// The client's place.
        client: u16,
        /// The slot.
        slot: u16,
    },
    /// Outside a crowd everybody is followed; in one exactly those of the last look, and who lies still.
    #[error("client {client}: slot {slot} is followed, or is not, against the rule")]
    Following {
        /// The client's place.
        client: u16,
        /// The slot.
        slot: u16,
    },
}

impl Replica {
    /// What the client is believed to have, by ascending id; those not included of whom it has acknowledged nothing, or whose
    /// despawn is on its way.
    pub fn held(&self) -> impl Iterator<Item = Held> + '_ {
        self.order.iter().filter_map(|(id, slot)| {
            let known = self.slots.get(usize::from(*slot)).filter(|known| known.phase == Phase::Known)?;
            let acked = self.epoch + u64::from(known.acked);
            let settled = !self.pending.contains(*slot) && !self.in_flight(*slot);
            Some(Held { id: *id, slot: *slot, acked, settled, followed: known.followed })
        })
    }
}

impl Replication {
    /// Looks through all clients; takes some microseconds for each entity that one knows.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), Inconsistent> {
        let mut followed = 0;
        for (client, replica) in (0u16..).zip(&self.clients) {
            let Some(replica) = replica else { continue };
            check_index(client, replica)?;
            for (slot, known) in (0u16..).zip(&replica.slots) {
                followed += usize::from(known.followed);
                self.check_slot(client, replica, slot, known)?;
            }
        }
        let listed = self.viewers.listed();
        if listed == followed { Ok(()) } else { Err(Inconsistent::Strangers { listed, followed }) }
    }

    fn check_slot(&self, client: u16, replica: &Replica, slot: u16, known: &Known) -> Result<(), Inconsistent> {
        let times = self.viewers.of(known.id).iter().filter(|viewer| **viewer == Viewer { client, slot }).count();
        if known.followed && times != 1 {
            return Err(Inconsistent::Viewer { client, slot, times });
        }
        let vacant = known.phase == Phase::Vacant;
        let near = replica.near.contains(&(known.id, slot));
        let by_rule =
            if replica.crowded { (near || known.still) == known.followed || near } else { known.followed != vacant };
        if !by_rule || vacant && known.followed {
            return Err(Inconsistent::Following { client, slot });
        }
        let newest = self.ring.newest();
        let looked_at = || replica.pending.contains(slot) || replica.crowded && replica.in_flight(slot);
        if newest.is_some_and(|frame| needs_record(frame, replica, known)) && !looked_at() {
            return Err(Inconsistent::Forgotten { client, slot });
        }
        Ok(())
    }
}

/// Whether it must not be left alone. Who is not followed is looked at in time.
fn needs_record(frame: &Frame, replica: &Replica, known: &Known) -> bool {
    match known.phase {
        _ if !known.followed => false,
        Phase::Vacant => false,
        Phase::Spawning | Phase::Despawning => true,
        Phase::Known => frame.row(known.id).is_none_or(|row| {
            let course = if known.id == replica.own { frame.course_own(row) } else { frame.course(row) };
            course > replica.epoch + u64::from(known.acked)
        }),
    }
}

fn check_index(client: u16, replica: &Replica) -> Result<(), Inconsistent> {
    let mut last = None;
    for (id, slot) in &replica.order {
        let there =
            replica.slots.get(usize::from(*slot)).is_some_and(|known| known.id == *id && known.phase != Phase::Vacant);
        if !there || last.replace(*id).is_some_and(|last| last >= *id) {
            return Err(Inconsistent::Index { client, slot: *slot });
        }
    }
    let is_vacant = |known: &&Known| known.phase == Phase::Vacant;
    let (used, slots) = (replica.order.len(), replica.slots.len());
    let vacant = replica.slots.iter().filter(is_vacant).count();
    if used + vacant != slots || vacant != replica.vacant() {
        return Err(Inconsistent::Slots { client, used, vacant, slots });
    }
    Ok(())
}

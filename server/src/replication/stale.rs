//! In a crowd: those of whom a client has a state from so long ago that no frame is left to be its baseline.
//!
//! They can only be told whole, which takes several times the bits. Were they told in their turn, as all others, snapshots would
//! be cut and turns take so long that others became stale as well: who is served rarely for a few seconds would never
//! recover. So they wait beside, and whole states are what is left room for behind the turns of the others. Each that was
//! told is a cheap update from then on.

use netcode::snapshot::MAX_GAP_BITS;

use super::Explained;
use super::priority::Terms;
use super::replica::{Known, Phase, Replica};
use super::select::{Candidate, Choice, What, common, course, update};

/// Whether who needs a whole state may wait until there is room.
pub(super) fn may_wait(replica: &Replica, known: &Known, what: &What) -> bool {
    replica.crowded && !known.followed && known.phase == Phase::Known && matches!(what, What::Spawn { .. })
}

/// Adds those to the candidates for whom there is room in so many bits, beginning behind who was added last.
pub(super) fn add(replica: &mut Replica, choice: &mut Choice<'_>, room: usize, candidates: &mut Vec<Candidate>) {
    let (before, common, mut room) = (candidates.len(), common(replica, choice), room);
    while let Some(slot) = replica.stale.first_from(replica.stale_from) {
        let Some(known) = replica.slots.get(usize::from(slot)).copied() else { break };
        let row = choice.frame.row(known.id);
        // Who is pending is looked at anyway.
        let waits = known.phase == Phase::Known && !known.followed && !replica.pending.contains(slot);
        let acked = replica.epoch + u64::from(known.acked);
        let Some(row) = row.filter(|row| waits && course(choice.frame, *row, false) > acked) else {
            replica.stale.remove(slot);
            continue;
        };
        let (bits, what) = update(choice, common, known.id, row, false, acked);
        // It was acknowledged since: in its turn it is an update again.
        if !matches!(what, What::Spawn { .. }) {
            replica.stale.remove(slot);
            continue;
        }
        let Some(left) = room.checked_sub(bits + MAX_GAP_BITS) else { break };
        room = left;
        replica.stale.remove(slot);
        replica.stale_from = slot + 1;
        candidates.push(Candidate::new(slot, bits, what));
        if let Some(explained) = choice.explained.as_deref_mut() {
            // It took what others left, and was weighed against nobody.
            let (tick, terms) = (choice.frame.tick, Terms::default());
            explained.push(Explained { tick, id: known.id, slot, terms, bits: bits as u16, sent: true });
        }
    }
    if candidates.len() > before {
        candidates.sort_unstable_by_key(|candidate| candidate.slot);
    }
}

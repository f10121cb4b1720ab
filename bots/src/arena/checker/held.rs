//! Whether a client has what its shard believes it has.

use sim::Frame;

use super::super::options::Planted;
use super::super::report::Broken;
use super::{Checker, Subject, visible};

impl Checker {
    /// What the client acknowledged of an entity it has, as it was in the frame of that tick; and where nothing more is to be
    /// said, the course from there is where the entity is now.
    pub(super) fn check_held(&mut self, subject: &Subject<'_>, newest: &Frame, broken: &mut Vec<Broken>) {
        let Some(replica) = subject.replica else { return };
        let (view, early) = (subject.client.view(), u64::from(self.planted == Some(Planted::AcksEarly)));
        for held in replica.held() {
            let (id, acked) = (held.id.raw(), held.acked + early);
            let lost = Broken::NotHeld { id, acked };
            let Some(entity) = view.entity(id).filter(|entity| entity.slot() == held.slot) else {
                broken.push(lost);
                continue;
            };
            self.counts.held += 1;
            let differs = |frame: &Frame| {
                let truth = frame.row(held.id).map(|row| visible(&entity, frame.state(row)));
                // Older courses than it needs a client forgets.
                entity.state_at(frame.tick).is_some_and(|state| truth != Some(state))
            };
            let settled = held.settled && held.followed && acked <= newest.tick;
            if subject.history.at(acked).is_some_and(differs) || settled && differs(newest) {
                broken.push(lost);
            }
        }
    }
}

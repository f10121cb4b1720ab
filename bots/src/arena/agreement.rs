//! Whether what clients predict is what the server makes of it.

use std::collections::VecDeque;

use client::Client;
use netcode::schema::State;
use sim::game::is_foreign;
use sim::{EntityId, Frame};

/// Predictions of a client that are kept: more ticks than inputs are ahead.
const KEPT: usize = 64;

/// What one client predicted lately.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    entity: Option<EntityId>,
    /// Tick and state, ascending.
    predicted: VecDeque<(u64, State)>,
    /// The newest tick for which a prediction was as the server's state, but for what others change.
    pub agreed: Option<u64>,
    /// The newest for which it was not.
    pub differed: Option<u64>,
    /// How many were compared, and were as they should be.
    pub compared: u64,
    pub equal: u64,
}

impl Agreement {
    /// Notes what a client predicts by now.
    pub(super) fn note(&mut self, client: &Client) {
        let Some((tick, state)) = client.predicted() else { return };
        if std::mem::replace(&mut self.entity, client.own()) != client.own() {
            self.predicted.clear();
        }
        // A later prediction for the same tick is a better one.
        while self.predicted.back().is_some_and(|(newest, _)| *newest >= tick) {
            self.predicted.pop_back();
        }
        if self.predicted.len() == KEPT {
            self.predicted.pop_front();
        }
        self.predicted.push_back((tick, state));
    }

    /// The server made a tick.
    pub(super) fn compare(&mut self, frame: &Frame) {
        while self.predicted.front().is_some_and(|(tick, _)| *tick < frame.tick) {
            self.predicted.pop_front();
        }
        let Some((_, predicted)) = self.predicted.front().filter(|(tick, _)| *tick == frame.tick) else { return };
        let Some(row) = self.entity.and_then(|id| frame.row(id)) else { return };
        let (actual, agreed) = (frame.state(row), &mut self.agreed);
        self.compared += 1;
        if is_foreign(predicted, actual) {
            self.equal += 1;
            *agreed = Some(frame.tick);
        } else {
            self.differed = Some(frame.tick);
        }
    }
}

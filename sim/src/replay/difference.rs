//! How two worlds differ, field by field.

use crate::entity::EntityId;
use crate::frame::Frame;
use netcode::schema::{Field, Kind, Schema, State};
use std::collections::BTreeMap;

/// The most differences that are told; the others are counted.
pub const MAX_DIFFERENCES: usize = 1000;

/// How a replay's world differs from the recorded one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// The first [`MAX_DIFFERENCES`], ascending by entity and field.
    pub list: Vec<Difference>,
    /// How many there are.
    pub total: usize,
}

/// One thing in which the worlds differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Of whom.
    pub entity: EntityId,
    /// The name of its kind (the recorded one's, where they differ).
    pub kind: &'static str,
    /// What.
    pub what: Apart,
}

/// What is not the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Apart {
    /// It was there when the log was written and is not in the replay.
    Missing,
    /// It is there in the replay only.
    Extra,
    /// It is of another kind in the replay: this one.
    Kind(&'static str),
    /// A field has other values.
    Field {
        /// Its name.
        name: &'static str,
        /// Of both values.
        unit: &'static str,
        /// As the log has it.
        recorded: f64,
        /// As the replay has it.
        replayed: f64,
    },
}

/// What of the recorded rows is not in the frame, and the other way round.
pub(super) fn between(
    schema: &'static Schema,
    recorded: impl Iterator<Item = (EntityId, u8, State)>,
    replayed: &Frame,
) -> Differences {
    let mut differences = Differences::default();
    let mut rows: BTreeMap<EntityId, (Option<Row>, Option<Row>)> = BTreeMap::new();
    for (id, kind, state) in recorded {
        rows.entry(id).or_default().0 = schema.kind(kind).map(|kind| Row { kind, state });
    }
    for (row, (id, state)) in replayed.ids().iter().zip(replayed.states()).enumerate() {
        rows.entry(*id).or_default().1 = schema.kind(replayed.kind(row)).map(|kind| Row { kind, state: *state });
    }
    for (entity, pair) in rows {
        let mut tell = |kind: &'static Kind, what| differences.tell(Difference { entity, kind: kind.name, what });
        match pair {
            (Some(recorded), None) => tell(recorded.kind, Apart::Missing),
            (None, Some(replayed)) => tell(replayed.kind, Apart::Extra),
            (Some(recorded), Some(replayed)) if recorded.kind != replayed.kind => {
                tell(recorded.kind, Apart::Kind(replayed.kind.name));
            }
            (Some(recorded), Some(replayed)) => {
                let values = recorded.state.iter().zip(&replayed.state);
                for (field, (before, now)) in recorded.kind.fields.iter().zip(values).filter(|(_, (a, b))| a != b) {
                    let (recorded_value, replayed_value) = (in_units(field, *before), in_units(field, *now));
                    let (name, unit) = (field.name, field.unit);
                    let what = Apart::Field { name, unit, recorded: recorded_value, replayed: replayed_value };
                    tell(recorded.kind, what);
                }
            }
            (None, None) => {}
        }
    }
    differences
}

struct Row {
    kind: &'static Kind,
    state: State,
}

impl Differences {
    fn tell(&mut self, difference: Difference) {
        self.total += 1;
        if self.list.len() < MAX_DIFFERENCES {
            self.list.push(difference);
        }
    }
}

/// The value of a field in its unit.
fn in_units(field: &Field, quanta: i32) -> f64 {
    f64::from(quanta) / f64::from(field.scale)
}

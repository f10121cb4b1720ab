//! Why each entity went into a client's snapshot, or did not, as a record for logs and traces.

use serde::Serialize;

use super::{Explained, Tier};

/// An entity that could have gone into a snapshot, with the terms of its priority ([`Terms`](super::Terms)). The fields'
/// names are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Weighed {
    /// The snapshot's tick.
    pub tick: u64,
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
    /// Bits of its record in the fast codec.
    pub bits: u16,
    /// Whether it went.
    pub sent: bool,
}

impl From<&Explained> for Weighed {
    fn from(explained: &Explained) -> Self {
        let Explained { tick, id, slot, terms, bits, sent } = *explained;
        let tier = match terms.tier {
            Tier::Plain => "plain",
            Tier::Starved => "starved",
            Tier::Followed => "followed",
            Tier::First => "first",
        };
        Self {
            tick,
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

//! What goes first when not everything fits: the terms of an entity's priority, as data.
//!
//! The score of an entity that waits is the product of its terms. Only waiting raises it over time, so whatever
//! was left out comes first sooner or later; and what has waited for [`Priority::starved_ms`] goes before all
//! that has not, so nobody in sight starves. Integers only: equal worlds choose alike everywhere.

use netcode::schema::MAX_KINDS;

/// What an entity is to a client, besides near or far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// Nothing.
    #[default]
    None,
    /// They deal with each other: a trade, a talk, a hit.
    Interaction,
    /// Of the same party.
    Party,
    /// What the client aims at.
    Target,
}

/// The weights. Percentages multiply: 100 changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// Percent, by entity kind, 1..=10,000. Default 100.
    pub class: [u16; MAX_KINDS],
    /// Weight of an entity where the client's own is, 1..=10,000. Default 64.
    pub near: u16,
    /// Weight at the edge of the area, 1..=10,000. Default 8.
    pub far: u16,
    /// How steeply it falls between: `far + (near - far) * (1 - (d / r)²) ^ falloff`, 1..=8. Default 2.
    pub falloff: u8,
    /// Percent for [`Relation::Interaction`]. Default 300.
    pub interaction: u16,
    /// Percent for [`Relation::Party`]. Default 200.
    pub party: u16,
    /// Percent for [`Relation::Target`]. Default 400.
    pub target: u16,
    /// Percent added for each unit (metre) by which the client's guess of the place is wrong, up to eight. Default 100.
    pub error: u16,
    /// Percent added for each time in a row that a packet with the entity was lost. Default 100.
    pub loss: u16,
    /// After so many milliseconds in the queue an entity goes before all others. Default 600.
    pub starved_ms: u16,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            class: [100; MAX_KINDS],
            near: 64,
            far: 8,
            falloff: 2,
            interaction: 300,
            party: 200,
            target: 400,
            error: 100,
            loss: 100,
            starved_ms: 600,
        }
    }
}

/// Steps of the distance curve.
const STEPS: usize = 16;

/// The weights made ready for use at one rate and radius.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    class: [u16; MAX_KINDS],
    /// By d² / r², in sixteenths.
    distance: [u32; STEPS + 1],
    relation: [u32; 4],
    error: u32,
    loss: u32,
    starved_ticks: u32,
}

/// The terms of one entity's priority, for whoever wants to see why it goes or waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
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
    /// The product; [`Terms::FIRST`] for what goes before all others, [`Terms::STARVED`] for what waited too long.
    pub score: u32,
}

impl Terms {
    /// The score of the client's own entity, and of despawns, which are short and free a slot.
    pub const FIRST: u32 = u32::MAX;
    /// The least score of what has waited too long.
    pub const STARVED: u32 = 1 << 30;
}

/// The least scores of what has waited too long, by how much: each is the first of its [`bucket`], the last but one.
const LATE: [u32; 7] = [Terms::STARVED, 5 << 28, 6 << 28, 7 << 28, 1 << 31, 5 << 29, 6 << 29];
/// They differ by more than this.
const MAX_PRODUCT: u32 = (1 << 28) - 1;

/// What the terms depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub kind: u8,
    /// Squared distance and squared radius, in any unit.
    pub distance2: u64,
    pub radius2: u64,
    pub relation: Relation,
    /// In eighths of a unit.
    pub error: u8,
    pub losses: u8,
    pub waited: u32,
}

impl Weights {
    pub fn new(priority: &Priority, rate: u16) -> Self {
        let mut distance = [0; STEPS + 1];
        let (near, far) = (u64::from(priority.near), u64::from(priority.far));
        let (low, high) = (near.min(far), near.max(far));
        for (step, weight) in distance.iter_mut().enumerate() {
            let (mut rest, mut whole) = (1u64, 1u64);
            for _ in 0..priority.falloff.clamp(1, 8) {
                rest *= (STEPS - step) as u64;
                whole *= STEPS as u64;
            }
            let span = (high - low) * rest / whole;
            *weight = (if near >= far { low + span } else { high - span }) as u32;
        }
        let relation = [100, priority.interaction, priority.party, priority.target].map(u32::from);
        Self {
            class: priority.class,
            distance,
            relation,
            error: priority.error.into(),
            loss: priority.loss.into(),
            starved_ticks: (u32::from(priority.starved_ms) * u32::from(rate) / 1000).max(1),
        }
    }

    #[inline]
    pub fn terms(&self, facts: &Facts) -> Terms {
        let step = (facts.distance2 * STEPS as u64 / facts.radius2.max(1)).min(STEPS as u64);
        let class = u32::from(self.class.get(usize::from(facts.kind)).copied().unwrap_or(100));
        let distance = self.distance.get(step as usize).copied().unwrap_or(0);
        let relation = self.relation.get(facts.relation as usize).copied().unwrap_or(100);
        let error = 100 + self.error * u32::from(facts.error.min(64)) / 8;
        let loss = 100 + self.loss * u32::from(facts.losses.min(8));
        let age = facts.waited.max(1);
        let weight = u64::from(class) * u64::from(distance) / 25 * u64::from(relation) / 100;
        let product = weight * u64::from(error) / 100 * u64::from(loss) / 100 * u64::from(age);
        let score = product.clamp(1, u64::from(MAX_PRODUCT)) as u32;
        // Whoever has waited longest goes first, or those who have waited long enough again and again would keep the rest
        // waiting for ever.
        let late = age.checked_sub(self.starved_ticks).map(|late| u64::from(late) * 8 / u64::from(self.starved_ticks));
        let late = late.map(|late| LATE.get(late as usize).or(LATE.last()).copied().unwrap_or(Terms::STARVED));
        let score = score + late.unwrap_or(0);
        Terms { class, distance, relation, error, loss, age, score }
    }
}

/// Classes of scores for a cut without sorting: four to each doubling.
pub(super) const BUCKETS: usize = 128;

/// The class of a score; ascending with it.
#[inline]
pub(super) fn bucket(score: u32) -> usize {
    if score < 4 {
        return score as usize;
    }
    let log = 31 - score.leading_zeros();
    ((log - 1) * 4 + (score >> (log - 2) & 3)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { radius2: 64 * 64, waited: 1, ..Facts::default() }
    }

    #[test]
    fn each_term_raises_the_score() {
        let weights =
            Weights::new(&Priority { class: [100, 300].repeat(8).try_into().unwrap(), ..Priority::default() }, 20);
        let score = |facts: Facts| weights.terms(&facts).score;
        let far = Facts { distance2: 64 * 64, ..facts() };
        let plain = score(far);
        assert!(score(facts()) > 4 * plain);
        assert_eq!(score(Facts { kind: 1, ..far }), 3 * plain);
        assert_eq!(score(Facts { relation: Relation::Target, ..far }), 4 * plain);
        assert_eq!(score(Facts { relation: Relation::Party, ..far }), 2 * plain);
        assert_eq!(score(Facts { error: 8, ..far }), 2 * plain);
        assert_eq!(score(Facts { losses: 1, ..far }), 2 * plain);
        assert_eq!(score(Facts { waited: 3, ..far }), 3 * plain);
    }

    #[test]
    fn the_curve_may_also_rise_with_distance() {
        let weights = Weights::new(&Priority { near: 10, far: 90, ..Priority::default() }, 20);
        assert_eq!((weights.distance[0], weights.distance[16]), (10, 90));
    }

    #[test]
    fn who_waited_too_long_goes_before_anybody_who_did_not() {
        let weights = Weights::new(&Priority::default(), 20);
        let last = Facts { distance2: 64 * 64, waited: 12, ..facts() };
        let best = Facts { relation: Relation::Target, error: 255, losses: 255, waited: 11, ..facts() };
        assert!(weights.terms(&last).score > weights.terms(&best).score);
        assert!(bucket(weights.terms(&last).score) > bucket(weights.terms(&best).score));
        // And among those, whoever has waited for longer.
        let later = |waited: u32| weights.terms(&Facts { waited, ..last }).score;
        let first = Facts { relation: Relation::Target, error: 255, losses: 255, waited: 12, ..facts() };
        assert!(bucket(later(14)) > bucket(weights.terms(&first).score));
        assert!([14, 15, 17, 18, 20, 21].windows(2).all(|pair| bucket(later(pair[0])) < bucket(later(pair[1]))));
        let extreme =
            Priority { class: [10_000; MAX_KINDS], near: 10_000, starved_ms: u16::MAX, ..Priority::default() };
        let top = Weights::new(&extreme, 128).terms(&Facts { waited: u32::MAX, ..best });
        assert!(top.score < Terms::FIRST);
    }

    #[test]
    fn buckets_ascend_with_scores() {
        let mut last = 0;
        for score in
            (0..4096).chain((12..32).flat_map(|log| [1 << log, (1 << log) + (1 << (log - 1))])).chain([u32::MAX])
        {
            assert!(bucket(score) >= last && bucket(score) < BUCKETS);
            last = bucket(score);
        }
    }
}

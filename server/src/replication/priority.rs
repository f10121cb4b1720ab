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
    /// After so many milliseconds in the queue an entity goes before all that have not waited so long. Default 600.
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
    /// The product; in [`Tier::Starved`] the wait before it.
    pub score: u32,
    /// All of a higher tier go before any of a lower one.
    pub tier: Tier,
}

/// What overrides the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing.
    #[default]
    Plain,
    /// Whoever has waited too long.
    Starved,
    /// The nearest of a crowd, who are to be seen at the full rate.
    Followed,
    /// The client's own entity, and despawns, which are short and free a slot.
    First,
}

/// Where the score of what has waited too long says for how many ticks too long; the bits below have the product.
const LATE_SHIFT: u32 = 24;
/// The most that it says.
const MAX_LATE: u32 = (1 << (32 - LATE_SHIFT)) - 1;

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
    /// One of the nearest, for a client in a crowd.
    pub followed: bool,
    /// Not known yet, for a client in a crowd: no wait is too long while those who are known take all there is.
    pub patient: bool,
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
        let tier = match facts.followed {
            true => Tier::Followed,
            false if age >= self.starved_ticks && !facts.patient => Tier::Starved,
            false => Tier::Plain,
        };
        let score = if tier == Tier::Starved {
            // The longest wait comes first, or those who have waited long enough again and again would keep the rest waiting
            // for ever.
            let late = age.saturating_sub(self.starved_ticks).min(MAX_LATE);
            late << LATE_SHIFT | u32::try_from(product).unwrap_or(u32::MAX).min((1 << LATE_SHIFT) - 1)
        } else {
            u32::try_from(product).unwrap_or(u32::MAX)
        };
        Terms { class, distance, relation, error, loss, age, score, tier }
    }
}

/// Classes of scores for a cut without sorting: in each tier two to each doubling.
pub(super) const BUCKETS: usize = 4 * 64;

/// The class of an entity; ascending with its tier and then its score.
#[inline]
pub(super) fn bucket(terms: &Terms) -> u8 {
    let score = terms.score.max(1);
    let log = 31 - score.leading_zeros();
    let half = if log == 0 { 0 } else { score >> (log - 1) & 1 };
    terms.tier as u8 * 64 + (log * 2 + half) as u8
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
        assert!(bucket(&weights.terms(&last)) > bucket(&weights.terms(&best)));
        // And among those, whoever has waited for longer.
        let first = Facts { relation: Relation::Target, error: 255, losses: 255, waited: 12, ..facts() };
        let class = |waited: u32| bucket(&weights.terms(&Facts { waited, ..last }));
        assert!(class(13) > bucket(&weights.terms(&first)));
        assert!([13, 14, 15, 16, 18, 20, 24].windows(2).all(|pair| class(pair[0]) < class(pair[1])));
        assert!(class(u32::MAX) >= class(100));
        let extreme =
            Priority { class: [10_000; MAX_KINDS], near: 10_000, starved_ms: u16::MAX, ..Priority::default() };
        let top = weights.terms(&Facts { followed: true, ..last });
        assert!(bucket(&top) > bucket(&Weights::new(&extreme, 128).terms(&Facts { waited: u32::MAX, ..best })));
    }

    #[test]
    fn buckets_ascend_with_scores() {
        let doublings = (12..32).flat_map(|log| [1 << log, (1 << log) + (1 << (log - 1))]);
        let scores: Vec<u32> = (0..4096).chain(doublings).chain([u32::MAX]).collect();
        let class = |score: &u32, tier| usize::from(bucket(&Terms { score: *score, tier, ..Terms::default() }));
        assert!(scores.is_sorted_by_key(|score| class(score, Tier::Plain)));
        assert!(scores.is_sorted_by_key(|score| class(score, Tier::First)));
        assert!(class(&u32::MAX, Tier::Plain) < class(&0, Tier::Starved));
        assert!(class(&u32::MAX, Tier::First) < BUCKETS);
    }
}

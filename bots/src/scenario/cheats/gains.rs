//! What players gain, and what some gain over others.

use netcode::rng::Rng;
use sim::Refusals;
use sim::event::What;

/// How often chance is asked for what it does in 99 of 100 times.
const REPETITIONS: usize = 300;

/// What a player, or some together, got in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gains {
    /// Distance moved along the ground.
    pub metres: f64,
    /// Damage done.
    pub damage: u64,
    /// Things picked up.
    pub loot: u64,
    pub refusals: Refusals,
}

impl Gains {
    /// The server tells the player something.
    pub(super) fn told(&mut self, what: What) {
        match what {
            What::Shot { damage, .. } => self.damage += u64::from(damage),
            What::Looted { .. } => self.loot += 1,
            _ => {}
        }
    }

    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.metres += one.metres;
            sum.damage += one.damage;
            sum.loot += one.loot;
            sum.refusals.add(&one.refusals);
            sum
        })
    }

    /// Distance, damage and loot as shares of those of others.
    pub(super) fn over(&self, others: &Self) -> [f64; 3] {
        let ratio = |mine: f64, theirs: f64| if theirs > 0.0 { super::super::meter::round(mine / theirs) } else { 1.0 };
        [
            ratio(self.metres, others.metres),
            ratio(self.damage as f64, others.damage as f64),
            ratio(self.loot as f64, others.loot as f64),
        ]
    }
}

/// The largest of the three shares, less 1.
pub(super) fn advantage(some: &Gains, others: &Gains) -> f64 {
    super::super::meter::round(some.over(others).into_iter().fold(f64::NEG_INFINITY, f64::max) - 1.0)
}

/// The largest advantage of `size` honest players over as many others, in so many random choices: what chance alone gives.
pub(super) fn noise(honest: &[&Gains], size: usize, choices: usize, rng: &mut Rng) -> f64 {
    let mut largest = f64::NEG_INFINITY;
    let mut order: Vec<usize> = (0..honest.len()).collect();
    for _ in 0..choices {
        // Fisher and Yates.
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at as u64 + 1) as usize);
        }
        let group = |from: usize| {
            let chosen = order.iter().skip(from).take(size);
            Gains::sum(chosen.filter_map(|index| honest.get(*index).copied()))
        };
        largest = largest.max(advantage(&group(0), &group(size)));
    }
    largest
}

/// What [`noise`] is not above in 99 of 100 repetitions.
pub(super) fn noise_p99(honest: &[&Gains], size: usize, choices: usize, rng: &mut Rng) -> f64 {
    let mut all: Vec<f32> = (0..REPETITIONS).map(|_| noise(honest, size, choices, rng) as f32).collect();
    all.sort_unstable_by(f32::total_cmp);
    super::super::meter::round(super::super::meter::quantile(&all, 0.99).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advantage_is_the_largest_of_the_three() {
        let twin = Gains { metres: 100.0, damage: 50, loot: 0, ..Gains::default() };
        let cheater = Gains { metres: 90.0, damage: 60, loot: 4, ..Gains::default() };
        assert_eq!(cheater.over(&twin), [0.9, 1.2, 1.0]);
        assert!((advantage(&cheater, &twin) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn equal_players_have_no_noise_and_unequal_ones_do() {
        let equal = [Gains { metres: 10.0, damage: 10, loot: 1, ..Gains::default() }; 12];
        let all: Vec<&Gains> = equal.iter().collect();
        assert!(noise(&all, 3, 9, &mut Rng::new(1)).abs() < 1e-9);
        let unequal: Vec<Gains> = (1..=12).map(|damage| Gains { damage, ..equal[0] }).collect();
        let all: Vec<&Gains> = unequal.iter().collect();
        let often = noise_p99(&all, 3, 9, &mut Rng::new(1));
        assert!(noise(&all, 3, 9, &mut Rng::new(1)) > 0.1 && often > noise(&all, 3, 9, &mut Rng::new(2)), "{often}");
    }
}

//! Whose turn it is to leave, or to get a new address: evenly over time, and over the clients.

use core::time::Duration;

use netcode::Time;
use netcode::rng::Rng;

const MINUTE_MICROS: f64 = 60e6;

/// Turns of clients, so many per cent of them a minute, in an order that the seed decides and that stays: each client's turn
/// comes round as often as any other's. Turns are as far apart as the rate says, on average; when within that time one
/// comes is drawn as well, so that no two squads, and no ticks of a server, keep step with them.
#[derive(Debug)]
pub(super) struct Rounds {
    order: Vec<u32>,
    /// Microseconds from turn to turn; none: nobody's turn ever comes.
    gap: Option<f64>,
    rng: Rng,
    begun: Time,
    /// Of turns that were.
    number: u64,
    next: Time,
}

impl Rounds {
    /// Of so many clients, `percent` of them a minute, from [`Rounds::begin`] on.
    pub fn new(clients: usize, percent: f64, mut rng: Rng) -> Self {
        let mut order: Vec<u32> = (0..clients as u32).collect();
        // Fisher and Yates.
        for left in (1..order.len()).rev() {
            order.swap(left, rng.below(left as u64 + 1) as usize);
        }
        let per_minute = percent / 100.0 * clients as f64;
        let gap = (per_minute > 0.0).then(|| MINUTE_MICROS / per_minute);
        Self { order, gap, rng, begun: Time::ZERO, number: 0, next: Time::NEVER }
    }

    /// The first turn comes within the first gap from now on; once begun, they go on.
    pub fn begin(&mut self, now: Time) {
        if self.number == 0 && self.next == Time::NEVER {
            self.begun = now;
            self.draw();
        }
    }

    /// When the next turn is.
    pub const fn next(&self) -> Time {
        self.next
    }

    /// The client whose turn has come by then, until `None`.
    pub fn pop(&mut self, until: Time) -> Option<u32> {
        if self.next > until {
            return None;
        }
        let client = self.order.get((self.number % self.order.len().max(1) as u64) as usize).copied();
        self.number += 1;
        self.draw();
        client
    }

    fn draw(&mut self) {
        let within = self.rng.unit_f64();
        self.next = self.gap.map_or(Time::NEVER, |gap| {
            self.begun + Duration::from_micros(((self.number as f64 + within) * gap) as u64)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(5000);

    /// The turns of so many minutes: microseconds since the start, and whose.
    fn turns(clients: usize, percent: f64, minutes: u64, seed: u64) -> Vec<(u64, u32)> {
        let mut rounds = Rounds::new(clients, percent, Rng::new(seed));
        assert_eq!((rounds.next(), rounds.pop(START)), (Time::NEVER, None), "not before it begins");
        rounds.begin(START);
        let end = START + Duration::from_secs(60 * minutes);
        let mut turns = Vec::new();
        while rounds.next() < end {
            let at = rounds.next();
            turns.push((at.saturating_since(START).as_micros() as u64, rounds.pop(at).unwrap()));
            rounds.begin(at);
        }
        turns
    }

    #[test]
    fn the_rate_is_the_one_asked_for_and_no_time_is_left_out() {
        for (clients, percent) in [(1000, 5.0), (333, 60.0), (20, 300.0), (7, 600.0), (1, 100.0)] {
            let turns = turns(clients, percent, 10, 3);
            let gap = 6e9 / percent / clients as f64;
            assert_eq!(turns.len(), (6e8 / gap).round() as usize, "{clients} clients, {percent} %");
            for (number, (at, _)) in turns.iter().enumerate() {
                let within = *at as f64 / gap - number as f64;
                assert!((-0.001..1.001).contains(&within), "turn {number} of {clients} clients at {at} µs");
            }
        }
    }

    #[test]
    fn every_clients_turn_comes_as_often_and_not_two_soon_after_each_other() {
        // 60 % a minute: each once in 100 s.
        let turns = turns(50, 60.0, 10, 4);
        for client in 0..50 {
            let own: Vec<u64> = turns.iter().filter(|(_, of)| *of == client).map(|(at, _)| *at).collect();
            assert_eq!(own.len(), 6, "client {client}");
            assert!(own.windows(2).all(|pair| (97_000_000..103_000_000).contains(&(pair[1] - pair[0]))), "{own:?}");
        }
    }

    #[test]
    fn the_seed_decides_who_and_when() {
        assert_eq!(turns(100, 30.0, 5, 1), turns(100, 30.0, 5, 1));
        let order = |seed| turns(100, 30.0, 5, seed).iter().map(|(_, client)| *client).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert!(!order(1).is_sorted());
    }

    #[test]
    fn where_nobody_is_asked_to_nobodys_turn_comes() {
        for (clients, percent) in [(100, 0.0), (0, 600.0)] {
            let mut rounds = Rounds::new(clients, percent, Rng::new(1));
            rounds.begin(START);
            assert_eq!((rounds.next(), rounds.pop(Time::from_millis(1 << 40))), (Time::NEVER, None));
        }
    }
}

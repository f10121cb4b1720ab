//! Whose turn it is within a frame's round, while clients come and go.

/// A round through an order of clients, which goes on where the one before it stopped, so that nobody is always last.
///
/// Between two turns datagrams are taken, and clients leave and come: whoever stays has one turn a round, neither none nor two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// The place in the order whose turn is next, and how many turns remain from there on, past the end to the beginning.
    next: usize,
    left: usize,
}

impl Round {
    /// A round through `clients` places begins.
    pub fn begin(&mut self, clients: usize) {
        self.left = clients;
    }

    /// The place in an order of that many whose turn it is, until `None`.
    pub fn turn(&mut self, clients: usize) -> Option<usize> {
        if self.left == 0 || clients == 0 {
            return None;
        }
        let at = self.next % clients;
        (self.next, self.left) = (at + 1, self.left - 1);
        Some(at)
    }

    /// A client is now at the end of an order that had `clients` places. It has a turn if some before its place still have one
    /// after the end; otherwise its first one is in the next round.
    pub fn added(&mut self, clients: usize) {
        self.next %= clients.max(1);
        if self.next + self.left > clients {
            self.left += 1;
        }
    }

    /// The client at that place of an order that had `clients` places is gone; those behind it moved up.
    pub fn removed(&mut self, at: usize, clients: usize) {
        let next = self.next % clients.max(1);
        let ahead = if at >= next { at - next } else { at + clients - next };
        self.left -= usize::from(ahead < self.left);
        self.next = next - usize::from(at < next);
    }
}

#[cfg(test)]
mod tests {
    use netcode::rng::Rng;

    use super::*;

    #[test]
    fn whoever_stays_has_one_turn_a_round_whoever_comes_and_goes_meanwhile() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut round = Round::default();
            let mut order: Vec<u32> = (0..rng.below(8) as u32).collect();
            let mut name = order.len() as u32;
            for _ in 0..50 {
                round.begin(order.len());
                let there = order.clone();
                let mut served = Vec::new();
                // Rounds that are not finished are begun anew as well.
                let whole = rng.chance(0.7);
                while let Some(at) = round.turn(order.len()) {
                    served.push(order[at]);
                    while rng.chance(0.3) && !order.is_empty() {
                        let at = rng.below(order.len() as u64) as usize;
                        round.removed(at, order.len());
                        order.remove(at);
                    }
                    while rng.chance(0.2) {
                        round.added(order.len());
                        order.push(name);
                        name += 1;
                    }
                    if !whole && rng.chance(0.2) {
                        break;
                    }
                }
                let count = |client: &u32| served.iter().filter(|other| *other == client).count();
                assert!(served.iter().all(|client| count(client) == 1), "seed {seed}: {served:?}");
                if whole {
                    let missed: Vec<_> =
                        there.iter().filter(|client| order.contains(client) && count(client) == 0).collect();
                    assert!(missed.is_empty(), "seed {seed}: {missed:?} had no turn");
                }
            }
        }
    }

    #[test]
    fn a_round_goes_on_where_the_last_one_stopped() {
        let mut round = Round::default();
        round.begin(4);
        assert_eq!([round.turn(4), round.turn(4), round.turn(4)], [Some(0), Some(1), Some(2)]);
        round.begin(4);
        let turns: Vec<_> = std::iter::from_fn(|| round.turn(4)).collect();
        assert_eq!(turns, [3, 0, 1, 2]);
        assert_eq!(round.turn(0), None);
    }
}

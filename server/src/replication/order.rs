//! In which order the clients are served.

use sim::Frame;
use sim::schema::{X, Z};

use super::replica::Replica;

/// Ticks after which the clients are sorted anew; nobody walks far in between.
const SORT_TICKS: u64 = 16;
/// Bits of a position that one cell of the order spans: 16 m.
const CELL_BITS: u32 = 12;

/// Clients along a Z-order curve through the cells that their entities are in (Morton, "A computer oriented geodetic
/// data base", 1966).
#[derive(Debug, Default)]
pub(super) struct Order {
    clients: Vec<u16>,
    keyed: Vec<(u64, u16)>,
    sorted_at: Option<u64>,
}

impl Order {
    pub fn clients(&self) -> &[u16] {
        &self.clients
    }

    pub fn add(&mut self, client: u16) {
        if !self.clients.contains(&client) {
            self.clients.push(client);
        }
    }

    pub fn remove(&mut self, client: u16) {
        self.clients.retain(|other| *other != client);
    }

    /// Sorts the clients, if it is time to.
    pub fn keep(&mut self, frame: &Frame, replicas: &[Option<Replica>]) {
        if self.sorted_at.is_some_and(|at| frame.tick.saturating_sub(at) < SORT_TICKS) {
            return;
        }
        self.sorted_at = Some(frame.tick);
        self.keyed.clear();
        self.keyed.extend(self.clients.iter().map(|client| {
            let own = replicas.get(usize::from(*client)).and_then(Option::as_ref).map(|replica| replica.own);
            let place = own.and_then(|own| frame.row(own)).map(|row| frame.state(row));
            (place.map_or(0, |state| interleaved(cell(state[X]), cell(state[Z]))), *client)
        }));
        self.keyed.sort_unstable();
        self.clients.clear();
        self.clients.extend(self.keyed.iter().map(|(_, client)| *client));
    }
}

fn cell(quanta: i32) -> u32 {
    quanta.wrapping_sub(i32::MIN) as u32 >> CELL_BITS
}

/// The bits of both, by turns.
fn interleaved(a: u32, b: u32) -> u64 {
    spread(a) | spread(b) << 1
}

/// Puts a zero before each bit.
fn spread(value: u32) -> u64 {
    let mut value = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        value = (value | value << shift) & mask;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_goes_through_four_cells_before_it_leaves_their_square() {
        let at = |x, z| interleaved(x, z);
        assert_eq!([at(0, 0), at(1, 0), at(0, 1), at(1, 1), at(2, 0)], [0, 1, 2, 3, 4]);
        assert_eq!(at(u32::MAX, u32::MAX), u64::MAX);
        assert!(cell(-1) < cell(0) && cell(i32::MIN) == 0);
    }
}

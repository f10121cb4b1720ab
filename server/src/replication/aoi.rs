//! The area of interest: which entities a client knows.
//!
//! An entity enters at the radius and leaves beyond 1.15 times it, and then only after half a second outside, so that a
//! walk along the border does not flicker.

use sim::Frame;

/// Outer radius divided by inner, in hundredths.
const LEAVE_PERCENT: f32 = 1.15;

/// The area's measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aoi {
    /// An entity nearer than this becomes known, in metres.
    pub enter_m: f32,
    /// An entity farther than this, for longer than `grace_ticks`, is forgotten, in metres.
    pub leave_m: f32,
    /// Ticks that an entity stays known outside.
    pub grace_ticks: u64,
    /// Ticks between two looks at the area.
    pub refresh_ticks: u64,
}

impl Aoi {
    /// An area of `radius_m`, left after half a second, looked at five times a second, at `rate` ticks a second.
    #[must_use]
    pub fn new(radius_m: f32, rate: u16) -> Self {
        let rate = u64::from(rate);
        Self {
            enter_m: radius_m,
            leave_m: radius_m * LEAVE_PERCENT,
            grace_ticks: rate.div_ceil(2),
            refresh_ticks: (rate / 5).max(1),
        }
    }
}

/// A worker's scratch for set membership by entity index: stamped, so that it is never cleared.
#[derive(Debug, Default)]
pub struct Marks {
    stamps: Vec<u32>,
    stamp: u32,
    pub(super) rows: Vec<u32>,
    /// Squared distances and rows of those who have no slot yet.
    pub(super) newcomers: Vec<(f32, u32)>,
}

impl Marks {
    /// Starts a new set with the rows of `frame` within `radius_m` of `centre` (x and z, in metres).
    pub(super) fn query(&mut self, frame: &Frame, centre: [f32; 2], radius_m: f32) {
        self.rows.clear();
        frame.query(centre, radius_m, &mut self.rows);
        self.start();
        for at in 0..self.rows.len() {
            if let Some(row) = self.rows.get(at).map(|row| *row as usize) {
                self.mark(frame.id(row).index());
            }
        }
    }

    /// Starts a new, empty set.
    pub(super) fn start(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
    }

    /// Adds an entity index; says whether it was new.
    pub(super) fn mark(&mut self, index: u32) -> bool {
        let at = index as usize;
        if self.stamps.len() <= at {
            self.stamps.resize(at + 1, 0);
        }
        self.stamps.get_mut(at).is_some_and(|stamp| core::mem::replace(stamp, self.stamp) != self.stamp)
    }

    /// Whether the set has that entity index.
    pub(super) fn has(&self, index: u32) -> bool {
        self.stamps.get(index as usize) == Some(&self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_set_is_empty_even_when_the_stamp_wraps() {
        let mut marks = Marks { stamp: u32::MAX - 1, ..Marks::default() };
        for _ in 0..3 {
            marks.start();
            assert!(!marks.has(7));
            assert!(marks.mark(7));
            assert!(!marks.mark(7));
            assert!(marks.has(7));
        }
    }
}

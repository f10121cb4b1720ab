//! Ramps: wedges whose top rises along one axis.

use crate::map::StaticBox;

/// The gentlest ramp rises by one in so many.
pub const MAX_RUN: i32 = 4;

/// Where a ramp is high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It rises along +x.
    East,
    /// It rises along -x.
    West,
    /// It rises along +z.
    South,
    /// It rises along -z.
    North,
}

/// A wedge: its top is a slope of one in `run`.
///
/// Whole runs keep a walk on it exact: who moves by a multiple of `run` quanta a tick climbs by whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The least x, y and z, position quanta.
    pub min: [i32; 3],
    /// How high it becomes, position quanta.
    pub height: i32,
    /// Its side across the slope, position quanta. Along the slope it is `height * run`.
    pub width: i32,
    /// It rises by one in so many, 1..=[`MAX_RUN`].
    pub run: i32,
    /// Where it is high.
    pub up: Side,
}

impl Ramp {
    /// The box around it.
    #[must_use]
    pub const fn bounds(&self) -> StaticBox {
        let [x, y, z] = self.min;
        let length = self.height * self.run;
        let (dx, dz) = match self.up {
            Side::East | Side::West => (length, self.width),
            Side::South | Side::North => (self.width, length),
        };
        StaticBox { min: self.min, max: [x + dx, y + self.height, z + dz] }
    }

    /// Its slope.
    #[must_use]
    pub const fn slope(&self) -> Slope {
        let StaticBox { min, max } = self.bounds();
        let (axis, sign, low) = match self.up {
            Side::East => (0, 1, min[0]),
            Side::West => (0, -1, max[0]),
            Side::South => (2, 1, min[2]),
            Side::North => (2, -1, max[2]),
        };
        Slope { axis, sign, low, run: self.run }
    }
}

/// The top of a ramp: at `low` along `axis` it is at the bottom, and it rises by one in `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slope {
    /// 0 (x) or 2 (z).
    pub axis: usize,
    /// 1 where it rises along the axis, -1 where against it.
    pub sign: i32,
    /// Where it begins along the axis, position quanta.
    pub low: i32,
    /// It rises by one in so many.
    pub run: i32,
}

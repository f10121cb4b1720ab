//! Where an entity is: the columns and the unit that every kind of every game shares.
//!
//! The engine looks at nothing else of a state: the tree of entities, frames and rewinding need to know where somebody
//! is, not what. The first three columns of each kind are x, y and z.

use netcode::schema::State;

/// Position quanta in a metre.
pub const QUANTA_PER_M: i32 = 256;

/// Column of x (1/256 m, east).
pub const X: usize = 0;
/// Column of y (1/256 m, up).
pub const Y: usize = 1;
/// Column of z (1/256 m, south).
pub const Z: usize = 2;

/// The position of a state in metres.
#[must_use]
pub fn position_m(state: &State) -> [f32; 3] {
    // Exact: 21 bits fit a float's 24.
    [X, Y, Z].map(|axis| state[axis] as f32 / QUANTA_PER_M as f32)
}

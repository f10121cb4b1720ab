//! What carries a body: heights at which it stands, in whole quanta.
//!
//! A body stands where the ball at its lower end just touches what is below: a function of x and z alone, so a walk
//! follows the ground without ever falling onto it, and the same place is always at the same height.

use crate::contact::RADIUS;
use crate::map::StaticBox;
use crate::ramp::{MAX_RUN, Slope};
use crate::statics::{Shape, Solid};

/// How far above a surface a falling body may be and count as standing on it; rounding lifts it less than this.
pub const PROBE: i32 = 2;
/// What is no higher than this is stepped onto and down from: 0.4 m.
pub const STEP: i32 = 102;
const _: () = assert!(STEP < RADIUS, "the ball must meet a step's edge from above");

/// `RADIUS` times the length of a slope of one in so many, per quantum of height: rounded up.
const SLANT: [i32; MAX_RUN as usize + 1] = {
    let mut slant = [0; MAX_RUN as usize + 1];
    let mut run = 1;
    while run <= MAX_RUN {
        let square = RADIUS * RADIUS * (run * run + 1);
        while slant[run as usize] * slant[run as usize] < square {
            slant[run as usize] += 1;
        }
        run += 1;
    }
    slant
};

/// How a solid carries a body at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Where the feet are.
    pub height: i32,
    /// How high the point is that carries.
    top: i32,
    /// Flat enough to stand on: 48° at most, a little more than what pushes a falling body up.
    firm: bool,
    /// The slope that it stands on, if not on its edge.
    pub slope: Option<Slope>,
}

/// The plane at height 0.
const GROUND: Support = Support { height: 0, top: 0, firm: true, slope: None };

impl Support {
    /// How the solid would carry a body at x and z; `None` where that is beside it.
    fn of(solid: &Solid, [x, z]: [i32; 2]) -> Option<Self> {
        let StaticBox { min, max } = solid.bounds;
        let beside = |at: i32, min: i32, max: i32| if at > max { at - max } else { (at - min).min(0) };
        let (dx, dz) = (beside(x, min[0], max[0]), beside(z, min[2], max[2]));
        // A quantum more than the radius: who is rounded off an edge has it still.
        let far = RADIUS + 1;
        if dx.abs() > far || dz.abs() > far || dx * dx + dz * dz > far * far {
            return None;
        }
        match solid.shape {
            Shape::Wedge(slope) => {
                Some(Self::of_slope(&slope, &solid.bounds, [x, z], if slope.axis == 0 { dz } else { dx }))
            }
            Shape::Block | Shape::Gate(_) => {
                let level = dx * dx + dz * dz;
                let ball = ((RADIUS * RADIUS - level).max(0) as f32).sqrt().ceil() as i32;
                let firm = 9 * level <= 5 * RADIUS * RADIUS;
                Some(Self { height: max[1] - RADIUS + ball, top: max[1], firm, slope: None })
            }
        }
    }

    /// The highest point of a ramp under the ball: on the slope, or on the edge where that ends. `across` is how far the
    /// body is beside it.
    fn of_slope(slope: &Slope, bounds: &StaticBox, [x, z]: [i32; 2], across: i32) -> Self {
        let (low, run) = (bounds.min[1], slope.run);
        let climb = slope.sign * (if slope.axis == 0 { x } else { z } - slope.low);
        let length = (bounds.max[1] - low) * run;
        let room = (RADIUS * RADIUS - across * across).max(0) as f32;
        let lead = (room / (run * run + 1) as f32).sqrt();
        let foot = (climb as f32 + lead).clamp(0.0, length as f32);
        if across == 0 && foot == climb as f32 + lead {
            let slant = SLANT[run.clamp(1, MAX_RUN) as usize];
            let height = low - RADIUS + (climb + slant + run - 1).div_euclid(run);
            return Self { height, top: low + (foot as i32) / run, firm: true, slope: Some(*slope) };
        }
        let off = climb as f32 - foot;
        let ball = (room - off * off).max(0.0).sqrt();
        let height = low - RADIUS + (foot / run as f32 + ball).ceil() as i32;
        let level = off * off + (across * across) as f32;
        let firm = 9.0 * level <= (5 * RADIUS * RADIUS) as f32;
        Self { height, top: low + (foot / run as f32) as i32, firm, slope: None }
    }
}

/// The ground under who walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// What carries the body.
    pub support: Support,
    /// What is higher than this is no step.
    ceiling: i32,
    /// Where the feet were.
    from: i32,
}

impl Floor {
    /// What carries a body that walks to x and z from where its feet were at `from`; `None` where it loses the ground.
    ///
    /// Firm ground up to a [`STEP`] above the feet carries. So does the edge of what is no higher than that above such
    /// ground: the ball rolls over it. Who rolls off the edge of something higher falls.
    #[must_use]
    pub fn find(at: [i32; 2], from: i32, near: &[Solid]) -> Option<Self> {
        let mut floor = Self { support: GROUND, ceiling: STEP, from };
        let mut edges = false;
        for solid in near {
            let Some(support) = Support::of(solid, at) else { continue };
            edges |= !support.grounds(from);
            if support.grounds(from) {
                floor.ceiling = floor.ceiling.max(support.top + STEP);
                if support.height > floor.support.height {
                    floor.support = support;
                }
            }
        }
        let mut ledge = i32::MIN;
        if edges {
            for solid in near {
                let Some(support) = Support::of(solid, at).filter(|support| !support.grounds(from)) else { continue };
                if floor.carries(&support) {
                    if support.height > floor.support.height {
                        floor.support = support;
                    }
                } else if support.height <= from {
                    ledge = ledge.max(support.height);
                }
            }
        }
        let height = floor.support.height;
        (height >= ledge && height >= from - STEP).then_some(floor)
    }

    fn carries(&self, support: &Support) -> bool {
        support.grounds(self.from) || support.height <= self.from + STEP && support.top <= self.ceiling
    }

    /// Whether the solid is a part of the floor at x and z, not a wall.
    #[must_use]
    pub fn has(&self, solid: &Solid, at: [i32; 2]) -> bool {
        Support::of(solid, at).is_some_and(|support| self.carries(&support))
    }
}

/// The height at which a body with its feet about there stands; `None` where nothing carries it.
#[must_use]
pub fn footing(feet: [i32; 3], near: &[Solid]) -> Option<i32> {
    let ground = (feet[1] <= PROBE).then_some(0);
    let tops = near.iter().filter_map(|solid| {
        let support = Support::of(solid, [feet[0], feet[2]])?;
        let stands = support.firm && (-1..=PROBE).contains(&(feet[1] - support.height));
        // On an edge it stays where it came to lie.
        stands.then_some(if support.is_level() { support.height } else { feet[1] })
    });
    tops.chain(ground).max()
}

impl Support {
    /// Whether it is firm ground for who comes from that height. An edge is, where the body is on it already, or where
    /// what it belongs to is a step.
    fn grounds(&self, from: i32) -> bool {
        let reached = if self.is_level() { self.height } else { self.top };
        self.firm && (self.height <= from || reached <= from + STEP)
    }

    /// Whether the ball touches a plane, so that the height is the same (or as exact) all around.
    fn is_level(&self) -> bool {
        self.slope.is_some() || self.height == self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::deeper_than;
    use crate::ramp::{Ramp, Side};

    fn block(min: [i32; 3], max: [i32; 3]) -> Solid {
        Solid { number: 0, bounds: StaticBox { min, max }, shape: Shape::Block }
    }

    fn ramp(run: i32, up: Side) -> Solid {
        let ramp = Ramp { min: [-300, 0, -300], height: 240, width: 500, run, up };
        Solid { number: 0, bounds: ramp.bounds(), shape: Shape::Wedge(ramp.slope()) }
    }

    #[test]
    fn a_top_carries_at_its_height_and_a_little_above() {
        let solid = [block([200, 0, -500], [600, 256, 500])];
        assert_eq!(footing([400, 256, 0], &solid), Some(256));
        assert_eq!(footing([400, 258, 0], &solid), Some(256));
        assert_eq!(footing([400, 259, 0], &solid), None);
    }

    #[test]
    fn where_a_body_stands_it_touches_and_is_not_inside() {
        let shapes = [Side::East, Side::West, Side::South, Side::North];
        let ramps = (1..=MAX_RUN).flat_map(|run| shapes.map(|up| ramp(run, up)));
        for solid in ramps.chain([block([-100, 0, -50], [80, 90, 30])]) {
            for x in (-450..900).step_by(11) {
                for z in (-450..900).step_by(13) {
                    let Some(support) = Support::of(&solid, [x, z]) else { continue };
                    let at = |y| [x, y, z];
                    assert!(!deeper_than(0, at(support.height), &solid), "{x} {z} {support:?} {solid:?}");
                    assert!(!support.firm || deeper_than(0, at(support.height - 2), &solid), "{x} {z} {support:?}");
                }
            }
        }
    }

    #[test]
    fn whole_runs_climb_by_whole_quanta() {
        for run in 1..=MAX_RUN {
            let solid = ramp(run, Side::East);
            let height = |x| Support::of(&solid, [x, 0]).unwrap().height;
            for x in (-290..-290 + 150 * run).step_by(run as usize) {
                assert_eq!(height(x + run) - height(x), 1);
            }
        }
    }

    #[test]
    fn a_step_carries_and_a_wall_does_not() {
        let floor = |height, x, from| Floor::find([x, 0], from, &[block([0, 0, -500], [500, height, 500])]);
        let height = |height, x, from| floor(height, x, from).map(|floor| floor.support.height);
        assert_eq!(height(STEP, 50, 0), Some(STEP));
        assert_eq!(height(STEP, -20, 0), Some(STEP - 1));
        assert_eq!(height(STEP, -100, 0), Some(STEP - RADIUS + 29));
        assert_eq!(height(STEP + 1, -100, 0), Some(0));
        // And down: over the edge of a step, but not over that of a wall.
        assert_eq!(height(STEP, -105, 30), Some(0));
        assert_eq!(height(256, -50, 250), Some(256 - RADIUS + 92));
        assert_eq!(height(256, -100, 230), None);
    }

    #[test]
    fn one_of_many_steps_is_a_step_from_the_one_before() {
        let stairs: Vec<_> = (1..6).map(|n| block([n * 80, 0, -500], [5000, n * 90, 500])).collect();
        let mut from = 0;
        for x in (-50..700).step_by(10) {
            let floor = Floor::find([x, 0], from, &stairs).unwrap();
            assert!(stairs.iter().all(|step| !deeper_than(1, [x, floor.support.height, 0], step)), "{x}");
            from = floor.support.height;
        }
        assert_eq!(from, 450);
    }
}

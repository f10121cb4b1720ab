//! Gates: boxes that slide to and fro, the same way whoever looks.
//!
//! Where a gate is depends on the tick alone, so nothing about it is ever sent: a client, the server and a look into
//! the past agree. A gate moves by whole quanta a tick and rests at both ends.

use crate::map::StaticBox;
use crate::schema::{QUANTA_PER_VELOCITY, VELOCITY_QUANTA};

/// The fastest gate, 1/64 m/s: slow enough that a body in its way is pushed as by any face.
pub const MAX_GATE_SPEED: i32 = 2 * VELOCITY_QUANTA;
/// The longest way of a gate, position quanta.
pub const MAX_GATE_TRAVEL: i32 = 1 << 14;
/// How long a gate rests at either end, milliseconds.
pub const GATE_PAUSE_MS: u32 = 1500;

/// A horizontal axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// East.
    X,
    /// South.
    Z,
}

impl Axis {
    /// Its index in a position.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::X => 0,
            Self::Z => 2,
        }
    }
}

/// A box that slides to and fro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Where it is at the lesser end of its way.
    pub home: StaticBox,
    /// The axis that it slides along.
    pub along: Axis,
    /// How far, position quanta, 0..=[`MAX_GATE_TRAVEL`].
    pub travel: i32,
    /// How fast, 1/64 m/s, 1..=[`MAX_GATE_SPEED`], rounded down to whole quanta a tick (but to one at least).
    pub speed: i32,
    /// How far ahead of the others it is, milliseconds.
    pub ahead_ms: u32,
}

impl Gate {
    /// The gate with every field in range.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        self.travel = self.travel.clamp(0, MAX_GATE_TRAVEL);
        self.speed = self.speed.clamp(1, MAX_GATE_SPEED);
        self
    }

    /// All the room that it ever takes.
    #[must_use]
    pub fn swept(&self) -> StaticBox {
        let mut swept = self.home;
        swept.max[self.along.index()] += self.travel;
        swept
    }

    /// Where it is after `tick` at `rate_hz`.
    #[must_use]
    pub fn place(&self, tick: u64, rate_hz: u16) -> StaticBox {
        Slide::new(self, rate_hz).place(tick)
    }
}

/// A gate's motion at one tick rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slide {
    home: StaticBox,
    axis: usize,
    travel: i32,
    /// Quanta a tick.
    step: i32,
    /// Ticks of a way from end to end, and at rest at an end.
    leg: u64,
    pause: u64,
    ahead: u64,
}

impl Slide {
    pub(crate) fn new(gate: &Gate, rate_hz: u16) -> Self {
        let gate = gate.fitted();
        let rate = rate_hz.max(1);
        let step = (gate.speed * QUANTA_PER_VELOCITY / i32::from(rate)).max(1);
        let ticks = |ms: u32| u64::from(ms) * u64::from(rate) / 1000;
        Self {
            home: gate.home,
            axis: gate.along.index(),
            travel: gate.travel,
            step,
            leg: (gate.travel as u64).div_ceil(step as u64).max(1),
            pause: ticks(GATE_PAUSE_MS),
            ahead: ticks(gate.ahead_ms),
        }
    }

    /// How far it is from home after `tick`, position quanta.
    fn offset(&self, tick: u64) -> i32 {
        let half = self.leg + self.pause;
        let phase = tick.wrapping_add(self.ahead) % (2 * half);
        // There, rest, back, rest: the second half is the first one mirrored.
        let way = ((phase % half).min(self.leg) as i32 * self.step).min(self.travel);
        if phase < half { way } else { self.travel - way }
    }

    pub(crate) fn place(&self, tick: u64) -> StaticBox {
        self.moved(self.offset(tick))
    }

    fn moved(&self, offset: i32) -> StaticBox {
        let mut place = self.home;
        place.min[self.axis] += offset;
        place.max[self.axis] += offset;
        place
    }

    /// How far along its axis it is from home, `share`/32 of the way from after `tick` to after the next.
    pub(crate) fn offset_between(&self, tick: u64, share: u8) -> f32 {
        let (now, next) = (self.offset(tick), self.offset(tick.wrapping_add(1)));
        now as f32 + (next - now) as f32 * (f32::from(share) / 32.0)
    }

    pub(crate) const fn home(&self) -> &StaticBox {
        &self.home
    }

    pub(crate) const fn axis(&self) -> usize {
        self.axis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Gate = Gate {
        home: StaticBox { min: [0, 0, 0], max: [100, 500, 1000] },
        along: Axis::X,
        travel: 1000,
        speed: 100,
        ahead_ms: 0,
    };

    #[test]
    fn a_gate_goes_there_rests_comes_back_and_rests() {
        let at = |tick| GATE.place(tick, 20).min[0];
        // 100/64 m/s are 20 quanta a tick: 50 ticks there, 30 of rest.
        assert_eq!([at(0), at(1), at(49), at(50), at(80)], [0, 20, 980, 1000, 1000]);
        assert_eq!([at(81), at(130), at(131), at(160), at(161)], [980, 0, 0, 0, 20]);
    }

    #[test]
    fn no_step_is_longer_than_two_metres_a_second_and_none_leaves_its_room() {
        for rate in [10, 20, 33, 60, 128] {
            for speed in [1, 77, MAX_GATE_SPEED, i32::MAX] {
                let gate = Gate { speed, ahead_ms: 777, ..GATE };
                let (swept, most) = (gate.swept(), (512 / i32::from(rate)).max(1));
                for tick in 0..5000 {
                    let (now, next) = (gate.place(tick, rate), gate.place(tick + 1, rate));
                    assert!((next.min[0] - now.min[0]).abs() <= most);
                    assert!(now.min[0] >= swept.min[0] && now.max[0] <= swept.max[0]);
                }
            }
        }
    }

    #[test]
    fn any_numbers_make_a_gate() {
        let gate = Gate { travel: -5, speed: 0, ahead_ms: u32::MAX, ..GATE };
        assert_eq!(gate.place(u64::MAX, 128), GATE.home);
    }
}

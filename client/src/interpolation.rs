//! Where an entity is shown: between the two states around the render tick.

use netcode::snapshot::{Entity, Row};
use sim::schema::{QUANTA_PER_M, X, Y, YAW, YAW_TURN, Z};

/// Where and how to show an entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Position of the feet in metres: x east, y up, z south.
    pub position: [f32; 3],
    /// View direction around y in radians, in [0, tau): 0 looks along +z, a quarter turn along +x.
    pub yaw: f32,
    /// No newer state is known than the one shown: it stands until the next arrives.
    pub starved: bool,
}

impl Pose {
    fn at(row: &Row<'_>, starved: bool) -> Self {
        Self { position: position(row), yaw: radians(turn(row)), starved }
    }

    /// The pose at `share` (0 to 1) of the way from one state to another; the yaw goes the short way.
    fn between(from: &Row<'_>, to: &Row<'_>, share: f32) -> Self {
        let (a, b) = (position(from), position(to));
        let mut position = a;
        for (axis, target) in position.iter_mut().zip(b) {
            *axis += (target - *axis) * share;
        }
        let half = YAW_TURN / 2;
        let way = (turn(to) - turn(from) + half).rem_euclid(YAW_TURN) - half;
        let yaw = radians_f32((turn(from) as f32 + way as f32 * share).rem_euclid(YAW_TURN as f32));
        Self { position, yaw, starved: false }
    }
}

/// The pose of an entity at a tick with fraction.
pub(crate) fn pose(entity: &Entity<'_>, tick: f64) -> Option<Pose> {
    let mut newer: Option<Row<'_>> = None;
    for row in entity.rows() {
        if row.from as f64 <= tick {
            let Some(next) = newer else {
                return Some(Pose::at(&row, row.until as f64 + 1.0 < tick));
            };
            let span = next.from.saturating_sub(row.until) as f64;
            let passed = tick - row.until as f64;
            let share = if passed <= 0.0 || span <= 0.0 { 0.0 } else { (passed / span).min(1.0) };
            return Some(Pose::between(&row, &next, share as f32));
        }
        newer = Some(row);
    }
    // It came into view after that tick: shown where it appeared.
    newer.map(|row| Pose::at(&row, false))
}

fn value(row: &Row<'_>, field: usize) -> i32 {
    row.fields.get(field).copied().unwrap_or(0)
}

fn position(row: &Row<'_>) -> [f32; 3] {
    [X, Y, Z].map(|axis| value(row, axis) as f32 / QUANTA_PER_M as f32)
}

fn turn(row: &Row<'_>) -> i32 {
    value(row, YAW)
}

fn radians(turn: i32) -> f32 {
    radians_f32(turn as f32)
}

fn radians_f32(turn: f32) -> f32 {
    turn / YAW_TURN as f32 * core::f32::consts::TAU
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::bits::BitWriter;
    use netcode::schema::State;
    use netcode::snapshot::{Header, Limits, View, write_gap, write_header, write_spawn};
    use sim::schema::{PLAYER, SCHEMA};

    /// A view of entity 1 with these (tick, x in metres, yaw in quanta); `None`: a complete snapshot without it.
    fn view(states: &[(u64, Option<(i32, i32)>)]) -> View {
        let mut view = View::new(&SCHEMA, 20, Limits::default());
        for (tick, state) in states {
            let mut body = [0; 64];
            let mut w = BitWriter::new(&mut body);
            let count = u16::from(state.is_some());
            write_header(&mut w, &Header { margin: None, complete: true, age0: 0, count });
            if let Some((x, yaw)) = state {
                let mut state = State::default();
                state[X] = x * QUANTA_PER_M;
                state[YAW] = *yaw;
                write_gap(&mut w, 0);
                write_spawn(&mut w, &SCHEMA, 1, PLAYER, &state);
            }
            let len = w.finish();
            view.apply(*tick, &body[..len]).unwrap();
        }
        view
    }

    fn shown(view: &View, tick: f64) -> (f32, f32, bool) {
        let pose = pose(&view.entity(1).unwrap(), tick).unwrap();
        (pose.position[0], pose.yaw / core::f32::consts::TAU * YAW_TURN as f32, pose.starved)
    }

    #[test]
    fn between_two_states_it_moves_linearly() {
        let view = view(&[(10, Some((0, 0))), (12, Some((8, 100)))]);
        assert_eq!(shown(&view, 10.0).0, 0.0);
        assert_eq!(shown(&view, 10.5).0, 2.0);
        assert_eq!(shown(&view, 11.0), (4.0, 50.0, false));
        assert_eq!(shown(&view, 12.0).0, 8.0);
    }

    #[test]
    fn it_holds_when_starved_and_before_it_appeared() {
        let view = view(&[(10, Some((3, 0)))]);
        assert_eq!(shown(&view, 9.0), (3.0, 0.0, false));
        assert_eq!(shown(&view, 11.0), (3.0, 0.0, false));
        assert_eq!(shown(&view, 15.0), (3.0, 0.0, true));
    }

    #[test]
    fn a_body_that_held_still_starts_to_move_only_then() {
        let view = view(&[(10, Some((0, 0))), (11, None), (14, None), (15, Some((1, 0)))]);
        assert_eq!(shown(&view, 14.0).0, 0.0);
        assert_eq!(shown(&view, 14.5).0, 0.5);
    }

    #[test]
    fn the_yaw_takes_the_short_way_through_zero() {
        let view = view(&[(10, Some((0, 4000))), (11, Some((0, 104)))]);
        let (_, yaw, _) = shown(&view, 10.25);
        assert!((yaw - 4050.0).abs() < 0.01, "{yaw}");
        let (_, yaw, _) = shown(&view, 10.75);
        assert!((yaw - 54.0).abs() < 0.01, "{yaw}");
    }
}

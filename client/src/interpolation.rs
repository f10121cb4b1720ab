//! Where an entity is shown: on the course it was on at the render tick, or on the way from one to the next.

use netcode::schema::State;
use netcode::snapshot::{Entity, Row};
use sim::schema::{QUANTA_PER_M, X, Y, YAW, YAW_TURN, Z};

/// Where and how to show an entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Position of the feet in metres: x east, y up, z south.
    pub position: [f32; 3],
    /// View direction around y in radians, in [0, tau): 0 looks along +z, a quarter turn along +x.
    pub yaw: f32,
    /// Nothing is known of that moment, nor of the tick before: the pose is a guess along the newest course, as far as the
    /// [`Horizon`] lets it, then it stands until news arrives.
    pub starved: bool,
}

/// How far an entity is shown on its newest course beyond what is known of it.
///
/// Where no snapshots come, it goes on for a moment and then stands. Where snapshots come that say nothing of it (in a
/// crowd, or cut to their budget), it is still on that course or has left it a moment ago, since it would have been told
/// otherwise. It may be anywhere between: so it goes on at half its pace until it would have been told, and from then on
/// a half faster until it is where its course has it. That stands nobody still, and takes nobody far astray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Horizon {
    /// The tick of the newest snapshot.
    pub newest: u64,
    /// For how many ticks it goes on at its full pace: [`Config::extrapolate`](crate::Config::extrapolate).
    pub silent: f64,
    /// Within how many ticks the server tells who left its course: [`Config::told`](crate::Config::told).
    pub told: f64,
}

impl Horizon {
    /// The moment of its course that an entity is shown at, at `tick`, of which nothing is known after the tick `until`.
    fn shown(&self, until: f64, tick: f64) -> f64 {
        let beyond = tick - until;
        let doubtful = (beyond - self.silent).clamp(0.0, (self.told - self.silent).max(0.0));
        let certain = (beyond - self.told.max(self.silent)).max(0.0);
        let behind = (doubtful - certain).max(0.0) / 2.0;
        (tick - behind).min(self.newest as f64 + self.silent)
    }
}

impl Pose {
    /// The pose at `share` (0 to 1) of the way from one state to another; the yaw goes the short way.
    pub(crate) fn between(from: &State, to: &State, share: f32) -> Self {
        let (a, b) = (position(from), position(to));
        let mut position = a;
        for (axis, target) in position.iter_mut().zip(b) {
            *axis += (target - *axis) * share;
        }
        let half = YAW_TURN / 2;
        let way = (to[YAW] - from[YAW] + half).rem_euclid(YAW_TURN) - half;
        let turn = (from[YAW] as f32 + way as f32 * share).rem_euclid(YAW_TURN as f32);
        Self { position, yaw: turn / YAW_TURN as f32 * core::f32::consts::TAU, starved: false }
    }

    /// The pose on a course, between the two ticks around `tick`.
    fn along(entity: &Entity<'_>, row: &Row<'_>, tick: f64) -> Self {
        let before = tick.max(0.0).floor();
        let [a, b] = [before, before + 1.0].map(|tick| entity.on_course(row, tick as u64));
        Self::between(&a, &b, (tick - before) as f32)
    }
}

/// The pose of an entity at a tick with fraction; where nothing is known any more, a guess. `None` for one without courses.
#[must_use]
pub fn pose(entity: &Entity<'_>, tick: f64, horizon: &Horizon) -> Option<Pose> {
    let mut newer: Option<Row<'_>> = None;
    for row in entity.rows() {
        if row.from as f64 <= tick {
            let until = row.until as f64;
            let Some(next) = newer else {
                let shown = horizon.shown(until, tick);
                return Some(Pose { starved: until + 1.0 < tick, ..Pose::along(entity, &row, shown) });
            };
            if tick <= until {
                return Some(Pose::along(entity, &row, tick));
            }
            let span = next.from.saturating_sub(row.until).max(1) as f64;
            let share = ((tick - until) / span).min(1.0);
            let [left, joined] = [(&row, row.until), (&next, next.from)].map(|(row, at)| entity.on_course(row, at));
            return Some(Pose::between(&left, &joined, share as f32));
        }
        newer = Some(row);
    }
    // It came into view after that tick: shown where it appeared.
    newer.map(|row| Pose::along(entity, &row, row.from as f64))
}

fn position(state: &State) -> [f32; 3] {
    [X, Y, Z].map(|axis| state[axis] as f32 / QUANTA_PER_M as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::bits::BitWriter;
    use netcode::snapshot::predict::{Guess, History, Plan};
    use netcode::snapshot::{
        Ages, Codec, Header, Limits, View, write_age, write_codec, write_fields, write_gap, write_header, write_spawn,
    };
    use sim::schema::{FLAGS, GROUNDED, PLAYER, SCHEMA, VX};

    const RATE: u16 = 20;
    const SILENT: f64 = 3.0;
    const TOLD: f64 = 13.0;
    const ON_FOOT: i32 = GROUNDED;

    enum News {
        /// All of it.
        Spawn,
        /// Since the state of some ticks ago.
        Update(u8, State),
        /// Complete, without a record.
        Nothing,
        /// The budget left it out.
        Incomplete,
    }
    use News::{Incomplete, Nothing, Spawn, Update};

    /// A view of entity 1.
    fn view(snapshots: &[(u64, News, State)]) -> View {
        let mut view = View::new(&SCHEMA, RATE, Limits::default());
        for (tick, news, state) in snapshots {
            let mut body = [0; 64];
            let mut w = BitWriter::new(&mut body);
            let count = u16::from(matches!(news, Spawn | Update(..)));
            let complete = !matches!(news, Incomplete);
            write_codec(&mut w, Codec::Fast);
            write_header(&mut w, &Header { margin: None, complete, ages: Ages::default(), count });
            if count > 0 {
                write_gap(&mut w, 0);
            }
            match news {
                Spawn => write_spawn(&mut w, &SCHEMA, 1, PLAYER, false, state),
                Update(age, base) => {
                    write_age(&mut w, *age, Ages::default());
                    let plan = Plan::new(&SCHEMA.kinds[usize::from(PLAYER)]);
                    let mut guess = Guess::new(&plan, &History::course(base, *age, RATE));
                    write_fields(&mut w, &plan, &mut guess, false, state);
                }
                Nothing | Incomplete => {}
            }
            let len = w.finish();
            view.apply(*tick, &body[..len]).unwrap();
        }
        view
    }

    /// At so many quanta, with that velocity and yaw, on the ground.
    fn at(x: i32, vx: i32, yaw: i32) -> State {
        let mut state = State::default();
        (state[X], state[VX], state[YAW], state[FLAGS]) = (x, vx, yaw, ON_FOOT);
        state
    }

    const NONE: State = [0; netcode::schema::MAX_FIELDS];

    fn horizon(view: &View, silent: f64) -> Horizon {
        Horizon { newest: view.tick().unwrap(), silent, told: TOLD }
    }

    /// x and yaw in quanta, and whether it is starved.
    fn shown(view: &View, tick: f64) -> (f32, f32, bool) {
        let pose = pose(&view.entity(1).unwrap(), tick, &horizon(view, SILENT)).unwrap();
        let yaw = pose.yaw / core::f32::consts::TAU * YAW_TURN as f32;
        (pose.position[0] * QUANTA_PER_M as f32, yaw, pose.starved)
    }

    #[test]
    fn between_two_courses_it_moves_linearly() {
        let view = view(&[(10, Spawn, at(0, 0, 0)), (12, Spawn, at(2048, 0, 100))]);
        assert_eq!(shown(&view, 10.0).0, 0.0);
        assert_eq!(shown(&view, 10.5).0, 512.0);
        assert_eq!(shown(&view, 11.0), (1024.0, 50.0, false));
        assert_eq!(shown(&view, 12.0).0, 2048.0);
    }

    #[test]
    fn a_walker_who_is_never_mentioned_moves_smoothly() {
        let mut snapshots = vec![(10, Spawn, at(0, 320, 0))];
        snapshots.extend((11..40).map(|tick| (tick, Nothing, NONE)));
        let view = view(&snapshots);
        for quarter in 0..4 * 29 {
            let passed = f64::from(quarter) / 4.0;
            assert_eq!(shown(&view, 10.0 + passed), (passed as f32 * 64.0, 0.0, false), "{passed} ticks on");
        }
    }

    #[test]
    fn a_turn_shows_at_the_tick_it_happened_at() {
        // It walks on until 14, and stands from 15 on. The snapshots of 13 and 14 came late, or left it out.
        let walked = at(256, 320, 0);
        let view = view(&[
            (10, Spawn, at(0, 320, 0)),
            (12, Nothing, NONE),
            (14, Incomplete, NONE),
            (15, Update(1, walked), at(260, 0, 1024)),
            (17, Nothing, NONE),
        ]);
        assert_eq!(shown(&view, 13.5), (3.5 * 64.0, 0.0, false));
        assert_eq!(shown(&view, 14.0), (256.0, 0.0, false), "as the update's age says");
        assert_eq!(shown(&view, 14.5), (258.0, 512.0, false));
        assert_eq!(shown(&view, 15.0), (260.0, 1024.0, false));
        assert_eq!(shown(&view, 17.0), (260.0, 1024.0, false));
    }

    #[test]
    fn a_course_of_unknown_length_is_left_for_the_next_at_once() {
        // The refresh does not say how long the first course was followed.
        let view = view(&[(10, Spawn, at(0, 320, 0)), (11, Nothing, NONE), (14, Spawn, at(0, 0, 0))]);
        assert_eq!(shown(&view, 11.0).0, 64.0);
        assert_eq!(shown(&view, 12.5).0, 32.0);
    }

    #[test]
    fn starved_it_goes_on_for_a_while_and_then_stands() {
        let view = view(&[(10, Spawn, at(0, 320, 0))]);
        assert_eq!(shown(&view, 9.0), (0.0, 0.0, false), "before it appeared");
        assert_eq!(shown(&view, 11.0), (64.0, 0.0, false));
        assert_eq!(shown(&view, 12.5), (160.0, 0.0, true));
        assert_eq!(shown(&view, 13.0), (192.0, 0.0, true));
        assert_eq!(shown(&view, 15.0), (192.0, 0.0, true));
        let entity = view.entity(1).unwrap();
        assert_eq!(pose(&entity, 15.0, &horizon(&view, 0.0)).unwrap().position[0], 0.0, "not even for a moment");
    }

    #[test]
    fn whom_incomplete_snapshots_leave_out_does_not_stand_still() {
        // It stood after a quarter of a second, in crowds, while the server had it walk straight on, and then jumped.
        let mut snapshots = vec![(10, Spawn, at(0, 320, 0))];
        snapshots.extend((11..=60).map(|tick| (tick, Incomplete, NONE)));
        let view = view(&snapshots);
        let ticks = |tick: f64| shown(&view, tick).0 / 64.0;
        assert_eq!(shown(&view, 11.0), (64.0, 0.0, false));
        assert_eq!(shown(&view, 13.0), (3.0 * 64.0, 0.0, true), "no more than a guess");
        assert_eq!(ticks(15.0), 4.0, "at half its pace while it may have turned");
        assert_eq!(ticks(23.0), 8.0);
        assert_eq!(ticks(25.0), 11.0, "and faster, as it has not");
        assert_eq!((ticks(33.0), ticks(40.0)), (23.0, 30.0), "until it is where it is");
        let paces = (40..200).map(|quarter| ticks(f64::from(quarter + 1) / 4.0) - ticks(f64::from(quarter) / 4.0));
        assert!(paces.into_iter().all(|pace| (0.12..0.38).contains(&pace)), "nobody stands, nobody jumps");
    }

    #[test]
    fn after_incomplete_snapshots_silence_still_stops_everybody() {
        let view = view(&[(10, Spawn, at(0, 320, 0)), (14, Incomplete, NONE)]);
        assert_eq!(shown(&view, 17.0).0, 5.0 * 64.0, "nothing is known of it since 10");
        for tick in [21.0, 25.0, 90.0] {
            assert_eq!(shown(&view, tick).0, (4.0 + SILENT as f32) * 64.0);
        }
    }

    #[test]
    fn the_yaw_takes_the_short_way_through_zero() {
        let view = view(&[(10, Spawn, at(0, 0, 4000)), (11, Spawn, at(0, 0, 104))]);
        let (_, yaw, _) = shown(&view, 10.25);
        assert!((yaw - 4050.0).abs() < 0.01, "{yaw}");
        let (_, yaw, _) = shown(&view, 10.75);
        assert!((yaw - 54.0).abs() < 0.01, "{yaw}");
    }

    #[test]
    fn no_tick_is_too_odd_to_show() {
        let view = view(&[(10, Spawn, at(0, 320, 0)), (11, Nothing, NONE), (14, Spawn, at(0, -320, 0))]);
        for tick in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
            let pose = pose(&view.entity(1).unwrap(), tick, &horizon(&view, SILENT)).unwrap();
            assert!(pose.position[0].is_finite() && pose.yaw.is_finite(), "{tick}");
        }
    }
}

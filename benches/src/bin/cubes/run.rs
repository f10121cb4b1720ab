//! One run over the scene: a server, a client, and a network that loses packets.

use std::time::{Duration, Instant};

use netcode::rng::Rng;
use netcode::schema::{MAX_FIELDS, State};

use crate::codec::{Ages, Codec, Cubes, Frames, MAX_AGE, Now, same};
use crate::scene::{CUBES, Scene};

/// Frames that the rule leaves out.
const SKIPPED: usize = 6;
/// Frames that the client keeps.
const HELD: usize = 2 * MAX_AGE + 2;

/// What a run found.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Mean size of a packet with its share of the tables.
    pub bytes_per_frame: f64,
    /// Bits, tables included, per cube that differs from the packet's baseline.
    pub bits_per_changed_cube: f64,
    /// Mean time to encode a packet, in µs.
    pub encode_us: f64,
    /// Mean time to decode one, in µs.
    pub decode_us: f64,
    /// Mean time a frame that training and making tables take, in µs; not part of the other two.
    pub train_us: f64,
    /// Whether each packet that arrived was decoded to the very frame.
    pub exact: bool,
    /// Bytes of all tables pushed.
    pub table_bytes: usize,
}

/// A frame that the client decoded, or had before the first packet by agreement.
#[derive(Clone)]
struct Arrived {
    number: usize,
    state: Vec<State>,
    /// The frames that it was decoded from: in all of them a cube that is not `active` has the same state as in this one.
    from: [usize; 2],
    active: Cubes,
}

impl Arrived {
    /// Whether cubes active in neither of the two are equal in both.
    fn follows(&self, other: &Self) -> bool {
        let mine = [self.number, self.from[0], self.from[1]];
        mine.iter().any(|frame| *frame == other.number || other.from.contains(frame))
    }
}

/// The frames that the client has.
struct Held {
    frames: Vec<Arrived>,
}

impl Held {
    fn get(&self, frame: usize) -> Option<&Arrived> {
        self.frames.get(frame % HELD).filter(|arrived| arrived.number == frame)
    }

    fn frames(&self, frame: usize, ages: Ages) -> Option<Frames<'_>> {
        if ages.base == 0 {
            return Some(Frames { base: &NOTHING, older: None, moved: Cubes::default() });
        }
        let base = self.get(frame.checked_sub(usize::from(ages.base))?)?;
        if ages.older == 0 {
            return Some(Frames { base: &base.state, older: None, moved: Cubes::default() });
        }
        let older = self.get(base.number.checked_sub(usize::from(ages.older))?)?;
        let moved = if base.follows(older) { base.active.or(older.active) } else { Cubes::all() };
        Some(Frames { base: &base.state, older: Some(&older.state), moved })
    }
}

/// For each frame, the cubes that differ from the frame before: what a simulation notes as it goes.
fn dirty_lists(scene: &Scene) -> Vec<Cubes> {
    let mut lists = vec![Cubes::all(); scene.frames()];
    for (frame, list) in lists.iter_mut().enumerate().skip(1) {
        let (before, now) = (scene.frame(frame - 1), scene.frame(frame));
        *list = list.filter(|cube| !same(&before[cube], &now[cube]));
    }
    lists
}

/// The cubes noted in the frames after `from` up to `to`.
fn noted(lists: &[Cubes], from: usize, to: usize) -> Cubes {
    lists[from + 1..=to].iter().fold(Cubes::default(), |all, list| all.or(*list))
}

/// What stands in for a baseline where there is none.
static NOTHING: [State; CUBES] = [[0; MAX_FIELDS]; CUBES];

/// Runs one codec: packets are lost with probability `loss`, and acknowledged `age` frames later.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn run(scene: &Scene, codec: &mut dyn Codec, age: usize, loss: f64, seed: u64) -> Report {
    let first = age.max(SKIPPED);
    let mut rng = Rng::new(seed);
    let nothing = Arrived { number: usize::MAX, state: Vec::new(), from: [usize::MAX; 2], active: Cubes::all() };
    let mut held = Held { frames: vec![nothing; HELD] };
    for number in 0..first {
        let state = scene.frame(number).to_vec();
        held.frames[number % HELD] = Arrived { number, state, from: [number; 2], active: Cubes::all() };
    }
    let lists = dirty_lists(scene);
    // The newest two frames known to be received, as of each frame.
    let mut acknowledged = Vec::with_capacity(scene.frames());
    let mut arrived: Vec<bool> = (0..scene.frames()).map(|frame| frame < first).collect();
    let (mut spent, mut bytes, mut table_bytes, mut changed, mut exact) = ([Duration::ZERO; 3], 0, 0, 0, true);
    let (mut packet, mut state, mut packets, mut decoded) = (Vec::new(), Vec::with_capacity(CUBES), 0, 0);
    for (frame, _) in arrived.clone().iter().enumerate() {
        if frame >= age && arrived[frame - age] {
            acknowledged.push(frame - age);
        }
        if frame < first {
            continue;
        }
        let ages = ages(frame, &acknowledged);
        let base = frame - usize::from(ages.base);
        let older = base - usize::from(ages.older);
        let truth = Frames {
            base: if ages.base == 0 { &NOTHING } else { scene.frame(base) },
            older: (ages.older != 0).then(|| scene.frame(older)),
            moved: noted(&lists, older, base),
        };
        let dirty = if ages.base == 0 { Cubes::all() } else { noted(&lists, base, frame) };
        let now = Now { state: scene.frame(frame), dirty };
        changed += now.state.iter().zip(truth.base).filter(|(now, base)| now != base).count();

        let start = Instant::now();
        table_bytes += codec.push(frame, ages, truth, now);
        spent[2] += start.elapsed();
        packet.clear();
        let start = Instant::now();
        codec.encode(frame, ages, truth, now, &mut packet);
        spent[0] += start.elapsed();
        packets += 1;
        bytes += packet.len();

        if rng.chance(loss) {
            continue;
        }
        let start = Instant::now();
        let result = codec.decode(frame, &packet, &|ages| held.frames(frame, ages), &mut state);
        spent[1] += start.elapsed();
        decoded += 1;
        exact &= result.is_ok() && state == now.state;
        let place = &mut held.frames[frame % HELD];
        let (ages, active) = result.unwrap_or((Ages { base: 0, older: 0 }, Cubes::all()));
        let base = frame - usize::from(ages.base);
        (place.number, place.active, place.from) = (frame, active, [base, base - usize::from(ages.older)]);
        place.state.clone_from(&state);
        arrived[frame] = true;
    }
    let (packets, decoded) = (f64::from(packets.max(1)), f64::from(decoded.max(1)));
    let total = (bytes + table_bytes) as f64;
    let us = |spent: Duration| spent.as_secs_f64() * 1e6;
    Report {
        bytes_per_frame: total / packets,
        bits_per_changed_cube: total * 8.0 / (changed.max(1)) as f64,
        encode_us: us(spent[0]) / packets,
        decode_us: us(spent[1]) / decoded,
        train_us: us(spent[2]) / packets,
        exact,
        table_bytes,
    }
}

/// The two newest acknowledged frames, if they are new enough.
fn ages(frame: usize, acknowledged: &[usize]) -> Ages {
    let mut newest = acknowledged.iter().rev();
    let young = |from: usize, to: &usize| (from - to <= MAX_AGE).then_some((from - to) as u8);
    let Some((base, age)) = newest.next().and_then(|base| young(frame, base).map(|age| (*base, age))) else {
        return Ages { base: 0, older: 0 };
    };
    Ages { base: age, older: newest.next().and_then(|older| young(base, older)).unwrap_or(0) }
}

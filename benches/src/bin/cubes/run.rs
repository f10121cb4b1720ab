//! One run over the scene: a server, a client, and a network that loses packets.

use std::time::{Duration, Instant};

use netcode::rng::Rng;
use netcode::schema::State;

use crate::codec::{Ages, Codec, Frames, MAX_AGE};
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

/// The frames that the client decoded (and those before the first packet, which it has by agreement).
struct Held {
    frames: Vec<(usize, Vec<State>)>,
}

impl Held {
    fn get(&self, frame: usize) -> Option<&[State]> {
        let (number, state) = self.frames.get(frame % HELD)?;
        (*number == frame).then_some(state.as_slice())
    }

    fn frames(&self, frame: usize, ages: Ages) -> Option<Frames<'_>> {
        if ages.base == 0 {
            return Some(Frames { base: &NOTHING, older: None });
        }
        let base = frame.checked_sub(usize::from(ages.base))?;
        let older = match ages.older {
            0 => None,
            older => Some(self.get(base.checked_sub(usize::from(older))?)?),
        };
        Some(Frames { base: self.get(base)?, older })
    }
}

/// What stands in for a baseline where there is none.
static NOTHING: [State; CUBES] = [[0; 12]; CUBES];

/// Runs one codec: packets are lost with probability `loss`, and acknowledged `age` frames later.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn run(scene: &Scene, codec: &mut dyn Codec, age: usize, loss: f64, seed: u64) -> Report {
    let first = age.max(SKIPPED);
    let mut rng = Rng::new(seed);
    let mut held = Held { frames: vec![(usize::MAX, Vec::new()); HELD] };
    for frame in 0..first {
        held.frames[frame % HELD] = (frame, scene.frame(frame).to_vec());
    }
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
        let truth = Frames {
            base: if ages.base == 0 { &NOTHING } else { scene.frame(base) },
            older: (ages.older != 0).then(|| scene.frame(base - usize::from(ages.older))),
        };
        let now = scene.frame(frame);
        changed += now.iter().zip(truth.base).filter(|(now, base)| now != base).count();

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
        exact &= result.is_ok() && state == now;
        let (number, place) = &mut held.frames[frame % HELD];
        *number = frame;
        place.clone_from(&state);
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

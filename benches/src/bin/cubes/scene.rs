//! The workload: frames of cubes, as in the data set's README, and the schema that describes a cube.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use netcode::schema::{Audience, Field, Kind, Predictor, Schema, State};
use thiserror::Error;

/// Cubes of a frame; number 0 is the player.
pub const CUBES: usize = 901;
/// Bytes of a cube: eight little-endian `i32`.
const CUBE_BYTES: usize = 32;
/// Bytes of a frame.
const FRAME_BYTES: usize = CUBES * CUBE_BYTES;
/// The largest file that is read, in bytes: 40 times the data set's own.
const MAX_BYTES: u64 = 4 << 30;
/// Where each field of a file's cube is in a [`State`]: the orientation comes last there.
const PLACES: [usize; 8] = [4, 5, 6, 7, 1, 2, 3, 0];

const fn position(name: &'static str, bits: u8, signed: bool) -> Field {
    Field {
        name,
        bits,
        signed,
        wraps: false,
        scale: 512,
        unit: "m",
        predictor: Predictor::Trend,
        group: 1,
        audience: Audience::Everyone,
        order: 0,
    }
}

const fn orientation(name: &'static str, part: u8) -> Field {
    let bits = if part == 0 { 2 } else { 9 };
    let predictor = Predictor::Rotation { part };
    Field {
        name,
        bits,
        signed: false,
        wraps: false,
        scale: 1,
        unit: "1",
        predictor,
        group: 2,
        audience: Audience::Everyone,
        order: 0,
    }
}

/// A cube.
pub static SCHEMA: Schema = Schema {
    kinds: &[Kind {
        name: "cube",
        fields: &[
            Field {
                name: "interacting",
                bits: 1,
                signed: false,
                wraps: false,
                scale: 1,
                unit: "1",
                predictor: Predictor::Hold,
                group: 0,
                audience: Audience::Everyone,
                order: 0,
            },
            position("position_x", 15, true),
            position("position_y", 15, true),
            position("position_z", 13, false),
            orientation("orientation_largest", 0),
            orientation("orientation_a", 1),
            orientation("orientation_b", 2),
            orientation("orientation_c", 3),
        ],
    }],
    input: &[],
};

const _: () = assert!(SCHEMA.is_valid());

/// Why a file is no workload.
#[derive(Debug, Error)]
pub enum SceneError {
    /// The file could not be read or unpacked.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// Not a whole number of frames.
    #[error("{0}: {1} bytes are not a whole number (at least {MIN_FRAMES}) of frames of {FRAME_BYTES} bytes")]
    Size(PathBuf, u64),
    /// A cube's field is out of its range.
    #[error("{path}: frame {frame}, cube {cube}: {field} is {value}, out of its range")]
    Range {
        /// The file.
        path: PathBuf,
        /// Number of the frame, from 0.
        frame: usize,
        /// Number of the cube, from 0.
        cube: usize,
        /// The field's name.
        field: &'static str,
        /// What the file has there.
        value: i32,
    },
}

/// The fewest frames of a scene: more than the oldest baseline is old.
const MIN_FRAMES: usize = 65;

/// All frames, in order.
pub struct Scene {
    states: Vec<State>,
}

impl Scene {
    /// Reads a file, packed (`.xz`) or not.
    pub fn load(path: &Path) -> Result<Self, SceneError> {
        let io = |error| SceneError::Io(path.to_owned(), error);
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(io)?;
        if path.extension().is_some_and(|extension| extension == "xz") {
            XzReader::new(file, false).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        } else {
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        }
        let short = bytes.len() < MIN_FRAMES * FRAME_BYTES;
        if short || !bytes.len().is_multiple_of(FRAME_BYTES) || bytes.len() as u64 > MAX_BYTES {
            return Err(SceneError::Size(path.to_owned(), bytes.len() as u64));
        }
        let mut states = Vec::with_capacity(bytes.len() / CUBE_BYTES);
        for (n, cube) in bytes.chunks_exact(CUBE_BYTES).enumerate() {
            let mut state = State::default();
            for (place, word) in PLACES.into_iter().zip(cube.as_chunks::<4>().0) {
                let (value, field) = (i32::from_le_bytes(*word), &SCHEMA.kinds[0].fields[place]);
                if !(field.min()..=field.max()).contains(&value) {
                    let (frame, cube, field) = (n / CUBES, n % CUBES, field.name);
                    return Err(SceneError::Range { path: path.to_owned(), frame, cube, field, value });
                }
                state[place] = value;
            }
            states.push(state);
        }
        Ok(Self { states })
    }

    /// How many frames there are.
    pub const fn frames(&self) -> usize {
        self.states.len() / CUBES
    }

    /// The cubes of a frame.
    pub fn frame(&self, number: usize) -> &[State] {
        &self.states[number * CUBES..][..CUBES]
    }
}

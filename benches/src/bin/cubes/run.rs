use std::time::{Duration, Instant};

use crate::scene::{CUBES, SCHEMA, Scene};
use netcode::rng::Rng;
use netcode::schema::State;
use netcode::snapshot::compact::{Decoder, Encoder, Model};
use netcode::snapshot::predict::History;

#[derive(Debug)]
pub struct Report {
    pub bytes: f64,
    pub encode_us: f64,
    pub decode_us: f64,
    pub exact: bool,
}

struct End {
    frames: Vec<Option<Vec<State>>>,
    models: Vec<Option<Model>>,
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn run(scene: &Scene, age: usize, loss: f64) -> Report {
    let n = scene.frames();
    let first = age.max(6);
    let carry = std::env::var("CARRY").is_ok();
    let mut rng = Rng::new(1);
    let fresh = Model::new(&SCHEMA);
    let mut server = End { frames: vec![], models: vec![None; n] };
    let mut client = End { frames: vec![None; n], models: vec![None; n] };
    for f in 0..first {
        client.frames[f] = Some(scene.frame(f).to_vec());
    }
    let _ = &mut server.frames;
    let mut known: Vec<usize> = (0..first).collect();
    let (mut bytes, mut encode, mut decode, mut exact) = (0, Duration::ZERO, Duration::ZERO, true);
    let mut out = Vec::new();
    let mut model = fresh.clone();
    let mut peer = fresh.clone();
    for f in first..n {
        let at = known.partition_point(|k| *k <= f - age);
        let base = known[at - 1];
        let older = at.checked_sub(2).map(|i| known[i]);
        let start = Instant::now();
        model.copy_from(server.models[base].as_ref().filter(|_| carry).unwrap_or(&fresh));
        out.clear();
        let mut encoder = Encoder::new(&SCHEMA, &mut model, &mut out);
        encoder.tree(0, (f - base) as u32, 6);
        encoder.tree(64, older.map_or(0, |o| base - o) as u32, 6);
        let (b, o, s) = (scene.frame(base), older.map(|o| scene.frame(o)), scene.frame(f));
        for c in 0..CUBES {
            let history = History { base: &b[c], older: older.zip(o).map(|(k, o)| (&o[c], (base - k) as u8)), age: (f - base) as u8, rate: 60 };
            encoder.record(0, &history, &s[c]).unwrap();
        }
        bytes += encoder.finish();
        encode += start.elapsed();
        server.models[f] = Some(model.clone());
        if rng.chance(loss) {
            continue;
        }
        let start = Instant::now();
        let mut frame = Vec::with_capacity(CUBES);
        // the decoder reads the ages: todo
        peer.copy_from(client.models[base].as_ref().filter(|_| carry).unwrap_or(&fresh));
        let mut decoder = Decoder::new(&SCHEMA, &mut peer, &out);
        let a = decoder.tree(0, 0, 6) as usize;
        let g = decoder.tree(64, 0, 6) as usize;
        let b = client.frames[f - a].as_ref().unwrap();
        let o = if g == 0 { None } else { client.frames[f - a - g].as_ref() };
        for c in 0..CUBES {
            let history = History { base: &b[c], older: o.map(|o| (&o[c], g as u8)), age: a as u8, rate: 60 };
            frame.push(decoder.record(0, &history, &State::default()).unwrap());
        }
        decoder.finish().unwrap();
        decode += start.elapsed();
        exact &= frame == scene.frame(f);
        client.frames[f] = Some(frame);
        client.models[f] = Some(peer.clone());
        known.push(f);
        if f > 80 {
            server.models[f - 80] = None;
            client.models[f - 80] = None;
        }
    }
    let count = (n - first) as f64;
    Report {
        bytes: bytes as f64 / count,
        encode_us: encode.as_secs_f64() * 1e6 / count,
        decode_us: decode.as_secs_f64() * 1e6 / count,
        exact,
    }
}

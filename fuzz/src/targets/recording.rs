//! Recordings: any bytes are read and replayed within bounds; what was written replays to the same digests, and damage is
//! noticed.

use netcode::schema::{Fnv, State};
use sim::engine::Game;
use sim::game::{Rulebook, Skirmish};
use sim::log::{LogError, LogReader, MAX_CONFIG_BYTES, Next, Record};
use sim::replay::{Replay, ReplayError, header};
use sim::{EntityId, InputLog, MapConfig, SCHEMA, World, WorldConfig};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

/// The most ticks that one input replays, or records.
const MAX_STEPS: u64 = 48;
/// The most bytes of a body that the input writes.
const MAX_BODY: usize = 600;

features! {
    Raw => "bytes that are no recording",
    Torn => "a recording with a torn end",
    Damaged => "a record that is damaged and not the last",
    Foreign => "a recording of another schema, or version",
    Body => "a body that no writer writes, whole and in order",
    Refused => "a header that makes no world",
    Made => "a world made from a header",
    Diverged => "a replay that diverged",
    Differs => "differences told field by field",
    Unlike => "a join that gave another entity, or none",
    Absent => "somebody left who was not there",
    Replayed => "a replay to its end",
    Cut => "a recording that was cut within a record",
    Flipped => "a recording in which a bit was flipped",
    Skipped => "ticks that were left out",
    Left => "somebody who left, and another who came",
}

/// The target: what the first byte says is done with the rest.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    match program.u8() % 4 {
        0 => raw(&mut program),
        1 => bodies(&mut program),
        2 => written(&mut program),
        _ => origin(&mut program),
    }
}

/// Any bytes at all.
fn raw(program: &mut Program<'_>) {
    let bytes = program.take(usize::MAX);
    let _ = read(bytes, bytes.len() / 2);
    if is_small(bytes) {
        replay(bytes);
    }
}

/// A good header; then bodies of the input with good checks around them, or nearly.
fn bodies(program: &mut Program<'_>) {
    let flags = program.u8();
    let mut bytes = header_bytes(&world(program.u8().into()), flags & 1 != 0);
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        let body = program.sized(MAX_BODY);
        put_record(&mut bytes, body);
    }
    if flags & 2 != 0 {
        bytes.extend_from_slice(&[flags; 9]);
    }
    if flags & 4 != 0 {
        let at = usize::from(program.u16()) % bytes.len();
        bytes[at] ^= 1;
    }
    let _ = read(&bytes, usize::from(program.u16()) % bytes.len());
    replay(&bytes);
}

/// What a real world writes replays; cut or damaged it does so up to there, or says so.
fn written(program: &mut Program<'_>) {
    let (flags, seed) = (program.u8(), program.u8());
    let mut world = world(seed.into());
    let mut log = InputLog::new(&SCHEMA, &header(&world, flags & 1 != 0)).expect("it is short enough");
    let (mut ends, mut digests) = (vec![log.bytes().len()], Vec::new());
    let (mut players, mut inputs) = (Vec::new(), Vec::new());
    let (at, bit) = (program.u16(), program.u8() % 8);
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        act(program, &mut world, &mut log, &mut players, &mut inputs);
        world.step(&inputs);
        log.tick(inputs.iter().map(|(id, input)| (*id, Skirmish::pack(input))), &world.frame());
        ends.push(log.bytes().len());
        digests.push(world.digest());
    }
    let mut bytes = log.take_bytes();
    let replayed = sim::replay(&bytes).expect("what was written replays");
    assert_eq!((replayed.digests, replayed.dropped_bytes), (digests, 0));
    reach(Feature::Replayed);
    let at = usize::from(at) % bytes.len();
    let whole = ends.iter().filter(|end| **end <= at).count();
    let (records, result) = read(bytes.get(..at).unwrap_or_default(), at / 3);
    assert_eq!(records, whole.saturating_sub(1), "of a cut recording all whole ticks are read, and no others");
    assert_eq!(result, if whole == 0 { Err(LogError::NoHeader) } else { Ok(()) });
    reach(Feature::Cut);
    bytes[at] ^= 1 << bit;
    let (records, result) = read(&bytes, at);
    assert!(records < ends.len() - 1 || ends.len() == 1, "a flipped bit is not noticed");
    assert!(result.is_err() || records + 2 == ends.len(), "but for the last record a flipped bit is an error");
    reach(Feature::Flipped);
}

/// What happens before a tick, and who wants what.
fn act(
    program: &mut Program<'_>,
    world: &mut World,
    log: &mut InputLog,
    players: &mut Vec<EntityId>,
    inputs: &mut Vec<(EntityId, sim::Input)>,
) {
    let what = program.u8();
    if what & 1 != 0
        && let Ok(id) = world.spawn_player()
    {
        log.join(id);
        players.push(id);
    }
    if what & 6 == 6 && !players.is_empty() {
        let id = players.remove(usize::from(program.u8()) % players.len());
        assert!(world.despawn(id));
        log.leave(id);
        reach(Feature::Left);
    }
    if what & 24 == 24 {
        // Any number, but mostly few.
        let ticks = if what & 32 != 0 { program.u32() } else { program.u8().into() };
        world.skip(ticks);
        log.skip(ticks);
        reach(Feature::Skipped);
    }
    inputs.clear();
    for id in players.iter().take(usize::from(what >> 6)) {
        let mut state = State::default();
        state[..9].fill_with(|| i32::from(program.u16().cast_signed()));
        inputs.push((*id, Skirmish::unpack(&state)));
    }
}

/// Headers with any configuration and any rules.
fn origin(program: &mut Program<'_>) {
    let flags = program.u8();
    let mut config = Vec::new();
    config.extend(program.u64().to_le_bytes());
    for _ in 0..2 {
        config.extend(program.u16().to_le_bytes());
    }
    for _ in 0..5 {
        // Few, or more than anybody takes: what lies between costs time, but nothing else.
        let number = u32::from(program.u8());
        config.extend((if number < 128 { number } else { u32::MAX - number }).to_le_bytes());
    }
    for _ in 0..2 {
        config.extend(program.u16().to_le_bytes());
    }
    config.truncate(if flags & 1 != 0 { program.u8().into() } else { MAX_CONFIG_BYTES });
    let mut rules = Rulebook::standard().text().to_owned();
    while !program.is_empty() {
        // A piece of the rules gives way to one of the input.
        let (from, len) = (usize::from(program.u16()) % (rules.len() + 1), usize::from(program.u8()));
        let piece = String::from_utf8_lossy(program.sized(64)).into_owned();
        let until = (from + len).min(rules.len());
        if rules.is_char_boundary(from) && rules.is_char_boundary(until) {
            rules.replace_range(from..until, &piece);
        }
    }
    let rate_hz = u16::from_le_bytes([config.get(8).copied().unwrap_or(0), config.get(9).copied().unwrap_or(0)]);
    let world_header = sim::log::Header { schema: SCHEMA.hash(), rate_hz, states: flags & 2 != 0, config, rules };
    let Ok(log) = InputLog::new(&SCHEMA, &world_header) else { return };
    let mut bytes = log.bytes().to_vec();
    // One step of it, with a digest that is wrong.
    put_record(&mut bytes, &[0; 12]);
    replay(&bytes);
}

/// A small world of a seed.
fn world(seed: u64) -> World {
    let map = MapConfig { half_extent_m: 32, boxes: 4, gates: 1, ramps: 1 };
    let config =
        WorldConfig { seed, map, npcs: 3, max_entities: 24, spawn_half_extent_m: 16, ..WorldConfig::default() };
    World::new(config).expect("the configuration is within its ranges")
}

fn header_bytes(world: &World, states: bool) -> Vec<u8> {
    InputLog::new(&SCHEMA, &header(world, states)).expect("it is short enough").take_bytes()
}

/// A record around a body.
fn put_record(out: &mut Vec<u8>, body: &[u8]) {
    let check = |bytes: &[u8]| bytes.iter().fold(Fnv::new(), |hash, byte| hash.byte(*byte)).0;
    let len = (body.len() as u32).to_le_bytes();
    out.extend(len);
    out.extend((check(&len) as u16).to_le_bytes());
    out.extend((check(body) as u32).to_le_bytes());
    out.extend(body);
}

/// Whether a header says that its world costs little.
fn is_small(bytes: &[u8]) -> bool {
    let mut reader = LogReader::new(&SCHEMA);
    reader.push(bytes);
    let Ok(Next::Got(header)) = reader.header() else { return true };
    // The counts, as `sim::game::origin::CONFIG_BYTES` has them.
    header
        .config
        .get(12..32)
        .is_none_or(|counts| counts.chunks(4).all(|count| count[1..] == [0; 3] || count[3] == 0xff))
}

/// Reads all records, in one piece and in two, which must be the same; how many there are, and how it ends.
fn read(bytes: &[u8], cut: usize) -> (usize, Result<(), LogError>) {
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    let whole = read_pieces(&[bytes]);
    assert!(whole == read_pieces(&[head, tail]), "a recording reads otherwise in pieces");
    let (records, result) = whole;
    match result {
        Err(LogError::Magic | LogError::NoHeader | LogError::Header) => reach(Feature::Raw),
        Err(LogError::Version(_) | LogError::Schema { .. }) => reach(Feature::Foreign),
        Err(LogError::Record { .. }) => reach(Feature::Damaged),
        Err(LogError::TooLong) | Ok(()) => {}
    }
    if !records.is_empty() {
        reach(Feature::Body);
    }
    bucket(records.len() as u64 * 8 + u64::from(result.is_err()));
    (records.len(), result)
}

fn read_pieces(pieces: &[&[u8]]) -> (Vec<Record>, Result<(), LogError>) {
    let mut reader = LogReader::new(&SCHEMA);
    let (mut records, mut record) = (Vec::<Record>::new(), Record::default());
    let mut pieces = pieces.iter();
    let result = loop {
        match reader.next_record(&mut record) {
            Err(error) => break Err(error),
            Ok(Next::End) => break Ok(()),
            Ok(Next::More) => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.finish(),
            },
            Ok(Next::Got(tick)) => {
                assert!(tick == record.tick && records.last().is_none_or(|last| last.tick < tick), "ticks ascend");
                if let Some(rows) = reader.rows() {
                    let ids: Vec<_> = rows.map(|(id, ..)| id).collect();
                    assert!(ids.is_sorted_by(|a, b| a < b), "rows ascend");
                }
                records.push(record.clone());
            }
        }
    };
    if result.is_ok() && reader.dropped_bytes() > 0 {
        reach(Feature::Torn);
    }
    (records, result)
}

/// Replays at most [`MAX_STEPS`] ticks.
fn replay(bytes: &[u8]) {
    let mut replay = Replay::<Skirmish>::new();
    replay.push(bytes);
    replay.finish();
    let result = loop {
        match replay.peek() {
            Ok(Next::Got(_)) if replay.steps() < MAX_STEPS => {}
            Ok(Next::More) => unreachable!("the file has ended"),
            Ok(Next::Got(_) | Next::End) => break Ok(()),
            Err(error) => break Err(error),
        }
        if let Err(error) = replay.step() {
            break Err(error);
        }
    };
    if replay.world().is_some() {
        reach(Feature::Made);
    }
    match result {
        Ok(()) | Err(ReplayError::Log(_)) => {}
        Err(ReplayError::Refused(_)) => reach(Feature::Refused),
        Err(ReplayError::Join { .. }) => reach(Feature::Unlike),
        Err(ReplayError::Leave { .. }) => reach(Feature::Absent),
        Err(ReplayError::Diverged { .. }) => {
            reach(Feature::Diverged);
            if let Some(differences) = replay.differences() {
                assert!(differences.list.len() <= differences.total);
                reach(Feature::Differs);
            }
        }
    }
}

/// Recordings of fights, whole, cut and damaged; bodies of any kind; headers that make worlds, and others.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], [&[0][..], b"ZWIL\x02\0"].concat(), [&[0][..], b"ZWIL\x01\0"].concat()];
    let real = header_bytes(&world(1), true);
    let mut foreign = real.clone();
    foreign[7] ^= 1;
    let len = foreign.len() - 4;
    let check = foreign[..len].iter().fold(Fnv::new(), |hash, byte| hash.byte(*byte)).0 as u32;
    foreign[len..].copy_from_slice(&check.to_le_bytes());
    seeds.extend([real, foreign].map(|bytes| [&[0][..], &bytes].concat()));
    for (flags, at) in [(0, 0), (1, 4800), (1, 4900), (0, 5000), (1, 65000)] {
        let mut script = Script::default().u8(2).u8(flags).u8(flags).u16(at).u8(at as u8);
        for tick in 0..20u8 {
            let joins = u8::from(tick < 3);
            let what = [joins, joins | 6, 24 | joins, 24 | 32][usize::from(tick % 7 == 6) * usize::from(1 + flags)];
            script = script.u8(what | tick.min(3) << 6);
            if what & 6 == 6 {
                script = script.u8(1);
            }
            if what & 24 == 24 {
                script = if what & 32 != 0 { script.bytes(&[200, 1, 0, 0]) } else { script.u8(3) };
            }
            for player in 0..u16::from(tick.min(3)) {
                let fields = [5, 9, 3000 * u16::from(tick) + player, 40, 1 + 2 * u16::from(tick & 1), 0, 64, 3, 7];
                script = fields.into_iter().fold(script, Script::u16);
            }
        }
        seeds.push(script.0);
    }
    let join = EntityId::from_parts(3, 1).map_or(0, EntityId::raw).to_le_bytes();
    let bodies: [&[u8]; 9] = [
        &[0; 12],
        &[1, 0, 0x81, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 1, 0x81, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, join[0] | 0x80, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 1, 0, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 3, 6, 8, 1, 1, 0],
        &[9, 9, 9],
        &[],
    ];
    for flags in 0..8u8 {
        let script = Script::default().u8(1).u8(flags).u8(1);
        seeds.push(bodies.iter().fold(script.clone(), |script, body| script.sized(body)).0);
        for body in bodies {
            seeds.push(script.clone().sized(body).sized(&[0; 12]).0);
        }
    }
    let config = |half: u8, rate: u16| {
        let script = Script::default().u64(1).u16(rate).u16(half.into()).bytes(&[2, 1, 1, 3, 24]);
        script.u16(16).u16(250)
    };
    for (flags, script) in [(0, config(32, 20)), (2, config(32, 128)), (0, config(0, 20)), (0, config(32, 0))] {
        seeds.push([&[3, flags][..], &script.0].concat());
        seeds.push([&[3, flags][..], &script.u16(900).u8(2).sized(b"99").0].concat());
    }
    seeds.push([&[3, 1][..], &config(32, 20).u8(5).0].concat());
    seeds
}

//! Logs replay to the same digests, also where the writer died; what does not is told field by field.

use crate::script::{CROWDED, inputs, world};
use netcode::schema::State;
use proptest::prelude::*;
use sim::game::Skirmish;
use sim::log::{Change, Header, InputLog, LogError, LogReader, Next, Record};
use sim::replay::{Apart, Difference, Differences, Recorded, Replay, ReplayError, header};
use sim::{EntityId, Frame, Input, SCHEMA, World, WorldConfig, replay};
use std::sync::Arc;

type Error = ReplayError<<Skirmish as Recorded>::Refused>;

fn log_of(world: &World, states: bool) -> InputLog {
    InputLog::new(&SCHEMA, &header(world, states)).unwrap()
}

/// Steps the world and notes it.
fn step(world: &mut World, log: &mut InputLog, inputs: &[(EntityId, Input)]) -> Arc<Frame> {
    world.step(inputs);
    let frame = world.frame();
    log.tick(inputs.iter().map(|(id, input)| (*id, input.to_state())), &frame);
    frame
}

/// A run with joins, leaves and ticks left out.
struct Run {
    log: InputLog,
    /// Where each record ends.
    ends: Vec<usize>,
    frames: Vec<Arc<Frame>>,
}

impl Run {
    fn new(ticks: u64, states: bool) -> Self {
        let (mut world, mut players) = world(CROWDED, 0);
        let mut log = log_of(&world, states);
        let (mut ends, mut frames) = (Vec::new(), Vec::new());
        for tick in 0..ticks {
            if tick % 3 == 0 {
                let id = world.spawn_player().unwrap();
                players.push(id);
                log.join(id);
            }
            if tick % 7 == 6 {
                let id = players.remove(players.len() / 2);
                assert!(world.despawn(id));
                log.leave(id);
            }
            if tick % 50 == 20 {
                world.skip(9);
                log.skip(9);
            }
            let wanted = inputs(&world, &players);
            frames.push(step(&mut world, &mut log, &wanted));
            ends.push(log.bytes().len());
        }
        Self { log, ends, frames }
    }

    fn digests(&self) -> Vec<u64> {
        self.frames.iter().map(|frame| frame.digest).collect()
    }

    fn header_bytes(&self) -> usize {
        let mut reader = LogReader::new(&SCHEMA);
        reader.push(self.log.bytes());
        assert!(matches!(reader.header(), Ok(Next::Got(_))));
        self.log.bytes().len() - reader.dropped_bytes()
    }
}

/// Reads the whole log: what each tick's rows are, in order.
fn rows_of(bytes: &[u8]) -> Vec<Vec<(EntityId, u8, State)>> {
    let mut reader = LogReader::new(&SCHEMA);
    reader.push(bytes);
    reader.finish();
    let (mut record, mut rows) = (Record::default(), Vec::new());
    while let Next::Got(_) = reader.next_record(&mut record).unwrap() {
        rows.push(reader.rows().unwrap().collect());
    }
    rows
}

#[test]
fn a_log_replays_to_the_same_digests() {
    for states in [false, true] {
        let run = Run::new(300, states);
        let outcome = replay(run.log.bytes()).unwrap();
        assert_eq!(outcome.digests, run.digests());
        assert_eq!(outcome.dropped_bytes, 0);
    }
}

#[test]
fn the_rows_of_a_log_are_those_of_every_frame() {
    let run = Run::new(200, true);
    for (frame, rows) in run.frames.iter().zip(rows_of(run.log.bytes())) {
        let there = (0..frame.len()).map(|row| (frame.id(row), frame.kind(row), *frame.state(row)));
        assert!(there.eq(rows), "tick {}", frame.tick);
    }
}

#[test]
fn a_replay_in_pieces_of_any_size_is_that_of_the_whole_file() {
    let run = Run::new(40, true);
    for size in [1, 7, 100, 4096] {
        let mut replay = Replay::<Skirmish>::new();
        let mut pieces = run.log.bytes().chunks(size);
        let mut digests = Vec::new();
        loop {
            match replay.peek().unwrap() {
                Next::Got(tick) => {
                    replay.step().unwrap();
                    let world = replay.world().unwrap();
                    assert_eq!(world.tick(), tick);
                    digests.push(world.digest());
                }
                Next::More => match pieces.next() {
                    Some(piece) => replay.push(piece),
                    None => replay.finish(),
                },
                Next::End => break,
            }
        }
        assert_eq!((digests, replay.dropped_bytes()), (run.digests(), 0));
    }
}

#[test]
fn a_log_cut_anywhere_replays_to_its_last_whole_tick() {
    let run = Run::new(8, true);
    let (bytes, head) = (run.log.bytes(), run.header_bytes());
    for cut in head..=bytes.len() {
        let whole = run.ends.iter().filter(|end| **end <= cut).count();
        let outcome = replay(&bytes[..cut]).unwrap();
        assert_eq!(outcome.digests, run.digests()[..whole], "cut at {cut}");
        let start = if whole == 0 { head } else { run.ends[whole - 1] };
        assert_eq!(outcome.dropped_bytes, cut - start);
    }
    for cut in 0..head {
        assert_eq!(replay(&bytes[..cut]), Err(LogError::NoHeader.into()));
    }
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_the_tick_before_and_damage_at_the_end_a_torn_end() {
    let run = Run::new(12, true);
    let last = run.ends.len() - 1;
    for (record, end) in run.ends.iter().enumerate() {
        let start = if record == 0 { run.header_bytes() } else { run.ends[record - 1] };
        let before = if record == 0 { 0 } else { run.frames[record - 1].tick };
        // The length, both checks, the body's first and last byte.
        for at in [start, start + 3, start + 4, start + 6, start + 10, end - 1] {
            let mut bytes = run.log.bytes().to_vec();
            bytes[at] ^= 0x40;
            let outcome = replay(&bytes);
            if record == last && at >= start + 6 {
                let outcome = outcome.unwrap();
                assert_eq!((outcome.digests.len(), outcome.dropped_bytes), (last, end - start));
            } else {
                assert_eq!(outcome, Err(LogError::Record { after: before }.into()), "record {record}, byte {at}");
            }
        }
    }
}

#[test]
fn flipping_any_bit_of_a_log_never_panics_nor_passes_unnoticed() {
    let run = Run::new(3, true);
    for bit in 0..run.log.bytes().len() * 8 {
        let mut bytes = run.log.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let clean = replay(&bytes).is_ok_and(|outcome| outcome.digests == run.digests() && outcome.dropped_bytes == 0);
        assert!(!clean, "bit {bit}");
    }
}

#[test]
fn taken_bytes_add_up_to_the_whole_log() {
    let (mut world, players) = world(CROWDED, 0);
    let (mut taken, mut whole) = (log_of(&world, true), log_of(&world, true));
    let mut bytes = Vec::new();
    for _ in 0..5 {
        let wanted = inputs(&world, &players);
        let frame = step(&mut world, &mut taken, &wanted);
        whole.tick(wanted.iter().map(|(id, input)| (*id, input.to_state())), &frame);
        bytes.extend(taken.take_bytes());
    }
    assert_eq!(bytes, whole.bytes());
}

/// A log of a player who walks along x, but in tick 6 something moved it by one metre along z.
fn meddled(states: bool) -> (Vec<u8>, EntityId) {
    let (mut world, _) = world(CROWDED, 0);
    let mut log = log_of(&world, states);
    let id = world.spawn_player().unwrap();
    log.join(id);
    for tick in 1..=10 {
        if tick == 6 {
            assert!(world.edit(id, |state, _| state[sim::schema::Z] += 256));
        }
        step(&mut world, &mut log, &[(id, Input { move_x: 15, ..Input::default() })]);
    }
    (log.take_bytes(), id)
}

/// Replays until it diverges.
fn diverge(bytes: &[u8]) -> (Error, Option<Differences>) {
    let mut replay = Replay::<Skirmish>::new();
    replay.push(bytes);
    replay.finish();
    loop {
        assert!(matches!(replay.peek(), Ok(Next::Got(_))), "it never diverges");
        assert_eq!(replay.differences(), None);
        if let Err(error) = replay.step() {
            return (error, replay.differences());
        }
    }
}

#[test]
fn the_first_divergence_is_told_with_the_field_and_both_values() {
    let (bytes, id) = meddled(true);
    let (error, differences) = diverge(&bytes);
    assert!(matches!(error, ReplayError::Diverged { tick: 6, .. }), "{error}");
    assert_eq!(error.divergence(), Some(6));
    let Differences { list, total } = differences.unwrap();
    let [Difference { entity, kind: "player", what }] = list[..] else { panic!("{list:?}") };
    let Apart::Field { name: "z", unit: "m", recorded, replayed } = what else { panic!("{what:?}") };
    assert_eq!((entity, total, recorded - replayed), (id, 1, 1.0));
}

#[test]
fn a_log_without_rows_names_the_tick_alone() {
    let (bytes, _) = meddled(false);
    assert!(matches!(diverge(&bytes), (ReplayError::Diverged { tick: 6, .. }, None)));
}

#[test]
fn who_is_there_on_one_side_only_is_told() {
    let (mut recorded, _) = world(CROWDED, 0);
    let mut log = log_of(&recorded, true);
    let (first, second) = (recorded.spawn_player().unwrap(), recorded.spawn_player().unwrap());
    // The log knows of another newcomer than the frame.
    log.join(first);
    assert!(recorded.despawn(first));
    step(&mut recorded, &mut log, &[]);
    let (error, differences) = diverge(log.bytes());
    assert_eq!(error.divergence(), Some(1));
    let told: Vec<_> = differences.unwrap().list.iter().map(|one| (one.entity, one.what)).collect();
    assert_eq!(told, [(first, Apart::Extra), (second, Apart::Missing)]);
}

#[test]
fn changes_that_cannot_have_happened_are_named_in_words() {
    let (mut world, _) = world(CROWDED, 0);
    let id = world.spawn_player().unwrap();
    let mut log = log_of(&world, false);
    log.leave(id);
    let frame = world.frame();
    log.tick([].into_iter(), &frame);
    let error = replay(log.bytes()).unwrap_err();
    assert_eq!(error, ReplayError::Leave { tick: 1, id });
    assert_eq!(error.to_string(), format!("entity {} left before tick 1 but was not there", id.raw()));

    let second = world.spawn_player().unwrap();
    let mut log = log_of(&world, false);
    log.join(second);
    log.tick([].into_iter(), &frame);
    let error = replay(log.bytes()).unwrap_err();
    assert_eq!(error, ReplayError::Join { tick: 1, expected: second, actual: Ok(id) });
    let text = format!("a join before tick 1 gave entity {}, the log has entity {}", id.raw(), second.raw());
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_log_of_another_schema_or_of_no_world_is_refused() {
    let (world, _) = world(CROWDED, 0);
    let good = header(&world, true);
    let refused = |header: &Header| replay(InputLog::new(&SCHEMA, header).unwrap().bytes()).unwrap_err();
    let (found, ours) = (good.schema ^ 1, good.schema);
    assert_eq!(refused(&Header { schema: found, ..good.clone() }), LogError::Schema { found, ours }.into());
    assert_eq!(refused(&Header { rate_hz: 21, ..good.clone() }), LogError::Header.into());
    let short = Header { config: good.config[1..].to_vec(), ..good.clone() };
    assert!(matches!(refused(&short), ReplayError::Refused(_)));
    let mut wild = good;
    wild.config.fill(0xff);
    assert!(matches!(refused(&wild), ReplayError::Refused(_)));
}

#[test]
fn a_held_input_costs_a_byte_for_each_field_that_is_not_zero_and_two_more() {
    let (mut world, players) = world(WorldConfig { npcs: 0, ..CROWDED }, 20);
    let mut log = log_of(&world, false);
    step(&mut world, &mut log, &[]);
    let before = log.bytes().len();
    step(&mut world, &mut log, &[]);
    let empty = log.bytes().len() - before;
    let wanted: Vec<_> = players.iter().map(|id| (*id, Input { move_x: 15, move_z: -3, ..Input::default() })).collect();
    let before = log.bytes().len();
    step(&mut world, &mut log, &wanted);
    assert_eq!(log.bytes().len() - before - empty, 20 * 4);
}

fn any_state() -> impl Strategy<Value = State> {
    proptest::array::uniform(prop_oneof![3 => Just(0), 1 => -9..9i32, 1 => any::<i32>()])
}

fn any_id() -> impl Strategy<Value = EntityId> {
    (0..70_000u32, 1..4u32).prop_filter_map("an id", |(index, generation)| EntityId::from_parts(index, generation))
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![any_id().prop_map(Change::Join), any_id().prop_map(Change::Leave), any::<u32>().prop_map(Change::Skip)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn changes_and_inputs_survive_the_round_trip(
        ticks in proptest::collection::vec((
            proptest::collection::vec(any_change(), 0..4),
            proptest::collection::vec((any_id(), any_state()), 0..9),
        ), 1..5),
    ) {
        let (world, _) = world(WorldConfig { npcs: 0, ..CROWDED }, 0);
        let (mut log, frame) = (log_of(&world, false), world.frame());
        let mut expected = Vec::new();
        let mut tick = 0;
        for (changes, inputs) in ticks {
            for change in &changes {
                match change {
                    Change::Join(id) => log.join(*id),
                    Change::Leave(id) => log.leave(*id),
                    Change::Skip(ticks) => { log.skip(*ticks); tick += u64::from(*ticks); }
                }
            }
            log.tick(inputs.iter().copied(), &frame);
            tick += 1;
            // Fields that an input does not have are not written.
            let inputs = inputs.into_iter().map(|(id, mut input)| { input[SCHEMA.input.len()..].fill(0); (id, input) }).collect();
            expected.push(Record { tick, changes, inputs, digest: frame.digest });
        }
        let mut reader = LogReader::new(&SCHEMA);
        reader.push(log.bytes());
        reader.finish();
        for expected in expected {
            let mut record = Record::default();
            prop_assert_eq!(reader.next_record(&mut record), Ok(Next::Got(expected.tick)));
            prop_assert_eq!(record, expected);
        }
        prop_assert_eq!(reader.next_record(&mut Record::default()), Ok(Next::End));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = replay(&bytes);
        let head = Run::new(0, true).log.take_bytes();
        let _ = replay(&[&head[..], &bytes].concat());
        // The same with the checks in order, so that the body is looked at.
        let _ = replay(&[&head[..], &sealed(&body), &bytes].concat());
    }

    #[test]
    fn a_mutated_body_whose_checks_are_right_never_panics(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let run = Run::new(4, true);
        let (start, end) = (run.ends[2] + 10, run.ends[3]);
        let mut body = run.log.bytes()[start..end].to_vec();
        for (at, byte) in cuts {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let mut bytes = run.log.bytes()[..run.ends[2]].to_vec();
        bytes.extend(sealed(&body));
        let _ = replay(&bytes);
        let mut reader = LogReader::new(&SCHEMA);
        reader.push(&bytes);
        reader.finish();
        let mut record = Record::default();
        while let Ok(Next::Got(_)) = reader.next_record(&mut record) {}
        prop_assert!(reader.rows().unwrap().count() <= 1 << 17);
    }
}

/// A record of that body.
fn sealed(body: &[u8]) -> Vec<u8> {
    let hash = |bytes: &[u8]| bytes.iter().fold(netcode::schema::Fnv::new(), |hash, byte| hash.byte(*byte)).0;
    let len = (body.len() as u32).to_le_bytes();
    let mut bytes = len.to_vec();
    bytes.extend((hash(&len) as u16).to_le_bytes());
    bytes.extend((hash(body) as u32).to_le_bytes());
    bytes.extend(body);
    bytes
}

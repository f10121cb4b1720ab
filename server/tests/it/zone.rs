//! The zone: who is in the world, and which input each tick gets.

use netcode::packet::ConnId;
use server::config::ServerConfig;
use server::view_time::Seen;
use server::zone::{MOST_REFUSED, ToShard, ToZone, Zone, ZoneConfig};
use sim::{EntityId, Input, Refusal};

fn config(max_players: u32) -> ZoneConfig {
    let mut config = ServerConfig::default();
    config.world.half_extent_m = 64;
    config.world.boxes = 0;
    config.world.npcs = 3;
    config.world.max_players = max_players;
    config.zone()
}

/// Nobody here shoots.
const SEEN: Seen = Seen { tick: 0, jitter_ms: 0 };

fn zone(max_players: u32) -> Zone {
    Zone::new(config(max_players)).unwrap()
}

fn conn(worker: u8, slot: u16) -> ConnId {
    ConnId::new(worker, slot, 1)
}

fn join(conn: ConnId, account: u64) -> ToZone {
    ToZone::Join { conn, account, character: account }
}

fn answers(zone: &mut Zone) -> Vec<(u8, ToShard)> {
    std::iter::from_fn(|| zone.poll()).collect()
}

/// A zone with one player; the player's entity.
fn with_player(conn: ConnId) -> (Zone, EntityId) {
    let mut zone = zone(10);
    zone.handle(join(conn, 1));
    zone.step();
    let answers = answers(&mut zone);
    let [(_, ToShard::Spawned { entity, .. })] = answers[..] else { panic!("{answers:?}") };
    (zone, entity)
}

fn walk(yaw: u16) -> Input {
    Input { move_x: 15, yaw, ..Input::default() }
}

/// The quantised view direction of a player: shows which input the last tick got.
fn yaw_after_step(zone: &mut Zone, entity: EntityId) -> i32 {
    let frame = zone.step();
    let row = frame.row(entity).unwrap();
    let yaw = sim::SCHEMA.kinds[usize::from(frame.kind(row))].fields.iter().position(|field| field.name == "yaw");
    frame.state(row)[yaw.unwrap()]
}

/// The yaw that an input of [`walk`] leads to.
fn yaw_of(input: u16) -> i32 {
    let (mut zone, entity) = with_player(conn(0, 0));
    zone.handle(ToZone::Input { conn: conn(0, 0), tick: zone.tick() + 1, seen: SEEN, input: walk(input) });
    yaw_after_step(&mut zone, entity)
}

#[test]
fn a_joined_player_is_in_the_next_frame_and_its_shard_is_told() {
    let mut zone = zone(10);
    zone.handle(join(conn(3, 7), 42));
    let frame = zone.step();
    let answers = answers(&mut zone);
    let [(3, ToShard::Spawned { conn: told, entity })] = answers[..] else { panic!("{answers:?}") };
    assert_eq!(told, conn(3, 7));
    assert!(frame.row(entity).is_some());
    assert_eq!((zone.players(), zone.tick()), (1, frame.tick));
}

#[test]
fn a_left_player_is_out_of_the_next_frame() {
    let (mut zone, entity) = with_player(conn(0, 0));
    zone.handle(ToZone::Leave { conn: conn(0, 0) });
    zone.handle(ToZone::Leave { conn: conn(0, 0) });
    assert!(zone.step().row(entity).is_none());
    assert_eq!((zone.players(), zone.stats().left), (0, 1));
}

#[test]
fn a_player_who_leaves_in_the_tick_of_joining_never_appears() {
    let mut zone = zone(10);
    let before = zone.step().len();
    zone.handle(join(conn(0, 0), 1));
    zone.handle(ToZone::Leave { conn: conn(0, 0) });
    assert_eq!(zone.step().len(), before);
    assert_eq!(answers(&mut zone), []);
}

#[test]
fn beyond_capacity_players_are_refused_until_one_leaves() {
    let mut zone = zone(2);
    for slot in 0..3 {
        zone.handle(join(conn(0, slot), slot.into()));
    }
    zone.step();
    let refused: Vec<_> =
        answers(&mut zone).into_iter().filter(|(_, a)| matches!(a, ToShard::Refused { .. })).collect();
    assert_eq!(refused, [(0, ToShard::Refused { conn: conn(0, 2) })]);
    zone.handle(ToZone::Leave { conn: conn(0, 1) });
    zone.handle(join(conn(0, 3), 3));
    zone.step();
    assert!(matches!(answers(&mut zone)[..], [(0, ToShard::Spawned { .. })]), "a leave makes room in the same tick");
    assert_eq!((zone.players(), zone.stats().refused), (2, 1));
}

#[test]
fn a_slot_that_is_used_again_belongs_to_its_new_connection_alone() {
    let old = ConnId::new(0, 5, 1);
    let (mut zone, first) = with_player(old);
    let new = ConnId::new(0, 5, 2);
    zone.handle(ToZone::Leave { conn: old });
    zone.handle(join(new, 2));
    zone.step();
    let [(_, ToShard::Spawned { entity: second, .. })] = answers(&mut zone)[..] else { panic!() };
    assert_ne!(first, second);
    zone.handle(ToZone::Input { conn: old, tick: zone.tick() + 1, seen: SEEN, input: walk(1) });
    assert_eq!(zone.stats().inputs_unknown, 1);
    zone.handle(ToZone::Leave { conn: old });
    assert!(zone.step().row(second).is_some());
}

#[test]
fn a_late_input_is_replaced_by_the_last_one_and_ignored_when_it_comes() {
    let c = conn(0, 0);
    let (mut zone, entity) = with_player(c);
    let first = zone.tick() + 1;
    zone.handle(ToZone::Input { conn: c, tick: first, seen: SEEN, input: walk(100) });
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(100));
    // Nothing for the next tick: the last input goes on.
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(100));
    assert_eq!(zone.stats().inputs_repeated, 1);
    zone.handle(ToZone::Input { conn: c, tick: first + 1, seen: SEEN, input: walk(900) });
    assert_eq!(zone.stats().inputs_late, 1);
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(100));
}

#[test]
fn copies_of_an_input_change_nothing() {
    let c = conn(0, 0);
    let (mut zone, entity) = with_player(c);
    let tick = zone.tick() + 1;
    for yaw in [200, 300] {
        zone.handle(ToZone::Input { conn: c, tick, seen: SEEN, input: walk(yaw) });
    }
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(200));
    zone.handle(ToZone::Input { conn: c, tick, seen: SEEN, input: walk(300) });
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(200));
    assert_eq!((zone.stats().inputs_copies, zone.stats().inputs_late), (2, 0));
}

#[test]
fn inputs_that_come_early_wait_for_their_tick_and_those_beyond_reach_are_counted() {
    let c = conn(0, 0);
    let (mut zone, entity) = with_player(c);
    let next = zone.tick() + 1;
    zone.handle(ToZone::Input { conn: c, tick: next + 1, seen: SEEN, input: walk(700) });
    zone.handle(ToZone::Input { conn: c, tick: next, seen: SEEN, input: walk(600) });
    zone.handle(ToZone::Input { conn: c, tick: next + 32, seen: SEEN, input: walk(1) });
    zone.handle(ToZone::Input { conn: c, tick: u64::MAX, seen: SEEN, input: walk(1) });
    assert_eq!(zone.stats().inputs_ahead, 2);
    assert_eq!(zone.newest_input(c), Some(next + 1));
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(600));
    assert_eq!(yaw_after_step(&mut zone, entity), yaw_of(700));
}

#[test]
fn a_player_who_says_nothing_any_more_stops_walking() {
    let c = conn(0, 0);
    let (mut zone, entity) = with_player(c);
    zone.handle(ToZone::Input { conn: c, tick: zone.tick() + 1, seen: SEEN, input: walk(0) });
    let x = |zone: &mut Zone| {
        let frame = zone.step();
        frame.position_m(frame.row(entity).unwrap())[0]
    };
    let start = x(&mut zone);
    let repeated = (0..10).map(|_| x(&mut zone)).last().unwrap();
    let stopped = (0..40).map(|_| x(&mut zone)).last().unwrap();
    let later = (0..20).map(|_| x(&mut zone)).last().unwrap();
    assert!(repeated > start, "a short gap is walked through: {start} m to {repeated} m");
    assert_eq!(stopped, later, "a long one is not");
    assert!(zone.stats().inputs_neutral > 0);
}

#[test]
fn the_world_does_not_depend_on_how_the_workers_messages_interleave() {
    let players: Vec<_> = (0..8u16).map(|i| (conn((i % 2) as u8, i), u64::from(i * 7 % 8))).collect();
    let digests = |reverse: bool| -> Vec<u64> {
        let mut zone = zone(10);
        let mut order = players.clone();
        if reverse {
            order.reverse();
        }
        let mut digests = Vec::new();
        for round in 0..30u64 {
            let tick = zone.tick() + 1;
            for (conn, account) in &order {
                match round {
                    0 => zone.handle(join(*conn, *account)),
                    20 if account % 2 == 0 => zone.handle(ToZone::Leave { conn: *conn }),
                    22 if account % 2 == 0 => zone.handle(join(*conn, *account)),
                    _ => zone.handle(ToZone::Input {
                        conn: *conn,
                        tick,
                        seen: SEEN,
                        input: walk((account * 500) as u16),
                    }),
                }
            }
            zone.step();
            digests.push(zone.digest());
        }
        digests
    };
    assert_eq!(digests(false), digests(true));
}

#[test]
fn a_logged_zone_replays_to_the_same_digests() {
    let mut zone = zone(10).with_log(true).unwrap();
    let mut digests = Vec::new();
    for round in 0..60u64 {
        for slot in 0..4 {
            let tick = zone.tick() + 1;
            match round {
                r if r == u64::from(slot) * 3 => zone.handle(join(conn(0, slot), slot.into())),
                40 if slot == 1 => zone.handle(ToZone::Leave { conn: conn(0, slot) }),
                // Every third input is missing.
                r if r % 3 != 0 => {
                    zone.handle(ToZone::Input { conn: conn(0, slot), tick, seen: SEEN, input: walk(slot * 900) })
                }
                _ => {}
            }
        }
        if round == 30 {
            zone.skip(7);
        }
        digests.push(zone.step().digest);
    }
    assert_eq!(zone.tick(), 67, "ticks that were left out count");
    let replay = sim::replay::replay(&zone.take_log()).unwrap();
    assert_eq!(replay.digests, digests);
    assert!(zone.take_log().is_empty());
}

#[test]
fn the_players_who_were_refused_most_are_named_with_character_and_cause_the_worst_first() {
    let (mut zone, players) = (zone(40), 30);
    for slot in 0..players {
        zone.handle(ToZone::Join { conn: conn(0, slot), account: u64::from(slot), character: 1000 + u64::from(slot) });
    }
    zone.step();
    assert_eq!(zone.most_refused().len(), 0);
    for round in 1..=players {
        for slot in 0..players {
            // The player in slot n asks n times for a weapon that there is not.
            let input = Input { weapon: if round <= slot { 7 } else { 0 }, ..Input::default() };
            zone.handle(ToZone::Input { conn: conn(0, slot), tick: zone.tick() + 1, seen: SEEN, input });
        }
        zone.step();
    }
    let most = zone.most_refused();
    let told: Vec<_> = most.iter().map(|one| (one.character, one.refusals.of(Refusal::Weapon))).collect();
    let expected: Vec<_> = (10..30).rev().map(|slot| (1000 + u64::from(slot), slot)).collect();
    assert_eq!((told, most.len()), (expected, MOST_REFUSED));
    assert_eq!(most[0].entity, zone.entity(conn(0, 29)).unwrap());
    // Who is gone is not named any more.
    zone.handle(ToZone::Leave { conn: conn(0, 29) });
    zone.step();
    assert_eq!(zone.most_refused()[0].character, 1028);
}

//! Who is known: near, tied, or in a crowd.

use server::replication::{Aoi, MAX_RELATIONS, Relation, ReplicaStats, ReplicationConfig};
use sim::EntityId;

use super::scene::{Motion, PERFECT, Path, RATE, Scene, config};

#[test]
fn a_client_that_can_know_few_is_told_of_itself_and_the_nearest() {
    let mut scene = Scene::new(6, 60, 25, &ReplicationConfig { max_known: 8, ..config() });
    let client = scene.join(7, 1100, PERFECT);
    scene.serve(client);
    let by_distance = |ids: &mut Vec<EntityId>| {
        ids.sort_by(|a, b| scene.distance2(client, *a).total_cmp(&scene.distance2(client, *b)));
    };
    let mut expected = scene.frame.ids().to_vec();
    by_distance(&mut expected);
    let mut known: Vec<EntityId> = scene.replication.client(client).unwrap().entities().collect();
    by_distance(&mut known);
    assert_eq!(known, expected[..8]);
    assert!(scene.replication.stats().no_slot > 0);
}

#[test]
fn whoever_is_tied_to_a_client_stays_known_beyond_the_radius_until_the_tie_ends() {
    let mut scene = Scene::new(6, 60, 150, &config());
    let client = scene.join(0, 1100, PERFECT);
    scene.step();
    let far = scene
        .players
        .iter()
        .copied()
        .max_by(|a, b| scene.distance2(client, *a).total_cmp(&scene.distance2(client, *b)));
    let far = far.unwrap();
    assert!(scene.distance2(client, far) > 100.0 * 100.0 && scene.view(client).entity(far.raw()).is_none());
    assert!(scene.replication.relate(client, far, Relation::Party));
    for _ in 0..100 {
        scene.step();
    }
    assert!(scene.view(client).entity(far.raw()).is_some_and(|entity| entity.confirmed() == scene.frame.tick));
    assert!(scene.replication.relate(client, far, Relation::None));
    for _ in 0..20 {
        scene.step();
    }
    assert!(scene.view(client).entity(far.raw()).is_none());
}

#[test]
fn ties_are_limited_and_those_that_ended_do_not_count() {
    let mut scene = Scene::new(6, 100, 25, &config());
    let client = scene.join(0, 1100, PERFECT);
    let others = scene.players[1..].to_vec();
    let mut tie = |at: usize, relation| scene.replication.relate(client, others[at], relation);
    assert!((0..MAX_RELATIONS).all(|at| tie(at, Relation::Party)));
    assert!(!tie(MAX_RELATIONS, Relation::Party));
    assert!(tie(3, Relation::Target), "who is tied may be tied otherwise");
    assert!(tie(5, Relation::None) && tie(MAX_RELATIONS, Relation::Party));
    assert!(!scene.replication.relate(99, others[0], Relation::Party), "nobody is there");
}

fn crowded() -> ReplicationConfig {
    ReplicationConfig { aoi: Aoi { crowd: 12, follow: 6, ..config().aoi }, ..config() }
}

#[test]
fn in_a_crowd_the_nearest_are_told_at_once_and_everybody_has_a_turn() {
    let config = crowded();
    let mut scene = Scene::new(3, 60, 16, &config);
    let client = scene.join(0, 1100, PERFECT);
    scene.motion = Motion::Dance;
    for _ in 0..40 {
        scene.step();
    }
    assert!(scene.replication.client(client).unwrap().crowded());
    let mut told_late = 0;
    for _ in 0..100 {
        scene.step();
        let mut nearest = Vec::new();
        let [x, _, z] = scene.frame.position_m(scene.frame.row(scene.players[0]).unwrap());
        scene.frame.nearest([x, z], 100.0, 3, &mut nearest);
        let nearest: Vec<EntityId> = nearest.iter().map(|one| scene.frame.id(one.row() as usize)).collect();
        for (id, age) in scene.outdated(client) {
            assert!(!nearest.contains(&id), "{id:?} is among the three nearest");
            assert!(age <= config.aoi.turn_ticks, "{id:?} has waited for {age} ticks");
            told_late += 1;
        }
    }
    assert!(told_late > 1000, "nobody has to wait here");
    // In a turn all clients look at the same ones, and each is looked at once, not in every tick.
    let stats = scene.replication.stats();
    assert!(stats.cut < 5 && stats.updates < stats.snapshots * 20, "{stats:?}");
}

/// Updates in half a minute in a crowd, and how often one of the nearest had waited for one tick, and for more, to be told of.
fn of_a_crowd(path: Path) -> (u64, usize, usize) {
    let mut scene = Scene::new(3, 60, 16, &crowded());
    let client = scene.join(0, 1100, path);
    for _ in 0..40 {
        scene.step();
    }
    assert!(scene.replication.client(client).unwrap().crowded());
    let before = scene.replication.stats().updates;
    let (mut one, mut more) = (0, 0);
    for _ in 0..600 {
        scene.step();
        let mut nearest = Vec::new();
        let [x, _, z] = scene.frame.position_m(scene.frame.row(scene.players[0]).unwrap());
        scene.frame.nearest([x, z], 100.0, 4, &mut nearest);
        let is_near = |id: EntityId| nearest.iter().any(|one| scene.frame.id(one.row() as usize) == id);
        for (_, age) in scene.outdated(client).filter(|(id, _)| is_near(*id)) {
            one += usize::from(age == 1);
            more += usize::from(age > 1);
        }
    }
    (scene.replication.stats().updates - before, one, more)
}

#[test]
fn in_a_crowd_what_is_on_its_way_is_told_again_after_two_ticks_and_not_before() {
    let at = |delay, loss| of_a_crowd(Path { delay, loss, spurious: 0.0 });
    let (soon, later) = (at(1, 0.0), at(2, 0.0));
    // Its own entity is in every snapshot until it is acknowledged, nobody else.
    assert!(later.0 <= soon.0 + 600, "{soon:?} {later:?}");
    // That a packet is lost is known after six ticks: nobody waits for that.
    let (_, one, more) = at(6, 0.2);
    assert!(one > 10 && more < one, "{one} {more}");
}

/// What is copied for many is what each of them needs: the scene compares every view with the truth in every tick.
#[test]
fn in_a_crowd_that_shares_its_turns_views_are_the_truth_whoever_comes_late_loses_packets_or_has_little_room() {
    let aoi = Aoi { crowd: 30, follow: 8, turn_ticks: 5, ..config().aoi };
    for seed in 0..4 {
        let mut scene = Scene::new(seed, 150, 16, &ReplicationConfig { aoi, ..config() });
        scene.churn = true;
        for (player, loss, spurious, budget) in [(0, 0.0, 0.0, 1100), (1, 0.2, 0.1, 1100), (2, 0.1, 0.0, 250)] {
            scene.join(player, budget, Path { loss, spurious, delay: 2 });
        }
        for step in 0..300 {
            scene.motion = if step % 100 < 50 { Motion::Dance } else { Motion::Mixed };
            if step == 90 {
                scene.join(3, 1100, Path { loss: 0.05, ..PERFECT });
            }
            if step == 150 {
                scene.replication.insert(1, scene.players[5]);
                scene.viewers[1].own = scene.players[5];
            }
            scene.step();
        }
        let stats = scene.replication.stats();
        assert!(stats.cut > 50 && stats.in_runs * 4 > stats.updates, "{stats:?}");
        // Once players rest and nothing is lost any more, only who still walks waits, and for a turn at most.
        (scene.motion, scene.churn) = (Motion::Rest, false);
        scene.viewers.iter_mut().for_each(|viewer| viewer.path = PERFECT);
        for _ in 0..6 * RATE {
            scene.step();
        }
        for client in 0..scene.viewers.len() as u16 {
            let worst = scene.outdated(client).map(|(_, waits)| waits).max().unwrap_or(0);
            assert!(worst <= aoi.turn_ticks, "seed {seed}, client {client}: {worst} ticks");
        }
    }
}

#[test]
fn a_crowd_that_disperses_is_followed_as_before() {
    let mut scene = Scene::new(3, 60, 16, &crowded());
    let client = scene.join(0, 1100, PERFECT);
    for _ in 0..40 {
        scene.step();
    }
    assert!(!scene.view(client).complete(), "nobody in a crowd is told everything");
    while scene.players.len() > 3 {
        let gone = scene.players.pop().unwrap();
        assert!(scene.world.despawn(gone));
        scene.step();
    }
    for _ in 0..2 * RATE {
        scene.step();
    }
    let replica = scene.replication.client(client).unwrap();
    assert!(replica.known() < 16);
    if !replica.crowded() {
        assert!(scene.view(client).complete());
    }
}

/// It did not: two turns at once never fitted, so all was cut and nothing shared; turns came round after the last baseline
/// was gone; and then all were told whole, which takes so long that it went on for ever.
#[test]
fn a_crowd_that_was_hardly_served_is_well_again_though_it_is_served_half_as_often() {
    let aoi = Aoi { crowd: 30, follow: 8, ..config().aoi };
    let mut scene = Scene::new(3, 480, 16, &ReplicationConfig { aoi, max_known: 512, ..config() });
    scene.motion = Motion::Dance;
    // There is room for one turn and those who are followed, as for 2,000 in what a datagram holds.
    let client = scene.join(0, 285, PERFECT);
    let run = |scene: &mut Scene, ticks: u64, every: u64| {
        let before = scene.replication.stats();
        let (mut latest, mut explained) = (0, 0);
        for tick in 0..ticks {
            scene.move_on();
            scene.replication.handle_frame(scene.frame.clone());
            if tick.is_multiple_of(every) {
                scene.serve(client);
                explained += scene.replication.explained().iter().filter(|entry| entry.sent).count() as u64;
            }
            scene.note_waits();
            latest = latest.max(scene.outdated(client).map(|(_, waits)| waits).max().unwrap_or(0));
        }
        let after = scene.replication.stats();
        let records = |stats: ReplicaStats| stats.updates + stats.spawns + stats.despawns;
        assert!([0, records(after) - records(before)].contains(&explained), "all is explained, or nothing");
        (after.cut - before.cut, after.refreshes - before.refreshes, latest)
    };
    run(&mut scene, 300, 1);
    let (cut, refreshes, latest) = run(&mut scene, 100, 1);
    assert!((cut, refreshes) == (0, 0) && latest <= aoi.turn_ticks, "{cut} cut, {refreshes} refreshed, {latest} ticks");
    // All that it had is too old by then.
    let (_, refreshes, _) = run(&mut scene, 300, 10);
    assert!(refreshes > 150, "{refreshes}");
    // Who is told whole, from what is left of the room, is explained as well.
    scene.replication.watch(Some(client));
    let (_, refreshes, _) = run(&mut scene, 30, 2);
    assert!(refreshes > 10, "{refreshes}");
    scene.replication.watch(None);
    run(&mut scene, 570, 2);
    let (cut, refreshes, latest) = run(&mut scene, 200, 2);
    assert!(cut < 20 && refreshes < 5, "{cut} cut, {refreshes} refreshed");
    assert!(latest <= 2 * aoi.turn_ticks + 4, "{latest} ticks");
    // A third as often it would lose track of all again.
    assert_eq!([1, 2, 4].map(|divisor| scene.replication.divisor(client, divisor)), [1, 2, 2]);
}

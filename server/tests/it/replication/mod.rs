//! Replication over lossy paths, against the truth.

mod area;
mod compact;
mod order;
mod scene;

use netcode::snapshot::MAX_AGE;
use server::replication::ReplicaStats;
use sim::EntityId;
use sim::schema::{NPC, PLAYER};

use scene::{Motion, PERFECT, Path, RADIUS_M, RATE, Scene, config};

/// Plays a while over a path, then calms down: the views become complete and show the whole area.
fn run(seed: u64, path: Path, budget: usize) -> ReplicaStats {
    let mut scene = Scene::new(seed, 60, 60, &config());
    scene.churn = true;
    scene.join(0, budget, path);
    scene.join(0, budget, path);
    for _ in 0..400 {
        scene.step();
    }
    (scene.motion, scene.churn) = (Motion::Rest, false);
    for viewer in &mut scene.viewers {
        viewer.path = Path { delay: path.delay, ..PERFECT };
    }
    for _ in 0..200 {
        scene.step();
    }
    let [x, _, z] = scene.frame.position_m(scene.frame.row(scene.players[0]).unwrap());
    let mut rows = Vec::new();
    scene.frame.query([x, z], RADIUS_M - 5.0, &mut rows);
    // Projectiles and loot come and go meanwhile, and whoever just came is told of a few ticks later.
    rows.retain(|row| matches!(scene.frame.kind(*row as usize), PLAYER | NPC));
    for viewer in &scene.viewers {
        assert!(rows.iter().all(|row| viewer.view.entity(scene.frame.id(*row as usize).raw()).is_some()));
    }
    assert!((0..20).any(|_| {
        scene.step();
        scene.viewers.iter().all(|viewer| viewer.view.complete())
    }));
    scene.replication.stats()
}

#[test]
fn a_view_is_the_truth_on_a_perfect_path() {
    let stats = run(1, PERFECT, 1100);
    assert!(stats.spawns > 60 && stats.despawns > 0 && stats.updates > 1000);
    assert!(stats.shared * 3 > stats.made, "two clients want the same: {stats:?}");
}

#[test]
fn a_view_is_the_truth_under_loss_and_late_acks() {
    for seed in 0..8 {
        run(seed, Path { loss: 0.3, spurious: 0.0, delay: 4 }, 1100);
    }
}

/// The client had forgotten a course that the server went out from: it had a newer record, which had arrived and was taken
/// for lost.
#[test]
fn baselines_never_go_back_even_where_packets_that_arrived_are_taken_for_lost() {
    for seed in 0..8 {
        run(seed, Path { loss: 0.1, spurious: 0.3, delay: 3 }, 400);
    }
}

#[test]
fn a_view_is_the_truth_when_acks_are_older_than_the_frame_ring() {
    let stats = run(3, Path { loss: 0.1, spurious: 0.0, delay: u64::from(MAX_AGE) + 7 }, 1100);
    assert!(stats.refreshes > 0);
}

#[test]
fn a_tight_budget_delays_but_does_not_falsify_and_nobody_starves() {
    let mut scene = Scene::new(9, 60, 25, &config());
    let client = scene.join(0, 100, Path { loss: 0.1, spurious: 0.0, delay: 2 });
    for _ in 0..400 {
        scene.step();
        for (id, waits) in scene.outdated(client) {
            assert!(waits <= u64::from(RATE), "{id:?} has waited for {waits} ticks");
        }
    }
    assert!(scene.replication.stats().cut > 100);
}

/// Those with low slots came anew before those with high ones had come at all, for ever.
#[test]
fn nobody_starves_where_a_budget_is_just_enough_for_all_to_come_within_a_second() {
    let mut scene = Scene::new(2, 70, 20, &config());
    let client = scene.join(0, 1100, PERFECT);
    scene.motion = Motion::Dance;
    for _ in 0..60 {
        scene.step();
    }
    let before = scene.replication.stats();
    for _ in 0..20 {
        scene.step();
    }
    let stats = scene.replication.stats();
    let (bits, updates) = (stats.update_bits - before.update_bits, stats.updates - before.updates);
    let record = bits / updates + 9;
    // Everybody once in 15 ticks.
    let each = updates / 20 * record / 15;
    scene.viewers[usize::from(client)].budget = (each + record + 40) as usize / 8 + 1;
    // Records against baselines that old are longer.
    let before = scene.replication.stats();
    for _ in 0..40 {
        scene.step();
    }
    let stats = scene.replication.stats();
    let record = (stats.update_bits - before.update_bits) / (stats.updates - before.updates) + 9;
    let each = updates / 20 * record / 15;
    scene.viewers[usize::from(client)].budget = (each + record + 40) as usize / 8 + 1;
    let mut worst = 0;
    for step in 0..200 {
        scene.step();
        let oldest = scene.outdated(client).map(|(_, waits)| waits).max().unwrap_or(0);
        worst = worst.max(if step < 40 { 0 } else { oldest });
    }
    assert!(scene.replication.stats().cut > stats.cut + 150);
    assert!(worst > 12, "the budget is not tight: {worst} ticks");
    assert!(worst <= u64::from(RATE), "{worst} ticks");
}

#[test]
fn a_client_that_never_acknowledges_costs_bounded_memory() {
    let mut scene = Scene::new(5, 60, 40, &config());
    let client = scene.join(0, 1100, Path { loss: 0.0, spurious: 0.0, delay: 1_000_000 });
    for _ in 0..300 {
        scene.step();
    }
    // After 256 later packets all are taken for acknowledged.
    scene.viewers[usize::from(client)].path.delay = 1;
    let bytes = scene.replication.client(client).unwrap().bytes();
    assert!(bytes < 128 * 1024, "{bytes} bytes");
}

#[test]
fn who_missed_frames_looks_at_everybody() {
    let mut scene = Scene::new(4, 24, 30, &config());
    let client = scene.join(0, 1100, PERFECT);
    for round in 0..40u64 {
        for _ in 0..5 {
            scene.step();
        }
        // Turns that replication never hears of; seldom more frames than are kept.
        for _ in 0..if round % 10 == 9 { 80 } else { 1 + round % 4 } {
            scene.move_on();
        }
        scene.step();
        assert!(scene.view(client).complete() && scene.outdated(client).count() == 0);
    }
}

/// What the client had acknowledged as another's was taken for acknowledged as its own.
#[test]
fn a_client_that_comes_to_own_another_entity_gets_its_fields_and_loses_those_of_the_first() {
    for delay in 0..6 {
        let mut scene = Scene::new(7, 40, 20, &config());
        let client = scene.join(0, 1100, Path { delay, ..PERFECT });
        for round in 0..40 {
            for _ in 0..1 + round % 5 {
                scene.step();
            }
            let own = scene.players[round % 7];
            scene.replication.insert(client, own);
            scene.viewers[usize::from(client)].own = own;
        }
        for _ in 0..10 {
            scene.step();
        }
        let owned: Vec<u32> = scene.view(client).entities().filter(|one| one.owner()).map(|one| one.id()).collect();
        assert_eq!(owned, [scene.viewers[usize::from(client)].own.raw()]);
    }
}

#[test]
fn slots_are_used_again_without_mistaking_the_new_for_the_old() {
    let mut scene = Scene::new(8, 40, 20, &config());
    let client = scene.join(0, 1100, Path { loss: 0.2, spurious: 0.1, delay: 3 });
    for step in 0..600 {
        // Half of all leave at once, and others come.
        if step % 20 == 0 {
            let gone: Vec<EntityId> = scene.players.iter().copied().skip(1).step_by(2).collect();
            gone.iter().for_each(|id| assert!(scene.world.despawn(*id)));
            scene.players.retain(|id| !gone.contains(id));
            let come: Vec<EntityId> = gone.iter().map(|_| scene.world.spawn_player().unwrap()).collect();
            scene.players.extend(come);
            scene.players.sort_unstable();
        }
        scene.step();
    }
    let slots = scene.view(client).entities().map(|entity| entity.slot()).max().unwrap();
    assert!(slots < 150, "slot {slots}");
}

#[test]
fn who_is_gone_is_forgotten() {
    let mut scene = Scene::new(8, 40, 20, &config());
    let (one, two) = (scene.join(0, 1100, PERFECT), scene.join(1, 1100, PERFECT));
    scene.step();
    assert!(scene.replication.remove(two) && !scene.replication.remove(two));
    scene.viewers.truncate(1);
    for _ in 0..10 {
        scene.step();
    }
    assert!(scene.replication.client(two).is_none() && scene.replication.client(one).is_some());
}

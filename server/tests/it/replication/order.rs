//! What goes first, and why.

use server::replication::{Aoi, Explained, Relation, ReplicationConfig, Tier};

use super::scene::{Motion, PERFECT, RATE, Scene, config};

/// Whoever was left out has no higher tier than who went, and in the same one no higher score, give or take a class of scores
/// (half a doubling). How many were left out.
fn check_order(explained: &[Explained]) -> usize {
    let rank = |one: &&Explained| (one.terms.tier, one.terms.score);
    let (sent, left_out): (Vec<_>, Vec<_>) = explained.iter().partition(|one| one.sent);
    let least = sent.iter().map(rank).min();
    for one in &left_out {
        let high_enough = least.is_none_or(|(tier, score)| {
            tier > one.terms.tier
                || tier == one.terms.tier && u64::from(one.terms.score) * 2 <= u64::from(score) * 3 + 3
        });
        assert!(high_enough, "{one:?} was left out for {least:?}");
    }
    left_out.len()
}

#[test]
fn under_a_tight_budget_the_highest_scores_go_first() {
    let mut scene = Scene::new(4, 60, 20, &config());
    let client = scene.join(0, 150, PERFECT);
    scene.replication.watch(Some(client));
    scene.motion = Motion::Dance;
    let mut left_out = 0;
    for _ in 0..200 {
        scene.step();
        left_out += check_order(scene.replication.explained());
    }
    assert!(left_out > 1000);
}

#[test]
fn who_joins_under_a_tight_budget_hears_of_itself_at_once_and_of_the_nearest_first() {
    for seed in 0..10 {
        let mut scene = Scene::new(seed, 100, 28, &config());
        scene.motion = Motion::Rest;
        let client = scene.join(3, 200, PERFECT);
        scene.replication.watch(Some(client));
        let mut cut = 0;
        for step in 0..6 {
            scene.step();
            let explained = scene.replication.explained();
            let (sent, left): (Vec<&Explained>, Vec<&Explained>) = explained.iter().partition(|one| one.sent);
            if step == 0 {
                assert!(sent.iter().any(|one| one.id == scene.players[3] && one.terms.tier == Tier::First));
            }
            let d2 = |one: &&Explained| scene.distance2(client, one.id);
            let farthest = sent.iter().map(d2).fold(0.0, f32::max);
            // What is larger than all that went may have been too large for the room that was left.
            let smallest = sent.iter().map(|one| one.bits).min().unwrap_or(u16::MAX);
            let nearest = left.iter().filter(|one| one.bits <= smallest).map(d2).fold(f32::MAX, f32::min);
            // A class of scores, and a sixteenth of the area's square.
            let radius2 = (super::RADIUS_M * 1.15) * (super::RADIUS_M * 1.15);
            assert!(farthest <= nearest + radius2 * 3.0 / 16.0, "seed {seed}, step {step}: {farthest} and {nearest}");
            cut += usize::from(!left.is_empty());
        }
        assert!(cut >= 3);
    }
}

#[test]
fn whoever_is_tied_comes_before_others_as_near() {
    let mut scene = Scene::new(5, 60, 20, &config());
    let client = scene.join(0, 1100, PERFECT);
    scene.motion = Motion::Dance;
    let target = scene.players[20];
    assert!(scene.replication.relate(client, target, Relation::Target));
    for _ in 0..10 {
        scene.step();
    }
    scene.replication.watch(Some(client));
    scene.step();
    let of_target = |one: &&Explained| one.id == target;
    let found = scene.replication.explained().iter().find(of_target).unwrap().terms;
    assert_eq!(found.relation, 400);
    let others = scene.replication.explained().iter().filter(|one| one.id != target).map(|one| one.terms.relation);
    assert!(others.into_iter().all(|relation| relation == 100 || relation == 0));
}

#[test]
fn one_client_is_explained_and_nobody_when_nobody_asks() {
    let mut scene = Scene::new(5, 60, 20, &config());
    let (one, two) = (scene.join(0, 300, PERFECT), scene.join(1, 300, PERFECT));
    scene.motion = Motion::Dance;
    scene.step();
    assert!(scene.replication.explained().is_empty());
    scene.replication.watch(Some(one));
    scene.step();
    let explained = scene.replication.explained();
    assert!(explained.iter().all(|entry| entry.tick == scene.frame.tick));
    let sent = explained.iter().filter(|entry| entry.sent);
    let bits: usize = sent.map(|entry| usize::from(entry.bits)).sum();
    assert!(bits > 300 * 8 / 2 && bits <= 300 * 8, "{bits} bits");
    let own = |client: u16| scene.viewers[usize::from(client)].own;
    let first = explained.iter().filter(|entry| entry.terms.tier == Tier::First).map(|entry| entry.id);
    assert!(first.into_iter().all(|id| id == own(one) && id != own(two)));
    scene.replication.watch(None);
    scene.step();
    assert!(scene.replication.explained().is_empty());
}

/// The nearest, whose turns alone were more than the budget, kept all others waiting for ever.
#[test]
fn in_a_crowd_the_nearest_go_first_only_while_they_leave_room_for_the_others() {
    let config = ReplicationConfig { aoi: Aoi { crowd: 20, follow: 16, ..config().aoi }, ..config() };
    let mut scene = Scene::new(3, 40, 16, &config);
    let client = scene.join(0, 1100, PERFECT);
    scene.motion = Motion::Dance;
    for _ in 0..60 {
        scene.step();
    }
    scene.viewers[usize::from(client)].budget = 90;
    let cut = scene.replication.stats().cut;
    for step in 0..200 {
        scene.step();
        let worst = scene.outdated(client).map(|(_, waits)| waits).max().unwrap_or(0);
        assert!(step < 60 || worst <= config.aoi.turn_ticks + u64::from(RATE), "{worst} ticks");
    }
    assert!(scene.replication.client(client).unwrap().crowded() && scene.replication.stats().cut > cut + 100);
}

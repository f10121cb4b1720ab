//! The compact codec: the same truth in fewer bytes.

use server::replication::{Aoi, ReplicationConfig};

use super::scene::{Motion, PERFECT, Path, Scene, config};

const LOSSY: Path = Path { loss: 0.2, spurious: 0.05, delay: 3 };

/// A scene with clients in either codec, one of each kind owning neighbours in the list of players.
fn scene(seed: u64, config: &ReplicationConfig, budget: usize, path: Path) -> Scene {
    let mut scene = Scene::new(seed, 60, 30, config);
    for player in 0..12 {
        let client = scene.join(player, budget, path);
        scene.viewers[usize::from(client)].compact = client.is_multiple_of(2);
    }
    scene
}

#[test]
fn clients_in_the_compact_codec_see_the_truth_through_loss_and_churn() {
    let mut scene = scene(3, &config(), 1100, LOSSY);
    scene.churn = true;
    // Each step compares every view with the frame.
    for _ in 0..900 {
        scene.step();
    }
    let stats = scene.replication.stats();
    assert!(stats.compact > 4000 && stats.tables >= 1, "{stats:?}");
    assert_eq!(scene.viewers.iter().filter(|viewer| viewer.tables.is_some()).count(), 6);
}

#[test]
fn the_compact_codec_takes_fewer_bytes_for_the_same_news() {
    let mut scene = scene(4, &config(), 1100, PERFECT);
    for _ in 0..400 {
        scene.step();
    }
    let mut bytes = [0; 2];
    for _ in 0..400 {
        scene.step();
        for (client, viewer) in scene.viewers.iter().enumerate() {
            bytes[client % 2] += viewer.bytes;
        }
    }
    let [compact, fast] = bytes;
    assert!(compact * 100 < fast * 80, "{compact} against {fast} bytes");
}

#[test]
fn in_a_budget_that_cuts_the_compact_codec_tells_of_more_and_never_exceeds_it() {
    let aoi = Aoi { crowd: 128, ..config().aoi };
    let mut scene = scene(5, &ReplicationConfig { aoi, ..config() }, 200, PERFECT);
    scene.motion = Motion::Dance;
    for _ in 0..200 {
        scene.step();
    }
    let mut told = [0; 2];
    for _ in 0..200 {
        // Serving asserts that each body keeps its budget.
        scene.step();
        for (client, viewer) in scene.viewers.iter().enumerate() {
            let now = |entity: &netcode::snapshot::Entity<'_>| {
                entity.rows().next().is_some_and(|row| row.from == scene.frame.tick)
            };
            told[client % 2] += viewer.view.entities().filter(now).count();
        }
    }
    let stats = scene.replication.stats();
    let [compact, fast] = told;
    assert!(compact * 100 > fast * 115, "{compact} against {fast} records");
    assert!(stats.compact_too_long * 50 < stats.compact, "{stats:?}");
}

#[test]
fn when_the_world_moves_otherwise_than_the_tables_say_new_ones_are_published() {
    let mut scene = scene(6, &config(), 1100, PERFECT);
    for _ in 0..300 {
        scene.step();
    }
    assert_eq!(scene.replication.tables().map(|(version, _)| version), Some(1));
    scene.motion = Motion::Dance;
    for _ in 0..600 {
        scene.step();
    }
    let (version, bytes) = scene.replication.tables().unwrap();
    assert!((2..5).contains(&version), "{version}");
    assert!(bytes.len() < 8000, "{} bytes", bytes.len());
}

#[test]
fn nothing_is_trained_for_nobody() {
    let mut scene = Scene::new(7, 60, 30, &config());
    scene.join(0, 1100, PERFECT);
    for _ in 0..300 {
        scene.step();
    }
    assert_eq!(scene.replication.tables(), None);
    assert_eq!(scene.replication.stats().compact, 0);
}

//! Rounds of snapshots while players leave.

use sim::Input;

use crate::cluster::Cluster;

/// It once moved everybody behind it up by a place: the next one got nothing, and somebody else two snapshots of one tick, which
/// no client takes from an honest server.
#[test]
fn a_player_that_leaves_amid_a_round_takes_no_turn_from_others_and_gives_nobody_two() {
    let config = server::config::ServerConfig::default();
    for seed in 0..6 {
        let players = 16;
        let mut cluster = Cluster::new(&config, 1, players, 0);
        cluster.run(40, |_, _, _, _| Input::default());
        for leaver in 0..players - 2 {
            cluster.leaves = Some((1 + (seed + leaver * 5) % (players - leaver), (leaver * 7 + seed) % players));
            // A view that gets a tick twice panics.
            cluster.run(1, |_, _, _, _| Input::default());
            assert_eq!(cluster.leaves, None, "nobody left");
            cluster.run(1, |_, _, _, _| Input::default());
            let there = cluster.players.iter().filter(|player| !player.is_gone());
            let newest: Vec<_> = there.map(|player| player.newest).collect();
            assert!(newest.iter().all(|tick| *tick == newest[0]), "seed {seed}, leaver {leaver}: {newest:?}");
            assert_eq!(newest.len(), players - leaver - 1);
        }
    }
}

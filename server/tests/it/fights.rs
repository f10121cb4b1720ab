//! Players on virtual time: equal worlds with any number of workers, honest and forged view times, events.

use std::time::Duration;

use netcode::Time;
use server::config::ServerConfig;
use server::load::Pace;
use server::zone::ToShard;
use sim::event::What;
use sim::input::{FIRE, JUMP, RELOAD, SPRINT};
use sim::rng::mix;
use sim::{Event, Input, Refusal};

use crate::cluster::{Cluster, Player, TICK_MS};

fn config() -> ServerConfig {
    let mut config = ServerConfig::default();
    (config.world.half_extent_m, config.world.boxes, config.world.gates, config.world.ramps) = (40, 6, 2, 2);
    (config.world.npcs, config.world.max_players) = (6, 64);
    config
}

/// What the view at that server time is in the input of a tick.
fn view(tick: u64, server_ms: i64) -> u16 {
    let behind_ms = (tick * TICK_MS) as i64 - server_ms;
    (behind_ms * 32 / TICK_MS as i64).clamp(0, 2047) as u16
}

/// Runs about, looks around, shoots and reloads at times.
fn brawl(index: usize, tick: u64, now: Time, player: &Player) -> Input {
    let leg = mix((index as u64) << 32 | (tick / 16));
    let at = mix(leg ^ tick);
    let fires = if at.is_multiple_of(3) { FIRE } else { 0 } | if at & 63 == 0 { RELOAD } else { 0 };
    Input {
        move_x: (leg & 31) as i8 - 16,
        move_z: (leg >> 8 & 31) as i8 - 16,
        yaw: (leg >> 16) as u16,
        buttons: fires | (leg >> 40) as u8 & (SPRINT | JUMP),
        weapon: (leg >> 44 & 3) as u8,
        view: view(tick, player.view_ms(now)),
        instant: (at >> 20 & 15) as u8,
        ..Input::default()
    }
}

#[test]
fn worlds_are_the_same_with_1_2_and_8_workers() {
    let fight = |workers| {
        let mut cluster = Cluster::new(&config(), workers, 24, 20);
        cluster.run(300, brawl);
        assert!(cluster.players.iter().all(|player| player.entity.is_some()));
        let counted = cluster.shards.iter().map(|shard| shard.stats().events + shard.stats().events_dropped);
        let log = cluster.zone.take_log();
        (cluster.digests, *cluster.zone.stats(), counted.sum::<u64>(), log)
    };
    let (digests, stats, events, log) = fight(1);
    assert_eq!(sim::replay(&log).unwrap().digests, digests);
    assert!(stats.events > 500 && stats.inputs_held > 24 * 250, "{stats:?}");
    assert_eq!(events, stats.events);
    for workers in [2, 8] {
        let (same, stats_too, _, log_too) = fight(workers);
        let apart = digests.iter().zip(&same).position(|(one, other)| one != other);
        assert_eq!((apart, digests.len(), stats), (None, same.len(), stats_too), "{workers} workers");
        assert!(log == log_too, "the same is logged");
    }
}

#[test]
fn every_player_sees_the_same_at_every_tick_of_a_fight_with_1_2_and_4_workers() {
    let fight = |workers| {
        let mut config = config();
        config.replication.aoi_radius_m = 30;
        let mut cluster = Cluster::new(&config, workers, 24, 20);
        cluster.run(300, brawl);
        (cluster.seen, *cluster.zone.stats())
    };
    let (one, stats) = fight(1);
    assert!(stats.events > 500, "{stats:?}");
    let new = one.windows(2).flat_map(|pair| pair[0].iter().zip(&pair[1])).filter(|(before, after)| before != after);
    assert!(new.count() > 24 * 280, "there is something new to see in nearly every tick");
    for workers in [2, 4] {
        let (several, _) = fight(workers);
        let apart = one.iter().zip(&several).position(|(one, several)| one != several);
        let who = apart.and_then(|at| one[at].iter().zip(&several[at]).position(|(one, several)| one != several));
        assert_eq!((apart, several.len()), (None, one.len()), "{workers} workers, player {who:?}");
    }
}

#[test]
fn where_time_is_short_all_clients_are_sent_fewer_snapshots_and_nobody_none() {
    let mut cluster = Cluster::new(&config(), 1, 12, 20);
    cluster.run(60, brawl);
    for (divisor, wanted) in [(1, 480), (2, 240), (4, 120), (1, 480)] {
        let pace = Pace { divisor, ..Pace::FULL };
        let (now, from) = (cluster.now, cluster.zone.tick());
        cluster.shards[0].handle_zone(now, ToShard::Pace { pace, from });
        let before = cluster.shards[0].stats().replica.snapshots;
        cluster.run(40, brawl);
        let sent = cluster.shards[0].stats().replica.snapshots - before;
        assert!(sent.abs_diff(wanted) <= 12, "{sent} with every {divisor}th tick");
        let behind = |player: &Player| cluster.zone.tick() - player.newest;
        assert!(cluster.players.iter().all(|player| behind(player) <= u64::from(divisor) + 1));
    }
}

#[test]
fn what_happens_once_is_told_to_the_player_once() {
    let mut cluster = Cluster::new(&config(), 2, 12, 30);
    cluster.run(200, brawl);
    // What is on its way arrives.
    cluster.run(20, |_, _, _, _| Input::default());
    let told: u64 = cluster.players.iter().map(|player| player.events.len() as u64).sum();
    assert_eq!(told, cluster.zone.stats().events);
    let shots = cluster.players.iter().flat_map(|player| &player.events);
    assert!(shots.filter(|event| matches!(event.what, What::Shot { .. })).count() > 20);
    for player in &cluster.players {
        for (at, event) in player.events.iter().enumerate() {
            assert!(!player.events[..at].contains(event), "{event:?} came twice");
        }
    }
}

#[test]
fn of_an_honest_players_shots_none_is_refused_for_its_view_however_its_path_stalls() {
    let mut cluster = Cluster::new(&config(), 1, 12, 40);
    cluster.stalls = true;
    let mut asked = 0;
    while asked < 1000 {
        cluster.run(100, |_, tick, now, player| Input {
            buttons: FIRE,
            view: view(tick, player.view_ms(now)),
            ..Input::default()
        });
        // Each trigger is answered by a shot or a refusal.
        let answers = cluster.players.iter().flat_map(|player| &player.events);
        asked = answers.filter(|event| matches!(event.what, What::Shot { .. } | What::Refused { .. })).count();
        assert_eq!(cluster.zone.stats().refusals.of(Refusal::ViewTime), 0);
    }
    assert!(cluster.zone.stats().inputs_late > 50, "paths stalled: {:?}", cluster.zone.stats());
}

#[test]
fn a_forged_view_time_is_refused_each_time_and_counted_for_that_player_alone() {
    let mut cluster = Cluster::new(&config(), 1, 3, 40);
    cluster.run(40, |_, _, _, _| Input::default());
    let held = cluster.zone.stats().inputs_held;
    cluster.run(60, |index, tick, now, player| {
        let shown = player.view_ms(now);
        let claimed = match index {
            0 => shown,
            1 => shown - 600,
            _ => shown - 400,
        };
        Input { buttons: FIRE, view: view(tick, claimed), ..Input::default() }
    });
    let each = (cluster.zone.stats().inputs_held - held) / 3;
    let of = |player: &Player| cluster.zone.refusals(player.conn.unwrap()).unwrap().of(Refusal::ViewTime);
    let refused: Vec<_> = cluster.players.iter().map(of).collect();
    assert_eq!(refused[0], 0, "{refused:?}");
    assert!(refused[1..].iter().all(|refused| u64::from(*refused) + 4 >= each), "{refused:?} of {each}");
    assert_eq!(u64::from(refused[1] + refused[2]), u64::from(cluster.zone.stats().refusals.of(Refusal::ViewTime)));
}

#[test]
fn what_a_packet_acknowledges_counts_for_the_inputs_in_it() {
    let mut cluster = Cluster::new(&config(), 1, 3, 15);
    // Each input is compared with what its packet, too, acknowledged.
    cluster.run(100, brawl);
    assert!(cluster.seen_with_its_packet > 3 * 60, "{}", cluster.seen_with_its_packet);
}

#[test]
fn who_cannot_be_told_more_misses_events_and_plays_on() {
    let mut cluster = Cluster::new(&config(), 1, 2, 10);
    cluster.run(20, |_, _, _, _| Input::default());
    cluster.players[0].stall(cluster.now + Duration::from_secs(1));
    let told = cluster.shards[0].stats().events;
    let conn = cluster.players[0].conn.unwrap();
    let event = Event { tick: cluster.zone.tick(), ordinal: 0, what: What::Respawned };
    for _ in 0..5000 {
        cluster.shards[0].handle_zone(cluster.now, ToShard::Event { conn, event });
    }
    let stats = cluster.shards[0].stats();
    assert!(stats.events_dropped > 0);
    assert_eq!(stats.events - told + stats.events_dropped, 5000);
    cluster.run(100, |_, _, _, _| Input::default());
    assert_eq!(cluster.shards[0].stats().players, 2);
    let came = cluster.players[0].events.iter().filter(|told| told.what == What::Respawned).count();
    assert!(came as u64 >= stats.events - told, "what was taken arrives: {came}");
}

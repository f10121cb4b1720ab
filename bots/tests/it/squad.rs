//! A squad of the swarm against a zone and a shard, on virtual time: what the binary does with sockets.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use bots::behavior::Behavior;
use bots::swarm::{Squad, SquadOptions, Summary};
use netcode::Time;
use netcode::crypto::{ClusterKey, CookieKey, Entropy, OsEntropy, Psk};
use netcode::emulator::LinkConfig;
use netcode::packet::MAX_DATAGRAM;
use netcode::server::SingleUse;
use netcode::token::{ConnectBundle, ServerEntry, TokenClaims, issue};
use netcode::trace::TraceEvent;
use server::shard::{Shard, ShardConfig};
use server::zone::{Zone, ZoneConfig};
use sim::game::Rulebook;
use sim::{MapConfig, WorldConfig};

const RATE: u16 = 20;
const UNIX_MS: u64 = 1_700_000_000_000;

#[expect(clippy::disallowed_methods, reason = "a test")]
fn entropy() -> OsEntropy {
    OsEntropy::new()
}

fn key() -> ClusterKey {
    ClusterKey { epoch: 1, key: Psk::new([3; 32]) }
}

fn address(client: usize, port: u16) -> SocketAddr {
    ([10, 0, 1, client as u8], port).into()
}

fn token() -> ConnectBundle {
    let claims = TokenClaims {
        issued_ms: UNIX_MS,
        expires_ms: UNIX_MS + 600_000,
        account: 1,
        character: 1,
        group: 0,
        down_cap: 0,
        up_cap: 0,
        servers: [ServerEntry { id: 1, addr: ([10, 0, 0, 1], 7777).into() }].into_iter().collect(),
    };
    issue(&key(), &claims, &mut entropy()).unwrap()
}

/// A squad and a server, joined by a perfect wire; what links there are is inside the squad.
struct Pair {
    now: Time,
    squad: Squad,
    zone: Zone,
    shard: Shard,
    next_tick: Time,
    /// Whoever wants to reads its socket at its turns: until then it waits here.
    by_turns: bool,
    waiting: Vec<VecDeque<Vec<u8>>>,
    /// Of each client's socket; what goes to another one is lost.
    ports: Vec<u16>,
    /// When each client sent a datagram, in milliseconds.
    sent: Vec<Vec<u64>>,
    /// The clients do nothing.
    stopped: bool,
    /// Clients that got another port are not served any more, as by a server that does not know the protocol's roaming.
    stubborn: bool,
}

impl Pair {
    fn new(options: SquadOptions) -> Self {
        let world = WorldConfig {
            seed: 1,
            rate_hz: RATE,
            map: MapConfig { half_extent_m: 40, boxes: 4, gates: 0, ramps: 0 },
            npcs: 5,
            max_entities: 200,
            spawn_half_extent_m: 30,
            ..WorldConfig::default()
        };
        let shard = ShardConfig {
            map_seed: world.seed,
            half_extent_m: world.map.half_extent_m,
            boxes: world.map.boxes,
            gates: world.map.gates,
            ramps: world.map.ramps,
            rules: Rulebook::standard().hash(),
            ..ShardConfig::new(vec![key()], RATE)
        };
        Self {
            now: Time::ZERO,
            squad: Squad::new(options),
            zone: Zone::new(ZoneConfig { world, max_players: 100 }).unwrap(),
            shard: Shard::new(shard, CookieKey::new([1; 32]), Arc::new(SingleUse::new(1000))),
            next_tick: Time::ZERO,
            by_turns: false,
            waiting: vec![VecDeque::new(); 20],
            ports: vec![5000; 20],
            sent: vec![Vec::new(); 20],
            stopped: false,
            stubborn: false,
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 1000 {
            self.step();
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        let now = self.now;
        let mut out = [0; MAX_DATAGRAM];
        if !self.stopped {
            self.step_clients(now, &mut out);
        }
        self.shard.handle_timeout(now);
        while let Some(message) = self.shard.poll_zone() {
            self.zone.handle(message);
        }
        if now >= self.next_tick {
            self.next_tick = self.next_tick + Duration::from_millis(50);
            let frame = self.zone.step();
            while let Some((_, message)) = self.zone.poll() {
                self.shard.handle_zone(now, message);
            }
            self.shard.handle_frame(now, frame);
        }
        while let Some((to, len)) = self.shard.poll_transmit(now, &mut out) {
            let SocketAddr::V4(to) = to else { panic!("the addresses are IPv4") };
            let index = usize::from(to.ip().octets()[3]);
            if to.port() != self.ports[index] {
                continue;
            }
            if self.by_turns && self.squad.reads_by_turns(index) {
                self.waiting[index].push_back(out[..len].to_vec());
            } else {
                self.squad.handle_datagram(now, index, &mut out[..len]);
            }
        }
    }

    fn step_clients(&mut self, now: Time, out: &mut [u8; MAX_DATAGRAM]) {
        while let Some(index) = self.squad.poll_join() {
            self.ports[index] += 1;
            self.squad.join(now, &token(), entropy().ephemeral().unwrap()).unwrap();
        }
        while let Some(index) = self.squad.poll_rebind(now) {
            self.ports[index] += if self.stubborn { 10_000 } else { 1 };
            self.waiting[index].clear();
        }
        while let Some(index) = self.squad.poll_due(now) {
            while self.squad.reads_on(index)
                && let Some(mut datagram) = self.waiting[index].pop_front()
            {
                self.squad.handle_datagram(now, index, &mut datagram);
            }
            self.squad.run_due(now, index);
        }
        while let Some((index, len)) = self.squad.poll_transmit(now, out) {
            self.sent[index].push(now.as_micros() / 1000);
            if self.ports[index] < 10_000 {
                let from = address(index, self.ports[index]);
                self.shard.handle_datagram(now, UNIX_MS, from, &mut out[..len], &mut entropy());
            }
        }
    }
}

fn options(behavior: Behavior, link: Option<LinkConfig>) -> SquadOptions {
    let (connect_timeout, book) = (Duration::from_secs(10), Rulebook::standard());
    SquadOptions {
        clients: 20,
        behavior,
        light: 0.0,
        light_every: 1,
        link,
        handshakes: 8,
        seed: 1,
        connect_timeout,
        churn: 0.0,
        rebind: 0.0,
        settle: Duration::from_secs(1),
        book,
        trace: false,
    }
}

fn measure(pair: &mut Pair, seconds: u64) -> Summary {
    pair.run(3);
    pair.squad.begin_window(pair.now);
    pair.run(seconds);
    pair.squad.end_window(pair.now);
    pair.squad.leave_all(pair.now);
    pair.run(2);
    assert!(pair.squad.is_empty());
    assert_eq!((pair.zone.players(), pair.shard.stats().connections), (0, 0));
    Summary::new(20, seconds as f64, 0.0, pair.squad.tally())
}

#[test]
fn everyone_gets_in_sees_every_snapshot_and_leaves() {
    let mut pair = Pair::new(options(Behavior::Wander, None));
    let summary = measure(&mut pair, 10);
    assert!(summary.is_fine(), "{summary}");
    assert_eq!((summary.connected, summary.joins), (20, 20));
    assert!(summary.snapshot_rate >= 0.99, "{summary}");
    assert!(summary.staleness_ticks_p99 < 2.0 && summary.staleness_ticks_p50 >= 0.0, "{summary}");
    assert!(summary.entities_seen_mean > 20.0, "{summary}");
    assert!((1..=2).contains(&summary.input_margin_p50), "{summary}");
}

#[test]
fn to_the_server_a_light_client_is_a_player_like_any_other() {
    let run = |light| {
        let mut pair = Pair::new(SquadOptions { light, ..options(Behavior::Wander, None) });
        // On a good path a whole client sends each input twice for its first seconds.
        pair.run(30);
        let before = *pair.zone.stats();
        let summary = measure(&mut pair, 10);
        let stats = pair.zone.stats();
        let missed = stats.inputs_repeated + stats.inputs_neutral - before.inputs_repeated - before.inputs_neutral;
        (summary, missed)
    };
    let ((whole, _), (light, missed)) = (run(0.0), run(0.9));
    assert!(light.is_fine() && light.snapshot_rate >= 0.99, "{light}");
    // 20 players in 13 s until they leave; a player who leaves has no inputs for a moment.
    assert!(missed < 20 * 15, "{missed} ticks without an input");
    let up = light.up_bytes_per_s / whole.up_bytes_per_s;
    let down = light.down_bytes_per_s / whole.down_bytes_per_s;
    assert!((0.8..1.2).contains(&up) && (0.8..1.1).contains(&down), "{up} {down}\n{light}\n{whole}");
    // Those two that see say how they are served.
    assert!(light.entities_seen_mean > 20.0 && light.staleness_ticks_p99 < 2.0, "{light}");
}

#[test]
fn a_link_of_5_percent_loss_50_ms_and_20_ms_jitter_costs_what_it_must() {
    let ms = Duration::from_millis;
    let link = LinkConfig { loss: 0.05, delay: ms(50), jitter: ms(20), ..LinkConfig::default() };
    let mut pair = Pair::new(options(Behavior::Circle, Some(link)));
    let summary = measure(&mut pair, 60);
    assert!(summary.is_fine(), "{summary}");
    assert!((0.93..0.97).contains(&summary.snapshot_rate), "{summary}");
    assert!((100.0..140.0).contains(&summary.rtt_ms_p50), "{summary}");
    assert!(summary.staleness_ticks_p99 < 4.0, "{summary}");
    assert!((1..=2).contains(&summary.input_margin_p50) && summary.input_margin_p1 >= -1, "{summary}");
}

#[test]
fn churning_clients_come_back_and_their_leaving_is_no_failure() {
    let mut pair = Pair::new(options(Behavior::Churn, None));
    let summary = measure(&mut pair, 30);
    assert!(summary.is_fine(), "{summary}");
    assert!(summary.joins > 40, "{summary}");
    assert!(summary.snapshot_rate > 0.97, "{summary}");
}

/// Light and whole clients alike, on sockets that are read at their turns.
fn churning(churn: f64, rebind: f64, loss: f64) -> Pair {
    let link = (loss > 0.0).then(|| LinkConfig { loss, ..LinkConfig::default() });
    let mut pair = Pair::new(SquadOptions { light: 0.5, churn, rebind, ..options(Behavior::Wander, link) });
    pair.by_turns = true;
    pair
}

#[test]
fn clients_that_leave_in_turn_come_back_and_what_they_see_meanwhile_is_not_measured() {
    let mut pair = churning(300.0, 0.0, 0.0);
    let summary = measure(&mut pair, 30);
    // 20 clients, each three times a minute, for half a minute; who left last is still away.
    assert_eq!(summary.leaves, 30, "{summary}");
    assert!((28..=30).contains(&summary.reconnects) && summary.reconnects_failed == 0, "{summary}");
    assert_eq!(
        (summary.online_at_end + summary.away_at_end, summary.joins),
        (20, 20 + summary.reconnects),
        "{summary}"
    );
    assert!(summary.is_fine() && summary.snapshot_rate > 0.995, "{summary}");
    assert!(summary.staleness_ticks_p99 < 2.0 && summary.view_age_ticks_p99 < 2.0, "{summary}");
    assert!(summary.untold_looks > 1000 && summary.untold_ticks_max < 3, "{summary}");
    assert!(summary.snapshots_per_s > 19.8, "{summary}");
}

#[test]
fn connections_whose_address_changes_go_on() {
    let mut pair = churning(0.0, 300.0, 0.0);
    let summary = measure(&mut pair, 30);
    assert_eq!((summary.rebinds, summary.rebinds_lost), (30, 0), "{summary}");
    // The last may have been in the last moment.
    assert!((29..=30).contains(&summary.rebinds_survived), "{summary}");
    assert!(summary.is_fine() && summary.joins == 20 && summary.online_at_end == 20, "{summary}");
    assert!(pair.shard.stats().roams >= summary.rebinds_survived, "{summary}");
    // Each change costs the snapshots of some ticks; three times in a minute of 1,200.
    assert!((0.985..1.0).contains(&summary.snapshot_rate), "{summary}");
}

#[test]
fn churn_new_addresses_and_loss_together_lose_nobody() {
    let mut pair = churning(300.0, 300.0, 0.02);
    let summary = measure(&mut pair, 60);
    assert!(summary.is_fine() && summary.online_at_end + summary.away_at_end == 20, "{summary}");
    assert!(summary.reconnects > 50 && summary.rebinds_survived > 50 && summary.rebinds_lost == 0, "{summary}");
    assert!((0.95..0.99).contains(&summary.snapshot_rate), "{summary}");
    assert!(summary.snapshot_rate_unlost > 0.97, "{summary}");
}

#[test]
fn a_connection_that_does_not_go_on_at_a_new_address_is_told_and_counted() {
    let mut pair = churning(0.0, 300.0, 0.0);
    pair.stubborn = true;
    pair.run(3);
    pair.squad.begin_window(pair.now);
    pair.run(30);
    pair.squad.end_window(pair.now);
    let summary = Summary::new(20, 30.0, 0.0, pair.squad.tally());
    assert!(summary.rebinds_lost > 10 && summary.rebinds_survived == 0, "{summary}");
    assert_eq!((summary.disconnected, summary.away_at_end), (summary.rebinds_lost, 0), "{summary}");
}

#[test]
fn who_cannot_come_back_is_counted_and_tries_again() {
    let mut pair = churning(300.0, 0.0, 0.0);
    pair.run(3);
    pair.squad.begin_window(pair.now);
    // From here on the server hears nobody.
    pair.ports.fill(20_000);
    for _ in 0..60_000 {
        pair.step();
    }
    pair.squad.end_window(pair.now);
    let summary = Summary::new(20, 60.0, 0.0, pair.squad.tally());
    assert!(summary.leaves > 5 && summary.reconnects == 0, "{summary}");
    assert!(summary.reconnects_failed > summary.leaves && summary.failed == summary.reconnects_failed, "{summary}");
    assert_eq!(summary.away_at_end, summary.leaves, "{summary}");
    assert!(!summary.is_fine());
}

#[test]
fn a_light_client_that_loses_datagrams_is_still_read_at_its_turns() {
    let squad = |link| Squad::new(SquadOptions { light: 0.5, ..options(Behavior::Wander, Some(link)) });
    let lossy = LinkConfig { loss: 0.05, ..LinkConfig::default() };
    let by_turns = |squad: &Squad| (0..20).filter(|index| squad.reads_by_turns(*index)).count();
    assert_eq!(by_turns(&squad(lossy)), 10);
    // What is delayed has timers of its own.
    assert_eq!(by_turns(&squad(LinkConfig { delay: Duration::from_millis(5), ..lossy })), 0);
    let mut pair = churning(0.0, 0.0, 0.05);
    let summary = measure(&mut pair, 30);
    assert!(summary.is_fine() && (0.935..0.965).contains(&summary.snapshot_rate), "{summary}");
}

#[test]
fn nobody_answering_is_a_failure_with_its_cause() {
    let mut squad = Squad::new(options(Behavior::Idle, None));
    let mut now = Time::ZERO;
    while now < Time::from_millis(40_000) {
        now = now + Duration::from_millis(10);
        while squad.poll_join().is_some() {
            squad.join(now, &token(), entropy().ephemeral().unwrap()).unwrap();
        }
        squad.handle_timeout(now);
        while squad.poll_transmit(now, &mut [0; MAX_DATAGRAM]).is_some() {}
    }
    let summary = Summary::new(20, 1.0, 0.0, squad.tally());
    assert_eq!((summary.connected, summary.failed), (0, 20));
    assert_eq!(summary.failed_by_cause["no answer to the handshake in time"], 20);
    assert!(!summary.is_fine());
}

#[test]
fn the_first_connection_of_the_first_client_is_traced_to_its_end() {
    let mut pair = Pair::new(SquadOptions { clients: 2, trace: true, ..options(Behavior::Circle, None) });
    pair.run(3);
    let begun: Vec<_> = std::iter::from_fn(|| pair.squad.poll_trace()).collect();
    assert!(begun.iter().any(|(_, event)| matches!(event, TraceEvent::Sent { .. })));
    assert!(begun.iter().any(|(_, event)| matches!(event, TraceEvent::Received { .. })));
    assert!(pair.squad.traced_conn().is_some());
    pair.squad.leave_all(pair.now);
    pair.run(2);
    assert!(pair.squad.is_empty());
    let ended: Vec<_> = std::iter::from_fn(|| pair.squad.poll_trace()).collect();
    assert!(!ended.is_empty());
    assert!([begun, ended].concat().is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn nothing_is_traced_that_nobody_asked_for() {
    let mut pair = Pair::new(SquadOptions { clients: 1, ..options(Behavior::Circle, None) });
    pair.run(2);
    assert_eq!(pair.squad.poll_trace(), None);
}

#[test]
fn clients_that_leave_because_the_server_plays_by_other_rules_are_counted_with_that_cause() {
    let rules = Rulebook::standard().text().replacen("damage = 12", "damage = 13", 1);
    let book = Arc::new(Rulebook::from_toml(&rules).unwrap());
    let (theirs, ours) = (Rulebook::standard().hash(), book.hash());
    let mut pair = Pair::new(SquadOptions { clients: 5, book, ..options(Behavior::Wander, None) });
    pair.run(5);
    assert!(pair.squad.is_empty());
    let cause = format!("the server plays by other rules ({theirs:016x}) than this client ({ours:016x})");
    let summary = Summary::new(5, 5.0, 0.0, pair.squad.tally());
    assert_eq!(summary.disconnected_by_cause.into_iter().collect::<Vec<_>>(), [(cause.clone(), 5)]);
    let why = client::Unplayable::Rules { theirs, ours };
    assert_eq!(pair.squad.tally().unplayable.get(&cause), Some(&(why, 5)));
}

#[test]
fn clients_with_the_servers_own_rules_play_however_their_text_is_laid_out() {
    let rules = format!("# the same rules\n{}", Rulebook::standard().text().replace(" = ", "   =   "));
    let book = Arc::new(Rulebook::from_toml(&rules).unwrap());
    let mut pair = Pair::new(SquadOptions { clients: 5, book, ..options(Behavior::Wander, None) });
    pair.run(5);
    assert_eq!((pair.squad.tally().connected, pair.squad.progress().online), (5, 5));
}

#[test]
fn a_client_whose_socket_is_read_at_its_turns_plays_as_one_that_gets_everything_at_once() {
    let run = |by_turns| {
        let mut pair = Pair::new(SquadOptions { light: 0.9, ..options(Behavior::Wander, None) });
        pair.by_turns = by_turns;
        let summary = measure(&mut pair, 10);
        assert!(summary.is_fine() && summary.snapshot_rate >= 0.99, "{summary}");
        let stats = pair.zone.stats();
        (stats.inputs_repeated + stats.inputs_neutral, summary.up_bytes_per_s)
    };
    let ((missed, up), (missed_by_turns, up_by_turns)) = (run(false), run(true));
    assert!(missed_by_turns <= missed + 20 * 5, "{missed_by_turns} instead of {missed} ticks without an input");
    assert!((0.95..1.05).contains(&(up_by_turns / up)), "{up_by_turns} instead of {up} bytes a second");
}

#[test]
fn light_clients_whose_turn_comes_once_in_some_ticks_have_an_input_for_each_tick_and_stay() {
    for light_every in [1, 2, 3, 4] {
        let mut pair = Pair::new(SquadOptions { light: 1.0, light_every, ..options(Behavior::Wander, None) });
        pair.by_turns = true;
        pair.run(5);
        let (before, begun) = (*pair.zone.stats(), pair.now.as_micros() / 1000);
        pair.sent.iter_mut().for_each(Vec::clear);
        pair.squad.begin_window(pair.now);
        pair.run(24);
        let after = *pair.zone.stats();
        assert_eq!(after.inputs_repeated + after.inputs_neutral, before.inputs_repeated + before.inputs_neutral);
        assert_eq!((after.inputs_late, after.inputs_ahead), (before.inputs_late, before.inputs_ahead));
        // 480 ticks.
        let turns = 480 / usize::from(light_every);
        for sent in &pair.sent {
            assert!((turns..turns + turns / 20 + 2).contains(&sent.len()), "{} for {turns} turns", sent.len());
        }
        // In each tick some of the twenty have their turn, and no more than twice as many as there should be.
        for tick in 0..u64::from(light_every) {
            let within = |at: &u64| (at - begun) / 50 % u64::from(light_every) == tick;
            let sent = pair.sent.iter().flatten().filter(|at| within(at)).count() / turns;
            let even = 20 / usize::from(light_every);
            assert!((1..=2 * even).contains(&sent), "{sent} of 20 in tick {tick} of {light_every}");
        }
        pair.squad.end_window(pair.now);
        let summary = Summary::new(20, 24.0, 0.0, pair.squad.tally());
        assert!(summary.is_fine() && summary.online_at_end == 20, "{light_every}: {summary}");
        assert!(summary.snapshot_rate > 0.98, "{light_every}: {summary}");
    }
}

#[test]
fn a_light_client_that_comes_late_to_its_turn_reads_on_until_it_knows_the_newest_tick() {
    let mut pair = Pair::new(SquadOptions { light: 1.0, light_every: 4, ..options(Behavior::Wander, None) });
    pair.by_turns = true;
    pair.run(5);
    // The clients' machine stops for a second; the server goes on.
    pair.stopped = true;
    pair.run(1);
    pair.stopped = false;
    for _ in 0..100 {
        pair.step();
    }
    let before = *pair.zone.stats();
    pair.run(2);
    let after = *pair.zone.stats();
    let missed = after.inputs_repeated + after.inputs_neutral - before.inputs_repeated - before.inputs_neutral;
    assert_eq!(missed, 0, "of 20 clients in 40 ticks");
}

#[test]
fn whole_clients_see_for_how_long_nobody_was_told_of_them() {
    let mut pair = Pair::new(options(Behavior::Wander, None));
    let summary = measure(&mut pair, 10);
    assert!(summary.untold_looks > 1000 && summary.untold_ticks_max == 0, "all are told at once\n{summary}");
    assert!((0.9..1.5).contains(&summary.view_age_ticks_p99), "{summary}");
    // What is lost comes with a later snapshot.
    let link = LinkConfig { loss: 0.05, ..LinkConfig::default() };
    let mut pair = Pair::new(options(Behavior::Wander, Some(link)));
    let summary = measure(&mut pair, 10);
    assert!((1..20).contains(&summary.untold_ticks_max), "{summary}");
    assert!(summary.view_age_ticks_p99 > 1.5, "{summary}");
}

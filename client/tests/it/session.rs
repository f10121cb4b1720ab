//! Connecting, being told things, leaving.

use core::time::Duration;

use client::{ClientState, Config, Event, KeyLimits};
use netcode::emulator::LinkConfig;
use netcode::error::{CloseReason, DisconnectReason, RefuseReason};
use netcode::message::{Message, Welcome};
use sim::EntityId;
use sim::game::Rulebook;

use crate::rig::{OWN_SLOT, PERIOD, RATE, Rig, bundle, player};

const OWN: u32 = 5 << 12 | 1;

#[test]
fn a_client_connects_is_welcomed_and_sees_who_comes_and_goes() {
    let mut rig = Rig::new(LinkConfig { delay: PERIOD / 2, ..LinkConfig::default() });
    rig.run(4);
    assert_eq!(rig.events, [Event::Connected { rate: RATE }]);
    let (zone, map_seed, aoi_radius_m, half_extent_m) = (3, 9, 80, 250);
    let (boxes, gates, ramps, rules) = (40, 5, 6, Rulebook::standard().hash());
    let welcome = Welcome { entity: OWN, zone, map_seed, aoi_radius_m, half_extent_m, boxes, gates, ramps, rules };
    rig.say(&Message::Welcome(welcome));
    rig.shown.insert(OWN_SLOT, (OWN, player(1)));
    rig.shown.insert(7, (99, player(2)));
    rig.run(4);
    let entity = EntityId::from_raw(OWN).unwrap();
    for event in [Event::Welcome(welcome), Event::Spawned { id: OWN, kind: 0 }, Event::Spawned { id: 99, kind: 0 }] {
        assert!(rig.events.contains(&event), "{event:?} is missing in {:?}", rig.events);
    }
    assert_eq!(rig.client.own(), Some(entity));
    assert_eq!(rig.client.own_entity().unwrap().state(), player(1));
    assert!(rig.client.own_entity().unwrap().owner() && !rig.client.view().entity(99).unwrap().owner());
    // The slot goes to another entity.
    rig.shown.insert(7, (100, player(2)));
    rig.run(4);
    let who: Vec<_> =
        rig.events.iter().filter(|event| matches!(event, Event::Spawned { .. } | Event::Despawned { .. })).collect();
    assert!(who.ends_with(&[&Event::Despawned { id: 99 }, &Event::Spawned { id: 100, kind: 0 }]));
}

#[test]
fn a_notice_reaches_the_game() {
    let mut rig = Rig::new(LinkConfig::default());
    rig.run(3);
    rig.say(&Message::Notice { text: "grüße" });
    rig.run(3);
    assert!(rig.events.contains(&Event::Notice("grüße".into())));
}

#[test]
fn leaving_tells_the_server_and_ends() {
    let mut rig = Rig::new(LinkConfig::default());
    rig.run(3);
    rig.client.close(rig.now);
    rig.run(10);
    assert_eq!(rig.ended, Some(DisconnectReason::ByPeer(CloseReason::Requested)));
    assert_eq!(rig.events.last(), Some(&Event::Disconnected(DisconnectReason::Local(CloseReason::Requested))));
    assert!(rig.client.is_finished());
}

#[test]
fn the_server_closing_is_told_with_its_reason() {
    let mut rig = Rig::new(LinkConfig::default());
    rig.run(3);
    rig.server.close_all(rig.now, CloseReason::ServerShutdown);
    rig.run(3);
    assert_eq!(rig.client.state(), ClientState::Closed);
    let reason = DisconnectReason::ByPeer(CloseReason::ServerShutdown);
    assert_eq!(rig.events.last(), Some(&Event::Disconnected(reason)));
}

#[test]
fn an_expired_token_is_refused_with_its_reason() {
    let mut rig = Rig::with_bundle(LinkConfig::default(), &bundle(1));
    rig.run(3);
    assert_eq!(rig.events, [Event::Disconnected(DisconnectReason::Refused(RefuseReason::TokenExpired))]);
    assert!(rig.client.is_finished());
}

#[test]
fn nobody_there_is_a_handshake_timeout() {
    let mut rig = Rig::new(LinkConfig { loss: 1.0, ..LinkConfig::default() });
    rig.run(220);
    assert_eq!(rig.events, [Event::Disconnected(DisconnectReason::HandshakeTimeout)]);
}

#[test]
fn limits_of_key_and_rate_reach_the_connection_and_its_quality_comes_back() {
    let key_limits = KeyLimits { packets: 20, ..KeyLimits::default() };
    let config = Config { bytes_per_s: 50_000, key_limits, ..Config::default() };
    let mut rig = Rig::with_config(LinkConfig::default(), &bundle(u64::MAX), config);
    rig.run(200);
    let (sent, received) = rig.client.key_generations();
    // An input a tick; thrice, until the path has shown that it loses little.
    assert!((8..=32).contains(&sent) && received == 0, "{sent} {received}");
    let quality = rig.client.quality(rig.now);
    assert_eq!((quality.rate, quality.mtu, quality.lost), (50_000, 1452, 0));
    assert!(quality.bytes_per_s_in > 500 && quality.bytes_per_s_out > 500, "{quality:?}");
}

#[test]
fn the_servers_clock_is_known_within_milliseconds_and_never_goes_back() {
    let mut rig = Rig::new(LinkConfig { delay: Duration::from_millis(30), ..LinkConfig::default() });
    assert_eq!(rig.client.server_time(rig.now), None);
    let mut before = None;
    for _ in 0..100 {
        rig.run(1);
        let time = rig.client.server_time(rig.now);
        assert!(time >= before);
        before = time;
    }
    // Both ends of the rig have one clock.
    let error = before.unwrap().as_micros().abs_diff(rig.now.as_micros());
    assert!(error < 2000, "{error} us");
}

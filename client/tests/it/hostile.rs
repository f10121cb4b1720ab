//! A server that breaks the protocol with valid keys.

use client::{Client, Config, Event, Unplayable};
use netcode::channel::EVENT;
use netcode::emulator::LinkConfig;
use netcode::error::{CloseReason, DisconnectReason};
use netcode::message::{Message, Welcome};
use netcode::schema::{MAX_FIELDS, State};
use proptest::prelude::*;
use sim::game::Rulebook;
use sim::schema::{LAUNCHED, LAUNCHED_TURN, ORDINAL, OWNER, PLAYER, PROJECTILE, SCHEMA};
use sim::{Input, MapConfig};

use crate::host::Host;
use crate::rig::{Rig, Sabotage, bundle, entropy};

fn closed(rig: &Rig) -> bool {
    let local = Event::Disconnected(DisconnectReason::Local(CloseReason::ProtocolError));
    rig.events.last() == Some(&local) && rig.ended == Some(DisconnectReason::ByPeer(CloseReason::ProtocolError))
}

#[test]
fn a_snapshot_that_does_not_decode_closes_the_connection() {
    let mut rig = Rig::new(LinkConfig::default());
    rig.run(5);
    rig.sabotage = Some(Sabotage::Body(vec![0xfe; 40]));
    rig.run(5);
    assert!(closed(&rig), "{:?} {:?}", rig.events, rig.ended);
    assert_eq!(rig.client.stats().decode_errors, 1);
}

#[test]
fn an_unknown_session_message_and_an_impossible_entity_close_the_connection() {
    let nobody = Message::Welcome(Welcome {
        entity: 0,
        zone: 0,
        map_seed: 0,
        aoi_radius_m: 1,
        half_extent_m: 1,
        boxes: 0,
        gates: 0,
        ramps: 0,
        rules: 0,
    });
    let mut bytes = [0; 300];
    let len = nobody.encode(&mut bytes);
    for message in [&[0xee, 1, 2][..], &[], &bytes[..len]] {
        let mut rig = Rig::new(LinkConfig::default());
        rig.run(5);
        rig.say_raw(message);
        rig.run(5);
        assert!(closed(&rig), "{message:?}: {:?} {:?}", rig.events, rig.ended);
        assert_eq!(rig.client.stats().bad_messages, 1);
    }
}

fn welcome() -> Message<'static> {
    Message::Welcome(Welcome {
        entity: 5 << 12 | 1,
        zone: 0,
        map_seed: 0,
        aoi_radius_m: 80,
        half_extent_m: 4000,
        boxes: 100,
        gates: 0,
        ramps: 0,
        rules: Rulebook::standard().hash(),
    })
}

/// What becomes of a client that is welcomed like that.
fn welcomed(message: &Message<'_>) -> Rig {
    let mut rig = Rig::new(LinkConfig::default());
    rig.run(5);
    rig.say(message);
    rig.run(5);
    rig
}

#[test]
fn an_event_that_is_none_closes_the_connection() {
    for bytes in [&[][..], &[0; 5], &[9; 40]] {
        let mut rig = Rig::new(LinkConfig::default());
        rig.run(5);
        let conn = rig.conn.unwrap();
        rig.server.send(rig.now, conn, EVENT, bytes).unwrap();
        rig.run(5);
        assert!(closed(&rig), "{bytes:?}: {:?}", rig.events);
        assert_eq!(rig.client.stats().bad_messages, 1);
    }
}

#[test]
fn other_rules_and_a_map_too_full_are_left_with_the_reason_and_an_impossible_map_breaks_the_protocol() {
    assert_eq!(welcomed(&welcome()).ended, None);
    let Message::Welcome(Welcome { entity, zone, map_seed, aoi_radius_m, half_extent_m, boxes, gates, ramps, rules }) =
        welcome()
    else {
        unreachable!()
    };
    let with = |half_extent_m, boxes, rules| {
        Message::Welcome(Welcome { entity, zone, map_seed, aoi_radius_m, half_extent_m, boxes, gates, ramps, rules })
    };
    let others = Unplayable::Rules { theirs: rules + 1, ours: rules };
    let full = Unplayable::Map { solids: 65_537, most: 65_536 };
    for (message, why) in [(with(half_extent_m, boxes, rules + 1), others), (with(half_extent_m, 65_537, rules), full)]
    {
        let rig = welcomed(&message);
        let closed = Event::Disconnected(DisconnectReason::Local(CloseReason::Requested));
        assert!(rig.events.ends_with(&[Event::Unplayable(why), closed]), "{:?}", rig.events);
        assert_eq!(rig.client.stats().bad_messages, 0);
    }
    for impossible in [with(4001, boxes, rules), with(half_extent_m, 250_001, rules), with(16, 5, rules)] {
        assert!(closed(&welcomed(&impossible)));
    }
}

/// Any state that fits the fields of a kind.
fn any_state(kind: u8) -> impl Strategy<Value = State> {
    let fields = SCHEMA.kinds[usize::from(kind)].fields;
    let fit = move |values: [i32; MAX_FIELDS]| {
        let mut state = State::default();
        for ((slot, field), value) in state.iter_mut().zip(fields).zip(values) {
            let span = i64::from(field.max()) - i64::from(field.min()) + 1;
            // The extremes as often as what lies between.
            let place = [0, span - 1, i64::from(value).rem_euclid(span)][value.unsigned_abs() as usize % 3];
            *slot = (i64::from(field.min()) + place) as i32;
        }
        state
    };
    any::<[i32; MAX_FIELDS]>().prop_map(fit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_state_of_the_own_body_or_of_a_projectile_can_panic(
        states in proptest::collection::vec((any_state(PLAYER), any_state(PROJECTILE), any::<bool>()), 1..20),
        buttons in 0..16u8,
        move_x in -16..16i8,
    ) {
        let map = MapConfig { half_extent_m: 40, boxes: 12, gates: 4, ramps: 4 };
        let mut rig = Rig::in_world(LinkConfig::default(), Host::new(map, 0, |_, _| Input::default()));
        rig.wants = Some(Box::new(move |_, _| Input { buttons, move_x, weapon: 3, pitch: 9000, ..Input::default() }));
        rig.run(20);
        let own = rig.host().own.raw();
        for (state, mut projectile, named) in states {
            if named {
                let (tick, _) = rig.client.predicted().unwrap();
                projectile[OWNER] = own as i32;
                projectile[LAUNCHED] = (tick % LAUNCHED_TURN) as i32;
                projectile[ORDINAL] = 0;
            }
            rig.sabotage = Some(Sabotage::States(state, projectile));
            rig.run(1);
            let now = rig.now;
            prop_assert!(rig.client.own_pose(now).is_none_or(|pose| pose.position.iter().all(|axis| axis.is_finite())));
            prop_assert!(rig.client.projectiles(now).all(|one| one.pose.position.iter().all(|axis| axis.is_finite())));
        }
        rig.run(20);
        prop_assert_eq!(rig.client.stats().pending, 0);
        let (stats, _) = (rig.client.stats(), rig.run(60));
        prop_assert_eq!(stats.decode_errors, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_snapshot_body_can_panic_or_leave_half_a_change(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut rig = Rig::new(LinkConfig::default());
        rig.run(4);
        let before = rig.client.view().len();
        rig.sabotage = Some(Sabotage::Body(body));
        rig.run(2);
        prop_assert!(rig.client.stats().decode_errors == 0 || rig.client.view().len() == before);
    }

    #[test]
    fn no_junk_datagram_can_panic(mut junk in proptest::collection::vec(any::<u8>(), 0..1600)) {
        let bundle = bundle(u64::MAX);
        let now = netcode::Time::ZERO;
        let mut client =
            Client::connect(Config::default(), &bundle, netcode::crypto::Entropy::ephemeral(&mut entropy()).unwrap(), now)
                .unwrap();
        client.handle_datagram(now, &mut junk);
        prop_assert_eq!(client.drops().total(), 1);
    }
}

//! A server that breaks the protocol with valid keys.

use client::{Client, Config, Event};
use netcode::emulator::LinkConfig;
use netcode::error::{CloseReason, DisconnectReason};
use netcode::message::Message;
use proptest::prelude::*;

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
    let nobody = Message::Welcome {
        entity: 0,
        zone: 0,
        map_seed: 0,
        aoi_radius_m: 1,
        half_extent_m: 1,
        boxes: 0,
        gates: 0,
        ramps: 0,
        rules: 0,
    };
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

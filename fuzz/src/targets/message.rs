//! Session messages: whatever decodes encodes to the same bytes.

use netcode::message::{MAX_MESSAGE_BYTES, MAX_PART_BYTES, Message, MessageError, Welcome};

use crate::features;

features! {
    Welcome => "a welcome",
    Notice => "a notice",
    Tables => "a part of tables",
    TablesReady => "tables that are ready",
    Pace => "a pace",
    UnknownKind => "unknown kind",
    BadLength => "bad length",
    BadPace => "bad pace",
    BadText => "bad text",
}

/// The target.
pub fn run(input: &[u8]) {
    if let Some(same) = encodes_back(input) {
        assert!(same, "a decoded message encodes to other bytes");
    }
}

/// The same, but with the check inverted: it must fail.
pub fn run_canary(input: &[u8]) {
    if let Some(same) = encodes_back(input) {
        assert!(!same, "the canary's check is inverted, so this is what must happen");
    }
}

/// Whether the message in `input`, if it is one, encodes to `input`.
fn encodes_back(input: &[u8]) -> Option<bool> {
    match Message::decode(input) {
        Ok(message) => {
            reach(match message {
                Message::Welcome(_) => Feature::Welcome,
                Message::Notice { .. } => Feature::Notice,
                Message::Tables { .. } => Feature::Tables,
                Message::TablesReady { .. } => Feature::TablesReady,
                Message::Pace { .. } => Feature::Pace,
            });
            let mut out = [0; MAX_MESSAGE_BYTES];
            let len = message.encode(&mut out);
            Some(&out[..len] == input)
        }
        Err(error) => {
            reach(match error {
                MessageError::UnknownKind(_) => Feature::UnknownKind,
                MessageError::BadLength => Feature::BadLength,
                MessageError::BadPace(_) => Feature::BadPace,
                MessageError::BadText => Feature::BadText,
            });
            None
        }
    }
}

/// Every message, and a text of every length of UTF-8.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = "x".repeat(256);
    let messages = [
        Message::Welcome(Welcome {
            entity: 0x1001,
            zone: 1,
            map_seed: 0x0123_4567_89ab_cdef,
            aoi_radius_m: 64,
            half_extent_m: 500,
            boxes: 4000,
            gates: 20,
            ramps: 30,
            rules: 0xfedc_ba98_7654_3210,
        }),
        Message::Welcome(Welcome {
            entity: u32::MAX,
            zone: 0,
            map_seed: 0,
            aoi_radius_m: u16::MAX,
            half_extent_m: 0,
            boxes: u32::MAX,
            gates: 0,
            ramps: u32::MAX,
            rules: 0,
        }),
        Message::Notice { text: "" },
        Message::Notice { text: "the server restarts in 5 minutes" },
        Message::Notice { text: "aé€𝄞" },
        Message::Notice { text: &long },
        Message::Tables { version: 1, part: 0, last: 0, bytes: &[0xa5] },
        Message::Tables { version: 127, part: 3, last: 9, bytes: &[0x5a; MAX_PART_BYTES] },
        Message::TablesReady { version: 127 },
        Message::Pace { tick: 1200, percent: 150 },
    ];
    let encode = |message: &Message<'_>| {
        let mut out = [0; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut out);
        out[..len].to_vec()
    };
    messages.iter().map(encode).collect()
}

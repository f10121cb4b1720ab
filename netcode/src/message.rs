//! Session messages: what server and client say on the reliable channel besides snapshots and inputs.
//!
//! Byte aligned, little endian, the kind first:
//!
//! | kind | message | body |
//! |---|---|---|
//! | 1 | Welcome, to the client | entity 4 · zone 4 · map seed 8 · area-of-interest radius 2 · map half extent 2 · boxes 4 · gates 4 · ramps 4 · rules 8 |
//! | 2 | Notice, to the client | text, the rest of the message: at most 256 bytes of UTF-8 |
//! | 3 | Tables, to the client | version 1 · part 1 · last part 1 · bytes, the rest of the message: 1 to 960 |
//! | 4 | TablesReady, to the server | version 1 |
//! | 5 | Pace, to the client | tick 8 · percent 2 |
//!
//! Tables are what snapshots in the compact codec start from. Their parts come in order, from 0 to the last; a part 0
//! begins anew. Whoever has all of them answers with TablesReady; from then on the server may start bodies from
//! that version (M-4).
//!
//! Pace says that the server's time goes slower, or at its own pace again: from that tick on each tick takes that many
//! percent of what the rate says. Of two, the later one holds from its tick on.

use thiserror::Error;

/// The most bytes of a notice's text.
pub const MAX_NOTICE_BYTES: usize = 256;
/// The most bytes of tables in one message.
pub const MAX_PART_BYTES: usize = 960;
/// The most bytes of a message.
pub const MAX_MESSAGE_BYTES: usize = 1 + 3 + MAX_PART_BYTES;

const WELCOME: u8 = 1;
const NOTICE: u8 = 2;
const TABLES: u8 = 3;
const TABLES_READY: u8 = 4;
const PACE: u8 = 5;
/// What ticks can take, in percent of what the rate says.
pub const PACE_PERCENT: core::ops::RangeInclusive<u16> = 100..=400;
/// Bytes of a Welcome after its kind.
const WELCOME_BYTES: usize = 4 + 4 + 8 + 2 + 2 + 4 + 4 + 4 + 8;

/// What a player is told of the world that it comes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The entity that the player controls.
    pub entity: u32,
    /// The zone.
    pub zone: u32,
    /// From which the client generates the zone's map.
    pub map_seed: u64,
    /// Within this distance the player is told of other entities, in metres.
    pub aoi_radius_m: u16,
    /// The map reaches that far from its middle along x and z, in metres.
    pub half_extent_m: u16,
    /// How many boxes stand on the map.
    pub boxes: u32,
    /// How many gates slide on it.
    pub gates: u32,
    /// How many ramps lie on it.
    pub ramps: u32,
    /// Hash of the rulebook that the zone plays by.
    pub rules: u64,
}

/// A session message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The player is in the world.
    Welcome(Welcome),
    /// A line for the player to read.
    Notice {
        /// The line, at most [`MAX_NOTICE_BYTES`].
        text: &'a str,
    },
    /// A part of the tables that compact snapshots start from.
    Tables {
        /// Their version.
        version: u8,
        /// Number of this part, from 0.
        part: u8,
        /// Number of the last part.
        last: u8,
        /// 1 to [`MAX_PART_BYTES`] bytes of [`Tables`](crate::snapshot::compact::Tables).
        bytes: &'a [u8],
    },
    /// The client has all tables of that version.
    TablesReady {
        /// The version.
        version: u8,
    },
    /// The server's time goes slower, or at its own pace again.
    Pace {
        /// The first tick that this holds for.
        tick: u64,
        /// What each tick takes from then on, in percent of what the rate says: one of [`PACE_PERCENT`].
        percent: u16,
    },
}

/// Bytes that are no session message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// There are no messages of that kind.
    #[error("there is no session message of kind {0}")]
    UnknownKind(u8),
    /// Too short or too long for its kind.
    #[error("a session message has the wrong length")]
    BadLength,
    /// Ticks cannot take that.
    #[error("a tick cannot take {0} % of its time")]
    BadPace(u16),
    /// A text is not UTF-8.
    #[error("the text of a session message is not UTF-8")]
    BadText,
}

impl<'a> Message<'a> {
    /// Writes the message to the start of `out` and returns its length in bytes.
    ///
    /// # Panics
    /// If a text is too long, or `out` too short; [`MAX_MESSAGE_BYTES`] always do.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        match *self {
            Self::Welcome(welcome) => {
                let Welcome { entity, zone, map_seed, aoi_radius_m, half_extent_m, boxes, gates, ramps, rules } =
                    welcome;
                let body = &mut out[..1 + WELCOME_BYTES];
                body[0] = WELCOME;
                body[1..5].copy_from_slice(&entity.to_le_bytes());
                body[5..9].copy_from_slice(&zone.to_le_bytes());
                body[9..17].copy_from_slice(&map_seed.to_le_bytes());
                body[17..19].copy_from_slice(&aoi_radius_m.to_le_bytes());
                body[19..21].copy_from_slice(&half_extent_m.to_le_bytes());
                body[21..25].copy_from_slice(&boxes.to_le_bytes());
                body[25..29].copy_from_slice(&gates.to_le_bytes());
                body[29..33].copy_from_slice(&ramps.to_le_bytes());
                body[33..41].copy_from_slice(&rules.to_le_bytes());
                body.len()
            }
            Self::Notice { text } => {
                assert!(text.len() <= MAX_NOTICE_BYTES, "the notice is too long");
                let body = &mut out[..1 + text.len()];
                body[0] = NOTICE;
                body[1..].copy_from_slice(text.as_bytes());
                body.len()
            }
            Self::Tables { version, part, last, bytes } => {
                assert!((1..=MAX_PART_BYTES).contains(&bytes.len()) && part <= last, "the part is out of range");
                let body = &mut out[..4 + bytes.len()];
                body[..4].copy_from_slice(&[TABLES, version, part, last]);
                body[4..].copy_from_slice(bytes);
                body.len()
            }
            Self::TablesReady { version } => {
                out[..2].copy_from_slice(&[TABLES_READY, version]);
                2
            }
            Self::Pace { tick, percent } => {
                assert!(PACE_PERCENT.contains(&percent), "the pace is out of range");
                let body = &mut out[..11];
                body[0] = PACE;
                body[1..9].copy_from_slice(&tick.to_le_bytes());
                body[9..].copy_from_slice(&percent.to_le_bytes());
                body.len()
            }
        }
    }

    /// Reads a message that is all of `bytes`.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, body) = bytes.split_first().ok_or(MessageError::BadLength)?;
        match *kind {
            WELCOME => Self::decode_welcome(body).ok_or(MessageError::BadLength),
            NOTICE if body.len() > MAX_NOTICE_BYTES => Err(MessageError::BadLength),
            NOTICE => {
                let text = core::str::from_utf8(body).map_err(|_| MessageError::BadText)?;
                Ok(Self::Notice { text })
            }
            TABLES => match body {
                [version, part, last, bytes @ ..] if part <= last && (1..=MAX_PART_BYTES).contains(&bytes.len()) => {
                    Ok(Self::Tables { version: *version, part: *part, last: *last, bytes })
                }
                _ => Err(MessageError::BadLength),
            },
            TABLES_READY => match body {
                [version] => Ok(Self::TablesReady { version: *version }),
                _ => Err(MessageError::BadLength),
            },
            PACE => Self::decode_pace(body),
            kind => Err(MessageError::UnknownKind(kind)),
        }
    }

    fn decode_pace(body: &[u8]) -> Result<Self, MessageError> {
        let (tick, percent) = body.split_first_chunk().ok_or(MessageError::BadLength)?;
        let percent = u16::from_le_bytes(percent.try_into().map_err(|_| MessageError::BadLength)?);
        if !PACE_PERCENT.contains(&percent) {
            return Err(MessageError::BadPace(percent));
        }
        Ok(Self::Pace { tick: u64::from_le_bytes(*tick), percent })
    }

    fn decode_welcome(body: &[u8]) -> Option<Self> {
        let (entity, body) = body.split_first_chunk()?;
        let (zone, body) = body.split_first_chunk()?;
        let (map_seed, body) = body.split_first_chunk()?;
        let (aoi_radius_m, body) = body.split_first_chunk()?;
        let (half_extent_m, body) = body.split_first_chunk()?;
        let (boxes, body) = body.split_first_chunk()?;
        let (gates, body) = body.split_first_chunk()?;
        let (ramps, body) = body.split_first_chunk()?;
        let (rules, rest) = body.split_first_chunk()?;
        rest.is_empty().then_some(Self::Welcome(Welcome {
            entity: u32::from_le_bytes(*entity),
            zone: u32::from_le_bytes(*zone),
            map_seed: u64::from_le_bytes(*map_seed),
            aoi_radius_m: u16::from_le_bytes(*aoi_radius_m),
            half_extent_m: u16::from_le_bytes(*half_extent_m),
            boxes: u32::from_le_bytes(*boxes),
            gates: u32::from_le_bytes(*gates),
            ramps: u32::from_le_bytes(*ramps),
            rules: u64::from_le_bytes(*rules),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Message<'_> = Message::Welcome(Welcome {
        entity: 1,
        zone: 2,
        map_seed: 3 << 40,
        aoi_radius_m: 80,
        half_extent_m: 250,
        boxes: 4,
        gates: 5,
        ramps: 6 << 8,
        rules: 7 << 56,
    });

    fn encoded(message: &Message<'_>) -> Vec<u8> {
        let mut out = [0xee; MAX_MESSAGE_BYTES];
        let len = message.encode(&mut out);
        out[..len].to_vec()
    }

    #[test]
    fn every_message_comes_back() {
        let longest = "ä".repeat(MAX_NOTICE_BYTES / 2);
        let tables = Message::Tables { version: 127, part: 2, last: 9, bytes: &[7; MAX_PART_BYTES] };
        let ready = Message::TablesReady { version: 3 };
        let paces = PACE_PERCENT.map(|percent| Message::Pace { tick: u64::MAX - u64::from(percent), percent });
        let others = [HELLO, Message::Notice { text: "" }, Message::Notice { text: &longest }, tables, ready];
        for message in others.into_iter().chain(paces) {
            assert_eq!(Message::decode(&encoded(&message)), Ok(message));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let bytes = encoded(&HELLO);
        let (who, map) = bytes.split_at(19);
        assert_eq!(who, [1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 80, 0]);
        assert_eq!(map, [250, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn tables_out_of_order_or_without_bytes_are_refused() {
        for bytes in
            [&[TABLES, 1, 3, 2, 0][..], &[TABLES, 1, 0, 0], &[TABLES, 1], &[TABLES_READY], &[TABLES_READY, 1, 2]]
        {
            assert_eq!(Message::decode(bytes), Err(MessageError::BadLength));
        }
        let long = [[TABLES, 1, 0, 0].as_slice(), &[0; MAX_PART_BYTES + 1]].concat();
        assert_eq!(Message::decode(&long), Err(MessageError::BadLength));
    }

    #[test]
    fn a_pace_of_another_length_or_out_of_range_is_refused() {
        let bytes = encoded(&Message::Pace { tick: 0x0102, percent: 0x0102 });
        assert_eq!(bytes, [PACE, 2, 1, 0, 0, 0, 0, 0, 0, 2, 1]);
        for len in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..len]), Err(MessageError::BadLength));
        }
        assert_eq!(Message::decode(&[bytes.as_slice(), &[0]].concat()), Err(MessageError::BadLength));
        for percent in [0, 99, 401, u16::MAX] {
            let bytes = [&bytes[..9], &percent.to_le_bytes()].concat();
            assert_eq!(Message::decode(&bytes), Err(MessageError::BadPace(percent)));
        }
    }

    #[test]
    fn a_welcome_of_any_other_length_is_refused() {
        let mut bytes = encoded(&HELLO);
        for len in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..len]), Err(MessageError::BadLength));
        }
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(MessageError::BadLength));
    }

    #[test]
    fn a_notice_too_long_or_not_utf8_is_refused() {
        assert_eq!(Message::decode(&[NOTICE; MAX_MESSAGE_BYTES + 1]), Err(MessageError::BadLength));
        assert_eq!(Message::decode(&[NOTICE, 0xff]), Err(MessageError::BadText));
        assert_eq!(Message::decode(&[9]), Err(MessageError::UnknownKind(9)));
    }
}

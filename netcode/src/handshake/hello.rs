//! HELLO: what a client opens with.

use super::{ACCEPT_HEAD, COOKIE_AT, COOKIE_BYTES, Cookie, HELLO, HELLO_BYTES, Mac, PROTOCOL, VERSION, array};
use crate::crypto::{self, Aead, PUBLIC_KEY_BYTES, TAG_BYTES, equal_constant_time, handshake_mac};
use crate::features::Features;
use crate::packet::BASE_DATAGRAM;
use crate::stats::Drop;
use crate::token::{TOKEN_BYTES, Token, TokenId};

const FEATURES_AT: usize = COOKIE_AT - 8;
const PUBLIC_AT: usize = COOKIE_AT + COOKIE_BYTES;
const TOKEN_AT: usize = PUBLIC_AT + PUBLIC_KEY_BYTES;
const LONGEST_AT: usize = TOKEN_AT + TOKEN_BYTES;
const PADDING_AT: usize = LONGEST_AT + 2;
const MAC_AT: usize = HELLO_BYTES - TAG_BYTES;

const _: () = assert!(PADDING_AT < MAC_AT);

/// A HELLO's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The highest version that the client speaks; at least [`VERSION`], in which it is written.
    pub highest_version: u8,
    /// The cipher for packets.
    pub aead: Aead,
    /// The client's clock in microseconds since its own epoch, when the attempt began.
    pub client_time: u64,
    /// Hash of the client's channel table.
    pub channel_hash: u64,
    /// Hash of the client's schema.
    pub schema_hash: u64,
    /// What the client can do.
    pub features: Features,
    /// From a RETRY, or zero.
    pub cookie: Cookie,
    /// The client's ephemeral X25519 key.
    pub public: [u8; PUBLIC_KEY_BYTES],
    /// The connect token.
    pub token: Token,
    /// The longest datagram that the client takes, at least [`BASE_DATAGRAM`].
    pub max_datagram: u16,
}

impl Hello {
    /// Writes the datagram with its MAC and returns the MAC. The MAC covers everything before it with the cookie
    /// taken as zero, so it names the attempt and stays the same when a cookie is added.
    #[must_use]
    pub fn write(&self, out: &mut [u8; HELLO_BYTES], mac_key: &[u8; 32]) -> Mac {
        out.fill(0);
        out[0] = HELLO;
        out[1] = VERSION;
        out[2] = self.aead.wire();
        out[3] = self.highest_version;
        out[4..12].copy_from_slice(&PROTOCOL);
        out[12..20].copy_from_slice(&self.client_time.to_le_bytes());
        out[20..28].copy_from_slice(&self.channel_hash.to_le_bytes());
        out[28..36].copy_from_slice(&self.schema_hash.to_le_bytes());
        out[FEATURES_AT..COOKIE_AT].copy_from_slice(&self.features.0.to_le_bytes());
        out[PUBLIC_AT..TOKEN_AT].copy_from_slice(&self.public);
        out[TOKEN_AT..LONGEST_AT].copy_from_slice(&self.token.0);
        out[LONGEST_AT..PADDING_AT].copy_from_slice(&self.max_datagram.to_le_bytes());
        let mac = handshake_mac(mac_key, &[&out[..MAC_AT]]);
        out[COOKIE_AT..PUBLIC_AT].copy_from_slice(&self.cookie);
        out[MAC_AT..].copy_from_slice(&mac);
        mac
    }
}

/// A HELLO that passed the checks which need no key.
#[derive(Clone, Copy, Debug)]
pub struct RawHello<'a>(&'a [u8; HELLO_BYTES]);

impl<'a> RawHello<'a> {
    /// Checks length, protocol, and what is reserved or out of its range, in this order (rules H-1 to H-4). The version
    /// is the caller's to compare, since a wrong one gets an answer.
    ///
    /// # Errors
    /// The kind of drop to count.
    pub fn read(datagram: &'a [u8]) -> Result<Self, Drop> {
        let bytes: &[u8; HELLO_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
        if bytes[4..12] != PROTOCOL {
            return Err(Drop::WrongProtocol);
        }
        let hello = Self(bytes);
        // Of other versions no more is known.
        if hello.version() == VERSION {
            let padding = bytes[PADDING_AT..MAC_AT].iter().fold(0, |acc, byte| acc | byte);
            let sane = hello.highest_version() >= VERSION && usize::from(hello.max_datagram()) >= BASE_DATAGRAM;
            if padding != 0 || !sane || Aead::from_wire(bytes[2]).is_none() {
                return Err(Drop::ReservedBits);
            }
        }
        Ok(hello)
    }

    /// The protocol version it is written in.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[1]
    }

    /// The highest version that the client speaks.
    #[must_use]
    pub const fn highest_version(&self) -> u8 {
        self.0[3]
    }

    /// The longest datagram that the client takes.
    #[must_use]
    pub fn max_datagram(&self) -> u16 {
        u16::from_le_bytes(array(self.0, LONGEST_AT))
    }

    /// What the client can do.
    #[must_use]
    pub fn features(&self) -> Features {
        Features(u64::from_le_bytes(array(self.0, FEATURES_AT)))
    }

    /// Its MAC, the name of the attempt.
    #[must_use]
    pub fn mac(&self) -> Mac {
        array(self.0, MAC_AT)
    }

    /// Its cookie.
    #[must_use]
    pub fn cookie(&self) -> Cookie {
        array(self.0, COOKIE_AT)
    }

    /// Its token's id.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        array(self.0, TOKEN_AT + 12)
    }

    /// All fields.
    #[must_use]
    pub fn fields(&self) -> Hello {
        Hello {
            highest_version: self.highest_version(),
            aead: Aead::from_wire(self.0[2]).unwrap_or_default(),
            client_time: u64::from_le_bytes(array(self.0, 12)),
            channel_hash: u64::from_le_bytes(array(self.0, 20)),
            schema_hash: u64::from_le_bytes(array(self.0, 28)),
            features: self.features(),
            cookie: self.cookie(),
            public: array(self.0, PUBLIC_AT),
            token: Token(array(self.0, TOKEN_AT)),
            max_datagram: self.max_datagram(),
        }
    }

    /// Whether the MAC was made with that key.
    #[must_use]
    pub fn verify(&self, mac_key: &[u8; 32]) -> bool {
        let expected = handshake_mac(mac_key, &[&self.0[..COOKIE_AT], &[0; COOKIE_BYTES], &self.0[PUBLIC_AT..MAC_AT]]);
        equal_constant_time(&expected, &self.0[MAC_AT..])
    }

    /// Hash of the attempt (cookie taken as zero) and the ACCEPT's clear part: the salt of all session keys.
    #[must_use]
    pub fn transcript(&self, accept_head: &[u8; ACCEPT_HEAD]) -> [u8; 32] {
        let parts = [&self.0[..COOKIE_AT], &[0; COOKIE_BYTES], &self.0[PUBLIC_AT..], accept_head];
        crypto::sha256(&parts)
    }
}

//! The four handshake datagrams: HELLO, RETRY, ACCEPT, REFUSE. Byte layouts as in SPEC.md, little endian.

use core::net::SocketAddr;

use crate::crypto::{
    self, Aead, CookieKey, PUBLIC_KEY_BYTES, Psk, SessionKeys, SharedSecret, TAG_BYTES, equal_constant_time,
    handshake_mac,
};
use crate::error::RefuseReason;
use crate::features::Features;
use crate::packet::{BASE_DATAGRAM, ConnId};
use crate::stats::Drop;
use crate::token::{TOKEN_BYTES, Token, TokenId, ip_bytes};
pub use crate::version::{VERSION, Versions};

/// Bytes of a HELLO: as large as every path carries, so that no answer is ever larger.
pub const HELLO_BYTES: usize = BASE_DATAGRAM;
/// Bytes of a RETRY.
pub const RETRY_BYTES: usize = 52;
/// Bytes of an ACCEPT.
pub const ACCEPT_BYTES: usize = ACCEPT_HEAD + PARAMETER_BYTES + 2 * TAG_BYTES;
/// Bytes of a REFUSE.
pub const REFUSE_BYTES: usize = 36;
/// Bytes of a cookie: time 4, truncated HMAC 28.
pub const COOKIE_BYTES: usize = 32;
/// How long a cookie is taken, in seconds of the server's clock.
pub const COOKIE_SECONDS: u32 = 10;
/// Marks the protocol in every HELLO.
pub const PROTOCOL: [u8; 8] = *b"ZONEWIRE";

/// First byte of a HELLO.
pub const HELLO: u8 = 1;
/// First byte of a RETRY.
pub const RETRY: u8 = 2;
/// First byte of an ACCEPT.
pub const ACCEPT: u8 = 3;
/// First byte of a REFUSE.
pub const REFUSE: u8 = 4;

const FEATURES_AT: usize = 36;
const COOKIE_AT: usize = FEATURES_AT + 8;
const PUBLIC_AT: usize = COOKIE_AT + COOKIE_BYTES;
const TOKEN_AT: usize = PUBLIC_AT + PUBLIC_KEY_BYTES;
const LONGEST_AT: usize = TOKEN_AT + TOKEN_BYTES;
const PADDING_AT: usize = LONGEST_AT + 2;
const MAC_AT: usize = HELLO_BYTES - TAG_BYTES;
const ACCEPT_HEAD: usize = 20 + PUBLIC_KEY_BYTES;
const PARAMETER_BYTES: usize = 68;

const _: () = assert!(ACCEPT_BYTES <= 256 && RETRY_BYTES < HELLO_BYTES && PADDING_AT < MAC_AT);

/// Ticks in an ACCEPT are below this (272 years at 128 Hz), so that no arithmetic on a hostile one overflows.
pub const MAX_TICK: u64 = 1 << 40;

/// A cookie; all zero in a client's first HELLO.
pub type Cookie = [u8; COOKIE_BYTES];
/// A handshake MAC; the HELLO's also serves as the attempt's name in the answers.
pub type Mac = [u8; TAG_BYTES];

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

/// The stateless cookie (rule R-1) that proves a client's address: time ‖ HMAC(time ‖ address ‖ port ‖ token id).
#[must_use]
pub fn cookie(key: &CookieKey, seconds: u32, from: SocketAddr, token: &TokenId) -> Cookie {
    let time = seconds.to_le_bytes();
    let mac = crypto::hmac_sha256(key.as_bytes(), &[&time, &ip_bytes(from.ip()), &from.port().to_le_bytes(), token]);
    let mut cookie = [0; COOKIE_BYTES];
    cookie[..4].copy_from_slice(&time);
    cookie[4..].copy_from_slice(&mac[..COOKIE_BYTES - 4]);
    cookie
}

/// Whether `given` is a cookie for that address and token, made less than [`COOKIE_SECONDS`] ago.
#[must_use]
pub fn cookie_is_valid(key: &CookieKey, seconds: u32, from: SocketAddr, token: &TokenId, given: &Cookie) -> bool {
    let made = u32::from_le_bytes(array(given, 0));
    seconds.checked_sub(made).is_some_and(|age| age < COOKIE_SECONDS)
        && equal_constant_time(&cookie(key, made, from, token), given)
}

/// Writes a RETRY.
#[must_use]
pub fn write_retry(attempt: &Mac, cookie: &Cookie) -> [u8; RETRY_BYTES] {
    let mut out = [0; RETRY_BYTES];
    out[0] = RETRY;
    out[4..20].copy_from_slice(attempt);
    out[20..].copy_from_slice(cookie);
    out
}

/// Reads a RETRY (rule R-2): the attempt it answers and the cookie.
///
/// # Errors
/// The kind of drop to count.
pub fn read_retry(datagram: &[u8]) -> Result<(Mac, Cookie), Drop> {
    let bytes: &[u8; RETRY_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
    if bytes[1..4] != [0; 3] {
        return Err(Drop::ReservedBits);
    }
    Ok((array(bytes, 4), array(bytes, 20)))
}

/// What an ACCEPT tells the client, sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The connection's id, put into every packet to the server.
    pub conn: ConnId,
    /// The server's tick when it accepted.
    pub tick: u64,
    /// The server's clock at that moment, microseconds since its own epoch.
    pub server_time: u64,
    /// The HELLO's client time.
    pub client_time: u64,
    /// Ticks a second.
    pub rate: u16,
    /// The longest datagram that the server takes, at least [`BASE_DATAGRAM`].
    pub max_datagram: u16,
    /// The connection ends when nothing valid arrives for so many milliseconds.
    pub idle_ms: u32,
    /// Hash of the server's channel table.
    pub channel_hash: u64,
    /// Hash of the server's schema.
    pub schema_hash: u64,
    /// The most bytes a second that the server sends; 0 = no cap of its own for this client.
    pub down_cap: u32,
    /// The most bytes a second that the client may send; 0 = no cap of its own for this client.
    pub up_cap: u32,
    /// What both sides may do: a subset of what the client offered.
    pub features: Features,
}

impl Accepted {
    fn write(&self, out: &mut [u8; PARAMETER_BYTES]) {
        out[0..4].copy_from_slice(&self.conn.0.to_le_bytes());
        out[4..12].copy_from_slice(&self.tick.to_le_bytes());
        out[12..20].copy_from_slice(&self.server_time.to_le_bytes());
        out[20..28].copy_from_slice(&self.client_time.to_le_bytes());
        out[28..30].copy_from_slice(&self.rate.to_le_bytes());
        out[30..32].copy_from_slice(&self.max_datagram.to_le_bytes());
        out[32..36].copy_from_slice(&self.idle_ms.to_le_bytes());
        out[36..44].copy_from_slice(&self.channel_hash.to_le_bytes());
        out[44..52].copy_from_slice(&self.schema_hash.to_le_bytes());
        out[52..56].copy_from_slice(&self.down_cap.to_le_bytes());
        out[56..60].copy_from_slice(&self.up_cap.to_le_bytes());
        out[60..68].copy_from_slice(&self.features.0.to_le_bytes());
    }

    fn read(bytes: &[u8; PARAMETER_BYTES]) -> Option<Self> {
        let accepted = Self {
            conn: ConnId(u32::from_le_bytes(array(bytes, 0))),
            tick: u64::from_le_bytes(array(bytes, 4)),
            server_time: u64::from_le_bytes(array(bytes, 12)),
            client_time: u64::from_le_bytes(array(bytes, 20)),
            rate: u16::from_le_bytes(array(bytes, 28)),
            max_datagram: u16::from_le_bytes(array(bytes, 30)),
            idle_ms: u32::from_le_bytes(array(bytes, 32)),
            channel_hash: u64::from_le_bytes(array(bytes, 36)),
            schema_hash: u64::from_le_bytes(array(bytes, 44)),
            down_cap: u32::from_le_bytes(array(bytes, 52)),
            up_cap: u32::from_le_bytes(array(bytes, 56)),
            features: Features(u64::from_le_bytes(array(bytes, 60))),
        };
        let sane = accepted.rate > 0
            && accepted.idle_ms > 0
            && accepted.tick < MAX_TICK
            && usize::from(accepted.max_datagram) >= BASE_DATAGRAM;
        sane.then_some(accepted)
    }
}

/// The server's half of the key agreement: writes the ACCEPT and derives the keys.
#[must_use]
pub fn write_accept(
    hello: &RawHello<'_>,
    psk: &Psk,
    secret: &SharedSecret,
    public: &[u8; PUBLIC_KEY_BYTES],
    accepted: &Accepted,
) -> ([u8; ACCEPT_BYTES], SessionKeys) {
    let mut out = [0; ACCEPT_BYTES];
    out[0] = ACCEPT;
    out[4..20].copy_from_slice(&hello.mac());
    out[20..ACCEPT_HEAD].copy_from_slice(public);
    let head: [u8; ACCEPT_HEAD] = array(&out, 0);
    let keys = SessionKeys::derive(hello.fields().aead, secret, psk, &hello.transcript(&head));
    let mut parameters = [0; PARAMETER_BYTES];
    accepted.write(&mut parameters);
    if let Ok(tag) = keys.handshake.seal(0, &head, &mut parameters) {
        out[ACCEPT_HEAD + PARAMETER_BYTES..ACCEPT_BYTES - TAG_BYTES].copy_from_slice(&tag);
    }
    out[ACCEPT_HEAD..ACCEPT_HEAD + PARAMETER_BYTES].copy_from_slice(&parameters);
    let mac = handshake_mac(&crypto::handshake_mac_key(psk), &[&out[..ACCEPT_BYTES - TAG_BYTES]]);
    out[ACCEPT_BYTES - TAG_BYTES..].copy_from_slice(&mac);
    (out, keys)
}

/// An ACCEPT whose MAC is right: it comes from a server that opened our token.
#[derive(Clone, Copy, Debug)]
pub struct RawAccept([u8; ACCEPT_BYTES]);

impl RawAccept {
    /// Checks length, reserved bytes, attempt and MAC, in this order (rules ), before any costly step.
    ///
    /// # Errors
    /// The kind of drop to count.
    pub fn read(datagram: &[u8], attempt: &Mac, mac_key: &[u8; 32]) -> Result<Self, Drop> {
        let bytes: &[u8; ACCEPT_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
        if bytes[1..4] != [0; 3] {
            return Err(Drop::ReservedBits);
        }
        if bytes[4..20] != *attempt {
            return Err(Drop::NotExpected);
        }
        let (covered, mac) = bytes.split_at(ACCEPT_BYTES - TAG_BYTES);
        if !equal_constant_time(&handshake_mac(mac_key, &[covered]), mac) {
            return Err(Drop::BadMac);
        }
        Ok(Self(*bytes))
    }

    /// The server's ephemeral key.
    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_KEY_BYTES] {
        array(&self.0, 20)
    }

    /// Derives the keys and opens the parameters (rules ).
    ///
    /// # Errors
    /// The kind of drop to count.
    pub fn open(
        &self,
        hello: &RawHello<'_>,
        psk: &Psk,
        secret: &SharedSecret,
    ) -> Result<(Accepted, SessionKeys), Drop> {
        let head: [u8; ACCEPT_HEAD] = array(&self.0, 0);
        let keys = SessionKeys::derive(hello.fields().aead, secret, psk, &hello.transcript(&head));
        let mut sealed: [u8; PARAMETER_BYTES + TAG_BYTES] = array(&self.0, ACCEPT_HEAD);
        let opened = keys.handshake.open(0, &head, &mut sealed).map_err(|_| Drop::AuthFailed)?;
        let parameters: &[u8; PARAMETER_BYTES] = (&*opened).try_into().map_err(|_| Drop::AuthFailed)?;
        let accepted = Accepted::read(parameters).ok_or(Drop::Malformed)?;
        if !accepted.features.is_subset_of(hello.features()) {
            return Err(Drop::Malformed);
        }
        Ok((accepted, keys))
    }
}

/// A REFUSE's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefuseReason,
    /// What the server speaks; only with [`RefuseReason::VersionMismatch`], and then, too, it may not say.
    pub versions: Option<Versions>,
}

impl From<RefuseReason> for Refusal {
    fn from(reason: RefuseReason) -> Self {
        Self { reason, versions: None }
    }
}

/// Writes a REFUSE. Without a key (the token could not be opened) its MAC is zero.
#[must_use]
pub fn write_refuse(attempt: &Mac, refusal: impl Into<Refusal>, mac_key: Option<&[u8; 32]>) -> [u8; REFUSE_BYTES] {
    let Refusal { reason, versions } = refusal.into();
    let mut out = [0; REFUSE_BYTES];
    out[0] = REFUSE;
    out[1] = reason.wire();
    if let Some(Versions { lowest, highest }) = versions {
        out[2..4].copy_from_slice(&[lowest, highest]);
    }
    out[4..20].copy_from_slice(attempt);
    if let Some(key) = mac_key {
        let mac = handshake_mac(key, &[&out[..20]]);
        out[20..].copy_from_slice(&mac);
    }
    out
}

/// Reads a REFUSE of our attempt (rule E-1): what it says, and whether its MAC proves that a server of the cluster said
/// it.
///
/// # Errors
/// The kind of drop to count.
pub fn read_refuse(datagram: &[u8], attempt: &Mac, mac_key: &[u8; 32]) -> Result<(Refusal, bool), Drop> {
    let bytes: &[u8; REFUSE_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
    let reason = RefuseReason::from_wire(bytes[1]).ok_or(Drop::ReservedBits)?;
    let versions = match (reason, bytes[2], bytes[3]) {
        (_, 0, 0) => None,
        (RefuseReason::VersionMismatch, lowest, highest) if (1..=highest).contains(&lowest) => {
            Some(Versions { lowest, highest })
        }
        _ => return Err(Drop::ReservedBits),
    };
    if bytes[4..20] != *attempt {
        return Err(Drop::NotExpected);
    }
    let proven = equal_constant_time(&handshake_mac(mac_key, &[&bytes[..20]]), &bytes[20..]);
    Ok((Refusal { reason, versions }, proven))
}

/// `N` bytes from `at`; the callers' offsets are constants inside fixed arrays.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

//! ACCEPT: the server's half of the key agreement, and what the connection is to be.

use super::{ACCEPT, ACCEPT_BYTES, ACCEPT_HEAD, MAX_TICK, Mac, PARAMETER_BYTES, RawHello, array};
use crate::crypto::{
    self, PUBLIC_KEY_BYTES, Psk, SessionKeys, SharedSecret, TAG_BYTES, equal_constant_time, handshake_mac,
};
use crate::features::Features;
use crate::packet::{BASE_DATAGRAM, ConnId};
use crate::stats::Drop;

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

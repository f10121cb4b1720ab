//! The cryptography: the only file that names `ring`.
//!
//! X25519 with a pre-shared key into HKDF-SHA256, AES-128-GCM or ChaCha20-Poly1305 for packets,
//! AES-256-GCM under a per-token key for connect tokens, HMAC-SHA256 for cookies and handshake MACs.
//! Entropy comes in through [`Entropy`]; nothing in this crate draws any by itself.

use core::fmt;

use ring::aead::{self, LessSafeKey, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, hmac};
use thiserror::Error;

#[cfg(debug_assertions)]
pub mod nonce_log;

/// Bytes of an AEAD tag and of a truncated handshake MAC.
pub const TAG_BYTES: usize = 16;
/// Bytes of an X25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
const IV_BYTES: usize = 12;

/// What can go wrong inside the cryptography itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CryptoError {
    /// The operating system gave no randomness.
    #[error("the operating system's random generator failed")]
    NoEntropy,
    /// The peer's public key leads to an all-zero secret.
    #[error("the peer's X25519 public key is of low order")]
    BadPublicKey,
    /// An authentication tag did not match.
    #[error("authentication failed")]
    AuthFailed,
}

/// Where randomness comes from: handed in by whoever drives the endpoint.
pub trait Entropy {
    /// Fills `out` with unpredictable bytes.
    ///
    /// # Errors
    /// [`CryptoError::NoEntropy`] when the source has failed.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError>;

    /// A fresh X25519 key pair.
    ///
    /// # Errors
    /// [`CryptoError::NoEntropy`] when the source has failed.
    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError>;
}

/// The operating system's random generator. Only binaries and tests make one.
pub struct OsEntropy(SystemRandom);

impl OsEntropy {
    /// A handle; cheap.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one door through which OS entropy enters")]
    #[expect(clippy::new_without_default, reason = "drawing entropy should be visible at the call")]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.fill(out).map_err(|_| CryptoError::NoEntropy)
    }

    fn ephemeral(&mut self) -> Result<Ephemeral, CryptoError> {
        let private = EphemeralPrivateKey::generate(&X25519, &self.0).map_err(|_| CryptoError::NoEntropy)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::NoEntropy)?;
        let public = public.as_ref().try_into().map_err(|_| CryptoError::NoEntropy)?;
        Ok(Ephemeral { private, public })
    }
}

/// An X25519 key pair that serves one handshake. (ring's keys can't be seeded, so two runs of one seed
/// differ in ciphertext but not in sizes, times or plaintexts.)
pub struct Ephemeral {
    private: EphemeralPrivateKey,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl Ephemeral {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    /// The secret shared with the owner of `peer`.
    ///
    /// # Errors
    /// [`CryptoError::BadPublicKey`] for a key of low order.
    pub fn agree(self, peer: &[u8; PUBLIC_KEY_BYTES]) -> Result<SharedSecret, CryptoError> {
        agree_ephemeral(self.private, &UnparsedPublicKey::new(&X25519, peer), |secret| {
            let mut bytes = [0; 32];
            for (to, from) in bytes.iter_mut().zip(secret) {
                *to = *from;
            }
            SharedSecret(bytes)
        })
        .map_err(|_| CryptoError::BadPublicKey)
    }
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ephemeral(..)")
    }
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps the raw bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes; never log them.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret! {
    /// The result of the X25519 agreement.
    SharedSecret
}
secret! {
    /// The pre-shared key of one connect token, known to the client, the control plane and the servers.
    Psk
}
secret! {
    /// What one direction's packet key of one phase is made from, and the next phase's secret (rule K-5).
    Secret
}
secret! {
    /// The key of the stateless cookies: fresh for each server process.
    CookieKey
}

impl Secret {
    /// The next phase's secret. There is no way back: whoever learns it cannot open what was sealed before.
    #[must_use]
    pub fn next(&self) -> Self {
        let mut next = [0; 32];
        hkdf_sha256(&[], &[&self.0, &[]], b"zonewire v2 roll", &mut next);
        Self(next)
    }
}

/// The key under which a cluster's connect tokens are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKey {
    /// Which key this is; tokens name it, so that two can be valid while keys are changed.
    pub epoch: u8,
    /// The key.
    pub key: Psk,
}

/// The cipher of a connection's packets, chosen by the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aead {
    /// AES-128-GCM: the fastest where the processor has AES instructions.
    #[default]
    Aes128Gcm,
    /// ChaCha20-Poly1305: for machines without.
    ChaCha20Poly1305,
}

impl Aead {
    /// The number in the HELLO.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::Aes128Gcm => 0,
            Self::ChaCha20Poly1305 => 1,
        }
    }

    /// From the number in the HELLO.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Aes128Gcm),
            1 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Bytes of the key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => 32,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// HKDF-SHA256 (RFC 5869): extract with `salt` from `ikm`, expand with `info` into `out` (at most 64 bytes).
pub fn hkdf_sha256(salt: &[u8], ikm: &[&[u8]; 2], info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    assert!(out.len() <= 64, "HKDF output is at most 64 bytes here");
    let mut joined = [0u8; 64];
    let mut used = 0;
    for (to, from) in joined.iter_mut().zip(ikm.iter().flat_map(|part| part.iter())) {
        *to = *from;
        used += 1;
    }
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&joined[..used]);
    let filled = secret.expand(&[info], Length(out.len())).and_then(|okm| okm.fill(out));
    assert!(filled.is_ok(), "HKDF cannot fail for outputs this short");
}

/// SHA-256 over the parts in order.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HMAC-SHA256 over the parts in order.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Compares without an early exit, so that the time taken says nothing about where two MACs differ.
#[must_use]
pub fn equal_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y));
    a.len() == b.len() && core::hint::black_box(difference) == 0
}

/// The MAC key that a pre-shared key stands for in handshake datagrams.
#[must_use]
pub fn handshake_mac_key(psk: &Psk) -> [u8; 32] {
    let mut key = [0; 32];
    hkdf_sha256(&[], &[psk.as_bytes(), &[]], b"zonewire v2 handshake mac", &mut key);
    key
}

/// The handshake MAC: HMAC-SHA256 truncated to 16 bytes.
#[must_use]
pub fn handshake_mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    let full = hmac_sha256(key, parts);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&full[..TAG_BYTES]);
    tag
}

/// One direction's packet protection: key schedule and nonce base, made once and kept.
pub struct PacketKey {
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
    /// Names the key by its bytes in the nonce log, which would not notice one key made twice otherwise.
    #[cfg(debug_assertions)]
    fingerprint: nonce_log::Fingerprint,
}

impl PacketKey {
    /// One direction's key of the phase that `secret` belongs to (rule K-5).
    #[must_use]
    pub fn from_secret(aead: Aead, secret: &Secret) -> Self {
        Self::derive(aead, &[], &[&secret.0, &[]], b"zonewire v2 key")
    }

    fn derive(aead: Aead, salt: &[u8], ikm: &[&[u8]; 2], info: &[u8]) -> Self {
        let mut okm = [0u8; 32 + IV_BYTES];
        let key_bytes = aead.key_bytes();
        let okm = &mut okm[..key_bytes + IV_BYTES];
        hkdf_sha256(salt, ikm, info, okm);
        #[cfg(test)]
        work::count(|work| work.keys += 1);
        #[cfg(debug_assertions)]
        let fingerprint = nonce_log::fingerprint(&sha256(&[okm]));
        let (key, iv_part) = okm.split_at(key_bytes);
        let mut iv = [0; IV_BYTES];
        iv.copy_from_slice(iv_part);
        let Ok(key) = UnboundKey::new(aead.algorithm(), key) else {
            unreachable!("the derived key has the algorithm's own length");
        };
        Self {
            key: LessSafeKey::new(key),
            iv,
            #[cfg(debug_assertions)]
            fingerprint,
        }
    }

    /// The nonce of packet `pn` (rule K-3): the IV with its last eight bytes xored with the number, little endian.
    fn nonce(&self, pn: u64) -> aead::Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[IV_BYTES - 8..].iter_mut().zip(pn.to_le_bytes()) {
            *byte ^= number;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `plaintext` in place; the returned tag goes behind it.
    ///
    /// # Errors
    /// [`CryptoError::AuthFailed`] only for a plaintext beyond the cipher's limit (many GiB).
    pub fn seal(&self, pn: u64, aad: &[u8], plaintext: &mut [u8]) -> Result<[u8; TAG_BYTES], CryptoError> {
        #[cfg(debug_assertions)]
        nonce_log::record(self.fingerprint, pn);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(pn), aead::Aad::from(aad), plaintext)
            .map_err(|_| CryptoError::AuthFailed)?;
        let mut out = [0; TAG_BYTES];
        out.copy_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens `sealed` (ciphertext and tag) in place and returns the plaintext.
    ///
    /// # Errors
    /// [`CryptoError::AuthFailed`] when the tag does not match; the buffer's content is then garbage.
    pub fn open<'a>(&self, pn: u64, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        #[cfg(test)]
        work::count(|work| work.openings += 1);
        self.key.open_in_place(self.nonce(pn), aead::Aad::from(aad), sealed).map_err(|_| CryptoError::AuthFailed)
    }
}

impl fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKey(..)")
    }
}

/// What a handshake agrees on: the keys of one connection.
#[derive(Debug)]
pub struct SessionKeys {
    /// The cipher of all of them.
    pub aead: Aead,
    /// Seals the parameters inside the ACCEPT; used for that one message.
    pub handshake: PacketKey,
    /// Client to server, phase 0.
    pub c2s: Secret,
    /// Server to client, phase 0.
    pub s2c: Secret,
}

impl SessionKeys {
    /// Rule K-2: HKDF over (X25519 secret ‖ PSK) salted with the transcript hash: fresh randomness of both ends goes
    /// in, so no replayed token, restart or second server can ever produce the same keys.
    #[must_use]
    pub fn derive(aead: Aead, secret: &SharedSecret, psk: &Psk, transcript: &[u8; 32]) -> Self {
        let ikm = [secret.as_bytes().as_slice(), psk.as_bytes().as_slice()];
        let direction = |info: &[u8]| {
            let mut bytes = [0; 32];
            hkdf_sha256(transcript, &ikm, info, &mut bytes);
            Secret(bytes)
        };
        Self {
            aead,
            handshake: PacketKey::derive(aead, transcript, &ikm, b"zonewire v2 handshake"),
            c2s: direction(b"zonewire v2 c2s"),
            s2c: direction(b"zonewire v2 s2c"),
        }
    }
}

/// Seals a token body in place under a key of its own, HKDF(cluster key, salt = token id): a random
/// 128-bit id may then be drawn for any number of tokens without a nonce ever repeating under one key.
#[must_use]
pub fn seal_token(cluster: &Psk, id: &[u8; 16], aad: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
    let (key, nonce) = token_key(cluster, id);
    let mut tag = [0; TAG_BYTES];
    if let Ok(sealed) = key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body) {
        tag.copy_from_slice(sealed.as_ref());
    }
    tag
}

/// Opens what [`seal_token`] sealed (body and tag, in place).
///
/// # Errors
/// [`CryptoError::AuthFailed`] when it was not sealed under this cluster key.
pub fn open_token<'a>(
    cluster: &Psk,
    id: &[u8; 16],
    aad: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], CryptoError> {
    let (key, nonce) = token_key(cluster, id);
    key.open_in_place(nonce, aead::Aad::from(aad), sealed).map_err(|_| CryptoError::AuthFailed)
}

fn token_key(cluster: &Psk, id: &[u8; 16]) -> (LessSafeKey, aead::Nonce) {
    let mut okm = [0u8; 32 + IV_BYTES];
    hkdf_sha256(id, &[cluster.as_bytes(), &[]], b"zonewire v1 token", &mut okm);
    let mut nonce = [0; IV_BYTES];
    nonce.copy_from_slice(&okm[32..]);
    let Ok(key) = UnboundKey::new(&aead::AES_256_GCM, &okm[..32]) else {
        unreachable!("32 bytes are the length of an AES-256 key");
    };
    (LessSafeKey::new(key), aead::Nonce::assume_unique_for_key(nonce))
}

/// Counts what this thread's packet keys did, for tests that bound the work a forger causes.
#[cfg(test)]
pub(crate) mod work {
    use core::cell::Cell;

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Work {
        /// Keys derived.
        pub(crate) keys: u64,
        /// AEAD openings tried.
        pub(crate) openings: u64,
    }

    thread_local! {
        static WORK: Cell<Work> = const { Cell::new(Work { keys: 0, openings: 0 }) };
    }

    pub(super) fn count(change: impl FnOnce(&mut Work)) {
        let mut work = WORK.get();
        change(&mut work);
        WORK.set(work);
    }

    /// What was done since the last call.
    pub(crate) fn take() -> Work {
        WORK.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(aead: Aead) -> SessionKeys {
        SessionKeys::derive(aead, &SharedSecret::new([1; 32]), &Psk::new([2; 32]), &[3; 32])
    }

    #[test]
    fn both_ciphers_round_trip_and_refuse_any_change() {
        for aead in [Aead::Aes128Gcm, Aead::ChaCha20Poly1305] {
            let keys = keys(aead);
            let (c2s, s2c) = (PacketKey::from_secret(aead, &keys.c2s), PacketKey::from_secret(aead, &keys.s2c));
            let mut buffer = b"some plaintext".to_vec();
            let tag = c2s.seal(7, b"head", &mut buffer).unwrap();
            buffer.extend_from_slice(&tag);
            for (pn, aad) in [(8, b"head".as_slice()), (7, b"heaD")] {
                assert!(c2s.open(pn, aad, &mut buffer.clone()).is_err());
            }
            assert!(s2c.open(7, b"head", &mut buffer.clone()).is_err());
            assert!(PacketKey::from_secret(aead, &keys.c2s.next()).open(7, b"head", &mut buffer.clone()).is_err());
            assert_eq!(c2s.open(7, b"head", &mut buffer).unwrap(), b"some plaintext");
        }
    }

    #[test]
    fn a_chain_of_secrets_is_that_of_its_labels_and_never_comes_back() {
        let keys = keys(Aead::Aes128Gcm);
        let mut expected = [0; 32];
        hkdf_sha256(&[], &[keys.c2s.as_bytes(), &[]], b"zonewire v2 roll", &mut expected);
        assert_eq!(keys.c2s.next(), Secret::new(expected));
        let mut seen = std::collections::BTreeSet::from([*keys.c2s.as_bytes(), *keys.s2c.as_bytes()]);
        let mut chains = [keys.c2s, keys.s2c];
        for _ in 0..1000 {
            for secret in &mut chains {
                *secret = secret.next();
                assert!(seen.insert(*secret.as_bytes()));
            }
        }
    }

    #[test]
    fn hkdf_matches_rfc_5869_test_case_1() {
        let mut okm = [0; 42];
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        hkdf_sha256(&salt, &[&[0x0b; 22], &[]], &info, &mut okm);
        assert_eq!(okm[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        assert_eq!(okm[34..], [0x34, 0x00, 0x72, 0x08, 0xd5, 0xb8, 0x87, 0x18, 0x58, 0x65][2..]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may draw entropy")]
    fn two_ends_agree_and_a_low_order_key_is_refused() {
        let mut entropy = OsEntropy::new();
        let (a, b) = (entropy.ephemeral().unwrap(), entropy.ephemeral().unwrap());
        let (a_public, b_public) = (a.public(), b.public());
        assert_eq!(a.agree(&b_public), b.agree(&a_public));
        assert_eq!(entropy.ephemeral().unwrap().agree(&[0; 32]), Err(CryptoError::BadPublicKey));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Psk::new([7; 32])), "Psk(..)");
        assert_eq!(format!("{:?}", keys(Aead::Aes128Gcm).c2s), "Secret(..)");
        assert_eq!(format!("{:?}", keys(Aead::Aes128Gcm).handshake), "PacketKey(..)");
    }

    #[test]
    fn constant_time_compare_compares_lengths_too() {
        assert!(equal_constant_time(b"abc", b"abc"));
        assert!(!equal_constant_time(b"abc", b"abd"));
        assert!(!equal_constant_time(b"abc", b"ab"));
    }
}

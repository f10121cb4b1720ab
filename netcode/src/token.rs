//! Connect tokens: what the control plane hands to a client, and what a server believes of it.
//!
//! A token is [`TOKEN_BYTES`] long (SPEC.md, section "Connect token"): a public head that is authenticated
//! but not hidden, and a body sealed under the cluster key. The client gets the same pre-shared key
//! beside the token, over the control plane's own secure channel, and can't read the body.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use arrayvec::ArrayVec;

use crate::crypto::{self, ClusterKey, CryptoError, Entropy, Psk, TAG_BYTES};
use crate::error::RefuseReason;

/// Version of the token format.
pub const TOKEN_VERSION: u8 = 1;
/// The most servers that one token can list.
pub const MAX_SERVERS: usize = 8;
/// Bytes of a token.
pub const TOKEN_BYTES: usize = HEAD_BYTES + BODY_BYTES + TAG_BYTES;

const HEAD_BYTES: usize = 28;
const SERVER_BYTES: usize = 22;
const BODY_BYTES: usize = 8 + 8 + 8 + 4 + 4 + 4 + 4 + 32 + MAX_SERVERS * SERVER_BYTES;

/// The unique name of a token.
pub type TokenId = [u8; 16];

/// A server that a token may be used at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// The server's id in the cluster; this is what the server checks.
    pub id: u32,
    /// Where the client finds it.
    pub addr: SocketAddr,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// When it was issued, Unix milliseconds.
    pub issued_ms: u64,
    /// From when on it is refused, Unix milliseconds.
    pub expires_ms: u64,
    /// The account it was issued to.
    pub account: u64,
    /// The character it was issued for.
    pub character: u64,
    /// The server group (environment, realm) it is valid in.
    pub group: u32,
    /// The most bytes a second the server may send to this client; 0 = the server's own limit.
    pub down_cap: u32,
    /// The most bytes a second the client may send; 0 = the server's own limit.
    pub up_cap: u32,
    /// The servers it is valid at.
    pub servers: ArrayVec<ServerEntry, MAX_SERVERS>,
}

/// What the control plane gives to a client, over a secure channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectBundle {
    /// The sealed token, sent along in the HELLO.
    pub token: Token,
    /// The key that proves that the HELLO comes from the token's owner; never sent.
    pub psk: Psk,
    /// Where to connect.
    pub servers: ArrayVec<ServerEntry, MAX_SERVERS>,
    /// When the token expires, Unix milliseconds.
    pub expires_ms: u64,
}

/// The bytes of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub [u8; TOKEN_BYTES]);

impl Token {
    /// The token's unique name.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[12..28]);
        id
    }

    /// The cluster key epoch it names.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.0[1]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:02x?})", self.id())
    }
}

/// Issues a token for `claims` under the cluster key.
///
/// # Errors
/// [`CryptoError::NoEntropy`] when no id or pre-shared key can be drawn.
pub fn issue(
    cluster: &ClusterKey,
    claims: &TokenClaims,
    entropy: &mut dyn Entropy,
) -> Result<ConnectBundle, CryptoError> {
    let (mut id, mut psk) = ([0; 16], [0; 32]);
    entropy.fill(&mut id)?;
    entropy.fill(&mut psk)?;
    let psk = Psk::new(psk);
    let token = seal(cluster, claims, &id, &psk);
    Ok(ConnectBundle { token, psk, servers: claims.servers.clone(), expires_ms: claims.expires_ms })
}

/// Issues a token with a given id and pre-shared key (for test vectors; [`issue`] draws them).
#[must_use]
pub fn seal(cluster: &ClusterKey, claims: &TokenClaims, id: &TokenId, psk: &Psk) -> Token {
    let mut bytes = [0; TOKEN_BYTES];
    let (head, sealed) = bytes.split_at_mut(HEAD_BYTES);
    head[0] = TOKEN_VERSION;
    head[1] = cluster.epoch;
    head[4..12].copy_from_slice(&claims.expires_ms.to_le_bytes());
    head[12..28].copy_from_slice(id);
    let (body, tag) = sealed.split_at_mut(BODY_BYTES);
    write_body(body, claims, psk);
    tag.copy_from_slice(&crypto::seal_token(&cluster.key, id, head, body));
    Token(bytes)
}

/// Opens a token under whichever of `keys` it names (rules T-1, T-2).
///
/// # Errors
/// [`RefuseReason::TokenInvalid`] unless it is whole and was sealed under that key. Time, server and group are the
/// caller's to check, after the client has proved that it owns the token.
pub fn open(keys: &[ClusterKey], token: &Token) -> Result<(TokenClaims, Psk), RefuseReason> {
    const INVALID: RefuseReason = RefuseReason::TokenInvalid;
    let mut bytes = token.0;
    let (head, sealed) = bytes.split_at_mut(HEAD_BYTES);
    if head[0] != TOKEN_VERSION || head[2] != 0 || head[3] != 0 {
        return Err(INVALID);
    }
    let cluster = keys.iter().find(|key| key.epoch == token.epoch()).ok_or(INVALID)?;
    let body = crypto::open_token(&cluster.key, &token.id(), head, sealed).map_err(|_| INVALID)?;
    read_body(body, token).ok_or(INVALID)
}

fn write_body(mut body: &mut [u8], claims: &TokenClaims, psk: &Psk) {
    put(&mut body, &claims.issued_ms.to_le_bytes());
    put(&mut body, &claims.account.to_le_bytes());
    put(&mut body, &claims.character.to_le_bytes());
    put(&mut body, &claims.group.to_le_bytes());
    put(&mut body, &claims.down_cap.to_le_bytes());
    put(&mut body, &claims.up_cap.to_le_bytes());
    put(&mut body, &[claims.servers.len() as u8, 0, 0, 0]);
    put(&mut body, psk.as_bytes());
    for server in &claims.servers {
        put(&mut body, &server.id.to_le_bytes());
        put(&mut body, &ip_bytes(server.addr.ip()));
        put(&mut body, &server.addr.port().to_le_bytes());
    }
}

fn read_body(body: &[u8], token: &Token) -> Option<(TokenClaims, Psk)> {
    let mut rest = body;
    let issued_ms = u64::from_le_bytes(take(&mut rest)?);
    let account = u64::from_le_bytes(take(&mut rest)?);
    let character = u64::from_le_bytes(take(&mut rest)?);
    let group = u32::from_le_bytes(take(&mut rest)?);
    let down_cap = u32::from_le_bytes(take(&mut rest)?);
    let up_cap = u32::from_le_bytes(take(&mut rest)?);
    let [count, ..]: [u8; 4] = take(&mut rest)?;
    let psk = Psk::new(take(&mut rest)?);
    let mut servers = ArrayVec::new();
    for _ in 0..count {
        let id = u32::from_le_bytes(take(&mut rest)?);
        let ip = Ipv6Addr::from(take::<16>(&mut rest)?).to_canonical();
        let port = u16::from_le_bytes(take(&mut rest)?);
        servers.try_push(ServerEntry { id, addr: SocketAddr::new(ip, port) }).ok()?;
    }
    let mut expires = [0; 8];
    expires.copy_from_slice(&token.0[4..12]);
    let expires_ms = u64::from_le_bytes(expires);
    Some((TokenClaims { issued_ms, expires_ms, account, character, group, down_cap, up_cap, servers }, psk))
}

/// An address as 16 bytes: IPv6, or IPv4 mapped into it (`::ffff:a.b.c.d`).
#[must_use]
pub fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn put(out: &mut &mut [u8], bytes: &[u8]) {
    let (head, tail) = core::mem::take(out).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *out = tail;
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = input.split_first_chunk::<N>()?;
    *input = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> TokenClaims {
        let servers = [
            ServerEntry { id: 3, addr: "127.0.0.1:7777".parse().unwrap() },
            ServerEntry { id: 4, addr: "[::1]:9".parse().unwrap() },
        ];
        TokenClaims {
            issued_ms: 1,
            expires_ms: 2,
            account: 3,
            character: 4,
            group: 5,
            down_cap: 6,
            up_cap: 7,
            servers: servers.into_iter().collect(),
        }
    }

    fn key(epoch: u8, byte: u8) -> ClusterKey {
        ClusterKey { epoch, key: Psk::new([byte; 32]) }
    }

    #[test]
    fn opens_under_either_of_two_epochs() {
        let psk = Psk::new([9; 32]);
        for epoch in [1, 2] {
            let token = seal(&key(epoch, epoch), &claims(), &[8; 16], &psk);
            assert_eq!(open(&[key(1, 1), key(2, 2)], &token), Ok((claims(), psk.clone())));
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_key_is_refused() {
        let token = seal(&key(1, 1), &claims(), &[8; 16], &Psk::new([9; 32]));
        assert_eq!(open(&[key(1, 2)], &token), Err(RefuseReason::TokenInvalid));
        assert_eq!(open(&[key(2, 1)], &token), Err(RefuseReason::TokenInvalid));
        for byte in 0..TOKEN_BYTES {
            let mut bent = token.clone();
            bent.0[byte] ^= 1 << (byte % 8);
            assert_eq!(open(&[key(1, 1)], &bent), Err(RefuseReason::TokenInvalid), "byte {byte}");
        }
    }

    #[test]
    fn the_psk_is_not_readable_in_the_token() {
        let token = seal(&key(1, 1), &claims(), &[8; 16], &Psk::new([0xab; 32]));
        assert!(!token.0.windows(4).any(|window| window == [0xab; 4]));
    }
}

//! Development tokens: connect tokens for anyone who asks on this machine, so that games and bots can log in without a
//! control plane. HTTP endpoint, command line and bots share these types, so the JSON has one shape.

use arrayvec::ArrayVec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netcode::crypto::{ClusterKey, CryptoError, Entropy, Psk};
use netcode::token::{self, ConnectBundle, ServerEntry, Token, TokenClaims};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use thiserror::Error;

/// The most tokens of one request.
pub const MAX_COUNT: u32 = 4096;

/// What a request may say; all of it is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// Account of the first token, the following ones count up; absent: a random one for each.
    pub account: Option<u64>,
    /// Character of the first token, the following ones count up; absent: the number of the account.
    pub character: Option<u64>,
    /// How many, 1..=[`MAX_COUNT`]; absent: one, whose fields are also given at the top level of the reply.
    pub count: Option<u32>,
}

impl TokenRequest {
    /// Reads a request, which is a JSON object; an array of the fields' values, which serde would take as well, is none.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        if json.trim_ascii_start().first() == Some(&b'[') {
            // A map is not built from an array; the error says so and where.
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json)?;
        }
        serde_json::from_slice(json)
    }
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReply {
    /// The tokens.
    pub tokens: Vec<TokenEntry>,
    /// The only token once more, where the request named no count.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub single: Option<TokenEntry>,
}

/// One token with all that a client needs to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// The token, standard base64.
    pub token: String,
    /// The pre-shared key (a secret), standard base64.
    pub psk: String,
    /// Where to connect.
    pub servers: Vec<ServerAddress>,
    /// When it expires, Unix milliseconds.
    pub expires_ms: u64,
}

/// A server that a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAddress {
    /// Its id.
    pub id: u32,
    /// Its UDP address.
    pub addr: SocketAddr,
}

/// Why no token is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IssueError {
    /// The count is out of range.
    #[error("count = {0} is not allowed: it takes a whole number from 1 to {MAX_COUNT}")]
    Count(u32),
    /// Counting up would pass the largest number that there is.
    #[error("{field} = {first} with count = {count} is not allowed: the last number would be above {}", u64::MAX)]
    Overflow {
        /// `account` or `character`.
        field: &'static str,
        /// The first one's number.
        first: u64,
        /// How many were asked for.
        count: u32,
    },
    /// No randomness.
    #[error("{0}")]
    Crypto(#[from] CryptoError),
}

/// Why an entry is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// `token` or `psk` is not base64 of the right length.
    #[error("`{0}` is not base64 of the right length")]
    Field(&'static str),
    /// More servers than a token can list.
    #[error("too many servers")]
    Servers,
}

/// Issues development tokens for one server.
pub struct Issuer {
    /// The key that they are sealed under.
    pub key: ClusterKey,
    /// The server that they are good for.
    pub server: ServerEntry,
    /// Its group.
    pub group: u32,
    /// How long they live, in milliseconds.
    pub life_ms: u64,
}

impl Issuer {
    /// Issues what `request` asks for at wall time `unix_ms`.
    pub fn issue(
        &self,
        request: &TokenRequest,
        unix_ms: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<TokenReply, IssueError> {
        let count = request.count.unwrap_or(1);
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(IssueError::Count(count));
        }
        for (field, first) in [("account", request.account), ("character", request.character)] {
            if let Some(first) = first.filter(|first| first.checked_add(u64::from(count) - 1).is_none()) {
                return Err(IssueError::Overflow { field, first, count });
            }
        }
        let mut tokens = Vec::new();
        for i in 0..u64::from(count) {
            tokens.push(TokenEntry::from(&self.one(request, i, unix_ms, entropy)?));
        }
        let single = if request.count.is_none() { tokens.first().cloned() } else { None };
        Ok(TokenReply { tokens, single })
    }

    fn one(
        &self,
        request: &TokenRequest,
        i: u64,
        unix_ms: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<ConnectBundle, CryptoError> {
        let account = match request.account {
            Some(first) => first.wrapping_add(i),
            None => {
                let mut random = [0; 8];
                entropy.fill(&mut random)?;
                u64::from_le_bytes(random)
            }
        };
        let claims = TokenClaims {
            issued_ms: unix_ms,
            expires_ms: unix_ms.saturating_add(self.life_ms),
            account,
            character: request.character.map_or(account, |first| first.wrapping_add(i)),
            group: self.group,
            down_cap: 0,
            up_cap: 0,
            servers: ArrayVec::from_iter([self.server]),
        };
        token::issue(&self.key, &claims, entropy)
    }
}

impl From<&ConnectBundle> for TokenEntry {
    fn from(bundle: &ConnectBundle) -> Self {
        Self {
            token: STANDARD.encode(bundle.token.0),
            psk: STANDARD.encode(bundle.psk.as_bytes()),
            servers: bundle.servers.iter().map(|s| ServerAddress { id: s.id, addr: s.addr }).collect(),
            expires_ms: bundle.expires_ms,
        }
    }
}

impl TryFrom<&TokenEntry> for ConnectBundle {
    type Error = EntryError;

    fn try_from(entry: &TokenEntry) -> Result<Self, EntryError> {
        let servers = entry.servers.iter().map(|s| ServerEntry { id: s.id, addr: s.addr });
        if servers.len() > token::MAX_SERVERS {
            return Err(EntryError::Servers);
        }
        Ok(Self {
            token: Token(decode("token", &entry.token)?),
            psk: Psk::new(decode("psk", &entry.psk)?),
            servers: servers.collect(),
            expires_ms: entry.expires_ms,
        })
    }
}

fn decode<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], EntryError> {
    let bytes = STANDARD.decode(text).map_err(|_| EntryError::Field(field))?;
    bytes.try_into().map_err(|_| EntryError::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::crypto::OsEntropy;

    fn issuer() -> Issuer {
        let server = ServerEntry { id: 3, addr: "127.0.0.1:7777".parse().unwrap() };
        Issuer { key: ClusterKey { epoch: 1, key: Psk::new([9; 32]) }, server, group: 5, life_ms: 1000 }
    }

    #[expect(clippy::disallowed_methods, reason = "a test")]
    fn issue(request: TokenRequest) -> Result<TokenReply, IssueError> {
        issuer().issue(&request, 1_000_000, &mut OsEntropy::new())
    }

    #[test]
    fn an_entry_survives_json_and_opens_under_the_cluster_key() {
        let reply = issue(TokenRequest { account: Some(10), count: Some(3), ..TokenRequest::default() }).unwrap();
        let json = serde_json::to_string(&reply).unwrap();
        let reply: TokenReply = serde_json::from_str(&json).unwrap();
        assert_eq!(reply.tokens.len(), 3);
        for (i, entry) in (0..).zip(&reply.tokens) {
            let bundle = ConnectBundle::try_from(entry).unwrap();
            let (claims, psk) = token::open(&[issuer().key], &bundle.token).unwrap();
            assert_eq!((claims.account, claims.character), (10 + i, 10 + i));
            assert_eq!((claims.group, claims.expires_ms, bundle.expires_ms), (5, 1_001_000, 1_001_000));
            assert_eq!(psk.as_bytes(), bundle.psk.as_bytes());
            assert_eq!(claims.servers, bundle.servers);
        }
    }

    #[test]
    fn only_a_request_without_a_count_gets_its_token_at_the_top_level() {
        let single = serde_json::to_value(issue(TokenRequest::default()).unwrap()).unwrap();
        assert_eq!(single["token"], single["tokens"][0]["token"]);
        assert_eq!(single["servers"][0]["addr"], "127.0.0.1:7777");
        let counted = issue(TokenRequest { count: Some(1), ..TokenRequest::default() }).unwrap();
        assert!(serde_json::to_value(counted).unwrap().get("token").is_none());
    }

    #[test]
    fn a_count_out_of_range_is_refused() {
        for count in [0, MAX_COUNT + 1] {
            let request = TokenRequest { count: Some(count), ..TokenRequest::default() };
            assert_eq!(issue(request), Err(IssueError::Count(count)));
        }
    }

    #[test]
    fn numbers_that_would_count_past_the_largest_are_refused() {
        let request = |count| TokenRequest { account: Some(u64::MAX), count, ..TokenRequest::default() };
        assert!(issue(request(None)).is_ok());
        let refused = IssueError::Overflow { field: "account", first: u64::MAX, count: 2 };
        assert_eq!(issue(request(Some(2))), Err(refused));
    }

    #[test]
    fn an_array_is_no_token_request() {
        let wrong = TokenRequest::from_json(b" [1, 2, 3]").unwrap_err().to_string();
        assert!(wrong.contains("expected a map"), "{wrong}");
        assert!(TokenRequest::from_json(b" {}").is_ok());
    }

    #[test]
    fn an_entry_with_a_broken_field_is_refused() {
        let entry = issue(TokenRequest::default()).unwrap().tokens.remove(0);
        let cut = TokenEntry { psk: "AAAA".into(), ..entry.clone() };
        assert_eq!(ConnectBundle::try_from(&cut), Err(EntryError::Field("psk")));
        let crowded = TokenEntry { servers: vec![entry.servers[0]; 9], ..entry };
        assert_eq!(ConnectBundle::try_from(&crowded), Err(EntryError::Servers));
    }
}

//! Connect tokens over HTTP, fetched a little ahead of the need.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netcode::token::ConnectBundle;
use server::dev_token::{TokenReply, TokenRequest};
use ureq::Agent;

use super::clock::Clock;
use super::error::RunError;

/// Tokens of one request.
const BATCH: usize = 1000;
/// Tokens held ready at most: they expire.
pub const AHEAD: usize = 512;
/// A token is not used in the last moments of its life.
const RESERVE_MS: u64 = 2000;
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

struct Stock {
    bundles: VecDeque<ConnectBundle>,
    taken: usize,
    error: Option<String>,
}

/// A stock of tokens, and where they come from.
pub struct Tokens {
    agent: Agent,
    source: SocketAddr,
    clients: usize,
    spare: usize,
    /// The account of the next token to ask for, and of each later one the next; none: random ones.
    account: Option<AtomicU64>,
    stock: Mutex<Stock>,
}

impl Tokens {
    /// Fetches the first tokens for `clients` clients, from `http`, or else from where the server's HTTP usually is: at
    /// the address of its UDP socket, or one port above. `spare`: so many are held ready for clients that come back, at most
    /// [`AHEAD`]. `account`: that of the first client, the others count up.
    pub fn open(
        server: SocketAddr,
        http: Option<SocketAddr>,
        clients: usize,
        spare: usize,
        account: Option<u64>,
    ) -> Result<Self, RunError> {
        let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).http_status_as_error(false);
        let agent = Agent::from(config.build());
        let first = |source| fetch(&agent, source, clients.min(AHEAD), account).map(|bundles| (source, bundles));
        let (source, bundles) = match http {
            Some(http) => first(http)?,
            None => first(server).or_else(|here| {
                let above = SocketAddr::new(server.ip(), server.port().wrapping_add(1));
                first(above).map_err(|there| RunError::Neither(Box::new(here), Box::new(there)))
            })?,
        };
        let account = account.map(|account| AtomicU64::new(account.wrapping_add(bundles.len() as u64)));
        let stock = Mutex::new(Stock { bundles, taken: 0, error: None });
        Ok(Self { agent, source, clients, spare, account, stock })
    }

    /// A token that is still good, if one is ready.
    pub fn take(&self) -> Option<ConnectBundle> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Clock::unix_ms();
        while let Some(bundle) = stock.bundles.pop_front() {
            if bundle.expires_ms > now + RESERVE_MS {
                stock.taken += 1;
                return Some(bundle);
            }
        }
        None
    }

    /// Why the latest request failed, if it did.
    pub fn error(&self) -> Option<String> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    /// Keeps the stock filled until `stop`; the work of a thread.
    pub fn refill(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let missing = self.missing();
            if missing == 0 {
                pause(PAUSE);
                continue;
            }
            let account = self.account.as_ref().map(|next| next.load(Ordering::Relaxed));
            let fetched = fetch(&self.agent, self.source, missing, account);
            let failed = fetched.is_err();
            let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
            match fetched {
                Ok(bundles) => {
                    if let Some(next) = &self.account {
                        next.fetch_add(bundles.len() as u64, Ordering::Relaxed);
                    }
                    stock.bundles.extend(bundles);
                    stock.error = None;
                }
                Err(error) => stock.error = Some(error.to_string()),
            }
            drop(stock);
            if failed {
                pause(PAUSE_AFTER_ERROR);
            }
        }
    }

    fn missing(&self) -> usize {
        let stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.clients.saturating_sub(stock.taken).max(self.spare).min(AHEAD);
        // In lots, not one by one.
        if stock.bundles.len() * 2 > wanted { 0 } else { (wanted - stock.bundles.len()).min(BATCH) }
    }
}

fn fetch(
    agent: &Agent,
    at: SocketAddr,
    count: usize,
    account: Option<u64>,
) -> Result<VecDeque<ConnectBundle>, RunError> {
    let bad_reply = |text: String| RunError::BadReply { at, text };
    let request = TokenRequest { count: u32::try_from(count).ok(), account, ..TokenRequest::default() };
    let mut response = agent
        .post(format!("http://{at}/v1/dev/token"))
        .send_json(request)
        .map_err(|error| RunError::NoHttp { at, cause: error.to_string() })?;
    let status = response.status().as_u16();
    let body = response.body_mut();
    if status != 200 {
        let text = body.read_to_string().unwrap_or_default();
        return Err(RunError::NoTokens { at, status, text });
    }
    let reply: TokenReply = body.read_json().map_err(|error| bad_reply(error.to_string()))?;
    let bundles: Result<VecDeque<_>, _> = reply.tokens.iter().map(ConnectBundle::try_from).collect();
    bundles.map_err(|error| bad_reply(error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "a thread of the binary, with nothing to wait for but time")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

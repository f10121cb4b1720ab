//! The echo server's loop: socket, clock, signals, and what a client needs to know on stdout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bots::echo::{Echo, RATE, SERVER_ID};
use netcode::Time;
use netcode::channel::{Channel, Overflow, Table};
use netcode::crypto::{ClusterKey, CookieKey, Entropy as _, OsEntropy, Psk};
use netcode::token::ServerEntry;
use netcode::version::VERSION;
use serde_json::{Value, json};
use server::dev_token::{Issuer, TokenRequest};

use super::clock::Clock;
use super::error::RunError;
use super::lines;
use super::sockets::Listener;

/// How long its bundles are good.
const TOKEN_LIFE_MS: u64 = 24 * 3600 * 1000;
/// The longest sleep: a signal does not end one.
const GRAIN: Duration = Duration::from_millis(50);
/// How long closes may take at the end.
const LINGER: Duration = Duration::from_millis(250);
/// Longer than any datagram of the protocol, so that one too long is seen as such.
const BUFFER: usize = 2048;

/// An echo server.
#[derive(Clone, Copy, Debug)]
pub struct EchoOptions {
    pub listen: SocketAddr,
    pub bundles: u32,
    pub key_roll: Option<u64>,
    pub seconds: Option<f64>,
}

/// Runs it until its time is over or a signal came.
pub fn run(options: &EchoOptions) -> Result<bool, RunError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(RunError::system("handle signals"))?;
    }
    #[expect(clippy::disallowed_methods, reason = "the binary draws OS entropy")]
    let mut entropy = OsEntropy::new();
    let (mut key, mut cookie_key) = ([0; 32], [0; 32]);
    entropy.fill(&mut key)?;
    entropy.fill(&mut cookie_key)?;
    let key = ClusterKey { epoch: 1, key: Psk::new(key) };
    let mut listener = Listener::bind(options.listen).map_err(RunError::system("listen"))?;
    let address = listener.address().map_err(RunError::system("listen"))?;
    let mut echo = Echo::new(key.clone(), CookieKey::new(cookie_key), options.key_roll);
    let issuer = Issuer { key, server: ServerEntry { id: SERVER_ID, addr: address }, group: 0, life_ms: TOKEN_LIFE_MS };
    let request = TokenRequest { count: Some(options.bundles), ..TokenRequest::default() };
    let bundles = issuer.issue(&request, Clock::unix_ms(), &mut entropy)?.tokens;
    lines::result(introduction(address, echo.table(), json!(bundles)))?;
    serve(options, &mut listener, &mut echo, &mut entropy, &interrupted)?;
    let counts = echo.counts();
    lines::note(format_args!(
        "{} connections, {} messages and {} blocks sent back, {} found no room",
        counts.connections, counts.messages, counts.blocks, counts.dropped
    ));
    Ok(true)
}

fn serve(
    options: &EchoOptions,
    listener: &mut Listener,
    echo: &mut Echo,
    entropy: &mut OsEntropy,
    interrupted: &AtomicBool,
) -> Result<(), RunError> {
    let clock = Clock::start();
    let end = options.seconds.map_or(Time::NEVER, |seconds| Time::ZERO + Duration::from_secs_f64(seconds));
    let mut closed: Option<Time> = None;
    let mut buffer = [0; BUFFER];
    while closed.is_none_or(|at| clock.now() < at + LINGER) {
        let wait = echo.poll_timeout().saturating_since(clock.now()).min(GRAIN);
        listener.wait(wait).map_err(RunError::system("wait for datagrams"))?;
        while let Some((len, from)) = listener.receive(&mut buffer) {
            let datagram = buffer.get_mut(..len).unwrap_or_default();
            echo.handle_datagram(clock.now(), Clock::unix_ms(), from, datagram, entropy);
        }
        let now = clock.now();
        echo.handle_timeout(now);
        if closed.is_none() && (now >= end || interrupted.load(Ordering::Relaxed)) {
            closed = Some(now);
            echo.close(now);
        }
        while let Some((to, len)) = echo.poll_transmit(clock.now(), &mut buffer) {
            listener.send(to, buffer.get(..len).unwrap_or_default());
        }
    }
    Ok(())
}

/// What a client must know, and its bundles. Hashes are hexadecimal: they do not fit every language's numbers.
fn introduction(address: SocketAddr, table: &Table, bundles: Value) -> Value {
    let channel = |channel: &Channel| {
        json!({
            "name": channel.name,
            "kind": channel.kind.wire(),
            "priority": channel.priority,
            "weight": channel.weight,
            "min_bytes": channel.min_bytes,
            "max_bytes": channel.max_bytes,
            "max_message": channel.max_message,
            "queue_bytes": channel.queue_bytes,
            "overflow": u8::from(channel.overflow == Overflow::DropOldest),
        })
    };
    json!({
        "addr": address,
        "version": VERSION,
        "rate": RATE,
        "schema_hash": format!("{:#018x}", sim::SCHEMA.hash()),
        "channel_hash": format!("{:#018x}", table.hash()),
        "channels": table.0.iter().map(channel).collect::<Vec<_>>(),
        "bundles": bundles,
    })
}

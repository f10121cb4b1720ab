//! Bytes of the allocator that a server holds: for a connection, for a handshake, for a flood.

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use benches::println;
use netcode::client::ClientEndpoint;
use netcode::crypto::CookieKey;
use netcode::handshake::{ACCEPT_BYTES, RETRY_BYTES};
use netcode::packet::MAX_DATAGRAM;
use netcode::server::{ServerConfig, ServerEndpoint, SingleUse};
use serde_json::{Value, json};
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::stage::{SCHEMA_HASH, Stage, cluster_key, from, server};

/// Datagrams of the flood whose growth of the heap is counted.
const FLOOD: usize = 1_000_000;
const FLOOD_ADDRESSES: u64 = 100_000;

/// Bytes that the server holds of the allocator.
pub struct Memory {
    clients: u16,
    empty_endpoint: isize,
    idle_connection: f64,
    half_open: f64,
    half_open_under_load: f64,
    flood: isize,
}

impl Memory {
    const IDLE_BUDGET: f64 = 16.0 * 1024.0;

    pub fn measure(clients: u16) -> Self {
        let region = Region::new(ALLOCATOR);
        let server = server(false);
        let empty_endpoint = held(&region);
        drop(server);
        let per_client = |bytes: isize| bytes as f64 / f64::from(clients.max(1));
        Self {
            clients,
            empty_endpoint,
            idle_connection: per_client(idle(clients) - empty_endpoint),
            half_open: per_client(half_open(clients, false)),
            half_open_under_load: per_client(half_open(clients, true)),
            flood: flood(),
        }
    }

    pub fn within_budgets(&self) -> bool {
        self.idle_connection <= Self::IDLE_BUDGET && self.half_open_under_load == 0.0 && self.flood == 0
    }

    pub fn print(&self) {
        let row = |name: &str, bytes: f64, budget: Option<f64>| {
            let budget = budget.map_or(String::new(), |budget| {
                format!("{budget:.0} {}", if bytes <= budget { "ok" } else { "MISSED" })
            });
            println!("{name:<60}{bytes:>12.0}{budget:>12}");
        };
        println!("\n{:<60}{:>12}{:>12}", "memory", "bytes", "budget");
        row("an endpoint without connections", self.empty_endpoint as f64, None);
        row(&format!("each of {} idle connections", self.clients), self.idle_connection, Some(Self::IDLE_BUDGET));
        row("each half-open handshake, cookies not asked for", self.half_open, None);
        row("each half-open handshake, cookies asked for", self.half_open_under_load, Some(0.0));
        row(&format!("growth by {FLOOD} spoofed HELLOs, {FLOOD_ADDRESSES} addresses"), self.flood as f64, Some(0.0));
    }

    pub fn json(&self) -> Value {
        json!({
            "clients": self.clients,
            "empty_endpoint_bytes": self.empty_endpoint,
            "idle_connection_bytes": self.idle_connection.round(),
            "half_open_bytes": self.half_open.round(),
            "half_open_under_load_bytes": self.half_open_under_load,
            "flood_growth_bytes": self.flood,
        })
    }
}

/// Bytes more than when the region began.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// What a server with that many connections, idle for five seconds, gives back when it goes.
fn idle(clients: u16) -> isize {
    let mut stage = Stage::new(false);
    let mut out = [0; MAX_DATAGRAM];
    let mut joined = Vec::new();
    for index in 0..usize::from(clients) {
        let (mut client, mut hello) = stage.client();
        let len = stage.deliver(from(index), &mut hello, &mut out);
        client.handle_datagram(stage.now, &mut out[..len]);
        joined.push(client);
    }
    for _ in 0..500 {
        exchange(&mut stage, &mut joined);
        stage.now = stage.now + Duration::from_millis(10);
    }
    assert_eq!((stage.server.connections(), stage.server.half_open()), (joined.len(), 0));
    let Stage { server, .. } = stage;
    let region = Region::new(ALLOCATOR);
    drop(server);
    -held(&region)
}

/// Everything that either side wants to say now arrives at once.
fn exchange(stage: &mut Stage, clients: &mut [ClientEndpoint]) {
    let mut out = [0; MAX_DATAGRAM];
    for (index, client) in clients.iter_mut().enumerate() {
        client.handle_timeout(stage.now);
        while let Some(len) = client.poll_transmit(stage.now, &mut out) {
            let unix_ms = stage.unix_ms();
            stage.server.handle_datagram(stage.now, unix_ms, from(index), &mut out[..len], &mut stage.entropy);
        }
        while client.poll_event().is_some() {}
    }
    stage.server.handle_timeout(stage.now);
    while let Some((to, len)) = stage.server.poll_transmit_control(stage.now, &mut out) {
        let client = clients.iter_mut().enumerate().find(|(index, _)| from(*index) == to);
        if let Some((_, client)) = client {
            client.handle_datagram(stage.now, &mut out[..len]);
        }
    }
    while stage.server.poll_event().is_some() {}
}

/// What that many HELLOs make a server hold whose clients never say more.
fn half_open(clients: u16, asks: bool) -> isize {
    let mut stage = Stage::new(asks);
    let mut hellos: Vec<_> = (0..clients).map(|_| stage.client().1).collect();
    let mut out = [0; MAX_DATAGRAM];
    let region = Region::new(ALLOCATOR);
    for (index, hello) in hellos.iter_mut().enumerate() {
        let answered = stage.deliver(from(index), hello, &mut out);
        assert_eq!(answered, if asks { RETRY_BYTES } else { ACCEPT_BYTES });
    }
    held(&region)
}

/// What a flood leaves behind at a server as it is by default.
fn flood() -> isize {
    let mut stage = Stage::new(false);
    let (_client, mut hello) = stage.client();
    let config = ServerConfig::new(vec![cluster_key()], SCHEMA_HASH, 20);
    stage.server = ServerEndpoint::new(config, CookieKey::new([0xc0; 32]), Arc::new(SingleUse::new(1 << 20)));
    let mut out = [0; MAX_DATAGRAM];
    let region = Region::new(ALLOCATOR);
    for count in 0..FLOOD {
        stage.rng.fill(&mut hello[120..136]);
        let address = 0x0b00_0000 + stage.rng.below(FLOOD_ADDRESSES) as u32 * 167;
        let from = SocketAddr::from((Ipv4Addr::from_bits(address), 1 + count as u16 % 60_000));
        stage.deliver(from, &mut hello, &mut out);
        stage.now = stage.now + Duration::from_micros(10);
    }
    let traffic = stage.server.traffic();
    assert!(traffic.bytes_out <= traffic.bytes_in && stage.server.connections() == 0);
    held(&region)
}

//! The echo workload without sockets: once everybody is in and warm, nothing is allocated any more.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use benches::BenchEntropy;
use benches::peer::{RELIABLE, RELIABLE_EVERY, TICK, UNRELIABLE, bundle, client_config, server_config};
use netcode::Time;
use netcode::client::{ClientEndpoint, ClientState};
use netcode::crypto::{CookieKey, Entropy as _};
use netcode::packet::{ConnId, MAX_DATAGRAM};
use netcode::server::{ServerEndpoint, ServerEvent, SingleUse};
use stats_alloc::Region;

use crate::{ALLOCATOR, alone};

const CLIENTS: u16 = 50;
/// Ticks until every queue has had its longest: many times a second, in which each channel is used.
const WARM_UP: u64 = 200;
const TICKS: u64 = 400;
/// How often the server looks at what came, in a tick.
const POLLS: u32 = 5;

struct World {
    now: Time,
    server: ServerEndpoint,
    clients: Vec<ClientEndpoint>,
    players: Vec<ConnId>,
    entropy: BenchEntropy,
    tick: u64,
    received: u64,
}

/// Adds what `run` asks of the allocator.
fn counted<T>(used: &mut usize, run: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let result = run();
    let change = region.change();
    *used += change.allocations + change.reallocations;
    result
}

fn address(client: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 10_000 + client as u16).into()
}

impl World {
    fn new() -> Self {
        let mut entropy = BenchEntropy::new(1);
        let (now, server_addr) = (Time::from_millis(1), (Ipv4Addr::LOCALHOST, 9000).into());
        let single_use = Arc::new(SingleUse::new(CLIENTS.into()));
        let server = ServerEndpoint::new(server_config(CLIENTS), CookieKey::new([7; 32]), single_use);
        let clients = (0..CLIENTS).map(|number| {
            let bundle = bundle(number, server_addr, 0, &mut entropy).unwrap();
            ClientEndpoint::connect(client_config(), &bundle, entropy.ephemeral().unwrap(), now).unwrap()
        });
        let (clients, players) = (clients.collect(), Vec::new());
        Self { now, server, clients, players, entropy, tick: 0, received: 0 }
    }

    /// One tick: each client sends, the server polls a few times, and sends to each. Counts the server's part alone.
    fn tick(&mut self) -> usize {
        self.tick += 1;
        let mut used = 0;
        for poll in 0..POLLS {
            self.now = self.now + TICK / POLLS;
            let clients = self.clients.len() / POLLS as usize;
            for at in (0..clients).map(|at| at * POLLS as usize + poll as usize) {
                self.client_turn(at, &mut used);
            }
            counted(&mut used, || {
                self.server.handle_timeout(self.now);
                self.take_events();
            });
            self.send_control(&mut used);
        }
        self.send(&mut used);
        used
    }

    fn client_turn(&mut self, at: usize, used: &mut usize) {
        let client = &mut self.clients[at];
        if client.state() == ClientState::Connected {
            client.send(self.now, UNRELIABLE, &[1; 32]).unwrap();
            if (self.tick + at as u64).is_multiple_of(RELIABLE_EVERY) {
                client.send(self.now, RELIABLE, &[2; 64]).unwrap();
            }
        }
        client.handle_timeout(self.now);
        let mut datagram = [0; MAX_DATAGRAM];
        while let Some(len) = client.poll_transmit(self.now, &mut datagram) {
            let (server, datagram) = (&mut self.server, &mut datagram[..len]);
            counted(used, || server.handle_datagram(self.now, 0, address(at), datagram, &mut self.entropy));
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Connected { conn, .. } => self.players.push(conn),
                ServerEvent::Message { .. } => self.received += 1,
                other => assert!(matches!(other, ServerEvent::Acked { .. }), "{other:?}"),
            }
        }
    }

    fn send_control(&mut self, used: &mut usize) {
        let mut datagram = [0; MAX_DATAGRAM];
        loop {
            let sent = counted(used, || self.server.poll_transmit_control(self.now, &mut datagram));
            let Some((to, len)) = sent else { break };
            self.deliver(to, &mut datagram[..len]);
        }
    }

    fn send(&mut self, used: &mut usize) {
        let mut datagram = [0; MAX_DATAGRAM];
        self.server.set_tick(self.tick);
        for at in 0..self.players.len() {
            let conn = self.players[at];
            let sent = counted(used, || {
                self.server.send(self.now, conn, UNRELIABLE, &[3; 200]).unwrap();
                if (self.tick + at as u64).is_multiple_of(RELIABLE_EVERY) {
                    self.server.send(self.now, conn, RELIABLE, &[4; 64]).unwrap();
                }
                self.server.transmit(self.now, conn, &mut datagram, None).unwrap()
            });
            self.deliver(sent.to, &mut datagram[..sent.len]);
        }
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &mut [u8]) {
        let client = &mut self.clients[usize::from(to.port() - 10_000)];
        client.handle_datagram(self.now, datagram);
        while client.poll_event().is_some() {}
    }
}

#[test]
fn the_servers_endpoint_allocates_nothing_for_a_packet_once_it_is_warm() {
    let _alone = alone();
    let mut world = World::new();
    for _ in 0..WARM_UP {
        world.tick();
    }
    assert_eq!(world.players.len(), usize::from(CLIENTS));
    world.received = 0;
    for _ in 0..TICKS {
        let used = world.tick();
        assert_eq!(used, 0, "in tick {}", world.tick);
    }
    let messages = TICKS + TICKS * TICK.as_millis() as u64 / Duration::from_secs(1).as_millis() as u64;
    assert_eq!(world.received, messages * u64::from(CLIENTS), "all of it was really received");
}

//! A player on a real socket, against the real process.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netcode::Time;
use netcode::channel::{SESSION, SNAPSHOT};
use netcode::client::{ClientConfig, ClientEndpoint, ClientEvent, ClientState};
use netcode::crypto::{Entropy as _, OsEntropy};
use netcode::error::{CloseReason, DisconnectReason};
use netcode::message::Message;
use netcode::token::ConnectBundle;
use server::dev_token::TokenReply;
use signal_hook::consts::SIGTERM;

use crate::running::{PATIENCE, Running};

pub struct Player {
    endpoint: ClientEndpoint,
    socket: UdpSocket,
    start: Instant,
    welcomed: bool,
    pub snapshots: usize,
    ended: Option<DisconnectReason>,
    last_sent: Vec<u8>,
}

impl Player {
    pub fn connect(running: &Running) -> Self {
        Self::connect_as(running, "{}")
    }

    #[expect(clippy::disallowed_methods, reason = "a real player has a real clock and real randomness")]
    fn connect_as(running: &Running, request: &str) -> Self {
        let (_, body) = running.post_token("application/json", request);
        let reply: TokenReply = serde_json::from_str(&body).unwrap();
        let bundle = ConnectBundle::try_from(&reply.tokens[0]).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(running.udp).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let ephemeral = OsEntropy::new().ephemeral().unwrap();
        let config = ClientConfig::new(sim::SCHEMA.hash());
        let endpoint = ClientEndpoint::connect(config, &bundle, ephemeral, Time::ZERO).unwrap();
        let start = Instant::now();
        Self { endpoint, socket, start, welcomed: false, snapshots: 0, ended: None, last_sent: Vec::new() }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn turn(&mut self) {
        let now = self.now();
        let mut datagram = [0; 2048];
        if let Ok(len) = self.socket.recv(&mut datagram) {
            self.endpoint.handle_datagram(now, &mut datagram[..len]);
        }
        self.endpoint.handle_timeout(now);
        while let Some(len) = self.endpoint.poll_transmit(now, &mut datagram) {
            self.last_sent = datagram[..len].to_vec();
            // Once the server is gone, the system says so here.
            let _ = self.socket.send(&self.last_sent);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ClientEvent::Message { channel: SESSION, bytes, .. } => {
                    self.welcomed |= matches!(Message::decode(bytes), Ok(Message::Welcome(_)));
                }
                ClientEvent::Message { channel: SNAPSHOT, .. } => self.snapshots += 1,
                ClientEvent::Disconnected(reason) => self.ended = Some(reason),
                _ => {}
            }
        }
    }

    pub fn play_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            assert!(
                self.start.elapsed() < PATIENCE,
                "stuck: {:?} {} {:?}",
                self.endpoint.state(),
                self.snapshots,
                self.ended
            );
            self.turn();
        }
    }
}

#[test]
fn a_player_is_welcomed_gets_snapshots_and_is_told_when_the_server_ends() {
    let mut running = Running::start(&[]);
    let mut player = Player::connect(&running);
    player.play_until(|player| player.welcomed && player.snapshots >= 10);
    assert_eq!(player.endpoint.state(), ClientState::Connected);
    running.signal(SIGTERM);
    player.play_until(|player| player.ended.is_some());
    assert_eq!(player.ended, Some(DisconnectReason::ByPeer(CloseReason::ServerShutdown)));
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn players_of_all_workers_are_served_and_leave_the_world_when_they_close() {
    let running = Running::start(&["--workers", "3"]);
    let mut players: Vec<_> = (0..8).map(|_| Player::connect(&running)).collect();
    for player in &mut players {
        player.play_until(|player| player.welcomed && player.snapshots > 0);
    }
    while running.wait_for("status")["players"] != 8 {
        players.iter_mut().for_each(Player::turn);
    }
    for player in &mut players {
        player.endpoint.close(player.now(), CloseReason::Requested);
        player.turn();
    }
    while running.wait_for("status")["players"] != 0 {}
}

#[test]
fn a_datagram_that_reaches_another_worker_is_handed_to_the_one_that_owns_the_connection() {
    let running = Running::start(&["--workers", "4"]);
    let mut player = Player::connect(&running);
    player.play_until(|player| player.snapshots >= 3);
    // Copies from other ports hash to any of the sockets. The owner has had the packet before; any other worker
    // would not know the connection.
    let copies = 32;
    for _ in 0..copies {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&player.last_sent, running.udp).unwrap();
    }
    let mut seen = 0;
    while seen < copies {
        let line = running.wait_for("status");
        player.turn();
        for drop in line["drops"].as_str().unwrap().split_whitespace() {
            let (cause, count) = drop.split_once('=').unwrap();
            assert_eq!(cause, "duplicate", "{line}");
            seen += count.parse::<u64>().unwrap();
        }
    }
}

#[test]
fn one_characters_snapshots_are_explained_in_a_file() {
    let file = std::env::temp_dir().join(format!("zonewire-explain-{}.jsonl", std::process::id()));
    let path = file.to_str().unwrap();
    // Development tokens of a fresh server begin at random; this one names its character.
    let running = Running::start(&["--explain", "77", "--explain-to", path, "--half-extent", "30"]);
    let mut other = Player::connect(&running);
    let mut player = Player::connect_as(&running, r#"{"account": 7, "character": 77}"#);
    player.play_until(|player| player.snapshots >= 20);
    other.play_until(|player| player.snapshots >= 5);
    drop(running);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 5, "{text}");
    assert!(lines.iter().all(|line| line["character"] == 77));
    assert!(lines.iter().any(|line| line["sent"] == true && line["tier"] == "first"));
    let weighed = |line: &serde_json::Value| line["class"].as_u64() > Some(0) && line["score"].as_u64() > Some(0);
    assert!(lines.iter().any(weighed), "{text}");
}

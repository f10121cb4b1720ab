//! The floor: a bare program that moves the same datagrams, sealed and opened with AES-128-GCM, and nothing else.
//!
//! It runs in a process of its own on the server's core ([`serve`]), against a bare stand-in for the clients on the bots'
//! core ([`pump`]): a socket each, read as the bots read theirs. As many datagrams each way per second as the server had, of its mean sizes; down all at
//! once at every tick, up evenly in time. A key for each client and direction, the header as additional data; no protocol,
//! no check for replays, the same `recvmmsg` and `sendmmsg` calls as the server's, the same socket buffers. What the bots' emulated network loses is no
//! datagram of the server's on its way up, and one like any other on its way down; so it is here.

pub mod pump;
pub mod serve;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::Value;

use crate::error::Error;
use crate::figures::Figures;
use crate::now;
use crate::proc::Usage;
use crate::process::{Process, Stream};
use crate::setup::Setup;
use crate::stop::Stop;

/// Bytes of the header of a datagram to a client, and from one: as in the protocol.
const DOWN_HEADER: usize = 3;
const UP_HEADER: usize = 7;
/// Bytes of the tag.
const TAG: usize = 16;
/// Kernel buffers of the floor's sockets in KiB: the server's default.
const BUFFER_KIB: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(30);
/// It is as steady as can be, so longer than this it need not run.
const MAX_SECONDS: f64 = 30.0;
/// Seconds before those that count.
const SETTLE: usize = 2;

/// What is moved; the same for both processes.
#[derive(Args, Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Clients.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub players: u16,
    /// Of these, such as wait for what comes, as whole clients do; the others look when they send, as light ones do.
    #[arg(long)]
    pub watched: u16,
    /// Ticks a second.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub hz: u16,
    /// Datagrams to clients per second, of all together.
    #[arg(long)]
    pub down_per_s: f64,
    /// Their mean length.
    #[arg(long)]
    pub down_bytes: f64,
    /// Datagrams from clients per second, of all together.
    #[arg(long)]
    pub up_per_s: f64,
    /// Their mean length.
    #[arg(long)]
    pub up_bytes: f64,
    /// Both end by themselves after so many seconds.
    #[arg(long)]
    pub limit: f64,
}

/// What the bare loop costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// Of a core.
    pub us_per_player_tick: f64,
    /// Of these, outside of the kernel.
    pub user_us_per_player_tick: f64,
    /// Datagrams that it received per second.
    pub packets_in_per_s: f64,
    /// Datagrams that it sent per second.
    pub packets_out_per_s: f64,
}

/// What the bare server counts; printed once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks so far.
    pub ticks: u64,
    /// Datagrams that could be opened.
    pub packets_in: u64,
    /// Datagrams that the kernel took.
    pub packets_out: u64,
    /// Clients that it has heard of.
    pub known: u64,
    /// Datagrams that could not be opened, or not be sent. Never.
    pub failed: u64,
}

impl Counts {
    fn json(self) -> Value {
        let Self { ticks, packets_in, packets_out, known, failed } = self;
        serde_json::json!({
            "ticks": ticks, "packets_in": packets_in, "packets_out": packets_out, "known": known, "failed": failed,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| value.get(name).and_then(Value::as_u64);
        Some(Self {
            ticks: field("ticks")?,
            packets_in: field("packets_in")?,
            packets_out: field("packets_out")?,
            known: field("known")?,
            failed: field("failed")?,
        })
    }
}

/// A client's key for one direction. It protects nothing: everybody can know it.
pub fn key(client: u16, down: bool) -> LessSafeKey {
    let mut bytes = [u8::from(down); 16];
    let [low, high] = client.to_le_bytes();
    (bytes[0], bytes[1]) = (low, high);
    UnboundKey::new(&AES_128_GCM, &bytes).map(LessSafeKey::new).unwrap_or_else(|_| unreachable!("16 bytes are a key"))
}

/// The nonce of a packet's number, as far as the header has it.
fn nonce(number: [u8; 2]) -> Nonce {
    let mut bytes = [0; 12];
    [bytes[10], bytes[11]] = number;
    Nonce::assume_unique_for_key(bytes)
}

/// Lengths whose mean is what was asked for, and that fit into a datagram.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    mean: f64,
    owed: f64,
}

impl Lengths {
    const fn new(mean: f64) -> Self {
        Self { mean, owed: 0.0 }
    }

    fn next(&mut self, header: usize) -> usize {
        self.owed += self.mean;
        let whole = self.owed.floor();
        self.owed -= whole;
        (whole as usize).clamp(header + TAG, netcode::packet::MAX_DATAGRAM)
    }
}

/// Writes the head into a buffer and seals what follows it, up to `len` bytes in all.
fn seal(key: &LessSafeKey, number: u16, header: &[u8], datagram: &mut [u8], len: usize) -> Option<()> {
    let (head, rest) = datagram.get_mut(..len)?.split_at_mut_checked(header.len())?;
    head.copy_from_slice(header);
    let (body, place) = rest.split_at_mut_checked(rest.len().checked_sub(TAG)?)?;
    let tag = key.seal_in_place_separate_tag(nonce(number.to_le_bytes()), Aad::from(&*head), body).ok()?;
    place.copy_from_slice(tag.as_ref());
    Some(())
}

/// Measures the floor of what the server moved in that run.
pub fn measure(setup: &Setup, run: &Figures, stop: &Stop) -> Result<Floor, Error> {
    let measured = setup.seconds.min(MAX_SECONDS);
    let limit = measured + 60.0;
    let load = Load {
        players: setup.players,
        watched: setup.full_bots.min(setup.players),
        hz: setup.tick_hz,
        down_per_s: run.get("packets_out_per_s"),
        down_bytes: run.get("datagram_out_bytes"),
        up_per_s: run.get("packets_in_per_s"),
        up_bytes: run.get("datagram_in_bytes"),
        limit,
    };
    let mut server = Process::start("the floor", load.command("floor-serve")?, &setup.server_cores)?;
    let addr: SocketAddr =
        server.wait_for(Stream::Out, "say where it listens", PATIENCE, stop, |line| line.parse().ok())?;
    let mut command = load.command("floor-pump")?;
    command.args(["--server", &addr.to_string()]);
    let mut pump = Process::start("the floor's clients", setup.for_bots(command), &setup.bots_cores)?;
    let mut second = |server: &mut Process| {
        pump.skim(Stream::Err)?;
        server.wait_for(Stream::Out, "count", PATIENCE, stop, Counts::parse)
    };
    let mut settled = 0;
    let mut first = Counts::default();
    while settled < SETTLE {
        first = second(&mut server)?;
        settled += usize::from(first.known == u64::from(load.players));
    }
    let read = Error::system::<std::io::Error>;
    let (from, before) = (now(), Usage::of(server.pid()).map_err(read("read /proc"))?);
    let mut last = first;
    while from.elapsed().as_secs_f64() < measured - 0.5 {
        last = second(&mut server)?;
    }
    let seconds = from.elapsed().as_secs_f64();
    let used = Usage::of(server.pid()).map_err(Error::system("read /proc"))?.since(&before);
    if last.failed > first.failed {
        return Err(server.failed(format!("could not open or send {} datagrams", last.failed - first.failed)));
    }
    let each = f64::from(load.players) * (last.ticks - first.ticks).max(1) as f64;
    Ok(Floor {
        us_per_player_tick: used.cpu_us / each,
        user_us_per_player_tick: used.user_us / each,
        packets_in_per_s: (last.packets_in - first.packets_in) as f64 / seconds,
        packets_out_per_s: (last.packets_out - first.packets_out) as f64 / seconds,
    })
}

impl Load {
    /// This very program, with that hidden command.
    fn command(&self, name: &str) -> Result<Command, Error> {
        let program = std::env::current_exe().map_err(Error::system("find this program"))?;
        let mut command = Command::new(program);
        let numbers = [self.down_per_s, self.down_bytes, self.up_per_s, self.up_bytes, self.limit];
        let names = ["--down-per-s", "--down-bytes", "--up-per-s", "--up-bytes", "--limit"];
        command.args([name, "--players", &self.players.to_string(), "--watched", &self.watched.to_string()]);
        command.args(["--hz", &self.hz.to_string()]);
        for (name, number) in names.into_iter().zip(numbers) {
            command.args([name, &number.to_string()]);
        }
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_mean_that_was_asked_for() {
        let mut lengths = Lengths::new(150.25);
        let sum: usize = (0..1000).map(|_| lengths.next(DOWN_HEADER)).sum();
        assert_eq!(sum, 150_250);
        assert_eq!(Lengths::new(1.0).next(UP_HEADER), UP_HEADER + TAG);
    }

    #[test]
    fn what_is_sealed_opens_with_the_key_of_that_client_and_direction_only() {
        let mut datagram = [0; 64];
        assert_eq!(seal(&key(3, false), 7, &[0x40, 1, 2], &mut datagram, 60), Some(()));
        let open = |key: LessSafeKey, number: u16| {
            let mut body = datagram[3..60].to_vec();
            key.open_in_place(nonce(number.to_le_bytes()), Aad::from(&datagram[..3]), &mut body).is_ok()
        };
        assert!(open(key(3, false), 7));
        assert!(!open(key(3, true), 7) && !open(key(4, false), 7) && !open(key(3, false), 8));
        assert_eq!(seal(&key(3, false), 7, &[0; 7], &mut datagram, 20), None);
    }

    #[test]
    fn counts_are_read_as_they_are_written() {
        let counts = Counts { ticks: 1, packets_in: 2, packets_out: 3, known: 4, failed: 5 };
        assert_eq!(Counts::parse(&counts.json().to_string()), Some(counts));
    }
}

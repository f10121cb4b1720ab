//! The flood, seen from the one client that makes it.

use std::io;

use benches::peer::{CONNECT_TIMEOUT, FLOOD_BYTES, Kind, Message, Template, Usage, Workload, failure, nanos};
use benches::peer::{now_ns, sleep_until};
use netcode::crypto::OsEntropy;
use serde_json::{Value, json};

use crate::player::Player;

/// Messages between two flushes.
const BURST: usize = 64;
/// Quiet before the flood, and after it, so that what waits goes out.
const SETTLE: u64 = 500_000_000;
const NAP: u64 = 1_000_000;

#[expect(clippy::disallowed_methods, reason = "a client's keys are drawn from the system's entropy")]
pub fn run(workload: &Workload) -> io::Result<Value> {
    let mut player = Player::connect(workload, 0, &mut OsEntropy::new())?;
    let deadline = now_ns() + nanos(CONNECT_TIMEOUT);
    while !player.is_connected() {
        serve(&mut player, now_ns() + NAP);
        if now_ns() > deadline {
            return Ok(failure("not connected", 0));
        }
    }
    serve(&mut player, now_ns() + SETTLE);
    let (mut sent, mut template, begin) = (0u64, Template::default(), Usage::now());
    let end = begin.wall_ns + u64::from(workload.secs) * 1_000_000_000;
    while now_ns() < end {
        for _ in 0..BURST {
            let sent_ns = now_ns();
            let sequence = sent as u32;
            let message = Message { kind: Kind::Unreliable, counts: true, sequence, sent_ns, tick_ns: 0, client: 0 };
            if !player.send(sent_ns, Kind::Unreliable, template.fill(&message, FLOOD_BYTES)) {
                break;
            }
            sent += 1;
        }
        player.run(now_ns());
        player.receive(|_| {});
    }
    let (wall, cpu) = Usage::now().since(&begin);
    serve(&mut player, now_ns() + SETTLE);
    Ok(json!({ "ok": true, "sent": sent, "cpu_s_per_s": cpu / wall }))
}

/// Keeps the connection going until then.
fn serve(player: &mut Player, until: u64) {
    while now_ns() < until {
        player.run(now_ns());
        player.receive(|_| {});
        sleep_until(now_ns() + NAP);
    }
}

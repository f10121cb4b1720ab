//! The flood, seen from the server.

use std::io;

use benches::peer::{FLOOD_BYTES, Usage, Workload, failure, now_ns, rss_kb, sleep_until, time};
use serde_json::{Value, json};

use crate::say;
use crate::world::World;

/// The flood is over when nothing came for so long, and given up when none came so long after its end.
const SILENCE: u64 = 1_000_000_000;
const PATIENCE: u64 = 30_000_000_000;
/// How often the engine is polled.
const POLL: u64 = 1_000_000;

pub fn run(workload: &Workload) -> io::Result<Value> {
    let mut world = World::bind(workload)?;
    say("LISTENING")?;
    if !world.accept(1)? {
        return Ok(failure("not all clients connected", world.players()));
    }
    let give_up = now_ns() + u64::from(workload.secs) * 1_000_000_000 + PATIENCE;
    let (mut received, mut first, mut last) = (0u64, None, None::<Usage>);
    loop {
        let (before, had) = (Usage::now(), received);
        world.poll(|bytes| received += u64::from(bytes.len() == FLOOD_BYTES))?;
        let now = now_ns();
        if received > had {
            first.get_or_insert(before);
            last = Some(Usage::now());
            // The acks, without which the client's rate would be found too high.
            world.transmit(time(now), 0);
            world.flush();
        }
        if last.map_or(now > give_up, |last| now.saturating_sub(last.wall_ns) > SILENCE) {
            break;
        }
        sleep_until(now + POLL);
    }
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(failure("no flood message arrived", world.players()));
    };
    let (wall, cpu) = last.since(&first);
    Ok(json!({
        "ok": true,
        "recv": received,
        "wall_s": wall,
        "msgs_per_s": received as f64 / wall,
        "cpu_s_per_s": cpu / wall,
        "cpu_ns_per_msg": cpu * 1e9 / received as f64,
        "rss_kb": rss_kb(),
    }))
}

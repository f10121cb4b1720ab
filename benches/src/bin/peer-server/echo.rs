//! The echo workload, seen from the server.

use core::ops::Range;
use std::io;

use benches::peer::{Counts, GRACE, Kind, Message, RELIABLE_BYTES, RELIABLE_EVERY, TICK, Template, Usage, Workload};
use benches::peer::{failure, nanos, now_ns, rss_kb, sleep_until, time};
use serde_json::{Value, json};

use crate::say;
use crate::world::World;

/// Bytes of an unreliable message to a client.
const DOWN_BYTES: usize = 200;

/// Ticks and what they used.
struct Run {
    window: Range<u64>,
    tick: u64,
    ticks: u64,
    skipped: u64,
    begin: Option<Usage>,
    end: Option<Usage>,
    counts: Counts,
    template: Template,
}

pub fn run(workload: &Workload, poll_ms: u16) -> io::Result<Value> {
    let mut world = World::bind(workload)?;
    say("LISTENING")?;
    if !world.accept(workload.clients())? {
        return Ok(failure("not all clients connected", world.players()));
    }
    let start = now_ns();
    let mut run = Run::new(workload, start);
    let (mut next_tick, mut next_poll) = (start, start);
    let poll = u64::from(poll_ms) * 1_000_000;
    loop {
        let now = now_ns();
        if now >= run.window.end + nanos(GRACE) {
            break;
        }
        let counts = &mut run.counts;
        world.poll(|bytes| {
            if let Some(message) = Message::read(bytes) {
                counts.on_received(message.client as usize, &message);
            }
        })?;
        if now >= next_tick {
            run.tick(&mut world, now)?;
            next_tick += nanos(TICK);
            // Late ticks are dropped, not made up.
            while next_tick < now_ns() {
                next_tick += nanos(TICK);
                run.skipped += u64::from(run.counts_at(now));
            }
        }
        next_poll = (next_poll + poll).max(now_ns());
        sleep_until(next_poll.min(next_tick));
    }
    Ok(run.report(workload, world.players()))
}

impl Run {
    fn new(workload: &Workload, start: u64) -> Self {
        Self {
            window: workload.window(start),
            tick: 0,
            ticks: 0,
            skipped: 0,
            begin: None,
            end: None,
            counts: Counts::new(workload.clients()),
            template: Template::default(),
        }
    }

    fn counts_at(&self, now: u64) -> bool {
        self.window.contains(&now)
    }

    /// One tick, which began at `now`. The window's edges fall on ticks.
    fn tick(&mut self, world: &mut World, now: u64) -> io::Result<()> {
        let counts = self.counts_at(now);
        if counts && self.begin.is_none() {
            self.begin = Some(Usage::now());
            say("MEASURE")?;
        }
        if now >= self.window.end && self.end.is_none() {
            self.end = Some(Usage::now());
        }
        self.tick += 1;
        self.ticks += u64::from(counts);
        world.set_tick(self.tick);
        let tick_ns = now_ns();
        for at in 0..world.players() {
            self.send(world, at, Kind::Unreliable, DOWN_BYTES, tick_ns, counts);
            if (self.tick + at as u64).is_multiple_of(RELIABLE_EVERY) {
                self.send(world, at, Kind::Reliable, RELIABLE_BYTES, tick_ns, counts);
            }
            world.transmit(time(now_ns()), at);
        }
        world.flush();
        Ok(())
    }

    fn send(&mut self, world: &mut World, at: usize, kind: Kind, len: usize, tick_ns: u64, counts: bool) {
        let (sequence, sent_ns) = (self.tick as u32, now_ns());
        let message = Message { kind, counts, sequence, sent_ns, tick_ns, client: at as u32 };
        if world.send(time(sent_ns), at, kind, self.template.fill(&message, len)) {
            self.counts.on_sent(&message);
        }
    }

    fn report(self, workload: &Workload, connected: usize) -> Value {
        let end = self.end.unwrap_or_else(Usage::now);
        let (wall, cpu) = end.since(&self.begin.unwrap_or(end));
        let client_ticks = f64::from(workload.clients()) * self.ticks as f64;
        let mut report = json!({
            "ok": true,
            "connected": connected,
            "wall_s": wall,
            "cpu_s_per_s": cpu / wall,
            "ticks": self.ticks,
            "skipped_ticks": self.skipped,
            "cpu_us_per_client_tick": cpu * 1e6 / client_ticks,
            "rss_kb": rss_kb(),
        });
        if let Some(report) = report.as_object_mut() {
            report.extend(self.counts.json());
        }
        report
    }
}

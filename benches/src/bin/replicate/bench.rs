//! A run: the zone, the worker, the links and the witnesses, tick by tick.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use server::replication::ReplicaStats;
use sim::Frame;

use crate::figures::{Figures, Sample, Traffic};
use crate::link::{Link, Settled};
use crate::screen::{RENDER_TICKS, Screen};
use crate::setup::{Error, Setup};
use crate::witness::{Seen, Witness};
use crate::worker::{STEPS, Step, Worker};
use crate::zone::Zone;

/// Clients that decode.
const WITNESSES: u16 = 4;
/// Ticks before the first one that counts, at the least and at the most; in between until the clients know no more.
const SETTLE_TICKS: u64 = 60;
const MAX_SETTLE_TICKS: u64 = 2000;
/// The clients know no more when so many ticks brought nobody new.
const QUIET_TICKS: u64 = 50;
/// Ticks at the start of a turn that are not timed.
const WARM_TICKS: u64 = 2;
/// Laps that are timed to learn what a lap costs.
const TRIAL_LAPS: u32 = 100_000;

/// Runs of the same kind, by turns, so that whatever else the machine does disturbs all of them alike.
///
/// # Errors
/// A setup that cannot be, or a client whose view is not the server's frame.
pub fn run(setups: &[Setup]) -> Result<Vec<Figures>, Error> {
    let mut benches = Vec::new();
    for setup in setups {
        let mut bench = Bench::new(setup)?;
        bench.settle()?;
        benches.push(bench);
    }
    while benches.iter().any(|bench| bench.left > 0) {
        benches.iter_mut().try_for_each(Bench::turn)?;
    }
    Ok(benches.into_iter().map(Bench::figures).collect())
}

/// Everything that takes part.
struct Bench {
    setup: Setup,
    zone: Zone,
    worker: Worker,
    link: Link,
    witnesses: Vec<Witness>,
    settled: Vec<Settled>,
    seen: Seen,
    screen: Screen,
    /// The newest frames, down to the one that is drawn.
    past: VecDeque<Arc<Frame>>,
    tick: u64,
    settle_ticks: u64,
    lap_nanos: f64,
    /// Ticks that are still to be measured, and that a turn has.
    left: u64,
    block: u64,
    samples: Vec<Sample>,
    traffic: Traffic,
    known: Vec<f64>,
    before: ReplicaStats,
}

impl Bench {
    fn new(setup: &Setup) -> Result<Self, Error> {
        let clients = setup.clients()?;
        let mut zone = Zone::new(setup)?;
        let owned = zone.some(clients);
        let first = zone.step();
        let tick = first.tick;
        let count = WITNESSES.min(clients);
        let chosen = (0..count).map(|at| u32::from(at) * u32::from(clients) / u32::from(count));
        let witness = |client: u32| Some(Witness::new(setup, client as u16, *owned.get(client as usize)?));
        Ok(Self {
            setup: *setup,
            zone,
            worker: Worker::new(setup, first, &owned),
            link: Link::new(setup, clients),
            witnesses: chosen.filter_map(witness).collect(),
            settled: Vec::new(),
            seen: Seen::default(),
            screen: Screen::new(setup.rate),
            past: VecDeque::new(),
            tick,
            settle_ticks: 0,
            lap_nanos: lap_nanos(),
            left: u64::from(setup.seconds) * u64::from(setup.rate),
            block: setup.replication().0.aoi.crowd_refresh_ticks(),
            samples: Vec::new(),
            traffic: Traffic::new(clients),
            known: Vec::new(),
            before: ReplicaStats::default(),
        })
    }

    /// Runs until the clients know whom they are to know; what counts begins afterwards.
    fn settle(&mut self) -> Result<(), Error> {
        let (mut most, mut grown_at) = (0, 0);
        while self.settle_ticks < MAX_SETTLE_TICKS
            && (self.settle_ticks < SETTLE_TICKS || self.settle_ticks < grown_at + QUIET_TICKS)
        {
            self.settle_ticks += 1;
            self.tick(self.settle_ticks.is_multiple_of(2))?;
            let known = self.worker.known();
            if known > most + most / 200 {
                (most, grown_at) = (known, self.settle_ticks);
            }
        }
        (self.seen, self.screen) = (Seen::default(), Screen::new(self.setup.rate));
        (self.worker.body_bytes, self.before) = (0, self.worker.stats());
        Ok(())
    }

    /// Measures a block of ticks. The first ones, which find other runs in the caches, are not timed.
    fn turn(&mut self) -> Result<(), Error> {
        for tick in 0..(self.block + WARM_TICKS).min(self.left) {
            let sample = self.tick(tick % 2 == 1)?;
            self.left -= 1;
            if tick >= WARM_TICKS {
                self.samples.push(sample);
            }
            self.traffic.add(&self.worker.lens);
            if self.left.is_multiple_of(u64::from(self.setup.rate)) {
                self.traffic.end_second();
                self.known.push(self.worker.known() as f64);
            }
        }
        Ok(())
    }

    fn figures(self) -> Figures {
        let (own, shared) = self.worker.memory();
        Figures {
            setup: self.setup,
            clients: self.worker.clients(),
            settle_ticks: self.settle_ticks,
            samples: self.samples,
            block: self.block,
            traffic: self.traffic,
            body_bytes: self.worker.body_bytes,
            stats: [self.before, self.worker.stats()],
            seen: self.seen,
            screen: self.screen,
            known: self.known.iter().sum::<f64>() / self.known.len().max(1) as f64,
            crowded: self.worker.crowded(),
            memory: [own, shared],
        }
    }

    /// One tick. With `laps` the way to each datagram is timed step by step.
    fn tick(&mut self, laps: bool) -> Result<Sample, Error> {
        self.tick += 1;
        let Self { setup, zone, worker, link, witnesses, settled, seen, screen, past, tick, lap_nanos, .. } = self;
        link.hear(*tick, settled);
        zone.plan();
        let (frame, step) = time(|| zone.step());
        let published = Arc::clone(&frame);
        let ((), acks) = time(|| worker.settle(settled));
        let ((), push) = time(|| worker.push(published));
        if let Some(tables) = worker.push_tables() {
            witnesses.iter_mut().try_for_each(|witness| witness.take_tables(&tables))?;
        }
        let mut keep = |client: u16, body: &[u8]| {
            if let Some(witness) = witnesses.iter_mut().find(|witness| witness.client() == client) {
                witness.keep(body);
            }
        };
        let mut watch = Stopwatch::start();
        let ((), mut send) = if laps {
            time(|| worker.send(link, *tick, &mut |step| watch.lap(step), &mut keep))
        } else {
            time(|| worker.send(link, *tick, &mut |_| {}, &mut keep))
        };
        let laps = laps.then(|| {
            send -= *lap_nanos * STEPS as f64 * f64::from(worker.clients());
            watch.nanos.map(|nanos| (nanos - *lap_nanos * f64::from(worker.clients())).max(0.0))
        });
        past.truncate(RENDER_TICKS);
        past.push_front(Arc::clone(&frame));
        let mut witness = witnesses.iter_mut().peekable();
        for client in 0..worker.clients() {
            let arrives = setup.serves(client, *tick) && link.send(client, *tick, *tick);
            let Some(witness) = witness.next_if(|witness| witness.client() == client) else { continue };
            if arrives {
                witness.arrive(setup, &frame, seen)?;
            }
            witness.wait(&frame, seen);
            if let Some(drawn) = past.get(RENDER_TICKS) {
                witness.draw(drawn, screen);
            }
        }
        Ok(Sample { step, push, acks, send, laps })
    }
}

/// The nanoseconds of each step, over all clients.
struct Stopwatch {
    last: Instant,
    nanos: [f64; STEPS],
}

impl Stopwatch {
    fn start() -> Self {
        Self { last: now(), nanos: [0.0; STEPS] }
    }

    fn lap(&mut self, step: Step) {
        let now = now();
        self.nanos[step as usize] += (now - self.last).as_nanos() as f64;
        self.last = now;
    }
}

/// What a lap costs by itself.
fn lap_nanos() -> f64 {
    let mut watch = Stopwatch::start();
    let ((), nanos) = time(|| (0..TRIAL_LAPS).for_each(|_| watch.lap(std::hint::black_box(Step::Seal))));
    nanos / f64::from(TRIAL_LAPS)
}

#[expect(clippy::disallowed_methods, reason = "this binary measures time")]
fn now() -> Instant {
    Instant::now()
}

/// What comes of it, and how long it takes in nanoseconds.
fn time<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = now();
    let result = run();
    (result, start.elapsed().as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Scenario;
    use crate::setup::tests::setup;

    fn run_one(setup: &Setup) -> Figures {
        run(&[*setup]).unwrap().remove(0)
    }

    #[test]
    fn every_scenario_runs_and_the_witnesses_agree_with_the_frames() {
        for scenario in Scenario::ALL {
            let figures = run_one(&setup(150, scenario));
            assert_eq!((figures.clients, figures.samples.len()), (150, 18));
            assert_eq!(figures.seen.snapshots, 4 * 20);
            assert!(figures.seen.compared > 4 * 20 * 5, "{scenario:?}: {:?}", figures.seen);
            assert!(figures.get("us_per_client_tick") > 0.0 && figures.get("bytes_per_s_max") < 32_000.0);
        }
    }

    #[test]
    fn losses_cost_snapshots_but_no_agreement() {
        let lossy = Setup { loss: 20.0, seconds: 5, ..setup(100, Scenario::Spread) };
        let figures = run_one(&lossy);
        assert!((280..360).contains(&figures.seen.snapshots), "{:?}", figures.seen);
        assert!(figures.seen.worst_wait > 2);
    }

    #[test]
    fn the_same_seed_sends_the_same_bytes_and_another_others() {
        let bytes = |seed| run_one(&Setup { seed, ..setup(100, Scenario::Spread) }).body_bytes;
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_few_clients_of_many_players_see_as_many_as_all_do() {
        let all = run_one(&setup(300, Scenario::Spread));
        let few = run_one(&Setup { clients: Some(30), ..setup(300, Scenario::Spread) });
        assert_eq!(few.clients, 30);
        let [all, few] = [all, few].map(|figures| figures.get("visible"));
        assert!((all / few - 1.0).abs() < 0.4 && (8.0..25.0).contains(&all), "{all} and {few} visible");
    }
}

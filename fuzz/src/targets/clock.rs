//! A client's estimate of its server's clock, fed with whatever a server may answer: it never panics, never falls, never
//! jumps after the first answer, and keeps within 3 % of the speed of a clock.

use std::time::Duration;

use netcode::Time;
use netcode::clock::{MIN_INTERVAL, ServerClock};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    First => "the first answer",
    Asked => "a question",
    AtOnce => "a question that wants its answer at once",
    Honest => "an answer of an honest server",
    Wild => "an answer of nonsense",
    Fast => "a clock that catches up",
    Slow => "a clock that lets the server catch up",
    Far => "a time that is far off",
    Drift => "a drift",
}

/// 3 %, and 620 ppm of drift, in parts per million.
const MOST_PPM: i128 = 30_700;
/// The client's clock ends here, after 35,000 years.
const END: u64 = 1 << 60;

struct World {
    clock: ServerClock,
    now: u64,
    /// When the clock was last asked, and what it said.
    told: Option<(u64, u64)>,
    last_request: Option<u64>,
}

/// The target. The first bytes choose when it begins and how far the server's clock is off.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let choice = program.u8();
    let start = program.u64() >> (4 + u32::from(choice & 31));
    let offset = (program.u64() >> (4 + u32::from(choice >> 3 & 31))) as i64;
    let mut world = World { clock: ServerClock::new(), now: start, told: None, last_request: None };
    while !program.is_empty() {
        let op = program.u8();
        match op % 8 {
            0 => world.wait(u64::from(program.u16())),
            1 => world.wait(program.u64() >> (op >> 3 << 1)),
            2 => world.ask(),
            3..=6 => {
                // Jitter, hold and drift of an honest path, in units that reach some tens of milliseconds.
                let (up, down, hold) = (program.u8(), program.u8(), program.u8());
                world.honest(offset, u64::from(up) * 100, u64::from(down) * 100, u64::from(hold) * 100, op >> 3);
            }
            _ => {
                let back = program.u64() >> (op >> 3 << 1);
                let (received, hold) = (program.u64(), program.u64());
                world.wild(back, received, hold >> (op >> 3 << 1));
            }
        }
        world.look();
    }
}

impl World {
    fn wait(&mut self, micros: u64) {
        self.now = self.now.saturating_add(micros).min(END);
    }

    fn ask(&mut self) {
        let now = Time::from_micros(self.now);
        let due = self.clock.next_time();
        let Some(at_once) = self.clock.poll_request(now) else {
            assert!(due > now, "a question that is due is not asked");
            return;
        };
        reach(if at_once { Feature::AtOnce } else { Feature::Asked });
        // A new path starts anew, so at once only once per answer.
        if let Some(last) = self.last_request.replace(self.now) {
            assert!(self.now - last >= MIN_INTERVAL.as_micros() as u64, "questions without end");
        }
        assert!(self.clock.next_time() > now);
    }

    /// An exchange that an honest server's clock explains; the drift is in units of 20 ppm.
    fn honest(&mut self, offset: i64, up: u64, down: u64, hold: u64, drift: u8) {
        reach(Feature::Honest);
        let sent = self.now;
        self.wait(up + hold + down);
        let at_server = sent.saturating_add(up);
        let drifted = (u128::from(at_server) * u128::from(drift) * 20 / 1_000_000) as u64;
        let received = at_server.saturating_add_signed(offset).saturating_add(drifted);
        self.reply(sent, received, hold);
    }

    fn wild(&mut self, back: u64, received: u64, hold: u64) {
        reach(Feature::Wild);
        self.reply(self.now.saturating_sub(back), received, hold);
    }

    fn reply(&mut self, sent: u64, received: u64, hold: u64) {
        let before = self.clock.server_time(Time::from_micros(self.now));
        self.look();
        self.clock.on_reply(
            Time::from_micros(self.now),
            Time::from_micros(sent),
            Time::from_micros(received),
            Duration::from_micros(hold),
        );
        // An answer may start a new path, which asks at once.
        self.last_request = None;
        let after = self.clock.server_time(Time::from_micros(self.now));
        match (before, after) {
            (None, Some(_)) => reach(Feature::First),
            (Some(_), None) => panic!("the clock is forgotten"),
            _ => {}
        }
    }

    /// The clock since it was last looked at.
    fn look(&mut self) {
        let Some(told) = self.clock.server_time(Time::from_micros(self.now)).map(Time::as_micros) else { return };
        if let Some((then, before)) = self.told {
            assert!(told >= before, "the clock fell from {before} to {told}");
            let (passed, went) = (i128::from(self.now - then), i128::from(told - before));
            let off = (went - passed) * 1_000_000;
            assert!(off.abs() <= passed * MOST_PPM + 2_000_000, "{went} µs in {passed}");
            if off > passed * 20_000 {
                reach(Feature::Fast);
            } else if off < -passed * 20_000 {
                reach(Feature::Slow);
            }
            bucket((off.signum() + 1) as u64 | u64::from(passed.ilog2_or_zero()) << 2);
        }
        if told.abs_diff(self.now) > 1 << 50 {
            reach(Feature::Far);
        }
        if self.clock.drift_ppm().unsigned_abs() > 10 {
            reach(Feature::Drift);
        }
        assert!(self.clock.drift_ppm().abs() <= 1000 && self.clock.uncertainty().is_some());
        self.told = Some((self.now, told));
    }
}

trait Log2 {
    fn ilog2_or_zero(self) -> u32;
}

impl Log2 for i128 {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

/// Honest servers near and far, slow and fast, then jumps, nonsense, and the end of time.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = |shift: u8, now: u64, offset: u64| Script::default().u8(shift).u64(now).u64(offset);
    let turn = |script: Script, up: u8, down: u8, drift: u8| {
        script.u8(2).u8(3 | drift << 3).u8(up).u8(down).u8(1).u8(0).u16(20_000)
    };
    let run = |script: Script, drift: u8| {
        (0..60u8).fold(script, |script, at| turn(script, 50 + at % 6 * 7, 90 - at % 50, drift))
    };
    let jump = |script: Script| script.u8(7).u64(1000).u64(u64::MAX >> 5).u64(10);
    let mut scripts = vec![
        run(start(31, 1 << 62, 1 << 60), 0),
        run(start(0, 0, 0), 15),
        run(start(4, 1 << 40, 1 << 62), 31),
        run(jump(run(start(0, 0, 1 << 30), 0)), 0),
        // The server's clock jumps forth and back within an otherwise honest run.
        run(run(start(0, 0, 0), 0).u8(7 | 31 << 3).u64(0).u64(1 << 30).u64(0), 0),
        run(start(0, 0, 0).u8(7).u64(0).u64(5_000_000).u64(0), 0),
        run(start(0, 0, 0), 0).u8(1).u64(u64::MAX).u8(2).u8(3).u8(1).u8(1).u8(1),
        // A path that becomes longer, and shorter again.
        (0..60u8)
            .fold(run(start(0, 0, 0), 0), |script, _| turn(script, 255, 255, 0).u8(0).u16(60_000).u8(0).u16(60_000)),
    ];
    scripts.push(run(scripts[7].clone(), 0));
    scripts.into_iter().map(|script| script.0).collect()
}

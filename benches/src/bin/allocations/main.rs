//! Allocations of the data path: what arrives, the world's step, its frame, what is sent. There is none per tick, packet or
//! entity; what is left is memory that has to grow because somebody sees more, or is told more at once, than ever before.
//!
//! A zone, a shard and clients on a perfect network ([`benches::rig`]); the clients' own are not counted. All come in so
//! close together that everybody sees everybody, which is the warm-up: what a client knows, and what an entity's viewers are, is at its largest at
//! once. After that those who wander need nothing more. How many shots fly and how many events one client has coming in a
//! fight has no largest moment that could be had early, so there some tables still grow now and then, and none is given back.

use std::alloc::System;
use std::process::ExitCode;

use benches::rig::{Rig, RigConfig};
use bots::behavior::Behavior;
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often the server asks its allocator for memory. Exits with 1 where it does so at all; in a fight, where it gives any
/// back, or asks more than once in 500 packets.
#[derive(Debug, Parser)]
struct Args {
    /// Players, all connected and wandering. More than 128 are a crowd at first, whose tables still grow while it comes
    /// apart: that takes a longer warm-up.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    players: u16,
    /// How many others each would see, about, if all were spread evenly.
    #[arg(long, default_value_t = 15.0)]
    visible: f64,
    /// They fight where they came in, instead.
    #[arg(long)]
    fight: bool,
    /// Ticks before any is counted.
    #[arg(long, default_value_t = 400)]
    warm_up: u32,
    /// Ticks that are counted.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    ticks: u32,
}

/// Half the side of the square where all come in, in metres: its diagonal is less than the radius of the area of interest.
const SPAWN_HALF_EXTENT_M: u16 = 20;

/// The stages of a tick.
const STAGES: [&str; 4] = ["receive", "step", "publish", "transmit"];

/// What the server asked of its allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    /// How often for more; growing what it has is once, too.
    allocations: usize,
    /// For so many bytes in all.
    bytes: usize,
    /// How often it gave some back.
    freed: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = config(args.players, args.visible, args.fight);
    let counted = count(config, args.warm_up, args.ticks);
    println!("{:<10}{:>20}{:>20}{:>20}", "stage", "allocations", "bytes", "given back");
    for (stage, Asked { allocations, bytes, freed }) in STAGES.into_iter().zip(counted) {
        println!("{stage:<10}{allocations:>20}{bytes:>20}{freed:>20}");
    }
    let good = if args.fight { only_grows(&counted, args.players, args.ticks) } else { is_none(&counted) };
    ExitCode::from(u8::from(!good))
}

fn config(players: u16, visible: f64, fight: bool) -> RigConfig {
    let behavior = if fight { Behavior::Fight } else { Behavior::Wander };
    RigConfig { visible, behavior, spawn_half_extent_m: Some(SPAWN_HALF_EXTENT_M), ..RigConfig::new(players) }
}

fn is_none(counted: &[Asked]) -> bool {
    counted.iter().all(|asked| *asked == Asked::default())
}

/// Allocations per packet received and sent that growing memory may cost in a fight, at the most.
const PACKETS_PER_ALLOCATION: usize = 500;

fn only_grows(counted: &[Asked], players: u16, ticks: u32) -> bool {
    let packets = 2 * usize::from(players) * ticks as usize;
    let allocations: usize = counted.iter().map(|asked| asked.allocations).sum();
    counted.iter().all(|asked| asked.freed == 0) && allocations <= packets / PACKETS_PER_ALLOCATION
}

/// What was asked in so many ticks, by stage.
fn count(config: RigConfig, warm_up: u32, ticks: u32) -> [Asked; STAGES.len()] {
    let mut rig = Rig::new(config);
    while !rig.gather() {
        tick(&mut rig);
    }
    for _ in 0..warm_up {
        tick(&mut rig);
    }
    let mut sums = [Asked::default(); STAGES.len()];
    for _ in 0..ticks {
        for (sum, more) in sums.iter_mut().zip(tick(&mut rig)) {
            sum.allocations += more.allocations;
            sum.bytes += more.bytes;
            sum.freed += more.freed;
        }
    }
    rig.check();
    sums
}

fn tick(rig: &mut Rig) -> [Asked; STAGES.len()] {
    rig.play();
    let (receive, ()) = counted(|| rig.receive());
    let (step, frame) = counted(|| rig.step());
    let (publish, ()) = counted(|| rig.publish(frame));
    let (transmit, ()) = counted(|| rig.transmit());
    [receive, step, publish, transmit]
}

fn counted<T>(act: impl FnOnce() -> T) -> (Asked, T) {
    let region = Region::new(ALLOCATOR);
    let done = act();
    let change = region.change();
    let bytes = change.bytes_allocated as isize + change.bytes_reallocated.max(0);
    let allocations = change.allocations + change.reallocations;
    (Asked { allocations, bytes: bytes.max(0) as usize, freed: change.deallocations }, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test of this binary: another one's allocations would count, too.
    #[test]
    fn once_everybody_has_seen_everybody_nothing_is_allocated_any_more_and_in_a_fight_nothing_given_back() {
        let counted = count(config(100, 15.0, false), 400, 200);
        assert!(is_none(&counted), "{counted:?} of {STAGES:?}");
        let counted = count(config(40, 15.0, true), 1200, 200);
        assert!(only_grows(&counted, 40, 200), "{counted:?} of {STAGES:?}");
    }
}

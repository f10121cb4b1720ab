//! Allocations of the data path: what arrives, the world's step, its frame, what is sent. There is none per tick, packet or
//! entity; what is left is memory that has to grow because somebody sees more than ever before.
//!
//! A zone, a shard and wandering clients on a perfect network ([`benches::rig`]); the clients' own are not counted.

use std::alloc::System;
use std::process::ExitCode;

use benches::rig::{Rig, RigConfig};
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often the server asks its allocator for memory. Exits with 1 where it does so more than once in 500 packets.
#[derive(Debug, Parser)]
struct Args {
    /// Players, all connected and wandering.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    players: u16,
    /// How many others each sees, about.
    #[arg(long, default_value_t = 30.0)]
    visible: f64,
    /// Ticks before any is counted.
    #[arg(long, default_value_t = 400)]
    warm_up: u32,
    /// Ticks that are counted.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    ticks: u32,
}

/// The stages of a tick.
const STAGES: [&str; 4] = ["receive", "step", "publish", "transmit"];

fn main() -> ExitCode {
    let args = Args::parse();
    let config = RigConfig { visible: args.visible, ..RigConfig::new(args.players) };
    let counted = count(config, args.warm_up, args.ticks);
    println!("{:<10}{:>20}{:>20}", "stage", "allocations", "bytes");
    for (stage, [allocations, bytes]) in STAGES.into_iter().zip(counted) {
        println!("{stage:<10}{allocations:>20}{bytes:>20}");
    }
    ExitCode::from(u8::from(!is_rare(&counted, args.players, args.ticks)))
}

/// Allocations per packet received and sent that growing memory may cost, at the most.
const PACKETS_PER_ALLOCATION: usize = 500;

fn is_rare(counted: &[[usize; 2]; STAGES.len()], players: u16, ticks: u32) -> bool {
    let packets = 2 * usize::from(players) * ticks as usize;
    counted.iter().map(|[allocations, _]| allocations).sum::<usize>() <= packets / PACKETS_PER_ALLOCATION
}

/// Allocations (growing an old one is one, too) and their bytes in so many ticks, by stage.
fn count(config: RigConfig, warm_up: u32, ticks: u32) -> [[usize; 2]; STAGES.len()] {
    let mut rig = Rig::new(config);
    while !rig.gather() {
        tick(&mut rig);
    }
    for _ in 0..warm_up {
        tick(&mut rig);
    }
    let mut sums = [[0; 2]; STAGES.len()];
    for _ in 0..ticks {
        for (sum, more) in sums.iter_mut().zip(tick(&mut rig)) {
            *sum = [sum[0] + more[0], sum[1] + more[1]];
        }
    }
    rig.check();
    sums
}

fn tick(rig: &mut Rig) -> [[usize; 2]; STAGES.len()] {
    rig.play();
    let (receive, ()) = counted(|| rig.receive());
    let (step, frame) = counted(|| rig.step());
    let (publish, ()) = counted(|| rig.publish(frame));
    let (transmit, ()) = counted(|| rig.transmit());
    [receive, step, publish, transmit]
}

fn counted<T>(act: impl FnOnce() -> T) -> ([usize; 2], T) {
    let region = Region::new(ALLOCATOR);
    let done = act();
    let change = region.change();
    let bytes = change.bytes_allocated as isize + change.bytes_reallocated.max(0);
    ([change.allocations + change.reallocations, bytes.max(0) as usize], done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test of this binary: another one's allocations would count, too.
    #[test]
    fn in_steady_state_nothing_is_allocated_per_tick_packet_or_entity() {
        let counted = count(RigConfig { visible: 15.0, ..RigConfig::new(120) }, 250, 100);
        assert!(is_rare(&counted, 120, 100), "{counted:?} of {STAGES:?}");
        let [_, [steps, _], [publications, _], _] = counted;
        assert!(steps < 10 && publications < 10, "a frame is made in an old one's memory");
    }
}

//! The world's step where everybody fights: milliseconds, frame and digest included.
//!
//! Players run about, shoot at the nearest they see with every weapon there is, and take what lies around; NPCs hunt
//! them. Only the step is timed, not how the players make up their minds. It does not need the server.

// The same fighters as those of the simulation's tests.
#[path = "../../../../sim/tests/it/fighters.rs"]
mod fighters;

use std::process::ExitCode;
use std::time::Instant;

use benches::println;
use clap::Parser;
use fighters::Fighters;
use sim::event::What;
use sim::{MapConfig, SpawnError, World, WorldConfig};

/// Measures the step of a world where everybody fights.
#[derive(Parser)]
#[command(name = "fight")]
struct Args {
    /// Players.
    #[arg(long, default_value_t = 2000)]
    players: u32,
    /// NPCs.
    #[arg(long, default_value_t = 2000)]
    npcs: u32,
    /// Half the side of the square that they are spread over, m.
    #[arg(long, default_value_t = 256)]
    half_extent_m: u16,
    /// Ticks a second.
    #[arg(long, default_value_t = 20)]
    rate: u16,
    /// Ticks that are timed, after the first 100.
    #[arg(long, default_value_t = 400)]
    ticks: u32,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // All that can go wrong is in the flags.
            eprintln!("fight: {error}");
            ExitCode::from(2)
        }
    }
}

/// Why nobody fights.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no such world: {0}")]
    World(#[from] sim::ConfigError),
    #[error("player {number} found no place: {error}")]
    Spawn { number: u32, error: SpawnError },
}

#[expect(clippy::disallowed_methods, reason = "a bench measures wall time")]
fn run(args: &Args) -> Result<(), Error> {
    let map = MapConfig { half_extent_m: args.half_extent_m, boxes: 200, gates: 40, ramps: 40 };
    let config = WorldConfig {
        rate_hz: args.rate,
        map,
        npcs: args.npcs,
        max_entities: args.players.saturating_add(args.npcs).saturating_add(4096),
        spawn_half_extent_m: args.half_extent_m,
        ..WorldConfig::default()
    };
    let mut world = World::new(config)?;
    let spawn = |number| world.spawn_player().map_err(|error| Error::Spawn { number, error });
    let players = (0..args.players).map(spawn).collect::<Result<Vec<_>, _>>()?;
    let (mut fighters, mut times) = (Fighters::new(), Vec::new());
    let (mut shots, mut hits, mut deaths, mut entities) = (0, 0, 0, 0);
    for tick in 0..100 + args.ticks {
        fighters.decide(&world, &players);
        let start = Instant::now();
        world.step(&fighters.inputs);
        let took = start.elapsed();
        if tick >= 100 {
            times.push(took.as_secs_f64() * 1e3);
            entities += world.len();
            for (_, event) in world.events() {
                if let What::Shot { target, killed, .. } = event.what {
                    shots += 1;
                    hits += u32::from(target.is_some());
                    deaths += u32::from(killed);
                }
            }
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or(0.0);
    let ticks = f64::from(args.ticks.max(1));
    println!(
        "{} entities, a tick: {:.0} shots, {:.0} hits, {:.1} kills; step ms: median {:.2}, p99 {:.2}, max {:.2}",
        entities / times.len().max(1),
        f64::from(shots) / ticks,
        f64::from(hits) / ticks,
        f64::from(deaths) / ticks,
        at(0.5),
        at(0.99),
        at(1.0),
    );
    println!("digest {:016x}", world.digest());
    Ok(())
}

//! The halves of every kind of channel: receiving ones against hostile senders, and honest pairs over a network that the
//! input controls.
//!
//! Hostile: never more held than the quota, an error changes nothing, and what is delivered is what a model (or the order
//! of the events) allows. Honest: nothing is refused, and everything arrives exactly once, in order where that is promised.

mod blocks;
mod net;
mod parts;
mod reliable;

use crate::features;
use crate::program::{Program, Script};

features! {
    InOrder => "a segment that completes a message",
    Held => "a segment that is held",
    Again => "a segment that came before",
    Outside => "a segment outside the window",
    Shape => "a segment of a wrong length",
    Contradiction => "a segment at odds with its neighbours",
    LongRun => "a message that grows too long",
    Quota => "a segment beyond the quota",
    Sent => "a message sent",
    FullQueue => "a queue that is full",
    Lost => "a packet lost",
    Ghost => "a lost packet that came after all",
    Doubled => "a packet delivered twice",
    Probe => "a probe",
    Repeated => "a segment repeated early",
    Arrived => "all arrived",
    PartTaken => "a part taken",
    PartRefused => "a part refused",
    PartsWhole => "a message put together",
    GivenUp => "a message in parts given up",
    Dropped => "a message that made room",
    BlockStarted => "a block begun",
    BlockReceived => "a block received",
    BlockStopped => "a block stopped",
    BlockRefused => "a block frame refused",
    BlockHeld => "a chunk that is held",
    BlockSent => "a block sent",
    BlockTurnedDown => "a block turned down by its receiver",
    BlockProgress => "progress of a block",
    BlockPaused => "a block paused",
}

/// Limits of queues in bytes.
const LIMITS: [usize; 8] = [0, 1, 1500, 4096, 5000, 16_384, 70_000, 1 << 20];
/// Lengths of payloads at which something happens.
const LENGTHS: [usize; 8] = [0, 1, 63, 500, 1023, 1024, 1024, 1025];

/// The target. The first byte chooses the kind of channel and whether the sender is hostile.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    match program.u8() % 8 {
        0 | 1 => reliable::hostile(&mut program),
        2 => parts::hostile(&mut program),
        3 => blocks::hostile(&mut program),
        4 | 5 => reliable::honest(&mut program),
        6 => parts::honest(&mut program),
        _ => blocks::honest(&mut program),
    }
}

/// Of each kind a sender in order, with gaps and far off, and honest ones on a good and on a bad network.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut scripts: Vec<Script> = Vec::new();
    reliable::seeds(&mut scripts);
    parts::seeds(&mut scripts);
    blocks::seeds(&mut scripts);
    scripts.into_iter().map(|script| script.0).collect()
}

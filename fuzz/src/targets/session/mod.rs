//! An admitted client that seals whatever it likes, against the server's side of its connection.
//!
//! One connection per input, on its own keys, with every kind of channel. Each number is taken at most once and opens
//! under the key that the rules name; drops are counted once; the third malformed packet is the last; what is held keeps
//! the channels' limits; the address moves only to where a challenge was answered, and an address that has not answered
//! gets at most three times its own bytes; a snapshot is settled once, and as acknowledged only if an ack could name it;
//! everything the server sends opens under the next number and parses; after the end there is silence and the slot comes
//! back.

mod keys;
mod world;

use netcode::channel::Kind;
use netcode::error::CloseReason;
use netcode::frame::{Control, Head, write_control, write_message};
use netcode::packet::{AckBlock, C2S_HEADER, MAX_DATAGRAM};

use self::world::World;
use super::fixture::{self, BLOCK, DATAGRAM, ORDERED, STATE, UNORDERED};
use crate::features;
use crate::program::{Program, Script};

features! {
    Taken => "a packet taken",
    Duplicate => "a duplicate",
    TooOld => "a packet too old to tell",
    AuthFailed => "a packet sealed with other keys",
    Malformed => "a malformed packet",
    UnknownConnection => "another connection's id",
    Late => "a packet that was overtaken",
    Rolled => "a key rolled by the client",
    RolledTwice => "a key rolled twice, unseen",
    OldKey => "an overtaken packet of the phase before",
    OldKeyGone => "one that comes too late for its key",
    ServerRolled => "a key rolled by the server",
    Elsewhere => "a packet from another address",
    Challenged => "a path challenge",
    Moved => "an address that moved",
    WrongAnswer => "an answer that proves nothing",
    Acked => "a snapshot acknowledged",
    Lost => "a snapshot lost",
    Delivered => "a reliable message delivered",
    Parts => "a message in parts delivered",
    BlockIn => "bytes of a block from the client",
    BlockOut => "progress of a block to the client",
    ProtocolError => "closed for a protocol error",
    ByPeer => "closed by the client",
    IdleTimeout => "an idle timeout",
    Closed => "closed by the server",
    QueueFull => "a queue full of messages that nobody acknowledges",
    MtuProbe => "an MTU probe",
    TimeReply => "an answer with the time",
}

const MAX_STEPS: usize = 64;

/// The target. The first byte chooses cipher, worker and features.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut world = World::admitted(program.u8());
    for _ in 0..MAX_STEPS {
        if program.is_empty() {
            break;
        }
        let (op, flags) = (program.u8(), program.u8());
        match op % 14 {
            0 | 1 => {
                let plaintext = program.sized(MAX_DATAGRAM - C2S_HEADER - 16).to_vec();
                world.packet(flags, &plaintext);
            }
            2..=4 => {
                let plaintext = built(&mut program, world.next_from_server());
                world.packet(flags, &plaintext);
            }
            5 => world.again(usize::from(flags), op & 0x80 != 0),
            6 => world.snapshot(usize::from(flags)),
            7 => world.say(flags, usize::from(program.u16())),
            8 => world.wait(u64::from(program.u16()) >> (flags & 15)),
            9 if flags == 0xff => world.close(),
            9 => world.jump(u64::from(program.u16())),
            10 => world.late(flags),
            11 => world.answer(flags),
            12 => world.block(flags, usize::from(program.u16())),
            _ => world.roll(),
        }
    }
    world.end();
}

/// A plaintext in which every frame is well-formed: the input chooses acks, numbers and lengths.
fn built(program: &mut Program<'_>, next_from_server: u64) -> Vec<u8> {
    let (flags, back, mask) = (program.u8(), program.u8(), program.u32());
    let largest = next_from_server.wrapping_sub(1).wrapping_sub(u64::from(back >> 2)) as u16;
    let ack = (flags & 1 != 0).then_some(AckBlock { largest, delay: back, mask });
    fixture::plaintext(ack, |w| {
        for _ in 0..flags >> 1 & 7 {
            let (what, number) = (program.u8(), program.u8());
            let (body, id) = ([number; 1024], u16::from(number >> 4));
            let small = &body[..usize::from(what >> 4)];
            let (first, last) = (what & 0x10 != 0, what & 0x20 != 0);
            let segment = Head::Segment { number: u16::from(number), first, last };
            let len = if last { usize::from(what >> 6) } else { 1024 };
            let (index, end) = (number & 7, what >> 4 & 7);
            _ = match what % 11 {
                0 => fixture::write_input(w, small),
                1 => fixture::write_segment(w, u16::from(number), small),
                2 => write_message(w, ORDERED, Kind::ReliableOrdered, segment, &body[..len]),
                3 => write_message(w, UNORDERED, Kind::ReliableUnordered, segment, &body[..len]),
                4 => {
                    let head = Head::Part { id, index: index.min(end.max(1)), last: end.max(1) };
                    write_message(w, DATAGRAM, Kind::Unreliable, head, &body[..if index >= end { 9 } else { 1024 }])
                }
                5 => write_message(w, STATE, Kind::Sequenced, Head::Whole, small),
                6 => {
                    let index = u16::from(number & 15);
                    write_message(
                        w,
                        BLOCK,
                        Kind::Block,
                        Head::Chunk { id, total: 5000, index },
                        &body[..[1024, 904][usize::from(index == 4)]],
                    )
                }
                7 => write_message(
                    w,
                    BLOCK,
                    Kind::Block,
                    Head::Credit { id, limit: u16::from(what >> 4) << 4 | id },
                    &[],
                ),
                8 => write_message(w, BLOCK, Kind::Block, Head::Cancel { id, by_sender: first }, &[]),
                9 if w.remaining_bits() > 100 => {
                    write_control(w, Control::Close(CloseReason::Requested));
                    true
                }
                _ => {
                    if w.remaining_bits() > 200 {
                        write_control(
                            w,
                            if first { Control::Ping } else { Control::TimeRequest { at_once: last, sent: 5 } },
                        );
                    }
                    true
                }
            };
        }
    })
}

/// Flags of a packet.
const STRANGE: u8 = 1;
const ELSEWHERE: u8 = 2;
const OTHER_ID: u8 = 4;
const HELD_BACK: u8 = 8;

/// Each plaintext of the fixture, each way to be dropped, each end.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = || Script::default().u8(0);
    let packet = |script: Script, flags: u8, plaintext: &[u8]| script.u8(0).u8(flags).sized(plaintext);
    let snapshots = |script: Script, count: u8| (0..count).fold(script, |script, len| script.u8(6).u8(len));
    let wait = |script: Script, millis: u16| script.u8(8).u8(0).u16(millis);
    let frames = |script: Script, flags: u8, frames: &[u8]| {
        let count = (frames.len() / 2) as u8;
        script.u8(2).u8(flags).u8(1 | count << 1).u8(0).bytes(&[0xff; 4]).bytes(frames)
    };
    let ack = |script: Script, mask: u32| script.u8(2).u8(0).u8(1).u8(0).bytes(&mask.to_le_bytes());
    let plaintexts = fixture::plaintexts();
    let ping = &plaintexts[3];
    let mut scripts: Vec<Script> =
        plaintexts.iter().map(|plaintext| packet(snapshots(start(), 1), 0, plaintext)).collect();
    scripts.push(plaintexts.iter().fold(Script::default().u8(1), |script, plaintext| packet(script, 0, plaintext)));
    scripts.extend([STRANGE, ELSEWHERE, OTHER_ID, OTHER_ID | STRANGE].map(|flags| packet(start(), flags, ping)));
    scripts.push(packet(start(), 0, ping).u8(5).u8(0).u8(5).u8(1).u8(0x85).u8(1));
    scripts.push(packet(start().u8(9).u8(0).u16(1500), 0, ping).u8(5).u8(0).u8(5).u8(1));
    scripts.push(ack(snapshots(start(), 8), u32::MAX));
    scripts.push(ack(ack(snapshots(start(), 8), 0xff00_0003), 1));
    scripts.push(wait(snapshots(start(), 30), 3000));
    scripts.push(wait((0..20).fold(start(), |script, _| script.u8(7).u8(2).u16(1000)), 900));
    scripts.push((0..6).fold(start(), |script, _| packet(script, 0, &[0xff; 30])));
    scripts.push(wait(ack(start().u8(7).u8(2).u16(10).u8(9).u8(0xff), u32::MAX), 100));
    // An ack needs something to name.
    let sent = || snapshots(start(), 1);
    // Messages out of order, in parts, a block; everything acknowledged, so that the server's key rolls.
    scripts.push(frames(sent(), 0, &[0x17, 1, 0x17, 0, 0x39, 0, 0x2e, 2, 0x18, 1, 0x3a, 3]));
    scripts.push(frames(frames(sent(), 0, &[0x1a, 0x10]), 0, &[0x1a, 0x11, 0x1a, 0x21]));
    scripts.push((0..5).fold(sent(), |script, at| frames(script, 0, &[6, 0x10 | at, 0x15, 0])));
    scripts.push((0..12).fold(start(), |script, at| wait(frames(snapshots(script, 1), 0, &[0x3a, at]), 50)));
    scripts.push(
        (0..20).fold(start().u8(12).u8(0).u16(30_000), |script, _| wait(frames(script, 0, &[0x15, 0, 0x20, 0]), 80)),
    );
    scripts.push((0..6).fold(start(), |script, at| script.u8(7).u8(3 + at).u16(2500)).u8(8).u8(0).u16(500));
    // Words after the farewell.
    scripts.push(frames(sent(), 0, &[20, 0, 12, 0, 17, 1]));
    // Keys: rolled, rolled unseen, overtaken, too late.
    scripts.push(packet(packet(start(), 0, ping).u8(13).u8(0), 0, ping));
    scripts.push(packet(packet(start(), 0, ping).u8(13).u8(0).u8(13).u8(0), 0, ping));
    let overtaken = packet(packet(packet(start(), 0, ping), HELD_BACK, ping).u8(13).u8(0), 0, ping);
    scripts.push(overtaken.clone().u8(10).u8(0));
    scripts.push(wait(packet(wait(overtaken, 2000), 0, ping), 2000).u8(10).u8(0));
    // Another address: answered rightly, wrongly, from elsewhere; a copy that overtakes.
    let challenged = || wait(packet(start(), ELSEWHERE, ping), 20);
    scripts.extend([0, 1, 2, 4].map(|flags| challenged().u8(11).u8(flags).u8(6).u8(9)));
    scripts.push(wait(packet(start(), HELD_BACK, ping).u8(10).u8(0x80), 20).u8(6).u8(9));
    scripts.push(wait(challenged().u8(11).u8(0), 3500));
    scripts.into_iter().map(|script| script.0).collect()
}

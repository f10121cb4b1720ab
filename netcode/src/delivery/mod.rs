//! What the kinds of channels promise: the sending and the receiving half of each.
//!
//! - [`outbox`] and [`inbound`]: reliable messages, cut into segments that are numbered one after the other;
//! - [`fragments`]: unreliable messages in up to eight parts;
//! - [`blocks`]: large transfers under the receiver's credit.
//!
//! A sending half offers what is due to a closure that writes it into a packet; the connection remembers which packet
//! carried which number and says later whether it was acknowledged or lost. Packets are never resent, what they carried
//! is. Nothing here knows packets, time-outs or the wire's bits.
//!
//! Every receiving half holds at most a quota that its channel's `queue_bytes` determines (each has a `quota` function),
//! counted in bytes really held, and an honest sender with the same `queue_bytes` cannot reach it.

pub mod blocks;
pub mod fragments;
#[cfg(test)]
mod hostile;
pub mod inbound;
#[cfg(test)]
mod lossy;
pub mod outbox;
#[cfg(test)]
mod reliable_model;

pub use blocks::{BlockEvent, BlockFrame, Blocks};
pub use fragments::{Parts, Piece, Reassembly};
pub use inbound::{Ordered, Unordered};
pub use outbox::{Outbox, Segment};

/// Bytes of a segment, a part and a chunk: of each but a message's or block's last one.
pub const SEGMENT_BYTES: usize = 1024;
/// How many segments, from the lowest one not received, may be under way on a reliable channel.
pub const WINDOW: usize = 256;
/// The longest message of a reliable channel in bytes.
pub const MAX_RELIABLE: usize = 65_536;
/// The longest block in bytes.
pub const MAX_BLOCK: usize = 1 << 24;
/// The most parts of an unreliable message.
pub const MAX_PARTS: usize = 8;

/// The most segments of a reliable message.
const MAX_SEGMENTS: usize = MAX_RELIABLE / SEGMENT_BYTES;
/// What an allocation costs beyond its bytes, at most: the allocator's header and rounding.
const HEAP_BYTES: usize = 16;

const _: () = assert!(MAX_SEGMENTS <= WINDOW, "the longest message fits the window");

/// Something that no honest sender sends: beyond the window, the quota or the longest message, or at odds with what came
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfWindow;

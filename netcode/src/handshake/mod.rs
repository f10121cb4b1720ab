//! The four handshake datagrams: HELLO, RETRY, ACCEPT, REFUSE. Byte layouts as in SPEC.md, little endian.

mod accept;
mod hello;
mod refuse;
mod retry;

use crate::crypto::{PUBLIC_KEY_BYTES, TAG_BYTES};
use crate::packet::BASE_DATAGRAM;

pub use crate::version::{VERSION, Versions};
pub use accept::{Accepted, RawAccept, write_accept};
pub use hello::{Hello, RawHello};
pub use refuse::{Refusal, read_refuse, write_refuse};
pub use retry::{cookie, cookie_is_valid, read_retry, write_retry};

/// Bytes of a HELLO: as large as every path carries, so that no answer is ever larger.
pub const HELLO_BYTES: usize = BASE_DATAGRAM;
/// Bytes of a RETRY.
pub const RETRY_BYTES: usize = 52;
/// Bytes of an ACCEPT.
pub const ACCEPT_BYTES: usize = ACCEPT_HEAD + PARAMETER_BYTES + 2 * TAG_BYTES;
/// Bytes of a REFUSE.
pub const REFUSE_BYTES: usize = 36;
/// Bytes of a cookie: time 4, truncated HMAC 28.
pub const COOKIE_BYTES: usize = 32;
/// How long a cookie is taken, in seconds of the server's clock.
pub const COOKIE_SECONDS: u32 = 10;
/// Marks the protocol in every HELLO.
pub const PROTOCOL: [u8; 8] = *b"ZONEWIRE";

/// First byte of a HELLO.
pub const HELLO: u8 = 1;
/// First byte of a RETRY.
pub const RETRY: u8 = 2;
/// First byte of an ACCEPT.
pub const ACCEPT: u8 = 3;
/// First byte of a REFUSE.
pub const REFUSE: u8 = 4;

/// Where the cookie is in a HELLO: a client puts it there, and no MAC or hash covers it.
const COOKIE_AT: usize = 44;
const ACCEPT_HEAD: usize = 20 + PUBLIC_KEY_BYTES;
const PARAMETER_BYTES: usize = 68;

const _: () = assert!(ACCEPT_BYTES <= 256 && RETRY_BYTES < HELLO_BYTES);

/// Ticks in an ACCEPT are below this (272 years at 128 Hz), so that no arithmetic on a hostile one overflows.
pub const MAX_TICK: u64 = 1 << 40;

/// A cookie; all zero in a client's first HELLO.
pub type Cookie = [u8; COOKIE_BYTES];
/// A handshake MAC; the HELLO's also serves as the attempt's name in the answers.
pub type Mac = [u8; TAG_BYTES];

/// `N` bytes from `at`; the callers' offsets are constants inside fixed arrays.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

//! The targets, one file each.

mod accept;
mod bits;
mod bodies;
mod client;
mod clock;
mod delivery;
mod fixture;
mod hello;
mod input;
mod message;
mod packet;
mod recording;
mod recovery;
mod replay;
mod schema;
mod session;
mod snapshot;
mod token;

use crate::Target;

/// Every target, those without any cryptography first.
pub const TARGETS: &[Target] = &[
    Target {
        name: "bits",
        about: "bit writer and reader as a program, against a model of one bool per bit",
        run: bits::run,
        max_len: 256,
        features: bits::FEATURES,
        seeds: bits::seeds,
    },
    Target {
        name: "replay",
        about: "replay window as a program, against a set of all numbers received",
        run: replay::run,
        max_len: 128,
        features: replay::FEATURES,
        seeds: replay::seeds,
    },
    Target {
        name: "message",
        about: "session messages: whatever decodes encodes to the same bytes",
        run: message::run,
        max_len: 1000,
        features: message::FEATURES,
        seeds: message::seeds,
    },
    Target {
        name: "input",
        about: "players' inputs: in range, encode to no more bytes, and decode to the same again",
        run: input::run,
        max_len: 128,
        features: input::FEATURES,
        seeds: input::seeds,
    },
    Target {
        name: "packet",
        about: "headers and plaintexts of data packets: within bounds, write back to no more bytes that parse alike",
        run: packet::run,
        max_len: 1480,
        features: packet::FEATURES,
        seeds: packet::seeds,
    },
    Target {
        name: "delivery",
        about: "each kind of channel: receivers against hostile senders, models and quotas; both halves over bad networks",
        run: delivery::run,
        max_len: 600,
        features: delivery::FEATURES,
        seeds: delivery::seeds,
    },
    Target {
        name: "recovery",
        about: "loss recovery, rate, path MTU and scheduler under any acks, times and sizes: each fate once, bounds kept",
        run: recovery::run,
        max_len: 800,
        features: recovery::FEATURES,
        seeds: recovery::seeds,
    },
    Target {
        name: "clock",
        about: "the estimate of the server's clock under any replies: never falls, never jumps, keeps its speed",
        run: clock::run,
        max_len: 800,
        features: clock::FEATURES,
        seeds: clock::seeds,
    },
    Target {
        name: "snapshot",
        about: "warm views fed with bodies: failures change nothing; successes keep limits and can be written anew",
        run: snapshot::run,
        max_len: 1400,
        features: snapshot::FAST_FEATURES,
        seeds: snapshot::seeds,
    },
    Target {
        name: "compact",
        about: "the same with bodies of both codecs, and tables: whatever comes can be written anew in either",
        run: snapshot::run_compact,
        max_len: 1400,
        features: snapshot::FEATURES,
        seeds: snapshot::compact_seeds,
    },
    Target {
        name: "bodies",
        about: "a warm view fed with bodies of either codec, in great numbers: failures change nothing, values stay in range",
        run: bodies::run,
        max_len: 1000,
        features: bodies::FEATURES,
        seeds: bodies::seeds,
    },
    Target {
        name: "recording",
        about: "recordings of any bytes: bounded work; what was written replays, what was cut or damaged is noticed",
        run: recording::run,
        max_len: 8000,
        features: recording::FEATURES,
        seeds: recording::seeds,
    },
    Target {
        name: "token",
        about: "connect tokens: only what was sealed opens, and seals to the same bytes again",
        run: token::run,
        max_len: 640,
        features: token::FEATURES,
        seeds: token::seeds,
    },
    Target {
        name: "hello",
        about: "datagrams into a server that knows nobody, against a model of the rules; bytes out <= bytes in",
        run: hello::run,
        max_len: 1400,
        features: hello::FEATURES,
        seeds: hello::seeds,
    },
    Target {
        name: "accept",
        about: "datagrams into a client that connects, against a model of the rules; then hostile data packets",
        run: accept::run,
        max_len: 800,
        features: accept::FEATURES,
        seeds: accept::seeds,
    },
    Target {
        name: "session",
        about: "an admitted client that seals whatever it likes: numbers once, limits kept, acks sound, the slot comes back",
        run: session::run,
        max_len: 1400,
        features: session::FEATURES,
        seeds: session::seeds,
    },
    Target {
        name: "client",
        about: "a hostile server with valid keys against the SDK: bounded work, sound inputs, finite poses, a clean end",
        run: client::run,
        max_len: 1400,
        features: client::FEATURES,
        seeds: client::seeds,
    },
];

/// The message target with its check inverted: a runner that does not report it sees no failures at all.
pub const CANARY: Target = Target {
    name: "canary",
    about: "the message target with its check inverted; must fail",
    run: message::run_canary,
    max_len: 300,
    features: &[],
    seeds: Vec::new,
};

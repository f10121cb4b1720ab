//! The swarm: many real clients against a real server.
//!
//! Sans-I/O. A [`Squad`] is the clients of one thread; the caller owns a socket per client, the clock and the tokens:
//!
//! 1. [`Squad::handle_datagram`] for each datagram of a client's socket, unless [`Squad::reads_by_turns`] says otherwise;
//! 2. [`Squad::poll_join`] until `None` or no token is left, each answered with [`Squad::join`];
//! 3. at the latest when [`Squad::poll_timeout`] says so [`Squad::poll_due`] until `None`: as long as that client
//!    [reads on](Squad::reads_on) what its socket has goes to [`Squad::handle_datagram`]; then [`Squad::run_due`] and step 4;
//! 4. [`Squad::poll_transmit`] until `None`, each sent from that client's socket.
//!
//! What is measured goes into a [`Tally`] per squad; tallies add up to a [`Summary`].

mod bot;
mod light;
mod options;
mod squad;
mod summary;
mod tally;
mod timers;
mod witnesses;

pub use options::{Progress, SquadOptions};
pub use squad::Squad;
pub use summary::Summary;
pub use tally::Tally;

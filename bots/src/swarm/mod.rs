//! The swarm: many real clients against a real server.
//!
//! Sans-I/O. A [`Squad`] is the clients of one thread; the caller owns a socket per client, the clock and the tokens:
//!
//! 1. [`Squad::handle_datagram`] for each datagram of a client's socket, unless [`Squad::reads_by_turns`] says otherwise;
//! 2. [`Squad::poll_join`] until `None` or no token is left, each answered with [`Squad::join`];
//! 3. at the latest when [`Squad::poll_timeout`] says so [`Squad::poll_due`] until `None`: as long as that client
//!    [reads on](Squad::reads_on) what its socket has goes to [`Squad::handle_datagram`]; then [`Squad::run_due`] and step 4;
//! 4. [`Squad::poll_rebind`] until `None`: that client's socket is replaced by one with another port;
//! 5. [`Squad::poll_transmit`] until `None`, each sent from that client's socket.
//!
//! What is measured goes into a [`Tally`] per squad; tallies add up to a [`Summary`], and what came between two copies of
//! them to an [`Interval`].
//!
//! # Churn and new addresses
//!
//! From the beginning of the window on [`SquadOptions::churn`] per cent of the clients a minute leave: they close their
//! connection, are away for [`AWAY`], and connect anew, with a token and a socket of their own; an attempt that fails is
//! counted, and made again after as long. [`SquadOptions::rebind`] per cent of them a minute get another address, of which the
//! server is not told. Turns are even over time and clients, and follow from the seed; whoever is not in when it is his turn is
//! passed over. What a client sees is measured once it has been in for [`SquadOptions::settle`]: its clock and its view are new
//! until then. What it sees of a change of address is measured like anything else.

mod bot;
mod interval;
mod light;
mod options;
mod rounds;
mod squad;
mod summary;
mod tally;
mod timers;
mod witnesses;

pub use interval::Interval;
pub use options::{AWAY, MAX_LIGHT_EVERY, Progress, SquadOptions};
pub use squad::Squad;
pub use summary::Summary;
pub use tally::Tally;

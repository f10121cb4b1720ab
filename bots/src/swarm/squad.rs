//! The clients of one thread.

use core::time::Duration;
use std::collections::VecDeque;

use netcode::Time;
use netcode::crypto::Ephemeral;
use netcode::error::ConnectError;
use netcode::packet::ConnId;
use netcode::rng::Rng;
use netcode::token::ConnectBundle;
use netcode::trace::TraceEvent;

use super::bot::{Bot, Link, Measured};
use super::options::{AWAY, Progress, SquadOptions};
use super::rounds::Rounds;
use super::tally::Tally;
use super::timers::Timers;
use super::witnesses::Witnesses;
use crate::behavior::{Behavior, Pilot};

/// One client over all its connections.
struct Seat {
    bot: Option<Bot>,
    /// The player and the network between two connections.
    idle: Option<(Pilot, Option<Link>)>,
    /// When its timer fires.
    scheduled: Time,
    /// When it joins (without a connection) or leaves (with one), if it does.
    turn: Time,
    /// It is in the queue of those with something to send.
    dirty: bool,
    reads_by_turns: bool,
    ever_connected: bool,
    settled: bool,
    online: bool,
    /// It left to come back, and has not yet.
    away: bool,
}

/// Many clients and their timers.
pub struct Squad {
    options: SquadOptions,
    seats: Vec<Seat>,
    timers: Timers,
    dirty: VecDeque<u32>,
    /// Clients that want a token.
    joining: VecDeque<u32>,
    handshakes: usize,
    churn: Rounds,
    rebinds: Rounds,
    /// The start of the window, while one is open.
    window: Option<Time>,
    /// Nobody joins any more.
    leaving: bool,
    tally: Tally,
    witnesses: Witnesses,
    progress: Progress,
    traced: Traced,
}

/// The trace of the first client's first connection.
#[derive(Default)]
struct Traced {
    conn: Option<ConnId>,
    /// The connection is over; these are its last events.
    rest: Option<VecDeque<(Time, TraceEvent)>>,
}

impl Squad {
    /// Clients that all want to join as soon as may be.
    #[must_use]
    pub fn new(options: SquadOptions) -> Self {
        let rng = Rng::new(options.seed);
        let seat = |index: usize| {
            let rng = rng.fork(&format!("bot {index}"));
            let link = options.link.map(|config| Link::new(config, rng.fork("link").seed()));
            Seat {
                bot: None,
                idle: Some((Pilot::new(options.behavior, rng.fork("pilot")), link)),
                scheduled: Time::NEVER,
                turn: Time::NEVER,
                dirty: false,
                reads_by_turns: options.reads_by_turns(index as u32),
                ever_connected: false,
                settled: false,
                online: false,
                away: false,
            }
        };
        let seats: Vec<_> = (0..options.clients).map(seat).collect();
        let joining = (0..seats.len() as u32).collect();
        let churn = Rounds::new(options.clients, options.churn, rng.fork("churn"));
        let rebinds = Rounds::new(options.clients, options.rebind, rng.fork("rebinds"));
        Self {
            churn,
            rebinds,
            options,
            seats,
            timers: Timers::default(),
            dirty: VecDeque::new(),
            joining,
            handshakes: 0,
            window: None,
            leaving: false,
            tally: Tally::default(),
            witnesses: Witnesses::default(),
            progress: Progress::default(),
            traced: Traced::default(),
        }
    }

    /// The client that should get a token next; answer with [`Squad::join`]. `None` while enough handshakes are under
    /// way, or when everyone is in.
    #[must_use]
    pub fn poll_join(&self) -> Option<usize> {
        let room = !self.leaving && self.handshakes < self.options.handshakes.max(1);
        self.joining.front().filter(|_| room).map(|index| *index as usize)
    }

    /// Lets the client that [`Squad::poll_join`] named connect.
    ///
    /// # Errors
    /// [`ConnectError`]; the client then stays out.
    pub fn join(&mut self, now: Time, bundle: &ConnectBundle, ephemeral: Ephemeral) -> Result<(), ConnectError> {
        let Some(index) = self.joining.pop_front() else { return Ok(()) };
        let Some(seat) = self.seats.get_mut(index as usize) else { return Ok(()) };
        let Some((pilot, link)) = seat.idle.take() else { return Ok(()) };
        let traced = self.options.trace && index == 0 && self.traced.rest.is_none();
        match self.options.connect(index, bundle, ephemeral, traced, now) {
            Ok(player) => {
                seat.bot = Some(Bot::new(player, pilot, link, self.options.settle));
                self.handshakes += 1;
                self.after(now, index);
                Ok(())
            }
            Err(error) => {
                seat.idle = Some((pilot, link));
                self.count_failure(now, index, &error.to_string());
                self.reschedule(index);
                Err(error)
            }
        }
    }

    /// Whether that client's socket is read only when [`Squad::poll_due`] says so, and not whenever something comes.
    #[must_use]
    pub fn reads_by_turns(&self, index: usize) -> bool {
        self.seats.get(index).is_some_and(|seat| seat.reads_by_turns)
    }

    /// A datagram came from that client's socket.
    pub fn handle_datagram(&mut self, now: Time, index: usize, datagram: &mut [u8]) {
        let Self { tally, witnesses, .. } = self;
        let measured = self.window.map(|_| Measured { tally, witnesses });
        let Some(bot) = self.seats.get_mut(index).and_then(|seat| seat.bot.as_mut()) else { return };
        bot.handle_datagram(now, datagram, measured);
        self.after(now, index as u32);
    }

    /// Runs every client that is due; for a caller who hands in whatever comes at once.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(index) = self.poll_due(now) {
            self.run_due(now, index);
        }
    }

    /// A client that is due by `until`, until `None`. As long as [`Squad::reads_on`] what its socket has is to be handed in,
    /// then it is to be run with [`Squad::run_due`].
    pub fn poll_due(&mut self, until: Time) -> Option<usize> {
        while let Some(index) = self.churn.pop(until) {
            if self.seats.get(index as usize).is_some_and(|seat| seat.online) && !self.leaving {
                self.take_turn(until, index);
                self.after(until, index);
            }
        }
        while let Some((at, index)) = self.timers.pop(until) {
            let Some(seat) = self.seats.get_mut(index as usize).filter(|seat| seat.scheduled == at) else { continue };
            seat.scheduled = Time::NEVER;
            return Some(index as usize);
        }
        None
    }

    /// Whether that client, which is due, wants another datagram from its socket, if there is one.
    #[must_use]
    pub fn reads_on(&self, index: usize) -> bool {
        self.seats.get(index).and_then(|seat| seat.bot.as_ref()).is_some_and(Bot::reads_on)
    }

    /// Runs what is due for that client.
    pub fn run_due(&mut self, now: Time, index: usize) {
        let Some(seat) = self.seats.get_mut(index) else { return };
        if let Some(bot) = &mut seat.bot {
            let Self { tally, witnesses, .. } = self;
            bot.handle_timeout(now, self.window.map(|_| Measured { tally, witnesses }));
            // Now that it is at hand; to look at all of them some time later would cost much more.
            bot.count_traffic(self.window.map(|_| &mut self.tally));
        }
        let index = index as u32;
        if seat.turn <= now {
            seat.turn = Time::NEVER;
            self.take_turn(now, index);
        }
        self.after(now, index);
    }

    /// Churn: who is in leaves, who is out wants to come back.
    fn take_turn(&mut self, now: Time, index: u32) {
        self.count_window(now, index);
        match self.seats.get_mut(index as usize).map(|seat| &mut seat.bot) {
            Some(Some(bot)) if !bot.leaving => {
                bot.leave(now);
                self.tally.leaves += 1;
            }
            Some(Some(_)) => {}
            Some(None) => self.joining.push_back(index),
            None => {}
        }
    }

    /// When the next client is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let rounds = self.churn.next().min(self.rebinds.next());
        let next = self.timers.next().unwrap_or(Time::NEVER).min(rounds);
        (next != Time::NEVER).then_some(next)
    }

    /// A connected client whose socket is to be replaced at once by one with another port, until `None`. It is not told
    /// otherwise, and neither is the server.
    pub fn poll_rebind(&mut self, now: Time) -> Option<usize> {
        while let Some(index) = self.rebinds.pop(now) {
            let Some(seat) = self.seats.get_mut(index as usize).filter(|seat| seat.online) else { continue };
            let Some(bot) = seat.bot.as_mut().filter(|bot| !bot.leaving && !self.leaving) else { continue };
            bot.rebind(now);
            self.tally.rebinds += 1;
            return Some(index as usize);
        }
        None
    }

    /// The next datagram, written into `out` (at least `MAX_DATAGRAM` bytes): whose socket sends it, and its length.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<(usize, usize)> {
        while let Some(&index) = self.dirty.front() {
            let sent = self.seats.get_mut(index as usize).and_then(|seat| seat.bot.as_mut()?.poll_transmit(now, out));
            if let Some(len) = sent {
                return Some((index as usize, len));
            }
            self.dirty.pop_front();
            if let Some(seat) = self.seats.get_mut(index as usize) {
                seat.dirty = false;
            }
            // Sending moves timers, and the last close ends a connection.
            self.note_changes(now, index);
            self.reschedule(index);
        }
        None
    }

    /// The oldest event of the trace; call until `None`, at least once a second.
    pub fn poll_trace(&mut self) -> Option<(Time, TraceEvent)> {
        if let Some(rest) = &mut self.traced.rest {
            return rest.pop_front();
        }
        let bot = self.seats.first_mut()?.bot.as_mut()?;
        self.traced.conn = self.traced.conn.or(bot.conn());
        bot.poll_trace()
    }

    /// The connection that is traced, once the server accepted it.
    #[must_use]
    pub fn traced_conn(&self) -> Option<ConnId> {
        self.traced.conn
    }

    /// From now on is measured.
    pub fn begin_window(&mut self, now: Time) {
        for bot in self.seats.iter_mut().filter_map(|seat| seat.bot.as_mut()) {
            bot.count_traffic(None);
        }
        self.window = Some(now);
        self.churn.begin(now);
        self.rebinds.begin(now);
    }

    /// Ends the measuring.
    pub fn end_window(&mut self, now: Time) {
        for index in 0..self.seats.len() as u32 {
            self.count_window(now, index);
        }
        (self.tally.online, self.tally.away) = (self.progress.online, self.progress.away);
        self.window = None;
    }

    /// Everyone leaves, and nobody joins any more.
    pub fn leave_all(&mut self, now: Time) {
        self.leaving = true;
        for index in 0..self.seats.len() as u32 {
            let bot = self.seats.get_mut(index as usize).and_then(|seat| seat.bot.as_mut());
            if let Some(bot) = bot.filter(|bot| !bot.leaving) {
                bot.leave(now);
                self.after(now, index);
            }
        }
    }

    /// Whether everyone is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(|seat| seat.bot.is_none())
    }

    /// How far it is; bytes are those up to when each client was last due.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let Tally { snapshots, down_bytes, .. } = self.tally;
        Progress { snapshots, down_bytes, ..self.progress }
    }

    /// What was measured.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Book-keeping after anything happened to a client.
    fn after(&mut self, now: Time, index: u32) {
        self.note_changes(now, index);
        let Some(seat) = self.seats.get_mut(index as usize) else { return };
        if seat.bot.is_none() {
            self.reschedule(index);
        } else if !seat.dirty {
            // Its timers are looked at again once it has sent what it has to send: some are due until then.
            seat.dirty = true;
            self.dirty.push_back(index);
        }
    }

    fn note_changes(&mut self, now: Time, index: u32) {
        let Some(seat) = self.seats.get_mut(index as usize) else { return };
        let Some(bot) = &mut seat.bot else { return };
        self.tally.rebinds_survived += u64::from(core::mem::take(&mut bot.found));
        if bot.connected.is_some() && !seat.online && bot.ended.is_none() {
            seat.online = true;
            self.handshakes -= 1;
            self.tally.joins += 1;
            self.tally.connected += u64::from(!seat.ever_connected);
            self.tally.reconnects += u64::from(seat.ever_connected);
            self.progress.away -= u64::from(core::mem::take(&mut seat.away));
            self.progress.settled += u64::from(!seat.settled);
            self.progress.online += 1;
            (seat.ever_connected, seat.settled) = (true, true);
            seat.turn = bot.pilot().stay_ms().map_or(Time::NEVER, |ms| now + Duration::from_millis(ms));
        }
        if bot.ended.is_some() && bot.is_finished() {
            self.retire(now, index);
        }
    }

    /// The connection (or attempt) is over and its last packet sent.
    fn retire(&mut self, now: Time, index: u32) {
        self.count_window(now, index);
        let Some(seat) = self.seats.get_mut(index as usize) else { return };
        let Some(mut bot) = seat.bot.take() else { return };
        if index == 0 && self.options.trace && self.traced.rest.is_none() {
            self.traced.conn = self.traced.conn.or(bot.conn());
            self.traced.rest = Some(core::iter::from_fn(|| bot.poll_trace()).collect());
        }
        let (wanted, reason, unplayable) = (bot.leaving, bot.ended, bot.unplayable);
        let lost = bot.rebound.is_some();
        let was_online = std::mem::take(&mut seat.online);
        if let Some(own) = bot.own() {
            self.witnesses.forget(own);
        }
        let (mut pilot, link) = bot.into_parts();
        seat.turn = Time::NEVER;
        if was_online && wanted && !self.leaving {
            let by_itself = self.options.behavior == Behavior::Churn;
            seat.turn = now + if by_itself { Duration::from_millis(pilot.away_ms()) } else { AWAY };
            seat.away = true;
            self.progress.away += 1;
        }
        seat.idle = Some((pilot, link));
        if was_online {
            self.progress.online -= 1;
        } else {
            self.handshakes -= 1;
        }
        if !wanted {
            let cause = match (unplayable, reason) {
                (Some(why), _) => why.to_string(),
                (None, reason) => reason.map_or_else(String::new, |reason| reason.to_string()),
            };
            if let Some(why) = unplayable {
                self.tally.unplayable.entry(cause.clone()).or_insert((why, 0)).1 += 1;
            }
            if was_online {
                self.progress.disconnected += 1;
                self.tally.rebinds_lost += u64::from(lost);
                *self.tally.disconnected.entry(cause).or_default() += 1;
            } else {
                self.count_failure(now, index, &cause);
            }
        }
    }

    fn count_failure(&mut self, now: Time, index: u32, cause: &str) {
        *self.tally.failed.entry(cause.to_owned()).or_default() += 1;
        self.progress.failed += 1;
        if let Some(seat) = self.seats.get_mut(index as usize) {
            self.progress.settled += u64::from(!seat.settled);
            seat.settled = true;
            if seat.away {
                self.tally.reconnects_failed += 1;
                seat.turn = now + AWAY;
            }
        }
    }

    /// Adds a connection's part of the window.
    fn count_window(&mut self, now: Time, index: u32) {
        let Some(start) = self.window else { return };
        let Some(seat) = self.seats.get_mut(index as usize) else { return };
        let Some(bot) = &mut seat.bot else { return };
        bot.count_traffic(Some(&mut self.tally));
        if let Some(connected) = bot.connected.take() {
            let since = |begun: Time| now.saturating_since(begun.max(start)).as_secs_f64();
            let settled = since(bot.settled);
            self.tally.client_seconds += since(connected);
            self.tally.settled_seconds += settled;
            self.tally.snapshots_due += settled * f64::from(bot.rate());
        }
    }

    fn reschedule(&mut self, index: u32) {
        let Some(seat) = self.seats.get_mut(index as usize) else { return };
        let bot = seat.bot.as_ref().map_or(Time::NEVER, Bot::poll_timeout);
        let due = bot.min(seat.turn);
        // A timer that fires too early is harmless, so only earlier ones are worth an entry.
        if due < seat.scheduled {
            seat.scheduled = due;
            self.timers.push(due, index, seat.reads_by_turns);
        }
    }
}

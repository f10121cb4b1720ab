//! Which clients of a shard have the compact codec, and how far each is with its tables.

/// A client begins to need the compact codec when its snapshots were cut so often: each adds [`CUT_WEIGHT`], each that was not
/// takes one away. At 0 it needs it no more.
const NEEDS_COMPACT: u8 = 60;
const CUT_WEIGHT: u8 = 4;
const MOST_CUTS: u8 = 200;
/// Of a tick's time in percent: a round that took longer takes the compact codec from half of those who have it; one
/// that took less gives it to some more.
const OVERLOADED_PERCENT: u8 = 70;
const AT_EASE_PERCENT: u8 = 50;
/// Whoever did not answer tables so many seconds after the last part was sent gives its place to another.
const PATIENCE_S: u64 = 20;

/// Which clients get their snapshots in the compact codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codecs {
    /// None.
    Fast,
    /// All, as far as [`ShardConfig::compact_clients`](crate::shard::ShardConfig::compact_clients) goes.
    Compact,
    /// Those whose snapshots do not fit: the budget or the path's rate cuts them time and again.
    #[default]
    Auto,
}

/// How far a client is with the compact codec.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// It can read it.
    agreed: bool,
    /// How often its snapshots were cut of late.
    cuts: u8,
    /// It is to have it.
    wanted: bool,
    /// It is one of those who have it, or are getting the tables for it.
    place: bool,
    push: Option<Push>,
}

/// Tables on their way to a client.
#[derive(Clone, Copy, Debug)]
struct Push {
    version: u8,
    /// The next part; none once all are under way.
    next: Option<u8>,
    /// The tick at which the last part was sent.
    sent: u64,
    ready: bool,
}

impl Progress {
    pub fn new(agreed: bool, codecs: Codecs) -> Self {
        Self { agreed, wanted: agreed && codecs == Codecs::Compact, ..Self::default() }
    }

    /// A snapshot was cut, or not.
    pub fn note(&mut self, cut: bool, codecs: Codecs) {
        self.cuts = if cut { self.cuts.saturating_add(CUT_WEIGHT).min(MOST_CUTS) } else { self.cuts.saturating_sub(1) };
        if codecs == Codecs::Auto && self.agreed {
            self.wanted = if self.wanted { self.cuts > 0 } else { self.cuts >= NEEDS_COMPACT };
        }
    }

    /// The part of those tables to send next, if there is one and the client has a place.
    pub fn next_part(&mut self, version: u8) -> Option<u8> {
        if !self.place {
            return None;
        }
        if self.push.is_none_or(|push| push.version != version) {
            self.push = Some(Push { version, next: Some(0), sent: 0, ready: false });
        }
        self.push?.next
    }

    /// A part went out.
    pub fn on_part(&mut self, part: u8, last: u8, tick: u64) {
        if let Some(push) = &mut self.push {
            push.next = (part < last).then_some(part.saturating_add(1));
            push.sent = tick;
        }
    }

    /// The client says that it has the tables of that version. False if it cannot have them: it was not sent all of them.
    pub fn on_ready(&mut self, version: u8) -> bool {
        let Some(push) = self.push.as_mut().filter(|push| push.version == version && push.next.is_none()) else {
            return false;
        };
        push.ready = true;
        true
    }

    /// Whether tables are under way: then they need some of what snapshots would take.
    pub fn is_pushing(&self) -> bool {
        self.place && self.push.is_some_and(|push| !push.ready)
    }

    fn is_deaf(&self, tick: u64, rate: u16) -> bool {
        self.push.is_some_and(|push| {
            push.next.is_none() && !push.ready && tick > push.sent.saturating_add(PATIENCE_S * u64::from(rate))
        })
    }
}

/// The places for clients in the compact codec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    most: u16,
    /// How many there are now; fewer than `most` where time is short.
    room: u16,
    taken: u16,
}

impl Places {
    pub const fn new(most: u16) -> Self {
        Self { most, room: most, taken: 0 }
    }

    /// How much of a tick's time the last round of snapshots took, in percent.
    pub fn on_round_took(&mut self, percent: u8) {
        if percent >= OVERLOADED_PERCENT {
            self.room /= 2;
        } else if percent < AT_EASE_PERCENT {
            self.room = self.room.saturating_add((self.room / 16).max(1)).min(self.most);
        }
    }

    /// Gives a client a place, or takes it; whether it has one.
    pub fn settle(&mut self, client: &mut Progress, tick: u64, rate: u16) -> bool {
        if client.place && (!client.wanted || self.taken > self.room || client.is_deaf(tick, rate)) {
            self.leave(client);
        } else if !client.place && client.wanted && self.taken < self.room && !client.is_deaf(tick, rate) {
            client.place = true;
            self.taken = self.taken.saturating_add(1);
        }
        client.place
    }

    /// A client is gone.
    pub fn leave(&mut self, client: &mut Progress) {
        if core::mem::take(&mut client.place) {
            self.taken = self.taken.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u16 = 20;

    fn wanting() -> Progress {
        Progress::new(true, Codecs::Compact)
    }

    #[test]
    fn places_are_few_and_stay_with_whom_they_were_given_to() {
        let mut places = Places::new(2);
        let mut clients = [wanting(), wanting(), wanting(), Progress::new(false, Codecs::Compact)];
        for tick in 0..5 {
            let held = clients.each_mut().map(|client| places.settle(client, tick, RATE));
            assert_eq!(held, [true, true, false, false]);
        }
        assert_eq!(clients.each_mut().map(|client| client.next_part(1)), [Some(0), Some(0), None, None]);
        places.leave(&mut clients[0]);
        assert!(places.settle(&mut clients[2], 6, RATE));
    }

    #[test]
    fn a_round_that_takes_long_halves_the_places_and_short_ones_bring_them_back() {
        let mut places = Places::new(8);
        let mut clients = [wanting(); 8];
        let mut count = |places: &mut Places| {
            (0..2).for_each(|tick| clients.iter_mut().for_each(|client| _ = places.settle(client, tick, RATE)));
            clients.iter().filter(|client| client.place).count()
        };
        assert_eq!(count(&mut places), 8);
        places.on_round_took(70);
        assert_eq!(count(&mut places), 4);
        places.on_round_took(60);
        assert_eq!(count(&mut places), 4);
        (0..9).for_each(|_| places.on_round_took(49));
        assert_eq!(count(&mut places), 8);
    }

    #[test]
    fn whoever_never_says_that_the_tables_came_does_not_keep_them_from_others() {
        let mut places = Places::new(1);
        let (mut mute, mut next) = (wanting(), wanting());
        assert!(places.settle(&mut mute, 0, RATE) && !places.settle(&mut next, 0, RATE));
        assert_eq!(mute.next_part(1), Some(0));
        assert!(!mute.on_ready(1), "not all of it was sent");
        mute.on_part(0, 0, 10);
        assert!(mute.is_pushing() && places.settle(&mut mute, 400, RATE));
        assert!(!places.settle(&mut mute, 411, RATE) && places.settle(&mut next, 411, RATE));
        assert!(mute.on_ready(1) && !mute.on_ready(2));
        places.leave(&mut next);
        assert!(places.settle(&mut mute, 412, RATE) && !mute.is_pushing());
    }

    #[test]
    fn only_snapshots_that_are_cut_time_and_again_make_a_client_need_it() {
        let mut client = Progress::new(true, Codecs::Auto);
        (0..100).for_each(|tick| client.note(tick % 8 == 0, Codecs::Auto));
        assert!(!client.wanted);
        (0..20).for_each(|_| client.note(true, Codecs::Auto));
        assert!(client.wanted);
        (0..60).for_each(|_| client.note(false, Codecs::Auto));
        assert!(client.wanted);
        (0..200).for_each(|_| client.note(false, Codecs::Auto));
        assert!(!client.wanted);
    }
}

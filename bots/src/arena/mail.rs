//! What players are told once: each word must reach its client exactly once, as long as the connection stands.

use std::collections::BTreeMap;

use netcode::packet::ConnId;
use sim::Event;

use super::report::Broken;

/// Words that are told and were not heard yet, by their tick, number and bytes: how many, and the tick in which they were
/// told last.
type Words = BTreeMap<(u64, Vec<u8>), (u32, u64)>;

/// What is under way to each connection.
#[derive(Debug, Default)]
pub(super) struct Mail {
    under_way: BTreeMap<u32, Words>,
    /// Words that were heard.
    pub heard: u64,
}

impl Mail {
    /// The zone tells a connection something in that tick.
    pub(super) fn tell(&mut self, conn: ConnId, event: &Event, tick: u64) {
        let words = self.under_way.entry(conn.0).or_default();
        let (count, newest) = words.entry(key(event)).or_default();
        (*count, *newest) = (*count + 1, tick);
    }

    /// A client heard something.
    pub(super) fn hear(&mut self, conn: ConnId, event: &Event) -> Option<Broken> {
        let words = self.under_way.get_mut(&conn.0);
        let Some((words, left)) = words.and_then(|words| {
            let left = words.get_mut(&key(event)).map(|(count, _)| {
                *count -= 1;
                *count
            })?;
            Some((words, left))
        }) else {
            return Some(Broken::HeardUntold { told: event.tick });
        };
        self.heard += 1;
        if left == 0 {
            words.remove(&key(event));
        }
        None
    }

    /// A connection is over: what is under way may be lost.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.under_way.remove(&conn.0);
    }

    /// A word told to that connection before `tick` that it has not heard.
    pub(super) fn lost(&self, conn: ConnId, tick: u64) -> Option<Broken> {
        let words = self.under_way.get(&conn.0)?;
        let (_, told) = words.values().find(|(_, told)| *told < tick)?;
        Some(Broken::Unheard { told: *told })
    }
}

fn key(event: &Event) -> (u64, Vec<u8>) {
    (event.tick, event.write().to_vec())
}

#[cfg(test)]
mod tests {
    use sim::event::What;

    use super::*;

    const CONN: ConnId = ConnId(7);

    fn event(tick: u64) -> Event {
        Event { tick, ordinal: 0, what: What::Respawned }
    }

    #[test]
    fn each_word_is_heard_as_often_as_it_was_told() {
        let mut mail = Mail::default();
        for tick in [5, 5, 6] {
            mail.tell(CONN, &event(tick), 10);
        }
        for tick in [6, 5, 5] {
            assert_eq!(mail.hear(CONN, &event(tick)), None);
        }
        assert_eq!(mail.hear(CONN, &event(5)), Some(Broken::HeardUntold { told: 5 }));
        assert_eq!(mail.hear(ConnId(8), &event(6)), Some(Broken::HeardUntold { told: 6 }));
        assert_eq!(mail.heard, 3);
    }

    #[test]
    fn what_nobody_hears_is_lost_in_time_unless_the_connection_is_over() {
        let mut mail = Mail::default();
        mail.tell(CONN, &event(5), 10);
        assert_eq!((mail.lost(CONN, 10), mail.lost(CONN, 11)), (None, Some(Broken::Unheard { told: 10 })));
        mail.forget(CONN);
        assert_eq!(mail.lost(CONN, 11), None);
    }
}

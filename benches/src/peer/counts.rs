//! What arrived of what was sent, in order, and how late.

use serde_json::{Map, Value, json};

use super::message::{Kind, Message};

/// Messages that count.
#[derive(Clone, Debug)]
pub struct Counts {
    sent: [u64; 2],
    received: [u64; 2],
    /// Reliable messages that came out of order or twice.
    misordered: u64,
    /// The sequence of the last reliable message, by client.
    last: Vec<u32>,
}

impl Counts {
    /// None yet, of so many clients.
    #[must_use]
    pub fn new(clients: u16) -> Self {
        Self { sent: [0; 2], received: [0; 2], misordered: 0, last: vec![0; usize::from(clients)] }
    }

    /// A message was handed to the engine.
    pub const fn on_sent(&mut self, message: &Message) {
        if message.counts {
            self.sent[place(message.kind)] += 1;
        }
    }

    /// A message came, of the client with this number.
    pub fn on_received(&mut self, client: usize, message: &Message) {
        if message.kind == Kind::Reliable
            && let Some(last) = self.last.get_mut(client)
        {
            self.misordered += u64::from(message.sequence <= *last);
            *last = message.sequence;
        }
        if message.counts {
            self.received[place(message.kind)] += 1;
        }
    }

    /// The counts under the contract's names.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let [sent_u, sent_r] = self.sent;
        let [recv_u, recv_r] = self.received;
        let named = [("sent_u", sent_u), ("sent_r", sent_r), ("recv_u", recv_u), ("recv_r", recv_r)];
        let counts = named.into_iter().chain([("misordered", self.misordered)]);
        counts.map(|(name, count)| (name.into(), json!(count))).collect()
    }
}

const fn place(kind: Kind) -> usize {
    match kind {
        Kind::Unreliable => 0,
        Kind::Reliable => 1,
    }
}

/// Delays in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Quantiles(Vec<u32>);

impl Quantiles {
    /// Room for so many, so that taking one in costs nothing more.
    #[must_use]
    pub fn with_capacity(samples: usize) -> Self {
        Self(Vec::with_capacity(samples))
    }

    /// Takes one in.
    pub fn add(&mut self, nanos: u64) {
        self.0.push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }

    /// Median, 99th percentile and maximum in microseconds; zeros without samples.
    #[must_use]
    pub fn json(mut self) -> Value {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = |percent: usize| self.0.get(last * percent / 100).copied().unwrap_or(0) / 1000;
        json!({ "p50": at(50), "p99": at(99), "max": at(100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_counts_is_counted_and_what_came_twice_is_told() {
        let mut counts = Counts::new(2);
        let message =
            |sequence, counts| Message { kind: Kind::Reliable, counts, sequence, sent_ns: 0, tick_ns: 0, client: 1 };
        counts.on_sent(&message(1, false));
        counts.on_sent(&message(2, true));
        for sequence in [1, 2, 2] {
            counts.on_received(1, &message(sequence, sequence > 1));
        }
        let json = Value::from(counts.json());
        assert_eq!((&json["sent_r"], &json["recv_r"], &json["misordered"]), (&json!(1), &json!(2), &json!(1)));
    }

    #[test]
    fn quantiles_are_in_microseconds() {
        let mut delays = Quantiles::with_capacity(101);
        (0..=100).for_each(|delay| delays.add(delay * 1000));
        assert_eq!(delays.json(), json!({ "p50": 50, "p99": 99, "max": 100 }));
        assert_eq!(Quantiles::default().json(), json!({ "p50": 0, "p99": 0, "max": 0 }));
    }
}

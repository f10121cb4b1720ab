//! Faults that strike at times of their own: partitions, rebinding NATs, paths that carry other lengths.

use core::time::Duration;

use netcode::Time;
use netcode::rng::Rng;

use super::options::{Drawn, Partitions, draw_mtu};

/// What strikes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// These clients hear nothing, or are not heard, until then.
    Partition { clients: Vec<usize>, up: bool, down: bool, until: Time },
    /// This client's NAT takes another outside address.
    Rebind { client: usize },
    /// Datagrams may be so long from now on.
    Mtu { bytes: u16 },
}

/// When the next ones strike.
#[derive(Debug)]
pub(super) struct Faults {
    clients: usize,
    partitions: Option<Partitions>,
    rebinds: Option<Duration>,
    mtu_changes: Option<Duration>,
    partition_rng: Rng,
    rebind_rng: Rng,
    mtu_rng: Rng,
    next_partition: Time,
    next_rebind: Time,
    next_mtu: Time,
}

impl Faults {
    pub(super) fn new(drawn: &Drawn, clients: usize, rng: &Rng, now: Time) -> Self {
        let mut faults = Self {
            clients,
            partitions: drawn.partitions,
            rebinds: drawn.rebinds,
            mtu_changes: drawn.mtu_changes,
            partition_rng: rng.fork("partitions"),
            rebind_rng: rng.fork("rebinds"),
            mtu_rng: rng.fork("mtu changes"),
            next_partition: Time::NEVER,
            next_rebind: Time::NEVER,
            next_mtu: Time::NEVER,
        };
        if let Some(partitions) = faults.partitions {
            faults.next_partition = now + around(&mut faults.partition_rng, partitions.every);
        }
        if let Some(every) = faults.rebinds {
            faults.next_rebind = now + around(&mut faults.rebind_rng, every);
        }
        if let Some(every) = faults.mtu_changes {
            faults.next_mtu = now + around(&mut faults.mtu_rng, every);
        }
        faults
    }

    /// Nothing strikes any more.
    pub(super) fn stop(&mut self) {
        self.next_partition = Time::NEVER;
        self.next_rebind = Time::NEVER;
        self.next_mtu = Time::NEVER;
    }

    pub(super) fn next(&self) -> Time {
        self.next_partition.min(self.next_rebind).min(self.next_mtu)
    }

    /// The next fault due by `now`.
    pub(super) fn poll(&mut self, now: Time) -> Option<Fault> {
        if self.next_partition <= now {
            return self.partitions.map(|partitions| self.partition(now, partitions));
        }
        if self.next_rebind <= now {
            let every = self.rebinds?;
            self.next_rebind = now + around(&mut self.rebind_rng, every);
            return Some(Fault::Rebind { client: self.rebind_rng.below(self.clients as u64) as usize });
        }
        if self.next_mtu <= now {
            let every = self.mtu_changes?;
            self.next_mtu = now + around(&mut self.mtu_rng, every);
            return Some(Fault::Mtu { bytes: draw_mtu(&mut self.mtu_rng) });
        }
        None
    }

    fn partition(&mut self, now: Time, partitions: Partitions) -> Fault {
        let rng = &mut self.partition_rng;
        self.next_partition = now + around(rng, partitions.every);
        let until = now + Duration::from_micros(rng.below(partitions.longest.as_micros() as u64 + 1));
        // One client, or each with the same chance.
        let clients = if rng.chance(0.5) {
            vec![rng.below(self.clients as u64) as usize]
        } else {
            let share = rng.unit_f64();
            (0..self.clients).filter(|_| rng.chance(share)).collect()
        };
        let (up, down) = match rng.below(3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        Fault::Partition { clients, up, down, until }
    }
}

/// Half to one and a half times the mean.
fn around(rng: &mut Rng, mean: Duration) -> Duration {
    let mean = mean.as_micros() as u64;
    Duration::from_micros(mean / 2 + rng.below(mean + 1))
}

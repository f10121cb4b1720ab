//! A network that can be made as bad as wanted, and is equally bad each time.
//!
//! Sans-I/O like the rest of the crate: [`Emulator::send`] takes a datagram at a time,
//! [`Emulator::poll`] gives what has arrived by a time. Which faults strike is decided when a datagram is
//! sent, by one random stream per directed link and kind of fault. Each stream draws for each datagram
//! whether or not another fault already took it, so changing one rate moves only the faults of that kind.
//!
//! Addresses: every host has one address of its own, the *inside* one, and links, blocks and
//! [`Datagram::to`] speak of inside addresses. [`Emulator::rebind`] puts a NAT in front of a host:
//! others then see and use the outside address, as [`Datagram::from`] shows.

mod link;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;

use self::link::Link;
pub use self::link::LinkConfig;
use crate::rng::Rng;
use crate::time::Time;

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender as the receiver sees it: an outside address, if the sender sits behind a NAT.
    pub from: SocketAddr,
    /// The receiving host: always its inside address.
    pub to: SocketAddr,
    /// What arrived.
    pub bytes: Vec<u8>,
}

/// How many datagrams met which fate since the emulator was made.
///
/// When nothing is in flight, `sent + duplicated` equals `delivered` plus the six ways to vanish:
/// `lost`, `lost_in_burst`, `blocked`, `too_long`, `queue_full`, `dead_address`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Handed to [`Emulator::send`].
    pub sent: u64,
    /// Given out by [`Emulator::poll`], duplicates included.
    pub delivered: u64,
    /// Bytes of the delivered ones.
    pub delivered_bytes: u64,
    /// Lost one by one.
    pub lost: u64,
    /// Lost in a burst.
    pub lost_in_burst: u64,
    /// Sent over a blocked link.
    pub blocked: u64,
    /// Longer than the link's MTU.
    pub too_long: u64,
    /// Dropped because the queue before a rate limit was full.
    pub queue_full: u64,
    /// Sent to an address that no host has any more, or that died while they were under way.
    pub dead_address: u64,
    /// Delivered a second time.
    pub duplicated: u64,
    /// Held back by the reorder delay.
    pub reordered: u64,
    /// With one bit flipped.
    pub flipped: u64,
    /// Cut short.
    pub truncated: u64,
    /// With random bytes appended.
    pub extended: u64,
    /// With the end of an earlier datagram in place of their own.
    pub spliced: u64,
    /// NATs rebound.
    pub rebinds: u64,
}

/// A datagram under way, ordered by arrival, then by the order of sending.
#[derive(Debug, PartialEq, Eq)]
struct Flight {
    at: Time,
    seq: u64,
    from: SocketAddr,
    /// As the sender addressed it; resolved on arrival, since a NAT may change meanwhile.
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The network between any number of hosts.
#[derive(Debug)]
pub struct Emulator {
    rng: Rng,
    default: LinkConfig,
    links: BTreeMap<(SocketAddr, SocketAddr), Link>,
    blocks: BTreeMap<(SocketAddr, SocketAddr), Time>,
    nat: Nat,
    flights: BinaryHeap<Reverse<Flight>>,
    next_seq: u64,
    stats: Stats,
}

impl Emulator {
    /// A network of perfect links whose faults, once configured, follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            default: LinkConfig::default(),
            links: BTreeMap::new(),
            blocks: BTreeMap::new(),
            nat: Nat::default(),
            flights: BinaryHeap::new(),
            next_seq: 0,
            stats: Stats::default(),
        }
    }

    /// Configures all links that have no configuration of their own, present and future ones.
    pub fn set_default(&mut self, config: LinkConfig) {
        self.default = config;
    }

    /// Configures the link from one host to another, in this direction only.
    pub fn set_link(&mut self, from: SocketAddr, to: SocketAddr, config: LinkConfig) {
        self.link(from, to).config = Some(config);
    }

    /// Configures all links alike: forgets what [`Emulator::set_link`] said and ends all bursts.
    pub fn reset_links(&mut self, config: LinkConfig) {
        self.default = config;
        for link in self.links.values_mut() {
            link.reset();
        }
    }

    /// Drops what is sent from one host to another before `until`, in this direction only.
    pub fn block(&mut self, from: SocketAddr, to: SocketAddr, until: Time) {
        self.blocks.insert((from, to), until);
    }

    /// Lifts all blocks.
    pub fn heal(&mut self) {
        self.blocks.clear();
    }

    /// Gives the host `inside` a new outside address, as a NAT does whose mapping ran out.
    ///
    /// What it sends from now on comes from `new_outside`, what is sent there reaches it, and the address
    /// it was reachable at before is dead, also for what is under way. With `new_outside == inside` the
    /// NAT is gone. An address that died can be used again.
    ///
    /// # Panics
    /// If another host is reachable at `new_outside` through a NAT.
    pub fn rebind(&mut self, inside: SocketAddr, new_outside: SocketAddr) {
        self.nat.rebind(inside, new_outside);
        self.stats.rebinds += 1;
    }

    /// Sends a datagram from the host `from` (inside address) to what `from` believes to be the address of
    /// the other (its outside address, if it has one).
    pub fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.stats.sent += 1;
        let Some(inside) = self.nat.host_at(to) else {
            self.stats.dead_address += 1;
            return;
        };
        let blocked = self.blocks.get(&(from, inside)).is_some_and(|until| now < *until);
        let link = self.links.entry((from, inside)).or_insert_with(|| Link::new(&self.rng, from, inside));
        let fate = link.decide(now, bytes, &self.default, blocked, &mut self.stats);
        let seen_from = self.nat.outside_of(from);
        if let Some((at, bytes)) = fate.original {
            self.launch(at, seen_from, to, bytes);
        }
        if let Some(at) = fate.copy {
            self.launch(at, seen_from, to, bytes.to_vec());
        }
    }

    fn launch(&mut self, at: Time, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.flights.push(Reverse(Flight { at, seq: self.next_seq, from, to, bytes }));
        self.next_seq += 1;
    }

    /// The next datagram that has arrived by `now`, in order of arrival; call until `None`.
    pub fn poll(&mut self, now: Time) -> Option<Datagram> {
        while self.next_delivery()? <= now {
            let Reverse(flight) = self.flights.pop()?;
            let Some(to) = self.nat.host_at(flight.to) else {
                self.stats.dead_address += 1;
                continue;
            };
            self.stats.delivered += 1;
            self.stats.delivered_bytes += flight.bytes.len() as u64;
            return Some(Datagram { from: flight.from, to, bytes: flight.bytes });
        }
        None
    }

    /// When the next datagram arrives (or turns out to go to a dead address), if any is under way.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Time> {
        self.flights.peek().map(|Reverse(flight)| flight.at)
    }

    /// Datagrams under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn link(&mut self, from: SocketAddr, to: SocketAddr) -> &mut Link {
        self.links.entry((from, to)).or_insert_with(|| Link::new(&self.rng, from, to))
    }
}

/// Who is reachable where. A host without an entry is reachable at its own address.
#[derive(Debug, Default)]
struct Nat {
    outside: BTreeMap<SocketAddr, SocketAddr>,
    inside: BTreeMap<SocketAddr, SocketAddr>,
    /// Outside addresses that were given up.
    dead: BTreeSet<SocketAddr>,
}

impl Nat {
    fn rebind(&mut self, inside: SocketAddr, new_outside: SocketAddr) {
        let owner = self.inside.get(&new_outside);
        assert!(owner.is_none_or(|host| *host == inside), "the outside address is taken");
        if let Some(old) = self.outside.remove(&inside) {
            self.inside.remove(&old);
            self.dead.insert(old);
        }
        self.dead.remove(&new_outside);
        if new_outside != inside {
            self.outside.insert(inside, new_outside);
            self.inside.insert(new_outside, inside);
        }
    }

    fn outside_of(&self, inside: SocketAddr) -> SocketAddr {
        self.outside.get(&inside).copied().unwrap_or(inside)
    }

    /// The host that what is sent to `address` reaches.
    fn host_at(&self, address: SocketAddr) -> Option<SocketAddr> {
        if let Some(inside) = self.inside.get(&address) {
            return Some(*inside);
        }
        let hidden = self.outside.contains_key(&address);
        (!hidden && !self.dead.contains(&address)).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_host_without_nat_is_reachable_at_its_own_address() {
        let nat = Nat::default();
        assert_eq!((nat.host_at(host(1)), nat.outside_of(host(1))), (Some(host(1)), host(1)));
    }

    #[test]
    fn only_the_newest_outside_address_lives() {
        let mut nat = Nat::default();
        nat.rebind(host(1), host(101));
        nat.rebind(host(1), host(102));
        assert_eq!(nat.outside_of(host(1)), host(102));
        assert_eq!([1, 101, 102].map(|port| nat.host_at(host(port))), [None, None, Some(host(1))]);
    }

    #[test]
    fn a_dead_address_can_be_used_again_by_another_host() {
        let mut nat = Nat::default();
        nat.rebind(host(1), host(101));
        nat.rebind(host(1), host(1));
        nat.rebind(host(2), host(101));
        assert_eq!([1, 2, 101].map(|port| nat.host_at(host(port))), [Some(host(1)), None, Some(host(2))]);
    }

    #[test]
    #[should_panic(expected = "taken")]
    fn two_hosts_cannot_share_an_outside_address() {
        let mut nat = Nat::default();
        nat.rebind(host(1), host(101));
        nat.rebind(host(2), host(101));
    }
}

//! Clients that mean harm. Each also plays by the rules, on a connection of its own, so that it has all that a client
//! can have.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use netcode::handshake::{HELLO, HELLO_BYTES};
use netcode::packet::{ConnId, DATA_FLAGS, Header, MAX_DATAGRAM};
use netcode::rng::Rng;

use super::cluster::Cluster;
use super::options::Drawn;
use super::player::Seals;

const PORT: u16 = 6000;
/// Datagrams of others that are kept for later.
const KEPT: usize = 256;
/// Chance of a datagram to be kept: so, some are seconds old when they are sent again.
const KEEP: f64 = 0.05;
/// Digests of what hostile clients sent that others had sealed: more than are under way at a time.
const SEALS: usize = 1 << 14;
/// The shortest data packet to the server.
const LEAST: usize = 24;
/// Of so many data packets, one that withholds its acks takes one: it stays connected, and acknowledges next to nothing.
const TAKEN: u64 = 32;

/// What a hostile client does beside playing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Sees what others send to the server, and sends some of it from its own address, where it arrives earlier.
    Copy,
    /// Sends what others sent before once more, in both directions.
    Replay,
    /// Acknowledges next to nothing.
    Withhold,
    /// Sends junk with others' connection ids, from its own address and from theirs.
    Flood,
}

/// The address from which a hostile client does it: not the one of its connection.
fn lair(client: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 3, (client >> 8) as u8, client as u8)), PORT)
}

/// Whether an address is one of those.
pub(super) fn is_lair(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if matches!(ip.octets(), [10, 3, _, _]))
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub copied: u64,
    pub replayed: u64,
    pub withheld: u64,
    pub junk: u64,
}

/// A datagram of somebody else.
#[derive(Debug)]
struct Seen {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// A datagram that a hostile client sends.
#[derive(Debug)]
pub(super) struct Shot {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    /// Somebody sealed it, once.
    pub sealed: bool,
}

/// All hostile clients of an arena.
#[derive(Debug)]
pub(super) struct Hostiles {
    harms: Vec<Option<Harm>>,
    copiers: Vec<usize>,
    replayers: Vec<usize>,
    flooders: Vec<usize>,
    copy_chance: f64,
    replay_chance: f64,
    junk_per_tick: u64,
    rng: Rng,
    seen: VecDeque<Seen>,
    /// What was copied is sealed, if by somebody else.
    sealed: Seals,
    pub done: Done,
}

impl Hostiles {
    /// Who is hostile among that many clients, and how.
    pub(super) fn new(drawn: &Drawn, clients: usize, rng: &Rng) -> Self {
        let mut rng = rng.fork("hostile clients");
        let mut harms = vec![None; clients];
        if let Some(hostile) = drawn.hostile {
            for harm in &mut harms {
                let kind = pick(&mut rng, &[Harm::Copy, Harm::Replay, Harm::Withhold, Harm::Flood]);
                *harm = kind.filter(|_| rng.chance(hostile.share));
            }
        }
        let all = |harm| (0..).zip(&harms).filter(|(_, of)| **of == Some(harm)).map(|(client, _)| client).collect();
        Self {
            copiers: all(Harm::Copy),
            replayers: all(Harm::Replay),
            flooders: all(Harm::Flood),
            copy_chance: drawn.hostile.map_or(0.0, |hostile| hostile.copy),
            replay_chance: drawn.hostile.map_or(0.0, |hostile| hostile.replay),
            junk_per_tick: drawn.hostile.map_or(0, |hostile| hostile.junk_per_tick),
            harms,
            rng,
            seen: VecDeque::new(),
            sealed: Seals::keeping(SEALS),
            done: Done::default(),
        }
    }

    /// Nobody is hostile any more.
    pub(super) fn stop(&mut self) {
        self.harms.fill(None);
        self.copiers.clear();
        self.replayers.clear();
        self.flooders.clear();
        self.seen.clear();
    }

    /// Those that withhold acks begin to play by the rules; who they are.
    pub(super) fn relent(&mut self) -> Vec<usize> {
        let withholds = |harm: &mut Option<Harm>| harm.take_if(|harm| *harm == Harm::Withhold).is_some();
        (0..).zip(&mut self.harms).filter_map(|(client, harm)| withholds(harm).then_some(client)).collect()
    }

    pub(super) fn harm(&self, client: usize) -> Option<Harm> {
        self.harms.get(client).copied().flatten()
    }

    /// The addresses that copies come from.
    pub(super) fn lairs(&self) -> impl Iterator<Item = SocketAddr> {
        self.copiers.iter().copied().map(lair)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.harms.iter().flatten().count()
    }

    /// Whether anybody sends anything beside playing.
    pub(super) fn strikes(&self) -> bool {
        !self.replayers.is_empty() || !self.flooders.is_empty()
    }

    /// Whether somebody sealed what came from one of their addresses.
    pub(super) fn copied(&self, datagram: &[u8]) -> bool {
        self.sealed.knows(datagram)
    }

    /// Whether a client leaves a data packet unread, so as not to acknowledge it.
    pub(super) fn ignores(&mut self, client: usize, datagram: &[u8]) -> bool {
        let data = datagram.first().is_some_and(|flags| flags & DATA_FLAGS != 0);
        if self.harm(client) != Some(Harm::Withhold) || !data {
            return false;
        }
        self.done.withheld += 1;
        !self.done.withheld.is_multiple_of(TAKEN)
    }

    /// A datagram is sent; hostile clients on its way see it. Where a copy of it comes from, if one is made. `copies`: one
    /// may be made at once. In its first moments a connection belongs to the address that the first valid packet comes from,
    /// and to whoever can read and overtake, that address can be its own.
    pub(super) fn see(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], copies: bool) -> Option<SocketAddr> {
        if !self.replayers.is_empty() && self.rng.chance(KEEP) {
            if self.seen.len() == KEPT {
                self.seen.pop_front();
            }
            self.seen.push_back(Seen { from, to, bytes: bytes.to_vec() });
        }
        if self.copiers.is_empty() || !copies || !self.rng.chance(self.copy_chance) {
            return None;
        }
        let copier = pick(&mut self.rng, &self.copiers)?;
        self.sealed.sealed(bytes);
        self.done.copied += 1;
        Some(lair(copier))
    }

    /// What they send in a tick to these connections, beside what they must as players.
    pub(super) fn strike(&mut self, victims: &[Victim]) -> Vec<Shot> {
        let mut shots = Vec::new();
        for at in 0..self.replayers.len() {
            if self.rng.chance(self.replay_chance) {
                shots.extend(self.replay(at));
            }
        }
        for flooder in self.flooders.clone() {
            for _ in 0..self.junk_per_tick {
                let Some(victim) = pick(&mut self.rng, victims) else { return shots };
                let from = if self.rng.chance(0.5) { lair(flooder) } else { victim.inside };
                shots.push(Shot { from, to: victim.server, bytes: self.junk(victim.conn), sealed: false });
                self.done.junk += 1;
            }
        }
        shots
    }

    fn replay(&mut self, replayer: usize) -> Option<Shot> {
        let at = self.rng.below(self.seen.len().max(1) as u64) as usize;
        // To the server from its own address, or from that of the sender.
        let own = self.rng.chance(0.5);
        let Seen { from, to, bytes } = self.seen.get(at)?;
        let own = own && Cluster::shard_at(*to).is_some();
        let from = if own { lair(*self.replayers.get(replayer)?) } else { *from };
        if own {
            self.sealed.sealed(bytes);
        }
        self.done.replayed += 1;
        Some(Shot { from, to: *to, bytes: bytes.clone(), sealed: true })
    }

    fn junk(&mut self, conn: ConnId) -> Vec<u8> {
        let kind = self.rng.below(10);
        let len = match kind {
            0 => HELLO_BYTES,
            _ => 1 + self.rng.below(MAX_DATAGRAM as u64 + 100) as usize,
        };
        let mut junk = vec![0; len];
        self.rng.fill(&mut junk);
        let (pn, phase) = (self.rng.below(1 << 12), self.rng.chance(0.5));
        match kind {
            0 => junk.iter_mut().take(1).for_each(|first| *first = HELLO),
            1 => {}
            _ if len >= LEAST => {
                Header::write(&mut junk, Some(conn), pn, phase);
            }
            _ => {}
        }
        junk
    }
}

/// A connection that junk is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub conn: ConnId,
    pub inside: SocketAddr,
    pub server: SocketAddr,
}

fn pick<T: Copy>(rng: &mut Rng, among: &[T]) -> Option<T> {
    let at = rng.below(among.len().max(1) as u64) as usize;
    among.get(at).copied()
}

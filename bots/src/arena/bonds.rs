//! Who owns which entity and who stays in whose area, tick by tick: the truth as zone and game have it.

use core::time::Duration;
use std::collections::BTreeMap;

use netcode::packet::ConnId;
use netcode::rng::Rng;
use server::replication::Relation;
use sim::{EntityId, Frame};

use super::tight::{Parties, Tight};

/// A possession lasts at most so many seconds.
const POSSESSED_S: u64 = 3;
/// Parties are looked at so many times a second.
const LOOKS_PER_S: u64 = 2;

/// One connection's.
#[derive(Debug)]
struct Bond {
    client: usize,
    /// The entity that the zone made for it.
    seat: Option<EntityId>,
    /// What it owns, from which tick on.
    owned: Vec<(u64, EntityId)>,
    /// Who stays in its area, from which tick on and before which.
    pins: Vec<Pin>,
    /// Until when it owns another's entity.
    possesses: Option<u64>,
    left: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pin {
    id: EntityId,
    from: u64,
    until: u64,
}

/// What is to be told to a connection's shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    Own(ConnId, EntityId),
    Relate(ConnId, EntityId, Relation),
}

/// All connections' that ever were.
#[derive(Debug)]
pub(super) struct Bonds {
    bonds: BTreeMap<u32, Bond>,
    parties: Option<Parties>,
    possessions: Option<Duration>,
    next_possession: u64,
    rate: u64,
    rng: Rng,
    /// How often a connection came to own the entity of another.
    pub possessed: u64,
}

impl Bonds {
    pub(super) fn new(tight: &Tight, rate: u16, rng: Rng) -> Self {
        let (parties, possessions) = (tight.parties, tight.possessions);
        Self { bonds: BTreeMap::new(), parties, possessions, next_possession: 0, rate: rate.into(), rng, possessed: 0 }
    }

    /// A connection of a client stands.
    pub(super) fn join(&mut self, conn: ConnId, client: usize) {
        let bond = Bond { client, seat: None, owned: Vec::new(), pins: Vec::new(), possesses: None, left: false };
        self.bonds.insert(conn.0, bond);
    }

    pub(super) fn leave(&mut self, conn: ConnId) {
        if let Some(bond) = self.bonds.get_mut(&conn.0) {
            bond.left = true;
        }
    }

    /// The zone has made an entity for a connection, for the frame of that tick.
    pub(super) fn seat(&mut self, conn: ConnId, entity: EntityId, tick: u64) {
        if let Some(bond) = self.bonds.get_mut(&conn.0) {
            bond.seat = Some(entity);
            bond.owned.push((tick, entity));
        }
    }

    /// The entity that the zone made for a connection.
    pub(super) fn seat_of(&self, conn: ConnId) -> Option<EntityId> {
        self.bonds.get(&conn.0)?.seat
    }

    /// Nobody owns another's entity from now on.
    pub(super) fn calm(&mut self) {
        self.possessions = None;
    }

    /// What changes with this frame.
    pub(super) fn turn(&mut self, frame: &Frame) -> Vec<Tie> {
        let (mut ties, tick) = (Vec::new(), frame.tick);
        self.end_possessions(frame, &mut ties);
        self.possess(tick, &mut ties);
        if tick.is_multiple_of((self.rate / LOOKS_PER_S).max(1)) {
            self.unite(tick, &mut ties);
        }
        ties
    }

    fn end_possessions(&mut self, frame: &Frame, ties: &mut Vec<Tie>) {
        let tick = frame.tick;
        let over = self.possessions.is_none();
        for (conn, bond) in self.bonds.iter_mut().filter(|(_, bond)| !bond.left) {
            let (Some(until), Some(seat)) = (bond.possesses, bond.seat) else { continue };
            let lives = bond.owned.last().is_some_and(|(_, id)| frame.row(*id).is_some());
            if over || tick >= until || !lives {
                bond.possesses = None;
                bond.owned.push((tick, seat));
                ties.push(Tie::Own(ConnId(*conn), seat));
            }
        }
    }

    /// Now and then some connection owns the entity of another.
    fn possess(&mut self, tick: u64, ties: &mut Vec<Tie>) {
        let Some(every) = self.possessions.filter(|_| tick >= self.next_possession) else { return };
        let every = every.as_millis() as u64 * self.rate / 1000;
        self.next_possession = tick + 1 + self.rng.below(2 * every + 1);
        let seated: Vec<_> = self.seated().collect();
        let mut pick = || {
            let at = self.rng.below(seated.len().max(1) as u64) as usize;
            seated.get(at).copied()
        };
        let (Some((conn, ..)), Some((_, _, other))) = (pick(), pick()) else { return };
        let until = tick + 1 + self.rng.below(POSSESSED_S * self.rate);
        if let Some(bond) = self.bonds.get_mut(&conn.0).filter(|bond| bond.possesses.is_none()) {
            self.possessed += 1;
            bond.possesses = Some(until);
            bond.owned.push((tick, other));
            ties.push(Tie::Own(conn, other));
        }
    }

    /// Members of a party have each other in their area, most of the time.
    fn unite(&mut self, tick: u64, ties: &mut Vec<Tie>) {
        let Some(parties) = self.parties else { return };
        let clients = self.bonds.values().map(|bond| bond.client + 1).max().unwrap_or(0);
        let party = |client: usize| {
            let member = (client as f64) < parties.share * clients as f64;
            member.then_some(client / usize::from(parties.size.max(1)))
        };
        let seated: Vec<_> = self.seated().collect();
        for (conn, client, seat) in &seated {
            let Some(own) = party(*client) else { continue };
            let Some(bond) = self.bonds.get_mut(&conn.0) else { continue };
            let mates = seated.iter().filter(|(_, mate, id)| party(*mate) == Some(own) && id != seat);
            // Now and then one leaves the party for a few seconds.
            let wanted: Vec<EntityId> = mates.filter(|_| self.rng.chance(0.95)).map(|(_, _, id)| *id).collect();
            for pin in bond.pins.iter_mut().filter(|pin| pin.until == u64::MAX) {
                if !wanted.contains(&pin.id) {
                    pin.until = tick;
                    ties.push(Tie::Relate(*conn, pin.id, Relation::None));
                }
            }
            for id in wanted {
                if !bond.pins.iter().any(|pin| pin.id == id && pin.until == u64::MAX) {
                    bond.pins.push(Pin { id, from: tick, until: u64::MAX });
                    let relations = [Relation::Interaction, Relation::Party, Relation::Target];
                    let relation = relations[self.rng.below(3) as usize];
                    ties.push(Tie::Relate(*conn, id, relation));
                }
            }
        }
    }

    /// Connections with a player in the world: which, whose, and the player.
    fn seated(&self) -> impl Iterator<Item = (ConnId, usize, EntityId)> {
        let seated = self.bonds.iter().filter(|(_, bond)| !bond.left);
        seated.filter_map(|(conn, bond)| Some((ConnId(*conn), bond.client, bond.seat?)))
    }

    /// What a connection owned at a tick.
    pub(super) fn own_at(&self, conn: ConnId, tick: u64) -> Option<EntityId> {
        let owned = &self.bonds.get(&conn.0)?.owned;
        owned.iter().rev().find(|(from, _)| *from <= tick).map(|(_, id)| *id)
    }

    /// Whether an entity had to stay in a connection's area at some tick of the `span` ticks up to `tick`.
    pub(super) fn pinned(&self, conn: ConnId, id: EntityId, (tick, span): (u64, u64)) -> bool {
        let Some(bond) = self.bonds.get(&conn.0) else { return false };
        bond.pins
            .iter()
            .any(|pin| pin.id == id && pin.from <= tick && pin.until.saturating_add(1) >= tick.saturating_sub(span))
    }

    /// Who has had to stay in a connection's area for all of the `span` ticks up to `tick`.
    pub(super) fn pinned_for(&self, conn: ConnId, (tick, span): (u64, u64)) -> impl Iterator<Item = EntityId> {
        let pins = self.bonds.get(&conn.0).map_or(&[][..], |bond| &bond.pins);
        pins.iter().filter(move |pin| pin.from + span <= tick && pin.until > tick).map(|pin| pin.id)
    }

    /// Whether the connection owned the same entity for all of the `span` ticks up to `tick`.
    pub(super) fn owned_for(&self, conn: ConnId, (tick, span): (u64, u64)) -> bool {
        let newest = self.bonds.get(&conn.0).and_then(|bond| bond.owned.last());
        newest.is_some_and(|(from, _)| from + span <= tick)
    }
}

//! The connections of one worker, by slot: an array index, no hash.

use core::mem::offset_of;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Range;
use std::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::connection::{Connection, Received};
use crate::crypto::Entropy;
use crate::frame::Control;
use crate::handshake::{ACCEPT_BYTES, HELLO_BYTES, Mac};
use crate::inbox::Inbox;
use crate::packet::ConnId;
use crate::path::{CLAIMS, PathWatch};
use crate::prefetch::{Prefetch, Way};
use crate::time::Time;
use crate::token::{TokenClaims, TokenId};

/// What is kept of a handshake until the client's first valid packet.
pub(super) struct HalfOpen {
    pub(super) token_id: TokenId,
    /// The attempt: the same HELLO again gets the same ACCEPT again.
    pub(super) attempt: Mac,
    pub(super) accept: [u8; ACCEPT_BYTES],
    /// Where the ACCEPTs went; of more than these, the first.
    pub(super) answered: ArrayVec<SocketAddr, CLAIMS>,
    pub(super) claims: Box<TokenClaims>,
    pub(super) until: Time,
}

/// One client. The order in memory is that of use, as the connection's is.
#[repr(C, align(64))]
pub(super) struct Peer {
    /// Where its packets go: where its ACCEPT went and a valid packet came from, or an address that answered a challenge.
    /// `None` until there is such a one.
    pub(super) address: Option<SocketAddr>,
    /// Watches a change of address, from the first packet from another one on.
    pub(super) path: Option<Box<PathWatch>>,
    pub(super) half_open: Option<Box<HalfOpen>>,
    /// Already in the queue of slots that want a packet.
    pub(super) queued: bool,
    pub(super) here: Here,
    pub(super) connection: Connection,
    /// Where every ACCEPT went; `None` when they went to several addresses.
    pub(super) answered: Option<SocketAddr>,
}

/// Of all fields the one with the most values that mean nothing, so that one of them says that nobody is there: whether
/// somebody is can be seen by what each packet needs. It would be some field deep in the connection, which hardly any does.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Here {
    Here = 1,
}

// Where a peer is, it begins where its place does, so that what it needs is known without a look at it.
const _: () = assert!(size_of::<Option<Peer>>() == size_of::<Peer>());

/// How many slots must be free before the oldest of them is used again, as long as there are fresh ones.
///
/// So an id comes back after at least this many connections ended times [`ConnId::GENERATIONS`]; and where clients come and go,
/// no more memory is touched than by as many as there are at a time.
const REUSE_AFTER: usize = 64;

/// An address that no datagram comes from.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Peer {
    /// What each packet needs of this struct, beside the connection.
    const HOT: Range<usize> = offset_of!(Self, address)..offset_of!(Self, connection);

    /// The ACCEPT goes here, too.
    pub(super) fn answer(&mut self, from: SocketAddr) {
        self.answered = self.answered.filter(|answered| *answered == from);
        if let Some(pending) = &mut self.half_open
            && !pending.answered.contains(&from)
        {
            let _ = pending.answered.try_push(from);
        }
    }

    /// The first valid packet came, and not from the one address that ACCEPTs went to: each such address is challenged.
    pub(super) fn contest(&mut self, now: Time, pending: &HalfOpen, entropy: &mut dyn Entropy) {
        let path = self.path.get_or_insert_default();
        for address in &pending.answered {
            let mut data = [0; 8];
            if entropy.fill(&mut data).is_ok() {
                // Each has sent a HELLO and was sent an ACCEPT, or as often both.
                path.claim(now, *address, HELLO_BYTES - ACCEPT_BYTES, data);
            }
        }
    }

    /// Notes where an authentic packet came from (rule W-7); true when the address has changed.
    pub(super) fn follow(
        &mut self,
        now: Time,
        from: SocketAddr,
        received: Received,
        bytes: usize,
        entropy: &mut dyn Entropy,
    ) -> bool {
        // P-9: whoever overtakes a client's first packets with copies of them is not taken for the client.
        let current = if let Some(address) = self.address { address } else { self.first_address() };
        if from == current {
            self.address = Some(current);
            if self.path.is_none() {
                return false;
            }
        }
        let path = self.path.get_or_insert_default();
        path.on_authentic(now, from, current, received.newest, bytes, || {
            let mut data = [0; 8];
            entropy.fill(&mut data).is_ok().then_some(data)
        });
        let moved = received.path_response.and_then(|data| path.on_response(now, from, &data));
        if let Some(address) = moved {
            self.address = Some(address);
            self.connection.on_path_changed(now, address, address.ip() != current.ip());
        }
        if path.is_idle(now) {
            self.path = None;
        }
        moved.is_some_and(|address| address != current)
    }

    /// Where the first valid packet must come from. It lies far from all else, so it is not to be read for every packet.
    #[cold]
    #[inline(never)]
    fn first_address(&self) -> SocketAddr {
        self.answered.unwrap_or(NOWHERE)
    }

    /// Writes the path challenge that is due: where it goes, and its length.
    pub(super) fn challenge(
        &mut self,
        now: Time,
        tick: u64,
        out: &mut [u8],
        inbox: &mut Inbox,
    ) -> Option<(SocketAddr, usize)> {
        let path = self.path.as_mut()?;
        let (to, data) = path.challenge_due(now)?;
        let built = self.connection.build_single(now, Some(tick), Control::PathChallenge(data), out, inbox)?;
        path.on_challenge_sent(now, to, built.len);
        Some((to, built.len))
    }

    /// Whether a packet is due for a reason of its own.
    pub(super) fn wants_packet(&self, now: Time) -> bool {
        let challenge = self.path.as_ref().is_some_and(|path| path.challenge_due(now).is_some());
        challenge || self.connection.wants_packet(now)
    }

    fn next_timeout(&self) -> Time {
        let path = self.path.as_ref().map_or(Time::NEVER, |path| path.next_time());
        self.half_open.as_ref().map_or_else(|| self.connection.next_timeout().min(path), |pending| pending.until)
    }
}

#[derive(Clone, Copy)]
struct Slot {
    generation: u16,
    taken: bool,
}

/// All slots. The clients lie in one stretch of memory, so that where one is follows from its number; what is asked of many at
/// a time is apart from them and small.
pub(super) struct Slots {
    worker: u8,
    capacity: u16,
    slots: Vec<Slot>,
    deadlines: Vec<Time>,
    /// Never more than there was room for at first: what is not used of it the system has not given yet.
    peers: Vec<Option<Peer>>,
    /// Freed slots, oldest first.
    free: VecDeque<u16>,
    len: usize,
}

impl Slots {
    pub(super) fn new(worker: u8, capacity: u16) -> Self {
        let peers = Vec::with_capacity(usize::from(capacity));
        Self { worker, capacity, slots: Vec::new(), deadlines: Vec::new(), peers, free: VecDeque::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id that the next connection will have; `None` when every slot is taken.
    pub(super) fn vacancy(&self) -> Option<ConnId> {
        let used = self.capacity_used();
        if used < self.capacity && self.free.len() < REUSE_AFTER {
            return Some(ConnId::new(self.worker, used, 0));
        }
        let slot = *self.free.front()?;
        let generation = self.slots.get(usize::from(slot))?.generation;
        Some(ConnId::new(self.worker, slot, generation))
    }

    /// Fills the slot that [`vacancy`](Self::vacancy) named.
    pub(super) fn insert(&mut self, conn: ConnId, peer: Peer, deadline: Time) {
        let at = usize::from(conn.slot());
        if at == self.slots.len() {
            self.slots.push(Slot { generation: conn.generation(), taken: false });
            self.deadlines.push(Time::NEVER);
            self.peers.push(None);
        } else if self.free.front() == Some(&conn.slot()) {
            self.free.pop_front();
        }
        if let (Some(slot), Some(place)) = (self.slots.get_mut(at), self.peers.get_mut(at)) {
            debug_assert!(!slot.taken, "the slot was vacant");
            slot.taken = true;
            *place = Some(peer);
            self.len += 1;
        }
        self.set_deadline(conn, deadline);
    }

    pub(super) fn free(&mut self, conn: ConnId) {
        let at = usize::from(conn.slot());
        let Some(slot) = self.slots.get_mut(at) else { return };
        if slot.generation != conn.generation() || !core::mem::take(&mut slot.taken) {
            return;
        }
        slot.generation = (slot.generation + 1) % ConnId::GENERATIONS;
        if let Some(place) = self.peers.get_mut(at) {
            *place = None;
        }
        self.len -= 1;
        self.free.push_back(conn.slot());
        if let Some(deadline) = self.deadlines.get_mut(at) {
            *deadline = Time::NEVER;
        }
    }

    /// The place of a connection in the tables, if it is there.
    fn place(&self, conn: ConnId) -> Option<usize> {
        let at = usize::from(conn.slot());
        let slot = self.slots.get(at)?;
        (slot.taken && conn.worker() == self.worker && conn.generation() == slot.generation).then_some(at)
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.peers.get(self.place(conn)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        let at = self.place(conn)?;
        self.peers.get_mut(at)?.as_mut()
    }

    /// Asks for what the next packet needs of whoever is in a slot, who is not looked at.
    #[inline]
    pub(super) fn prefetch(&self, slot: u16, way: Way, prefetch: Prefetch) {
        let Some(place) = self.peers.get(usize::from(slot)) else { return };
        let peer = core::ptr::from_ref(place).cast::<Peer>();
        prefetch.part(peer, Peer::HOT);
        self.slots.get(usize::from(slot)).inspect(|slot| prefetch.of(*slot));
        self.deadlines.get(usize::from(slot)).inspect(|deadline| prefetch.of(*deadline));
        Connection::prefetch(peer.wrapping_byte_add(offset_of!(Peer, connection)).cast(), way, prefetch);
    }

    /// Asks for what the next packet needs that whoever is in a slot points to.
    #[inline]
    pub(super) fn prefetch_contents(&self, slot: u16, way: Way, prefetch: Prefetch) {
        if let Some(Some(peer)) = self.peers.get(usize::from(slot)) {
            peer.connection.prefetch_contents(way, prefetch);
        }
    }

    /// The id of the connection in a slot.
    pub(super) fn id_at(&self, slot: u16) -> Option<ConnId> {
        let entry = self.slots.get(usize::from(slot)).filter(|entry| entry.taken)?;
        Some(ConnId::new(self.worker, slot, entry.generation))
    }

    /// The ids of all connections, in slot order.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        (0..self.capacity_used()).filter_map(|slot| self.id_at(slot)).collect()
    }

    /// How many slots have ever been used.
    pub(super) fn capacity_used(&self) -> u16 {
        u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn deadline(&self, slot: u16) -> Time {
        self.deadlines.get(usize::from(slot)).copied().unwrap_or(Time::NEVER)
    }

    /// Sets the deadline to what the connection waits for; one that is over gives its slot back.
    pub(super) fn reschedule(&mut self, conn: ConnId) {
        let Some(peer) = self.get(conn) else { return };
        if peer.connection.is_closed() {
            return self.free(conn);
        }
        let due = peer.next_timeout();
        self.set_deadline(conn, due);
    }

    /// Sets the deadline after a message was queued, which costs less than to ask for all that the connection waits for.
    pub(super) fn hasten(&mut self, conn: ConnId) {
        let before = self.deadline(conn.slot());
        if let Some(peer) = self.get(conn).filter(|peer| peer.half_open.is_none()) {
            let due = peer.connection.timeout_after_send(before);
            self.set_deadline(conn, due);
        }
    }

    pub(super) fn set_deadline(&mut self, conn: ConnId, due: Time) {
        if let Some(deadline) = self.deadlines.get_mut(usize::from(conn.slot())) {
            *deadline = due;
        }
    }
}

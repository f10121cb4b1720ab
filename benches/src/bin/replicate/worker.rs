//! A worker of a server without its sockets: all clients' replication, and a sealed datagram for each.

use std::sync::Arc;

use netcode::bits::BitWriter;
use netcode::crypto::{Aead, PacketKey, Psk, SessionKeys, SharedSecret, TAG_BYTES};
use netcode::frame::write_snapshot_head;
use netcode::packet::{AckBlock, Header, MAX_DATAGRAM, Preamble, S2C_HEADER};
use netcode::seq::low16;
use server::replication::{Replica, ReplicaStats, Replication};
use sim::{EntityId, Frame};

use crate::link::{Link, Settled};
use crate::setup::{Codec, Setup};

/// The most bytes in front of a body: header, preamble, and the snapshot's frame head.
const MAX_HEAD: usize = S2C_HEADER + (Preamble::MAX_BITS + 3).div_ceil(8);

const BUFFER: usize = MAX_HEAD + MAX_DATAGRAM;

/// A step on the way to one client's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The area of interest was looked at, if that was due.
    Aoi,
    /// What to send was found and chosen.
    Priority,
    /// It was packed, and noted as sent.
    Pack,
    /// Head and body were sealed.
    Seal,
}

/// How many steps there are.
pub const STEPS: usize = 4;

/// All clients of a worker.
pub struct Worker {
    setup: Setup,
    replication: Replication,
    budget: usize,
    /// A key per client, as a server has, so that the caches are as cold.
    keys: Vec<PacketKey>,
    out: Box<[u8; BUFFER]>,
    /// Bytes of the datagrams sent in the last tick, by client; 0 for who was sent none.
    pub lens: Vec<u16>,
    /// Bytes of all bodies so far.
    pub body_bytes: u64,
    /// The order in which the clients are served.
    order: Vec<u16>,
    /// The version of tables that was pushed last.
    tables: Option<u8>,
}

impl Worker {
    /// A worker that has the first frame, and clients that own those entities.
    pub fn new(setup: &Setup, frame: Arc<Frame>, owned: &[EntityId]) -> Self {
        let (config, budget) = setup.replication();
        let mut replication = Replication::new(&config);
        replication.set_refresh_ticks(config.aoi.refresh_ticks * u64::from(setup.every));
        replication.handle_frame(frame);
        (0..).zip(owned).for_each(|(client, own)| replication.insert(client, *own));
        let keys = (0..owned.len() as u64).map(key).collect();
        let out = Box::new([0; BUFFER]);
        for client in (0..owned.len() as u16).filter(|_| setup.codec == Codec::Compact) {
            replication.set_compact(client, true);
        }
        let (lens, order) = (vec![0; owned.len()], Vec::new());
        Self { setup: *setup, replication, budget, keys, out, lens, body_bytes: 0, order, tables: None }
    }

    /// What clients in the compact codec are to be pushed, if there is something new; from then on they have it.
    pub fn push_tables(&mut self) -> Option<Arc<[u8]>> {
        let (version, bytes) = self.replication.tables().filter(|(version, _)| self.tables != Some(*version))?;
        let bytes = Arc::clone(bytes);
        self.tables = Some(version);
        for client in 0..self.clients() {
            self.replication.on_tables_ready(client, version);
        }
        Some(bytes)
    }

    /// Stage: the next frame; those who follow somebody who turned are told.
    pub fn push(&mut self, frame: Arc<Frame>) {
        self.replication.handle_frame(frame);
    }

    /// Stage: what became of earlier packets.
    pub fn settle(&mut self, settled: &[Settled]) {
        for Settled { client, pn, acked } in settled {
            if *acked {
                self.replication.on_acked(*client, *pn);
            } else {
                self.replication.on_lost(*client, *pn);
            }
        }
    }

    /// Stages: a datagram for every client that is to have one in this tick, one after the other and in the worker's order, as a shard does it. After each
    /// step `lap` is told which one it was; `keep` sees every body before it is sealed.
    pub fn send(&mut self, link: &Link, tick: u64, lap: &mut impl FnMut(Step), keep: &mut impl FnMut(u16, &[u8])) {
        let Self { setup, replication, budget, keys, out, lens, body_bytes, order, .. } = self;
        lens.fill(0);
        order.clear();
        order.extend_from_slice(replication.order());
        assert_eq!(order.len(), keys.len(), "every client has its turn in every tick");
        for client in order.iter().copied().filter(|client| setup.serves(*client, tick)) {
            let key = &keys[usize::from(client)];
            replication.look(client);
            lap(Step::Aoi);
            replication.choose(client, *budget);
            lap(Step::Priority);
            // The body has its place before the length of its head is known.
            let mut w = BitWriter::new(&mut out[MAX_HEAD..MAX_HEAD + *budget]);
            replication.pack(Some(1), &mut w);
            let body = w.finish();
            replication.on_sent(client, tick);
            keep(client, &out[MAX_HEAD..MAX_HEAD + body]);
            lap(Step::Pack);
            let len = seal(key, tick, link.ack(client, tick), out, body);
            lens[usize::from(client)] = len as u16;
            *body_bytes += body as u64;
            lap(Step::Seal);
        }
    }

    /// How many clients there are.
    pub fn clients(&self) -> u16 {
        self.keys.len() as u16
    }

    /// Entities that the clients know, their own included: all together.
    pub fn known(&self) -> usize {
        self.replicas().map(Replica::known).sum()
    }

    /// Bytes of memory that the clients have each, all together, and those that are nobody's own.
    pub fn memory(&self) -> (usize, usize) {
        (self.replicas().map(Replica::bytes).sum(), self.replication.shared_bytes())
    }

    /// Clients who know so many that they only follow the nearest.
    pub fn crowded(&self) -> usize {
        self.replicas().filter(|replica| replica.crowded()).count()
    }

    fn replicas(&self) -> impl Iterator<Item = &Replica> {
        (0..self.clients()).filter_map(|client| self.replication.client(client))
    }

    /// Counters so far.
    pub fn stats(&self) -> ReplicaStats {
        self.replication.stats()
    }
}

fn key(client: u64) -> PacketKey {
    let mut transcript = [0; 32];
    transcript[..8].copy_from_slice(&client.to_le_bytes());
    let keys = SessionKeys::derive(Aead::Aes128Gcm, &SharedSecret::new([1; 32]), &Psk::new([2; 32]), &transcript);
    PacketKey::from_secret(Aead::Aes128Gcm, &keys.s2c)
}

/// Makes a datagram around the body at [`MAX_HEAD`], as a connection without messages does. Returns its length.
fn seal(key: &PacketKey, tick: u64, ack: Option<AckBlock>, out: &mut [u8; BUFFER], body: usize) -> usize {
    let mut head = [0; MAX_HEAD];
    let header = Header::write(&mut head, None, tick, false);
    let mut w = BitWriter::new(&mut head[header..]);
    Preamble { ack, tick: Some(low16(tick)) }.write(&mut w);
    write_snapshot_head(&mut w);
    let len = header + w.finish();
    let head = &head[..len];
    let start = MAX_HEAD - head.len();
    out[start..MAX_HEAD].copy_from_slice(head);
    let (aad, rest) = out[start..].split_at_mut(header);
    let (plaintext, tail) = rest.split_at_mut(head.len() - header + body);
    let tag = key.seal(tick, aad, plaintext).unwrap_or_default();
    tail[..TAG_BYTES].copy_from_slice(&tag);
    head.len() + body + TAG_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcode::bits::BitReader;
    use netcode::packet::Direction;

    #[test]
    fn a_datagram_opens_to_its_preamble_the_frame_head_and_the_body() {
        let (tick, ack) = (70_000, AckBlock { largest: 9, delay: 0, mask: 5 });
        for (ack, head) in [(AckBlock { mask: u32::MAX, ..ack }, 9), (ack, 13)] {
            let mut out = [0; BUFFER];
            out[MAX_HEAD..MAX_HEAD + 5].copy_from_slice(b"a bod");
            let len = seal(&key(7), tick, Some(ack), &mut out, 5);
            assert_eq!(len, head + 5 + TAG_BYTES);
            let datagram = &mut out[MAX_HEAD - head..][..len];
            assert_eq!(Header::read(datagram, Direction::ToClient).map(|header| header.pn), Ok(low16(tick)));
            let (aad, sealed) = datagram.split_at_mut(S2C_HEADER);
            let plaintext = key(7).open(tick, aad, sealed).expect("the same key");
            let preamble = Preamble::read(&mut BitReader::new(plaintext));
            assert_eq!(preamble, Ok(Preamble { ack: Some(ack), tick: Some(low16(tick)) }));
            assert!(plaintext.ends_with(b"a bod"));
        }
    }
}

//! What came from each address, and what it was sent before it proved anything (SPEC.md, "Unproven addresses").

use core::net::SocketAddr;
use std::collections::BTreeMap;

use netcode::handshake::{ACCEPT, HELLO, REFUSE, RETRY};
use netcode::path::AMPLIFICATION;

use super::hostile::is_lair;
use super::report::Broken;

/// Bytes of one address.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    hellos: u64,
    answers: u64,
    received: u64,
    sent: u64,
}

/// The accounts of all addresses that the server has heard of.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<SocketAddr, Account>,
}

impl Ledger {
    /// A datagram reached the server.
    pub(super) fn received(&mut self, from: SocketAddr, datagram: &[u8]) {
        let (first, bytes) = (datagram.first().copied(), datagram.len() as u64);
        if first != Some(HELLO) && !is_lair(from) {
            return;
        }
        let account = self.accounts.entry(from).or_default();
        account.received += bytes;
        account.hellos += if first == Some(HELLO) { bytes } else { 0 };
    }

    /// The server sends a datagram. Answers to HELLOs are never longer than these; and to a hostile client's second address,
    /// which never answers a challenge, all that goes is bounded by what came.
    pub(super) fn sent(&mut self, to: SocketAddr, datagram: &[u8]) -> Option<Broken> {
        let bytes = datagram.len() as u64;
        let answer = matches!(datagram.first(), Some(&(RETRY | ACCEPT | REFUSE)));
        if !answer && !is_lair(to) {
            return None;
        }
        let account = self.accounts.entry(to).or_default();
        account.sent += bytes;
        account.answers += if answer { bytes } else { 0 };
        let Account { hellos, answers, received, sent } = *account;
        if answers > hellos {
            return Some(Broken::Amplified { received: hellos, sent: answers });
        }
        (is_lair(to) && sent > AMPLIFICATION as u64 * received).then_some(Broken::Amplified { received, sent })
    }
}

//! What came out of several seeds.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::report::Report;

/// What came out of several seeds: whether each kind of fault really struck, and what was dropped and ended why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many.
    pub seeds: u64,
    /// Those with broken invariants.
    pub broken_seeds: u64,
    /// Broken invariants.
    pub violations: u64,
    /// What the network and hostile clients did, by fault.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each state of replication was reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// Clients whose address changed on the same connection.
    pub roams: u64,
    /// Keys rolled.
    pub key_rolls: u64,
    /// Clients that meant harm.
    pub hostile: u64,
    /// Datagrams dropped by the server, by cause.
    pub server_drops: BTreeMap<&'static str, u64>,
    /// Datagrams dropped by clients, by cause.
    pub client_drops: BTreeMap<&'static str, u64>,
    /// Ends of connections and of attempts, by reason.
    pub ends: BTreeMap<String, u64>,
    /// Faults that never struck and states that were never reached: of these, nothing was tested.
    pub never: Vec<&'static str>,
}

impl Totals {
    /// Adds a seed.
    pub fn add(&mut self, report: &Report) {
        fn sum<K: Ord + Clone>(totals: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
            for (kind, count) in more {
                *totals.entry(kind.clone()).or_default() += count;
            }
        }
        self.seeds += 1;
        self.broken_seeds += u64::from(report.violations > 0);
        self.violations += report.violations;
        self.roams += report.roams;
        self.key_rolls += report.key_rolls;
        self.hostile += report.hostile;
        sum(&mut self.faults, &report.faults);
        sum(&mut self.reached, &report.reached);
        sum(&mut self.server_drops, &report.server_drops);
        sum(&mut self.client_drops, &report.client_drops);
        sum(&mut self.ends, &report.ends);
        self.never =
            self.faults.iter().chain(&self.reached).filter(|(_, count)| **count == 0).map(|(kind, _)| *kind).collect();
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
            let words: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            if words.is_empty() { "none".into() } else { words.join(", ") }
        }
        write!(
            f,
            "{} seeds: {} violations in {} of them; faults: {}; reached: {}; roams {}, key rolls {}, hostile clients {}; dropped by \
             servers: {}; by clients: {}; ends: {}",
            self.seeds,
            self.violations,
            self.broken_seeds,
            list(&self.faults),
            list(&self.reached),
            self.roams,
            self.key_rolls,
            self.hostile,
            list(&self.server_drops),
            list(&self.client_drops),
            list(&self.ends)
        )?;
        if !self.never.is_empty() {
            write!(f, "; never struck: {}", self.never.join(", "))?;
        }
        Ok(())
    }
}

//! Names and counts as reports tell them.

use std::collections::BTreeMap;

use sim::{Refusal, Refusals};

/// Counts by the names of their causes.
pub(crate) fn causes(refusals: &Refusals) -> BTreeMap<&'static str, u64> {
    Refusal::ALL.into_iter().map(|cause| (cause.name(), u64::from(refusals.of(cause)))).collect()
}

/// Counts in one line; what is 0 is left out.
pub(crate) fn list(counts: &BTreeMap<&'static str, u64>) -> String {
    let words: Vec<_> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(cause, count)| format!("{cause} {count}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

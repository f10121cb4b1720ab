//! REFUSE: no, and why.

use super::{Mac, REFUSE, REFUSE_BYTES, Versions};
use crate::crypto::{equal_constant_time, handshake_mac};
use crate::error::RefuseReason;
use crate::stats::Drop;

/// A REFUSE's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefuseReason,
    /// What the server speaks; only with [`RefuseReason::VersionMismatch`], and then, too, it may not say.
    pub versions: Option<Versions>,
}

impl From<RefuseReason> for Refusal {
    fn from(reason: RefuseReason) -> Self {
        Self { reason, versions: None }
    }
}

/// Writes a REFUSE. Without a key (the token could not be opened) its MAC is zero.
#[must_use]
pub fn write_refuse(attempt: &Mac, refusal: impl Into<Refusal>, mac_key: Option<&[u8; 32]>) -> [u8; REFUSE_BYTES] {
    let Refusal { reason, versions } = refusal.into();
    let mut out = [0; REFUSE_BYTES];
    out[0] = REFUSE;
    out[1] = reason.wire();
    if let Some(Versions { lowest, highest }) = versions {
        out[2..4].copy_from_slice(&[lowest, highest]);
    }
    out[4..20].copy_from_slice(attempt);
    if let Some(key) = mac_key {
        let mac = handshake_mac(key, &[&out[..20]]);
        out[20..].copy_from_slice(&mac);
    }
    out
}

/// Reads a REFUSE of our attempt (rule E-1): what it says, and whether its MAC proves that a server of the cluster said
/// it.
///
/// # Errors
/// The kind of drop to count.
pub fn read_refuse(datagram: &[u8], attempt: &Mac, mac_key: &[u8; 32]) -> Result<(Refusal, bool), Drop> {
    let bytes: &[u8; REFUSE_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
    let reason = RefuseReason::from_wire(bytes[1]).ok_or(Drop::ReservedBits)?;
    let versions = match (reason, bytes[2], bytes[3]) {
        (_, 0, 0) => None,
        (RefuseReason::VersionMismatch, lowest, highest) if (1..=highest).contains(&lowest) => {
            Some(Versions { lowest, highest })
        }
        _ => return Err(Drop::ReservedBits),
    };
    if bytes[4..20] != *attempt {
        return Err(Drop::NotExpected);
    }
    let proven = equal_constant_time(&handshake_mac(mac_key, &[&bytes[..20]]), &bytes[20..]);
    Ok((Refusal { reason, versions }, proven))
}

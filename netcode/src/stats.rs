//! Counters: what an endpoint did, and what it dropped and why. A bad packet leaves a count, never a log line.

/// Why a datagram was dropped (or a handshake not answered).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Drop {
    /// Shorter than its kind of packet can be.
    TooShort,
    /// Longer than any datagram of this protocol, or a handshake datagram of the wrong length.
    WrongLength,
    /// The first byte names no packet that this side takes.
    UnknownType,
    /// A reserved bit or byte is set.
    ReservedBits,
    /// Not our protocol or version.
    WrongProtocol,
    /// No connection has that id.
    UnknownConnection,
    /// The packet number was received before.
    Duplicate,
    /// The packet number is too old to tell.
    TooOld,
    /// The AEAD tag does not match.
    AuthFailed,
    /// Authentic, but its content breaks the protocol.
    Malformed,
    /// Carries a snapshot older than the newest one: taken as lost.
    LateSnapshot,
    /// A handshake datagram that answers nothing we sent.
    NotExpected,
    /// A handshake MAC does not match.
    BadMac,
    /// A HELLO beyond the handshake work allowed for this moment.
    Overload,
    /// A HELLO that was refused with a reason.
    Refused,
    /// A HELLO, its cookie valid, beyond what its network prefix may ask for.
    PrefixLimited,
    /// An authentic packet beyond the bytes a second that the connection may send: taken as lost.
    OverCap,
}

/// How many kinds of [`Drop`] there are.
pub const DROP_KINDS: usize = 17;

impl Drop {
    /// Every kind, in index order.
    pub const ALL: [Self; DROP_KINDS] = [
        Self::TooShort,
        Self::WrongLength,
        Self::UnknownType,
        Self::ReservedBits,
        Self::WrongProtocol,
        Self::UnknownConnection,
        Self::Duplicate,
        Self::TooOld,
        Self::AuthFailed,
        Self::Malformed,
        Self::LateSnapshot,
        Self::NotExpected,
        Self::BadMac,
        Self::Overload,
        Self::Refused,
        Self::PrefixLimited,
        Self::OverCap,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::WrongLength => "wrong_length",
            Self::UnknownType => "unknown_type",
            Self::ReservedBits => "reserved_bits",
            Self::WrongProtocol => "wrong_protocol",
            Self::UnknownConnection => "unknown_connection",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
            Self::AuthFailed => "auth_failed",
            Self::Malformed => "malformed",
            Self::LateSnapshot => "late_snapshot",
            Self::NotExpected => "not_expected",
            Self::BadMac => "bad_mac",
            Self::Overload => "overload",
            Self::Refused => "refused",
            Self::PrefixLimited => "prefix_limited",
            Self::OverCap => "over_cap",
        }
    }
}

/// A counter per kind of [`Drop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DROP_KINDS]);

impl Drops {
    /// Counts one.
    pub fn count(&mut self, drop: Drop) {
        if let Some(counter) = self.0.get_mut(drop as usize) {
            *counter += 1;
        }
    }

    /// How many of that kind.
    #[must_use]
    pub fn get(&self, drop: Drop) -> u64 {
        self.0.get(drop as usize).copied().unwrap_or(0)
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Drop, u64)> + '_ {
        Drop::ALL.into_iter().map(|drop| (drop, self.get(drop))).filter(|(_, count)| *count > 0)
    }

    /// Adds another set of counters.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// Packets and bytes (UDP payload) each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams received, valid or not.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

impl Traffic {
    pub(crate) fn received(&mut self, bytes: usize) {
        self.packets_in += 1;
        self.bytes_in += bytes as u64;
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.packets_out += 1;
        self.bytes_out += bytes as u64;
    }
}

/// A connection's quality as this side measured it. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Smoothed round-trip time (RFC 6298), the peer's ack delay taken out; 0 before the first sample.
    pub rtt: u64,
    /// The smallest round-trip time seen.
    pub rtt_min: u64,
    /// The smallest of the last ten seconds.
    pub rtt_min_recent: u64,
    /// The latest sample.
    pub rtt_latest: u64,
    /// The median of the last 128 samples.
    pub rtt_p50: u64,
    /// The 99th percentile of the last 128 samples.
    pub rtt_p99: u64,
    /// Mean deviation of the round-trip time.
    pub jitter: u64,
    /// Ack-eliciting packets sent that the peer acknowledged. Probes of the path's MTU are not counted.
    pub acked: u64,
    /// Ack-eliciting packets sent that were given up as lost.
    pub lost: u64,
    /// Those of the lost that were acknowledged later after all.
    pub spurious: u64,
    /// Share of the last 256 settled packets that was lost, in parts per 10,000.
    pub loss_recent: u32,
    /// Bytes of datagrams sent over the last second.
    pub bytes_per_s_out: u64,
    /// Bytes of datagrams received over the last second.
    pub bytes_per_s_in: u64,
    /// What rate control lets this side send, in bytes per second.
    pub rate: u32,
    /// Bytes of the longest datagram that the path is known to take.
    pub mtu: u16,
    /// Bytes that wait to be sent or acknowledged, over all channels.
    pub queued_bytes: u64,
    /// Messages (or segments of them) that wait to be sent or acknowledged, over all channels.
    pub queued_messages: u64,
    /// Bytes really held of what arrived out of order or in parts, over all channels.
    pub held_bytes: u64,
    /// Messages that made room for newer ones.
    pub dropped: u64,
}

impl Quality {
    /// Share of the settled packets that were lost, in parts per 10,000.
    #[must_use]
    pub const fn loss_per_10_000(&self) -> u64 {
        let settled = self.acked + self.lost;
        match (self.lost * 10_000).checked_div(settled) {
            Some(share) => share,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_counter() {
        let mut drops = Drops::default();
        for drop in Drop::ALL {
            drops.count(drop);
        }
        assert!(Drop::ALL.iter().all(|drop| drops.get(*drop) == 1));
        assert_eq!(drops.total(), DROP_KINDS as u64);
        assert!(Drop::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

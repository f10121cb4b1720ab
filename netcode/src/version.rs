//! Versions of the protocol: what each side speaks, and how the two find the highest that both do.
//!
//! A client says HELLO in the highest version it speaks and names that version in the HELLO as well. A server that does
//! not speak it refuses and names its own range; the client then tries the highest version of both. Such a refusal
//! cannot be proven (the server need not understand the HELLO), so anybody on the path can forge one to push a client
//! down. That shows at the server: the HELLO of the lower version still names, under its MAC, the highest one that the
//! client speaks (the idea of TLS's `TLS_FALLBACK_SCSV`, RFC 7507).

/// The version that this crate speaks.
pub const VERSION: u8 = 2;

/// A range of versions that one side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub lowest: u8,
    /// The highest; not below the lowest.
    pub highest: u8,
}

/// What a server makes of a HELLO's two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It speaks that version, and both sides have no higher one in common.
    Spoken,
    /// It does not speak that version: it says which ones it does.
    NotSpoken,
    /// Both sides speak a higher version, so a refusal that made the client come down was forged.
    Downgraded,
}

impl Versions {
    /// What this crate speaks.
    pub const SPOKEN: Self = Self { lowest: VERSION, highest: VERSION };

    /// Whether the range has that version.
    #[must_use]
    pub const fn contains(self, version: u8) -> bool {
        self.lowest <= version && version <= self.highest
    }

    /// A server with this range, and a HELLO of `version` from a client that says it speaks up to `highest`.
    #[must_use]
    pub const fn judge(self, version: u8, highest: u8) -> Verdict {
        if !self.contains(version) {
            Verdict::NotSpoken
        } else if version < highest && version < self.highest {
            Verdict::Downgraded
        } else {
            Verdict::Spoken
        }
    }

    /// A client with this range whose HELLO of version `tried` was refused, without proof, by a server that says it
    /// speaks `server`: the version to try next, always a lower one; `None` when there is none in common.
    #[must_use]
    pub const fn fallback(self, server: Self, tried: u8) -> Option<u8> {
        let best = if self.highest < server.highest { self.highest } else { server.highest };
        if best < tried && self.contains(best) && server.contains(best) { Some(best) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u8 = 5;

    fn ranges() -> impl Iterator<Item = Versions> {
        (1..=TOP).flat_map(|lowest| (lowest..=TOP).map(move |highest| Versions { lowest, highest }))
    }

    #[derive(Debug, PartialEq, Eq)]
    enum End {
        Speaks(u8),
        NothingInCommon,
        /// The server proved that the client was pushed down.
        Noticed,
    }

    /// A client connects; `forged` answers its HELLO before the server does, each time.
    fn connect(client: Versions, server: Versions, forged: Option<Versions>) -> End {
        let mut version = client.highest;
        loop {
            let refusal = forged.filter(|forged| client.fallback(*forged, version).is_some());
            let verdict = server.judge(version, client.highest);
            let refused_by = match (refusal, verdict) {
                (Some(forged), _) => forged,
                (None, Verdict::NotSpoken) => server,
                (None, Verdict::Spoken) => return End::Speaks(version),
                (None, Verdict::Downgraded) => return End::Noticed,
            };
            match client.fallback(refused_by, version) {
                Some(lower) => version = lower,
                None => return End::NothingInCommon,
            }
        }
    }

    #[test]
    fn any_two_sides_end_at_the_highest_version_of_both() {
        for (client, server) in ranges().flat_map(|client| ranges().map(move |server| (client, server))) {
            let common = (1..=TOP).rev().find(|version| client.contains(*version) && server.contains(*version));
            let expected = common.map_or(End::NothingInCommon, End::Speaks);
            assert_eq!(connect(client, server, None), expected, "{client:?} {server:?}");
        }
    }

    #[test]
    fn no_forged_refusal_makes_two_sides_speak_a_lower_version() {
        let mut noticed = 0;
        for client in ranges() {
            for server in ranges() {
                let honest = connect(client, server, None);
                for forged in ranges() {
                    let end = connect(client, server, Some(forged));
                    // It may keep them from talking, as dropping the packets would.
                    assert!(end == honest || !matches!(end, End::Speaks(_)), "{client:?} {server:?} {forged:?}");
                    noticed += u32::from(end == End::Noticed);
                }
            }
        }
        assert!(noticed > 50, "{noticed}");
    }

    #[test]
    fn version_three_can_come_without_breaking_clients_of_version_two() {
        let (two, both) = (Versions::SPOKEN, Versions { lowest: 2, highest: 3 });
        assert_eq!(both.judge(2, 2), Verdict::Spoken, "an old client at a new server");
        assert_eq!(two.judge(3, 3), Verdict::NotSpoken, "a new client at an old server");
        assert_eq!(both.fallback(two, 3), Some(2), "comes down");
        assert_eq!(two.judge(2, 3), Verdict::Spoken, "and is let in");
        assert_eq!(both.judge(2, 3), Verdict::Downgraded, "but not at a server that speaks 3");
        assert_eq!(two.fallback(Versions { lowest: 3, highest: 3 }, 2), None, "who speaks 2 alone has nowhere to go");
        assert_eq!(two.fallback(two, 2), None, "a refusal by a server that speaks it makes no sense");
    }
}

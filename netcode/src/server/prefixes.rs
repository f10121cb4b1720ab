//! How much handshake work one network may ask for: token buckets by address prefix, in a table of fixed size.
//!
//! A network is a /24 of IPv4 or a /56 of IPv6, about what one customer or one carrier's gateway has. The table holds no
//! addresses and never grows: a prefix has one place in each of two rows, chosen by a keyed hash, and is held back only
//! where both are exhausted (a count-min sketch, Cormode and Muthukrishnan 2005, of buckets instead of counters). So who
//! shares one place with a flood does not feel it, and who does not know the key cannot aim at anybody's two.
//!
//! Only what asks for unpaid work passes here: HELLOs. Packets of connections never do.

use core::net::IpAddr;

use crate::time::Time;

/// Buckets in the table: 16 bytes each.
pub const PREFIX_ENTRIES: usize = 4096;
const ROWS: usize = 2;
const COLUMNS: usize = PREFIX_ENTRIES / ROWS;
/// Bits of the hash that name a column.
const COLUMN_BITS: u32 = COLUMNS.trailing_zeros();

const _: () = assert!(COLUMNS.is_power_of_two() && ROWS as u32 * COLUMN_BITS <= 64);

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Per second, in the long run; 0: none at all. Above 1,000,000 there is no limit.
    pub per_s: u32,
    /// At once, after a pause; 0: none at all.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_s: u32::MAX, burst: u32::MAX };

    /// Microseconds per unit, rounded down; `None` where nothing is let through.
    fn interval(self) -> Option<u64> {
        1_000_000u64.checked_div(u64::from(self.per_s)).filter(|_| self.burst > 0)
    }

    /// Whether another one fits into a bucket that is `full_until` then (the generic cell rate algorithm, ITU-T I.371:
    /// one number says all of a bucket).
    fn allows(self, now: u64, full_until: u64) -> bool {
        let Some(interval) = self.interval() else { return false };
        full_until.saturating_sub(now) <= interval.saturating_mul(u64::from(self.burst) - 1)
    }

    fn take(self, now: u64, full_until: &mut u64) {
        *full_until = (*full_until).max(now).saturating_add(self.interval().unwrap_or(0));
    }
}

/// How many HELLOs of one prefix one worker works on: opens their tokens, at some 3 µs, and goes on if they are good.
/// HELLOs that are answered before that (RETRY, the same ACCEPT again) or dropped are not counted. A prefix that shares
/// its places may get up to twice as much, and one that shares both with floods nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLimits {
    /// Without a cookie. Beyond it a HELLO gets a RETRY.
    pub unproven: Rate,
    /// With a valid cookie, so that the address is known to be real. Beyond it a HELLO is dropped.
    pub proven: Rate,
}

impl PrefixLimits {
    /// No limits: for benches and laboratories where everybody has one address.
    pub const UNLIMITED: Self = Self { unproven: Rate::UNLIMITED, proven: Rate::UNLIMITED };
}

/// 50 a second (100 at once) without a cookie: a tenth of what makes a worker ask everybody for cookies. 400 a second
/// (800 at once) with one: a fifth of a worker's handshakes, and yet a full worker of 4096 players behind one gateway's
/// /24 gets in within 10 s, the time for which clients try.
impl Default for PrefixLimits {
    fn default() -> Self {
        Self { unproven: Rate { per_s: 50, burst: 100 }, proven: Rate { per_s: 400, burst: 800 } }
    }
}

/// What a HELLO shows of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Unproven,
    Proven,
}

/// Until when the two buckets are full, in microseconds; a time in the past: empty.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    unproven: u64,
    proven: u64,
}

impl Entry {
    fn bucket(&mut self, standing: Standing) -> &mut u64 {
        match standing {
            Standing::Unproven => &mut self.unproven,
            Standing::Proven => &mut self.proven,
        }
    }
}

/// Where a prefix has its buckets: a column of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place([usize; ROWS]);

/// The buckets of all prefixes.
pub(super) struct Prefixes {
    key: [u64; 2],
    limits: PrefixLimits,
    rows: [Box<[Entry]>; ROWS],
}

impl Prefixes {
    /// Empty buckets. `seed` must be secret, or an attacker can choose prefixes that share another's places.
    pub(super) fn new(seed: &[u8; 16], limits: PrefixLimits) -> Self {
        let word = |half: &[u8]| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let (low, high) = seed.split_at(8);
        let row = || vec![Entry::default(); COLUMNS].into_boxed_slice();
        Self { key: [word(low), word(high)], limits, rows: [row(), row()] }
    }

    /// The places of an address's prefix.
    pub(super) fn place(&self, from: IpAddr) -> Place {
        let hash = sip_hash(self.key, prefix(from));
        let column = |row: u32| (hash >> (row * COLUMN_BITS)) as usize % COLUMNS;
        Place([column(0), column(1)])
    }

    /// Whether another HELLO may be worked on. Counts nothing.
    pub(super) fn allows(&mut self, now: Time, place: Place, standing: Standing) -> bool {
        let rate = self.rate(standing);
        self.buckets(place, standing).any(|bucket| rate.allows(now.as_micros(), *bucket))
    }

    /// Counts a HELLO that is worked on; false, and nothing counted, when it may not be.
    pub(super) fn take(&mut self, now: Time, place: Place, standing: Standing) -> bool {
        let (rate, now) = (self.rate(standing), now.as_micros());
        let mut taken = false;
        // A place that has no room left is somebody else's flood, or both are ours.
        for bucket in self.buckets(place, standing).filter(|bucket| rate.allows(now, **bucket)) {
            rate.take(now, bucket);
            taken = true;
        }
        taken
    }

    const fn rate(&self, standing: Standing) -> Rate {
        match standing {
            Standing::Unproven => self.limits.unproven,
            Standing::Proven => self.limits.proven,
        }
    }

    fn buckets(&mut self, place: Place, standing: Standing) -> impl Iterator<Item = &mut u64> {
        let entries = self.rows.iter_mut().zip(place.0).filter_map(|(row, column)| row.get_mut(column));
        entries.map(move |entry| entry.bucket(standing))
    }
}

/// The prefix as a number, IPv4 and IPv6 apart: the address's first 3 or 7 bytes, and which of the two in the last.
fn prefix(from: IpAddr) -> u64 {
    // A socket of both families sees IPv4 as `::ffff:a.b.c.d`.
    match from.to_canonical() {
        IpAddr::V4(from) => u64::from(from.to_bits() & 0xffff_ff00) << 32 | 4,
        IpAddr::V6(from) => (from.to_bits() >> 64) as u64 & !0xff | 6,
    }
}

/// SipHash-2-4 (Aumasson and Bernstein 2012) of the eight bytes of `word`, little endian.
fn sip_hash(key: [u64; 2], word: u64) -> u64 {
    let [k0, k1] = key;
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The message, and the block that says how long it was.
    for block in [word, 8 << 56] {
        v[3] ^= block;
        v = sip_round(sip_round(v));
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    let [v0, v1, v2, v3] = sip_round(sip_round(sip_round(sip_round(v))));
    v0 ^ v1 ^ v2 ^ v3
}

const fn sip_round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const LIMITS: PrefixLimits =
        PrefixLimits { unproven: Rate { per_s: 10, burst: 5 }, proven: Rate { per_s: 100, burst: 20 } };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn taken(prefixes: &mut Prefixes, now: Time, from: &str, standing: Standing, tries: usize) -> usize {
        let place = prefixes.place(ip(from));
        (0..tries).filter(|_| prefixes.take(now, place, standing)).count()
    }

    #[test]
    fn the_hash_is_siphash() {
        // The ninth of the reference implementation's vectors: eight bytes 00 to 07 under the key 00 to 0f.
        let (word, key) = (0x0706_0504_0302_0100, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(sip_hash(key, word), 0x93f5_f579_9a93_2462);
        assert_eq!(Prefixes::new(&core::array::from_fn(|i| i as u8), LIMITS).key, key);
    }

    #[test]
    fn a_network_is_a_24_of_ipv4_and_a_56_of_ipv6() {
        let same = |a, b| prefix(ip(a)) == prefix(ip(b));
        assert!(same("192.0.2.1", "192.0.2.255") && !same("192.0.2.1", "192.0.3.1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.77"), "however the socket says it");
        assert!(same("2001:db8:1:200::1", "2001:db8:1:2ff:ffff::"));
        assert!(!same("2001:db8:1:200::1", "2001:db8:1:300::1"));
        assert!(!same("0.0.0.0", "::"));
    }

    #[test]
    fn a_prefix_gets_its_burst_then_its_rate_and_one_kind_does_not_use_up_the_other() {
        let mut prefixes = Prefixes::new(&[7; 16], LIMITS);
        let mut now = Time::ZERO;
        assert_eq!(taken(&mut prefixes, now, "192.0.2.1", Standing::Unproven, 50), 5);
        assert_eq!(taken(&mut prefixes, now, "192.0.2.9", Standing::Proven, 50), 20);
        assert_eq!(taken(&mut prefixes, now, "192.0.3.1", Standing::Unproven, 50), 5, "another prefix");
        let mut later = 0;
        for _ in 0..1000 {
            now = now + Duration::from_millis(10);
            later += taken(&mut prefixes, now, "192.0.2.1", Standing::Unproven, 3);
        }
        assert_eq!(later, 100, "ten seconds at ten a second");
        now = now + Duration::from_secs(3600);
        assert_eq!(taken(&mut prefixes, now, "192.0.2.1", Standing::Unproven, 50), 5, "a pause saves no more");
    }

    #[test]
    fn zero_lets_nothing_through_and_no_limit_everything() {
        for nothing in [Rate { per_s: 0, burst: 9 }, Rate { per_s: 9, burst: 0 }] {
            let mut prefixes = Prefixes::new(&[7; 16], PrefixLimits { unproven: nothing, proven: Rate::UNLIMITED });
            assert_eq!(taken(&mut prefixes, Time::ZERO, "192.0.2.1", Standing::Unproven, 9), 0);
            assert_eq!(taken(&mut prefixes, Time::ZERO, "192.0.2.1", Standing::Proven, 9999), 9999);
        }
    }

    #[test]
    fn a_thousand_flooding_networks_leave_three_quarters_of_the_others_alone() {
        let mut prefixes = Prefixes::new(&[7; 16], LIMITS);
        for flooder in 0..1000u32 {
            let from = format!("10.{}.{}.1", flooder >> 8, flooder & 0xff);
            taken(&mut prefixes, Time::ZERO, &from, Standing::Proven, 100);
        }
        let place = |prefixes: &Prefixes, other: u32| prefixes.place(ip(&format!("172.16.{}.1", other)));
        let free = (0..256).filter(|other| {
            let place = place(&prefixes, *other);
            prefixes.allows(Time::ZERO, place, Standing::Proven)
        });
        // Each row is 39 % full, so 15 % lose in both.
        let free = free.count();
        assert!(free > 192, "{free} of 256");
    }

    #[test]
    fn who_knows_no_key_cannot_tell_who_shares_a_place() {
        let places = |seed: u8| {
            let prefixes = Prefixes::new(&[seed; 16], LIMITS);
            (0..=255).map(|net| prefixes.place(ip(&format!("10.0.{net}.1")))).collect::<Vec<_>>()
        };
        let shared = places(1).iter().zip(places(2)).filter(|(one, two)| *one == two).count();
        assert!(shared <= 1, "{shared}");
    }

    proptest! {
        #[test]
        fn no_prefix_gets_more_than_burst_and_rate_nor_less_when_alone(
            per_s in 1u32..5000, burst in 1u32..200, steps in prop::collection::vec((0u64..20_000, 1usize..20), 1..200),
        ) {
            let rate = Rate { per_s, burst };
            let mut prefixes = Prefixes::new(&[9; 16], PrefixLimits { unproven: rate, proven: rate });
            // The model: a bucket of microseconds, refilled by the clock.
            let interval = 1_000_000 / u64::from(per_s);
            let (mut now, mut credit) = (0, interval * u64::from(burst));
            for (pause, tries) in steps {
                now += pause;
                credit = (credit + pause).min(interval * u64::from(burst));
                for _ in 0..tries {
                    let place = prefixes.place(ip("198.51.100.1"));
                    let expected = credit >= interval;
                    credit -= if expected { interval } else { 0 };
                    prop_assert_eq!(prefixes.allows(Time::from_micros(now), place, Standing::Unproven), expected);
                    prop_assert_eq!(prefixes.take(Time::from_micros(now), place, Standing::Unproven), expected);
                }
            }
        }
    }
}

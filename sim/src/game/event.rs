//! What players are told once: hits, wounds, deaths, loot, progress, refusals; and its bytes.
//!
//! Bytes, all little endian: the tick's low 32 bits u32 · ordinal u8 · tag u8 · what the tag says:
//!
//! | tag | what | bytes |
//! |---|---|---|
//! | 0 | shot | target u32 · damage u8 · killed u8 (0, 1) · rewound_ms u16 |
//! | 1 | hurt | attacker u32 · damage u8 · rewound_ms u16 |
//! | 2 | died | killer u32 · respawn_ticks u16 |
//! | 3 | respawned | |
//! | 4 | progress | xp u32 · level u8 |
//! | 5 | looted | loot u32 · item u8 · amount u16 |
//! | 6 | refused | cause u8, its place in [`Refusal::ALL`] |
//!
//! Whoever may be nobody is an id's raw bits, or 0. Anything else, and any byte more or less, is no event.

use crate::entity::EntityId;
use arrayvec::ArrayVec;

/// The most bytes of an event.
pub const MAX_BYTES: usize = 32;

/// Something that a player is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of what follows from an input, the input's tick; else the tick in which it happened.
    pub tick: u64,
    /// Its number among those of the same tick and kind that the player is told.
    pub ordinal: u8,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The player's own shot (or stroke) ended: a projectile's when it hits, or ends.
    Shot {
        /// Whom it hit, if anybody.
        target: Option<EntityId>,
        /// What it took of armour and health.
        damage: u8,
        /// Whether the target died of it.
        killed: bool,
        /// How far the others were set back for it, in milliseconds.
        rewound_ms: u16,
    },
    /// The player was hit.
    Hurt {
        /// By whom; `None` for one who is gone.
        attacker: Option<EntityId>,
        /// What it took of armour and health.
        damage: u8,
        /// How far the player was set back for it, in milliseconds.
        rewound_ms: u16,
    },
    /// The player died.
    Died {
        /// By whom.
        killer: Option<EntityId>,
        /// It comes back after so many ticks.
        respawn_ticks: u16,
    },
    /// The player is back.
    Respawned,
    /// The player learned something.
    Progress {
        /// All it has learned.
        xp: u32,
        /// Its level.
        level: u8,
    },
    /// The player picked something up.
    Looted {
        /// What it was.
        loot: EntityId,
        /// The item's number in the rulebook.
        item: u8,
        /// How much it took.
        amount: u16,
    },
    /// The server does not do what the player wanted.
    Refused {
        /// Why.
        cause: Refusal,
    },
}

impl Event {
    /// The event's bytes.
    #[must_use]
    pub fn write(&self) -> ArrayVec<u8, MAX_BYTES> {
        let mut out = Writer(ArrayVec::new());
        // The low half: the reader knows about when.
        out.put(&(self.tick as u32).to_le_bytes());
        out.put(&[self.ordinal]);
        self.what.write(&mut out);
        out.0
    }

    /// The event with these bytes, heard about tick `near_tick` (within 2^31 of its own); `None` where they are none.
    #[must_use]
    pub fn read(bytes: &[u8], near_tick: u64) -> Option<Self> {
        let mut input = Reader(bytes);
        let behind = u32::from_le_bytes(input.take()?).wrapping_sub(near_tick as u32);
        let tick = near_tick.checked_add_signed(i64::from(behind as i32))?;
        let [ordinal] = input.take()?;
        let what = What::read(&mut input)?;
        input.0.is_empty().then_some(Self { tick, ordinal, what })
    }
}

impl What {
    fn write(&self, out: &mut Writer) {
        match *self {
            Self::Shot { target, damage, killed, rewound_ms } => {
                out.put(&[0]);
                out.put_id(target);
                out.put(&[damage, u8::from(killed)]);
                out.put(&rewound_ms.to_le_bytes());
            }
            Self::Hurt { attacker, damage, rewound_ms } => {
                out.put(&[1]);
                out.put_id(attacker);
                out.put(&[damage]);
                out.put(&rewound_ms.to_le_bytes());
            }
            Self::Died { killer, respawn_ticks } => {
                out.put(&[2]);
                out.put_id(killer);
                out.put(&respawn_ticks.to_le_bytes());
            }
            Self::Respawned => out.put(&[3]),
            Self::Progress { xp, level } => {
                out.put(&[4]);
                out.put(&xp.to_le_bytes());
                out.put(&[level]);
            }
            Self::Looted { loot, item, amount } => {
                out.put(&[5]);
                out.put_id(Some(loot));
                out.put(&[item]);
                out.put(&amount.to_le_bytes());
            }
            Self::Refused { cause } => out.put(&[6, cause as u8]),
        }
    }

    fn read(input: &mut Reader<'_>) -> Option<Self> {
        let [tag] = input.take()?;
        Some(match tag {
            0 => {
                let (target, [damage, killed]) = (input.take_id()?, input.take()?);
                let killed = match killed {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Self::Shot { target, damage, killed, rewound_ms: u16::from_le_bytes(input.take()?) }
            }
            1 => {
                let (attacker, [damage]) = (input.take_id()?, input.take()?);
                Self::Hurt { attacker, damage, rewound_ms: u16::from_le_bytes(input.take()?) }
            }
            2 => Self::Died { killer: input.take_id()?, respawn_ticks: u16::from_le_bytes(input.take()?) },
            3 => Self::Respawned,
            4 => {
                let (xp, [level]) = (u32::from_le_bytes(input.take()?), input.take()?);
                Self::Progress { xp, level }
            }
            5 => {
                let (loot, [item]) = (input.take_id()??, input.take()?);
                Self::Looted { loot, item, amount: u16::from_le_bytes(input.take()?) }
            }
            6 => {
                let [cause] = input.take()?;
                Self::Refused { cause: *Refusal::ALL.get(usize::from(cause))? }
            }
            _ => return None,
        })
    }
}

/// Bytes to be sent. Every event fits: the longest one is a shot.
struct Writer(ArrayVec<u8, MAX_BYTES>);

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        let fits = self.0.try_extend_from_slice(bytes);
        debug_assert!(fits.is_ok(), "an event is longer than {MAX_BYTES} bytes");
    }

    fn put_id(&mut self, id: Option<EntityId>) {
        self.put(&id.map_or(0, EntityId::raw).to_le_bytes());
    }
}

/// Bytes that came.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Somebody, or nobody; `None` for what is no id.
    fn take_id(&mut self) -> Option<Option<EntityId>> {
        match u32::from_le_bytes(self.take()?) {
            0 => Some(None),
            raw => EntityId::from_raw(raw).map(Some),
        }
    }
}

/// Why something that a player wanted is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It fired faster than the weapon does.
    Rate,
    /// Nothing is in the magazine, or nothing to fill it with.
    Ammo,
    /// It reloads.
    Reloading,
    /// It is dead.
    Dead,
    /// It claims to have seen the world as of a moment that it cannot have seen then.
    ViewTime,
    /// It has no such weapon.
    Weapon,
    /// What it wants to pick up is too far away.
    Reach,
    /// What it wants to pick up is behind something.
    Sight,
    /// What it wants to pick up is not there, or of no use to it.
    Gone,
}

impl Refusal {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Rate,
        Self::Ammo,
        Self::Reloading,
        Self::Dead,
        Self::ViewTime,
        Self::Weapon,
        Self::Reach,
        Self::Sight,
        Self::Gone,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Ammo => "ammo",
            Self::Reloading => "reloading",
            Self::Dead => "dead",
            Self::ViewTime => "view_time",
            Self::Weapon => "weapon",
            Self::Reach => "reach",
            Self::Sight => "sight",
            Self::Gone => "gone",
        }
    }
}

/// How often a player was refused something, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals(pub [u32; Refusal::ALL.len()]);

impl Refusals {
    /// One more.
    pub const fn count(&mut self, cause: Refusal) {
        self.0[cause as usize] = self.0[cause as usize].saturating_add(1);
    }

    /// How often for that cause.
    #[must_use]
    pub const fn of(&self, cause: Refusal) -> u32 {
        self.0[cause as usize]
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(more);
        }
    }

    /// How often for any cause.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = EntityId> {
        any::<u32>().prop_filter_map("generation 0", EntityId::from_raw)
    }

    fn what() -> impl Strategy<Value = What> {
        let somebody = || proptest::option::of(id());
        prop_oneof![
            (somebody(), any::<(u8, bool, u16)>()).prop_map(|(target, (damage, killed, rewound_ms))| What::Shot {
                target,
                damage,
                killed,
                rewound_ms
            }),
            (somebody(), any::<(u8, u16)>()).prop_map(|(attacker, (damage, rewound_ms))| What::Hurt {
                attacker,
                damage,
                rewound_ms
            }),
            (somebody(), any::<u16>()).prop_map(|(killer, respawn_ticks)| What::Died { killer, respawn_ticks }),
            Just(What::Respawned),
            any::<(u32, u8)>().prop_map(|(xp, level)| What::Progress { xp, level }),
            (id(), any::<(u8, u16)>()).prop_map(|(loot, (item, amount))| What::Looted { loot, item, amount }),
            (0..Refusal::ALL.len()).prop_map(|cause| What::Refused { cause: Refusal::ALL[cause] }),
        ]
    }

    proptest! {
        #[test]
        fn every_event_survives_the_round_trip_however_late_it_comes(
            tick in 0..u64::MAX / 2,
            late in 0..1u64 << 31,
            ordinal: u8,
            what in what(),
        ) {
            let event = Event { tick, ordinal, what };
            let bytes = event.write();
            prop_assert_eq!(Event::read(&bytes, tick + late), Some(event));
            prop_assert_eq!(Event::read(&bytes, tick.saturating_sub(late)), Some(event));
            prop_assert_eq!(Event::read(&bytes[..bytes.len() - 1], tick), None);
            prop_assert_eq!(Event::read(&[&bytes[..], &[0]].concat(), tick), None);
        }

        #[test]
        fn any_bytes_are_an_event_that_writes_them_or_none(
            bytes in proptest::collection::vec(prop_oneof![0..8u8, any::<u8>()], 0..20),
            near_tick: u64,
        ) {
            if let Some(event) = Event::read(&bytes, near_tick) {
                prop_assert_eq!(&event.write()[..], &bytes);
            }
        }
    }

    #[test]
    fn the_causes_are_numbered_in_their_order() {
        assert!(Refusal::ALL.iter().zip(0..).all(|(cause, number)| *cause as usize == number));
    }
}

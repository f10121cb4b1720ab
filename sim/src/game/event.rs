//! What players are told once: hits, wounds, deaths, loot, progress, refusals.

use crate::entity::EntityId;

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

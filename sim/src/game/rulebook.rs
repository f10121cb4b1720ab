//! The rules of the game as data: weapons, NPC kinds, items, drops, levels, read from TOML and checked once.
//!
//! After the checks every name that is referred to is there, every duration fits the `READY` column at every tick rate
//! and every amount fits its field, so whoever plays by a rulebook asks nothing of it again.

mod checks;
mod tables;

pub use self::tables::{
    Ammo, Ammunition, Attack, BladeAttack, Drop, Entry, Gives, Item, Levels, Loot, Npc, Player, ProjectileAttack,
    RayAttack, Rules, Slot, Weapon,
};

use crate::rng::mix;
use std::sync::Arc;

/// The longest text of a rulebook, in bytes.
pub const MAX_TEXT: usize = 1 << 16;
/// The most weapons: their number has three bits.
pub const MAX_WEAPONS: usize = 8;
/// The most NPC kinds, items and drop tables each.
pub const MAX_KINDS: usize = 64;
/// The most entries of a drop table.
pub const MAX_ENTRIES: usize = 32;
/// The highest level.
pub const MAX_LEVEL: usize = 63;
/// The longest time that hands are busy or a player stays dead, in milliseconds.
pub const MAX_BUSY_MS: u32 = 20_000;

const STANDARD: &str = include_str!("rulebook/standard.toml");

/// All rules that are data. Made by [`Rulebook::from_toml`] alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Rulebook {
    rules: Rules,
    text: String,
}

/// Why a text is no rulebook.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RulebookError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("a rulebook has at most {MAX_TEXT} bytes")]
    Length,
    /// It is not TOML, or not with these tables and fields.
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// A table has too few or too many rows.
    #[error("[[{table}]] must have {min} to {max} rows")]
    Rows {
        /// The table.
        table: &'static str,
        /// The fewest rows.
        min: usize,
        /// The most rows.
        max: usize,
    },
    /// A value is out of range.
    #[error("[[{table}]] row {row}: {field} must be {min} to {max}")]
    Range {
        /// The table.
        table: &'static str,
        /// The row, from 1.
        row: usize,
        /// The field.
        field: &'static str,
        /// The least value.
        min: f64,
        /// The greatest value.
        max: f64,
    },
    /// Two rows of a table have the same name.
    #[error("[[{table}]] row {row}: an earlier row has the same name")]
    Twice {
        /// The table.
        table: &'static str,
        /// The row, from 1.
        row: usize,
    },
    /// What a field names is not in the rulebook.
    #[error("[[{table}]] row {row}: {field} names nothing that is there")]
    Unknown {
        /// The table.
        table: &'static str,
        /// The row, from 1.
        row: usize,
        /// The field.
        field: &'static str,
    },
    /// Numbers that must ascend do not.
    #[error("levels.xp must ascend")]
    Ascend,
}

impl Rulebook {
    /// Reads and checks a rulebook.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn from_toml(text: &str) -> Result<Self, RulebookError> {
        if text.len() > MAX_TEXT {
            return Err(RulebookError::Length);
        }
        let rules: Rules = toml::from_str(text)?;
        checks::check(&rules)?;
        Ok(Self { rules, text: text.to_owned() })
    }

    /// The rules of the shipped game.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn standard() -> Arc<Self> {
        match Self::from_toml(STANDARD) {
            Ok(book) => Arc::new(book),
            Err(error) => unreachable!("the shipped rulebook: {error}"),
        }
    }

    /// The text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A hash of the text: who plays by the same rulebook has the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let word = |hash: u64, bytes: &[u8]| {
            let mut word = [0; 8];
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            mix(hash ^ u64::from_le_bytes(word))
        };
        self.text.as_bytes().chunks(8).fold(self.text.len() as u64, word)
    }

    /// The weapon of that number.
    #[must_use]
    pub fn weapon(&self, number: u8) -> Option<&Weapon> {
        self.rules.weapon.get(usize::from(number))
    }

    /// The number of the weapon of that name.
    #[must_use]
    pub fn weapon_number(&self, name: &str) -> Option<u8> {
        // At most `MAX_WEAPONS` of them.
        self.rules.weapon.iter().position(|weapon| weapon.name == name).map(|number| number as u8)
    }

    /// The NPC kind of an archetype.
    #[must_use]
    pub fn npc(&self, archetype: i32) -> Option<&Npc> {
        self.rules.npc.get(usize::try_from(archetype).ok()?)
    }

    /// The item of a number.
    #[must_use]
    pub fn item(&self, number: i32) -> Option<&Item> {
        self.rules.item.get(usize::try_from(number).ok()?)
    }

    /// The number of the item of that name.
    #[must_use]
    pub fn item_number(&self, name: &str) -> Option<u8> {
        // At most `MAX_KINDS` of them.
        self.rules.item.iter().position(|item| item.name == name).map(|number| number as u8)
    }

    /// The drop table of that name.
    #[must_use]
    pub fn drop_table(&self, name: &str) -> Option<&Drop> {
        self.rules.drop.iter().find(|drop| drop.name == name)
    }

    /// The rounds of one kind that a player appears with, as its column has them.
    #[must_use]
    pub fn ammo(&self, slot: Slot) -> &Ammo {
        match slot {
            Slot::A => &self.rules.ammo.a,
            Slot::B => &self.rules.ammo.b,
        }
    }
}

impl core::ops::Deref for Rulebook {
    type Target = Rules;

    fn deref(&self) -> &Rules {
        &self.rules
    }
}

/// How many ticks a duration takes, rounded up, at least one.
#[must_use]
pub const fn ticks(ms: u32, rate_hz: u16) -> u64 {
    let ticks = (ms as u64 * rate_hz as u64).div_ceil(1000);
    if ticks == 0 { 1 } else { ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> Result<Rulebook, RulebookError> {
        assert!(STANDARD.contains(from), "{from}");
        Rulebook::from_toml(&STANDARD.replacen(from, to, 1))
    }

    #[test]
    fn the_shipped_rulebook_has_one_weapon_of_each_sort_and_two_kinds_of_ammunition() {
        let book = Rulebook::standard();
        assert_eq!(book.text(), STANDARD);
        let attacks = |what: fn(&Attack) -> bool| book.weapon.iter().any(|weapon| what(&weapon.attack));
        assert!(attacks(|attack| matches!(attack, Attack::Ray(ray) if ray.rays == 1)));
        assert!(attacks(|attack| matches!(attack, Attack::Ray(ray) if ray.rays > 1)));
        assert!(attacks(|attack| matches!(attack, Attack::Projectile(flight) if flight.falls)));
        assert!(attacks(|attack| matches!(attack, Attack::Projectile(flight) if !flight.falls)));
        assert!(attacks(|attack| matches!(attack, Attack::Blade(_))));
        assert!([Slot::A, Slot::B].iter().all(|slot| book.weapon.iter().any(|weapon| weapon.ammo == Some(*slot))));
    }

    #[test]
    fn whoever_changes_a_letter_has_another_hash() {
        let book = Rulebook::standard();
        assert_eq!(book.hash(), Rulebook::from_toml(STANDARD).unwrap().hash());
        assert_ne!(book.hash(), changed("damage = 12", "damage = 13").unwrap().hash());
        assert_ne!(book.hash(), changed("# cells", "# Cells").unwrap().hash());
    }

    #[test]
    fn each_broken_rule_is_named_with_its_row() {
        let said = |from, to| changed(from, to).unwrap_err().to_string();
        assert_eq!(said("cooldown_ms = 700", "cooldown_ms = 0"), "[[weapon]] row 2: cooldown_ms must be 1 to 20000");
        assert_eq!(said("damage = 25", "damage = 101"), "[[npc]] row 4: damage must be 0 to 100");
        assert_eq!(
            said("name = \"scatter\"", "name = \"rifle\""),
            "[[weapon]] row 2: an earlier row has the same name"
        );
        assert_eq!(said("drop = \"rich\"", "drop = \"none\""), "[[npc]] row 4: drop names nothing that is there");
        assert_eq!(said("xp = [50, 120", "xp = [50, 50"), "levels.xp must ascend");
        assert_eq!(said("range_m = 120.0", "range_m = nan"), "[[weapon]] row 1: range_m must be 1 to 400");
        assert_eq!(said("uses = 3", "uses = 31"), "[[weapon]] row 2: uses must be 1 to 30");
        assert_eq!(said("most = 1024", "most = -1").lines().next().unwrap(), "TOML parse error at line 181, column 8");
        assert!(said("falls = true", "falls = true\nflies = 1").contains("unknown field `flies`"));
        assert_eq!(Rulebook::from_toml(&" ".repeat(MAX_TEXT + 1)), Err(RulebookError::Length));
    }

    #[test]
    fn too_many_weapons_are_refused() {
        let blade =
            &STANDARD[STANDARD.find("[[weapon]]\nname = \"blade\"").unwrap()..STANDARD.find("[[npc]]").unwrap()];
        let with = |more: usize| {
            let more: String = (0..more).map(|n| blade.replace("\"blade\"", &format!("\"blade {n}\""))).collect();
            changed("[[npc]]", &format!("{more}[[npc]]"))
        };
        assert!(with(3).is_ok());
        assert_eq!(with(4), Err(RulebookError::Rows { table: "weapon", min: 1, max: 8 }));
    }

    #[test]
    fn a_level_is_reached_with_the_last_point() {
        let levels = Levels { xp: vec![50, 120], damage_percent: 10 };
        assert_eq!([0, 49, 50, 119, 120, u32::MAX].map(|xp| levels.level(xp)), [1, 1, 2, 2, 3, 3]);
        assert_eq!([1, 2, 3].map(|level| levels.damage(35, level)), [35, 38, 42]);
    }

    #[test]
    fn durations_are_whole_ticks_and_never_none() {
        assert_eq!([1, 50, 51, 100, 1000].map(|ms| ticks(ms, 20)), [1, 1, 2, 2, 20]);
        assert_eq!(ticks(MAX_BUSY_MS, 128), 2560);
    }
}

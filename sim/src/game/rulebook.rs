//! The rules of the game as data: weapons, NPC kinds, items, drops, levels, read from TOML and checked once.
//!
//! After the checks every name that is referred to is there, every duration fits the `READY` column at every tick rate
//! and every amount fits its field, so whoever plays by a rulebook asks nothing of it again.

mod checks;

use super::schema::{AMMO_A, AMMO_B};
use crate::rng::mix;
use serde::Deserialize;
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

/// The tables of a rulebook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What holds for all players.
    pub player: Player,
    /// What is shot.
    pub ammo: Ammunition,
    /// Weapons by number, at most [`MAX_WEAPONS`].
    pub weapon: Vec<Weapon>,
    /// NPC kinds by archetype.
    pub npc: Vec<Npc>,
    /// Items by number.
    pub item: Vec<Item>,
    /// What lies around.
    pub loot: Loot,
    /// Tables of what the dead leave.
    pub drop: Vec<Drop>,
    /// What experience is worth.
    pub levels: Levels,
}

/// What holds for all players.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Player {
    /// Name of the weapon in hand when it appears.
    pub weapon: String,
    /// Nothing hurts it for so long after it appeared, or until it fires.
    pub shield_ms: u32,
    /// So long it stays dead.
    pub respawn_ms: u32,
    /// Of each damage so much goes to the armour as long as there is some, per cent.
    pub armour_percent: u32,
    /// How far from its eye it picks things up, m.
    pub reach_m: f32,
    /// Whether players hurt each other.
    pub hurts_players: bool,
    /// How much of the splash of its own projectiles hurts it, per cent.
    pub hurts_itself_percent: u32,
    /// Name of the table of what it leaves when it dies.
    pub drop: String,
    /// What it is worth to its killer.
    pub xp: u32,
}

/// The two kinds of ammunition.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ammunition {
    /// That of the `AMMO_A` column.
    pub a: Ammo,
    /// That of the `AMMO_B` column.
    pub b: Ammo,
}

/// One kind of ammunition; all weapons that use it share the magazine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ammo {
    /// Rounds in a full magazine.
    pub magazine: i32,
    /// The most rounds beside the magazine.
    pub reserve: i32,
    /// Rounds beside a full magazine when a player appears.
    pub start: i32,
}

/// Which kind of ammunition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// That of the `AMMO_A` column.
    A,
    /// That of the `AMMO_B` column.
    B,
}

impl Slot {
    /// The column of a player's state.
    #[must_use]
    pub const fn column(self) -> usize {
        match self {
            Self::A => AMMO_A,
            Self::B => AMMO_B,
        }
    }
}

/// A weapon.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weapon {
    /// Its name.
    pub name: String,
    /// Points that a hit takes.
    pub damage: i32,
    /// From one shot to the next.
    pub cooldown_ms: u32,
    /// From the weapon in hand before to this one ready.
    pub draw_ms: u32,
    /// What it shoots; nothing for one that never runs out.
    #[serde(default)]
    pub ammo: Option<Slot>,
    /// Rounds that a shot takes of the magazine; 0 without ammunition.
    #[serde(default)]
    pub uses: i32,
    /// How long it takes to fill the magazine; 0 without ammunition.
    #[serde(default)]
    pub reload_ms: u32,
    /// How it hits.
    pub attack: Attack,
}

/// How a weapon hits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Attack {
    /// At once, along rays from the eye.
    Ray(RayAttack),
    /// When what it launches meets something.
    Projectile(ProjectileAttack),
    /// At once, the nearest body before the player.
    Blade(BladeAttack),
}

/// Rays from the eye, all of one shot at once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RayAttack {
    /// How far they reach, m.
    pub range_m: f32,
    /// How many, at most [`MAX_RAYS`](Self::MAX_RAYS).
    pub rays: u32,
    /// The widest angle between a ray and where the player looks.
    pub spread_deg: f32,
}

impl RayAttack {
    /// The most rays of one shot.
    pub const MAX_RAYS: u32 = 16;
}

/// A projectile.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectileAttack {
    /// How fast it starts.
    pub speed_mps: f32,
    /// Whether it falls like a body, or flies straight on.
    pub falls: bool,
    /// After so long it bursts, wherever it is.
    pub life_ms: u32,
    /// How far from where it bursts bodies are hurt, m; 0 for none but whom it hits.
    pub splash_m: f32,
    /// Points that the splash takes in the middle; less with the distance, and nothing at the edge.
    pub splash_damage: i32,
}

/// A stroke.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BladeAttack {
    /// How far from the eye the skin of a body may be, m.
    pub reach_m: f32,
    /// The angle that the stroke covers around where the player looks, both sides together.
    pub arc_deg: f32,
}

/// An NPC kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npc {
    /// Its name.
    pub name: String,
    /// How many of these there are among all, as a weight.
    pub share: u32,
    /// Points when it is unhurt.
    pub health: i32,
    /// How fast it wanders.
    pub speed_mps: f32,
    /// How fast it chases and returns.
    pub chase_mps: f32,
    /// How far from its home it wanders along x and z, m.
    pub roam_m: f32,
    /// How far it sees players, m; 0 for one that hunts only who hurt it.
    pub sight_m: f32,
    /// How far from its home it follows, m.
    pub leash_m: f32,
    /// Points that a hit takes.
    pub damage: i32,
    /// How far from its middle the skin of its prey may be when it attacks, m.
    pub reach_m: f32,
    /// How many of its attacks hit, per cent.
    pub hit_percent: u32,
    /// From one attack to the next.
    pub cooldown_ms: u32,
    /// So long it stays dead.
    pub respawn_ms: u32,
    /// Name of the table of what it leaves when it dies.
    pub drop: String,
    /// What it is worth to its killer.
    pub xp: u32,
}

/// Something to pick up.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub gives: Gives,
}

/// What an item is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// Rounds of the first kind in reserve.
    AmmoA,
    /// Rounds of the second kind in reserve.
    AmmoB,
    /// Points of health.
    Health,
    /// Points of armour.
    Armour,
}

/// What lies around.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loot {
    /// How long something lies there.
    pub life_ms: u32,
    /// How many things lie around at a time; no more are dropped then.
    pub most: u32,
}

/// What the dead leave: one entry, or nothing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// Its name.
    pub name: String,
    /// The weight of nothing.
    pub nothing: u32,
    /// What else there may be, at most [`MAX_ENTRIES`].
    pub entry: Vec<Entry>,
}

/// One line of a drop table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the item.
    pub item: String,
    /// Its weight among all entries and nothing.
    pub weight: u32,
    /// How much of it.
    pub amount: i32,
}

/// What experience is worth.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// All that must be learned for level 2, 3 and so on, ascending.
    pub xp: Vec<u32>,
    /// What each level beyond the first adds to all damage, per cent.
    pub damage_percent: i32,
}

impl Levels {
    /// The level of who has learned so much, from 1.
    #[must_use]
    pub fn level(&self, xp: u32) -> u8 {
        // At most `MAX_LEVEL - 1` of them, as was checked.
        1 + self.xp.partition_point(|needed| *needed <= xp) as u8
    }

    /// The damage that `damage` becomes at that level.
    #[must_use]
    pub const fn damage(&self, damage: i32, level: i32) -> i32 {
        damage * (100 + self.damage_percent * (level - 1)) / 100
    }
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

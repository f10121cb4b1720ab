//! The rules of the game as data: weapons, NPC kinds, items, drops, levels, read from TOML and checked once.
//!
//! After the checks every name that is referred to is there, every duration fits the `READY` column at every tick rate
//! and every amount fits its field, so whoever plays by a rulebook asks nothing of it again.

mod checks;
mod error;
mod meaning;
mod tables;

pub use self::error::{Place, RulebookError};
pub use self::tables::{
    Ammo, Ammunition, Attack, BladeAttack, Drop, Entry, Gives, Item, Levels, Loot, Npc, Player, ProjectileAttack,
    RayAttack, Rules, Slot, Weapon,
};

use std::sync::Arc;

/// The longest text of a rulebook, in bytes.
pub const MAX_TEXT: usize = 1 << 16;
/// The most weapons: their number has three bits.
pub const MAX_WEAPONS: usize = 8;
/// The most NPC kinds, items and drop tables each.
pub const MAX_KINDS: usize = 64;
/// The most entries of a drop table.
pub const MAX_ENTRIES: usize = 32;
/// The longest name, in bytes.
pub const MAX_NAME: usize = 32;
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
    hash: u64,
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
        let hash = meaning::hash(&rules);
        Ok(Self { rules, text: text.to_owned(), hash })
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

    /// A hash of what it says: who plays by the same rules has the same, however the text is laid out. Names and the order of
    /// rows count, comments and white space do not.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
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
    fn the_hash_is_of_what_the_rules_say_and_not_of_how_they_are_written() {
        let book = Rulebook::standard();
        let hash = |from, to| changed(from, to).unwrap().hash();
        assert_eq!(hash("# cells", "# Cells"), book.hash(), "a comment");
        assert_eq!(hash("damage = 12\n", "damage   = +1_2 # twelve\n\n"), book.hash(), "white space and digits");
        assert_eq!(hash("range_m = 120.0", "range_m = 120"), book.hash(), "a whole length");
        assert_eq!(hash("\n", "\r\n"), book.hash(), "another end of line");
        let keys = hash("damage = 12\ncooldown_ms = 100\n", "cooldown_ms = 100\ndamage = 12\n");
        assert_eq!(keys, book.hash(), "the order of keys");
    }

    #[test]
    fn every_value_counts_in_the_hash() {
        let mut seen = vec![Rulebook::standard().hash()];
        for (line, number) in STANDARD.lines().zip(0..) {
            let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) else { continue };
            // Of each line the first digit becomes another one, or `true` the opposite; the checks allow most of it.
            let code = value.split('#').next().unwrap_or_default();
            let other = match code.find(|c: char| c.is_ascii_digit()) {
                Some(at) => (0..10).map(|digit| format!("{}{digit}{}", &code[..at], &code[at + 1..])).collect(),
                None if code.contains("true") => vec![code.replace("true", "false")],
                None => vec![code.replace("false", "true"), code.replacen('"', "\"x", 1)],
            };
            for other in other.iter().filter(|other| *other != code) {
                let mut lines: Vec<&str> = STANDARD.lines().collect();
                let line = format!("{key} = {other}");
                lines[number] = &line;
                seen.extend(Rulebook::from_toml(&lines.join("\n")).ok().map(|book| book.hash()));
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert!(count > 300, "{count}");
        assert_eq!(seen.len(), count, "no two of them are the same");
    }

    fn said(from: &str, to: &str) -> String {
        changed(from, to).unwrap_err().to_string()
    }

    #[test]
    fn each_value_out_of_range_is_named_with_its_row_and_what_is_allowed() {
        for (from, to, text) in [
            (
                "cooldown_ms = 700",
                "cooldown_ms = 0",
                "[[weapon]] row 2 (\"scatter\"): cooldown_ms = 0 is not allowed: it takes 1 to 20000",
            ),
            (
                "damage = 25",
                "damage = 101",
                "[[npc]] row 4 (\"brute\"): damage = 101 is not allowed: it takes 0 to 100",
            ),
            (
                "range_m = 120.0",
                "range_m = nan",
                "[[weapon]] row 1 (\"rifle\"): range_m = NaN is not allowed: it takes 1 to 400",
            ),
            (
                "uses = 3",
                "uses = 31",
                "[[weapon]] row 2 (\"scatter\"): uses = 31 is not allowed: it takes 1 to 30 (the magazine of its ammo)",
            ),
            ("armour_percent = ", "armour_percent = 9", "[player]: armour_percent = "),
            ("amount = 20 },\n]", "amount = 0 },\n]", "entry "),
        ] {
            let said = said(from, to);
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn what_a_weapon_without_ammunition_cannot_have_is_said_in_so_many_words() {
        let said = said("name = \"blade\"", "name = \"blade\"\nuses = 3");
        assert_eq!(
            said,
            "[[weapon]] row 5 (\"blade\"): uses = 3 is not allowed without ammo: give ammo = \"a\" or \"b\", or leave \
             uses out"
        );
    }

    #[test]
    fn a_name_that_is_nowhere_is_told_with_those_that_are() {
        let said = [
            said("weapon = \"rifle\"", "weapon = \"rifel\""),
            said("drop = \"rich\"", "drop = \"none\""),
            said("item = \"rockets\", weight = 3", "item = \"socks\", weight = 3"),
        ];
        assert!(
            said[0].starts_with("[player]: weapon = \"rifel\" names no [[weapon]]: there is \"rifle\", \"scatter\"")
        );
        assert!(said[1].starts_with("[[npc]] row 4 (\"brute\"): drop = \"none\" names no [[drop]]: there is "));
        assert!(
            said[2].starts_with("[[drop]] row 3 (\"rich\"), entry 1: item = \"socks\" names no [[item]]"),
            "{}",
            said[2]
        );
    }

    #[test]
    fn names_are_short_and_have_no_control_characters_and_no_error_sends_them_to_a_terminal() {
        for name in ["", "\\u001b[2Jrifle", "a\\tb", "\\u0000", "\\u009b31m", &"x".repeat(MAX_NAME + 1)] {
            let said = said("name = \"scatter\"", &format!("name = \"{name}\""));
            assert!(said.starts_with("[[weapon]] row 2: name = "), "{said}");
            assert!(said.ends_with("is not allowed: a name takes 1 to 32 bytes, no control characters"), "{said}");
            assert!(!said.contains(char::is_control), "{said:?}");
        }
        let long = format!("weapon = \"{}\\u001b\"", "\u{e9}".repeat(1000));
        let said = said("weapon = \"rifle\"", &long);
        assert!(said.len() < 300 && !said.contains(char::is_control), "{said:?}");
    }

    #[test]
    fn each_other_broken_rule_is_named_with_its_row() {
        assert_eq!(
            said("name = \"scatter\"", "name = \"rifle\""),
            "[[weapon]] row 2 (\"rifle\"): row 1 has the same name"
        );
        assert_eq!(
            said("xp = [50, 120", "xp = [50, 50"),
            "[levels]: xp must ascend, but its number 2 (50) is not above the one before"
        );
        assert_eq!(
            Rulebook::from_toml(&STANDARD.replace("share = ", "share = 0 # ")).unwrap_err().to_string(),
            "[[npc]]: share is 0 in every row: at least one must be above 0"
        );
        let many: Vec<String> = (1..=63).map(|xp| xp.to_string()).collect();
        let said_of_levels = said("xp = [50,", &format!("xp = [{}]\n# [", many.join(",")));
        assert_eq!(said_of_levels, "[levels]: xp has 63 numbers, it takes 0 to 62");
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
        assert_eq!(with(4).unwrap_err().to_string(), "[[weapon]]: the table has 9 rows, it takes 1 to 8");
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

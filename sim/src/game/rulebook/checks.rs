//! What must hold of a rulebook beyond its form.

use core::fmt::Display;

use super::{
    Attack, Drop, MAX_BUSY_MS, MAX_ENTRIES, MAX_KINDS, MAX_LEVEL, MAX_NAME, MAX_WEAPONS, Npc, Place, RayAttack,
    RulebookError, Rules, Weapon,
};
use crate::game::schema::{HEALTH_FULL, RESERVE};
use crate::movement::{MAX_FALL_SPEED_MPS, MAX_HORIZONTAL_SPEED_MPS};

/// The largest damage.
const MAX_DAMAGE: f64 = HEALTH_FULL as f64;
/// The longest weapon, m.
const MAX_RANGE_M: f64 = 400.0;
/// Projectiles are not faster, m/s: their velocities have 14 bits.
const MAX_PROJECTILE_MPS: f64 = 120.0;
/// NPCs see no farther, m: who looks around is a cost.
const MAX_SIGHT_M: f64 = 40.0;
/// Nothing that dead NPCs, loot or projectiles wait for takes longer, ms.
const MAX_WAIT_MS: f64 = 3_600_000.0;
/// The largest amount of one item that lies there: 10 bits.
const MAX_AMOUNT: f64 = 1023.0;
/// Weights and experience stay below, so that no sum overflows.
const MAX_POINTS: f64 = 1e6;
/// One row of a table, or one entry of a row.
#[derive(Clone, Copy)]
struct Row<'a> {
    table: &'static str,
    /// From 1; 0 for a table that has no rows.
    row: usize,
    name: &'a str,
    /// From 1; 0 for the row itself.
    entry: usize,
}

impl<'a> Row<'a> {
    fn only(table: &'static str) -> Self {
        Self { table, row: 0, name: "", entry: 0 }
    }

    fn of(table: &'static str, row: usize, name: &'a str) -> Self {
        Self { table, row, name, entry: 0 }
    }

    fn place(self) -> Box<Place> {
        let Self { table, row, entry, .. } = self;
        Box::new(match (row, entry) {
            (0, _) => Place::Table(table),
            (_, 0) => Place::Row { table, row, name: self.name.into() },
            (_, _) => Place::Entry { table, row, name: self.name.into(), entry },
        })
    }

    fn range<T: Into<f64> + Display + Copy>(
        self,
        field: &'static str,
        value: T,
        min: f64,
        max: f64,
    ) -> Result<(), RulebookError> {
        self.range_because(field, value, min, max, "")
    }

    fn range_because<T: Into<f64> + Display + Copy>(
        self,
        field: &'static str,
        value: T,
        min: f64,
        max: f64,
        because: &'static str,
    ) -> Result<(), RulebookError> {
        // Also what is no number is out of range.
        if (min..=max).contains(&value.into()) {
            return Ok(());
        }
        let (min, max) = (min as f32, max as f32);
        Err(RulebookError::Range { place: self.place(), field, value: value.to_string().into(), min, max, because })
    }

    fn known<'n>(
        self,
        field: &'static str,
        name: &str,
        table: &'static str,
        names: impl Iterator<Item = &'n String> + Clone,
    ) -> Result<(), RulebookError> {
        if names.clone().any(|known| known == name) {
            return Ok(());
        }
        let known = names.map(|name| name.as_str().into()).collect();
        Err(RulebookError::Unknown { place: self.place(), field, name: shown(name), table, known })
    }
}

/// As much of a text as a name has.
fn shown(text: &str) -> Box<str> {
    let mut end = MAX_NAME.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// Checks everything; the first rule that is broken.
pub fn check(rules: &Rules) -> Result<(), RulebookError> {
    rows("weapon", MAX_WEAPONS, rules.weapon.iter().map(|row| &row.name))?;
    rows("npc", MAX_KINDS, rules.npc.iter().map(|row| &row.name))?;
    rows("item", MAX_KINDS, rules.item.iter().map(|row| &row.name))?;
    rows("drop", MAX_KINDS, rules.drop.iter().map(|row| &row.name))?;
    player(rules)?;
    for (weapon, row) in rules.weapon.iter().zip(1..) {
        check_weapon(Row::of("weapon", row, &weapon.name), weapon, rules)?;
    }
    for (npc, row) in rules.npc.iter().zip(1..) {
        check_npc(Row::of("npc", row, &npc.name), npc, rules)?;
    }
    for (drop, row) in rules.drop.iter().zip(1..) {
        check_drop(Row::of("drop", row, &drop.name), drop, rules)?;
    }
    if rules.npc.iter().all(|npc| npc.share == 0) {
        return Err(RulebookError::NoWeight { table: "npc", field: "share" });
    }
    let loot = Row::only("loot");
    loot.range("life_ms", rules.loot.life_ms, 1000.0, MAX_WAIT_MS)?;
    loot.range("most", rules.loot.most, 0.0, 65536.0)?;
    levels(rules)
}

/// That there are as many rows as there may be, each with a name of its own.
fn rows<'a>(
    table: &'static str,
    max: usize,
    names: impl ExactSizeIterator<Item = &'a String> + Clone,
) -> Result<(), RulebookError> {
    let count = names.len();
    if !(1..=max).contains(&count) {
        let place = Box::new(Place::List(table));
        return Err(RulebookError::Rows { place, what: "the table", unit: "rows", count, min: 1, max });
    }
    for (name, row) in names.clone().zip(1..) {
        if !(1..=MAX_NAME).contains(&name.len()) || name.contains(char::is_control) {
            let place = Row::of(table, row, "").place();
            return Err(RulebookError::Name { place, name: shown(name), max: MAX_NAME });
        }
        if let Some(earlier) = names.clone().take(row - 1).position(|other| other == name) {
            return Err(RulebookError::Twice { place: Row::of(table, row, name).place(), earlier: earlier + 1 });
        }
    }
    Ok(())
}

fn player(rules: &Rules) -> Result<(), RulebookError> {
    let (player, row) = (&rules.player, Row::only("player"));
    row.known("weapon", &player.weapon, "weapon", rules.weapon.iter().map(|weapon| &weapon.name))?;
    row.range("shield_ms", player.shield_ms, 0.0, f64::from(MAX_BUSY_MS))?;
    row.range("respawn_ms", player.respawn_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    row.range("armour_percent", player.armour_percent, 0.0, 100.0)?;
    row.range("reach_m", player.reach_m, 0.5, 10.0)?;
    row.range("hurts_itself_percent", player.hurts_itself_percent, 0.0, 100.0)?;
    row.known("drop", &player.drop, "drop", drops(rules))?;
    row.range("xp", player.xp, 0.0, MAX_POINTS)?;
    for (ammo, row) in [(&rules.ammo.a, Row::only("ammo.a")), (&rules.ammo.b, Row::only("ammo.b"))] {
        // Together they have 16 bits.
        row.range("magazine", ammo.magazine, 1.0, f64::from(RESERVE - 1))?;
        row.range("reserve", ammo.reserve, 0.0, f64::from(65536 / RESERVE - 1))?;
        row.range_because("start", ammo.start, 0.0, f64::from(ammo.reserve), "its reserve")?;
    }
    Ok(())
}

fn check_weapon(row: Row<'_>, weapon: &Weapon, rules: &Rules) -> Result<(), RulebookError> {
    row.range("damage", weapon.damage, 0.0, MAX_DAMAGE)?;
    row.range("cooldown_ms", weapon.cooldown_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    row.range("draw_ms", weapon.draw_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    if let Some(slot) = weapon.ammo {
        let ammo = if slot.column() == crate::game::schema::AMMO_A { &rules.ammo.a } else { &rules.ammo.b };
        row.range_because("uses", weapon.uses, 1.0, f64::from(ammo.magazine), "the magazine of its ammo")?;
        row.range("reload_ms", weapon.reload_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    } else {
        for (field, value) in [("uses", i64::from(weapon.uses)), ("reload_ms", weapon.reload_ms.into())] {
            if value != 0 {
                let value = value.to_string().into();
                return Err(RulebookError::NoAmmo { place: row.place(), field, value });
            }
        }
    }
    match &weapon.attack {
        Attack::Ray(ray) => {
            row.range("range_m", ray.range_m, 1.0, MAX_RANGE_M)?;
            row.range("rays", ray.rays, 1.0, f64::from(RayAttack::MAX_RAYS))?;
            row.range("spread_deg", ray.spread_deg, 0.0, 30.0)
        }
        Attack::Projectile(flight) => {
            // What falls is never faster downwards than bodies are.
            let fastest = if flight.falls { f64::from(MAX_FALL_SPEED_MPS) } else { MAX_PROJECTILE_MPS };
            row.range("speed_mps", flight.speed_mps, 1.0, fastest)?;
            row.range("life_ms", flight.life_ms, 1.0, f64::from(MAX_BUSY_MS))?;
            row.range("splash_m", flight.splash_m, 0.0, 16.0)?;
            row.range("splash_damage", flight.splash_damage, 0.0, MAX_DAMAGE)
        }
        Attack::Blade(blade) => {
            row.range("reach_m", blade.reach_m, 0.5, 10.0)?;
            row.range("arc_deg", blade.arc_deg, 1.0, 180.0)
        }
    }
}

fn check_npc(row: Row<'_>, npc: &Npc, rules: &Rules) -> Result<(), RulebookError> {
    let fastest = f64::from(MAX_HORIZONTAL_SPEED_MPS);
    row.range("share", npc.share, 0.0, MAX_POINTS)?;
    row.range("health", npc.health, 1.0, f64::from(HEALTH_FULL))?;
    row.range("speed_mps", npc.speed_mps, 0.5, fastest)?;
    row.range("chase_mps", npc.chase_mps, 0.5, fastest)?;
    row.range("roam_m", npc.roam_m, 0.0, 1000.0)?;
    row.range("sight_m", npc.sight_m, 0.0, MAX_SIGHT_M)?;
    row.range("leash_m", npc.leash_m, 1.0, 1000.0)?;
    row.range("damage", npc.damage, 0.0, MAX_DAMAGE)?;
    row.range("reach_m", npc.reach_m, 0.5, MAX_SIGHT_M)?;
    row.range("hit_percent", npc.hit_percent, 0.0, 100.0)?;
    row.range("cooldown_ms", npc.cooldown_ms, 1.0, MAX_WAIT_MS)?;
    row.range("respawn_ms", npc.respawn_ms, 1.0, MAX_WAIT_MS)?;
    row.known("drop", &npc.drop, "drop", drops(rules))?;
    row.range("xp", npc.xp, 0.0, MAX_POINTS)
}

fn check_drop(row: Row<'_>, drop: &Drop, rules: &Rules) -> Result<(), RulebookError> {
    let count = drop.entry.len();
    if count > MAX_ENTRIES {
        let (what, unit) = ("entry", "entries");
        return Err(RulebookError::Rows { place: row.place(), what, unit, count, min: 0, max: MAX_ENTRIES });
    }
    row.range("nothing", drop.nothing, 0.0, MAX_POINTS)?;
    for (entry, number) in drop.entry.iter().zip(1..) {
        let row = Row { entry: number, ..row };
        row.known("item", &entry.item, "item", rules.item.iter().map(|item| &item.name))?;
        row.range("weight", entry.weight, 0.0, MAX_POINTS)?;
        row.range("amount", entry.amount, 1.0, MAX_AMOUNT)?;
    }
    Ok(())
}

fn levels(rules: &Rules) -> Result<(), RulebookError> {
    let (levels, row) = (&rules.levels, Row::only("levels"));
    let count = levels.xp.len();
    if count >= MAX_LEVEL {
        let (what, unit) = ("xp", "numbers");
        return Err(RulebookError::Rows { place: row.place(), what, unit, count, min: 0, max: MAX_LEVEL - 1 });
    }
    let steps = levels.xp.iter().zip(levels.xp.iter().skip(1));
    if let Some(((_, value), before)) = steps.zip(1..).find(|((lower, higher), _)| lower >= higher) {
        return Err(RulebookError::Ascend { place: row.place(), field: "xp", at: before + 1, value: *value });
    }
    row.range("damage_percent", levels.damage_percent, 0.0, 100.0)
}

fn drops(rules: &Rules) -> impl Iterator<Item = &String> + Clone {
    rules.drop.iter().map(|drop| &drop.name)
}

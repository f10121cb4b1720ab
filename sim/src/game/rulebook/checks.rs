//! What must hold of a rulebook beyond its form.

use super::{
    Attack, Drop, MAX_BUSY_MS, MAX_ENTRIES, MAX_KINDS, MAX_LEVEL, MAX_WEAPONS, Npc, RayAttack, RulebookError, Rules,
    Weapon,
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
/// The longest name, in bytes.
const MAX_NAME: f64 = 32.0;

/// One row of a table.
#[derive(Clone, Copy)]
struct Row(&'static str, usize);

impl Row {
    fn range(self, field: &'static str, value: impl Into<f64>, min: f64, max: f64) -> Result<(), RulebookError> {
        // Also what is no number is out of range.
        if (min..=max).contains(&value.into()) {
            return Ok(());
        }
        Err(RulebookError::Range { table: self.0, row: self.1, field, min, max })
    }

    fn known(self, field: &'static str, found: bool) -> Result<(), RulebookError> {
        if found { Ok(()) } else { Err(RulebookError::Unknown { table: self.0, row: self.1, field }) }
    }
}

/// Checks everything; the first rule that is broken.
pub fn check(rules: &Rules) -> Result<(), RulebookError> {
    rows("weapon", MAX_WEAPONS, rules.weapon.iter().map(|row| &row.name))?;
    rows("npc", MAX_KINDS, rules.npc.iter().map(|row| &row.name))?;
    rows("item", MAX_KINDS, rules.item.iter().map(|row| &row.name))?;
    rows("drop", MAX_KINDS, rules.drop.iter().map(|row| &row.name))?;
    player(rules)?;
    for (weapon, row) in rules.weapon.iter().zip(1..) {
        check_weapon(Row("weapon", row), weapon, rules)?;
    }
    for (npc, row) in rules.npc.iter().zip(1..) {
        check_npc(Row("npc", row), npc, rules)?;
    }
    for (drop, row) in rules.drop.iter().zip(1..) {
        check_drop(Row("drop", row), drop, rules)?;
    }
    let loot = Row("loot", 1);
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
    if !(1..=max).contains(&names.len()) {
        return Err(RulebookError::Rows { table, min: 1, max });
    }
    for (name, earlier) in names.clone().zip(0..) {
        Row(table, earlier + 1).range("length of name", name.len() as u32, 1.0, MAX_NAME)?;
        if names.clone().take(earlier).any(|other| other == name) {
            return Err(RulebookError::Twice { table, row: earlier + 1 });
        }
    }
    Ok(())
}

fn player(rules: &Rules) -> Result<(), RulebookError> {
    let (player, row) = (&rules.player, Row("player", 1));
    row.known("weapon", rules.weapon.iter().any(|weapon| weapon.name == player.weapon))?;
    row.range("shield_ms", player.shield_ms, 0.0, f64::from(MAX_BUSY_MS))?;
    row.range("respawn_ms", player.respawn_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    row.range("armour_percent", player.armour_percent, 0.0, 100.0)?;
    row.range("reach_m", player.reach_m, 0.5, 10.0)?;
    row.range("hurts_itself_percent", player.hurts_itself_percent, 0.0, 100.0)?;
    row.known("drop", has_drop(rules, &player.drop))?;
    row.range("xp", player.xp, 0.0, MAX_POINTS)?;
    for (ammo, row) in [(&rules.ammo.a, Row("ammo.a", 1)), (&rules.ammo.b, Row("ammo.b", 1))] {
        // Together they have 16 bits.
        row.range("magazine", ammo.magazine, 1.0, f64::from(RESERVE - 1))?;
        row.range("reserve", ammo.reserve, 0.0, f64::from(65536 / RESERVE - 1))?;
        row.range("start", ammo.start, 0.0, f64::from(ammo.reserve))?;
    }
    Ok(())
}

fn check_weapon(row: Row, weapon: &Weapon, rules: &Rules) -> Result<(), RulebookError> {
    row.range("damage", weapon.damage, 0.0, MAX_DAMAGE)?;
    row.range("cooldown_ms", weapon.cooldown_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    row.range("draw_ms", weapon.draw_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    if let Some(slot) = weapon.ammo {
        let ammo = if slot.column() == crate::game::schema::AMMO_A { &rules.ammo.a } else { &rules.ammo.b };
        row.range("uses", weapon.uses, 1.0, f64::from(ammo.magazine))?;
        row.range("reload_ms", weapon.reload_ms, 1.0, f64::from(MAX_BUSY_MS))?;
    } else {
        row.range("uses", weapon.uses, 0.0, 0.0)?;
        row.range("reload_ms", weapon.reload_ms, 0.0, 0.0)?;
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

fn check_npc(row: Row, npc: &Npc, rules: &Rules) -> Result<(), RulebookError> {
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
    row.known("drop", has_drop(rules, &npc.drop))?;
    row.range("xp", npc.xp, 0.0, MAX_POINTS)
}

fn check_drop(row: Row, drop: &Drop, rules: &Rules) -> Result<(), RulebookError> {
    if drop.entry.len() > MAX_ENTRIES {
        return Err(RulebookError::Rows { table: "drop.entry", min: 0, max: MAX_ENTRIES });
    }
    row.range("nothing", drop.nothing, 0.0, MAX_POINTS)?;
    for entry in &drop.entry {
        row.known("item", rules.item.iter().any(|item| item.name == entry.item))?;
        row.range("weight", entry.weight, 0.0, MAX_POINTS)?;
        row.range("amount", entry.amount, 1.0, MAX_AMOUNT)?;
    }
    Ok(())
}

fn levels(rules: &Rules) -> Result<(), RulebookError> {
    let levels = &rules.levels;
    if levels.xp.len() >= MAX_LEVEL {
        return Err(RulebookError::Rows { table: "levels.xp", min: 0, max: MAX_LEVEL - 1 });
    }
    if !levels.xp.is_sorted_by(|lower, higher| lower < higher) {
        return Err(RulebookError::Ascend);
    }
    Row("levels", 1).range("damage_percent", levels.damage_percent, 0.0, 100.0)
}

fn has_drop(rules: &Rules, name: &str) -> bool {
    rules.drop.iter().any(|drop| drop.name == name)
}

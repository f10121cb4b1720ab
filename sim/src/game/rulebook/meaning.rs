//! A hash of what a rulebook says, whatever the text: comments, white space, the order of keys and how numbers are written do
//! not count. Every value does, names and the order of rows included: rows are known by their numbers.
//!
//! The form that is hashed is the tables in the order of their declaration, and in them the fields: whole numbers as
//! themselves, others as the bits of their 32-bit float (and -0 as 0), truths as 0 or 1, a choice by its place among its kind (from
//! 1, where there may be none), a text as its length and its bytes in words of eight, a list as its length and its rows.

use super::tables::{
    Ammo, Ammunition, Attack, BladeAttack, Drop, Entry, Gives, Item, Levels, Loot, Npc, Player, ProjectileAttack,
    RayAttack, Rules, Slot, Weapon,
};
use crate::rng::mix;

/// The hash.
pub fn hash(rules: &Rules) -> u64 {
    let Rules { player, ammo: Ammunition { a, b }, weapon, npc, item, loot: Loot { life_ms, most }, drop, levels } =
        rules;
    let mut form = Form(0);
    form.player(player);
    form.ammo(a);
    form.ammo(b);
    form.list(weapon, Form::weapon);
    form.list(npc, Form::npc);
    form.list(item, Form::item);
    form.wholes(&[*life_ms, *most]);
    form.list(drop, Form::drop);
    let Levels { xp, damage_percent } = levels;
    form.list(xp, |form, xp| form.word(u64::from(*xp)));
    form.signed(&[*damage_percent]);
    form.0
}

/// The hash so far. Each table is taken apart by name, so that none of its fields is forgotten.
struct Form(u64);

impl Form {
    fn word(&mut self, word: u64) {
        // The constant keeps zeroes from being lost at the beginning.
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word);
    }

    fn wholes(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.word(u64::from(*number)));
    }

    fn signed(&mut self, numbers: &[i32]) {
        numbers.iter().for_each(|number| self.word(i64::from(*number) as u64));
    }

    fn floats(&mut self, numbers: &[f32]) {
        numbers.iter().for_each(|number| self.word(u64::from((number + 0.0).to_bits())));
    }

    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for bytes in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn list<T>(&mut self, rows: &[T], row: impl Fn(&mut Self, &T)) {
        self.word(rows.len() as u64);
        rows.iter().for_each(|each| row(self, each));
    }

    fn player(&mut self, player: &Player) {
        let Player {
            weapon,
            shield_ms,
            respawn_ms,
            armour_percent,
            reach_m,
            hurts_players,
            hurts_itself_percent,
            drop,
            xp,
        } = player;
        self.text(weapon);
        self.wholes(&[*shield_ms, *respawn_ms, *armour_percent]);
        self.floats(&[*reach_m]);
        self.wholes(&[u32::from(*hurts_players), *hurts_itself_percent]);
        self.text(drop);
        self.wholes(&[*xp]);
    }

    fn ammo(&mut self, ammo: &Ammo) {
        let Ammo { magazine, reserve, start } = ammo;
        self.signed(&[*magazine, *reserve, *start]);
    }

    fn weapon(&mut self, weapon: &Weapon) {
        let Weapon { name, damage, cooldown_ms, draw_ms, ammo, uses, reload_ms, attack } = weapon;
        self.text(name);
        self.signed(&[*damage]);
        self.wholes(&[*cooldown_ms, *draw_ms]);
        self.word(match ammo {
            None => 0,
            Some(Slot::A) => 1,
            Some(Slot::B) => 2,
        });
        self.signed(&[*uses]);
        self.wholes(&[*reload_ms]);
        match attack {
            Attack::Ray(RayAttack { range_m, rays, spread_deg }) => {
                self.wholes(&[0, *rays]);
                self.floats(&[*range_m, *spread_deg]);
            }
            Attack::Projectile(ProjectileAttack { speed_mps, falls, life_ms, splash_m, splash_damage }) => {
                self.wholes(&[1, u32::from(*falls), *life_ms]);
                self.floats(&[*speed_mps, *splash_m]);
                self.signed(&[*splash_damage]);
            }
            Attack::Blade(BladeAttack { reach_m, arc_deg }) => {
                self.wholes(&[2]);
                self.floats(&[*reach_m, *arc_deg]);
            }
        }
    }

    fn npc(&mut self, npc: &Npc) {
        let Npc {
            name,
            share,
            health,
            speed_mps,
            chase_mps,
            roam_m,
            sight_m,
            leash_m,
            damage,
            reach_m,
            hit_percent,
            cooldown_ms,
            respawn_ms,
            drop,
            xp,
        } = npc;
        self.text(name);
        self.wholes(&[*share]);
        self.signed(&[*health]);
        self.floats(&[*speed_mps, *chase_mps, *roam_m, *sight_m, *leash_m]);
        self.signed(&[*damage]);
        self.floats(&[*reach_m]);
        self.wholes(&[*hit_percent, *cooldown_ms, *respawn_ms]);
        self.text(drop);
        self.wholes(&[*xp]);
    }

    fn item(&mut self, item: &Item) {
        let Item { name, gives } = item;
        self.text(name);
        self.word(match gives {
            Gives::AmmoA => 0,
            Gives::AmmoB => 1,
            Gives::Health => 2,
            Gives::Armour => 3,
        });
    }

    fn drop(&mut self, drop: &Drop) {
        let Drop { name, nothing, entry } = drop;
        self.text(name);
        self.wholes(&[*nothing]);
        self.list(entry, |form, Entry { item, weight, amount }| {
            form.text(item);
            form.wholes(&[*weight]);
            form.signed(&[*amount]);
        });
    }
}

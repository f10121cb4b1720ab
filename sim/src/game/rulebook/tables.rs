//! The tables of a rulebook, as they are in its TOML. Durations are in milliseconds, lengths in metres, speeds in m/s,
//! damage in points of which 100 are whole.

use crate::game::schema::{AMMO_A, AMMO_B};
use serde::Deserialize;

/// The tables of a rulebook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What holds for all players.
    pub player: Player,
    /// What is shot.
    pub ammo: Ammunition,
    /// Weapons by number, at most [`MAX_WEAPONS`](super::MAX_WEAPONS).
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
    /// What else there may be, at most [`MAX_ENTRIES`](super::MAX_ENTRIES).
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

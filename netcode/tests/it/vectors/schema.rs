//! The tables that both sides hash. The schema is a copy of the game's, which this crate does not know; a test of
//! the crates that know both compares the hashes.

use std::fmt::Write as _;

use netcode::channel::{Kind as ChannelKind, Overflow, Table};
use netcode::schema::{Audience, Field, Fnv, Kind, Predictor, Schema};
use serde_json::{Value, json};

use super::{hash, hex};

const X: Field = Field {
    name: "x",
    bits: 21,
    signed: true,
    wraps: false,
    scale: 256,
    unit: "m",
    predictor: Predictor::Linear { velocity: 3, numerator: 4 },
    group: 0,
    audience: Audience::Everyone,
    order: 0,
};
const Y: Field =
    Field { name: "y", bits: 18, predictor: Predictor::Linear { velocity: 4, numerator: 4 }, group: 1, order: 0, ..X };
const Z: Field = Field { name: "z", predictor: Predictor::Linear { velocity: 5, numerator: 4 }, ..X };
const VX: Field = Field { name: "vx", bits: 12, scale: 64, unit: "m/s", predictor: Predictor::Hold, order: 8, ..X };
const VY: Field = Field {
    name: "vy",
    predictor: Predictor::Fall { gravity: 1280, terminal: 1920, flags: 7, supported: 1 },
    group: 1,
    order: 10,
    ..VX
};
const VZ: Field = Field { name: "vz", ..VX };
const YAW: Field = Field {
    name: "yaw",
    bits: 12,
    signed: false,
    wraps: true,
    scale: 4096,
    unit: "turn",
    predictor: Predictor::Hold,
    group: 2,
    audience: Audience::Everyone,
    order: 9,
};
const FLAGS: Field = Field { name: "flags", bits: 11, wraps: false, scale: 1, unit: "bits", group: 3, order: 0, ..YAW };
const PITCH: Field = Field { name: "pitch", bits: 7, signed: true, scale: 128, unit: "turn", group: 2, ..FLAGS };

/// What seldom changes; numbers, unless said otherwise.
const fn count(name: &'static str, bits: u8, group: u8) -> Field {
    Field { name, bits, unit: "number", group, ..FLAGS }
}

/// What only its owner learns.
const fn own(name: &'static str, bits: u8, group: u8, scale: u32, unit: &'static str) -> Field {
    Field { scale, unit, audience: Audience::Owner, ..count(name, bits, group) }
}

/// A field of an input.
const fn told(name: &'static str, bits: u8, group: u8, scale: u32, unit: &'static str) -> Field {
    Field { scale, unit, ..count(name, bits, group) }
}

const HEALTH: Field = told("health", 7, 4, 100, "full");
const fn fast(field: Field) -> Field {
    Field { bits: 14, ..field }
}

/// The game's schema.
pub const SCHEMA: Schema = Schema {
    kinds: &[
        Kind {
            name: "player",
            fields: &[
                X,
                Y,
                Z,
                VX,
                VY,
                VZ,
                YAW,
                FLAGS,
                PITCH,
                HEALTH,
                count("level", 6, 4),
                own("stamina", 6, 5, 63, "full"),
                own("armour", 7, 6, 100, "full"),
                own("ready", 12, 7, 1, "tick"),
                own("ammo_a", 16, 7, 1, "rounds"),
                own("ammo_b", 16, 7, 1, "rounds"),
            ],
        },
        Kind { name: "npc", fields: &[X, Y, Z, VX, VY, VZ, YAW, FLAGS, count("archetype", 8, 5), HEALTH] },
        Kind {
            name: "projectile",
            fields: &[
                X,
                Y,
                Z,
                fast(VX),
                fast(VY),
                fast(VZ),
                YAW,
                FLAGS,
                told("owner", 28, 4, 1, "id"),
                told("launched", 12, 4, 1, "tick"),
                count("ordinal", 2, 4),
            ],
        },
        Kind { name: "loot", fields: &[X, Y, Z, VX, VY, VZ, YAW, FLAGS, count("item", 8, 4), count("amount", 10, 4)] },
    ],
    input: &[
        Field { signed: true, ..told("move_x", 5, 0, 15, "full speed") },
        Field { signed: true, ..told("move_z", 5, 0, 15, "full speed") },
        Field { wraps: true, ..told("yaw", 16, 1, 1 << 16, "turn") },
        Field { signed: true, ..told("pitch", 16, 2, 1 << 16, "turn") },
        told("buttons", 8, 3, 1, "bits"),
        told("weapon", 4, 3, 1, "number"),
        told("view", 11, 4, 32, "ticks"),
        told("instant", 4, 4, 16, "ticks"),
        told("target", 28, 5, 1, "id"),
    ],
};

const _: () = assert!(SCHEMA.is_valid());

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// FNV-1a, written down a second time.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(Fnv::new().0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

pub fn channel_tables() -> Value {
    json!([channel_table("standard", &Table::standard()), channel_table("lab", &Table::lab())])
}

fn channel_table(name: &str, table: &Table) -> Value {
    let number = |kind| match kind {
        ChannelKind::Unreliable => 0,
        ChannelKind::Sequenced => 1,
        ChannelKind::Snapshot => 2,
        ChannelKind::ReliableOrdered => 3,
        ChannelKind::ReliableUnordered => 4,
        ChannelKind::Block => 5u8,
    };
    let mut canonical = vec![table.0.len() as u8];
    let mut channels = Vec::new();
    for channel in &table.0 {
        let overflow = u8::from(channel.overflow == Overflow::DropOldest);
        text(&mut canonical, channel.name);
        canonical.extend_from_slice(&[number(channel.kind), channel.priority, channel.weight]);
        for number in [channel.min_bytes, channel.max_bytes, channel.max_message, channel.queue_bytes] {
            canonical.extend_from_slice(&number.to_le_bytes());
        }
        canonical.push(overflow);
        channels.push(json!({
            "name": channel.name,
            "kind": number(channel.kind),
            "priority": channel.priority,
            "weight": channel.weight,
            "least_per_tick": channel.min_bytes,
            "most_per_tick": channel.max_bytes,
            "longest_message": channel.max_message,
            "queue": channel.queue_bytes,
            "overflow": overflow,
        }));
    }
    assert_eq!(fnv(&canonical), table.hash());
    json!({ "name": name, "channels": channels, "canonical": hex(canonical), "hash": hash(table.hash()) })
}

fn audience(field: &Field) -> u8 {
    match field.audience {
        Audience::Everyone => 0,
        Audience::Owner => 1,
    }
}

fn canonical_fields(out: &mut Vec<u8>, fields: &[Field]) {
    out.push(fields.len() as u8);
    for field in fields {
        text(out, field.name);
        out.extend_from_slice(&[field.bits, u8::from(field.signed), u8::from(field.wraps)]);
        out.extend_from_slice(&field.scale.to_le_bytes());
        text(out, field.unit);
        out.extend_from_slice(&[field.group, audience(field), field.order]);
        match field.predictor {
            Predictor::Hold => out.push(0),
            Predictor::Linear { velocity, numerator } => {
                out.extend_from_slice(&[1, velocity]);
                out.extend_from_slice(&numerator.to_le_bytes());
            }
            Predictor::Fall { gravity, terminal, flags, supported } => {
                out.push(2);
                out.extend_from_slice(&gravity.to_le_bytes());
                out.extend_from_slice(&terminal.to_le_bytes());
                out.push(flags);
                out.extend_from_slice(&supported.to_le_bytes());
            }
            Predictor::Trend => out.push(3),
            Predictor::Rotation { part } => out.extend_from_slice(&[4, part]),
        }
    }
}

fn fields(fields: &[Field]) -> Value {
    let field = |field: &Field| {
        let predictor = match field.predictor {
            Predictor::Hold => json!("hold"),
            Predictor::Linear { velocity, numerator } => json!({ "velocity": velocity, "numerator": numerator }),
            Predictor::Fall { gravity, terminal, flags, supported } => {
                json!({ "gravity": gravity, "terminal": terminal, "flags": flags, "supported": supported })
            }
            Predictor::Trend => json!("trend"),
            Predictor::Rotation { part } => json!({ "rotation": part }),
        };
        json!({
            "name": field.name,
            "bits": field.bits,
            "signed": field.signed,
            "wraps": field.wraps,
            "scale": field.scale,
            "unit": field.unit,
            "group": field.group,
            "audience": audience(field),
            "order": field.order,
            "predictor": predictor,
        })
    };
    fields.iter().map(field).collect()
}

pub fn schema() -> Value {
    let mut canonical = vec![SCHEMA.kinds.len() as u8];
    for kind in SCHEMA.kinds {
        text(&mut canonical, kind.name);
        canonical_fields(&mut canonical, kind.fields);
    }
    canonical_fields(&mut canonical, SCHEMA.input);
    assert_eq!(fnv(&canonical), SCHEMA.hash());
    let kind = |kind: &Kind| json!({ "name": kind.name, "fields": fields(kind.fields) });
    json!({
        "kinds": SCHEMA.kinds.iter().map(kind).collect::<Vec<_>>(),
        "input": fields(SCHEMA.input),
        "canonical": hex(canonical),
        "hash": hash(SCHEMA.hash()),
    })
}

/// The schema as the tables of SPEC.md.
pub fn markdown() -> String {
    let mut out = String::new();
    for (number, kind) in SCHEMA.kinds.iter().enumerate() {
        rows(&mut out, &format!("kind {number}: `{}`", kind.name), kind.fields);
    }
    rows(&mut out, "input", SCHEMA.input);
    out.trim_end().to_owned()
}

fn rows(out: &mut String, title: &str, fields: &[Field]) {
    let _ = writeln!(out, "| {title} | bits | signed | wraps | scale | unit | group | audience | order | predictor |");
    let _ = writeln!(out, "|---|---|---|---|---|---|---|---|---|---|");
    for (index, field) in fields.iter().enumerate() {
        let yes = |flag| if flag { "yes" } else { "no" };
        let predictor = match field.predictor {
            Predictor::Hold => "hold".to_owned(),
            Predictor::Linear { velocity, numerator } => format!("linear, velocity {velocity}, numerator {numerator}"),
            Predictor::Fall { gravity, terminal, flags, supported } => {
                format!("fall, gravity {gravity}, terminal {terminal}, flags {flags}, supported {supported}")
            }
            Predictor::Trend => "trend".to_owned(),
            Predictor::Rotation { part } => format!("rotation, part {part}"),
        };
        let audience = match field.audience {
            Audience::Everyone => "all",
            Audience::Owner => "owner",
        };
        let Field { name, bits, signed, wraps, scale, unit, group, order, .. } = field;
        let (signed, wraps) = (yes(*signed), yes(*wraps));
        let _ = writeln!(
            out,
            "| {index} `{name}` | {bits} | {signed} | {wraps} | {scale} | `{unit}` | {group} | {audience} | {order} | {predictor} |"
        );
    }
    out.push('\n');
}

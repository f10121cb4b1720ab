//! The tables that describe what is replicated: per entity kind its fields, their ranges, widths,
//! predictors and groups.
//!
//! Everything else derives from these tables: the change masks, the widths on the wire, the hash that
//! both sides compare at connect, the decoded view. Adding a replicated field is one line in the
//! simulation's table. This module is plain data; it is the only one that `sim` may use.

/// The most fields that one entity kind (or the input) may have.
pub const MAX_FIELDS: usize = 16;
/// The most entity kinds of one schema (the kind is 4 bits on the wire).
pub const MAX_KINDS: usize = 16;
/// The most groups of one kind (one bit each in the change mask).
pub const MAX_GROUPS: usize = 8;

/// The largest magnitude of a linear predictor's numerator.
pub const MAX_NUMERATOR: i32 = 1 << 24;

/// The quantised fields of one entity, in the order of its [`Kind`]; unused ones are zero.
pub type State = [i32; MAX_FIELDS];

/// The most ticks that a fall is followed; a guess for more ticks is the one for so many.
pub const MAX_FALL_TICKS: u32 = 128;

/// How a field is guessed, tick by tick, before the residual is coded: see [`extrapolate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// The field keeps its value.
    Hold,
    /// The field moves on along a velocity field of the same kind: in each tick by
    /// `floor((velocity * numerator + rate / 2) / rate)`, where `rate` is the tick rate in Hz.
    ///
    /// The step is rounded, not the way: so a guess for `m + n` ticks is the guess for `n` ticks of the guess for `m`.
    Linear {
        /// Index of the velocity field.
        velocity: u8,
        /// Position quanta per second for one velocity quantum.
        numerator: i32,
    },
    /// A velocity that gravity takes hold of, unless the body is supported: in each tick, before any field moves along
    /// it, it sinks by `floor((gravity + rate / 2) / rate)`, down to `-terminal`.
    Fall {
        /// Velocity quanta a second, above 0.
        gravity: i32,
        /// The fastest fall in velocity quanta, above 0.
        terminal: i32,
        /// Index of the field of flags, one that holds its value.
        flags: u8,
        /// While one of these bits is set there, the velocity keeps its value.
        supported: i32,
    },
    /// The field moves on as it moved between the two newest acknowledged states.
    ///
    /// The guess `n` ticks after the newer one, `m` ticks after the older one, is
    /// `newer + round((newer - older) * n / m)`; without an older state the field keeps its value.
    Trend,
    /// Four fields in a row are a unit quaternion, *smallest three*: part 0 is the number (2 bits) of the
    /// component x, y, z, w of the largest magnitude, which is left out and positive; parts 1, 2, 3 are the
    /// others in order, unsigned, where 0 is -1/√2 and the largest value +1/√2. It turns on as it turned between
    /// the two newest acknowledged states.
    Rotation {
        /// Which of the four fields, 0..=3.
        part: u8,
    },
}

/// Who gets a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who sees the entity.
    #[default]
    Everyone,
    /// Only the client that owns the entity. For others the field is 0 and never leaves the server. It holds, or moves along
    /// another of the owner's.
    Owner,
}

/// The narrowest and the widest component of a [`Predictor::Rotation`], in bits.
pub const ROTATION_BITS: [u8; 2] = [4, 14];

/// One replicated (or input) field: an integer with a range and a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name, as in the documentation and in generated bindings.
    pub name: &'static str,
    /// Width on the wire in bits, 1..=32.
    pub bits: u8,
    /// Two's complement (`-2^(bits-1) ..`) or unsigned (`0 ..`).
    pub signed: bool,
    /// Whether the value is cyclic (an angle): differences are taken modulo `2^bits`.
    pub wraps: bool,
    /// Quanta per unit, for instance 256 for 1/256 m.
    pub scale: u32,
    /// Unit of the dequantised value, for instance `"m"`.
    pub unit: &'static str,
    /// How the field is guessed from the baseline.
    pub predictor: Predictor,
    /// Change group, below [`MAX_GROUPS`]: fields that change together share one mask bit.
    pub group: u8,
    /// Who gets it; the same for all fields of a group.
    pub audience: Audience,
    /// Order of the code of its residuals ([`snapshot::fast`](crate::snapshot::fast)), below `bits`: about the width of a common
    /// one. Means nothing for a field that moves along another, and for an input.
    pub order: u8,
}

/// One kind of entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Name, as in the documentation.
    pub name: &'static str,
    /// The fields, at most [`MAX_FIELDS`], in wire order.
    pub fields: &'static [Field],
}

/// All that a zone replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The entity kinds; the index is the kind number on the wire.
    pub kinds: &'static [Kind],
    /// The fields of one tick's input, coded as raw bits.
    pub input: &'static [Field],
}

impl Field {
    /// The smallest value.
    #[inline]
    #[must_use]
    pub const fn min(&self) -> i32 {
        if self.signed { (-1i64 << (self.bits - 1)) as i32 } else { 0 }
    }

    /// The largest value (an unsigned field has at most 31 bits).
    #[inline]
    #[must_use]
    pub const fn max(&self) -> i32 {
        if self.signed { ((1i64 << (self.bits - 1)) - 1) as i32 } else { ((1i64 << self.bits) - 1) as i32 }
    }

    /// Brings a value into range: cyclic fields wrap, others saturate.
    #[inline]
    #[must_use]
    pub const fn fit(&self, value: i64) -> i32 {
        let (min, max) = (self.min() as i64, self.max() as i64);
        if self.wraps {
            // The number of values divides 2^64, so a difference that overflows has the same remainder.
            (value.wrapping_sub(min).rem_euclid(max - min + 1) + min) as i32
        } else if value < min {
            min as i32
        } else if value > max {
            max as i32
        } else {
            value as i32
        }
    }

    /// Whether it is a velocity that gravity has hold of in that state.
    #[inline]
    fn falls(&self, state: &State) -> bool {
        match self.predictor {
            Predictor::Fall { flags, supported, .. } => {
                state.get(usize::from(flags)).is_some_and(|flags| flags & supported == 0)
            }
            _ => false,
        }
    }

    /// Nearest quantum of `value` (in units), brought into range. NaN becomes the value nearest zero.
    #[must_use]
    pub fn quantise(&self, value: f32) -> i32 {
        // `as` saturates and maps NaN to 0; adding a half and flooring rounds alike on every target.
        let quanta = (f64::from(value) * f64::from(self.scale) + 0.5).floor();
        self.fit(quanta as i64)
    }

    /// The value in units of a quantised one.
    #[must_use]
    pub fn dequantise(&self, quanta: i32) -> f32 {
        (f64::from(quanta) / f64::from(self.scale)) as f32
    }
}

impl Kind {
    /// A mask with one bit per group of this kind that the owner (or else anybody) gets.
    #[must_use]
    pub const fn groups(&self, owner: bool) -> u8 {
        let (mut mask, mut i) = (0, 0);
        while i < self.fields.len() {
            if owner || matches!(self.fields[i].audience, Audience::Everyone) {
                mask |= 1 << self.fields[i].group;
            }
            i += 1;
        }
        mask
    }

    /// The state as the owner (or else anybody) may see it: the fields that are not theirs are 0.
    #[must_use]
    pub fn visible(&self, owner: bool, state: &State) -> State {
        let mut out = *state;
        if !owner {
            for (value, field) in out.iter_mut().zip(self.fields) {
                if field.audience == Audience::Owner {
                    *value = 0;
                }
            }
        }
        out
    }

    /// Whether a field moves on by what one state says, so that a body may move which did not before.
    #[inline]
    #[must_use]
    pub fn drifts(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.predictor, Predictor::Linear { .. } | Predictor::Fall { .. }))
    }

    /// Whether a state stays as it is: nothing in it moves on along a velocity, nor falls.
    #[inline]
    #[must_use]
    pub fn rests(&self, state: &State) -> bool {
        self.fields.iter().all(|field| match field.predictor {
            Predictor::Linear { velocity, .. } => {
                state.get(usize::from(velocity)).is_none_or(|velocity| *velocity == 0)
            }
            Predictor::Fall { .. } => !field.falls(state),
            Predictor::Hold | Predictor::Trend | Predictor::Rotation { .. } => true,
        })
    }

    /// Whether gravity has hold of it.
    #[inline]
    #[must_use]
    pub fn falls(&self, state: &State) -> bool {
        self.fields.iter().any(|field| field.falls(state))
    }
}

/// What becomes of a state of that kind in so many ticks at `rate` ticks a second (at least 1), if nothing
/// unforeseen happens: in each tick first every [`Predictor::Fall`], then every [`Predictor::Linear`]. Values are
/// brought into their fields' ranges: cyclic ones wrap, others saturate.
///
/// Additive: `extrapolate(m + n) == extrapolate(n, extrapolate(m))`, for a body that falls up to
/// [`MAX_FALL_TICKS`] in all. A [`Predictor::Trend`] or [`Predictor::Rotation`] holds its value here: what it follows
/// is not in one state. What is beyond the kind's fields is returned as it is. All integers. Costs a division
/// for each field that moves; one that moves along a fall costs one a tick, so at most [`MAX_FALL_TICKS`].
#[inline]
#[must_use]
pub fn extrapolate(kind: &Kind, rate: u16, ticks: u32, state: &State) -> State {
    let mut out = *state;
    if ticks == 0 {
        return out;
    }
    let rate = i64::from(rate.max(1));
    // What a field becomes follows from values before the move alone: no velocity moves along another.
    for (field, (value, moved)) in kind.fields.iter().zip(state.iter().zip(&mut out)) {
        match field.predictor {
            Predictor::Hold | Predictor::Trend | Predictor::Rotation { .. } => {}
            Predictor::Linear { velocity, numerator } => {
                let velocity = state.get(usize::from(velocity)).copied().unwrap_or(0);
                if velocity != 0 {
                    let pace = Pace { numerator: i64::from(numerator), rate };
                    *moved = pace.travel(field, ticks, *value, i64::from(velocity));
                }
            }
            Predictor::Fall { .. } => {
                if field.falls(state) {
                    return extrapolate_fall(kind, rate, ticks.min(MAX_FALL_TICKS), state);
                }
            }
        }
    }
    out
}

/// The same for a state that gravity has hold of, for at most [`MAX_FALL_TICKS`].
fn extrapolate_fall(kind: &Kind, rate: i64, ticks: u32, state: &State) -> State {
    let mut out = *state;
    for (field, (value, moved)) in kind.fields.iter().zip(state.iter().zip(&mut out)) {
        match field.predictor {
            Predictor::Hold | Predictor::Trend | Predictor::Rotation { .. } => {}
            Predictor::Linear { velocity, numerator } => {
                let at = usize::from(velocity);
                let velocity = state.get(at).copied().unwrap_or(0);
                let pace = Pace { numerator: i64::from(numerator), rate };
                *moved = match kind.fields.get(at).and_then(|velocity| Gravity::of(velocity, rate, state)) {
                    Some(gravity) => gravity.travel(field, pace, ticks, *value, velocity),
                    None => pace.travel(field, ticks, *value, i64::from(velocity)),
                };
            }
            Predictor::Fall { .. } => {
                if let Some(gravity) = Gravity::of(field, rate, state) {
                    *moved = gravity.after(ticks, i64::from(*value)) as i32;
                }
            }
        }
    }
    out
}

/// How far a velocity takes a field.
#[derive(Clone, Copy)]
struct Pace {
    numerator: i64,
    rate: i64,
}

impl Pace {
    /// Quanta in one tick, below 2^55.
    const fn step(self, velocity: i64) -> i64 {
        (velocity * self.numerator + self.rate / 2).div_euclid(self.rate)
    }

    /// The field's value after so many ticks at that velocity.
    const fn travel(self, field: &Field, ticks: u32, value: i32, velocity: i64) -> i32 {
        let (value, step, ticks) = (value as i64, self.step(velocity), ticks as i64);
        if field.wraps {
            // 2^bits divides 2^64, so what overflows does not matter.
            field.fit(value.wrapping_add(step.wrapping_mul(ticks)))
        } else {
            field.fit(value.saturating_add(step.saturating_mul(ticks)))
        }
    }
}

/// What gravity does to a velocity in each tick.
#[derive(Clone, Copy)]
struct Gravity {
    /// The loss in one tick.
    by: i64,
    /// The lowest velocity.
    floor: i64,
}

impl Gravity {
    /// `None` for a field that gravity has no hold of.
    fn of(field: &Field, rate: i64, state: &State) -> Option<Self> {
        let Predictor::Fall { gravity, terminal, .. } = field.predictor else { return None };
        let by = (i64::from(gravity) + rate / 2).div_euclid(rate);
        let floor = i64::from(field.min()).max(-i64::from(terminal));
        field.falls(state).then_some(Self { by, floor })
    }

    fn after(self, ticks: u32, velocity: i64) -> i64 {
        (velocity - self.by * i64::from(ticks)).max(self.floor)
    }

    /// A field's value after so many ticks (at most [`MAX_FALL_TICKS`]) along a velocity that drops.
    fn travel(self, field: &Field, pace: Pace, ticks: u32, value: i32, velocity: i32) -> i32 {
        let (mut value, mut velocity) = (value, i64::from(velocity));
        for passed in 0..ticks {
            let next = self.after(1, velocity);
            if next == velocity {
                return pace.travel(field, ticks - passed, value, velocity);
            }
            velocity = next;
            value = pace.travel(field, 1, value, velocity);
        }
        value
    }
}

impl Schema {
    /// The kind with that wire number.
    #[must_use]
    pub fn kind(&self, number: u8) -> Option<&'static Kind> {
        self.kinds.get(usize::from(number))
    }

    /// FNV-1a (64 bits) over the canonical bytes of the table; both sides must agree on it to connect.
    ///
    /// The canonical bytes are given in SPEC.md: everything that changes a bit on the wire or its
    /// meaning is part of them.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let mut hash = Fnv::new().byte(self.kinds.len() as u8);
        let mut i = 0;
        while i < self.kinds.len() {
            hash = hash.text(self.kinds[i].name).fields(self.kinds[i].fields);
            i += 1;
        }
        hash.fields(self.input).0
    }

    /// Checks the table's own rules; call it in a `const` assertion next to the table.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        if self.kinds.len() > MAX_KINDS || !fields_valid(self.input) {
            return false;
        }
        let mut i = 0;
        while i < self.kinds.len() {
            if !fields_valid(self.kinds[i].fields) {
                return false;
            }
            i += 1;
        }
        true
    }
}

const fn fields_valid(fields: &[Field]) -> bool {
    if fields.len() > MAX_FIELDS {
        return false;
    }
    let mut i = 0;
    while i < fields.len() {
        let field = &fields[i];
        let width = if field.signed { 32 } else { 31 };
        if field.bits == 0
            || field.bits > width
            || field.scale == 0
            || field.group as usize >= MAX_GROUPS
            || field.order >= field.bits
        {
            return false;
        }
        let sound = match field.predictor {
            Predictor::Hold | Predictor::Trend => true,
            Predictor::Rotation { part } => rotation_valid(fields, i, part),
            Predictor::Linear { velocity, numerator } => {
                // A velocity that moved along another would make the order of fields matter.
                let bounded = numerator.unsigned_abs() <= MAX_NUMERATOR as u32;
                bounded
                    && (velocity as usize) < fields.len()
                    && !matches!(fields[velocity as usize].predictor, Predictor::Linear { .. })
            }
            Predictor::Fall { gravity, terminal, flags, .. } => {
                let holds = (flags as usize) < fields.len()
                    && matches!(fields[flags as usize].predictor, Predictor::Hold)
                    && fields[flags as usize].audience as u8 <= field.audience as u8;
                gravity > 0 && terminal > 0 && !field.wraps && holds
            }
        };
        if !sound || !audience_valid(fields, i) {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether field `i` has its place in a whole quaternion: the four parts in order, in one group.
const fn rotation_valid(fields: &[Field], i: usize, part: u8) -> bool {
    if part > 3 || (part as usize) > i || i - part as usize + 4 > fields.len() {
        return false;
    }
    let first = i - part as usize;
    let (index, one, me) = (&fields[first], &fields[first + 1], &fields[i]);
    let follows = matches!(index.predictor, Predictor::Rotation { part: 0 });
    let next = match (part, fields[first + if part == 3 { 3 } else { part as usize + 1 }].predictor) {
        (3, _) => true,
        (_, Predictor::Rotation { part: next }) => next == part + 1,
        _ => false,
    };
    let width = if part == 0 { me.bits == 2 } else { me.bits == one.bits };
    follows
        && next
        && width
        && !me.signed
        && !me.wraps
        && me.group == index.group
        && ROTATION_BITS[0] <= one.bits
        && one.bits <= ROTATION_BITS[1]
}

/// A group has one audience. What everybody sees does not follow from what only the owner does, and what is 0 to others
/// stays so: a field moves along one of its own audience, and what falls is for everyone.
const fn audience_valid(fields: &[Field], at: usize) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if fields[i].group == fields[at].group && fields[i].audience as u8 != fields[at].audience as u8 {
            return false;
        }
        i += 1;
    }
    match fields[at].predictor {
        Predictor::Linear { velocity, .. } => fields[velocity as usize].audience as u8 == fields[at].audience as u8,
        Predictor::Fall { .. } => matches!(fields[at].audience, Audience::Everyone),
        Predictor::Hold | Predictor::Trend | Predictor::Rotation { .. } => true,
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; <http://www.isthe.com/chongo/tech/comp/fnv/>), usable in constants.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(pub u64);

impl Fnv {
    /// The offset basis.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one byte.
    #[must_use]
    pub const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Adds four bytes, little endian.
    #[must_use]
    pub const fn u32(self, value: u32) -> Self {
        let b = value.to_le_bytes();
        self.byte(b[0]).byte(b[1]).byte(b[2]).byte(b[3])
    }

    /// Adds a text: its length in one byte, then its bytes.
    #[must_use]
    pub const fn text(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() < 256, "a schema name has at most 255 bytes");
        let mut hash = self.byte(bytes.len() as u8);
        let mut i = 0;
        while i < bytes.len() {
            hash = hash.byte(bytes[i]);
            i += 1;
        }
        hash
    }

    const fn fields(self, fields: &[Field]) -> Self {
        let mut hash = self.byte(fields.len() as u8);
        let mut i = 0;
        while i < fields.len() {
            let field = &fields[i];
            hash = hash
                .text(field.name)
                .byte(field.bits)
                .byte(field.signed as u8)
                .byte(field.wraps as u8)
                .u32(field.scale)
                .text(field.unit)
                .byte(field.group)
                .byte(field.audience as u8)
                .byte(field.order);
            hash = match field.predictor {
                Predictor::Hold => hash.byte(0),
                Predictor::Linear { velocity, numerator } => hash.byte(1).byte(velocity).u32(numerator as u32),
                Predictor::Fall { gravity, terminal, flags, supported } => {
                    hash.byte(2).u32(gravity as u32).u32(terminal as u32).byte(flags).u32(supported as u32)
                }
                Predictor::Trend => hash.byte(3),
                Predictor::Rotation { part } => hash.byte(4).byte(part),
            };
            i += 1;
        }
        hash
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Field = Field {
        name: "x",
        bits: 10,
        signed: true,
        wraps: false,
        scale: 16,
        unit: "m",
        predictor: Predictor::Hold,
        group: 0,
        audience: Audience::Everyone,
        order: 3,
    };
    const YAW: Field = Field { name: "yaw", bits: 8, signed: false, wraps: true, ..X };
    const SCHEMA: Schema = Schema { kinds: &[Kind { name: "thing", fields: &[X, YAW] }], input: &[YAW] };

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(Fnv::new().0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::new().byte(b'a').0, 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn quantise_rounds_saturates_and_wraps() {
        assert_eq!(X.quantise(1.0), 16);
        assert_eq!(X.quantise(1e9), 511);
        assert_eq!(X.quantise(-1e9), -512);
        assert_eq!(X.quantise(f32::NAN), 0);
        assert_eq!(YAW.fit(-1), 255);
        assert_eq!(YAW.fit(256), 0);
    }

    #[test]
    fn any_change_of_the_table_changes_the_hash() {
        assert!(SCHEMA.is_valid());
        let other = Schema { kinds: &[Kind { name: "thing", fields: &[Field { order: 4, ..X }, YAW] }], input: &[YAW] };
        assert_ne!(SCHEMA.hash(), other.hash());
    }

    #[test]
    fn a_table_that_breaks_the_rules_is_invalid() {
        let wide = Schema { kinds: &[], input: &[Field { bits: 32, signed: false, ..X }] };
        let loops =
            Schema { kinds: &[], input: &[Field { predictor: Predictor::Linear { velocity: 0, numerator: 1 }, ..X }] };
        let steep = Schema {
            kinds: &[],
            input: &[X, Field { predictor: Predictor::Linear { velocity: 0, numerator: i32::MIN }, ..X }],
        };
        const SECRET: Field = Field { group: 1, audience: Audience::Owner, ..X };
        const FOLLOWS: Predictor = Predictor::Linear { velocity: 1, numerator: 1 };
        let leaks = Schema { kinds: &[], input: &[Field { predictor: FOLLOWS, ..X }, SECRET] };
        let mixed = Schema { kinds: &[], input: &[X, Field { group: 0, ..SECRET }] };
        const DROPS: Predictor = Predictor::Fall { gravity: 1, terminal: 1, flags: 0, supported: 1 };
        let sinks = Schema { kinds: &[], input: &[X, Field { predictor: DROPS, ..SECRET }] };
        const DRIFTS: Predictor = Predictor::Linear { velocity: 0, numerator: 1 };
        let drifts = Schema { kinds: &[], input: &[X, Field { predictor: DRIFTS, ..SECRET }] };
        assert!(!steep.is_valid());
        assert!(!wide.is_valid());
        assert!(!loops.is_valid());
        assert!(!leaks.is_valid());
        assert!(!mixed.is_valid());
        assert!(!sinks.is_valid() && !drifts.is_valid());
    }

    /// A body in 1/256 m and 1/64 m/s under 20 m/s², with flag 1 for the ground.
    const BODY: Kind = Kind {
        name: "body",
        fields: &[
            Field { bits: 18, predictor: Predictor::Linear { velocity: 1, numerator: 4 }, ..X },
            Field {
                bits: 12,
                predictor: Predictor::Fall { gravity: 1280, terminal: 1920, flags: 2, supported: 1 },
                ..X
            },
            Field { bits: 4, signed: false, ..X },
        ],
    };

    fn body(y: i32, vy: i32, flags: i32) -> State {
        let mut state = State::default();
        [state[0], state[1], state[2]] = [y, vy, flags];
        state
    }

    #[test]
    fn a_fall_takes_the_velocity_first_and_then_the_height() {
        assert_eq!(extrapolate(&BODY, 20, 1, &body(1000, 448, 0)), body(1000 + 77, 384, 0));
        assert_eq!(extrapolate(&BODY, 20, 2, &body(1000, 448, 0)), body(1000 + 77 + 64, 320, 0));
        assert_eq!(extrapolate(&BODY, 20, 1, &body(1000, -1910, 0)), body(1000 - 384, -1920, 0));
        assert_eq!(extrapolate(&BODY, 20, 5, &body(1000, 10, 1)), body(1010, 10, 1), "supported");
    }

    #[test]
    fn a_linear_step_rounds_and_its_way_saturates_or_wraps() {
        const FIELDS: [Field; 2] = [
            Field { bits: 12, predictor: Predictor::Linear { velocity: 1, numerator: 4 }, ..X },
            Field { bits: 12, ..X },
        ];
        let moved =
            |velocity, ticks| extrapolate(&Kind { name: "x", fields: &FIELDS }, 20, ticks, &body(100, velocity, 0))[0];
        assert_eq!([5, 2, 3, -2, -3].map(|velocity| moved(velocity, 1)), [101, 100, 101, 100, 99]);
        assert_eq!([5, 2, 3].map(|velocity| moved(velocity, 10)), [110, 100, 110], "the step is rounded, not the way");
        assert_eq!((moved(1000, 63), moved(-1000, 63)), (2047, -2048));
        const WIDEST: Predictor = Predictor::Linear { velocity: 1, numerator: -MAX_NUMERATOR };
        const WIDE: [Field; 2] = [Field { bits: 32, predictor: WIDEST, ..X }, Field { bits: 32, ..X }];
        const CYCLIC: [Field; 2] = [Field { wraps: true, ..WIDE[0] }, WIDE[1]];
        let far = |fields, base, velocity| extrapolate(&Kind { name: "x", fields }, 1, 63, &body(base, velocity, 0))[0];
        assert_eq!(far(&WIDE, i32::MAX, i32::MIN), i32::MAX);
        assert_eq!(far(&WIDE, i32::MIN, i32::MAX), i32::MIN);
        assert_eq!(far(&CYCLIC, 7, i32::MIN), 7);
        const ROUND: [Field; 2] = [Field { bits: 8, wraps: true, ..WIDE[0] }, WIDE[1]];
        let state = body(-3, i32::MIN + 1, 0);
        let ages = extrapolate(&Kind { name: "x", fields: &ROUND }, 1, u32::MAX, &state);
        assert_eq!(ages[0], -3, "every step is whole turns");
        let odd = [Field { predictor: Predictor::Linear { velocity: 1, numerator: -3 }, ..ROUND[0] }, WIDE[1]];
        let way = (i128::from(state[1]) * -3 * i128::from(u32::MAX) - 3).rem_euclid(256);
        let odd = extrapolate(&Kind { name: "x", fields: Box::leak(Box::new(odd)) }, 1, u32::MAX, &state);
        assert_eq!(i128::from(odd[0]).rem_euclid(256), way, "exact, although it overflows 64 bits");
    }

    #[test]
    fn many_ticks_at_once_are_as_many_ticks_one_by_one() {
        const FIELDS: [Field; 6] = [
            Field { predictor: Predictor::Linear { velocity: 1, numerator: 9 }, ..X },
            Field { bits: 9, predictor: Predictor::Fall { gravity: 90, terminal: 400, flags: 2, supported: 1 }, ..X },
            Field { bits: 2, signed: false, ..X },
            Field { predictor: Predictor::Fall { gravity: 700, terminal: 150, flags: 2, supported: 2 }, ..X },
            Field { bits: 7, wraps: true, predictor: Predictor::Linear { velocity: 3, numerator: -5 }, ..X },
            Field { predictor: Predictor::Linear { velocity: 2, numerator: 33 }, ..X },
        ];
        const KIND: Kind = Kind { name: "two falls", fields: &FIELDS };
        let mut rng = crate::rng::Rng::new(1);
        for _ in 0..2000 {
            let mut state = State::default();
            for (value, field) in state.iter_mut().zip(&FIELDS) {
                *value = field.fit(rng.next_u64() as i64 >> 40);
            }
            let (rate, ticks) = (1 + rng.below(128) as u16, rng.below(2 * u64::from(MAX_FALL_TICKS)) as u32);
            let followed = if KIND.falls(&state) { ticks.min(MAX_FALL_TICKS) } else { ticks };
            let mut one_by_one = state;
            for _ in 0..followed {
                let rate = i64::from(rate);
                for i in [1, 3] {
                    if let Predictor::Fall { gravity, terminal, flags, supported } = FIELDS[i].predictor
                        && one_by_one[usize::from(flags)] & supported == 0
                    {
                        let next = i64::from(one_by_one[i]) - (i64::from(gravity) + rate / 2).div_euclid(rate);
                        one_by_one[i] = FIELDS[i].fit(next.max(-i64::from(terminal)));
                    }
                }
                for i in [0, 4, 5] {
                    if let Predictor::Linear { velocity, numerator } = FIELDS[i].predictor {
                        let way = i64::from(one_by_one[usize::from(velocity)]) * i64::from(numerator);
                        let next = i64::from(one_by_one[i]) + (way + rate / 2).div_euclid(rate);
                        one_by_one[i] = FIELDS[i].fit(next);
                    }
                }
            }
            assert_eq!(extrapolate(&KIND, rate, ticks, &state), one_by_one, "{rate} Hz, {ticks} ticks, {state:?}");
        }
    }

    #[test]
    fn extrapolation_is_additive() {
        let mut seed = 1u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..5000 {
            let state = body(below(1 << 18) as i32 - (1 << 17), below(4096) as i32 - 2048, below(2) as i32);
            let (rate, m, n) = (1 + below(128) as u16, below(64) as u32, below(64) as u32);
            let both = extrapolate(&BODY, rate, m + n, &state);
            assert_eq!(extrapolate(&BODY, rate, n, &extrapolate(&BODY, rate, m, &state)), both);
        }
        let never_ends = extrapolate(&BODY, 1, u32::MAX, &body(0, -2048, 1));
        assert_eq!(never_ends, body(-(1 << 17), -2048, 1));
    }

    #[test]
    fn what_is_the_owners_is_nobody_elses() {
        const MINE: Kind = Kind { name: "mine", fields: &[X, Field { group: 3, audience: Audience::Owner, ..X }, YAW] };
        assert_eq!((MINE.groups(true), MINE.groups(false)), (0b1001, 0b0001));
        assert_eq!(MINE.visible(false, &body(5, 6, 7)), body(5, 0, 7));
        assert_eq!(MINE.visible(true, &body(5, 6, 7)), body(5, 6, 7));
    }

    const fn turn(part: u8) -> Field {
        let (bits, order) = if part == 0 { (2, 0) } else { (9, 3) };
        Field { bits, signed: false, order, predictor: Predictor::Rotation { part }, ..X }
    }

    #[test]
    fn a_quaternion_is_four_fields_in_order() {
        const WHOLE: [Field; 6] = [X, turn(0), turn(1), turn(2), turn(3), YAW];
        let valid = |fields: [Field; 6]| fields_valid(&fields);
        assert!(valid(WHOLE));
        let mut swapped = WHOLE;
        swapped.swap(2, 3);
        assert!(!valid(swapped));
        for i in 1..5 {
            let mut broken = WHOLE;
            broken[i] = X;
            assert!(!valid(broken), "without part {}", i - 1);
            for field in [
                Field { bits: 3, ..WHOLE[i] },
                Field { signed: true, ..WHOLE[i] },
                Field { wraps: true, ..WHOLE[i] },
                Field { group: 1, ..WHOLE[i] },
            ] {
                broken[i] = field;
                assert!(!valid(broken), "{field:?}");
            }
        }
        assert!(!fields_valid(&[turn(0), turn(1), turn(2)]));
        assert!(!fields_valid(&[turn(1), turn(2), turn(3), X]));
    }

    #[test]
    fn the_hash_tells_predictors_apart() {
        let hash = |predictor| Fnv::new().fields(&[Field { predictor, ..X }]).0;
        let all = [Predictor::Hold, Predictor::Trend, Predictor::Rotation { part: 0 }, Predictor::Rotation { part: 1 }];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| hash(*a) != hash(*b)));
        }
    }
}

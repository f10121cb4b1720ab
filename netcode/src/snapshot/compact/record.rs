//! One record: which contexts its decisions have.

use super::model::{Class, KindModel, Model, OWN, PATH, WIDTHS, direct, mixed};
use super::range::Binary;
use crate::schema::{MAX_FIELDS, Predictor, State};
use crate::snapshot::DecodeError;
use crate::snapshot::drift::Drift;
use crate::snapshot::predict::{Guess, Plan, Role, Step};
use crate::snapshot::rotation::Turn;

/// The path of a place when another has told what share of its way the body went.
const SURE: usize = 47;

/// What the record's fields so far say about the next.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    /// Fields of this group coded.
    fields: usize,
    /// Magnitudes of the last two residuals of this group, in bits.
    last: [u32; 2],
    /// The largest of this group.
    most: u32,
    /// The largest of earlier groups, if there were any.
    earlier: Option<u32>,
    group: u8,
}

impl Path {
    /// The context of the next residual.
    fn context(&self, motion: u32) -> usize {
        match (self.fields, self.earlier) {
            (0, None) => motion.min(15) as usize,
            (0, Some(most)) => 16 + most.min(15) as usize,
            (1, _) => 32 + self.last[0].min(15) as usize,
            _ => 48 + ((self.last[0] + self.last[1]) / 2).min(15) as usize,
        }
    }

    fn enter(&mut self, group: u8) {
        if group != self.group || self.fields == 0 && self.earlier.is_none() {
            if self.fields > 0 {
                self.earlier = Some(self.earlier.unwrap_or(0).max(self.most));
            }
            (self.fields, self.last, self.most, self.group) = (0, [0; 2], 0, group);
        }
    }

    fn note(&mut self, residual: i64) {
        self.last = [bits(residual), self.last[0]];
        self.most = self.most.max(self.last[0]);
        self.fields += 1;
    }
}

/// The width of a magnitude, 0..=33.
#[inline]
fn bits(value: i64) -> u32 {
    u64::BITS - value.unsigned_abs().leading_zeros()
}

/// Width and sign of how far the guess lies from the baseline, as a context.
#[inline]
fn own(step: i64) -> usize {
    (bits(step).min(15) as usize * 2 + usize::from(step < 0)).min(OWN - 1)
}

/// Codes whether a body at rest has changed.
///
/// `recent` has a bit for each of the records before, the newest lowest: whether they differed from their guess.
#[inline]
pub(super) fn stirred(binary: &mut impl Binary, model: &mut KindModel, flag: bool, recent: u32, bit: bool) -> bool {
    let near = (recent & 0b111).count_ones() as usize;
    let far = (recent >> 3 & 0xff).count_ones() as usize;
    direct(binary, &mut model.changed[usize::from(flag) << 6 | near << 4 | far], bit)
}

/// Codes whether a moving body is elsewhere than guessed.
#[inline]
pub(super) fn surprised(binary: &mut impl Binary, model: &mut KindModel, flag: bool, motion: u32, bit: bool) -> bool {
    direct(binary, &mut model.changed[128 + (usize::from(flag) << 5 | motion.min(31) as usize)], bit)
}

/// Whose records they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    /// The kind's number.
    pub number: usize,
    /// Whether the receiver gets the owner's fields.
    pub owner: bool,
}

/// Codes the fields of a record, given the guess, which is spent; `state` matters to an encoder only.
///
/// # Errors
/// If the sum of guess and residual lies outside a field's range. An encoder's never does.
pub(super) fn fields<B: Binary>(
    binary: &mut B,
    model: &mut Model,
    whose: Whose,
    plan: &Plan,
    guess: &mut Guess,
    state: &State,
) -> Result<State, DecodeError> {
    let mut out = State::default();
    model.kinds_touched |= 1 << (whose.number & 31);
    let Some(others) = model.kinds.get_mut(whose.number) else { return Ok(out) };
    let (mut path, mut turns) = (Path::default(), 0);
    // A flag is one wherever it moves.
    let linear = |step: &Step| step.role == Role::Number && matches!(step.predictor, Predictor::Linear { .. });
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS) {
        let (guessed, value) = (guess.state()[i], state[i]);
        if step.own && !whose.owner {
            out[i] = guessed;
            continue;
        }
        if linear(step) {
            continue;
        }
        path.enter(step.group);
        out[i] = match step.role {
            Role::Number => {
                let Some(class) = model.classes.get_mut(usize::from(others.classes[i])) else { continue };
                let moves = step.difference(guessed, guess.held()[i]);
                let context = path.context(guess.motion(step.group));
                let residual = residual(binary, class, own(moves), context, step.difference(guessed, value));
                path.note(residual);
                if B::DECODES { step.moved(guessed, residual)? } else { value }
            }
            Role::Flag => {
                let motion = guess.any_motion().min(15) as usize;
                let context = i << 5 | usize::from(guessed != 0) << 4 | motion;
                if direct(binary, &mut others.flags[context], value != guessed) {
                    step.flipped(guessed)
                } else {
                    guessed
                }
            }
            Role::Index(bits) => {
                let turn = guess.turns(turns, i, bits);
                turns += 1;
                let motion = guess.motion(step.group).min(15) as usize;
                let index = index(binary, others, &turn, motion, guessed, value);
                if i32::from(index) != guessed {
                    guess.leave_out(i, &turn, index);
                }
                i32::from(index)
            }
        };
    }
    if !plan.linear() {
        return Ok(out);
    }
    let mut drift = Drift::START;
    for (i, step) in plan.steps().iter().enumerate().take(MAX_FIELDS).filter(|(_, step)| linear(step)) {
        let (guessed, value) = (guess.state()[i], state[i]);
        if step.own && !whose.owner {
            out[i] = guessed;
            continue;
        }
        let Some(class) = model.classes.get_mut(usize::from(others.classes[i])) else { continue };
        let way = Drift::way(plan, guess, &out, step);
        let likely = drift.likely(step, guessed, way);
        path.enter(step.group);
        let context = if drift.is_sure() { SURE } else { path.context(guess.motion(step.group)) };
        let residual = residual(binary, class, own(way), context, step.difference(likely, value));
        path.note(residual);
        out[i] = if B::DECODES { step.moved(likely, residual)? } else { value };
        drift.note(way, step.difference(guessed, out[i]));
    }
    Ok(out)
}

/// Codes which component of a quaternion is left out.
fn index(binary: &mut impl Binary, model: &mut KindModel, turn: &Turn, motion: usize, guessed: i32, value: i32) -> u8 {
    let mut order = turn.order();
    // Where two are nearly equal the guess may have another first.
    if let Some(k) = order.iter().position(|index| i32::from(*index) == guessed)
        && let Some(front) = order.get_mut(..=k)
    {
        front.rotate_right(1);
    }
    let context = turn.margin(order) << 4 | motion;
    let rank = order.iter().position(|index| i32::from(*index) == value).unwrap_or(0);
    let mut found = 0;
    let slots = model.index.get_mut(context).into_iter().chain(&mut model.rank);
    for (slot, k) in slots.zip(0..3) {
        if !direct(binary, slot, rank > k) {
            break;
        }
        found = k + 1;
    }
    order.get(found).copied().unwrap_or(0)
}

/// Codes a residual: how many bits its magnitude has, its sign, the bit below the leading one, the rest raw.
#[inline]
fn residual(binary: &mut impl Binary, class: &mut Class, own: usize, path: usize, value: i64) -> i64 {
    class.touched = true;
    class.own_touched |= 1 << (own & (OWN - 1));
    class.path_touched |= 1 << (path & (PATH - 1));
    let width = width(binary, class, own & (OWN - 1), path & (PATH - 1), bits(value));
    if width == 0 {
        return 0;
    }
    let negative = direct(binary, &mut class.sign[own & (OWN - 1)], value < 0);
    let size = value.unsigned_abs();
    let mut low = 1;
    let mut left = width - 1;
    let top = &mut class.mantissa[(width as usize).min(WIDTHS - 1)];
    if left > 0 {
        left -= 1;
        low = low << 1 | u64::from(direct(binary, top, size >> left & 1 != 0));
    }
    while left > 0 {
        let n = left.min(16);
        left -= n;
        low = low << n | u64::from(binary.raw((size >> left) as u32 & ((1 << n) - 1), n));
    }
    if negative { -(low as i64) } else { low as i64 }
}

/// Codes a width, 0..=33, in steps from what both contexts expect.
#[inline]
fn width(binary: &mut impl Binary, class: &mut Class, own: usize, path: usize, width: u32) -> u32 {
    let (mean, other) = (&mut class.own_width[own], &mut class.path_width[path]);
    let expected = (u32::from(*mean) + u32::from(*other) + 16) >> 5;
    let (a, b, weights) = (&mut class.own[own], &mut class.path[path], &mut class.weights);
    let mut w = expected;
    let i = w as usize & (WIDTHS - 1);
    if expected == 0 || mixed(binary, &mut a.least[i], &mut b.least[i], &mut weights.least[i], width >= expected) {
        while w < 33 {
            let i = (w as usize).min(WIDTHS - 1);
            if !mixed(binary, &mut a.up[i], &mut b.up[i], &mut weights.up[i], width > w) {
                break;
            }
            w += 1;
        }
    } else {
        w = w.saturating_sub(1);
        while w > 0 {
            let i = w as usize & (WIDTHS - 1);
            if !mixed(binary, &mut a.down[i], &mut b.down[i], &mut weights.down[i], width < w) {
                break;
            }
            w -= 1;
        }
    }
    for mean in [mean, other] {
        // Towards the width by an eighth; rounding leaves it within 0..=15 widths.
        let (now, to) = (i32::from(*mean), (w.min(WIDTHS as u32 - 1) << 4) as i32);
        *mean = (now + ((to - now) >> 3)) as u16;
    }
    w
}

//! The logistic function and its inverse as integer tables, made at compile time without floats.

/// Steps of a log-odds (natural logarithm) of 1.
const STEP: i32 = 256;
/// The largest log-odds, in steps.
pub(super) const MOST: i32 = 2047;

/// Fixed point of the tables' making.
const BITS: u32 = 60;

/// Probabilities, in 1/65536, of the log-odds -2048..=2047 steps.
static SQUASH: [u16; 4096] = squash_table();
/// Log-odds, in steps, of the probabilities in the middle of 4096 equal intervals.
static STRETCH: [i16; 4096] = stretch_table();

/// The probability, 16..=65520 in 1/65536, of a log-odds; beyond ±[`MOST`] that of the nearest.
#[inline]
pub(super) fn squash(odds: i32) -> u32 {
    let i = (odds.clamp(-MOST, MOST) + 2048) as usize;
    u32::from(SQUASH[i & 4095])
}

/// The log-odds of a probability in 1/65536.
#[inline]
pub(super) fn stretch(p: u32) -> i32 {
    i32::from(STRETCH[(p >> 4) as usize & 4095])
}

/// `exp(-1 / STEP)` by its series.
const fn decay() -> u64 {
    let (mut term, mut sum, mut n) = (1i64 << BITS, 1i64 << BITS, 1);
    while term != 0 {
        term = -term / (STEP as i64 * n);
        sum += term;
        n += 1;
    }
    sum as u64
}

const fn squash_table() -> [u16; 4096] {
    let mut table = [0; 4096];
    let (decay, mut power, mut i) = (decay() as u128, 1u128 << BITS, 0);
    while i <= 2048 {
        // 1 / (1 + exp(-i / STEP)), rounded.
        let one = 1u128 << BITS;
        let whole = one + power;
        let p = ((one << 16) + whole / 2) / whole;
        let p = if p > 65_520 { 65_520 } else { p as u16 };
        if i < 2048 {
            table[2048 + i] = p;
        }
        table[2048 - i] = (65_536 - p as u32) as u16;
        power = (power * decay) >> BITS;
        i += 1;
    }
    table[2048] = 32_768;
    table
}

const fn stretch_table() -> [i16; 4096] {
    let squash = squash_table();
    let mut table = [0; 4096];
    let (mut i, mut odds) = (0, 1);
    while i < 4096 {
        let p = i * 16 + 8;
        while odds < 4095 && (squash[odds] as usize) < p {
            odds += 1;
        }
        // The nearer of the two neighbours.
        let (above, below) = (squash[odds] as i32 - p as i32, p as i32 - squash[odds - 1] as i32);
        let nearest = if below < above { odds - 1 } else { odds };
        table[i] = nearest as i16 - 2048;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_the_logistic_function_and_its_inverse() {
        for odds in -MOST..=MOST {
            let exact = 65536.0 / (1.0 + (-f64::from(odds) / f64::from(STEP)).exp());
            assert!((f64::from(squash(odds)) - exact.clamp(16.0, 65520.0)).abs() <= 1.0, "{odds}");
        }
        for p in (16..65_520).step_by(16) {
            let (odds, exact) = (stretch(p), f64::from(p + 8) / 65536.0);
            let exact = (exact / (1.0 - exact)).ln() * f64::from(STEP);
            let exact = exact.clamp(-f64::from(MOST), f64::from(MOST));
            assert!((f64::from(odds) - exact).abs() <= 8.0, "{p}: {odds} for {exact}");
        }
    }

    #[test]
    fn both_are_symmetric() {
        assert_eq!(squash(0), 32_768);
        for odds in 1..=MOST {
            assert_eq!(squash(odds) + squash(-odds), 65_536);
        }
    }
}

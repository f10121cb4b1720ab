//! The replay window against a set of all packet numbers received.

use std::collections::BTreeSet;

use netcode::replay::{ReplayWindow, Replayed, WINDOW};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    New => "a number beyond the newest",
    Late => "a number that came late",
    Duplicate => "a duplicate",
    TooOld => "a number too old to tell",
    Far => "a jump of more than the window",
}

/// The target: each step names a number by its distance from the newest, checks it, and mostly commits it.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let mut window = ReplayWindow::default();
    let mut received = BTreeSet::new();
    let mut next = 0u64;
    while !program.is_empty() {
        let op = program.u8();
        let distance = u64::from(if op & 1 == 0 { u16::from(program.u8()) } else { program.u16() });
        let number = if op & 2 == 0 { next.saturating_add(distance) } else { next.saturating_sub(distance) };
        let number = if op & 0x1c == 0x1c { number | u64::from(program.u8()) << 52 } else { number };
        let expected = if number >= next {
            reach(if number - next > WINDOW { Feature::Far } else { Feature::New });
            Ok(())
        } else if next - 1 - number >= WINDOW {
            reach(Feature::TooOld);
            Err(Replayed::TooOld)
        } else if received.contains(&number) {
            reach(Feature::Duplicate);
            Err(Replayed::Duplicate)
        } else {
            reach(Feature::Late);
            Ok(())
        };
        assert_eq!(window.check(number), expected);
        bucket(u64::from(op & 3) << 8 | u64::from(64 - distance.leading_zeros()));
        if expected.is_ok() && op & 0x20 == 0 && number < u64::MAX {
            window.commit(number);
            received.insert(number);
            next = next.max(number + 1);
            assert_eq!(window.check(number), Err(Replayed::Duplicate));
        }
        assert_eq!(window.largest(), next.checked_sub(1));
    }
    assert_eq!(window.mask32(), mask(next, &received));
}

fn mask(next: u64, received: &BTreeSet<u64>) -> u32 {
    let has = |back: u64| next.checked_sub(1 + back).is_none_or(|number| received.contains(&number));
    (1..=32u64).filter(|back| next == 0 || has(*back)).fold(0, |mask, back| mask | 1 << (back - 1))
}

/// In order, with gaps, backwards, and far ahead.
pub fn seeds() -> Vec<Vec<u8>> {
    let in_order = Script::default().bytes(&[0; 80]);
    let gaps = (0..20).fold(Script::default(), |script, i| script.u8(0).u8(i % 5));
    let late = gaps.clone().u8(2).u8(3).u8(2).u8(3).u8(2).u8(9).u8(2).u8(40);
    let far =
        late.clone().u8(1).u16(1023).u8(1).u16(1024).u8(1).u16(1025).u8(3).u16(1024).u8(3).u16(1023).u8(3).u16(2000);
    let edge = far.clone().u8(0x1c).u8(9).u8(255).u8(0).u8(0).u8(2).u8(1);
    [in_order, gaps, late, far, edge].map(|script| script.0).into()
}

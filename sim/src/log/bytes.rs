//! Numbers as bytes: little endian where the width is fixed, else seven bits to a byte, the lowest first (LEB128).

use crate::entity::{EntityId, MAX_INDICES};
use netcode::schema::Fnv;

/// FNV-1a of the bytes; as many of its low bits are used as a check is wide.
pub(super) fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(Fnv::new(), |hash, byte| hash.byte(*byte)).0
}

/// Appends a number, 1 to 10 bytes.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small magnitudes of either sign as small numbers: 0, -1, 1, -2, …
pub(super) const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The reverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The bytes still to read. Whatever is not there is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// What [`put`] wrote; `None` also beyond 64 bits.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for at in 0..10 {
            let byte = self.u8()?;
            if at == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The same within 32 bits.
    pub(super) fn number32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }
}

/// A list of ids, each with a mark: by how many indices it lies behind the one before, mostly a byte.
///
/// Number: zigzag of that, less one, times four; 2 where the generation is not 1 and follows as a number; 1 for the mark.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids {
    /// The index that costs least.
    next: i64,
}

impl Ids {
    pub(super) fn put(&mut self, out: &mut Vec<u8>, id: EntityId, mark: bool) {
        let index = i64::from(id.index());
        let renamed = id.generation() != 1;
        put(out, zigzag(index - self.next) << 2 | u64::from(renamed) << 1 | u64::from(mark));
        if renamed {
            put(out, u64::from(id.generation()));
        }
        self.next = index + 1;
    }

    pub(super) fn get(&mut self, from: &mut Cursor<'_>) -> Option<(EntityId, bool)> {
        let head = from.number()?;
        let index = unzigzag(head >> 2).checked_add(self.next)?;
        let index = u32::try_from(index).ok().filter(|index| *index < MAX_INDICES)?;
        let generation = if head & 2 == 0 { 1 } else { from.number32()? };
        self.next = i64::from(index) + 1;
        Some((EntityId::from_parts(index, generation)?, head & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_the_round_trip(value: u64, signed: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put(&mut out, zigzag(signed));
            let mut cursor = Cursor(&out);
            prop_assert_eq!(cursor.number(), Some(value));
            prop_assert_eq!(cursor.number().map(unzigzag), Some(signed));
            prop_assert!(cursor.0.is_empty());
        }

        #[test]
        fn ids_survive_the_round_trip_in_any_order(ids in proptest::collection::vec((0..MAX_INDICES, 1..4096u32, any::<bool>()), 0..20)) {
            let ids: Vec<_> = ids.into_iter().map(|(index, generation, mark)| (EntityId::from_parts(index, generation).unwrap(), mark)).collect();
            let (mut out, mut coder) = (Vec::new(), Ids::default());
            ids.iter().for_each(|(id, mark)| coder.put(&mut out, *id, *mark));
            let (mut cursor, mut coder) = (Cursor(&out), Ids::default());
            for id in ids {
                prop_assert_eq!(coder.get(&mut cursor), Some(id));
            }
            prop_assert!(cursor.0.is_empty());
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_none() {
        assert_eq!(Cursor(&[0xff; 10]).number(), None);
        assert_eq!(Cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).number(), Some(u64::MAX));
        assert_eq!(Cursor(&[0x80, 0x80]).number(), None);
    }

    #[test]
    fn neighbours_of_the_first_generation_cost_a_byte_each() {
        let (mut out, mut coder) = (Vec::new(), Ids::default());
        for index in 0..50 {
            coder.put(&mut out, EntityId::from_parts(index, 1).unwrap(), index % 2 == 0);
        }
        assert_eq!(out.len(), 50);
    }
}

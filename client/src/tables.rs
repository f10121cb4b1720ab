//! The tables of the compact codec on their way, part by part.

use netcode::snapshot::compact::{MAX_TABLE_BYTES, Tables};
use sim::schema::SCHEMA;

/// Parts that came so far. At most [`MAX_TABLE_BYTES`] are kept.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    version: u8,
    /// The part to come next; 0 before the first.
    next: u8,
    bytes: Vec<u8>,
}

/// A part that does not follow the one before, or parts that are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Parts {
    /// Takes the next part; gives the tables with the last one.
    pub fn add(&mut self, version: u8, part: u8, last: u8, bytes: &[u8]) -> Result<Option<Tables>, Refused> {
        if part == 0 {
            *self = Self { version, ..Self::default() };
        } else if (version, part) != (self.version, self.next) {
            return Err(Refused);
        }
        if self.bytes.len() + bytes.len() > MAX_TABLE_BYTES {
            return Err(Refused);
        }
        self.bytes.extend_from_slice(bytes);
        self.next = part.wrapping_add(1);
        if part < last {
            return Ok(None);
        }
        let Self { bytes, .. } = core::mem::take(self);
        let tables = Tables::read(&SCHEMA, &bytes).map_err(|_| Refused)?;
        if tables.version() == version { Ok(Some(tables)) } else { Err(Refused) }
    }
}

#[cfg(test)]
mod tests {
    use netcode::snapshot::compact::Trainer;

    use super::*;

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        Trainer::new(&SCHEMA).tables(7).write(&mut bytes);
        bytes
    }

    #[test]
    fn tables_come_in_parts_and_a_first_part_begins_anew() {
        let bytes = bytes();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut parts = Parts::default();
        assert_eq!(parts.add(9, 0, 3, &[1, 2, 3]), Ok(None));
        assert_eq!(parts.add(7, 0, 1, first), Ok(None));
        assert_eq!(parts.add(7, 1, 1, second).unwrap().unwrap().version(), 7);
        assert_eq!(parts.add(7, 1, 1, second), Err(Refused), "nothing is left of them");
    }

    #[test]
    fn parts_out_of_order_of_other_tables_or_without_end_are_refused() {
        let begun = || {
            let mut parts = Parts::default();
            parts.add(7, 0, 200, &[0; 900]).unwrap();
            parts
        };
        assert_eq!(begun().add(7, 2, 200, &[0]), Err(Refused));
        assert_eq!(begun().add(8, 1, 200, &[0]), Err(Refused));
        let mut parts = begun();
        let refused = (1..=200).find(|part| parts.add(7, *part, 200, &[0; 900]).is_err());
        assert_eq!(refused, Some((MAX_TABLE_BYTES / 900) as u8));
    }

    #[test]
    fn what_is_no_tables_or_of_another_version_is_refused() {
        assert_eq!(Parts::default().add(7, 0, 0, &[0xff; 3000]), Err(Refused));
        assert_eq!(Parts::default().add(8, 0, 0, &bytes()), Err(Refused));
    }
}

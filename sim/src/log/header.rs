//! A log's header: all that the world was made from.

use super::bytes::{Cursor, check};
use super::{LogError, MAGIC, MAX_CONFIG_BYTES, MAX_RULES_BYTES, VERSION};

/// All that the world was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Hash of the schema that the world was made under.
    pub schema: u64,
    /// Ticks a second.
    pub rate_hz: u16,
    /// Whether each tick has the rows that left their course.
    pub states: bool,
    /// The configuration as the game writes it, at most [`MAX_CONFIG_BYTES`].
    pub config: Vec<u8>,
    /// The rulebook's text, at most [`MAX_RULES_BYTES`].
    pub rules: String,
}

/// Bytes up to the configuration.
const FIXED_BYTES: usize = 4 + 2 + 1 + 8 + 2 + 2 + 4;
/// The most bytes of a header.
pub(super) const MAX_HEADER_BYTES: usize = FIXED_BYTES + MAX_CONFIG_BYTES + MAX_RULES_BYTES + 4;
const STATES: u8 = 1;

impl Header {
    /// Appends the bytes.
    ///
    /// # Errors
    /// [`LogError::TooLong`].
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), LogError> {
        if self.config.len() > MAX_CONFIG_BYTES || self.rules.len() > MAX_RULES_BYTES {
            return Err(LogError::TooLong);
        }
        let start = out.len();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.push(if self.states { STATES } else { 0 });
        out.extend(self.schema.to_le_bytes());
        out.extend(self.rate_hz.to_le_bytes());
        out.extend((self.config.len() as u16).to_le_bytes());
        out.extend((self.rules.len() as u32).to_le_bytes());
        out.extend(&self.config);
        out.extend(self.rules.as_bytes());
        let check = check(out.get(start..).unwrap_or_default()) as u32;
        out.extend(check.to_le_bytes());
        Ok(())
    }

    /// Reads the header at the beginning of `bytes`, and how many bytes it has; `None` where they end too soon.
    ///
    /// # Errors
    /// What is wrong with it, the first of: [`LogError::Magic`], [`LogError::Version`], [`LogError::Header`].
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, LogError> {
        let magic = bytes.iter().zip(MAGIC).all(|(byte, expected)| *byte == expected);
        if !magic {
            return Err(LogError::Magic);
        }
        if let Some(version) = bytes.get(4..6).and_then(|bytes| Cursor(bytes).u16())
            && version != VERSION
        {
            return Err(LogError::Version(version));
        }
        let Some(lengths) = bytes.get(FIXED_BYTES - 6..FIXED_BYTES) else { return Ok(None) };
        let mut cursor = Cursor(lengths);
        let (Some(config), Some(rules)) = (cursor.u16(), cursor.u32()) else { return Ok(None) };
        let (config, rules) = (usize::from(config), rules as usize);
        if config > MAX_CONFIG_BYTES || rules > MAX_RULES_BYTES {
            return Err(LogError::Header);
        }
        let len = FIXED_BYTES + config + rules;
        let Some((checked, rest)) = bytes.split_at_checked(len) else { return Ok(None) };
        let Some(expected) = Cursor(rest).u32() else { return Ok(None) };
        if check(checked) as u32 != expected {
            return Err(LogError::Header);
        }
        let header = Self::parse(checked, config, rules).ok_or(LogError::Header)?;
        Ok(Some((header, len + 4)))
    }

    fn parse(bytes: &[u8], config: usize, rules: usize) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        cursor.take(MAGIC.len() + size_of_val(&VERSION))?;
        let flags = cursor.u8()?;
        let (schema, rate_hz) = (cursor.u64()?, cursor.u16()?);
        cursor.take(6)?;
        let (config, rules) = (cursor.take(config)?, cursor.take(rules)?);
        let rules = String::from_utf8(rules.to_vec()).ok()?;
        (flags & !STATES == 0).then(|| Self {
            schema,
            rate_hz,
            states: flags & STATES != 0,
            config: config.to_vec(),
            rules,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { schema: 7, rate_hz: 20, states: true, config: vec![1, 2, 3], rules: "[player]\n".into() }
    }

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        header().write(&mut out).unwrap();
        out
    }

    #[test]
    fn a_header_survives_the_round_trip_and_is_not_there_before_it_is_whole() {
        let bytes = written();
        assert_eq!(Header::read(&bytes), Ok(Some((header(), bytes.len()))));
        for len in 0..bytes.len() {
            assert_eq!(Header::read(&bytes[..len]), Ok(None), "{len}");
        }
    }

    #[test]
    fn flipping_any_bit_of_a_header_is_noticed() {
        for bit in 0..written().len() * 8 {
            let mut bytes = written();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer one would still have to come.
            assert!(!matches!(Header::read(&bytes), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn each_damage_is_named() {
        let with = |at: usize, value: u8| {
            let mut bytes = written();
            bytes[at] = value;
            Header::read(&bytes)
        };
        assert_eq!(with(0, b'X'), Err(LogError::Magic));
        assert_eq!(with(4, 1), Err(LogError::Version(1)));
        assert_eq!(with(18, 0xff), Err(LogError::Header), "a longer configuration than there may be");
        assert_eq!(with(22, 0xff), Err(LogError::Header), "a longer rulebook than there may be");
        assert_eq!(with(25, b'#'), Err(LogError::Header));
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let long = Header { rules: "#".repeat(MAX_RULES_BYTES + 1), ..header() };
        assert_eq!(long.write(&mut Vec::new()), Err(LogError::TooLong));
        let long = Header { config: vec![0; MAX_CONFIG_BYTES + 1], ..header() };
        assert_eq!(long.write(&mut Vec::new()), Err(LogError::TooLong));
    }
}

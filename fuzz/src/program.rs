//! An input read as a program: targets take their operations and operands from it.

/// The bytes that are left of an input. Where it has ended, everything reads as zero.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    /// The whole input.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes, or as many as are left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next bytes, as many as the two bytes before them say (at most `max`), or as are left.
    pub fn sized(&mut self, max: usize) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(if len > max { len % (max + 1) } else { len })
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.word(1) as u8
    }

    /// The next two bytes, little endian.
    pub fn u16(&mut self) -> u16 {
        self.word(2) as u16
    }

    /// The next four bytes, little endian.
    pub fn u32(&mut self) -> u32 {
        self.word(4) as u32
    }

    /// The next eight bytes, little endian.
    pub fn u64(&mut self) -> u64 {
        self.word(8)
    }

    fn word(&mut self, len: usize) -> u64 {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().zip(self.take(len)) {
            *place = *byte;
        }
        u64::from_le_bytes(word)
    }
}

/// Writes a program: what the seed corpus is made with.
#[derive(Clone, Debug, Default)]
pub struct Script(pub Vec<u8>);

impl Script {
    /// A byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Eight bytes.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes as they are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes after their length, as [`Program::sized`] reads them.
    #[must_use]
    pub fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_back_and_ends_in_zeroes() {
        let script = Script::default().u8(7).u16(0x1234).sized(b"abc").u64(9);
        let mut program = Program::new(&script.0);
        assert_eq!((program.u8(), program.u16(), program.sized(10)), (7, 0x1234, b"abc".as_slice()));
        assert_eq!(program.u64(), 9);
        assert!(program.is_empty());
        assert_eq!((program.u32(), program.sized(4)), (0, [].as_slice()));
    }
}

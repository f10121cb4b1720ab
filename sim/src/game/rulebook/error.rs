//! What is wrong in a rulebook, in words for who writes it: where, which field, its value, what it takes.

use core::fmt;

use super::MAX_TEXT;

/// Names that an error lists before it says how many more there are.
const LISTED: usize = 12;

/// A table of a rulebook, or a row of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `[table]`.
    Table(&'static str),
    /// All of `[[table]]` together.
    List(&'static str),
    /// A row of `[[table]]`.
    Row {
        /// The table.
        table: &'static str,
        /// The row, from 1.
        row: usize,
        /// Its name; empty where that is what is wrong.
        name: Box<str>,
    },
    /// An entry of a row's list.
    Entry {
        /// The table.
        table: &'static str,
        /// The row, from 1.
        row: usize,
        /// Its name.
        name: Box<str>,
        /// The entry, from 1.
        entry: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "[{table}]"),
            Self::List(table) => write!(f, "[[{table}]]"),
            Self::Row { table, row, name } if name.is_empty() => write!(f, "[[{table}]] row {row}"),
            Self::Row { table, row, name } => write!(f, "[[{table}]] row {row} ({name:?})"),
            Self::Entry { table, row, name, entry } => write!(f, "[[{table}]] row {row} ({name:?}), entry {entry}"),
        }
    }
}

/// Why a text is no rulebook.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RulebookError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("a rulebook has at most {MAX_TEXT} bytes")]
    Length,
    /// It is not TOML, or not with these tables and fields.
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// A table or a list has too few or too many rows.
    #[error("{place}: {what} has {count} {unit}, it takes {min} to {max}")]
    Rows {
        /// Where the list is.
        place: Box<Place>,
        /// The list.
        what: &'static str,
        /// What it is a list of.
        unit: &'static str,
        /// How many it has.
        count: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A name is empty, too long, or has characters that no terminal should be sent.
    #[error("{place}: name = {name:?} is not allowed: a name takes 1 to {max} bytes, no control characters")]
    Name {
        /// The row.
        place: Box<Place>,
        /// The name, as far as it is of a name's length.
        name: Box<str>,
        /// The longest name, in bytes.
        max: usize,
    },
    /// A value is out of range.
    #[error("{place}: {field} = {value} is not allowed: it takes {min} to {max}{}", Because(because))]
    Range {
        /// Where.
        place: Box<Place>,
        /// The field.
        field: &'static str,
        /// Its value.
        value: Box<str>,
        /// The least value.
        min: f32,
        /// The greatest value.
        max: f32,
        /// What the limits depend on; empty where they are always these.
        because: &'static str,
    },
    /// A field that a weapon without ammunition has not.
    #[error("{place}: {field} = {value} is not allowed without ammo: give ammo = \"a\" or \"b\", or leave {field} out")]
    NoAmmo {
        /// The weapon.
        place: Box<Place>,
        /// The field.
        field: &'static str,
        /// Its value.
        value: Box<str>,
    },
    /// Two rows of a table have the same name.
    #[error("{place}: row {earlier} has the same name")]
    Twice {
        /// The later row.
        place: Box<Place>,
        /// The earlier row, from 1.
        earlier: usize,
    },
    /// What a field names is not in the rulebook.
    #[error("{place}: {field} = {name:?} names no [[{table}]]: there is {}", Names(known))]
    Unknown {
        /// Where.
        place: Box<Place>,
        /// The field.
        field: &'static str,
        /// What it says, as far as it is of a name's length.
        name: Box<str>,
        /// The table whose rows it may name.
        table: &'static str,
        /// Their names.
        known: Box<[Box<str>]>,
    },
    /// Numbers that must ascend do not.
    #[error("{place}: {field} must ascend, but its number {at} ({value}) is not above the one before")]
    Ascend {
        /// Where.
        place: Box<Place>,
        /// The field.
        field: &'static str,
        /// The number that is too small, from 1.
        at: usize,
        /// Its value.
        value: u32,
    },
    /// Weights that are all 0.
    #[error("[[{table}]]: {field} is 0 in every row: at least one must be above 0")]
    NoWeight {
        /// The table.
        table: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// ` (reason)`, or nothing.
struct Because<'a>(&'a str);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// The first of them, quoted, and how many more there are.
struct Names<'a>(&'a [Box<str>]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, at) in self.0.iter().take(LISTED).zip(0..) {
            write!(f, "{}{name:?}", if at == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

//! The fast codec's fields.

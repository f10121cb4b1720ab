//! The simulation from outside: determinism, movement, space, logs.

mod golden;
mod motion;
mod query;
mod replay;
mod script;

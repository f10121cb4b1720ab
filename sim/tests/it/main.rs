//! The simulation from outside: determinism, movement, courses, space, logs.

mod combat;
mod course;
mod duel;
mod fight;
mod fighters;
mod golden;
mod ground;
mod lone;
mod loot;
mod motion;
mod npcs;
mod query;
mod replay;
mod script;
mod second_game;

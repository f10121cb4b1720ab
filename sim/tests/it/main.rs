//! The simulation from outside: determinism, movement, courses, space, logs.

mod course;
mod golden;
mod ground;
mod lone;
mod motion;
mod query;
mod replay;
mod script;
mod second_game;

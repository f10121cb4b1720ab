//! stub
use crate::channel::Table;
#[derive(Debug)]
pub struct Scheduler;
impl Scheduler {
    pub fn new(_: &Table) -> Self { Self }
    pub fn new_tick(&mut self) {}
    pub fn pick(&self, ready: impl Fn(usize) -> bool) -> Option<usize> { (0..16).find(|at| ready(*at)) }
    pub fn charge(&mut self, _: usize, _: usize) {}
}

//! stub
use core::time::Duration;
use crate::recovery::Settled;
use crate::time::Time;
#[derive(Clone, Copy, Debug)]
pub struct RateConfig { pub start: u32, pub floor: u32, pub cap: u32, pub tick: Duration }
impl RateConfig {
    pub fn capped(cap: u32, token: u32, tick: Duration) -> Self {
        let cap = if token == 0 { cap } else { cap.min(token) };
        Self { start: cap.min(256_000), floor: cap.min(16_000), cap, tick }
    }
}
#[derive(Debug)]
pub struct RateControl(RateConfig);
impl RateControl {
    pub fn new(c: RateConfig) -> Self { Self(c) }
    pub fn on_settled(&mut self, _: Time, _: &Settled) {}
    pub fn on_rtt(&mut self, _: Time, _: u64, _: u64) {}
    pub fn allows(&self, _: Time, _: usize) -> bool { true }
    pub fn spend(&mut self, _: Time, _: usize) {}
    pub fn next_at(&self, now: Time, _: usize) -> Time { now }
    pub fn tick_budget(&self) -> usize { 10_000 }
    pub fn rate(&self) -> u32 { self.0.cap }
}

//! stub
use crate::recovery::Settled;
use crate::time::Time;
#[derive(Debug)]
pub struct Mtu(u16);
impl Mtu {
    pub fn new(base: u16, _max: u16) -> Self { Self(base) }
    pub fn on_established(&mut self, _: Time) {}
    pub fn on_path_changed(&mut self, _: Time) {}
    pub fn probe_due(&mut self, _: Time) -> Option<u16> { None }
    pub fn next_time(&self) -> Time { Time::NEVER }
    pub fn on_sent_probe(&mut self, _: Time, _: u16) {}
    pub fn on_settled(&mut self, _: Time, _: &Settled) -> Option<u16> { None }
    pub fn current(&self) -> u16 { self.0 }
}

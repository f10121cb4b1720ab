//! Placeholder.
use core::time::Duration;
use crate::time::Time;
#[derive(Debug,Default)]
pub struct ServerClock;
impl ServerClock {
    pub fn poll_request(&mut self, _: Time) -> Option<bool> { None }
    pub fn next_time(&self) -> Time { Time::NEVER }
    pub fn on_reply(&mut self, _: Time, _: Time, _: Time, _: Duration) {}
    pub fn server_time(&self, _: Time) -> Option<Time> { None }
}

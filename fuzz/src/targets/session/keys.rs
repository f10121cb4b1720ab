//! Which key a packet must open under, kept apart from the endpoint's own keys.

use std::time::Duration;

use netcode::Time;
use netcode::crypto::{Aead, PacketKey, Secret};

use super::{Feature, reach};

/// How long a receiver keeps the key of the phase before.
const OLD_KEY_TIME: Duration = Duration::from_secs(3);

/// The client's sending keys: it rolls them whenever the input says so.
pub struct Keys {
    aead: Aead,
    secret: Secret,
    key: PacketKey,
    pub generation: u64,
}

impl Keys {
    pub fn new(aead: Aead, secret: Secret) -> Self {
        Self { aead, key: PacketKey::from_secret(aead, &secret), secret, generation: 0 }
    }

    pub fn roll(&mut self) {
        self.secret = self.secret.next();
        self.key = PacketKey::from_secret(self.aead, &self.secret);
        self.generation += 1;
    }

    pub fn phase(&self) -> bool {
        self.generation & 1 == 1
    }

    pub fn seal(&self, pn: u64, aad: &[u8], plaintext: &mut [u8]) -> [u8; 16] {
        self.key.seal(pn, aad, plaintext).expect("a short plaintext")
    }
}

/// The receiver's rules: the key of a packet follows from its phase bit and number alone.
pub struct Phases {
    pub generation: u64,
    first_pn: u64,
    previous_until: Time,
}

impl Phases {
    pub const fn new() -> Self {
        Self { generation: 0, first_pn: u64::MAX, previous_until: Time::ZERO }
    }

    /// Whether a packet opens that was sealed in phase `sealed`; if so, it may have begun that phase.
    pub fn open(&mut self, now: Time, sealed: u64, pn: u64) -> bool {
        let asked = if sealed & 1 == self.generation & 1 {
            self.generation
        } else if now < self.previous_until && pn < self.first_pn {
            self.generation - 1
        } else {
            self.generation + 1
        };
        if asked != sealed {
            reach(if sealed > self.generation { Feature::RolledTwice } else { Feature::OldKeyGone });
            return false;
        }
        if asked == self.generation {
            self.first_pn = self.first_pn.min(pn);
        } else if asked < self.generation {
            reach(Feature::OldKey);
        } else {
            reach(Feature::Rolled);
            *self = Self { generation: asked, first_pn: pn, previous_until: now + OLD_KEY_TIME };
        }
        true
    }
}

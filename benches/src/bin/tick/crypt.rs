//! Sealing and opening, on as many keys as there are players.

use benches::rig::Datagrams;
use netcode::crypto::{Aead, PacketKey, Psk, SessionKeys, SharedSecret, TAG_BYTES};
use netcode::packet::{C2S_HEADER, S2C_HEADER};

use crate::time;

/// A key per player, as a server has, so that the caches are as cold.
pub struct Crypt {
    keys: Vec<PacketKey>,
    buffers: Vec<Vec<u8>>,
    number: u64,
}

impl Crypt {
    pub fn new(players: u16) -> Self {
        let key = |player: u16| {
            let mut transcript = [0; 32];
            transcript[..2].copy_from_slice(&player.to_le_bytes());
            let aead = Aead::Aes128Gcm;
            let keys = SessionKeys::derive(aead, &SharedSecret::new([1; 32]), &Psk::new([2; 32]), &transcript);
            PacketKey::from_secret(aead, &keys.s2c)
        };
        Self { keys: (0..players).map(key).collect(), buffers: Vec::new(), number: 0 }
    }

    /// Nanoseconds to seal as many plaintexts of those sizes.
    pub fn seal(&mut self, datagrams: &Datagrams) -> f64 {
        self.load(datagrams, S2C_HEADER + TAG_BYTES);
        let Self { keys, buffers, number, .. } = self;
        time(|| {
            for (key, buffer) in keys.iter().cycle().zip(buffers) {
                let _ = std::hint::black_box(key.seal(*number, &[0x40, 1, 2], buffer));
            }
        })
    }

    /// Nanoseconds to open as many packets of those sizes.
    pub fn open(&mut self, datagrams: &Datagrams) -> f64 {
        self.load(datagrams, C2S_HEADER + TAG_BYTES);
        let Self { keys, buffers, number, .. } = self;
        for (key, buffer) in keys.iter().cycle().zip(buffers.iter_mut()) {
            if let Ok(tag) = key.seal(*number, &[0x40; C2S_HEADER], buffer) {
                buffer.extend_from_slice(&tag);
            }
        }
        let mut opened = 0;
        let nanos = time(|| {
            for (key, buffer) in keys.iter().cycle().zip(buffers.iter_mut()) {
                opened += usize::from(key.open(*number, &[0x40; C2S_HEADER], buffer).is_ok());
            }
        });
        assert_eq!(opened, buffers.len());
        nanos
    }

    fn load(&mut self, datagrams: &Datagrams, overhead: usize) {
        self.number += 1;
        self.buffers.resize_with(datagrams.len(), Vec::new);
        for ((_, datagram), buffer) in datagrams.iter().zip(&mut self.buffers) {
            buffer.clear();
            buffer.extend_from_slice(&datagram[..datagram.len().saturating_sub(overhead)]);
        }
    }
}

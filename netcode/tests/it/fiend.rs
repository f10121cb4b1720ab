//! A peer that has all the keys and no manners.

use netcode::bits::BitWriter;
use netcode::channel::Table;
use netcode::crypto::{Entropy, PacketKey, handshake_mac_key};
use netcode::features::Features;
use netcode::frame::{Control, write_control};
use netcode::handshake::{HELLO_BYTES, Hello, RawAccept, RawHello};
use netcode::packet::{BASE_DATAGRAM, ConnId, Header, MAX_DATAGRAM, Preamble};
use netcode::token::ConnectBundle;
use netcode::version::VERSION;

use crate::pair::{Pair, SCHEMA_HASH, claims, client_addr};

/// A peer that has all the keys and no manners.
pub struct Fiend {
    pub tx: PacketKey,
    pub conn: Option<ConnId>,
    pub pn: u64,
}

impl Fiend {
    pub fn packet(&mut self, write: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; BASE_DATAGRAM];
        let mut w = BitWriter::new(&mut buffer);
        write(&mut w);
        let len = w.finish();
        self.sealed(&buffer[..len])
    }

    pub fn sealed(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 7];
        let header = Header::write(&mut out, self.conn, self.pn, false);
        out.truncate(header);
        let mut sealed = plaintext.to_vec();
        let tag = self.tx.seal(self.pn, &out, &mut sealed).unwrap();
        self.pn += 1;
        [out, sealed, tag.to_vec()].concat()
    }
}

pub fn ping(w: &mut BitWriter<'_>) {
    Preamble::default().write(w);
    write_control(w, Control::Ping);
}

/// A client with a valid token that speaks by hand; it is connected.
pub fn fiendish_client(pair: &mut Pair, table: &Table) -> Fiend {
    let bundle = pair.bundle(&claims());
    let ephemeral = pair.entropy.ephemeral().unwrap();
    let hello = hello_of(&bundle, ephemeral.public(), table);
    pair.wire = Some(Vec::new());
    pair.inject(client_addr(0), &hello);
    pair.flush();
    let accept = pair.wire.take().unwrap()[0].bytes.clone();
    let hello = RawHello::read(&hello).unwrap();
    let raw = RawAccept::read(&accept, &hello.mac(), &handshake_mac_key(&bundle.psk)).unwrap();
    let secret = ephemeral.agree(&raw.public()).unwrap();
    let (accepted, keys) = raw.open(&hello, &bundle.psk, &secret).unwrap();
    let mut fiend = Fiend { tx: PacketKey::from_secret(keys.aead, &keys.c2s), conn: Some(accepted.conn), pn: 0 };
    let first = fiend.packet(ping);
    pair.inject(client_addr(0), &first);
    pair.flush();
    assert_eq!(pair.live, [accepted.conn]);
    fiend
}

pub fn hello_of(bundle: &ConnectBundle, public: [u8; 32], table: &Table) -> [u8; HELLO_BYTES] {
    let hello = Hello {
        highest_version: VERSION,
        aead: netcode::crypto::Aead::Aes128Gcm,
        client_time: 0,
        channel_hash: table.hash(),
        schema_hash: SCHEMA_HASH,
        features: Features::ALL,
        cookie: [0; 32],
        public,
        token: bundle.token.clone(),
        max_datagram: MAX_DATAGRAM as u16,
    };
    let mut bytes = [0; HELLO_BYTES];
    let _ = hello.write(&mut bytes, &handshake_mac_key(&bundle.psk));
    bytes
}

//! Connect tokens: only what was sealed opens, and what opens seals to the same bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use netcode::crypto::{ClusterKey, Psk};
use netcode::error::RefuseReason;
use netcode::token::{MAX_SERVERS, ServerEntry, TOKEN_BYTES, Token, TokenClaims, open, seal};

use crate::feature::bucket;
use crate::features;
use crate::program::{Program, Script};

features! {
    Opens => "a token that opens",
    Changed => "a token with a changed byte",
    Full => "a token with as many servers as it takes",
    OtherEpoch => "a token of the second key",
    NoSuchEpoch => "a token of a key that nobody has",
    Raw => "bytes that were never sealed",
}

/// The target: claims from the input are sealed, the token is changed as the input says, and opened.
pub fn run(input: &[u8]) {
    let mut program = Program::new(input);
    let keys = [ClusterKey { epoch: 1, key: Psk::new([0xc1; 32]) }, ClusterKey { epoch: 2, key: Psk::new([0xc2; 32]) }];
    let choice = program.u8();
    if choice & 0x80 != 0 {
        return never_sealed(&mut program, &keys);
    }
    let stranger = ClusterKey { epoch: choice >> 2 & 3, key: Psk::new([0xc3; 32]) };
    let key = if choice & 3 == 3 { &stranger } else { &keys[usize::from(choice & 1)] };
    let claims = claims(&mut program);
    let (mut id, mut psk) = ([0; 16], [7; 32]);
    copy(&mut id, program.take(16));
    copy(&mut psk, program.take(32));
    let psk = Psk::new(psk);
    let sealed = seal(key, &claims, &id, &psk);
    assert_eq!((sealed.id(), sealed.epoch()), (id, key.epoch));
    let mut token = sealed.clone();
    while !program.is_empty() {
        let at = usize::from(program.u16()) % TOKEN_BYTES;
        token.0[at] ^= program.u8();
    }
    bucket(claims.servers.len() as u64);
    match open(&keys, &token) {
        Ok(opened) => {
            assert!(token == sealed && choice & 3 != 3, "a token opens that this cluster did not seal");
            assert_eq!(opened, (claims, psk));
            assert!(seal(key, &opened.0, &id, &opened.1) == sealed, "the same claims seal to other bytes");
            reach(if key.epoch == 1 { Feature::Opens } else { Feature::OtherEpoch });
            if opened.0.servers.is_full() {
                reach(Feature::Full);
            }
        }
        Err(reason) => {
            assert_eq!(reason, RefuseReason::TokenInvalid);
            assert!(token != sealed || choice & 3 == 3, "a genuine token is refused");
            let known = keys.iter().any(|key| key.epoch == token.epoch());
            reach(if known { Feature::Changed } else { Feature::NoSuchEpoch });
        }
    }
}

fn never_sealed(program: &mut Program<'_>, keys: &[ClusterKey]) {
    let mut token = Token([0; TOKEN_BYTES]);
    copy(&mut token.0, program.take(TOKEN_BYTES));
    reach(Feature::Raw);
    assert_eq!(open(keys, &token).err(), Some(RefuseReason::TokenInvalid));
}

fn claims(program: &mut Program<'_>) -> TokenClaims {
    TokenClaims {
        issued_ms: program.u64(),
        expires_ms: program.u64(),
        account: program.u64(),
        character: program.u64(),
        group: program.u32(),
        down_cap: program.u32(),
        up_cap: program.u32(),
        servers: (0..program.u8() % (MAX_SERVERS as u8 + 1)).map(|_| server(program)).collect(),
    }
}

fn server(program: &mut Program<'_>) -> ServerEntry {
    let (id, port, v6) = (program.u32(), program.u16(), program.u8() & 1 != 0);
    let ip = if v6 {
        // An IPv4 address mapped into IPv6 comes back as what it stands for.
        Ipv6Addr::from(u128::from(program.u64()) << 64 | u128::from(program.u32())).to_canonical()
    } else {
        Ipv4Addr::from(program.u32()).into()
    };
    ServerEntry { id, addr: SocketAddr::new(ip, port) }
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Tokens of both keys, with no, some and all servers; changed ones; bytes that never were one.
pub fn seeds() -> Vec<Vec<u8>> {
    let token = |choice: u8, servers: u8| {
        let mut script = Script::default().u8(choice).u64(1_700_000_000_000).u64(1_700_000_060_000).u64(1).u64(2);
        script = script.bytes(&[3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0]).u8(servers);
        for server in 0..servers {
            let script_with_id = script.bytes(&[server, 0, 0, 0]).u16(7777).u8(server & 1);
            script = if server & 1 == 0 {
                script_with_id.bytes(&[10, 0, 0, server])
            } else {
                script_with_id.u64(0x20).bytes(&[1, 0, 0, 0])
            };
        }
        script.bytes(&[0x1d; 16]).bytes(&[0x95; 32])
    };
    let mut seeds: Vec<_> =
        [(0, 0), (1, 1), (2, 8), (3, 2), (7, 2)].map(|(choice, servers)| token(choice, servers)).into();
    for at in [0, 1, 2, 3, 4, 12, 27, 28, 60, 300, TOKEN_BYTES as u16 - 1] {
        seeds.push(token(0, 2).u16(at).u8(1));
    }
    seeds.push(Script::default().u8(0x80).bytes(&[1, 1, 0, 0]).bytes(&[9; 60]));
    seeds.into_iter().map(|script| script.0).collect()
}

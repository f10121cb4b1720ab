//! RETRY: the stateless cookie that a client must bring back.

use core::net::SocketAddr;

use super::{COOKIE_BYTES, COOKIE_SECONDS, Cookie, Mac, RETRY, RETRY_BYTES, array};
use crate::crypto::{self, CookieKey, equal_constant_time};
use crate::stats::Drop;
use crate::token::{TokenId, ip_bytes};

/// The stateless cookie (rule R-1) that proves a client's address: time ‖ HMAC(time ‖ address ‖ port ‖ token id).
#[must_use]
pub fn cookie(key: &CookieKey, seconds: u32, from: SocketAddr, token: &TokenId) -> Cookie {
    let time = seconds.to_le_bytes();
    let mac = crypto::hmac_sha256(key.as_bytes(), &[&time, &ip_bytes(from.ip()), &from.port().to_le_bytes(), token]);
    let mut cookie = [0; COOKIE_BYTES];
    cookie[..4].copy_from_slice(&time);
    cookie[4..].copy_from_slice(&mac[..COOKIE_BYTES - 4]);
    cookie
}

/// Whether `given` is a cookie for that address and token, made less than [`COOKIE_SECONDS`] ago.
#[must_use]
pub fn cookie_is_valid(key: &CookieKey, seconds: u32, from: SocketAddr, token: &TokenId, given: &Cookie) -> bool {
    let made = u32::from_le_bytes(array(given, 0));
    seconds.checked_sub(made).is_some_and(|age| age < COOKIE_SECONDS)
        && equal_constant_time(&cookie(key, made, from, token), given)
}

/// Writes a RETRY.
#[must_use]
pub fn write_retry(attempt: &Mac, cookie: &Cookie) -> [u8; RETRY_BYTES] {
    let mut out = [0; RETRY_BYTES];
    out[0] = RETRY;
    out[4..20].copy_from_slice(attempt);
    out[20..].copy_from_slice(cookie);
    out
}

/// Reads a RETRY (rule R-2): the attempt it answers and the cookie.
///
/// # Errors
/// The kind of drop to count.
pub fn read_retry(datagram: &[u8]) -> Result<(Mac, Cookie), Drop> {
    let bytes: &[u8; RETRY_BYTES] = datagram.try_into().map_err(|_| Drop::WrongLength)?;
    if bytes[1..4] != [0; 3] {
        return Err(Drop::ReservedBits);
    }
    Ok((array(bytes, 4), array(bytes, 20)))
}

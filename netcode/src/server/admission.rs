//! What happens to a HELLO, cheap refusals first (rules H-1 to H-15 of SPEC.md).

use core::net::SocketAddr;
use core::time::Duration;

use super::prefixes::Standing;
use super::slots::{HalfOpen, Here, Peer};
use super::{MAX_REPLIES, NotClaimed, OPENS_PER_HANDSHAKE, Reply, ServerEndpoint, Window};
use crate::connection::{Connection, Parameters};
use crate::crypto::{Entropy, Psk, handshake_mac_key};
use crate::error::RefuseReason;
use crate::handshake::{self, Accepted, Hello, RawHello, Refusal};
use crate::keys::{RxKeys, TxKeys};
use crate::packet::{BASE_DATAGRAM, ConnId, Direction, MAX_DATAGRAM};
use crate::rate::RateConfig;
use crate::stats::Drop;
use crate::time::Time;
use crate::token::{self, TokenClaims};
use crate::version::{VERSION, Verdict};

/// Length of the window in which handshakes are counted, in microseconds.
const WINDOW_MICROS: u64 = 100_000;

/// The clock of the cookies.
const fn seconds(now: Time) -> u32 {
    (now.as_micros() / 1_000_000) as u32
}

impl ServerEndpoint {
    pub(super) fn on_hello(
        &mut self,
        now: Time,
        unix_ms: u64,
        from: SocketAddr,
        datagram: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), Drop> {
        let hello = RawHello::read(datagram)?; // H-1 to H-4
        // H-5
        let verdict = self.config.versions.judge(hello.version(), hello.highest_version());
        if verdict == Verdict::NotSpoken || hello.version() != VERSION {
            return self.refuse(from, &hello, self.other_version(&hello), None);
        }
        // H-6
        if self.repeat_accept(from, &hello)? {
            return Ok(());
        }
        if !self.permit(now, from, &hello)? {
            return self.retry(now, from, &hello);
        }
        self.window.opened += 1;
        let fields = hello.fields();
        // H-9
        let Ok((claims, psk)) = token::open(&self.config.cluster_keys, &fields.token) else {
            return self.refuse(from, &hello, RefuseReason::TokenInvalid.into(), None);
        };
        // H-10
        let mac_key = handshake_mac_key(&psk);
        if !hello.verify(&mac_key) {
            return Err(Drop::BadMac);
        }
        // H-17: the client came down from a version that is spoken here, so somebody forged a refusal of that one.
        if verdict == Verdict::Downgraded {
            return self.refuse(from, &hello, self.other_version(&hello), Some(&mac_key));
        }
        match self.judge(unix_ms, &fields, &claims) {
            Ok(conn) => self.accept(now, from, &hello, conn, claims, &psk, entropy),
            Err(reason) => self.refuse(from, &hello, reason.into(), Some(&mac_key)),
        }
    }

    /// Whether there is leave to work on a HELLO now (H-7, H-8, H-16); false when it must bring a cookie first.
    fn permit(&mut self, now: Time, from: SocketAddr, hello: &RawHello<'_>) -> Result<bool, Drop> {
        let window = self.current_window(now);
        let place = self.prefixes.place(from.ip());
        let mut standing = Standing::Unproven;
        if window.opened >= self.config.retry_above || !self.prefixes.allows(now, place, standing) {
            if !self.proves_its_address(now, from, hello) {
                return Ok(false);
            }
            standing = Standing::Proven;
        }
        let most = self.config.max_handshakes;
        if window.agreed >= most
            || window.opened >= most.saturating_mul(OPENS_PER_HANDSHAKE)
            || self.half_open.len() >= usize::from(self.config.max_half_open)
        {
            return Err(Drop::Overload);
        }
        // The last of the limits, so that what another one drops is not counted against the prefix.
        if !self.prefixes.take(now, place, standing) {
            return Err(Drop::PrefixLimited);
        }
        Ok(true)
    }

    /// The same HELLO again, while its client is half-open, gets the same ACCEPT again.
    fn repeat_accept(&mut self, from: SocketAddr, hello: &RawHello<'_>) -> Result<bool, Drop> {
        let Some(conn) = self.half_open.get(&hello.token_id()).and_then(|slot| self.slots.id_at(*slot)) else {
            return Ok(false);
        };
        let pending = self.slots.get(conn).and_then(|peer| peer.half_open.as_ref());
        let Some(accept) = pending.filter(|pending| pending.attempt == hello.mac()).map(|pending| pending.accept)
        else {
            return Ok(false);
        };
        if let Some(peer) = self.slots.get_mut(conn) {
            peer.answer(from);
        }
        self.reply(from, &accept)?;
        Ok(true)
    }

    fn proves_its_address(&self, now: Time, from: SocketAddr, hello: &RawHello<'_>) -> bool {
        handshake::cookie_is_valid(&self.cookie_key, seconds(now), from, &hello.token_id(), &hello.cookie())
    }

    fn retry(&mut self, now: Time, from: SocketAddr, hello: &RawHello<'_>) -> Result<(), Drop> {
        let cookie = handshake::cookie(&self.cookie_key, seconds(now), from, &hello.token_id());
        self.retries += 1;
        self.reply(from, &handshake::write_retry(&hello.mac(), &cookie))
    }

    fn current_window(&mut self, now: Time) -> Window {
        let number = now.as_micros() / WINDOW_MICROS;
        if self.window.number != number {
            self.window = Window { number, ..Window::default() };
        }
        self.window
    }

    /// Whether an authentic HELLO is let in (rules H-11 to H-14); claims its token as the last step, so that no refusal
    /// burns one.
    fn judge(&self, unix_ms: u64, hello: &Hello, claims: &TokenClaims) -> Result<ConnId, RefuseReason> {
        if claims.expires_ms <= unix_ms {
            return Err(RefuseReason::TokenExpired);
        }
        if claims.group != self.config.group {
            return Err(RefuseReason::WrongGroup);
        }
        if !claims.servers.iter().any(|server| server.id == self.config.server_id) {
            return Err(RefuseReason::WrongServer);
        }
        if hello.channel_hash != self.config.channels.hash() {
            return Err(RefuseReason::ChannelMismatch);
        }
        if hello.schema_hash != self.config.schema_hash {
            return Err(RefuseReason::SchemaMismatch);
        }
        let conn = self.slots.vacancy().ok_or(RefuseReason::ServerFull)?;
        match self.single_use.claim(&hello.token.id(), claims.expires_ms, unix_ms) {
            Ok(()) => Ok(conn),
            Err(NotClaimed::Used) => Err(RefuseReason::TokenUsed),
            Err(NotClaimed::Full) => Err(RefuseReason::Busy),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the last of a chain of checks, each of which found one of these")]
    fn accept(
        &mut self,
        now: Time,
        from: SocketAddr,
        hello: &RawHello<'_>,
        conn: ConnId,
        claims: TokenClaims,
        psk: &Psk,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Drop> {
        self.window.agreed += 1;
        let fields = hello.fields();
        let ephemeral = entropy.ephemeral().map_err(|_| Drop::Overload)?;
        let public = ephemeral.public();
        // H-15
        let secret = ephemeral.agree(&fields.public).map_err(|_| Drop::Malformed)?;
        let accepted = Accepted {
            conn,
            tick: self.tick,
            server_time: now.as_micros(),
            client_time: fields.client_time,
            rate: self.config.rate,
            max_datagram: self.config.max_datagram.max(BASE_DATAGRAM as u16),
            idle_ms: u32::try_from(self.config.idle_timeout.as_millis()).unwrap_or(u32::MAX),
            channel_hash: fields.channel_hash,
            schema_hash: fields.schema_hash,
            down_cap: claims.down_cap,
            up_cap: claims.up_cap,
            features: fields.features.intersect(self.config.features),
        };
        let (accept, keys) = handshake::write_accept(hello, psk, &secret, &public, &accepted);
        let tick = Duration::from_micros(1_000_000 / u64::from(self.config.rate.max(1)));
        let aead = fields.aead;
        let parameters = Parameters {
            conn,
            direction: Direction::ToClient,
            tx: TxKeys::new(aead, keys.s2c, self.config.key_limits, now),
            rx: RxKeys::new(aead, keys.c2s),
            idle_timeout: self.config.idle_timeout,
            features: accepted.features,
            max_datagram: fields.max_datagram.min(MAX_DATAGRAM as u16),
            rate: RateConfig::capped(self.config.rate_cap, claims.down_cap, tick),
            inbound_cap: (claims.up_cap > 0).then_some(claims.up_cap),
        };
        let until = now + self.config.half_open_timeout;
        let token_id = fields.token.id();
        let answered = core::iter::once(from).collect();
        let half_open = HalfOpen { token_id, attempt: hello.mac(), accept, answered, claims: Box::new(claims), until };
        let connection = Connection::new(parameters, &self.config.channels, now);
        let half_open = Some(Box::new(half_open));
        let peer = Peer {
            connection,
            address: None,
            answered: Some(from),
            path: None,
            half_open,
            queued: false,
            here: Here::Here,
        };
        self.slots.insert(conn, peer, until);
        self.half_open.insert(token_id, conn.slot());
        self.accepted += 1;
        self.reply(from, &accept)
    }

    /// The refusal that names what is spoken here. Version 1 has no place for that: to it the bytes are reserved.
    fn other_version(&self, hello: &RawHello<'_>) -> Refusal {
        let versions = (hello.version() != 1).then_some(self.config.versions);
        Refusal { reason: RefuseReason::VersionMismatch, versions }
    }

    fn refuse(
        &mut self,
        from: SocketAddr,
        hello: &RawHello<'_>,
        refusal: Refusal,
        mac_key: Option<&[u8; 32]>,
    ) -> Result<(), Drop> {
        self.reply(from, &handshake::write_refuse(&hello.mac(), refusal, mac_key))?;
        Err(Drop::Refused)
    }

    fn reply(&mut self, to: SocketAddr, bytes: &[u8]) -> Result<(), Drop> {
        let mut reply = Reply::new();
        if self.replies.len() >= MAX_REPLIES || reply.try_extend_from_slice(bytes).is_err() {
            return Err(Drop::Overload);
        }
        self.replies.push_back((to, reply));
        Ok(())
    }
}

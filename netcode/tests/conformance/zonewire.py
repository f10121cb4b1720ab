"""Zonewire protocol 2, the client's side, written from SPEC.md alone.

Nothing here touches a socket or a clock: callers hand in datagrams and times and get datagrams back.
Rule numbers (``H-9``) are those of SPEC.md. Needs Python 3.11 and the package ``cryptography``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import math
import os
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

import compact

# Constants (G-1, G-9, section 12).
PROTOCOL_VERSION = 2
BASE_PACKET, MAX_PACKET = 1200, 1452
HELLO_BYTES, RETRY_BYTES, ACCEPT_BYTES, REFUSE_BYTES = 1200, 52, 152, 36
TOKEN_BYTES, TAG_BYTES = 292, 16
MIN_TO_CLIENT, MIN_TO_SERVER = 20, 24
HEADER_TO_CLIENT, HEADER_TO_SERVER = 3, 7
DATA_FLAGS, PHASE_FLAG = 0x40, 0x01
TICK_END = 1 << 40
REPLAY_WINDOW = 1024
MAX_FRAMES = 64
MAX_MALFORMED = 3
MAX_RETRIES = 8
MASK_BITS = 32
MASK_ALL = (1 << MASK_BITS) - 1
ACK_DELAY_UNIT = 250e-6
ACK_WITHIN, ACK_AFTER_PACKETS = 0.06, 8
ACK_WAIT = 0.045  # of this client: well within ACK_WITHIN
UNPROVEN_WAIT = 1.0
KEEPALIVE = 1.0
CLOSES, CLOSE_SPACING = 3, 0.05
ROLL_PACKETS, ROLL_SECONDS, OLD_KEY_SECONDS = 1 << 22, 3600.0, 3.0
PIECE = 1024  # bytes of a part, a segment, a chunk
MAX_PARTS, MAX_INCOMPLETE = 8, 8
RELIABLE_WINDOW = 256
PARTS_BEHIND = 64
LEAST_WINDOW, MOST_WINDOW = 4, 16_383
SLOTS = 4096
HISTORY = 64
FALL_TICKS = 128
MOST_ONES = 12
FARTHEST_WAY = 1 << 32
TELLING_WAY = 16
MOST_TICKS = (1 << 32) - 1
INPUTS_PER_MESSAGE = 8
PACKET_NUMBER_END = 1 << 48


class Drop(Exception):
    """A datagram that is dropped; ``cause`` is the name the rules give it (G-7)."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Malformed(Exception):
    """Authentic plaintext that breaks ``rule`` (P-8)."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class SnapshotError(Exception):
    """A snapshot that cannot be applied (S-9)."""


class MessageError(Exception):
    """A session message that breaks M-3."""


class TokenError(Exception):
    """A token that does not open (T-2)."""


class EndOfData(Exception):
    """A bit stream ended inside a field."""


# --- 1 General ------------------------------------------------------------------------------------


def expand(reference: int, low: int) -> int:
    """The counter nearest to ``reference`` that has these low 16 bits (G-6)."""
    candidate = (reference & ~0xFFFF) | low
    if candidate + 0x8000 <= reference:
        return candidate + 0x10000
    if candidate > reference + 0x8000 and candidate >= 0x10000:
        return candidate - 0x10000
    return candidate


class BitReader:
    """Reads a bit stream, least significant bit first (G-3)."""

    def __init__(self, data: bytes) -> None:
        self._stream = int.from_bytes(data, "little")
        self.end = 8 * len(data)
        self.position = 0

    @property
    def left(self) -> int:
        """Bits that have not been read."""
        return self.end - self.position

    def bits(self, width: int) -> int:
        """The next ``width`` bits as an unsigned number."""
        if width > self.left:
            raise EndOfData
        value = self._stream >> self.position & (1 << width) - 1
        self.position += width
        return value

    def flag(self) -> bool:
        """The next bit."""
        return self.bits(1) == 1

    def signed(self, width: int) -> int:
        """The next ``width`` bits in two's complement (G-5)."""
        return to_signed(self.bits(width), width)

    def octets(self, count: int) -> bytes:
        """The next ``8 * count`` bits, wherever the stream stands."""
        return self.bits(8 * count).to_bytes(count, "little")

    def only_padding_left(self) -> bool:
        """Whether fewer than 8 bits are left and all of them are zero."""
        return self.left < 8 and self.bits(self.left) == 0


class BitWriter:
    """Writes a bit stream, least significant bit first (G-3)."""

    def __init__(self) -> None:
        self._stream = 0
        self.position = 0

    def bits(self, value: int, width: int) -> BitWriter:
        """Appends the low ``width`` bits of ``value``; negative ones in two's complement (G-5)."""
        self._stream |= (value & (1 << width) - 1) << self.position
        self.position += width
        return self

    def octets(self, data: bytes) -> BitWriter:
        """Appends bytes without alignment."""
        return self.bits(int.from_bytes(data, "little"), 8 * len(data))

    def align(self) -> BitWriter:
        """Appends zero bits up to the next byte."""
        return self.bits(0, -self.position % 8)

    def finish(self) -> bytes:
        """The stream, with zero bits up to the end of its last byte."""
        return self._stream.to_bytes((self.position + 7) // 8, "little")


def to_signed(value: int, width: int) -> int:
    """``value`` of ``width`` bits read as two's complement (G-5)."""
    return value - (1 << width) if value >> (width - 1) else value


def fnv1a(data: bytes) -> int:
    """FNV-1a with 64 bits (C-12)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256, extract and expand (RFC 5869)."""
    prk = hmac.digest(salt or bytes(32), secret, "sha256")
    okm, block, counter = b"", b"", 1
    while len(okm) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        okm, counter = okm + block, counter + 1
    return okm[:length]


def mac16(key: bytes, data: bytes) -> bytes:
    """The first 16 bytes of HMAC-SHA256."""
    return hmac.digest(key, data, "sha256")[:16]


# --- 2 Connect token ------------------------------------------------------------------------------


class ServerEntry(NamedTuple):
    """A server that a token is good for."""

    id: int
    host: str
    port: int


@dataclass(frozen=True)
class Bundle:
    """What a client gets from the control plane (section 17)."""

    token: bytes
    psk: bytes
    servers: tuple[ServerEntry, ...]
    expires_ms: int

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Bundle:
        """Reads one element of ``tokens``."""
        servers = []
        for server in entry["servers"]:
            host, _, port = server["addr"].rpartition(":")
            servers.append(ServerEntry(server["id"], host.strip("[]"), int(port)))
        token = base64.b64decode(entry["token"], validate=True)
        psk = base64.b64decode(entry["psk"], validate=True)
        if len(token) != TOKEN_BYTES or len(psk) != 32:
            raise ValueError("a bundle has a token of 292 and a PSK of 32 bytes")
        return cls(token, psk, tuple(servers), int(entry["expires_ms"]))


@dataclass(frozen=True)
class Token:
    """An opened token, all fields of section 2."""

    epoch: int
    expires_ms: int
    id: bytes
    issued_ms: int
    account: int
    character: int
    group: int
    down_cap: int
    up_cap: int
    psk: bytes
    servers: tuple[ServerEntry, ...]

    def head(self) -> bytes:
        """Bytes 0..28: authenticated, not hidden."""
        return struct.pack("<BBHQ16s", 1, self.epoch, 0, self.expires_ms, self.id)

    def seal(self, cluster_key: bytes) -> bytes:
        """The 292 bytes of the token (T-1)."""
        key, nonce = token_key(cluster_key, self.id)
        return self.head() + AESGCM(key).encrypt(nonce, self._body(), self.head())

    def _body(self) -> bytes:
        numbers = struct.pack(
            "<QQQIIIB3x32s",
            self.issued_ms,
            self.account,
            self.character,
            self.group,
            self.down_cap,
            self.up_cap,
            len(self.servers),
            self.psk,
        )
        entries = b"".join(struct.pack("<I16sH", s.id, mapped_address(s.host), s.port) for s in self.servers)
        return numbers + entries.ljust(8 * 22, b"\0")

    @classmethod
    def open(cls, data: bytes, cluster_keys: dict[int, bytes]) -> Token:
        """Opens a token with the cluster key of its epoch (T-2)."""
        version, epoch, reserved, expires_ms, token_id = struct.unpack("<BBHQ16s", data[:28])
        if version != 1 or reserved != 0:
            raise TokenError("version or reserved bytes")
        if epoch not in cluster_keys:
            raise TokenError("no key of this epoch")
        key, nonce = token_key(cluster_keys[epoch], token_id)
        try:
            body = AESGCM(key).decrypt(nonce, data[28:], data[:28])
        except InvalidTag:
            raise TokenError("tag") from None
        issued, account, character, group, down, up, count, psk = struct.unpack("<QQQIIIB3x32s", body[:72])
        if count > 8:
            raise TokenError("more than 8 servers")
        servers = tuple(read_server(body[72 + 22 * i : 94 + 22 * i]) for i in range(count))
        return cls(epoch, expires_ms, token_id, issued, account, character, group, down, up, psk, servers)


def token_key(cluster_key: bytes, token_id: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of a token's body (T-1)."""
    okm = hkdf(token_id, cluster_key, b"zonewire v1 token", 44)
    return okm[:32], okm[32:]


def mapped_address(host: str) -> bytes:
    """The 16 bytes of an IPv6 address, IPv4 as ``::ffff:a.b.c.d``."""
    address = ipaddress.ip_address(host)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def read_server(entry: bytes) -> ServerEntry:
    """One of the 22-byte entries of a token."""
    server_id, packed, port = struct.unpack("<I16sH", entry)
    address = ipaddress.IPv6Address(packed)
    return ServerEntry(server_id, str(address.ipv4_mapped or address), port)


# --- 3 to 7 Handshake -----------------------------------------------------------------------------


class CipherSuite(IntEnum):
    """The cipher for packets that a HELLO names."""

    AES_128_GCM = 0
    CHACHA20_POLY1305 = 1

    @property
    def key_bytes(self) -> int:
        """``n`` of K-2."""
        return 16 if self is CipherSuite.AES_128_GCM else 32

    def aead(self, key: bytes) -> AESGCM | ChaCha20Poly1305:
        """The cipher under ``key``."""
        return AESGCM(key) if self is CipherSuite.AES_128_GCM else ChaCha20Poly1305(key)


class Features(IntFlag):
    """Optional parts (G-10)."""

    NONE = 0
    MTU = 1 << 0
    CLOCK = 1 << 1
    COMPACT = 1 << 2


# What needs no snapshots, and with it all that this client has.
TRANSPORT_FEATURES = Features.MTU | Features.CLOCK
ALL_FEATURES = TRANSPORT_FEATURES | Features.COMPACT


class RefuseReason(IntEnum):
    """Reasons of a REFUSE (section 6)."""

    VERSION_MISMATCH = 1
    TOKEN_INVALID = 2
    TOKEN_EXPIRED = 3
    TOKEN_USED = 4
    WRONG_SERVER = 5
    WRONG_GROUP = 6
    SERVER_FULL = 7
    BUSY = 8
    CHANNEL_MISMATCH = 9
    SCHEMA_MISMATCH = 10


class Refusal(NamedTuple):
    """What a REFUSE says; the versions only with ``VERSION_MISMATCH``."""

    reason: RefuseReason
    versions: tuple[int, int] | None = None


class Refused(Exception):
    """The attempt is over with this reason (E-2, E-3, A-7)."""

    def __init__(self, reason: RefuseReason, proven: bool, versions: tuple[int, int] | None = None) -> None:
        spoken = f", versions {versions[0]} to {versions[1]}" if versions else ""
        super().__init__(f"{reason.name}, {'proven' if proven else 'unproven'}{spoken}")
        self.reason = reason
        self.proven = proven
        self.versions = versions

    def next_version(self, spoken: Iterable[int]) -> int | None:
        """The version of a new attempt, the highest of the range that is ``spoken`` here (E-4)."""
        if self.versions is None or self.proven:
            return None
        low, high = self.versions
        return max((version for version in spoken if low <= version <= high), default=None)


@dataclass(frozen=True)
class SealingKey:
    """Key and IV of one direction in one phase (K-2)."""

    suite: CipherSuite
    key: bytes
    iv: bytes

    def nonce(self, number: int) -> bytes:
        """The IV with its last 8 bytes XORed with the number (K-3)."""
        tail = bytes(a ^ b for a, b in zip(self.iv[4:], number.to_bytes(8, "little")))
        return self.iv[:4] + tail

    def seal(self, number: int, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext and tag."""
        return self.suite.aead(self.key).encrypt(self.nonce(number), plaintext, aad)

    def open(self, number: int, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext (P-7)."""
        try:
            return self.suite.aead(self.key).decrypt(self.nonce(number), sealed, aad)
        except InvalidTag:
            raise Drop("auth_failed") from None


class Keys(NamedTuple):
    """The handshake key, and secret 0 of both directions (K-2)."""

    handshake: SealingKey
    c2s: bytes
    s2c: bytes

    @property
    def suite(self) -> CipherSuite:
        """The cipher that all of them are for."""
        return self.handshake.suite


def transcript(hello: bytes, accept: bytes) -> bytes:
    """What both sides saw, the cookie taken as zero (K-1)."""
    return hashlib.sha256(without_cookie(hello) + accept[:52]).digest()


def derive_keys(suite: CipherSuite, script: bytes, shared: bytes, psk: bytes) -> Keys:
    """The key schedule (K-2)."""
    secret = shared + psk
    handshake = cut_key(suite, hkdf(script, secret, b"zonewire v2 handshake", suite.key_bytes + 12))
    c2s = hkdf(script, secret, b"zonewire v2 c2s", 32)
    return Keys(handshake, c2s, hkdf(script, secret, b"zonewire v2 s2c", 32))


def phase_key(suite: CipherSuite, secret: bytes) -> SealingKey:
    """Packet key and IV of the phase with this secret (K-2)."""
    return cut_key(suite, hkdf(b"", secret, b"zonewire v2 key", suite.key_bytes + 12))


def next_secret(secret: bytes) -> bytes:
    """The secret of the next phase (K-2)."""
    return hkdf(b"", secret, b"zonewire v2 roll", 32)


def cut_key(suite: CipherSuite, okm: bytes) -> SealingKey:
    """The first ``n`` and the following 12 bytes (K-2)."""
    return SealingKey(suite, okm[: suite.key_bytes], okm[suite.key_bytes :])


def handshake_mac_key(psk: bytes) -> bytes:
    """The MAC key of section 3."""
    return hkdf(b"", psk, b"zonewire v2 handshake mac", 32)


def with_cookie(hello: bytes, cookie: bytes) -> bytes:
    """The HELLO with another cookie; its MAC stays (section 3)."""
    return hello[:44] + cookie + hello[76:]


def without_cookie(hello: bytes) -> bytes:
    """The HELLO with the cookie taken as zero."""
    return with_cookie(hello, bytes(32))


@dataclass(frozen=True)
class Hello:
    """The fields of a HELLO that differ from client to client."""

    suite: CipherSuite
    client_time: int
    channel_hash: int
    schema_hash: int
    public_key: bytes
    token: bytes
    version: int = PROTOCOL_VERSION
    highest: int = PROTOCOL_VERSION
    features: int = 0
    longest_packet: int = MAX_PACKET

    LAYOUT = "<BBBB8sQQQQ32x32s292sH"

    def encode(self, mac_key: bytes) -> bytes:
        """The 1200 bytes with a zero cookie."""
        head = struct.pack(
            self.LAYOUT,
            1,
            self.version,
            self.suite,
            self.highest,
            b"ZONEWIRE",
            self.client_time,
            self.channel_hash,
            self.schema_hash,
            self.features,
            self.public_key,
            self.token,
            self.longest_packet,
        )
        body = head.ljust(HELLO_BYTES - TAG_BYTES, b"\0")
        return body + mac16(mac_key, body)


@dataclass(frozen=True)
class Accepted:
    """The parameters of an ACCEPT (section 5)."""

    connection: int
    tick: int
    server_time: int
    client_time: int
    rate: int
    longest_packet: int
    idle_ms: int
    channel_hash: int
    schema_hash: int
    down_cap: int
    up_cap: int
    features: int = 0

    LAYOUT = "<IQQQHHIQQIIQ"

    @classmethod
    def decode(cls, parameters: bytes) -> Accepted:
        """Reads the 68 bytes of plaintext."""
        return cls(*struct.unpack(cls.LAYOUT, parameters))

    def encode(self) -> bytes:
        """The 68 bytes of plaintext."""
        fields = (
            self.connection,
            self.tick,
            self.server_time,
            self.client_time,
            self.rate,
            self.longest_packet,
        )
        more = (self.idle_ms, self.channel_hash, self.schema_hash, self.down_cap, self.up_cap, self.features)
        return struct.pack(self.LAYOUT, *fields, *more)

    def is_sound(self, offered: int) -> bool:
        """A-6."""
        numbers = self.rate != 0 and self.idle_ms != 0 and self.tick < TICK_END
        return numbers and self.longest_packet >= BASE_PACKET and self.features & ~offered == 0


class Established(NamedTuple):
    """What an accepted attempt yields."""

    accepted: Accepted
    keys: Keys


class Attempt:
    """One attempt to connect: makes the HELLO, checks the answers (sections 3 to 7)."""

    def __init__(
        self,
        bundle_token: bytes,
        psk: bytes,
        suite: CipherSuite,
        client_time: int,
        *,
        private_key: bytes | None = None,
        channel_hash: int | None = None,
        schema_hash: int | None = None,
        version: int = PROTOCOL_VERSION,
        highest: int = PROTOCOL_VERSION,
        features: int = ALL_FEATURES,
        longest_packet: int = MAX_PACKET,
    ) -> None:
        self.suite = suite
        self.offered = int(features)
        self._psk = psk
        self._private = X25519PrivateKey.from_private_bytes(private_key or os.urandom(32))
        self._spent = False
        self._channel_hash = STANDARD_CHANNELS_HASH if channel_hash is None else channel_hash
        self._schema_hash = STANDARD_SCHEMA.hash() if schema_hash is None else schema_hash
        self.mac_key = handshake_mac_key(psk)
        self.hello = Hello(
            suite,
            client_time,
            self._channel_hash,
            self._schema_hash,
            self._private.public_key().public_bytes_raw(),
            bundle_token,
            version,
            highest,
            self.offered,
            longest_packet,
        ).encode(self.mac_key)
        self.mac = self.hello[-TAG_BYTES:]
        self.retries = 0
        self.waiting = True
        self._unproven: tuple[Refusal, float] | None = None

    def receive(self, datagram: bytes, now: float) -> Established | bytes | None:
        """Handles one datagram: the connection, a HELLO to send at once (R-2), or nothing yet.

        Raises :class:`Drop` for what is dropped and :class:`Refused` when the attempt is over.
        """
        if not datagram:
            raise Drop("too_short")  # G-9
        kind = datagram[0]
        if kind == 2:
            return self._retry(datagram)
        if kind == 3:
            return self._accept(datagram)
        if kind == 4:
            self._refuse(datagram, now)
            return None
        raise Drop("not_expected" if kind >> 6 == 1 else "unknown_type")  # P-4, G-9

    def check_unproven(self, now: float) -> None:
        """Believes an unproven REFUSE one second after it came (E-3)."""
        if self._unproven and now >= self._unproven[1] + UNPROVEN_WAIT:
            self.waiting = False
            refusal = self._unproven[0]
            raise Refused(refusal.reason, False, refusal.versions)

    def _retry(self, datagram: bytes) -> bytes:
        """R-2."""
        self._check_form(datagram, RETRY_BYTES, datagram[1:4] == bytes(3))
        if self.retries == MAX_RETRIES:
            raise Drop("not_expected")
        self.retries += 1
        self.hello = with_cookie(self.hello, datagram[20:52])
        return self.hello

    def _refuse(self, datagram: bytes, now: float) -> None:
        """E-1 to E-3."""
        known = len(datagram) > 3 and datagram[1] in RefuseReason._value2member_map_
        ranged = known and datagram[1] == RefuseReason.VERSION_MISMATCH
        unranged = len(datagram) > 3 and datagram[2:4] == bytes(2)
        good = known and (unranged or ranged and 1 <= datagram[2] <= datagram[3])
        self._check_form(datagram, REFUSE_BYTES, good)
        refusal = Refusal(RefuseReason(datagram[1]), (datagram[2], datagram[3]) if ranged else None)
        if hmac.compare_digest(datagram[20:], mac16(self.mac_key, datagram[:20])):
            self.waiting = False
            raise Refused(refusal.reason, True, refusal.versions)
        self._unproven = self._unproven or (refusal, now)

    def _accept(self, datagram: bytes) -> Established:
        """A-1 to A-7."""
        self._check_form(datagram, ACCEPT_BYTES, datagram[1:4] == bytes(3))
        if not hmac.compare_digest(datagram[136:], mac16(self.mac_key, datagram[:136])):
            raise Drop("bad_mac")
        if self._spent:  # A-4
            raise Drop("not_expected")
        self._spent = True
        keys = self.keys_for(datagram)
        accepted = Accepted.decode(keys.handshake.open(0, datagram[52:136], datagram[:52]))
        if not accepted.is_sound(self.offered):
            raise Drop("malformed")
        self.waiting = False
        if accepted.channel_hash != self._channel_hash:
            raise Refused(RefuseReason.CHANNEL_MISMATCH, proven=True)
        if accepted.schema_hash != self._schema_hash:
            raise Refused(RefuseReason.SCHEMA_MISMATCH, proven=True)
        return Established(accepted, keys)

    def keys_for(self, accept: bytes) -> Keys:
        """X25519 with the ACCEPT's key, then the key schedule (A-5, K-2)."""
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(accept[20:52]))
        except ValueError:  # the result is all zero
            raise Drop("auth_failed") from None
        return derive_keys(self.suite, transcript(self.hello, accept), shared, self._psk)

    def _check_form(self, datagram: bytes, length: int, reserved_zero: bool) -> None:
        """The first checks of every answer: A-1 to A-3, R-2, E-1."""
        if not self.waiting:
            raise Drop("not_expected")
        if len(datagram) != length:
            raise Drop("wrong_length")
        if not reserved_zero:
            raise Drop("reserved_bits")
        if datagram[4:20] != self.mac:
            raise Drop("not_expected")


class SendKeys:
    """The sender's keys of one direction, phase by phase (K-4, K-5)."""

    def __init__(self, suite: CipherSuite, secret: bytes, roll_packets: int = ROLL_PACKETS) -> None:
        self.phase = 0
        self.key = phase_key(suite, secret)
        self._suite = suite
        self._secret = secret
        self._roll_packets = roll_packets
        self._first = 0  # the first number of this phase
        self._since: float | None = None
        self._acknowledged = False

    def roll(self, number: int, now: float) -> None:
        """Goes on to the next phase, if it is time to; ``number`` is the next packet's."""
        self._since = now if self._since is None else self._since
        due = number - self._first >= self._roll_packets or now - self._since >= ROLL_SECONDS
        if due and self._acknowledged:
            self._secret = next_secret(self._secret)
            self.key = phase_key(self._suite, self._secret)
            self.phase, self._first, self._since, self._acknowledged = self.phase + 1, number, now, False

    def acknowledged(self, number: int) -> None:
        """Notes that a packet of this side was acknowledged."""
        self._acknowledged = self._acknowledged or number >= self._first


class ReceiveKeys:
    """The receiver's keys of one direction (K-6)."""

    def __init__(self, suite: CipherSuite, secret: bytes) -> None:
        self.phase = 0
        self._suite = suite
        self._present = phase_key(suite, secret)
        self._next_secret = next_secret(secret)
        self._next: SealingKey | None = None
        self._before: SealingKey | None = None
        self._before_until = 0.0
        self._lowest = PACKET_NUMBER_END  # of the numbers that the present phase has opened

    def open(self, number: int, bit: int, sealed: bytes, aad: bytes, now: float) -> bytes:
        """The plaintext of a packet with this phase bit; only one key is tried (P-7)."""
        if self._before is not None and now >= self._before_until:
            self._before = None
        if bit == self.phase & 1:
            plain = self._present.open(number, sealed, aad)
            self._lowest = min(self._lowest, number)
            return plain
        if self._before is not None and number < self._lowest:
            return self._before.open(number, sealed, aad)
        if self._next is None:
            self._next = phase_key(self._suite, self._next_secret)
        plain = self._next.open(number, sealed, aad)
        self._before, self._before_until = self._present, now + OLD_KEY_SECONDS
        self._present, self._next = self._next, None
        self._next_secret = next_secret(self._next_secret)
        self.phase, self._lowest = self.phase + 1, number
        return plain


# --- 11 Channels: the table -----------------------------------------------------------------------


class ChannelKind(IntEnum):
    """Kinds of channels (section 11)."""

    UNRELIABLE = 0
    SEQUENCED = 1
    SNAPSHOT = 2
    RELIABLE_ORDERED = 3
    RELIABLE_UNORDERED = 4
    BLOCK = 5

    @property
    def reliable(self) -> bool:
        """Whether messages go in segments (C-4)."""
        return self in (ChannelKind.RELIABLE_ORDERED, ChannelKind.RELIABLE_UNORDERED)


class Channel(NamedTuple):
    """One row of the channel table."""

    name: str
    kind: ChannelKind
    priority: int
    weight: int
    least: int
    most: int
    longest: int
    queue: int
    overflow: int = 0

    def canonical(self) -> bytes:
        """C-12."""
        numbers = (self.kind, self.priority, self.weight, self.least, self.most, self.longest, self.queue)
        return text(self.name) + struct.pack("<BBBIIIIB", *numbers, self.overflow)


STANDARD_CHANNELS = (
    Channel("snapshot", ChannelKind.SNAPSHOT, 2, 1, 512, 0, 1352, 0),
    Channel("input", ChannelKind.SEQUENCED, 1, 1, 0, 0, 128, 0),
    Channel("session", ChannelKind.RELIABLE_ORDERED, 3, 1, 0, 0, 1024, 16384),
    Channel("event", ChannelKind.RELIABLE_UNORDERED, 3, 1, 0, 0, 64, 16384),
)
LAB_CHANNELS = (
    *STANDARD_CHANNELS,
    Channel("ordered", ChannelKind.RELIABLE_ORDERED, 3, 1, 0, 0, 65536, 262144),
    Channel("unordered", ChannelKind.RELIABLE_UNORDERED, 3, 1, 0, 0, 65536, 262144),
    Channel("datagram", ChannelKind.UNRELIABLE, 4, 1, 0, 0, 8192, 65536, 1),
    Channel("state", ChannelKind.SEQUENCED, 4, 1, 0, 0, 1100, 0),
    Channel("block", ChannelKind.BLOCK, 7, 1, 0, 0, 16777216, 1048576),
)
SNAPSHOT_CHANNEL, INPUT_CHANNEL, SESSION_CHANNEL, EVENT_CHANNEL = range(4)
ORDERED_CHANNEL, UNORDERED_CHANNEL, DATAGRAM_CHANNEL, STATE_CHANNEL, BLOCK_CHANNEL = range(4, 9)


def channels_canonical(channels: Sequence[Channel]) -> bytes:
    """What the hash of the channel table is taken over (C-12)."""
    return bytes([len(channels)]) + b"".join(channel.canonical() for channel in channels)


def text(value: str) -> bytes:
    """A text: its length (1 byte) and its bytes (D-5)."""
    encoded = value.encode()
    return bytes([len(encoded)]) + encoded


STANDARD_CHANNELS_HASH = fnv1a(channels_canonical(STANDARD_CHANNELS))
LAB_CHANNELS_HASH = fnv1a(channels_canonical(LAB_CHANNELS))


# --- 8 Data packets -------------------------------------------------------------------------------


def check_header(datagram: bytes, *, to_client: bool) -> None:
    """P-1 to P-3: what can be said of a data packet without keys."""
    if not datagram:
        raise Drop("too_short")  # G-9
    if datagram[0] >> 6 != 1:
        raise Drop("unknown_type")
    if len(datagram) > MAX_PACKET:
        raise Drop("wrong_length")
    if len(datagram) < (MIN_TO_CLIENT if to_client else MIN_TO_SERVER):
        raise Drop("too_short")
    if datagram[0] & ~PHASE_FLAG != DATA_FLAGS:
        raise Drop("reserved_bits")


def seal_to_server(key: SealingKey, connection: int, number: int, plaintext: bytes, phase: int = 0) -> bytes:
    """A data packet to the server (section 8)."""
    header = struct.pack("<BIH", DATA_FLAGS | phase & PHASE_FLAG, connection, number & 0xFFFF)
    return header + key.seal(number, plaintext, header)


def seal_to_client(key: SealingKey, number: int, plaintext: bytes, phase: int = 0) -> bytes:
    """A data packet to the client (section 8)."""
    header = struct.pack("<BH", DATA_FLAGS | phase & PHASE_FLAG, number & 0xFFFF)
    return header + key.seal(number, plaintext, header)


def open_data(key: SealingKey, number: int, datagram: bytes, *, to_client: bool) -> bytes:
    """The plaintext of a data packet whose full number and key are known (P-7)."""
    header = HEADER_TO_CLIENT if to_client else HEADER_TO_SERVER
    return key.open(number, datagram[header:], datagram[:header])


class Received:
    """Which packet numbers count as received (P-6, L-1)."""

    def __init__(self) -> None:
        self.largest = -1
        self._bits = 0  # bit i: largest - i counts as received

    def number_of(self, low: int) -> int:
        """The full number of a packet, if it may be taken (P-6)."""
        number = expand(self.largest + 1, low)
        behind = self.largest - number
        if 0 <= behind < REPLAY_WINDOW and self._bits >> behind & 1:
            raise Drop("duplicate")
        if behind >= REPLAY_WINDOW:
            raise Drop("too_old")
        return number

    def add(self, number: int) -> bool:
        """Counts a number as received; whether it is the largest now."""
        ahead = number - self.largest
        if ahead > 0:
            self._bits = (self._bits << ahead | 1) & (1 << REPLAY_WINDOW) - 1
            self.largest = number
            return True
        self._bits |= 1 << -ahead
        return False

    def mask(self) -> int:
        """The 32 numbers below the largest; those below zero count (L-1)."""
        below_zero = MASK_ALL << self.largest & MASK_ALL if self.largest < MASK_BITS else 0
        return self._bits >> 1 & MASK_ALL | below_zero


# --- 9 Inside a packet ----------------------------------------------------------------------------


class CloseReason(IntEnum):
    """Reasons of a close (section 9)."""

    REQUESTED = 0
    SERVER_SHUTDOWN = 1
    PROTOCOL_ERROR = 2
    ZONE_FULL = 3
    KICKED = 4
    REPLACED = 5


class Ack(NamedTuple):
    """The ack block of a preamble, as on the wire."""

    largest: int
    delay: int
    mask: int


@dataclass(frozen=True)
class Part:
    """Head of a part of an unreliable message (C-2)."""

    id: int
    last: int
    index: int


@dataclass(frozen=True)
class Segment:
    """Head of a segment of a reliable message, its number without expansion (C-4)."""

    number: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Chunk:
    """Head of a chunk of a block (C-9)."""

    id: int
    total: int
    index: int


@dataclass(frozen=True)
class Credit:
    """Head of a credit (C-10)."""

    id: int
    limit: int


@dataclass(frozen=True)
class Cancel:
    """Head of a cancel (C-11)."""

    id: int
    by_sender: bool


Head = Part | Segment | Chunk | Credit | Cancel | None


@dataclass(frozen=True)
class Message:
    """A message, or a piece of one, on a channel."""

    channel: int
    body: bytes
    head: Head = None


@dataclass(frozen=True)
class Snapshot:
    """A snapshot, up to the packet's end (F-4)."""

    body: bytes


@dataclass(frozen=True)
class Ping:
    """Asks for an ack."""


@dataclass(frozen=True)
class Close:
    """Ends the connection (W-5)."""

    reason: CloseReason


@dataclass(frozen=True)
class PathChallenge:
    """Asks whether the client can be reached at an address (W-7)."""

    data: bytes


@dataclass(frozen=True)
class PathResponse:
    """The answer (W-8)."""

    data: bytes


@dataclass(frozen=True)
class MtuProbe:
    """Zeros up to the packet's end (L-8)."""


@dataclass(frozen=True)
class TimeRequest:
    """Asks for the server's time (W-9)."""

    at_once: bool
    client_time: int


@dataclass(frozen=True)
class TimeReply:
    """The answer: when the request arrived, and how long it waited, in microseconds."""

    client_time: int
    server_time: int
    held: int


Control = Ping | Close | PathChallenge | PathResponse | MtuProbe | TimeRequest | TimeReply
Frame = Message | Snapshot | Control
CONTROL_KINDS: dict[type, int] = {
    Ping: 0,
    Close: 1,
    PathChallenge: 2,
    PathResponse: 3,
    MtuProbe: 4,
    TimeRequest: 5,
    TimeReply: 6,
}
NEEDED_FEATURE = {MtuProbe: Features.MTU, TimeRequest: Features.CLOCK, TimeReply: Features.CLOCK}
TO_CLIENT_ONLY: tuple[type, ...] = (Snapshot, PathChallenge, TimeReply)
TO_SERVER_ONLY: tuple[type, ...] = (PathResponse, TimeRequest)


@dataclass(frozen=True)
class Plaintext:
    """Preamble and frames; all numbers as on the wire."""

    ack: Ack | None = None
    tick: int | None = None
    frames: tuple[Frame, ...] = ()

    def encode(self, channels: Sequence[Channel] | None = None, length: int = 0) -> bytes:
        """Writes the bit stream of section 9; an mtu probe at its end fills up to ``length`` bytes."""
        out = BitWriter()
        write_preamble(out, self.ack, self.tick)
        for frame in self.frames:
            write_frame(out, frame, STANDARD_CHANNELS if channels is None else channels)
        return out.finish().ljust(length, b"\0")

    @classmethod
    def decode(
        cls,
        data: bytes,
        *,
        to_client: bool = True,
        channels: Sequence[Channel] | None = None,
        features: int = ALL_FEATURES,
    ) -> Plaintext:
        """Parses a plaintext, F-1 to F-9; raises :class:`Malformed`."""
        stream = BitReader(data)
        try:
            ack, tick = read_ack(stream), read_tick(stream)
        except EndOfData:
            raise Malformed("F-1") from None
        rules = FrameRules(to_client, STANDARD_CHANNELS if channels is None else channels, features)
        return cls(ack, tick, tuple(read_frames(stream, rules)))


class FrameRules(NamedTuple):
    """What decides which frames may come."""

    to_client: bool
    channels: Sequence[Channel]
    features: int


def read_ack(stream: BitReader) -> Ack | None:
    """The ack block of the preamble."""
    if not stream.flag():
        return None
    largest, delay = stream.bits(16), stream.bits(8)
    return Ack(largest, delay, MASK_ALL if stream.flag() else stream.bits(MASK_BITS))


def read_tick(stream: BitReader) -> int | None:
    """The tick of the preamble."""
    return stream.bits(16) if stream.flag() else None


def write_preamble(out: BitWriter, ack: Ack | None, tick: int | None) -> None:
    """The preamble (section 9)."""
    out.bits(ack is not None, 1)
    if ack:
        every = ack.mask == MASK_ALL
        out.bits(ack.largest, 16).bits(ack.delay, 8).bits(every, 1)
        if not every:
            out.bits(ack.mask, MASK_BITS)
    out.bits(tick is not None, 1)
    if tick is not None:
        out.bits(tick, 16)


def read_frames(stream: BitReader, rules: FrameRules) -> list[Frame]:
    """The frames up to the end of the packet (F-2, F-8)."""
    frames: list[Frame] = []
    while stream.left or not frames:
        try:
            more = stream.flag()
        except EndOfData:
            raise Malformed("F-2") from None
        if not more:
            if not stream.only_padding_left():
                raise Malformed("F-2")
            break
        if len(frames) == MAX_FRAMES:
            raise Malformed("F-8")
        frames.append(read_frame(stream, rules))
    return frames


def read_frame(stream: BitReader, rules: FrameRules) -> Frame:
    """One frame behind its ``more`` (F-3 to F-9)."""
    try:
        if not stream.flag():
            return read_message(stream, rules.channels)
        is_snapshot = stream.flag()
        frame = read_snapshot(stream, rules.channels) if is_snapshot else read_control(stream, rules.features)
    except EndOfData:
        raise Malformed("F-5") from None
    if isinstance(frame, TO_SERVER_ONLY if rules.to_client else TO_CLIENT_ONLY):
        raise Malformed("F-9")
    return frame


def read_snapshot(stream: BitReader, channels: Sequence[Channel]) -> Snapshot:
    """A snapshot behind its form (F-4)."""
    longest = [channel.longest for channel in channels if channel.kind is ChannelKind.SNAPSHOT]
    if not longest or stream.bits(-stream.position % 8) != 0:
        raise Malformed("F-4")
    length = stream.left // 8
    if not 1 <= length <= longest[0]:
        raise Malformed("F-4")
    return Snapshot(stream.octets(length))


def read_control(stream: BitReader, features: int) -> Control:
    """A control frame behind its form (F-7)."""
    kinds = {number: kind for kind, number in CONTROL_KINDS.items()}
    kind = kinds.get(stream.bits(4))
    if kind is None or NEEDED_FEATURE.get(kind, 0) & ~features:
        raise Malformed("F-7")
    if kind is Ping:
        return Ping()
    if kind is Close:
        reason = stream.bits(8)
        if reason not in CloseReason._value2member_map_:
            raise Malformed("F-7")
        return Close(CloseReason(reason))
    if kind is MtuProbe:
        if stream.bits(stream.left) != 0:
            raise Malformed("F-7")
        return MtuProbe()
    if kind is TimeRequest:
        return TimeRequest(stream.flag(), stream.bits(32))
    if kind is TimeReply:
        return TimeReply(stream.bits(32), stream.bits(64), stream.bits(32))
    data = stream.octets(8)
    return PathChallenge(data) if kind is PathChallenge else PathResponse(data)


def read_message(stream: BitReader, channels: Sequence[Channel]) -> Message:
    """A message behind its form (F-3 to F-6)."""
    index = stream.bits(4)
    if index >= len(channels):
        raise Malformed("F-3")
    channel = channels[index]
    if channel.kind is ChannelKind.SNAPSHOT:
        raise Malformed("F-4")
    length = stream.bits(11 if stream.flag() else 6)
    head = read_head(stream, channel.kind)
    if length > longest_payload(channel, head):
        raise Malformed("F-6")
    return Message(index, stream.octets(length), head)


def longest_payload(channel: Channel, head: Head) -> int:
    """F-6."""
    if head is None:
        return channel.longest
    return PIECE if isinstance(head, Part | Segment | Chunk) else 0


def read_head(stream: BitReader, kind: ChannelKind) -> Head:
    """The head of a message on a channel of this kind (section 9, F-6)."""
    if kind.reliable:
        return Segment(stream.bits(16), stream.flag(), stream.flag())
    if kind is ChannelKind.UNRELIABLE and stream.flag():
        part = Part(stream.bits(16), stream.bits(3), stream.bits(3))
        if part.last == 0 or part.index > part.last:
            raise Malformed("F-6")
        return part
    return read_block_head(stream) if kind is ChannelKind.BLOCK else None


def read_block_head(stream: BitReader) -> Chunk | Credit | Cancel:
    """The head of a frame on a block channel."""
    op, block = stream.bits(2), stream.bits(16)
    if op == 0:
        return Chunk(block, stream.bits(24) + 1, stream.bits(14))
    if op == 1:
        return Credit(block, stream.bits(15))
    if op == 2:
        return Cancel(block, stream.flag())
    raise Malformed("F-6")


def write_frame(out: BitWriter, frame: Frame, channels: Sequence[Channel]) -> None:
    """One frame with its ``more`` (section 9)."""
    out.bits(1, 1)
    if isinstance(frame, Message):
        write_message(out.bits(0, 1), frame, channels[frame.channel].kind)
    elif isinstance(frame, Snapshot):
        out.bits(0b11, 2).align().octets(frame.body)
    else:
        write_control(out.bits(0b01, 2), frame)


def write_control(out: BitWriter, frame: Control) -> None:
    """A control frame behind its form."""
    out.bits(CONTROL_KINDS[type(frame)], 4)
    match frame:
        case Close(reason):
            out.bits(reason, 8)
        case PathChallenge(data) | PathResponse(data):
            out.octets(data)
        case TimeRequest(at_once, client_time):
            out.bits(at_once, 1).bits(client_time, 32)
        case TimeReply(client_time, server_time, held):
            out.bits(client_time, 32).bits(server_time, 64).bits(held, 32)


def write_message(out: BitWriter, frame: Message, kind: ChannelKind) -> None:
    """A message behind its form."""
    is_long = len(frame.body) > 63
    out.bits(frame.channel, 4).bits(is_long, 1).bits(len(frame.body), 11 if is_long else 6)
    write_head(out, frame.head, kind)
    out.octets(frame.body)


def write_head(out: BitWriter, head: Head, kind: ChannelKind) -> None:
    """The head of a message on a channel of this kind."""
    if kind is ChannelKind.UNRELIABLE:
        out.bits(head is not None, 1)
    match head:
        case Part(number, last, index):
            out.bits(number, 16).bits(last, 3).bits(index, 3)
        case Segment(number, first, last):
            out.bits(number, 16).bits(first, 1).bits(last, 1)
        case Chunk(number, total, index):
            out.bits(0, 2).bits(number, 16).bits(total - 1, 24).bits(index, 14)
        case Credit(number, limit):
            out.bits(1, 2).bits(number, 16).bits(limit, 15)
        case Cancel(number, by_sender):
            out.bits(2, 2).bits(number, 16).bits(by_sender, 1)


# --- 11 Channels: receiving -----------------------------------------------------------------------


class SequencedReceiver:
    """A sequenced channel's receiving end (C-1)."""

    def __init__(self) -> None:
        self._last = -1

    def accept(self, packet_number: int) -> bool:
        """Whether a message of this packet is delivered."""
        if packet_number <= self._last:
            return False
        self._last = packet_number
        return True


@dataclass
class Incomplete:
    """A message of which some parts are here (C-2)."""

    last: int
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return sum(map(len, self.parts.values()))


class PartsReceiver:
    """Puts unreliable messages together (C-2, C-3)."""

    def __init__(self, channel: Channel) -> None:
        self._longest = channel.longest
        self._queue = channel.queue
        self._greatest = 0
        self._held: dict[int, Incomplete] = {}
        self._done: set[int] = set()  # delivered or given up, among the newest

    def receive(self, part: Part, body: bytes) -> bytes | None:
        """The message, if this was the part that was missing."""
        full = part.index < part.last
        if len(body) == 0 or full and len(body) != PIECE:
            raise Malformed("C-3")
        if part.last * PIECE + (1 if full else len(body)) > self._longest:
            raise Malformed("C-3")
        number = expand(self._greatest, part.id)
        if number in self._done or number <= self._greatest - PARTS_BEHIND:
            return None
        message = self._held.setdefault(number, Incomplete(part.last))
        if message.last != part.last:
            raise Malformed("C-3")
        message.parts[part.index] = body
        self._move_on(number)
        if len(message.parts) == message.last + 1:
            self._forget(number)
            return b"".join(body for _, body in sorted(message.parts.items()))
        while len(self._held) > MAX_INCOMPLETE or sum(m.size for m in self._held.values()) > self._queue:
            self._forget(min(self._held))
        return None

    def _move_on(self, number: int) -> None:
        """Notes the greatest id; what is too far below it is forgotten."""
        self._greatest = max(self._greatest, number)
        oldest = self._greatest - PARTS_BEHIND + 1
        self._held = {i: message for i, message in self._held.items() if i >= oldest}
        self._done = {i for i in self._done if i >= oldest}

    def _forget(self, number: int) -> None:
        del self._held[number]
        self._done.add(number)


class Flags(NamedTuple):
    """What is remembered of a segment: where messages begin and end."""

    first: bool
    last: bool


class ReliableReceiver:
    """A reliable channel's receiving end, ordered or unordered (C-4 to C-7)."""

    def __init__(self, channel: Channel) -> None:
        self.expected = 0
        self._ordered = channel.kind is ChannelKind.RELIABLE_ORDERED
        self._longest = channel.longest
        self._queue = channel.queue
        self._deliver_next = 0  # ordered: the number that the next message begins with
        self._flags: dict[int, Flags] = {}  # received: from expected - 1 on, and what is held
        self._bodies: dict[int, bytes] = {}  # held: not delivered yet

    @property
    def held_bytes(self) -> int:
        """What C-7 counts."""
        return sum(map(len, self._bodies.values()))

    def receive(self, segment: Segment, body: bytes) -> list[bytes]:
        """The messages that are delivered by this one, in order."""
        number = expand(self.expected, segment.number)
        if number < self.expected or number in self._flags:  # C-5
            return []
        self._check(number, segment, body)
        self._flags[number] = Flags(segment.first, segment.last)
        self._bodies[number] = body
        if sum(len(self._bodies[i]) for i in self._run(number)) > self._longest:
            del self._flags[number], self._bodies[number]
            raise Malformed("C-7")
        while self.expected in self._flags:
            self.expected += 1
        delivered = self._deliver_in_order() if self._ordered else self._deliver_whole(number)
        for old in [i for i in self._flags if i < self.expected - 1 and i not in self._bodies]:
            del self._flags[old]
        return delivered

    def _check(self, number: int, segment: Segment, body: bytes) -> None:
        """C-7, but for the length of the message."""
        before, after = self._flags.get(number - 1), self._flags.get(number + 1)
        begins = number == 0 if before is None else before.last
        known_before = number == 0 or before is not None
        faults = (
            number >= self.expected + RELIABLE_WINDOW,
            self.held_bytes + len(body) > self._queue,
            not segment.last and len(body) != PIECE,
            len(body) == 0 and not (segment.first and segment.last),
            known_before and segment.first != begins,
            after is not None and after.first != segment.last,
        )
        if any(faults):
            raise Malformed("C-7")

    def _run(self, number: int) -> range:
        """The held segments around one that belong to its message."""
        start = end = number
        while not self._flags[start].first and start - 1 in self._bodies:
            start -= 1
        while not self._flags[end].last and end + 1 in self._bodies:
            end += 1
        return range(start, end + 1)

    def _take(self, run: range) -> list[bytes]:
        """Delivers a run, if it is a whole message."""
        if not (self._flags[run[0]].first and self._flags[run[-1]].last):
            return []
        return [b"".join(self._bodies.pop(i) for i in run)]

    def _deliver_whole(self, number: int) -> list[bytes]:
        """C-6, unordered."""
        return self._take(self._run(number))

    def _deliver_in_order(self) -> list[bytes]:
        """C-6, ordered."""
        delivered: list[bytes] = []
        while self._deliver_next in self._bodies:
            run = self._run(self._deliver_next)
            message = self._take(run)
            if not message:
                break
            delivered += message
            self._deliver_next = run.stop
        return delivered


def block_window(channel: Channel) -> int:
    """By how many chunks a block's receiver is ahead (C-10)."""
    return min(max(channel.queue // PIECE, LEAST_WINDOW), MOST_WINDOW)


class BlockReceiver:
    """A block channel's receiving end (C-9 to C-11)."""

    def __init__(self, channel: Channel) -> None:
        self.present: int | None = None
        self.total = 0
        self.limit = 0
        self.say: Credit | Cancel | None = None  # to be sent, until acknowledged
        self._longest = channel.longest
        self._window = block_window(channel)
        self._over = -1  # the greatest number of a block that is over
        self._chunks: dict[int, bytes] = {}
        self._in_order = 0

    def receive(self, chunk: Chunk, body: bytes) -> bytes | None:
        """The block, if this was the chunk that was missing."""
        number = expand(self._over + 1, chunk.id)
        if number <= self._over:
            return None
        if number != self.present:
            self._begin(number, chunk.total)
        chunks = -(-self.total // PIECE)
        length = min(PIECE, self.total - chunk.index * PIECE)
        if chunk.total != self.total or chunk.index >= min(chunks, self.limit) or len(body) != length:
            raise Malformed("C-10")
        self._chunks[chunk.index] = body
        while self._in_order in self._chunks:
            self._in_order += 1
        wanted, done = self._in_order + self._window, self._in_order == chunks
        if done or 4 * (wanted - self.limit) >= self._window:
            self.limit, self.say = wanted, Credit(number & 0xFFFF, wanted)
        if not done:
            return None
        self._end(number)
        return b"".join(self._chunks[i] for i in range(chunks))

    def cancelled(self, cancel: Cancel) -> None:
        """The sender gives a block up, perhaps one of which no chunk came (C-11)."""
        number = expand(self._over + 1, cancel.id)
        if number > self._over:
            self.say = None
            self._end(number)

    def cancel(self) -> None:
        """This side wants no more of the present block (C-11)."""
        if self.present is not None:
            self.say = Cancel(self.present & 0xFFFF, by_sender=False)
            self._end(self.present)

    def _begin(self, number: int, total: int) -> None:
        """A block that is later than the present one ends that (C-9)."""
        if total > self._longest:
            raise Malformed("C-10")
        self._end(number - 1)
        self.present, self.total, self.limit = number, total, self._window
        self._chunks, self._in_order, self.say = {}, 0, None

    def _end(self, number: int) -> None:
        """This block, and all before it, are over."""
        self._over = max(self._over, number)
        if self.present is not None and self.present <= self._over:
            self.present = None


# --- 11 Channels: sending -------------------------------------------------------------------------

Outcome = Callable[[bool], None]  # told True when a packet was acknowledged, False when it counts as lost


def ignore(_acknowledged: bool) -> None:
    """What becomes of it is of no interest."""


def frame_bits(frame: Frame, channels: Sequence[Channel]) -> int:
    """The length of a frame that is no snapshot."""
    out = BitWriter()
    write_frame(out, frame, channels)
    return out.position


class Packer:
    """Collects frames for one packet."""

    def __init__(self, channels: Sequence[Channel], room_bits: int) -> None:
        self.frames: list[Frame] = []
        self.outcomes: list[Outcome] = []
        self._channels = channels
        self._room = room_bits

    def add(self, frame: Frame, outcome: Outcome = ignore) -> bool:
        """Adds a frame, if there is room."""
        bits = frame_bits(frame, self._channels)
        if bits > self._room or len(self.frames) == MAX_FRAMES:
            return False
        self._room -= bits
        self.frames.append(frame)
        self.outcomes.append(outcome)
        return True


class DatagramSender:
    """The sending end of unreliable and sequenced channels (C-1, C-2)."""

    def __init__(self, index: int, channel: Channel) -> None:
        self._index = index
        self._longest = channel.longest
        self._parts = channel.kind is ChannelKind.UNRELIABLE
        self._counter = 0
        self._queue: deque[Message] = deque()

    def send(self, message: bytes) -> None:
        """Queues a message; only the newest of a sequenced channel."""
        if len(message) > self._longest:
            raise ValueError("longer than the channel allows")
        if not self._parts:
            self._queue.clear()
        if not self._parts or len(message) <= PIECE:
            self._queue.append(Message(self._index, message))
            return
        pieces = cut(message)
        for i, piece in enumerate(pieces):
            self._queue.append(Message(self._index, piece, Part(self._counter & 0xFFFF, len(pieces) - 1, i)))
        self._counter += 1

    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue)

    def fill(self, packer: Packer) -> None:
        """Adds what fits; each message once."""
        while self._queue and packer.add(self._queue[0]):
            self._queue.popleft()


def cut(message: bytes) -> list[bytes]:
    """Pieces of 1024 bytes, the last one with what is left; one of an empty message."""
    return [message[at : at + PIECE] for at in range(0, len(message), PIECE)] or [b""]


@dataclass
class OutSegment:
    """A segment that is not forgotten yet."""

    head: Segment
    body: bytes
    acknowledged: bool = False


class ReliableSender:
    """A reliable channel's sending end (C-4, C-8)."""

    def __init__(self, index: int, channel: Channel) -> None:
        self._index = index
        self._longest = channel.longest
        self._queue = channel.queue
        self._next = 0
        self._waiting: deque[tuple[bytes, bool, bool]] = deque()  # not sent yet
        self._out: dict[int, OutSegment] = {}  # from the oldest message on that is not whole
        self._again: set[int] = set()

    def send(self, message: bytes) -> None:
        """Queues a message."""
        if len(message) > self._longest:
            raise ValueError("longer than the channel allows")
        pieces = cut(message)
        for i, piece in enumerate(pieces):
            self._waiting.append((piece, i == 0, i == len(pieces) - 1))

    @property
    def done(self) -> bool:
        """Whether all is acknowledged."""
        return not self._waiting and not self._out

    def waits(self) -> bool:
        """Whether there is something that may be sent now (C-8)."""
        return bool(self._again) or bool(self._waiting) and self._may_go(self._waiting[0][0])

    def fill(self, packer: Packer) -> None:
        """Adds what fits, lost segments first."""
        for number in sorted(self._again):
            if not self._put(packer, number):
                return
            self._again.discard(number)
        while self._waiting and self._may_go(self._waiting[0][0]):
            piece, first, last = self._waiting[0]
            self._out[self._next] = OutSegment(Segment(self._next & 0xFFFF, first, last), piece)
            if not self._put(packer, self._next):
                del self._out[self._next]
                return
            self._waiting.popleft()
            self._next += 1

    def _may_go(self, piece: bytes) -> bool:
        used = sum(len(segment.body) for segment in self._out.values())
        waiting = (number for number, segment in self._out.items() if not segment.acknowledged)
        in_window = self._next - next(waiting, self._next) < RELIABLE_WINDOW
        return in_window and used + len(piece) <= self._queue

    def _put(self, packer: Packer, number: int) -> bool:
        segment = self._out[number]
        message = Message(self._index, segment.body, segment.head)
        return packer.add(message, lambda acknowledged: self._outcome(number, acknowledged))

    def _outcome(self, number: int, acknowledged: bool) -> None:
        segment = self._out.get(number)
        if segment is None or segment.acknowledged:
            return
        if not acknowledged:
            self._again.add(number)
            return
        self._again.discard(number)
        segment.acknowledged = True
        self._forget()

    def _forget(self) -> None:
        """Forgets, from the oldest on, the messages that are acknowledged as a whole."""
        whole: list[int] = []
        message: list[int] = []
        for number, segment in self._out.items():  # in the order of their numbers
            if not segment.acknowledged:
                break
            message.append(number)
            if segment.head.last:
                whole, message = whole + message, []
        for number in whole:
            del self._out[number]


class BlockSender:
    """A block channel's sending end (C-9 to C-11)."""

    def __init__(self, index: int, channel: Channel) -> None:
        self.number = -1
        self.sent: list[int] = []  # numbers of the blocks that were received
        self.refused: list[int] = []  # those that the receiver did not want
        self._index = index
        self._longest = channel.longest
        self._window = block_window(channel)
        self._blocks: deque[bytes] = deque()
        self._data = b""  # of the present block; empty if there is none
        self._limit = 0
        self._next = 0
        self._acknowledged: set[int] = set()
        self._again: set[int] = set()
        self._cancels: list[Cancel] = []  # to be sent, until acknowledged

    def send(self, block: bytes) -> None:
        """Queues a block."""
        if not 1 <= len(block) <= self._longest:
            raise ValueError("a block of 1 byte up to what the channel allows")
        self._blocks.append(block)
        if not self._data:
            self._begin_next()

    @property
    def done(self) -> bool:
        """Whether nothing is on its way."""
        return not self._data

    def cancel(self) -> None:
        """Gives the present block up (C-11)."""
        if self._data:
            self._cancels.append(Cancel(self.number & 0xFFFF, by_sender=True))
            self._begin_next()

    def credit(self, credit: Credit) -> None:
        """C-10; the highest one says that the block is received."""
        if not self._is_present(credit.id):
            return
        if credit.limit > self._next + self._window:
            raise Malformed("C-10")
        self._limit = max(self._limit, credit.limit)
        if self._limit == self._count + self._window:
            self.sent.append(self.number)
            self._begin_next()

    def cancelled(self, cancel: Cancel) -> None:
        """The receiver wants no more of a block (C-11)."""
        if self._is_present(cancel.id):
            self.refused.append(self.number)
            self._begin_next()

    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._cancels or self._again) or self._next < min(self._limit, self._count)

    def fill(self, packer: Packer) -> None:
        """Adds what fits, lost chunks first."""
        while self._cancels:
            if not self._put_cancel(packer, self._cancels[0]):
                return
            self._cancels.pop(0)
        for index in sorted(self._again):
            if not self._put(packer, index):
                return
            self._again.discard(index)
        while self._next < min(self._limit, self._count) and self._put(packer, self._next):
            self._next += 1

    @property
    def _count(self) -> int:
        return -(-len(self._data) // PIECE)

    def _is_present(self, low: int) -> bool:
        """Whether this is the present block; one of which nothing was sent is malformed (C-11)."""
        number = expand(max(self.number, 0), low)
        present = number == self.number and bool(self._data)
        if number > self.number or present and self._next == 0:
            raise Malformed("C-11")
        return present

    def _begin_next(self) -> None:
        """The present block is over."""
        self._data, self._next = b"", 0
        self._acknowledged, self._again = set(), set()
        if self._blocks:
            self._data, self._limit, self.number = self._blocks.popleft(), self._window, self.number + 1

    def _put(self, packer: Packer, index: int) -> bool:
        number = self.number
        head = Chunk(number & 0xFFFF, len(self._data), index)
        message = Message(self._index, self._data[index * PIECE : (index + 1) * PIECE], head)
        return packer.add(message, lambda acknowledged: self._outcome(number, index, acknowledged))

    def _outcome(self, number: int, index: int, acknowledged: bool) -> None:
        if number != self.number or not self._data or index in self._acknowledged:
            return
        if acknowledged:
            self._acknowledged.add(index)
            self._again.discard(index)
        else:
            self._again.add(index)

    def _put_cancel(self, packer: Packer, cancel: Cancel) -> bool:
        message = Message(self._index, b"", cancel)
        return packer.add(message, lambda acknowledged: self._cancel_outcome(cancel, acknowledged))

    def _cancel_outcome(self, cancel: Cancel, acknowledged: bool) -> None:
        if not acknowledged and cancel not in self._cancels:
            self._cancels.append(cancel)


class BlockSayer:
    """Sends what a block's receiver says, until it is acknowledged (C-10, C-11)."""

    def __init__(self, index: int, receiver: BlockReceiver) -> None:
        self._index = index
        self._receiver = receiver
        self._sent: Credit | Cancel | None = None

    def waits(self) -> bool:
        """Whether there is something to send."""
        return self._receiver.say is not None and self._receiver.say is not self._sent

    def fill(self, packer: Packer) -> None:
        """Adds a credit or a cancel."""
        said = self._receiver.say
        if said is None or said is self._sent:
            return
        message = Message(self._index, b"", said)
        if packer.add(message, lambda acknowledged: self._outcome(said, acknowledged)):
            self._sent = said

    def _outcome(self, said: Credit | Cancel, acknowledged: bool) -> None:
        if self._receiver.say is not said:
            return
        if acknowledged:
            self._receiver.say = None
        self._sent = None


Sender = DatagramSender | ReliableSender | BlockSender | BlockSayer


# --- 13 Schema ------------------------------------------------------------------------------------

State = tuple[int, ...]


class Linear(NamedTuple):
    """The linear predictor (D-4)."""

    velocity: int
    numerator: int


class Fall(NamedTuple):
    """The predictor of a velocity that gravity takes hold of (D-4)."""

    gravity: int
    terminal: int
    flags: int
    supported: int


@dataclass(frozen=True)
class Field:
    """One field of a kind or of the input (D-1 to D-4)."""

    name: str
    bits: int
    signed: bool
    wraps: bool
    scale: int
    unit: str
    group: int
    order: int
    predictor: Linear | Fall | None = None
    owners: bool = False

    @property
    def low(self) -> int:
        """The smallest value (D-1)."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value (D-1)."""
        return (1 << self.bits - 1) - 1 if self.signed else (1 << self.bits) - 1

    def read(self, stream: BitReader) -> int:
        """The raw value."""
        return stream.signed(self.bits) if self.signed else stream.bits(self.bits)

    def into_range(self, value: int) -> int:
        """``value`` wrapped or saturated (D-2)."""
        if not self.wraps:
            return max(self.low, min(self.high, value))
        value &= (1 << self.bits) - 1
        return to_signed(value, self.bits) if self.signed else value

    def difference(self, start: int, end: int) -> int:
        """From ``start`` to ``end``; around a cyclic field the shorter way."""
        return to_signed((end - start) % (1 << self.bits), self.bits) if self.wraps else end - start

    def canonical(self) -> bytes:
        """D-5."""
        numbers = struct.pack("<BBBI", self.bits, self.signed, self.wraps, self.scale)
        rest = bytes([self.group, self.owners, self.order])
        match self.predictor:
            case Linear():
                predictor = struct.pack("<BBi", 1, *self.predictor)
            case Fall():
                predictor = struct.pack("<BiiBi", 2, *self.predictor)
            case None:
                predictor = b"\0"
        return text(self.name) + numbers + text(self.unit) + rest + predictor


@dataclass(frozen=True)
class Kind:
    """A kind of entity."""

    name: str
    fields: tuple[Field, ...]

    def groups(self, owner: bool) -> list[int]:
        """The groups of the fields that a receiver gets, ascending (S-6)."""
        return sorted({f.group for f in self.fields if owner or not f.owners})

    def moved_on(self, state: State, ticks: int, rate: int) -> State:
        """What becomes of ``state`` in so many ticks (D-6)."""
        ticks = min(ticks, MOST_TICKS)
        falls = any(has_hold(f, state) for f in self.fields)
        if not falls:
            return self._travelled(state, ticks, rate)
        for _ in range(min(ticks, FALL_TICKS)):
            state = self._travelled(self._fallen(state, rate), 1, rate)
        return state

    def _fallen(self, state: State, rate: int) -> State:
        """One tick of gravity (D-6)."""
        return tuple(
            f.into_range(max(value - (f.predictor.gravity + rate // 2) // rate, -f.predictor.terminal))
            if isinstance(f.predictor, Fall) and has_hold(f, state)
            else value
            for f, value in zip(self.fields, state)
        )

    def _travelled(self, state: State, ticks: int, rate: int) -> State:
        """So many ticks of linear motion (D-6)."""
        return tuple(
            f.into_range(value + (state[p.velocity] * p.numerator + rate // 2) // rate * ticks)
            if isinstance(p := f.predictor, Linear)
            else value
            for f, value in zip(self.fields, state)
        )


def has_hold(f: Field, state: State) -> bool:
    """Whether gravity has hold of this field (D-4)."""
    return isinstance(f.predictor, Fall) and not state[f.predictor.flags] & f.predictor.supported


@dataclass(frozen=True)
class Schema:
    """What is replicated (section 13)."""

    kinds: tuple[Kind, ...]
    input: tuple[Field, ...]

    def canonical(self) -> bytes:
        """What the hash is taken over (D-5)."""
        kinds = b"".join(text(kind.name) + fields_canonical(kind.fields) for kind in self.kinds)
        return bytes([len(self.kinds)]) + kinds + fields_canonical(self.input)

    def hash(self) -> int:
        """D-5."""
        return fnv1a(self.canonical())


def fields_canonical(fields: Sequence[Field]) -> bytes:
    """Their number, and each (D-5)."""
    return bytes([len(fields)]) + b"".join(f.canonical() for f in fields)


def _body_fields(velocity_bits: int = 12) -> tuple[Field, ...]:
    """The fields that all kinds have in common."""

    def position(name: str, bits: int, group: int, velocity: int) -> Field:
        return Field(name, bits, True, False, 256, "m", group, 0, Linear(velocity, 4))

    def velocity(name: str, group: int, order: int, fall: Fall | None = None) -> Field:
        return Field(name, velocity_bits, True, False, 64, "m/s", group, order, fall)

    return (
        position("x", 21, 0, 3),
        position("y", 18, 1, 4),
        position("z", 21, 0, 5),
        velocity("vx", 0, 8),
        velocity("vy", 1, 10, Fall(1280, 1920, 7, 1)),
        velocity("vz", 0, 8),
        Field("yaw", 12, False, True, 4096, "turn", 2, 9),
        Field("flags", 11, False, False, 1, "bits", 3, 0),
    )


def _count(
    name: str, bits: int, group: int, unit: str = "number", scale: int = 1, owners: bool = False
) -> Field:
    """What seldom changes."""
    return Field(name, bits, False, False, scale, unit, group, 0, owners=owners)


STANDARD_SCHEMA = Schema(
    kinds=(
        Kind(
            "player",
            (
                *_body_fields(),
                Field("pitch", 7, True, False, 128, "turn", 2, 0),
                _count("health", 7, 4, "full", 100),
                _count("level", 6, 4),
                _count("stamina", 6, 5, "full", 63, owners=True),
                _count("armour", 7, 6, "full", 100, owners=True),
                _count("ready", 12, 7, "tick", owners=True),
                _count("ammo_a", 16, 7, "rounds", owners=True),
                _count("ammo_b", 16, 7, "rounds", owners=True),
            ),
        ),
        Kind("npc", (*_body_fields(), _count("archetype", 8, 5), _count("health", 7, 4, "full", 100))),
        Kind(
            "projectile",
            (
                *_body_fields(velocity_bits=14),
                _count("owner", 28, 4, "id"),
                _count("launched", 12, 4, "tick"),
                _count("ordinal", 2, 4),
            ),
        ),
        Kind("loot", (*_body_fields(), _count("item", 8, 4), _count("amount", 10, 4))),
    ),
    input=(
        Field("move_x", 5, True, False, 15, "full speed", 0, 0),
        Field("move_z", 5, True, False, 15, "full speed", 0, 0),
        Field("yaw", 16, False, True, 65536, "turn", 1, 0),
        Field("pitch", 16, True, False, 65536, "turn", 2, 0),
        _count("buttons", 8, 3, "bits"),
        _count("weapon", 4, 3),
        _count("view", 11, 4, "ticks", 32),
        _count("instant", 4, 4, "ticks", 16),
        _count("target", 28, 5, "id"),
    ),
)


# --- 14 Snapshots ---------------------------------------------------------------------------------


class Event(NamedTuple):
    """An entity that came (``spawned``) or went (``despawned``)."""

    what: str
    id: int


@dataclass
class Entity:
    """An entity in a slot, with the beginnings of its courses by tick, oldest first (S-6)."""

    id: int
    kind: int
    owner: bool
    history: list[tuple[int, State]]
    confirmed: int
    fields: Kind
    rate: int

    @property
    def state(self) -> State:
        """The newest state that is known: that of ``confirmed`` (S-11)."""
        tick, state = self.history[-1]
        return self.fields.moved_on(state, self.confirmed - tick, self.rate)

    @property
    def public_state(self) -> State:
        """What anybody sees of it (D-3)."""
        return tuple(0 if f.owners else value for f, value in zip(self.fields.fields, self.state))

    def baseline(self, newest: int) -> tuple[int, State]:
        """The newest course that began at ``newest`` or before (S-6)."""
        for tick, state in reversed(self.history):
            if tick <= newest:
                return tick, state
        raise SnapshotError("an update against a baseline that is not held")

    def push(self, tick: int, state: State, oldest_needed: int) -> None:
        """Begins a course; forgets what S-6 allows to forget."""
        kept = [entry for entry in self.history if entry[0] >= oldest_needed]
        self.history = [*kept, (tick, state)][-HISTORY:]
        self.confirmed = tick


class Ages(NamedTuple):
    """The ages of the header, which updates name in a bit or two (section 14)."""

    first: int
    second: int | None


class Despawn(NamedTuple):
    """S-4."""

    slot: int


class Spawn(NamedTuple):
    """S-5."""

    slot: int
    id: int
    kind: int
    owner: bool
    state: State


class Update(NamedTuple):
    """S-6, decoded."""

    slot: int
    baseline_tick: int
    state: State


Record = Despawn | Spawn | Update


class Decoded(NamedTuple):
    """A whole body, not applied yet."""

    margin: int | None
    complete: bool
    count: int
    records: list[Record]


@dataclass(frozen=True)
class Applied:
    """What a snapshot said, besides the states."""

    tick: int
    margin: int | None
    complete: bool
    records: int
    events: tuple[Event, ...]


class World:
    """What a client knows of the world: slots and their entities (section 14)."""

    def __init__(self, rate: int, schema: Schema = STANDARD_SCHEMA) -> None:
        self.rate = rate
        self.schema = schema
        self.slots: dict[int, Entity] = {}
        self.tick = -1
        self.tables: dict[int, compact.Tables] = {}  # by version, the newest last

    def add_tables(self, tables: compact.Tables) -> None:
        """Holds tables from now on; of three versions the oldest goes (S-15)."""
        self.tables.pop(tables.version, None)
        self.tables[tables.version] = tables
        if len(self.tables) > compact.MOST_VERSIONS:
            del self.tables[next(iter(self.tables))]

    def entity(self, entity_id: int) -> Entity | None:
        """The entity with this id."""
        return next((e for e in self.slots.values() if e.id == entity_id), None)

    def apply(self, body: bytes, tick: int) -> Applied:
        """Decodes a whole snapshot, then applies it (S-9)."""
        if tick <= self.tick:
            raise SnapshotError("the snapshot is not newer than the newest one applied")
        read = self._read_compact if body[:1] and body[0] & 1 else self._read_fast
        margin, complete, count, records = read(body, tick)
        events = self._commit(records, tick)
        if complete:  # S-11
            for entity in self.slots.values():
                entity.confirmed = tick
        self.tick = tick
        return Applied(tick, margin, complete, count, tuple(events))

    def _read_fast(self, body: bytes, tick: int) -> Decoded:
        """A body in the fast codec."""
        stream = BitReader(body)
        try:
            stream.flag()
            margin, complete, ages, count = read_header(stream)
            records = self._read_records(stream, count, tick, ages)
        except EndOfData:
            raise SnapshotError("the data ended inside a field") from None
        if not stream.only_padding_left():
            raise SnapshotError("more than zero padding behind the last record")
        return Decoded(margin, complete, count, records)

    def _read_compact(self, body: bytes, tick: int) -> Decoded:
        """A body in the compact codec (S-15)."""
        tables = self.tables.get(body[0] >> 1)
        if tables is None:
            raise SnapshotError("a codec that was not agreed on, or tables that are not held")
        decoder = compact.Decoder(self.schema, tables, body[1:])
        try:
            header = decoder.header()
            records: list[Record] = []
            slot = -1
            for _ in range(header.count):
                slot += 1 + decoder.gap()
                if slot >= SLOTS:  # S-3
                    raise SnapshotError("a slot that does not exist")
                match op := decoder.op():
                    case None:
                        records.append(Despawn(slot))
                    case int():
                        records.append(self._read_compact_update(decoder, slot, tick, op))
                    case _:
                        records.append(Spawn(slot, *op))
            decoder.finish()
        except compact.CompactError as error:
            raise SnapshotError(str(error)) from None
        return Decoded(header.margin, header.complete, header.count, records)

    def _read_compact_update(self, decoder: compact.Decoder, slot: int, tick: int, age: int) -> Update:
        """S-23."""
        entity = self._updated(slot, age)
        baseline_tick, beginning = entity.baseline(tick - age)
        base = entity.fields.moved_on(beginning, tick - age - baseline_tick, self.rate)
        state = decoder.fields(entity.kind, entity.owner, base, age, self.rate)
        return Update(slot, baseline_tick, state)

    def _updated(self, slot: int, age: int) -> Entity:
        """The entity that an update is of (S-6)."""
        if slot not in self.slots:
            raise SnapshotError("an update of an empty slot")
        if age == 0:
            raise SnapshotError("an age of 0")
        return self.slots[slot]

    def _read_records(self, stream: BitReader, count: int, tick: int, ages: Ages) -> list[Record]:
        records: list[Record] = []
        slot = -1
        for _ in range(count):
            slot += 1 + read_gap(stream)
            if slot >= SLOTS:  # S-3
                raise SnapshotError("a slot that does not exist")
            records.append(self._read_record(stream, slot, tick, ages))
        return records

    def _read_record(self, stream: BitReader, slot: int, tick: int, ages: Ages) -> Record:
        if not stream.flag():
            return self._read_update(stream, slot, tick, ages)
        return Despawn(slot) if stream.flag() else self._read_spawn(stream, slot)

    def _read_spawn(self, stream: BitReader, slot: int) -> Spawn:
        """S-5."""
        entity_id, kind = stream.bits(32), stream.bits(4)
        if kind >= len(self.schema.kinds):
            raise SnapshotError("an unknown kind")
        owner = stream.flag()
        told = {group for group in self.schema.kinds[kind].groups(owner) if stream.flag()}
        fields = self.schema.kinds[kind].fields
        state = tuple(f.read(stream) if f.group in told else 0 for f in fields)
        return Spawn(slot, entity_id, kind, owner, state)

    def _read_update(self, stream: BitReader, slot: int, tick: int, ages: Ages) -> Update:
        """S-6."""
        age = read_age(stream, ages)
        entity = self._updated(slot, age)
        kind = self.schema.kinds[entity.kind]
        changed = {group for group in kind.groups(entity.owner) if stream.flag()}
        baseline_tick, base = entity.baseline(tick - age)
        guesses = kind.moved_on(base, tick - baseline_tick, self.rate)
        state = read_residuals(stream, kind, changed, guesses, age, self.rate)
        return Update(slot, baseline_tick, state)

    def _commit(self, records: Iterable[Record], tick: int) -> list[Event]:
        """Despawns and updates happen before spawns (S-5)."""
        events: list[Event] = []
        spawns = []
        for record in records:
            match record:
                case Despawn(slot):
                    self._remove(slot, events)
                case Update(slot, baseline_tick, state):
                    self.slots[slot].push(tick, state, baseline_tick)
                case Spawn():
                    spawns.append(record)
        for spawn in spawns:
            self._spawn(spawn, tick, events)
        return events

    def _spawn(self, spawn: Spawn, tick: int, events: list[Event]) -> None:
        """S-5: a refresh, or another entity in this slot."""
        held = self.slots.get(spawn.slot)
        if held and (held.id, held.kind, held.owner) == (spawn.id, spawn.kind, spawn.owner):
            held.push(tick, spawn.state, 0)
            return
        self._remove(spawn.slot, events)
        for slot in [slot for slot, entity in self.slots.items() if entity.id == spawn.id]:
            self._remove(slot, events)
        kind, beginning = self.schema.kinds[spawn.kind], [(tick, spawn.state)]
        self.slots[spawn.slot] = Entity(spawn.id, spawn.kind, spawn.owner, beginning, tick, kind, self.rate)
        events.append(Event("spawned", spawn.id))

    def _remove(self, slot: int, events: list[Event]) -> None:
        """Empties a slot; an empty one stays so (S-4)."""
        gone = self.slots.pop(slot, None)
        if gone:
            events.append(Event("despawned", gone.id))


def read_header(stream: BitReader) -> tuple[int | None, bool, Ages, int]:
    """Margin, complete, the ages and count (section 14)."""
    margin: int | None = None
    if not stream.flag():
        margin = stream.bits(2)
    elif stream.flag():
        margin = stream.signed(8)
    complete = stream.flag()
    if not stream.flag():
        return margin, complete, Ages(0, None), 0
    ages = Ages(stream.bits(6), stream.bits(6) if stream.flag() else None)
    if ages.second == 0:
        raise SnapshotError("a second age of 0")
    return margin, complete, ages, stream.bits((4, 6, 8, 12)[stream.bits(2)])


def read_age(stream: BitReader, ages: Ages) -> int:
    """The age of an update (S-6)."""
    if stream.flag():
        return ages.first
    if ages.second is not None and stream.flag():
        return ages.second
    return stream.bits(6)


def read_gap(stream: BitReader) -> int:
    """The prefix code of a record's gap (G-4, section 14)."""
    for width in (0, 3, 6):
        if not stream.flag():
            return stream.bits(width)
    return stream.bits(12)


def read_residuals(
    stream: BitReader, kind: Kind, changed: set[int], guesses: State, age: int, rate: int
) -> State:
    """The fields of the groups that are set (S-8), those that move along another last."""
    state = list(guesses)
    last: list[tuple[int, Linear]] = []
    for i, f in enumerate(kind.fields):
        alone = sum(f.group == other.group for other in kind.fields) == 1
        if f.group not in changed:
            continue
        if f.bits == 1:
            if alone or stream.flag():
                state[i] = f.low + f.high - guesses[i]
        elif isinstance(f.predictor, Linear):
            last.append((i, f.predictor))
        else:
            state[i] = read_residual(stream, f, f.order, int(alone), guesses[i])
    share, sure = 10, 2
    for i, predictor in last:
        f, v = kind.fields[i], predictor.velocity
        change = kind.fields[v].difference(guesses[v], state[v])
        way = change * predictor.numerator * age // rate
        way = max(-FARTHEST_WAY, min(FARTHEST_WAY, way))
        likely = f.into_range(guesses[i] + way * share // 16)
        order = min(max(abs(way).bit_length() - sure, 0), f.bits)
        state[i] = read_residual(stream, f, order, 0, likely)
        if abs(way) >= TELLING_WAY:
            gone = f.difference(guesses[i], state[i]) * (1 if way > 0 else -1)
            share, sure = max(0, min(16, (16 * gone + abs(way) // 2) // abs(way))), 4
    return tuple(state)


def read_residual(stream: BitReader, f: Field, order: int, least: int, guessed: int) -> int:
    """A value in a code of that order (S-8)."""
    ones = 0
    while ones < MOST_ONES and stream.flag():
        ones += 1
    if ones == MOST_ONES:
        return f.read(stream)
    width = order + ones
    code = (1 << width) + stream.bits(width) - (1 << order) + least
    value = guessed + (-(code + 1) // 2 if code % 2 else code // 2)
    if not f.wraps and not f.low <= value <= f.high:
        raise SnapshotError("a value out of range")
    return f.into_range(value)


# --- 15 Inputs ------------------------------------------------------------------------------------


class Input(NamedTuple):
    """One tick's input (I-4)."""

    move_x: int = 0
    move_z: int = 0
    yaw: int = 0
    pitch: int = 0
    buttons: int = 0
    weapon: int = 0
    view: int = 0
    instant: int = 0
    target: int = 0


SPRINT, JUMP, FIRE, RELOAD = 1, 2, 4, 8


def encode_inputs(newest_first: Sequence[Input], schema: Schema = STANDARD_SCHEMA) -> bytes:
    """The body of an input message (I-1, I-2)."""
    out = BitWriter().bits(len(newest_first) - 1, 3)
    before: Input | None = None
    for entry in newest_first:
        if before is not None:
            out.bits(entry == before, 1)
        if entry != before:
            base = Input(*(0 for _ in schema.input)) if before is None else before
            for group in input_groups(schema):
                out.bits(differs := any(entry[i] != base[i] for i in group), 1)
                for i in group if differs else ():
                    out.bits(entry[i], schema.input[i].bits)
        before = entry
    return out.finish()


def input_groups(schema: Schema) -> list[list[int]]:
    """The fields of each group that an input has, ascending (I-1)."""
    return [
        [i for i, f in enumerate(schema.input) if f.group == group]
        for group in sorted({f.group for f in schema.input})
    ]


def decode_inputs(body: bytes, schema: Schema = STANDARD_SCHEMA) -> list[Input]:
    """The inputs of a message, newest first (I-1); raises :class:`EndOfData` or :class:`ValueError`."""
    stream = BitReader(body)
    inputs: list[Input] = []
    values = [0] * len(schema.input)
    for _ in range(stream.bits(3) + 1):
        if not inputs or not stream.flag():
            for group in input_groups(schema):
                for i in group if stream.flag() else ():
                    values[i] = schema.input[i].read(stream)
        inputs.append(Input(*values))
    if not stream.only_padding_left():
        raise ValueError("more than zero padding behind the last input")
    return inputs


class InputClock:
    """Picks the ticks of inputs as the end of section 15 describes."""

    def __init__(self, server_tick: int, rtt: float, rate: int) -> None:
        self.next = server_tick + math.ceil(rtt * rate) + 2
        self.sent: list[Input] = []  # newest first, for the ticks next - 1, next - 2, ...
        self._corrected_at = float("-inf")
        self._shift = 0

    def margin(self, margin: int, rtt: float, now: float) -> None:
        """Notes a snapshot's margin; corrects at most once in a round trip, as its effect shows only then."""
        if now < self._corrected_at + 2 * rtt + 0.1:
            return
        if margin <= 0:
            self._shift = 1 - margin
        elif margin > 4:
            self._shift = -1
        else:
            return
        self._corrected_at = now

    def step(self, entry: Input) -> tuple[int, bytes] | None:
        """Makes the input of the next tick: its tick and the message. None: lets a tick pass."""
        shift, self._shift = self._shift, 0
        if shift < 0:
            return None
        repeated = [self.sent[0] if self.sent else entry] * shift
        self.sent = [entry, *repeated, *self.sent][:INPUTS_PER_MESSAGE]
        tick = self.next + shift
        self.next = tick + 1
        return tick, encode_inputs(self.sent)


# --- 16 Session messages --------------------------------------------------------------------------


class Welcome(NamedTuple):
    """The player is in the world (M-1)."""

    entity: int
    zone: int
    map_seed: int
    aoi_radius_m: int
    half_extent_m: int
    boxes: int
    gates: int
    ramps: int
    rules: int


class Notice(NamedTuple):
    """A line for the player to read (M-2)."""

    text: str


class TablesPart(NamedTuple):
    """A part of tables (M-4)."""

    version: int
    part: int
    last: int
    data: bytes


class TablesReady(NamedTuple):
    """The client has them; goes to the server (M-4)."""

    version: int

    def encode(self) -> bytes:
        """Its bytes."""
        return bytes([4, self.version])


class Pace(NamedTuple):
    """From this tick on ticks take so many percent of their time (M-6)."""

    tick: int
    percent: int


class TablesParts:
    """Puts parts together (M-4)."""

    def __init__(self, schema: Schema = STANDARD_SCHEMA) -> None:
        self._schema = schema
        self._version = self._next = 0
        self._data = b""

    def take(self, part: TablesPart) -> compact.Tables | None:
        """The tables, with their last part."""
        if part.part == 0:
            self._version, self._next, self._data = part.version, 0, b""
        if (part.version, part.part) != (self._version, self._next):
            raise MessageError("a part of tables that is not the next one")
        self._next += 1
        self._data += part.data
        if len(self._data) > compact.MOST_TABLE_BYTES:
            raise MessageError("tables of too many bytes")
        if part.part < part.last:
            return None
        data, self._data, self._next, self._version = self._data, b"", 0, 0
        try:
            tables = compact.read_tables(self._schema, data)
        except compact.CompactError as error:
            raise MessageError(str(error)) from None
        if tables.version != part.version:
            raise MessageError("tables of another version")
        return tables


def decode_message(body: bytes) -> Welcome | Notice | TablesPart | TablesReady | Pace:
    """Reads a session message (section 16)."""
    kind, rest = body[:1], body[1:]
    if kind == b"\1" and len(body) == 41:
        return Welcome(*struct.unpack("<IIQHHIIIQ", rest))
    if kind == b"\2" and len(rest) <= 256:
        try:
            return Notice(rest.decode())
        except UnicodeDecodeError:
            raise MessageError("a notice that is not UTF-8") from None
    if kind == b"\3" and 4 <= len(rest) <= 963 and rest[1] <= rest[2]:
        return TablesPart(*rest[:3], rest[3:])
    if kind == b"\4" and len(rest) == 1:
        return TablesReady(*rest)
    if kind == b"\5" and len(rest) == 10:
        pace = Pace(*struct.unpack("<QH", rest))
        if 100 <= pace.percent <= 400:
            return pace
        raise MessageError("a pace that ticks cannot have")
    raise MessageError("an unknown kind or a wrong length")


class GameEvent(NamedTuple):
    """What the game tells its player once (M-5)."""

    tick: int
    ordinal: int
    tag: int
    body: tuple[int, ...]


EVENT_BODIES = ("<IBBH", "<IBH", "<IH", "<", "<IB", "<IBH", "<B")
EVENT_CAUSES = 9


def decode_event(body: bytes, near_tick: int) -> GameEvent:
    """Reads an event (M-5), heard about that tick."""
    try:
        low, ordinal, tag = struct.unpack_from("<IBB", body)
        values = struct.unpack(EVENT_BODIES[tag], body[6:])
    except (struct.error, IndexError):
        raise MessageError("no event") from None
    wrong_flag, nobody = tag == 0 and values[2] > 1, tag == 5 and values[0] == 0
    if wrong_flag or nobody or tag == 6 and values[0] >= EVENT_CAUSES:
        raise MessageError("an event that says what cannot be")
    tick = near_tick + (low - near_tick + 2**31) % 2**32 - 2**31
    return GameEvent(tick, ordinal, tag, values)


# --- 8 to 12 The connection -----------------------------------------------------------------------


class Clocks:
    """Estimates how far the server's clock is ahead of this one, in microseconds (W-9)."""

    KEPT = 200

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}
        self._forth: deque[int] = deque(maxlen=self.KEPT)  # server's clock minus this one, and the way there
        self._back: deque[int] = deque(maxlen=self.KEPT)  # the same, less the way back
        self.held: list[int] = []

    def ask(self, now: float, at_once: bool) -> TimeRequest:
        """A request, made now."""
        sent = microseconds(now)
        self._asked[sent & 0xFFFFFFFF] = sent
        return TimeRequest(at_once, sent & 0xFFFFFFFF)

    def take(self, reply: TimeReply, now: float) -> bool:
        """Takes a reply; whether it answers a request that was made here."""
        sent = self._asked.pop(reply.client_time, None)
        if sent is None:
            return False
        self._forth.append(reply.server_time - sent)
        self._back.append(reply.server_time + reply.held - microseconds(now))
        self.held.append(reply.held)
        return True

    @property
    def samples(self) -> int:
        """Replies that were taken."""
        return len(self.held)

    @property
    def offset(self) -> float:
        """Server's clock minus this one; the same delay both ways assumed."""
        return (min(self._forth) + max(self._back)) / 2

    @property
    def uncertainty(self) -> float:
        """Half of the smallest round trip: the estimate can be off by no more."""
        return (min(self._forth) - max(self._back)) / 2


def microseconds(now: float) -> int:
    """A time as this client's clock on the wire."""
    return int(now * 1e6)


@dataclass
class Sent:
    """A packet that was sent."""

    at: float
    size: int
    eliciting: bool
    outcomes: list[Outcome]
    lost: bool = False


class RoundTrip:
    """The round-trip time as L-5 describes its use."""

    def __init__(self) -> None:
        self.smoothed = 0.0
        self.deviation = 0.0

    def sample(self, value: float) -> None:
        """Takes a sample (L-2)."""
        if self.smoothed == 0.0:
            self.smoothed, self.deviation = value, value / 2
            return
        self.deviation += (abs(self.smoothed - value) - self.deviation) / 4
        self.smoothed += (value - self.smoothed) / 8

    @property
    def late(self) -> float:
        """How long to wait for a packet when a later one was acknowledged."""
        return max(0.005, (self.smoothed or 0.2) * 9 / 8)

    @property
    def silence(self) -> float:
        """How long to wait when nothing comes back."""
        return (self.smoothed or 0.2) + max(0.005, 4 * self.deviation) + ACK_WITHIN


class Flight:
    """Packets that were sent, and what became of them (L-2, L-4, L-5)."""

    THRESHOLD = 3

    def __init__(self) -> None:
        self.next_number = 0
        self.rtt = RoundTrip()
        self.bytes = 0  # neither acknowledged nor lost
        self.lost = 0
        self._sent: dict[int, Sent] = {}
        self._largest = -1
        self._silences = 0
        self._newest_eliciting = 0.0

    def add(self, packet: Sent) -> None:
        """Notes a packet with the next number."""
        self._sent[self.next_number] = packet
        self.next_number += 1
        if packet.eliciting:
            self.bytes += packet.size
            self._newest_eliciting = packet.at
        while (oldest := next(iter(self._sent))) < self.next_number - REPLAY_WINDOW:
            self._lose(self._sent.pop(oldest))

    def acknowledged(self, ack: Ack, now: float) -> list[int]:
        """Takes an ack; the numbers that are new (L-1, L-4)."""
        largest = expand(max(self.next_number - 1, 0), ack.largest)
        if largest >= self.next_number:
            raise Malformed("L-4")
        newest = self._sent.get(largest)
        if newest is not None and ack.delay != 255:  # L-2
            self.rtt.sample(max(1e-5, now - newest.at - ack.delay * ACK_DELAY_UNIT))
        numbers = [largest, *(largest - 1 - i for i in range(MASK_BITS) if ack.mask >> i & 1)]
        new = [number for number in numbers if number in self._sent]
        for number in new:
            packet = self._sent.pop(number)
            self._settle(packet)
            for outcome in packet.outcomes:
                outcome(True)
        if new:
            self._silences = 0
        self._largest = max(self._largest, largest)
        return new

    def find_lost(self, now: float) -> bool:
        """Finds what is lost; whether nothing comes back at all, so that a probe is due (L-5)."""
        for number, packet in self._sent.items():
            late = number <= self._largest - self.THRESHOLD or now - packet.at > self.rtt.late
            if number < self._largest and late:
                self._lose(packet)
        wait = self.rtt.silence * (1 << min(self._silences, 5))
        if self.bytes == 0 or now - self._newest_eliciting < wait:
            return False
        self._silences += 1
        for packet in [p for p in self._sent.values() if p.outcomes and not p.lost][:2]:
            self._lose(packet)
        return True

    def _lose(self, packet: Sent) -> None:
        if packet.lost:
            return
        self._settle(packet)
        packet.lost = True
        self.lost += packet.eliciting
        for outcome in packet.outcomes:
            outcome(False)

    def _settle(self, packet: Sent) -> None:
        """Takes a packet out of what is on its way."""
        if packet.eliciting and not packet.lost:
            self.bytes -= packet.size


@dataclass
class Terms:
    """What a connection was agreed on."""

    is_client: bool
    connection: int
    suite: CipherSuite
    send_secret: bytes
    receive_secret: bytes
    channels: Sequence[Channel]
    features: int
    longest_sent: int
    cap: int = 0  # bytes a second that this side may send; 0: no limit
    roll_packets: int = ROLL_PACKETS


class Peer:
    """One end of a connection: takes and makes data packets (sections 7 to 12).

    A client's, but for what ``Terms.is_client`` turns around; so two of them can be tried against each other.
    """

    WINDOW = 60_000  # bytes on their way; the rate control of L-6 is a sender's own affair
    BURST = 16  # packets at a time

    def __init__(self, terms: Terms, now: float) -> None:
        self.terms = terms
        self.inbox: dict[int, list[bytes]] = {i: [] for i in range(len(terms.channels))}
        self.close_reason: CloseReason | None = None
        self.must_close: CloseReason | None = None
        self.drops: Counter[str] = Counter()
        self.frames_seen: Counter[str] = Counter()
        self.received = Received()
        self.flight = Flight()
        self.clocks = Clocks()
        self.send_keys = SendKeys(terms.suite, terms.send_secret, terms.roll_packets)
        self.receive_keys = ReceiveKeys(terms.suite, terms.receive_secret)
        self.longest_now = BASE_PACKET  # of what may be sent (G-1, L-8)
        self.longest_received = 0
        self.last_received = self.last_sent = now
        self.acks_at_once = 0
        self._ack_due: float | None = None
        self._unacknowledged = 0
        self._largest_at = now
        self._malformed = 0
        self._urgent: deque[Control] = deque()
        self._budget, self._budget_at = terms.cap / 4, now
        self._parts: dict[int, PartsReceiver] = {}
        self._sequenced: dict[int, SequencedReceiver] = {}
        self._reliable: dict[int, ReliableReceiver] = {}
        self.block_receivers: dict[int, BlockReceiver] = {}
        self.block_senders: dict[int, BlockSender] = {}
        self.senders: dict[int, DatagramSender | ReliableSender] = {}
        for index, channel in enumerate(terms.channels):
            self._add_channel(index, channel)
        order = sorted(range(len(terms.channels)), key=lambda i: terms.channels[i].priority)
        sayers = {i: BlockSayer(i, receiver) for i, receiver in self.block_receivers.items()}
        groups = (sayers, self.senders, self.block_senders)
        self._fillers: list[Sender] = [ends[i] for ends in groups for i in order if i in ends]

    def _add_channel(self, index: int, channel: Channel) -> None:
        """Both ends of a channel."""
        if channel.kind is ChannelKind.BLOCK:
            self.block_receivers[index] = BlockReceiver(channel)
            self.block_senders[index] = BlockSender(index, channel)
        elif channel.kind.reliable:
            self._reliable[index] = ReliableReceiver(channel)
            self.senders[index] = ReliableSender(index, channel)
        elif channel.kind is not ChannelKind.SNAPSHOT:
            self._parts[index] = PartsReceiver(channel)
            self._sequenced[index] = SequencedReceiver()
            self.senders[index] = DatagramSender(index, channel)

    # What the application asks for

    def send(self, channel: int, message: bytes) -> None:
        """Queues a message or a block."""
        if channel in self.block_senders:
            self.block_senders[channel].send(message)
        else:
            self.senders[channel].send(message)

    def ask_time(self, now: float, at_once: bool = True) -> None:
        """Asks for the server's time in the next packet (W-9)."""
        self._urgent.append(self.clocks.ask(now, at_once))

    @property
    def over(self) -> bool:
        """Whether the peer closed, or this side must (W-6, S-10, P-8)."""
        return self.close_reason is not None or self.must_close is not None

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time; 0 before the first sample."""
        return self.flight.rtt.smoothed

    @property
    def answer_wanted(self) -> bool:
        """Whether something waits for an ack (L-3)."""
        return self._ack_due is not None

    # Receiving

    def receive(self, datagram: bytes, now: float) -> None:
        """Handles one datagram, P-1 to P-11; what is dropped is counted."""
        try:
            self._take(datagram, now)
        except Drop as drop:
            self.drops[drop.cause] += 1

    def _take(self, datagram: bytes, now: float) -> None:
        header = HEADER_TO_CLIENT if self.terms.is_client else HEADER_TO_SERVER
        if self.terms.is_client and datagram and datagram[0] in (2, 3, 4):
            raise Drop("not_expected")
        check_header(datagram, to_client=self.terms.is_client)
        if not self.terms.is_client and datagram[1:5] != self.terms.connection.to_bytes(4, "little"):
            raise Drop("unknown_connection")
        number = self.received.number_of(int.from_bytes(datagram[header - 2 : header], "little"))
        bit = datagram[0] & PHASE_FLAG
        plain = self.receive_keys.open(number, bit, datagram[header:], datagram[:header], now)
        if self.over:
            raise Drop("closed")
        self.last_received = now
        self.longest_received = max(self.longest_received, len(datagram))
        self._handle(plain, number, now)

    def _handle(self, plain: bytes, number: int, now: float) -> None:
        """P-8 to P-11."""
        try:
            packet = Plaintext.decode(
                plain,
                to_client=self.terms.is_client,
                channels=self.terms.channels,
                features=self.terms.features,
            )
            self._check_late(packet, number)
            if packet.ack is not None:
                for new in self.flight.acknowledged(packet.ack, now):
                    self.send_keys.acknowledged(new)
        except Malformed as error:
            self._count(number, now, wants_ack=False)
            self._count_malformed(error)
            return
        self._count(number, now, wants_ack=bool(packet.frames))
        try:
            self._note_tick(packet.tick)
            for frame in packet.frames:
                self.frames_seen[type(frame).__name__] += 1
                self._handle_frame(frame, number, now)
                if self.over:
                    return
        except Malformed as error:
            self._count_malformed(error)

    def _check_late(self, packet: Plaintext, number: int) -> None:
        """P-10, at the client."""

    def _note_tick(self, tick: int | None) -> None:
        """The preamble's tick, at the client (S-1)."""

    def _count(self, number: int, now: float, *, wants_ack: bool) -> None:
        """Counts a number as received; says when an ack is due (P-8, P-11, L-3)."""
        gap = number > self.received.largest + 1
        if self.received.add(number):
            self._largest_at = now
        if not wants_ack:
            return
        self._unacknowledged += 1
        due = now if gap or self._unacknowledged >= ACK_AFTER_PACKETS else now + ACK_WAIT
        self.acks_at_once += due == now
        self._ack_due = due if self._ack_due is None else min(due, self._ack_due)

    def _count_malformed(self, error: Malformed) -> None:
        """P-8."""
        self.drops[f"malformed {error.rule}"] += 1
        self._malformed += 1
        if self._malformed == MAX_MALFORMED:
            self.must_close = CloseReason.PROTOCOL_ERROR

    def _handle_frame(self, frame: Frame, number: int, now: float) -> None:
        """P-11: one frame."""
        match frame:
            case Message():
                self._handle_message(frame, number)
            case Close(reason):
                self.close_reason = reason
            case PathChallenge(data):  # W-8
                self._urgent.append(PathResponse(data))
                self._ack_due = now
            case TimeReply():
                self.clocks.take(frame, now)
            case Snapshot(body):
                self._handle_snapshot(body, number)
            case PathResponse() | TimeRequest():
                self._handle_at_server(frame, now)

    def _handle_message(self, frame: Message, number: int) -> None:
        """Section 11."""
        done: bytes | None = None
        match frame.head:
            case Part():
                done = self._parts[frame.channel].receive(frame.head, frame.body)
            case Segment():
                for body in self._reliable[frame.channel].receive(frame.head, frame.body):
                    self._deliver(frame.channel, body)
            case Chunk():
                done = self.block_receivers[frame.channel].receive(frame.head, frame.body)
            case Credit():
                self.block_senders[frame.channel].credit(frame.head)
            case Cancel(by_sender=True):
                self.block_receivers[frame.channel].cancelled(frame.head)
            case Cancel():
                self.block_senders[frame.channel].cancelled(frame.head)
            case None:
                sequenced = self.terms.channels[frame.channel].kind is ChannelKind.SEQUENCED
                if not sequenced or self._sequenced[frame.channel].accept(number):
                    done = frame.body
        if done is not None:
            self._deliver(frame.channel, done)

    def _deliver(self, channel: int, body: bytes) -> None:
        """Takes a message that is whole."""
        self.inbox[channel].append(body)

    def _handle_snapshot(self, body: bytes, number: int) -> None:
        """At the client."""

    def _handle_at_server(self, frame: PathResponse | TimeRequest, now: float) -> None:
        """At the server."""

    # Sending

    def poll(self, now: float) -> list[bytes]:
        """The packets that are due now: data, acks, what was lost, a sign of life."""
        if self.over:
            return []
        silent = self.flight.find_lost(now)
        out: list[bytes] = []
        if silent:
            out.append(self.make(now, () if self._waits() else [Ping()]))
        while len(out) < self.BURST and (self._urgent or self._waits() and self._may_send(now)):
            out.append(self.make(now))
        if self._ack_due is not None and now >= self._ack_due:
            out.append(self.make(now))
        if now >= self.last_sent + KEEPALIVE:  # W-3
            out.append(self.make(now, [Ping()]))
        return out

    def make(self, now: float, frames: Sequence[Frame] = (), tick: int | None = None) -> bytes:
        """The next data packet, with an ack if anything came yet, and with what waits (K-4, L-1, L-2)."""
        ack, low_tick = self._ack(now), None if tick is None else tick & 0xFFFF
        head = BitWriter()
        write_preamble(head, ack, low_tick)
        packer = Packer(self.terms.channels, 8 * self._room(self.longest_now) - head.position)
        for frame in frames:
            if not packer.add(frame):
                raise ValueError("more than a packet takes")
        while self._urgent and packer.add(self._urgent[0]):
            self._urgent.popleft()
        if self._may_send(now):
            for filler in self._fillers:
                filler.fill(packer)
        plain = Plaintext(ack, low_tick, tuple(packer.frames)).encode(self.terms.channels)
        return self.seal(now, plain, packer.outcomes, bool(packer.frames))

    def make_alone(self, now: float, frame: Frame) -> bytes:
        """A packet with nothing but one frame: a close (W-5)."""
        return self.seal(now, Plaintext(self._ack(now), None, (frame,)).encode(self.terms.channels))

    def probe_mtu(self, now: float, size: int) -> bytes:
        """A packet of ``size`` bytes that ends in an mtu probe (L-8)."""
        plain = Plaintext(self._ack(now), None, (MtuProbe(),)).encode(self.terms.channels, self._room(size))
        return self.seal(now, plain, [lambda acknowledged: self._probed(size, acknowledged)])

    def _probed(self, size: int, acknowledged: bool) -> None:
        if acknowledged:
            self.longest_now = max(self.longest_now, min(size, self.terms.longest_sent))

    def seal(
        self, now: float, plain: bytes, outcomes: Sequence[Outcome] = (), eliciting: bool = True
    ) -> bytes:
        """Seals a plaintext with the next number (K-4)."""
        number = self.flight.next_number
        if number >= PACKET_NUMBER_END:
            raise OverflowError("packet numbers are used up (K-4)")
        self.send_keys.roll(number, now)
        key, phase = self.send_keys.key, self.send_keys.phase
        if self.terms.is_client:
            datagram = seal_to_server(key, self.terms.connection, number, plain, phase)
        else:
            datagram = seal_to_client(key, number, plain, phase)
        self.flight.add(Sent(now, len(datagram), eliciting, list(outcomes)))
        self.last_sent, self._ack_due, self._unacknowledged = now, None, 0
        self._spend(len(datagram), now)
        return datagram

    def skip_number(self) -> None:
        """Leaves a number out, as if its packet were lost on the way."""
        self.flight.next_number += 1

    def _room(self, size: int) -> int:
        """The longest plaintext in a packet of ``size`` bytes."""
        header = HEADER_TO_SERVER if self.terms.is_client else HEADER_TO_CLIENT
        return min(size, self.terms.longest_sent) - header - TAG_BYTES

    def _waits(self) -> bool:
        return any(filler.waits() for filler in self._fillers)

    def _may_send(self, now: float) -> bool:
        self._spend(0, now)
        return self.flight.bytes < self.WINDOW and (self.terms.cap == 0 or self._budget > 0)

    def _spend(self, count: int, now: float) -> None:
        """Keeps to 9/10 of the limit (P-12), with a quarter of a second's worth to spare."""
        cap = self.terms.cap
        grown = self._budget + (now - self._budget_at) * cap * 0.9
        self._budget, self._budget_at = min(grown, cap / 4) - count, now

    def _ack(self, now: float) -> Ack | None:
        if self.received.largest < 0:
            return None
        delay = min(255, int((now - self._largest_at) / ACK_DELAY_UNIT))
        return Ack(self.received.largest & 0xFFFF, delay, self.received.mask())


class Connection(Peer):
    """A connected client: a peer that keeps the world (sections 8 to 16)."""

    def __init__(
        self,
        established: Established,
        now: float,
        channels: Sequence[Channel] = STANDARD_CHANNELS,
        roll_packets: int = ROLL_PACKETS,
    ) -> None:
        accepted, keys = established
        terms = Terms(
            is_client=True,
            connection=accepted.connection,
            suite=keys.suite,
            send_secret=keys.c2s,
            receive_secret=keys.s2c,
            channels=channels,
            features=accepted.features,
            longest_sent=min(accepted.longest_packet, MAX_PACKET),
            cap=accepted.up_cap,
            roll_packets=roll_packets,
        )
        super().__init__(terms, now)
        self.established = established
        self.world = World(accepted.rate)
        self.server_tick = accepted.tick
        self.welcome: Welcome | None = None
        self.notices: list[str] = []
        self.pace: Pace | None = None
        self.events: list[GameEvent] = []
        self.parts = TablesParts()
        self.compact_snapshots = 0
        self.on_snapshot: Callable[[Applied], None] = lambda applied: None
        self._tick: int | None = None
        self._newest_snapshot = -1

    def idle(self, now: float) -> bool:
        """W-4."""
        return now - self.last_received > self.established.accepted.idle_ms / 1000

    def _check_late(self, packet: Plaintext, number: int) -> None:
        """P-10."""
        carries = any(isinstance(frame, Snapshot) for frame in packet.frames)
        if carries and number < self._newest_snapshot:
            raise Drop("late_snapshot")

    def _note_tick(self, tick: int | None) -> None:
        """S-1."""
        self._tick = None if tick is None else expand(self.server_tick, tick)
        self.server_tick = max(self.server_tick, self._tick or 0)

    def _handle_snapshot(self, body: bytes, number: int) -> None:
        """S-1, S-10."""
        self._newest_snapshot = number
        try:
            if self._tick is None:
                raise SnapshotError("a snapshot in a packet without a tick")
            self.on_snapshot(self.world.apply(body, self._tick))
            self.compact_snapshots += body[0] & 1
        except SnapshotError as error:
            self.drops[f"snapshot: {error}"] += 1
            self.must_close = CloseReason.PROTOCOL_ERROR

    def _deliver(self, channel: int, body: bytes) -> None:
        """M-1 to M-5; an input that goes the wrong way is ignored (C-13)."""
        if channel not in (SESSION_CHANNEL, EVENT_CHANNEL) or self.terms.channels != STANDARD_CHANNELS:
            super()._deliver(channel, body)
            return
        try:
            if channel == EVENT_CHANNEL:
                self.events.append(decode_event(body, self.server_tick))
            else:
                self._take_message(decode_message(body))
        except MessageError as error:
            self.drops[f"message: {error}"] += 1
            self.must_close = CloseReason.PROTOCOL_ERROR

    def _take_message(self, message: Welcome | Notice | TablesPart | TablesReady | Pace) -> None:
        match message:
            case Welcome():
                self.welcome = message
            case Notice():
                self.notices.append(message.text)
            case Pace():
                self.pace = message  # M-6: this client's inputs follow the margins anyway
            case TablesPart() if self.established.accepted.features & Features.COMPACT:
                if tables := self.parts.take(message):  # M-4
                    self.world.add_tables(tables)
                    self.send(SESSION_CHANNEL, TablesReady(tables.version).encode())
            case _:
                raise MessageError("a message that nobody may send here")

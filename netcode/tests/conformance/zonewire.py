"""Zonewire protocol 1, the client's side, written from SPEC.md alone.

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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

# Constants (G-1, G-9, section 12).
PROTOCOL_VERSION = 1
MAX_PACKET = 1200
HELLO_BYTES, RETRY_BYTES, ACCEPT_BYTES, REFUSE_BYTES = 1200, 52, 152, 36
TOKEN_BYTES, TAG_BYTES = 292, 16
MIN_TO_CLIENT, MIN_TO_SERVER = 20, 24
DATA_FLAGS = 0x40
REPLAY_WINDOW = 1024
MAX_FRAMES = 64
MAX_MALFORMED = 3
MAX_RETRIES = 8
RELIABLE_WINDOW = 256
MASK_BITS = 32
MASK_ALL = (1 << MASK_BITS) - 1
ACK_DELAY_UNIT = 250e-6
UNPROVEN_WAIT = 1.0
KEEPALIVE = 1.0
CLOSES, CLOSE_SPACING = 3, 0.05
CONTROL = 15
SLOTS = 4096
HISTORY = 64
INPUTS_PER_MESSAGE = 8
PACKET_NUMBER_END = 1 << 32


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
    """FNV-1a with 64 bits (C-8)."""
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


class Refused(Exception):
    """The attempt is over with this reason (E-2, E-3, A-7)."""

    def __init__(self, reason: RefuseReason, proven: bool) -> None:
        super().__init__(f"{reason.name}, {'proven' if proven else 'unproven'}")
        self.reason = reason
        self.proven = proven


@dataclass(frozen=True)
class SealingKey:
    """Key and IV of one direction (K-2)."""

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
    """The three keys of K-2."""

    handshake: SealingKey
    c2s: SealingKey
    s2c: SealingKey


def transcript(hello: bytes, accept: bytes) -> bytes:
    """What both sides saw, the cookie taken as zero (K-1)."""
    return hashlib.sha256(without_cookie(hello) + accept[:52]).digest()


def derive_keys(suite: CipherSuite, script: bytes, shared: bytes, psk: bytes) -> Keys:
    """The key schedule (K-2)."""

    def derive(label: str) -> SealingKey:
        okm = hkdf(script, shared + psk, f"zonewire v1 {label}".encode(), suite.key_bytes + 12)
        return SealingKey(suite, okm[: suite.key_bytes], okm[suite.key_bytes :])

    return Keys(derive("handshake"), derive("c2s"), derive("s2c"))


def handshake_mac_key(psk: bytes) -> bytes:
    """The MAC key of section 3."""
    return hkdf(b"", psk, b"zonewire v1 handshake mac", 32)


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

    def encode(self, mac_key: bytes) -> bytes:
        """The 1200 bytes with a zero cookie."""
        head = struct.pack(
            "<BBBx8sQQQQ32x32s292s",
            1,
            self.version,
            self.suite,
            b"ZONEWIRE",
            self.client_time,
            self.channel_hash,
            self.schema_hash,
            0,
            self.public_key,
            self.token,
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
    ) -> None:
        self.suite = suite
        self._psk = psk
        self._private = X25519PrivateKey.from_private_bytes(private_key or os.urandom(32))
        self._channel_hash = STANDARD_CHANNELS_HASH if channel_hash is None else channel_hash
        self._schema_hash = STANDARD_SCHEMA.hash() if schema_hash is None else schema_hash
        self.mac_key = handshake_mac_key(psk)
        public = self._private.public_key().public_bytes_raw()
        self.hello = Hello(
            suite, client_time, self._channel_hash, self._schema_hash, public, bundle_token, version
        ).encode(self.mac_key)
        self.mac = self.hello[-TAG_BYTES:]
        self.retries = 0
        self.waiting = True
        self._unproven: tuple[RefuseReason, float] | None = None

    def receive(self, datagram: bytes, now: float) -> Established | bytes | None:
        """Handles one datagram: the connection, a HELLO to send at once (R-2), or nothing yet.

        Raises :class:`Drop` for what is dropped and :class:`Refused` when the attempt is over.
        """
        kind = datagram[0] if datagram else 0
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
            raise Refused(self._unproven[0], proven=False)

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
        known = len(datagram) > 1 and datagram[1] in RefuseReason._value2member_map_
        self._check_form(datagram, REFUSE_BYTES, known and datagram[2:4] == bytes(2))
        reason = RefuseReason(datagram[1])
        if hmac.compare_digest(datagram[20:], mac16(self.mac_key, datagram[:20])):
            self.waiting = False
            raise Refused(reason, proven=True)
        self._unproven = self._unproven or (reason, now)

    def _accept(self, datagram: bytes) -> Established:
        """A-1 to A-7."""
        self._check_form(datagram, ACCEPT_BYTES, datagram[1:4] == bytes(3))
        if not hmac.compare_digest(datagram[136:], mac16(self.mac_key, datagram[:136])):
            raise Drop("bad_mac")
        keys = self.keys_for(datagram)
        accepted = Accepted.decode(keys.handshake.open(0, datagram[52:136], datagram[:52]))
        if accepted.rate == 0 or accepted.idle_ms == 0 or accepted.features != 0:
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


# --- 11 Channels: the table -----------------------------------------------------------------------


class ChannelKind(IntEnum):
    """Kinds of channels (section 11)."""

    UNRELIABLE = 0
    SEQUENCED = 1
    SNAPSHOT = 2
    RELIABLE = 3


class Channel(NamedTuple):
    """One row of the channel table."""

    name: str
    kind: ChannelKind
    longest: int
    queue: int


STANDARD_CHANNELS = (
    Channel("snapshot", ChannelKind.SNAPSHOT, 1100, 0),
    Channel("input", ChannelKind.SEQUENCED, 64, 0),
    Channel("session", ChannelKind.RELIABLE, 1024, 16384),
)
SNAPSHOT_CHANNEL, INPUT_CHANNEL, SESSION_CHANNEL = range(3)


def channels_canonical(channels: Sequence[Channel]) -> bytes:
    """What the hash of the channel table is taken over (C-8)."""
    rows = (text(c.name) + struct.pack("<BII", c.kind, c.longest, c.queue) for c in channels)
    return bytes([len(channels)]) + b"".join(rows)


def text(value: str) -> bytes:
    """A text: its length (1 byte) and its bytes (D-5)."""
    encoded = value.encode()
    return bytes([len(encoded)]) + encoded


STANDARD_CHANNELS_HASH = fnv1a(channels_canonical(STANDARD_CHANNELS))


# --- 8 Data packets -------------------------------------------------------------------------------


def check_header(datagram: bytes, *, to_client: bool) -> None:
    """P-1 to P-3: what can be said of a data packet without keys."""
    if not datagram or datagram[0] >> 6 != 1:
        raise Drop("unknown_type")
    if len(datagram) > MAX_PACKET:
        raise Drop("wrong_length")
    if len(datagram) < (MIN_TO_CLIENT if to_client else MIN_TO_SERVER):
        raise Drop("too_short")
    if datagram[0] != DATA_FLAGS:
        raise Drop("reserved_bits")


def seal_to_server(key: SealingKey, connection: int, number: int, plaintext: bytes) -> bytes:
    """A data packet to the server (section 8)."""
    header = struct.pack("<BIH", DATA_FLAGS, connection, number & 0xFFFF)
    return header + key.seal(number, plaintext, header)


def seal_to_client(key: SealingKey, number: int, plaintext: bytes) -> bytes:
    """A data packet to the client (section 8)."""
    header = struct.pack("<BH", DATA_FLAGS, number & 0xFFFF)
    return header + key.seal(number, plaintext, header)


def open_data(key: SealingKey, number: int, datagram: bytes, *, to_client: bool) -> bytes:
    """The plaintext of a data packet whose full number is known (P-7)."""
    header = 3 if to_client else 7
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
        below_zero = MASK_ALL << self.largest & MASK_ALL
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


class Frame(NamedTuple):
    """One frame; ``number`` only on reliable channels, without its expansion (F-6)."""

    channel: int
    body: bytes
    number: int | None = None

    @property
    def close_reason(self) -> CloseReason | None:
        """The reason, if this is a close (F-7)."""
        if self.channel == CONTROL and self.body[0] == 1:
            return CloseReason(self.body[1])
        return None


PING = Frame(CONTROL, b"\0")


def close_frame(reason: CloseReason) -> Frame:
    """A close (F-7)."""
    return Frame(CONTROL, bytes([1, reason]))


@dataclass(frozen=True)
class Plaintext:
    """Preamble and frames; all numbers as on the wire."""

    ack: Ack | None = None
    tick: int | None = None
    frames: tuple[Frame, ...] = ()

    def encode(self, channels: Sequence[Channel] = STANDARD_CHANNELS) -> bytes:
        """Writes the bit stream of section 9."""
        out = BitWriter()
        self._write_preamble(out)
        for frame in self.frames:
            write_frame(out, frame, channels)
        if not self.frames or out.position % 8:
            out.bits(0, 1)  # no more
        return out.finish()

    def _write_preamble(self, out: BitWriter) -> None:
        out.bits(self.ack is not None, 1)
        if self.ack:
            every = self.ack.mask == MASK_ALL
            out.bits(self.ack.largest, 16).bits(self.ack.delay, 8).bits(every, 1)
            if not every:
                out.bits(self.ack.mask, MASK_BITS)
        out.bits(self.tick is not None, 1)
        if self.tick is not None:
            out.bits(self.tick, 16)

    @classmethod
    def decode(
        cls, data: bytes, *, to_client: bool = True, channels: Sequence[Channel] = STANDARD_CHANNELS
    ) -> Plaintext:
        """Parses a plaintext, F-1 to F-9; raises :class:`Malformed`."""
        stream = BitReader(data)
        try:
            ack, tick = read_ack(stream), read_tick(stream)
        except EndOfData:
            raise Malformed("F-1") from None
        return cls(ack, tick, tuple(read_frames(stream, to_client, channels)))


def read_ack(stream: BitReader) -> Ack | None:
    """The ack block of the preamble."""
    if not stream.flag():
        return None
    largest, delay = stream.bits(16), stream.bits(8)
    return Ack(largest, delay, MASK_ALL if stream.flag() else stream.bits(MASK_BITS))


def read_tick(stream: BitReader) -> int | None:
    """The tick of the preamble."""
    return stream.bits(16) if stream.flag() else None


def read_frames(stream: BitReader, to_client: bool, channels: Sequence[Channel]) -> list[Frame]:
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
        frames.append(read_frame(stream, to_client, channels))
    return frames


def read_frame(stream: BitReader, to_client: bool, channels: Sequence[Channel]) -> Frame:
    """One frame behind its ``more`` (F-3 to F-9)."""
    try:
        channel = stream.bits(4)
        if channel != CONTROL and channel >= len(channels):
            raise Malformed("F-3")
        to_end = stream.flag()
        is_snapshot = channel != CONTROL and channels[channel].kind is ChannelKind.SNAPSHOT
        if to_end != is_snapshot:
            raise Malformed("F-4")
        if is_snapshot:
            if not to_client:
                raise Malformed("F-9")
            return Frame(channel, read_to_end(stream, channels[channel].longest))
        body = stream.octets(stream.bits(11 if stream.flag() else 6))
    except EndOfData:
        raise Malformed("F-5") from None
    return read_control(body) if channel == CONTROL else read_message(channel, channels[channel], body)


def read_to_end(stream: BitReader, longest: int) -> bytes:
    """The body of a snapshot frame (F-4)."""
    if stream.bits(-stream.position % 8) != 0:
        raise Malformed("F-4")
    length = stream.left // 8
    if not 1 <= length <= longest:
        raise Malformed("F-4")
    return stream.octets(length)


def read_control(body: bytes) -> Frame:
    """A ping or a close (F-7)."""
    is_close = len(body) == 2 and body[0] == 1 and body[1] in CloseReason._value2member_map_
    if body != PING.body and not is_close:
        raise Malformed("F-7")
    return Frame(CONTROL, body)


def read_message(index: int, channel: Channel, body: bytes) -> Frame:
    """A frame of a message channel (F-5, F-6)."""
    number = None
    if channel.kind is ChannelKind.RELIABLE:
        if len(body) < 2:
            raise Malformed("F-6")
        number, body = int.from_bytes(body[:2], "little"), body[2:]
    if len(body) > channel.longest:
        raise Malformed("F-5")
    return Frame(index, body, number)


def write_frame(out: BitWriter, frame: Frame, channels: Sequence[Channel]) -> None:
    """One frame with its ``more`` (section 9)."""
    to_end = frame.channel != CONTROL and channels[frame.channel].kind is ChannelKind.SNAPSHOT
    out.bits(1, 1).bits(frame.channel, 4).bits(to_end, 1)
    if to_end:
        out.align().octets(frame.body)
        return
    number = b"" if frame.number is None else frame.number.to_bytes(2, "little")
    body = number + frame.body
    is_long = len(body) > 63
    out.bits(is_long, 1).bits(len(body), 11 if is_long else 6).octets(body)


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


class ReliableReceiver:
    """A reliable-ordered channel's receiving end (C-2 to C-5)."""

    def __init__(self, queue: int) -> None:
        self.expected = 0
        self._queue = queue
        self._held: dict[int, bytes] = {}

    def receive(self, low: int, body: bytes) -> list[bytes]:
        """The messages that are delivered by this one, in order."""
        number = expand(self.expected, low)
        if number < self.expected:  # C-3
            return []
        if number > self.expected:
            self._hold(number, body)
            return []
        self._held[number] = body
        delivered = []
        while self.expected in self._held:  # C-4
            delivered.append(self._held.pop(self.expected))
            self.expected += 1
        return delivered

    def _hold(self, number: int, body: bytes) -> None:
        """C-5."""
        if number in self._held:
            return
        held = sum(map(len, self._held.values())) + len(body)
        if number >= self.expected + RELIABLE_WINDOW or held > self._queue:
            raise Malformed("C-5")
        self._held[number] = body


# --- 13 Schema ------------------------------------------------------------------------------------


class Linear(NamedTuple):
    """The linear predictor (D-4)."""

    velocity: int
    numerator: int


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
    classes: tuple[int, int]
    linear: Linear | None = None

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

    def canonical(self) -> bytes:
        """D-5."""
        numbers = struct.pack("<BBBI", self.bits, self.signed, self.wraps, self.scale)
        rest = bytes([self.group, *self.classes])
        predictor = struct.pack("<BBi", 1, *self.linear) if self.linear else b"\0"
        return text(self.name) + numbers + text(self.unit) + rest + predictor


@dataclass(frozen=True)
class Kind:
    """A kind of entity."""

    name: str
    fields: tuple[Field, ...]

    @property
    def groups(self) -> list[int]:
        """The groups that the fields have, ascending (S-6)."""
        return sorted({f.group for f in self.fields})


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


def _body_fields() -> tuple[Field, ...]:
    """The fields that players and NPCs have in common."""

    def position(name: str, bits: int, group: int, small: int, velocity: int) -> Field:
        return Field(name, bits, True, False, 256, "m", group, (small, 9), Linear(velocity, 4))

    def velocity(name: str, group: int) -> Field:
        return Field(name, 12, True, False, 64, "m/s", group, (7, 10))

    return (
        position("x", 21, 0, 3, 3),
        position("y", 18, 1, 5, 4),
        position("z", 21, 0, 3, 5),
        velocity("vx", 0),
        velocity("vy", 1),
        velocity("vz", 0),
        Field("yaw", 12, False, True, 4096, "turn", 2, (6, 9)),
        Field("flags", 4, False, False, 1, "bits", 3, (1, 2)),
    )


STANDARD_SCHEMA = Schema(
    kinds=(
        Kind("player", _body_fields()),
        Kind("npc", (*_body_fields(), Field("archetype", 8, False, False, 1, "number", 4, (2, 4)))),
    ),
    input=(
        Field("move_x", 5, True, False, 15, "full speed", 0, (2, 4)),
        Field("move_z", 5, True, False, 15, "full speed", 0, (2, 4)),
        Field("yaw", 12, False, True, 4096, "turn", 1, (6, 9)),
        Field("buttons", 4, False, False, 1, "bits", 2, (1, 2)),
    ),
)


# --- 14 Snapshots ---------------------------------------------------------------------------------

State = tuple[int, ...]


class Event(NamedTuple):
    """An entity that came (``spawned``) or went (``despawned``)."""

    what: str
    id: int


@dataclass
class Entity:
    """An entity in a slot, with its states by tick, oldest first (S-6)."""

    id: int
    kind: int
    history: list[tuple[int, State]]
    confirmed: int

    @property
    def state(self) -> State:
        """The newest state."""
        return self.history[-1][1]

    def baseline(self, newest: int) -> tuple[int, State]:
        """The newest state whose tick is at most ``newest`` (S-6)."""
        for tick, state in reversed(self.history):
            if tick <= newest:
                return tick, state
        raise SnapshotError("an update against a baseline that is not held")

    def push(self, tick: int, state: State, oldest_needed: int) -> None:
        """Adds a state; forgets what S-6 allows to forget."""
        kept = [entry for entry in self.history if entry[0] >= oldest_needed]
        self.history = [*kept, (tick, state)][-HISTORY:]
        self.confirmed = tick


class Despawn(NamedTuple):
    """S-4."""

    slot: int


class Spawn(NamedTuple):
    """S-5."""

    slot: int
    id: int
    kind: int
    state: State


class Update(NamedTuple):
    """S-6, decoded."""

    slot: int
    baseline_tick: int
    state: State


Record = Despawn | Spawn | Update


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

    def entity(self, entity_id: int) -> Entity | None:
        """The entity with this id."""
        return next((e for e in self.slots.values() if e.id == entity_id), None)

    def apply(self, body: bytes, tick: int) -> Applied:
        """Decodes a whole snapshot, then applies it (S-9)."""
        if tick <= self.tick:
            raise SnapshotError("the snapshot is not newer than the newest one applied")
        stream = BitReader(body)
        try:
            margin = stream.signed(8) if stream.flag() else None
            complete, age0 = stream.flag(), stream.bits(6)
            count = stream.bits((4, 6, 8, 12)[stream.bits(2)])
            records = self._read_records(stream, count, tick, age0)
        except EndOfData:
            raise SnapshotError("the data ended inside a field") from None
        if not stream.only_padding_left():
            raise SnapshotError("more than zero padding behind the last record")
        events = self._commit(records, tick)
        if complete:  # S-11
            for entity in self.slots.values():
                entity.confirmed = tick
        self.tick = tick
        return Applied(tick, margin, complete, count, tuple(events))

    def _read_records(self, stream: BitReader, count: int, tick: int, age0: int) -> list[Record]:
        records: list[Record] = []
        slot = -1
        for _ in range(count):
            slot += 1 + read_gap(stream)
            if slot >= SLOTS:  # S-3
                raise SnapshotError("a slot that does not exist")
            records.append(self._read_record(stream, slot, tick, age0))
        return records

    def _read_record(self, stream: BitReader, slot: int, tick: int, age0: int) -> Record:
        if not stream.flag():
            return self._read_update(stream, slot, tick, age0)
        return Despawn(slot) if stream.flag() else self._read_spawn(stream, slot)

    def _read_spawn(self, stream: BitReader, slot: int) -> Spawn:
        """S-5."""
        entity_id, kind = stream.bits(32), stream.bits(4)
        if kind >= len(self.schema.kinds):
            raise SnapshotError("an unknown kind")
        return Spawn(slot, entity_id, kind, tuple(f.read(stream) for f in self.schema.kinds[kind].fields))

    def _read_update(self, stream: BitReader, slot: int, tick: int, age0: int) -> Update:
        """S-6."""
        age = age0 if stream.flag() else stream.bits(6)
        if slot not in self.slots:
            raise SnapshotError("an update of an empty slot")
        if age == 0:
            raise SnapshotError("an age of 0")
        entity = self.slots[slot]
        kind = self.schema.kinds[entity.kind]
        changed = {group for group in kind.groups if stream.flag()}
        baseline_tick, base = entity.baseline(tick - age)
        guesses = [guess(f, i, base, age, self.rate) for i, f in enumerate(kind.fields)]
        state = (
            read_residual(stream, f, g) if f.group in changed else g for f, g in zip(kind.fields, guesses)
        )
        return Update(slot, baseline_tick, tuple(state))

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
        if held and (held.id, held.kind) == (spawn.id, spawn.kind):
            held.push(tick, spawn.state, 0)
            return
        self._remove(spawn.slot, events)
        for slot in [slot for slot, entity in self.slots.items() if entity.id == spawn.id]:
            self._remove(slot, events)
        self.slots[spawn.slot] = Entity(spawn.id, spawn.kind, [(tick, spawn.state)], tick)
        events.append(Event("spawned", spawn.id))

    def _remove(self, slot: int, events: list[Event]) -> None:
        """Empties a slot; an empty one stays so (S-4)."""
        gone = self.slots.pop(slot, None)
        if gone:
            events.append(Event("despawned", gone.id))


def read_gap(stream: BitReader) -> int:
    """The prefix code of a record's gap (G-4, section 14)."""
    for width in (0, 3, 6):
        if not stream.flag():
            return stream.bits(width)
    return stream.bits(12)


def guess(f: Field, index: int, base: State, age: int, rate: int) -> int:
    """What a field is guessed to be, ``age`` ticks after its baseline (S-7)."""
    if f.linear is None:
        return base[index]
    moved = base[f.linear.velocity] * f.linear.numerator * age
    return f.into_range(base[index] + (moved + rate // 2) // rate)


def read_residual(stream: BitReader, f: Field, guessed: int) -> int:
    """The value of a field whose group is set (S-8)."""
    if f.bits == 1:
        return f.read(stream)
    residual_class = stream.bits(2)
    if residual_class == 0:
        return guessed
    if residual_class == 3:
        return f.read(stream)
    code = stream.bits(f.classes[residual_class - 1])
    value = guessed + ((code + 1) // 2 if code % 2 else -(code // 2 + 1))
    if not f.wraps and not f.low <= value <= f.high:
        raise SnapshotError("a value out of range")
    return f.into_range(value)


# --- 15 Inputs ------------------------------------------------------------------------------------


class Input(NamedTuple):
    """One tick's input (I-4)."""

    move_x: int = 0
    move_z: int = 0
    yaw: int = 0
    buttons: int = 0


SPRINT, JUMP = 1, 2


def encode_inputs(newest_first: Sequence[Input], schema: Schema = STANDARD_SCHEMA) -> bytes:
    """The body of an input message (I-1, I-2)."""
    out = BitWriter().bits(len(newest_first) - 1, 3)
    before: Input | None = None
    for entry in newest_first:
        if before is not None:
            out.bits(entry == before, 1)
        if entry != before:
            for f, value in zip(schema.input, entry):
                out.bits(value, f.bits)
        before = entry
    return out.finish()


def decode_inputs(body: bytes, schema: Schema = STANDARD_SCHEMA) -> list[Input]:
    """The inputs of a message, newest first (I-1); raises :class:`EndOfData` or :class:`ValueError`."""
    stream = BitReader(body)
    inputs: list[Input] = []
    for _ in range(stream.bits(3) + 1):
        same = bool(inputs) and stream.flag()
        inputs.append(inputs[-1] if same else Input(*(f.read(stream) for f in schema.input)))
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


class Notice(NamedTuple):
    """A line for the player to read (M-2)."""

    text: str


def decode_message(body: bytes) -> Welcome | Notice:
    """Reads a session message (section 16)."""
    kind, rest = body[:1], body[1:]
    if kind == b"\1" and len(body) == 19:
        return Welcome(*struct.unpack("<IIQH", rest))
    if kind == b"\2" and len(rest) <= 256:
        try:
            return Notice(rest.decode())
        except UnicodeDecodeError:
            raise MessageError("a notice that is not UTF-8") from None
    raise MessageError("an unknown kind or a wrong length")


# --- 8 to 12 The connection -----------------------------------------------------------------------


@dataclass
class Connection:
    """A connected client: takes and makes data packets, keeps the world (sections 8 to 16)."""

    established: Established
    now: float
    world: World = field(init=False)
    server_tick: int = field(init=False)
    welcome: Welcome | None = None
    notices: list[str] = field(default_factory=list)
    close_reason: CloseReason | None = None
    must_close: CloseReason | None = None
    drops: Counter[str] = field(default_factory=Counter)
    received: Received = field(default_factory=Received)
    rtt: float = 0.0
    on_snapshot: Callable[[Applied], None] = lambda applied: None

    def __post_init__(self) -> None:
        self.world = World(self.established.accepted.rate)
        self.server_tick = self.established.accepted.tick
        self.last_received = self.last_sent = self.now
        self.answer_wanted = False
        self._largest_at = self.now
        self._next_number = 0
        self._newest_snapshot = -1
        self._malformed = 0
        self._sent_at: dict[int, float] = {}
        self._session = ReliableReceiver(STANDARD_CHANNELS[SESSION_CHANNEL].queue)
        self._input = SequencedReceiver()

    @property
    def over(self) -> bool:
        """Whether the peer closed, or this side must (W-6, S-10, P-8)."""
        return self.close_reason is not None or self.must_close is not None

    def idle(self, now: float) -> bool:
        """W-4."""
        return now - self.last_received > self.established.accepted.idle_ms / 1000

    def receive(self, datagram: bytes, now: float) -> None:
        """Handles one datagram, P-1 to P-11; what is dropped is counted."""
        try:
            self._take(datagram, now)
        except Drop as drop:
            self.drops[drop.cause] += 1

    def _take(self, datagram: bytes, now: float) -> None:
        if datagram and datagram[0] in (2, 3, 4):
            raise Drop("not_expected")
        check_header(datagram, to_client=True)
        number = self.received.number_of(int.from_bytes(datagram[1:3], "little"))
        plain = open_data(self.established.keys.s2c, number, datagram, to_client=True)
        if self.over:
            raise Drop("closed")
        self.last_received = now
        try:
            packet = Plaintext.decode(plain)
            self._check_late(packet, number)
            self._handle_ack(packet.ack, now)
            self._count(number, now)
            self._handle_frames(packet, number, now)
        except Malformed as error:
            self._count(number, now)
            self._count_malformed(error)

    def _check_late(self, packet: Plaintext, number: int) -> None:
        """P-10."""
        carries = any(f.channel == SNAPSHOT_CHANNEL for f in packet.frames)
        if carries and number < self._newest_snapshot:
            raise Drop("late_snapshot")

    def _handle_ack(self, ack: Ack | None, now: float) -> None:
        """L-2, L-4. Nothing sent here is reliable, so only the round trip is of interest."""
        if ack is None:
            return
        if self._next_number == 0:
            raise Malformed("L-4")
        largest = expand(self._next_number - 1, ack.largest)
        if largest >= self._next_number:
            raise Malformed("L-4")
        sent_at = self._sent_at.pop(largest, None)
        if sent_at is not None and ack.delay != 255:
            sample = max(0.0, now - sent_at - ack.delay * ACK_DELAY_UNIT)
            self.rtt = sample if self.rtt == 0.0 else self.rtt + (sample - self.rtt) / 8

    def _count(self, number: int, now: float) -> None:
        """Counts a number as received (P-8, P-11)."""
        if self.received.add(number):
            self._largest_at = now

    def _count_malformed(self, error: Malformed) -> None:
        """P-8."""
        self.drops[f"malformed {error.rule}"] += 1
        self._malformed += 1
        if self._malformed == MAX_MALFORMED:
            self.must_close = CloseReason.PROTOCOL_ERROR

    def _handle_frames(self, packet: Plaintext, number: int, now: float) -> None:
        """P-11: the frames, one by one."""
        tick = None
        if packet.tick is not None:
            tick = expand(self.server_tick, packet.tick)
            self.server_tick = max(self.server_tick, tick)
        for frame in packet.frames:
            self.answer_wanted = True  # L-3
            if frame.channel == CONTROL:
                self.close_reason = frame.close_reason
            elif frame.channel == SNAPSHOT_CHANNEL:
                self._apply_snapshot(frame.body, number, tick)
            elif frame.number is not None:
                for body in self._session.receive(frame.number, frame.body):
                    self._handle_message(body)
            else:
                self._input.accept(number)  # C-1; the server of today sends nothing there
            if self.over:
                return

    def _apply_snapshot(self, body: bytes, number: int, tick: int | None) -> None:
        """S-1, S-10."""
        self._newest_snapshot = number
        try:
            if tick is None:
                raise SnapshotError("a snapshot in a packet without a tick")
            self.on_snapshot(self.world.apply(body, tick))
        except SnapshotError as error:
            self.drops[f"snapshot: {error}"] += 1
            self.must_close = CloseReason.PROTOCOL_ERROR

    def _handle_message(self, body: bytes) -> None:
        """M-1 to M-3."""
        try:
            message = decode_message(body)
        except MessageError as error:
            self.drops[f"message: {error}"] += 1
            self.must_close = CloseReason.PROTOCOL_ERROR
            return
        if isinstance(message, Welcome):
            self.welcome = message
        else:
            self.notices.append(message.text)

    def make(self, now: float, frames: Sequence[Frame] = (), tick: int | None = None) -> bytes:
        """The next data packet, with an ack if anything came yet (K-4, L-1, L-2)."""
        low_tick = None if tick is None else tick & 0xFFFF
        plain = Plaintext(self._ack(now), low_tick, tuple(frames)).encode()
        self.answer_wanted = False
        return self.seal(now, plain)

    def seal(self, now: float, plain: bytes) -> bytes:
        """Seals a plaintext with the next number (K-4)."""
        number, self._next_number = self._next_number, self._next_number + 1
        if number >= PACKET_NUMBER_END:
            raise OverflowError("packet numbers are used up (K-4)")
        self.last_sent = now
        self._sent_at[number] = now
        self._sent_at.pop(number - REPLAY_WINDOW, None)
        return seal_to_server(self.established.keys.c2s, self.established.accepted.connection, number, plain)

    def _ack(self, now: float) -> Ack | None:
        if self.received.largest < 0:
            return None
        delay = min(255, int((now - self._largest_at) / ACK_DELAY_UNIT))
        return Ack(self.received.largest & 0xFFFF, delay, self.received.mask())

#!/usr/bin/env python3
"""A server made from SPEC.md alone that echoes, as section 20 describes; for one client at a time or a few.

``python3 echo.py echo --listen 127.0.0.1:7800 --bundles 8`` stands in for ``bots echo``, so that the client
and the checks of ``run.py`` can be tried against another program: ``run.py --bots ./echo.py``.
It asks for no cookies and limits nothing.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

import zonewire as zw

CLUSTER_KEY = os.urandom(32)
IDLE_MS = 10_000
RATE = 20
CHALLENGE_EVERY, CHALLENGE_FOR = 0.05, 3.0  # W-7
PROBE_EVERY = 0.3
ECHOED = (zw.ORDERED_CHANNEL, zw.UNORDERED_CHANNEL, zw.DATAGRAM_CHANNEL, zw.STATE_CHANNEL, zw.BLOCK_CHANNEL)
Address = tuple[str, int]


@dataclass
class Challenge:
    """A path that is being tried (W-7)."""

    address: Address
    data: bytes
    until: float
    allowed: int  # bytes that may still go there
    next_at: float = 0.0


class Client(zw.Peer):
    """The server's end of one connection."""

    def __init__(self, terms: zw.Terms, hello: bytes, accept: bytes, address: Address, now: float) -> None:
        super().__init__(terms, now)
        self.hello = hello
        self.accept = accept
        self.address = address
        self.established = False
        self.closes = 0
        self.close_at = 0.0
        self.challenge: Challenge | None = None
        self._from = address
        self._probe_at = 0.0

    def take(self, datagram: bytes, address: Address, now: float) -> None:
        """Handles a data packet (P-9, W-7)."""
        self._from, before = address, self.received.largest
        taken = self.last_received
        self.receive(datagram, now)
        if self.last_received == taken and self.received.largest == before:
            return
        if not self.established:
            self.established, self.address = True, address
        elif self.received.largest > before:
            self._look_at_address(address, len(datagram), now)

    def _look_at_address(self, address: Address, size: int, now: float) -> None:
        """W-7: a newer packet came from here."""
        if address == self.address:
            self.challenge = None
        elif self.challenge is None or self.challenge.address != address:
            self.challenge = Challenge(address, os.urandom(8), now + CHALLENGE_FOR, 3 * size)
        else:
            self.challenge.allowed += 3 * size

    def _handle_at_server(self, frame: zw.PathResponse | zw.TimeRequest, now: float) -> None:
        """W-7, W-9."""
        if isinstance(frame, zw.TimeRequest):
            self._urgent.append(zw.TimeReply(frame.client_time, zw.microseconds(now), 0))
            return
        challenge = self.challenge
        if challenge and challenge.data == frame.data and challenge.address == self._from:
            self.address, self.challenge = challenge.address, None

    def due(self, now: float) -> list[tuple[Address, bytes]]:
        """Packets to send, and where to."""
        if not self.established or self.close_reason is not None:
            return []
        if self.must_close is not None:
            if self.closes == zw.CLOSES or now < self.close_at:
                return []
            self.closes, self.close_at = self.closes + 1, now + zw.CLOSE_SPACING
            return [(self.address, self.make_alone(now, zw.Close(self.must_close)))]
        for channel in ECHOED:
            for message in self.inbox[channel]:
                self.send(channel, message)
            self.inbox[channel].clear()
        return [*self._challenges(now), *((self.address, packet) for packet in self._data(now))]

    def _challenges(self, now: float) -> list[tuple[Address, bytes]]:
        challenge = self.challenge
        if challenge is None or now < challenge.next_at:
            return []
        if now >= challenge.until:
            self.challenge = None
            return []
        if challenge.allowed < 2 * len(challenge.data) + 30:
            return []
        packet = self.make_alone(now, zw.PathChallenge(challenge.data))
        challenge.next_at, challenge.allowed = now + CHALLENGE_EVERY, challenge.allowed - len(packet)
        return [(challenge.address, packet)]

    def _data(self, now: float) -> list[bytes]:
        packets = self.poll(now)
        wants = self.terms.features & zw.Features.MTU and self.longest_now < self.terms.longest_sent
        if wants and now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY
            packets.append(self.probe_mtu(now, self.terms.longest_sent))
        return packets


class EchoServer:
    """Sections 3 to 7, the server's side, for tokens that it made itself."""

    def __init__(self, listen: Address, bundles: int, roll_packets: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(listen)
        self._address: Address = self.socket.getsockname()
        self._roll_packets = roll_packets
        self._clients: dict[int, Client] = {}
        self._used: set[bytes] = set()
        self._tokens = [self._token() for _ in range(bundles)]

    def _token(self) -> zw.Token:
        now = time.time_ns() // 1_000_000
        entry = zw.ServerEntry(1, *self._address)
        return zw.Token(0, now + 3_600_000, os.urandom(16), now, 1, 1, 0, 0, 0, os.urandom(32), (entry,))

    def introduction(self) -> str:
        """What is printed at the start (section 20)."""
        place = f"{self._address[0]}:{self._address[1]}"
        bundles = [
            {
                "token": base64.b64encode(token.seal(CLUSTER_KEY)).decode(),
                "psk": base64.b64encode(token.psk).decode(),
                "servers": [{"id": 1, "addr": place}],
                "expires_ms": token.expires_ms,
            }
            for token in self._tokens
        ]
        hashes = {"channel_hash": f"{zw.LAB_CHANNELS_HASH:#018x}", "schema_hash": f"{SCHEMA_HASH:#018x}"}
        return json.dumps({"addr": place, **hashes, "bundles": bundles})

    def step(self) -> None:
        """Handles what arrives, sends what is due."""
        select.select([self.socket], [], [], 0.002)
        self.socket.setblocking(False)
        for _ in range(64):
            try:
                datagram, address = self.socket.recvfrom(2048)
            except BlockingIOError:
                break
            self._take(datagram, address, time.monotonic())
        now = time.monotonic()
        for client in self._clients.values():
            for to, packet in client.due(now):
                self.socket.sendto(packet, to)

    def _take(self, datagram: bytes, address: Address, now: float) -> None:
        if not datagram:
            return
        if datagram[0] == 1:
            answer = self._hello(datagram, address, now)
            if answer:
                self.socket.sendto(answer, address)
        elif datagram[0] >> 6 == 1 and len(datagram) >= zw.MIN_TO_SERVER:
            client = self._clients.get(int.from_bytes(datagram[1:5], "little"))
            if client:
                client.take(datagram, address, now)

    def _hello(self, hello: bytes, address: Address, now: float) -> bytes | None:
        """H-1 to H-17, what there is of them here."""
        if len(hello) != zw.HELLO_BYTES or hello[4:12] != b"ZONEWIRE":
            return None
        version, highest, longest = hello[1], hello[3], int.from_bytes(hello[400:402], "little")
        if version != zw.PROTOCOL_VERSION:
            low_high = bytes(2) if version == 1 else bytes([zw.PROTOCOL_VERSION] * 2)
            return bytes([4, zw.RefuseReason.VERSION_MISMATCH]) + low_high + hello[-16:] + bytes(16)
        if any(hello[402:1184]) or highest < 2 or longest < zw.BASE_PACKET or hello[2] > 1:
            return None
        for client in self._clients.values():  # H-6
            if client.hello[-16:] == hello[-16:] and not client.established:
                return client.accept
        try:
            token = zw.Token.open(hello[108:400], {0: CLUSTER_KEY})
        except zw.TokenError:
            return bytes([4, zw.RefuseReason.TOKEN_INVALID, 0, 0]) + hello[-16:] + bytes(16)
        mac_key = zw.handshake_mac_key(token.psk)
        if zw.mac16(mac_key, zw.without_cookie(hello)[:-16]) != hello[-16:]:
            return None
        channel_hash, schema_hash = struct.unpack("<QQ", hello[20:36])
        reason = None
        if channel_hash != zw.LAB_CHANNELS_HASH:
            reason = zw.RefuseReason.CHANNEL_MISMATCH
        elif schema_hash != SCHEMA_HASH:
            reason = zw.RefuseReason.SCHEMA_MISMATCH
        elif token.id in self._used:
            reason = zw.RefuseReason.TOKEN_USED
        if reason:
            refusal = bytes([4, reason, 0, 0]) + hello[-16:]
            return refusal + zw.mac16(mac_key, refusal)
        self._used.add(token.id)
        return self._accept(hello, token, mac_key, address, now)

    def _accept(self, hello: bytes, token: zw.Token, mac_key: bytes, address: Address, now: float) -> bytes:
        """Section 5."""
        private = X25519PrivateKey.generate()
        shared = private.exchange(X25519PublicKey.from_public_bytes(hello[76:108]))
        head = b"\3\0\0\0" + hello[-16:] + private.public_key().public_bytes_raw()
        keys = zw.derive_keys(zw.CipherSuite(hello[2]), zw.transcript(hello, head), shared, token.psk)
        features = int.from_bytes(hello[36:44], "little") & zw.TRANSPORT_FEATURES
        accepted = zw.Accepted(
            connection=int.from_bytes(os.urandom(4), "little"),
            tick=0,
            server_time=zw.microseconds(now),
            client_time=int.from_bytes(hello[12:20], "little"),
            rate=RATE,
            longest_packet=zw.MAX_PACKET,
            idle_ms=IDLE_MS,
            channel_hash=zw.LAB_CHANNELS_HASH,
            schema_hash=SCHEMA_HASH,
            down_cap=0,
            up_cap=0,
            features=features,
        )
        terms = zw.Terms(
            is_client=False,
            connection=accepted.connection,
            suite=keys.suite,
            send_secret=keys.s2c,
            receive_secret=keys.c2s,
            channels=zw.LAB_CHANNELS,
            features=features,
            longest_sent=min(zw.MAX_PACKET, int.from_bytes(hello[400:402], "little")),
            roll_packets=self._roll_packets,
        )
        sealed = head + keys.handshake.seal(0, accepted.encode(), head)
        accept = sealed + zw.mac16(mac_key, sealed)
        self._clients[accepted.connection] = Client(terms, hello, accept, address, now)
        return accept


SCHEMA_HASH = zw.STANDARD_SCHEMA.hash()


def main() -> None:
    """Entry point; runs until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["echo"])
    parser.add_argument("--listen", default="127.0.0.1:7800")
    parser.add_argument("--bundles", type=int, default=1)
    parser.add_argument("--key-roll", type=int, default=zw.ROLL_PACKETS)
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    server = EchoServer((host, int(port)), options.bundles, options.key_roll)
    print(server.introduction(), flush=True)
    while True:
        server.step()


if __name__ == "__main__":
    main()

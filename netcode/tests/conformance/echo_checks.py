"""Checks of everything that two tables, nine channels and a moving client can show, against ``bots echo``.

Section 20 of SPEC.md: what goes out comes back. Used by ``run.py``.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import vectors
import zonewire as zw
from session import Caller, Link, Weather, client_time, drive, play

SIZES = (0, 1, 1024, 1025, 65_536)
BLOCKS = (1, 1024, 1 << 20)
KEY_ROLL = 100
AES, CHACHA = zw.CipherSuite.AES_128_GCM, zw.CipherSuite.CHACHA20_POLY1305
SLACK = 0.02  # what this machine may take more than a rule allows
SETUP_AT_A_TIME = 6


class Bots:
    """An echo server: a child process on a loopback port (section 20)."""

    def __init__(self, path: Path, port: int, bundles: int, *options: str) -> None:
        self.address = ("127.0.0.1", port)
        listen = ["--listen", f"127.0.0.1:{port}", "--bundles", str(bundles)]
        self._process = subprocess.Popen(
            [str(path.absolute()), "echo", *listen, *options], stdout=subprocess.PIPE, text=True
        )
        self.told: dict[str, Any] = {}
        self._bundles: list[zw.Bundle] = []
        self._wanted = bundles

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout:
            self._process.stdout.close()

    def wait_ready(self) -> bool:
        """Reads the JSON objects that it prints: about itself first, then one a line for each bundle."""
        for line in self._process.stdout or []:
            said = json.loads(line)
            self.told = self.told or said
            entries = said.get("bundles", [said] if "token" in said else [])
            self._bundles += [zw.Bundle.from_json(entry) for entry in entries]
            if len(self._bundles) == self._wanted:
                return True
        return False

    def hash(self, key: str) -> int:
        """One of the hashes that it told."""
        return int(str(self.told[key]), 16)

    def bundle(self) -> zw.Bundle:
        """A bundle that was not used."""
        return self._bundles.pop()


class Echo(Caller):
    """A client with the laboratory table."""

    channels = zw.LAB_CHANNELS

    def __init__(self, attempt: zw.Attempt, link: Link, roll_packets: int = zw.ROLL_PACKETS) -> None:
        super().__init__(attempt, link, roll_packets)
        self.every: Callable[[float], None] = lambda now: None

    @classmethod
    def start(
        cls,
        bots: Bots,
        suite: zw.CipherSuite = AES,
        weather: Weather | None = None,
        roll_packets: int = zw.ROLL_PACKETS,
        **options: Any,
    ) -> Self:
        """A client that is about to send its first HELLO."""
        return cls(attempt_with(bots, suite, **options), Link(bots.address, weather), roll_packets)

    def playing(self, now: float) -> None:
        """Whatever the check does all the time."""
        self.every(now)

    def tell(self, channel: int, message: bytes) -> None:
        """Queues a message or a block."""
        self.up.send(channel, message)

    def heard(self, channel: int) -> list[bytes]:
        """What came back."""
        return self.up.inbox[channel]


class Deaf(zw.BlockSender):
    """Stands in where a check sends chunks by itself, of which the client's own sender knows nothing."""

    def credit(self, credit: zw.Credit) -> None:
        """Nothing to do."""

    def cancelled(self, cancel: zw.Cancel) -> None:
        """Nothing to do."""


def attempt_with(
    bots: Bots, suite: zw.CipherSuite = AES, *, bundle: zw.Bundle | None = None, **options: Any
) -> zw.Attempt:
    """An attempt with the laboratory table, and the schema that the server names."""
    chosen = {"channel_hash": zw.LAB_CHANNELS_HASH, "schema_hash": bots.hash("schema_hash"), **options}
    bundle = bundle or bots.bundle()
    return zw.Attempt(bundle.token, bundle.psk, suite, client_time(), **chosen)


def connect(t: vectors.Tally, name: str, sessions: Sequence[Echo], seconds: float = 5.0) -> bool:
    """Connects; whether all are."""
    drive(sessions, lambda: all(s.connection or s.refused for s in sessions), seconds)
    for session in sessions:
        detail = f"refused {session.refused}, drops {dict(session.drops)}" if not session.connection else ""
        t.check(f"{name}: connected", session.connection is not None, detail)
    return all(session.connection is not None for session in sessions)


def close(sessions: Sequence[Echo]) -> None:
    """Closes what stands."""
    standing = [session for session in sessions if session.connection and not session.connection.over]
    for session in standing:
        session.close()
    if standing:
        drive(standing, lambda: all(session.closed for session in standing), 1.0)


def check_stands(t: vectors.Tally, name: str, session: Echo, allowed: frozenset[str] = frozenset()) -> None:
    """Nothing was dropped but for ``allowed`` causes, and nobody wants to close."""
    drops = session.up.drops
    t.check(f"{name}: no drops but {sorted(allowed) or 'none'}", set(drops) <= allowed, str(dict(drops)))
    reasons = (session.up.close_reason, session.up.must_close)
    t.equal(f"{name}: the connection stands", reasons, (None, None))


# --- Messages and blocks --------------------------------------------------------------------------


def check_messages(t: vectors.Tally, name: str, session: Echo, rng: random.Random, seconds: float) -> None:
    """C-4 to C-8: every size comes back once, on the ordered channel in order."""
    messages = [rng.randbytes(size) for size in SIZES]
    for channel in (zw.ORDERED_CHANNEL, zw.UNORDERED_CHANNEL):
        session.heard(channel).clear()
        for message in messages:
            session.tell(channel, message)
    both = (zw.ORDERED_CHANNEL, zw.UNORDERED_CHANNEL)
    drive([session], lambda: all(len(session.heard(c)) >= len(SIZES) for c in both), seconds)
    play([session], 0.1)
    t.check(f"{name}: ordered", session.heard(both[0]) == messages, sizes(session.heard(both[0])))
    unordered = sorted(session.heard(both[1])) == sorted(messages)
    t.check(f"{name}: unordered", unordered, sizes(session.heard(both[1])))


def sizes(messages: Sequence[bytes]) -> str:
    """Their lengths."""
    return f"{[len(message) for message in messages]} bytes came back"


def check_datagrams(t: vectors.Tally, name: str, session: Echo, rng: random.Random, least: int) -> None:
    """C-2, C-3: messages of 1 to 8 parts come back whole, at most once each."""
    messages = [rng.randbytes(1024 * parts - cut) for parts in range(1, 9) for cut in (0, 1, 1023)]
    session.heard(zw.DATAGRAM_CHANNEL).clear()
    for message in messages:
        session.tell(zw.DATAGRAM_CHANNEL, message)
        play([session], 0.01)
    drive([session], lambda: len(session.heard(zw.DATAGRAM_CHANNEL)) >= len(messages), 0.6)
    came = Counter(session.heard(zw.DATAGRAM_CHANNEL))
    known = set(came) <= set(messages) and max(came.values(), default=0) <= 1
    t.check(f"{name}: datagrams come back as they were, once", known, sizes(list(came)))
    enough = least <= len(came)
    t.check(f"{name}: datagrams of 1 to 8 parts", enough, f"{len(came)} of {len(messages)} came back")


def check_sequenced(t: vectors.Tally, name: str, session: Echo, least: int) -> None:
    """C-1: never an older one after a newer one."""
    heard = session.heard(zw.STATE_CHANNEL)
    heard.clear()
    for i in range(20):
        session.tell(zw.STATE_CHANNEL, i.to_bytes(4, "little") * (1 + i * 10))
        play([session], 0.02)
    drive([session], lambda: bool(heard) and heard[-1][:4] == (19).to_bytes(4, "little"), 0.4)
    numbers = [int.from_bytes(message[:4], "little") for message in heard]
    whole = all(len(message) == 4 * (1 + i * 10) for i, message in zip(numbers, heard, strict=True))
    ascending = all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    t.check(f"{name}: sequenced come back in order", ascending and whole, str(numbers))
    t.check(f"{name}: sequenced come back", len(numbers) >= least, f"{len(numbers)} of 20")


def check_blocks(
    t: vectors.Tally, name: str, session: Echo, rng: random.Random, lengths: Sequence[int], seconds: float
) -> None:
    """C-9, C-10: blocks come back equal, one after the other."""
    blocks = [rng.randbytes(length) for length in lengths]
    heard = session.heard(zw.BLOCK_CHANNEL)
    heard.clear()
    for block in blocks:
        session.tell(zw.BLOCK_CHANNEL, block)
    began = time.monotonic()
    drive([session], lambda: len(heard) >= len(blocks), seconds)
    took = time.monotonic() - began
    receiver = session.up.block_receivers[zw.BLOCK_CHANNEL]
    detail = f"{sizes(heard)} in {took:.1f} s, present limit {receiver.limit}"
    t.check(f"{name}: blocks come back", heard == blocks, detail)


def check_block_cancels(t: vectors.Tally, name: str, session: Echo, rng: random.Random) -> None:
    """C-11: either side can end a block; the next one comes whole."""
    heard = session.heard(zw.BLOCK_CHANNEL)
    heard.clear()
    sender = session.up.block_senders[zw.BLOCK_CHANNEL]
    receiver = session.up.block_receivers[zw.BLOCK_CHANNEL]
    # So long that it is not over on a machine that stalls for a moment.
    session.tell(zw.BLOCK_CHANNEL, rng.randbytes(1 << 21))
    play([session], 0.02)
    t.check(f"{name}: a block under way is cancelled", not sender.done, "done" if sender.done else "going on")
    sender.cancel()
    after = rng.randbytes(5000)
    session.tell(zw.BLOCK_CHANNEL, after)
    drive([session], lambda: bool(heard), 3.0)
    t.check(f"{name}: a block after one that was cancelled", heard == [after], sizes(heard))
    heard.clear()
    unwanted, wanted = rng.randbytes(1 << 19), rng.randbytes(3000)
    session.tell(zw.BLOCK_CHANNEL, unwanted)
    drive(
        [session],
        lambda: sender.done and receiver.total == len(unwanted) and receiver.present is not None,
        5.0,
    )
    receiver.cancel()
    session.tell(zw.BLOCK_CHANNEL, wanted)
    drive([session], lambda: bool(heard), 3.0)
    t.check(f"{name}: a block after one that was not wanted", heard == [wanted], sizes(heard))


# --- Key phases -----------------------------------------------------------------------------------


def check_phases(t: vectors.Tally, name: str, session: Echo) -> None:
    """K-5, K-6: both directions have rolled."""
    up = session.up
    ours, theirs = up.send_keys.phase, up.receive_keys.phase
    packets = (up.flight.next_number, up.received.largest + 1)
    for who, phase, count in (("the client", ours, packets[0]), ("the server", theirs, packets[1])):
        # Each phase lasts KEY_ROLL packets and until one of it was acknowledged.
        most = count // KEY_ROLL
        t.check(
            f"{name}: {who} rolls its keys", most // 2 <= phase <= most, f"phase {phase}, {count} packets"
        )


# --- Addresses ------------------------------------------------------------------------------------


def check_moves(t: vectors.Tally, name: str, session: Echo, moves: int) -> None:
    """W-7, W-8: the port changes, the connection stays."""
    heard = session.heard(zw.ORDERED_CHANNEL)
    heard.clear()
    told: list[bytes] = []
    delays: list[float] = []

    def chat(now: float) -> None:
        if now >= chat_at[0]:
            chat_at[0] = now + 0.05
            told.append(len(told).to_bytes(4, "little"))
            session.tell(zw.ORDERED_CHANNEL, told[-1])

    chat_at = [time.monotonic()]
    session.every = chat
    play([session], 0.3)
    for _ in range(moves):
        before, at = session.up.received.largest, time.monotonic()
        session.link.move()
        moved = drive([session], newer_than(session, before), 0.9)
        delays.append(time.monotonic() - at if moved else float("inf"))
        play([session], max(0.0, at + 1.0 - time.monotonic()))
    session.every = lambda now: None
    drive([session], lambda: len(heard) >= len(told), 3.0)
    seen = session.up.frames_seen["PathChallenge"]
    t.check(f"{name}: all messages come back", heard == told, f"{len(heard)} of {len(told)}")
    t.check(f"{name}: each move was challenged", seen >= moves, f"{seen} challenges for {moves} moves")
    longest = max(delays)
    t.check(f"{name}: the answers follow", longest < 0.7, f"after {longest * 1000:.0f} ms at the latest")


def newer_than(session: Echo, number: int) -> Callable[[], bool]:
    """Whether a newer packet than this one has come."""
    return lambda: session.up.received.largest > number


def check_copies(t: vectors.Tally, name: str, bots: Bots, session: Echo) -> None:
    """W-7: a copied packet that arrives first, from elsewhere, moves nothing."""
    stranger = Link(bots.address)
    heard = session.heard(zw.ORDERED_CHANNEL)
    heard.clear()
    told, sent, got = [], 0, []
    for i in range(8):
        now = time.monotonic()
        told.append(bytes([i]) * 100)
        session.tell(zw.ORDERED_CHANNEL, told[-1])
        datagram = session.up.make(now)
        stranger.send(datagram, now)
        sent += len(datagram)
        time.sleep(0.002)
        session.link.send(datagram, time.monotonic())
        stranger.send(datagram, time.monotonic())  # and once more: a duplicate, which tells nothing
        play([session], 0.1)
        got += stranger.receive(time.monotonic())
    drive([session], lambda: len(heard) >= len(told), 2.0)
    t.check(f"{name}: all messages come back", heard == told, f"{len(heard)} of {len(told)}")
    volume = sum(map(len, got))
    t.check(f"{name}: the copier gets little", volume <= 3 * sent, f"{volume} bytes for {sent}")
    t.check(f"{name}: and only challenges", all(len(d) < 60 for d in got), f"{[len(d) for d in got]}")
    session.tell(zw.ORDERED_CHANNEL, b"home")
    drive([session], lambda: heard[-1:] == [b"home"], 1.0)
    t.equal(f"{name}: the connection has not moved", heard[-1:], [b"home"])
    t.equal(f"{name}: and the copier gets nothing more", stranger.receive(time.monotonic()), [])


# --- Acks, clock, mtu -----------------------------------------------------------------------------


def time_to_ack(session: Echo, pings: int, gap: bool) -> float:
    """Seconds from sending pings to the ack of the last one."""
    acknowledged: list[bool] = []
    plain = zw.Plaintext(None, None, (zw.Ping(),)).encode(zw.LAB_CHANNELS)
    if gap:
        session.up.skip_number()
    began = time.monotonic()
    for i in range(pings):
        session.send_plain(plain, began, [acknowledged.append] if i == pings - 1 else [])
    drive([session], lambda: True in acknowledged, 0.5)
    return time.monotonic() - began if True in acknowledged else float("inf")


def check_acks(t: vectors.Tally, name: str, session: Echo) -> None:
    """L-3: within 60 ms; at once when something is missing, and when 8 packets wait."""
    rules = (("one packet", 1, False, zw.ACK_WITHIN), ("a gap", 1, True, 0.01), ("8 packets", 8, False, 0.01))
    for what, pings, gap, limit in rules:
        delays = []
        for _ in range(5):
            play([session], 0.15)
            delays.append(time_to_ack(session, pings, gap))
        detail = ", ".join(f"{delay * 1000:.1f}" for delay in delays) + " ms"
        t.check(f"{name}: ack of {what}", statistics.median(delays) <= limit + SLACK, detail)


def check_clock(t: vectors.Tally, name: str, session: Caller) -> None:
    """W-9: the estimate of the server's clock is consistent."""
    estimates: list[zw.Clocks] = []
    for at_once in (True, False):
        session.up.clocks = clocks = zw.Clocks()
        for _ in range(20):
            session.up.ask_time(time.monotonic(), at_once)
            play([session], 0.02 if at_once else 0.03)
        play([session], 0.1)
        what = "at once" if at_once else "some time"
        if not t.equal(f"{name}: time replies, {what}", clocks.samples, 20):
            return
        estimates.append(clocks)
    quick, slow = estimates
    apart = abs(quick.offset - slow.offset) / 1000
    t.check(f"{name}: clock estimates agree", apart < 3, f"{apart:.3f} ms apart")
    sure = quick.uncertainty / 1000
    t.check(f"{name}: the estimate is close", 0 <= sure < 3, f"within {sure:.3f} ms")
    held = statistics.median(quick.held) / 1000
    t.check(f"{name}: an urgent request does not wait", held < 10, f"{held:.2f} ms")
    accepted = session.up.established.accepted
    first = accepted.server_time - zw.microseconds(session.connected_at) - quick.offset
    near = -100 < first / 1000 < 10
    t.check(f"{name}: the ACCEPT's clock is the same", near, f"{first / 1000:.3f} ms from the estimate")


def check_mtu(t: vectors.Tally, name: str, session: Echo, rng: random.Random) -> None:
    """L-8: a probe of 1452 is acknowledged; longer packets go both ways."""
    longest = min(zw.MAX_PACKET, session.up.established.accepted.longest_packet)
    t.equal(f"{name}: the server takes long packets", longest, zw.MAX_PACKET)
    for _ in range(3):
        session.probe_mtu(longest, time.monotonic())
        if drive([session], lambda: session.up.longest_now == longest, 0.3):
            break
    t.equal(f"{name}: our probe is acknowledged", session.up.longest_now, longest)
    probes = drive([session], lambda: session.up.frames_seen["MtuProbe"] > 0, 3.0)
    t.check(f"{name}: the server probes", probes)
    play([session], 0.3)
    session.up.longest_received = 0
    messages, heard = [rng.randbytes(680) for _ in range(40)], session.heard(zw.ORDERED_CHANNEL)
    heard.clear()
    for message in messages:
        session.tell(zw.ORDERED_CHANNEL, message)
    drive([session], lambda: len(heard) >= len(messages), 3.0)
    t.check(f"{name}: messages, two in a packet", heard == messages, sizes(heard))
    got = session.up.longest_received
    t.check(f"{name}: longer packets come", zw.BASE_PACKET < got <= longest, f"{got} bytes")


# --- The handshake --------------------------------------------------------------------------------


def outcome(bots: Bots, attempt: zw.Attempt, seconds: float = 2.5) -> Echo:
    """Runs an attempt until it is decided or time is up."""
    session = Echo(attempt, Link(bots.address))
    drive([session], lambda: session.refused is not None or session.connection is not None, seconds)
    return session


def check_versions(t: vectors.Tally, bots: Bots) -> None:
    """H-5, E-4, H-17: a client that speaks more versions comes in with the one that both speak."""
    bundle = bots.bundle()
    for version, expected in ((3, (2, 2)), (1, (0, 0)), (255, (2, 2))):
        refused = outcome(
            bots, attempt_with(bots, bundle=bundle, version=version, highest=max(3, version))
        ).refused
        name = f"version {version}"
        if not t.check(f"{name}: refused", refused is not None) or refused is None:
            continue
        got = (refused.reason, refused.proven, refused.versions)
        t.equal(f"{name}: how", got, (zw.RefuseReason.VERSION_MISMATCH, False, expected))
        t.equal(f"{name}: the next attempt's", refused.next_version((2, 3)), 2 if expected[1] else None)
    session = outcome(bots, attempt_with(bots, bundle=bundle, version=2, highest=3))
    t.check("version 2, highest 3: comes in", session.connection is not None, str(session.refused))
    close([session])
    low = outcome(bots, attempt_with(bots, highest=1), 0.6)
    t.equal("HELLO with a highest version below its version: no answer", low.answers, [])
    short = outcome(bots, attempt_with(bots, longest_packet=zw.BASE_PACKET - 1), 0.6)
    t.equal("HELLO with a longest packet below 1200: no answer", short.answers, [])


def check_features(t: vectors.Tally, bots: Bots) -> None:
    """G-10: unknown bits are not agreed to; what was not agreed does not come."""
    everything = Echo.start(bots, features=(1 << 64) - 1)
    nothing = Echo.start(bots, CHACHA, features=0)
    short = Echo.start(bots, longest_packet=zw.BASE_PACKET)
    clock_only = Echo.start(bots, features=zw.Features.CLOCK)
    sessions = [everything, nothing, short, clock_only]
    if not connect(t, "features", sessions):
        return
    agreed = [session.up.established.accepted.features for session in sessions]
    t.equal(
        "features: agreed",
        agreed,
        [int(f) for f in (zw.TRANSPORT_FEATURES, 0, zw.TRANSPORT_FEATURES, zw.Features.CLOCK)],
    )
    for session in sessions:
        for size in SIZES:
            session.tell(zw.ORDERED_CHANNEL, bytes(size))
    play(sessions, 2.0)
    for name, session in zip(("all", "none", "short", "clock"), sessions, strict=True):
        t.equal(f"features, {name}: messages come back", len(session.heard(zw.ORDERED_CHANNEL)), len(SIZES))
        check_stands(t, f"features, {name}", session)
    for name, session in (("none", nothing), ("short", short), ("clock", clock_only)):
        t.check(f"features, {name}: no long packets", session.up.longest_received <= zw.BASE_PACKET)
    for name, session in (("none", nothing), ("clock", clock_only)):
        t.equal(f"features, {name}: no probes", session.up.frames_seen["MtuProbe"], 0)
    t.equal("features, none: no time replies", nothing.up.frames_seen["TimeReply"], 0)
    close(sessions)


# --- Malformed packets ----------------------------------------------------------------------------


@dataclass
class Case:
    """Plaintexts that break a rule, after some that do not."""

    name: str
    bad: bytes
    setup: list[bytes] = field(default_factory=list)
    features: int = int(zw.TRANSPORT_FEATURES)
    session: Echo | None = None
    acknowledged: list[bool] = field(default_factory=list)


def plain(*frames: zw.Frame, ack: zw.Ack | None = None) -> bytes:
    """A plaintext with these frames, right or wrong."""
    return zw.Plaintext(ack, None, frames).encode(zw.LAB_CHANNELS)


def bits(*fields: tuple[int, int]) -> bytes:
    """A plaintext from (value, width): behind a preamble without ack and tick, and a ``more``."""
    out = zw.BitWriter().bits(0, 2).bits(1, 1)
    for value, width in fields:
        out.bits(value, width)
    return out.finish()


def segment(number: int, first: bool, last: bool, body: bytes, channel: int = zw.ORDERED_CHANNEL) -> bytes:
    """A packet with one segment."""
    return plain(zw.Message(channel, body, zw.Segment(number & 0xFFFF, first, last)))


def part(part_id: int, last: int, index: int, length: int) -> bytes:
    """A packet with one part."""
    return plain(zw.Message(zw.DATAGRAM_CHANNEL, bytes(length), zw.Part(part_id, last, index)))


def chunk(block: int, total: int, index: int, length: int) -> bytes:
    """A packet with one chunk."""
    return plain(zw.Message(zw.BLOCK_CHANNEL, bytes(length), zw.Chunk(block, total, index)))


def block_says(head: zw.Head, body: bytes = b"") -> bytes:
    """A packet with a credit or a cancel."""
    return plain(zw.Message(zw.BLOCK_CHANNEL, body, head))


MESSAGE, CONTROL, SNAPSHOT = (0, 1), (0b01, 2), (0b11, 2)
FULL = bytes(zw.PIECE)


def frame_cases() -> list[Case]:
    """Section 9."""
    state, unordered = zw.STATE_CHANNEL, zw.UNORDERED_CHANNEL
    probe = bytearray(zw.Plaintext(None, None, (zw.MtuProbe(),)).encode(length=40))
    probe[-1] = 1
    zeros = zw.Plaintext(None, None, (zw.MtuProbe(),)).encode(length=40)
    return [
        Case("F-1 the preamble ends early", b"\x01"),
        Case("F-2 a byte behind the end", b"\0\0"),
        Case("F-2 padding that is not zero", b"\x80"),
        Case("F-3 no such channel", bits(MESSAGE, (len(zw.LAB_CHANNELS), 4), (0, 1), (0, 6))),
        Case("F-4 a message on the snapshot channel", bits(MESSAGE, (0, 4), (0, 1), (0, 6))),
        Case("F-5 a body cut short", bits(MESSAGE, (state, 4), (0, 1), (9, 6), (0, 8))),
        Case("F-5 a head cut short", bits(MESSAGE, (unordered, 4), (0, 1), (0, 6), (0, 8))),
        Case("F-5 a challenge's answer cut short", bits(CONTROL, (3, 4), (0, 56))),
        Case("F-6 too long for the channel", plain(zw.Message(state, bytes(1101)))),
        Case("F-6 a segment of 1025 bytes", segment(0, True, True, bytes(1025))),
        Case("F-6 a part that is the only one", part(0, 0, 0, 5)),
        Case("F-6 a part behind the last", part(0, 1, 2, 1024)),
        Case("F-6 a credit with a payload", block_says(zw.Credit(0, 300), b"x")),
        Case("F-6 an op of 3", bits(MESSAGE, (zw.BLOCK_CHANNEL, 4), (0, 1), (0, 6), (3, 2), (0, 54))),
        Case("F-7 an unknown control", bits(CONTROL, (7, 4))),
        Case("F-7 an unknown close reason", bits(CONTROL, (1, 4), (6, 8))),
        Case("F-7 a probe that is not all zero", bytes(probe)),
        Case("F-7 a probe without the feature", zeros, features=int(zw.Features.CLOCK)),
        Case("F-7 a time request without the feature", plain(zw.TimeRequest(True, 5)), features=1),
        Case("F-8 65 frames", plain(*[zw.Ping()] * 65)),
        Case("F-9 a snapshot", bits(SNAPSHOT, (0, 3), (0, 16))),
        Case("F-9 a path challenge", plain(zw.PathChallenge(bytes(8)))),
        Case("F-9 a time reply", plain(zw.TimeReply(1, 2, 3))),
        Case("L-4 an ack of what was never sent", plain(zw.Ping(), ack=zw.Ack(30_000, 0, 0))),
    ]


def channel_cases() -> list[Case]:
    """Section 11."""
    long_message = [segment(i, i == 0, False, FULL) for i in range(64)]
    # The first 63 segments of a message whose 64th is missing, then as much as the queue holds besides.
    full_queue = [*long_message[:63], *(segment(64 + i, True, True, FULL) for i in range(193))]
    return [
        Case("C-3 a part that is not full", part(0, 1, 0, 1000)),
        Case("C-3 an empty last part", part(0, 1, 1, 0)),
        Case("C-3 another last", part(0, 3, 1, 1024), [part(0, 2, 0, 1024)]),
        Case("C-7 256 above expected", segment(256, True, True, b"x")),
        Case("C-7 256 above expected, unordered", segment(256, True, True, b"x", zw.UNORDERED_CHANNEL)),
        Case("C-7 a segment that is not full", segment(0, True, False, bytes(1000))),
        Case("C-7 the first segment is not a first", segment(0, False, True, b"x")),
        Case("C-7 no first after a last", segment(1, False, True, b"x"), [segment(0, True, True, b"a")]),
        Case("C-7 a first after no last", segment(0, True, False, FULL), [segment(1, True, True, b"a")]),
        Case("C-7 longer than the longest", segment(64, False, True, b"x"), long_message),
        Case("C-7 more than the queue holds", segment(257, True, True, FULL), full_queue),
        Case("C-7 an empty rest", segment(1, False, True, b""), [segment(0, True, False, FULL)]),
        Case("C-10 a chunk at the limit", chunk(0, 1 << 21, 1024, 1024)),
        Case("C-10 a chunk beyond the end", chunk(0, 1024, 1, 1024)),
        Case("C-10 a chunk that is not full", chunk(0, 2048, 0, 1000)),
        Case("C-10 another total", chunk(0, 4097, 1, 1024), [chunk(0, 4096, 0, 1024)]),
        Case("C-11 a credit for no block", block_says(zw.Credit(0, 300))),
        Case("C-11 a refusal of no block", block_says(zw.Cancel(0, by_sender=False))),
    ]


def legal_cases() -> list[bytes]:
    """Plaintexts that look odd and are right."""
    state, pings = zw.STATE_CHANNEL, plain(zw.Ping(), zw.Ping())
    return [
        b"\0",  # nothing at all
        pings,  # ends with its byte
        pings + b"\0",  # a byte of zeros behind that (F-2)
        plain(*[zw.Ping()] * zw.MAX_FRAMES),
        bits(MESSAGE, (state, 4), (1, 1), (0, 11)),  # a short length in the long form (F-5)
        plain(zw.Message(zw.INPUT_CHANNEL, b"")),
        segment(0, True, True, b"once"),
        segment(0, True, True, b"once"),  # again (C-5)
        segment(2, True, True, b"third"),
        segment(1, True, True, b"second"),
        chunk(0, 2048, 1, 1024),
        chunk(0, 2048, 1, 1024),  # again
        chunk(2, 1000, 0, 1000),  # a later block ends it (C-9)
        chunk(0, 2048, 0, 1024),  # an earlier one is dropped
        block_says(zw.Cancel(2, by_sender=True)),  # a block that is over (C-11)
        block_says(zw.Cancel(3, by_sender=True)),  # a block of which no chunk arrived
        part(7, 7, 3, 1024),  # never to be completed
        bits(CONTROL, (4, 4)),  # a probe of nothing
        plain(zw.PathResponse(bytes(8))),  # nobody asked
        segment(0, True, True, b"", zw.SESSION_CHANNEL),  # the wrong way (C-13)
    ]


def deafen(session: Echo) -> None:
    """Takes the block sender's ears."""
    channel = zw.LAB_CHANNELS[zw.BLOCK_CHANNEL]
    session.up.block_senders[zw.BLOCK_CHANNEL] = Deaf(zw.BLOCK_CHANNEL, channel)


def check_legal(t: vectors.Tally, bots: Bots) -> None:
    """What is odd but right is taken."""
    session = Echo.start(bots)
    if not connect(t, "odd", [session]):
        return
    deafen(session)
    for number, odd in enumerate(legal_cases()):
        session.send_plain(odd, time.monotonic())
        play([session], 0.04)
        if not t.check(f"odd packet {number}: taken", not session.up.over, f"{odd[:8].hex()}"):
            return
    written = zw.BitWriter().bits(1, 1).bits(session.up.received.largest, 16).bits(0, 9).bits(zw.MASK_ALL, 32)
    acknowledged: list[bool] = []  # the mask of all ones, written out (F-1)
    session.send_plain(
        written.bits(0, 1).bits(1, 1).bits(*CONTROL).finish(), time.monotonic(), [acknowledged.append]
    )
    drive([session], lambda: True in acknowledged, 1.0)
    t.check("odd packets: the mask written out is acknowledged", True in acknowledged)
    play([session], 0.3)
    t.equal("odd packets: ordered", session.heard(zw.ORDERED_CHANNEL), [b"once", b"second", b"third"])
    blocks = session.heard(zw.BLOCK_CHANNEL)
    t.check("odd packets: blocks", blocks == [bytes(1000)], sizes(blocks))
    t.equal("odd packets: nothing on the session channel", session.heard(zw.SESSION_CHANNEL), [])
    check_stands(t, "odd packets", session)
    close([session])


def set_up(cases: Sequence[Case], sessions: Sequence[Echo]) -> bool:
    """Sends what comes before the malformed packets, a few at a time; whether all of it was acknowledged."""
    waiting = {case.name: list(case.setup) for case in cases}
    while any(waiting.values()):
        for case in cases:
            for ready in waiting[case.name][:SETUP_AT_A_TIME]:
                if case.session:
                    case.session.send_plain(ready, time.monotonic(), [case.acknowledged.append])
            del waiting[case.name][:SETUP_AT_A_TIME]
        play(sessions, 0.004)
    return drive(sessions, lambda: all(c.acknowledged.count(True) == len(c.setup) for c in cases), 1.0)


def check_malformed(t: vectors.Tally, bots: Bots) -> None:
    """P-8: the third malformed packet closes the connection, and not the second."""
    cases = [*frame_cases(), *channel_cases()]
    for case in cases:
        case.session = Echo.start(bots, features=case.features)
    sessions = [case.session for case in cases if case.session]
    quiet = vectors.Tally(quiet=True)
    connect(quiet, "malformed", sessions, 8.0)
    if not t.check("malformed: connected", quiet.failed == 0, quiet.summary()):
        return
    for session in sessions:
        deafen(session)
    t.check("malformed: what comes before is acknowledged", set_up(cases, sessions))
    after: list[list[zw.CloseReason | None]] = []
    for _ in range(zw.MAX_MALFORMED):
        for case, session in zip(cases, sessions, strict=True):
            session.send_plain(case.bad, time.monotonic(), eliciting=False)
        drive(sessions, lambda: False, 0.25)
        after.append([session.up.close_reason for session in sessions])
    expected = (None, None, zw.CloseReason.PROTOCOL_ERROR)
    for case, got in zip(cases, zip(*after, strict=True), strict=True):
        t.equal(f"malformed: {case.name}", got, expected)
    close(sessions)


def check_bad_credit(t: vectors.Tally, bots: Bots, rng: random.Random) -> None:
    """C-10: a limit beyond what was sent plus the window is malformed, while the block is on its way."""
    session = Echo.start(bots)
    if not connect(t, "bad credit", [session]):
        return
    receiver = session.up.block_receivers[zw.BLOCK_CHANNEL]
    session.tell(zw.BLOCK_CHANNEL, rng.randbytes(1 << 20))
    drive([session], lambda: receiver.present is not None, 8.0)
    for _ in range(zw.MAX_MALFORMED):
        session.send_plain(block_says(zw.Credit(0, 20_000)), time.monotonic(), eliciting=False)
    drive([session], lambda: session.up.over, 1.0)
    t.equal("malformed: C-10 a limit too high", session.up.close_reason, zw.CloseReason.PROTOCOL_ERROR)
    close([session])


# --- All together ---------------------------------------------------------------------------------


def check_fine(t: vectors.Tally, bots: Bots, rng: random.Random) -> None:
    """Everything once, nothing lost."""
    session = Echo.start(bots, AES)
    if connect(t, "echo", [session]):
        check_messages(t, "echo", session, rng, 6.0)
        check_datagrams(t, "echo", session, rng, 24)
        check_sequenced(t, "echo", session, 6)
        check_blocks(t, "echo", session, rng, BLOCKS, 12.0)
        check_block_cancels(t, "echo cancel", session, rng)
        check_clock(t, "echo", session)
        check_mtu(t, "echo mtu", session, rng)
        check_stands(t, "echo", session)
        close([session])
    quiet = Echo.start(bots, CHACHA, features=0)
    if connect(t, "acks", [quiet]):
        check_acks(t, "acks", quiet)
        check_stands(t, "acks", quiet)
        close([quiet])


def check_rolls(t: vectors.Tally, bots: Bots, rng: random.Random) -> None:
    """Keys roll every 100 packets, in fine and in bad weather, with both ciphers."""
    for suite, weather in ((CHACHA, None), (AES, Weather(rng))):
        name = f"rolls {suite.name}{', bad weather' if weather else ''}"
        session = Echo.start(bots, suite, weather, KEY_ROLL)
        if not connect(t, name, [session], 8.0):
            continue
        check_messages(t, name, session, rng, 12.0)
        check_datagrams(t, name, session, rng, 24 if not weather else 3)
        check_sequenced(t, name, session, 6 if not weather else 3)
        check_blocks(t, name, session, rng, BLOCKS, 20.0)
        check_phases(t, name, session)
        # A packet that is late by two phases does not open any more (K-6).
        late = frozenset({"duplicate", "not_expected", "auth_failed"})
        allowed = late if weather else frozenset()
        check_stands(t, name, session, allowed)
        close([session])


def check_roaming(t: vectors.Tally, bots: Bots, rng: random.Random) -> None:
    """The port changes every second; then packets are copied."""
    session = Echo.start(bots, CHACHA, roll_packets=KEY_ROLL)
    if not connect(t, "moves", [session]):
        return
    check_moves(t, "moves", session, 4)
    check_copies(t, "copies", bots, session)
    check_stands(t, "moves and copies", session)
    session.link.move()
    check_messages(t, "moved again", session, rng, 5.0)
    close([session])


def check_all(t: vectors.Tally, path: Path, ports: Callable[[], int], seed: int) -> None:
    """Two echo servers: one that rolls its keys all the time, one that does not."""
    rng = random.Random(seed)
    with Bots(path, ports(), 80) as bots:
        if t.check("bots echo: ready", bots.wait_ready()):
            hashes = [bots.hash(key) for key in ("channel_hash", "schema_hash")]
            t.equal("bots echo: hashes", hashes, [zw.LAB_CHANNELS_HASH, zw.STANDARD_SCHEMA.hash()])
            check_fine(t, bots, rng)
            check_versions(t, bots)
            check_features(t, bots)
            check_legal(t, bots)
            check_malformed(t, bots)
            check_bad_credit(t, bots, rng)
    with Bots(path, ports(), 8, "--key-roll", str(KEY_ROLL)) as bots:
        if t.check("bots echo --key-roll: ready", bots.wait_ready()):
            check_rolls(t, bots, rng)
            check_roaming(t, bots, rng)

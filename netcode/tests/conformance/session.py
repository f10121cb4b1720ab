"""One client on one socket: connects, keeps its connection going, records what it sees.

The weather of a link may lose, double and delay datagrams both ways; the port may change in the middle.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import zonewire as zw

RESEND_FIRST, RESEND_FACTOR, RESEND_MOST = 0.25, 1.5, 1.0  # W-1


@dataclass
class Weather:
    """What befalls datagrams: each of loss, duplication and delay with probability ``rate``."""

    rng: random.Random
    rate: float = 0.1
    counts: Counter[str] = field(default_factory=Counter)

    def fates(self) -> list[float]:
        """For each copy that arrives, how much later it does."""
        self.counts["datagrams"] += 1
        if self.rng.random() < self.rate:
            self.counts["lost"] += 1
            return []
        copies = [0.0]
        if self.rng.random() < self.rate:
            self.counts["doubled"] += 1
            copies.append(self.rng.uniform(0.0, 0.05))
        if self.rng.random() < self.rate:
            self.counts["reordered"] += 1
            copies[0] = self.rng.uniform(0.06, 0.16)
        return copies


class Link:
    """A connected UDP socket; in bad weather, if asked for, in both directions."""

    def __init__(self, address: tuple[str, int], weather: Weather | None = None) -> None:
        self.socket = self._connect(address)
        self._address = address
        self._weather = weather
        self._out: list[tuple[float, bytes]] = []
        self._in: list[tuple[float, bytes]] = []

    @staticmethod
    def _connect(address: tuple[str, int]) -> socket.socket:
        new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        new.connect(address)
        new.setblocking(False)
        return new

    @property
    def port(self) -> int:
        """The port that datagrams leave from."""
        return int(self.socket.getsockname()[1])

    def move(self) -> None:
        """Goes on from another port (W-7); what still comes to the old one is lost."""
        old, self.socket = self.socket, self._connect(self._address)
        old.close()

    def send(self, datagram: bytes, now: float) -> None:
        """Sends, when the weather lets it."""
        self._out += [(now + delay, datagram) for delay in self._fates()]
        self.flush(now)

    def flush(self, now: float) -> None:
        """Sends what was held up long enough."""
        for datagram in take_due(self._out, now):
            with contextlib.suppress(ConnectionRefusedError, BlockingIOError):  # as good as lost
                self.socket.send(datagram)

    def receive(self, now: float) -> list[bytes]:
        """What has arrived."""
        self.flush(now)
        while True:
            try:
                datagram = self.socket.recv(2048)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue
            self._in += [(now + delay, datagram) for delay in self._fates()]
        return take_due(self._in, now)

    def _fates(self) -> list[float]:
        return self._weather.fates() if self._weather else [0.0]


def take_due(queue: list[tuple[float, bytes]], now: float) -> list[bytes]:
    """Removes the datagrams whose time has come, in the order of their times."""
    due = sorted((entry for entry in queue if entry[0] <= now), key=lambda entry: entry[0])
    queue[:] = [entry for entry in queue if entry[0] > now]
    return [datagram for _, datagram in due]


class Caller:
    """A client that connects and keeps the connection going; what it is for is a subclass's affair."""

    channels: Sequence[zw.Channel] = zw.STANDARD_CHANNELS

    def __init__(self, attempt: zw.Attempt, link: Link, roll_packets: int = zw.ROLL_PACKETS) -> None:
        self.attempt = attempt
        self.link = link
        self.connection: zw.Connection | None = None
        self.refused: zw.Refused | None = None
        self.answers: list[bytes] = []
        self.drops: Counter[str] = Counter()
        self.last_sent = b""
        self.connected_at = 0.0
        self._roll_packets = roll_packets
        self._resend_at, self._resend_after = 0.0, RESEND_FIRST
        self._closes_left, self._close_at = 0, 0.0

    @property
    def up(self) -> zw.Connection:
        """The connection, which must stand."""
        if self.connection is None:
            raise RuntimeError("not connected")
        return self.connection

    @property
    def rate(self) -> int:
        """Ticks a second."""
        return self.up.established.accepted.rate

    def step(self, now: float) -> None:
        """Handles what has arrived and what is due."""
        for datagram in self.link.receive(now):
            if self.connection is None:
                self._answer(datagram, now)
            else:
                self.connection.receive(datagram, now)
        if self.connection is None:
            self._connecting(now)
        elif self._closes_left:
            self._closing(now)
        elif self.connection.must_close is not None and not self._close_at:
            self._closes_left = zw.CLOSES
        elif not self.connection.over:
            self.playing(now)
            for datagram in self.connection.poll(now):
                self._put(datagram, now)

    def playing(self, now: float) -> None:
        """What a subclass does beyond keeping the connection going."""

    def close(self) -> None:
        """Starts to close (W-5)."""
        self._closes_left = zw.CLOSES
        self.up.must_close = zw.CloseReason.REQUESTED

    @property
    def closed(self) -> bool:
        """Whether the closes are out."""
        return self.up.must_close is not None and self._closes_left == 0

    def send(self, frames: Sequence[zw.Frame], tick: int | None, now: float) -> None:
        """Sends one data packet, at once."""
        self._put(self.up.make(now, frames, tick), now)

    def send_plain(
        self, plain: bytes, now: float, outcomes: Sequence[zw.Outcome] = (), eliciting: bool = True
    ) -> None:
        """Sends one data packet with this plaintext."""
        self._put(self.up.seal(now, plain, outcomes, eliciting), now)

    def probe_mtu(self, size: int, now: float) -> None:
        """Sends an mtu probe."""
        self._put(self.up.probe_mtu(now, size), now)

    def _put(self, datagram: bytes, now: float) -> None:
        self.last_sent = datagram
        self.link.send(datagram, now)

    def _answer(self, datagram: bytes, now: float) -> None:
        """An answer to the HELLO (R-2, A-1 to A-7, E-1 to E-3)."""
        self.answers.append(datagram)
        try:
            result = self.attempt.receive(datagram, now)
        except zw.Drop as drop:
            self.drops[drop.cause] += 1
        except zw.Refused as refused:
            self.refused = refused
        else:
            if isinstance(result, bytes):
                self.link.send(result, now)
            elif result is not None:
                self._established(result, now)

    def _connecting(self, now: float) -> None:
        """Sends the HELLO when it is due (W-1)."""
        if self.refused is not None:
            return
        try:
            self.attempt.check_unproven(now)
        except zw.Refused as refused:
            self.refused = refused
            return
        if now >= self._resend_at:
            after = self._resend_after if self._resend_at else RESEND_FIRST
            self._resend_at, self._resend_after = now + after, min(RESEND_MOST, after * RESEND_FACTOR)
            self.link.send(self.attempt.hello, now)

    def _established(self, established: zw.Established, now: float) -> None:
        """Sends the first data packet at once (section 5)."""
        self.connection = zw.Connection(established, now, self.channels, self._roll_packets)
        self.connected_at = now
        self.send([zw.Ping()], None, now)

    def _closing(self, now: float) -> None:
        """Three closes, 50 ms apart (W-5)."""
        if now >= self._close_at:
            self._close_at = now + zw.CLOSE_SPACING
            self._closes_left -= 1
            reason = self.up.must_close or zw.CloseReason.REQUESTED
            self._put(self.up.make_alone(now, zw.Close(reason)), now)


class Session(Caller):
    """A player: sends an input each tick, records what it sees (section 18)."""

    def __init__(self, attempt: zw.Attempt, link: Link, roll_packets: int = zw.ROLL_PACKETS) -> None:
        super().__init__(attempt, link, roll_packets)
        self.input = zw.Input()
        self.clock: zw.InputClock | None = None
        self.margins: dict[int, int | None] = {}
        self.seen: dict[int, dict[int, zw.State]] = {}
        self.seen_by_all: dict[int, dict[int, zw.State]] = {}
        self.input_ticks: dict[int, zw.Input] = {}
        self._next_input = 0.0

    @classmethod
    def start(
        cls,
        bundle: zw.Bundle,
        suite: zw.CipherSuite,
        address: tuple[str, int],
        weather: Weather | None = None,
        roll_packets: int = zw.ROLL_PACKETS,
    ) -> Self:
        """A session that is about to send its first HELLO."""
        attempt = zw.Attempt(bundle.token, bundle.psk, suite, client_time())
        return cls(attempt, Link(address, weather), roll_packets)

    def own(self) -> zw.Entity | None:
        """The player's own entity, once it was spawned (M-1)."""
        welcome = self.connection and self.connection.welcome
        return self.up.world.entity(welcome.entity) if welcome else None

    def own_at(self, tick: int) -> zw.State | None:
        """The player's own state at a tick, if a snapshot told it."""
        return self.seen.get(tick, {}).get(self.up.welcome.entity) if self.up.welcome else None

    def _established(self, established: zw.Established, now: float) -> None:
        super()._established(established, now)
        self.up.on_snapshot = self._record
        self._next_input = now

    def _record(self, applied: zw.Applied) -> None:
        """Notes what a snapshot says, for the checks."""
        world = self.up.world
        known = [e for e in world.slots.values() if e.confirmed == applied.tick]
        self.seen[applied.tick] = {e.id: e.state for e in known}
        self.seen_by_all[applied.tick] = {e.id: e.public_state for e in known}
        self.margins[applied.tick] = applied.margin
        if applied.margin is not None and self.clock:
            self.clock.margin(applied.margin, self.up.rtt, time.monotonic())

    def playing(self, now: float) -> None:
        """One input a tick (I-6), once the round trip is known."""
        if now < self._next_input:
            return
        self._next_input += 1 / self.rate
        if self.clock is None and self.up.rtt:
            self.clock = zw.InputClock(self.up.server_tick, self.up.rtt, self.rate)
        made = self.clock.step(self.input) if self.clock else None
        if made:
            tick, body = made
            self.input_ticks[tick] = self.input
            self.send([zw.Message(zw.INPUT_CHANNEL, body)], tick, now)


def client_time() -> int:
    """A clock in microseconds (section 3)."""
    return time.monotonic_ns() // 1000


def drive(sessions: Sequence[Caller], until: Callable[[], bool], seconds: float) -> bool:
    """Runs sessions until the condition holds; whether it came to hold in time."""
    deadline = time.monotonic() + seconds
    while (now := time.monotonic()) < deadline:
        for session in sessions:
            session.step(now)
        if until():
            return True
        select.select([session.link.socket for session in sessions], [], [], 0.003)
    return until()


def play(sessions: Sequence[Caller], seconds: float) -> None:
    """Runs sessions for some time."""
    drive(sessions, lambda: False, seconds)

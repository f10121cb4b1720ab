"""Runs real servers and checks that a client made from SPEC.md alone gets along with them.

``python3 run.py --server PATH --bots PATH [--port N]`` verifies the test vectors, starts the server on
loopback, plays, provokes refusals and ends it; then does all that an echo server (``bots echo``) allows.
Either path may be left out. Last line ``N passed, 0 failed``, exit code 0 or 1.
Ends only processes that it started, and itself after some time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import echo_checks
import rules
import vectors
import zonewire as zw
from session import Link, Session, Weather, client_time, drive, play

TIME_LIMIT = {"server": 60, "bots": 150}  # seconds
CLUSTER_KEY = bytes(range(32))
EPOCH = 7
SERVER_ID = 1
FAST_RATE = 60
TAMPERED = 5
ROLL_PACKETS = 50
METRE, METRE_PER_SECOND = 256, 64
WORLD = ["--half-extent", "40", "--boxes", "0", "--npcs", "40", "--seed", "5"]
MAP = 40, 0, 5  # of that world: half extent, boxes, seed
X, Y, Z, VX, VY, VZ, YAW, FLAGS, PITCH = range(9)


# --- The server -----------------------------------------------------------------------------------


class Server:
    """A server of our own: a child process on loopback ports."""

    def __init__(self, path: Path, udp: int, http: int, options: Sequence[str]) -> None:
        self.address = ("127.0.0.1", udp)
        self._http = f"http://127.0.0.1:{http}"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        command = [str(path), "--listen", f"127.0.0.1:{udp}", "--http", f"127.0.0.1:{http}", *options]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process, if it still runs; shows its log after an error."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(5)
        if error is not None:
            print("--- the server's log, its end ---", *self.log()[-20:], sep="\n", file=sys.stderr)
        self._log.close()

    def wait_ready(self, seconds: float = 8.0) -> bool:
        """Waits until GET /healthz answers 200 (section 17)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self._http}/healthz", timeout=1) as reply:
                    return int(reply.status) == 200
            except OSError:
                time.sleep(0.02)
        return False

    def tokens(self, count: int) -> list[zw.Bundle]:
        """Fetches development tokens (section 17)."""
        body = json.dumps({"count": count}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self._http}/v1/dev/token", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=5) as reply:
            return [zw.Bundle.from_json(entry) for entry in json.load(reply)["tokens"]]

    def token(self) -> zw.Bundle:
        """One development token, asked for with an empty body (section 17)."""
        request = urllib.request.Request(f"{self._http}/v1/dev/token", b"", method="POST")
        with urllib.request.urlopen(request, timeout=5) as reply:
            return zw.Bundle.from_json(json.load(reply))

    def log(self) -> list[str]:
        """The lines that the server has written."""
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace").splitlines()

    def statuses(self, since: int = 0) -> list[dict[str, str]]:
        """The status lines from line ``since`` of the log on; the server writes one a second."""
        lines = (line for line in self.log()[since:] if " status " in line)
        return [{k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', line)} for line in lines]

    def status(self, wanted: Callable[[dict[str, str]], bool], seconds: float = 3.0) -> dict[str, str]:
        """Waits for a status line that is ``wanted`` and newer than this call; else the last one."""
        since, deadline = len(self.log()), time.monotonic() + seconds
        while time.monotonic() < deadline:
            match = next(filter(wanted, self.statuses(since)), None)
            if match:
                return match
            time.sleep(0.05)
        return (self.statuses(since) or [{}])[-1]

    def drops(self, since: int) -> Counter[str]:
        """What the status lines from line ``since`` of the log on say was dropped, by cause (G-7)."""
        total: Counter[str] = Counter()
        for status in self.statuses(since):
            for cause, count in (pair.split("=") for pair in status["drops"].split()):
                total[cause] += int(count)
        return total

    def stop(self, sessions: Sequence[Session] = ()) -> int | None:
        """SIGTERM, then the exit code; None if it does not end within 5 seconds."""
        self._process.send_signal(signal.SIGTERM)
        drive(sessions, lambda: self._process.poll() is not None, 5.0)
        return self._process.poll()


def free_ports(first: int | None) -> Callable[[], int]:
    """A source of ports: counting up from ``first``, or what the system has free."""
    if first is not None:
        numbers = itertools.count(first)
        return lambda: next(numbers)

    def free() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return free


# --- Checks of play -------------------------------------------------------------------------------


def in_world(session: Session) -> bool:
    """Whether the session is connected, welcome, and sees its own entity."""
    return session.connection is not None and session.own() is not None


def connect(t: vectors.Tally, name: str, sessions: Sequence[Session], seconds: float = 5.0) -> bool:
    """Connects and waits for Welcome and the own entity."""
    entered = drive(sessions, lambda: all(map(in_world, sessions)), seconds)
    for session in sessions:
        connection = session.connection
        detail = f"refused {session.refused}, connected {connection is not None}, drops {dict(session.drops)}"
        t.check(f"{name}: in the world", in_world(session), "" if entered else detail)
    return entered


def toward_middle(session: Session) -> tuple[int, int]:
    """The axis, and the sign along it, that leads away from the map's edge."""
    own = session.own()
    state = own.state if own else (0,) * 8
    axis = X if abs(state[X]) >= abs(state[Z]) else Z
    return axis, -1 if state[axis] > 0 else 1


def walk(sessions: Sequence[Session], seconds: float, buttons: int) -> list[Walk]:
    """Lets each session go toward the middle for some time, then stop."""
    walks = []
    for session in sessions:
        axis, sign = toward_middle(session)
        yaw = (1 << 14 if axis == X else 0) + (1 << 15 if sign < 0 else 0)
        move = (15 * sign, 0) if axis == X else (0, 15 * sign)
        session.input = zw.Input(*move, yaw, pitch=-5000, buttons=buttons)
        walks.append(Walk(session, axis, sign, session.input))
    play(sessions, seconds)
    for session in sessions:
        session.input = session.input._replace(move_x=0, move_z=0, buttons=0)
    play(sessions, 0.7)
    return walks


@dataclass(frozen=True)
class Walk:
    """A walk that was walked."""

    session: Session
    axis: int
    sign: int
    input: zw.Input

    @property
    def ticks(self) -> range:
        """The ticks that were walked."""
        ticks = [tick for tick, entry in self.session.input_ticks.items() if entry == self.input]
        return range(min(ticks), max(ticks) + 1)

    def state(self, tick: int) -> zw.State | None:
        """The own state at a tick, or at the nearest earlier one that is known, at most 10 back."""
        return next(filter(None, map(self.session.own_at, range(tick, tick - 10, -1))), None)

    def check(self, t: vectors.Tally, name: str, speed: float) -> None:
        """I-4: direction, distance, view."""
        first, last = self.ticks[0], self.ticks[-1]
        before, after = self.state(first - 1), self.state(last)
        if before is None or after is None:
            t.check(f"{name}: snapshots before and after the walk", False)
            return
        moved = self.sign * (after[self.axis] - before[self.axis]) / METRE
        aside = abs(after[X + Z - self.axis] - before[X + Z - self.axis]) / METRE
        expected = speed * len(self.ticks) / self.session.rate
        plausible = 0.85 * expected <= moved <= 1.03 * expected
        t.check(f"{name}: went the expected way", plausible, f"{moved:.2f} m, at most {expected:.2f} m")
        t.check(f"{name}: and nowhere else", aside < 0.3, f"{aside:.2f} m aside")
        pace = self.sign * after[self.axis - X + VX] / METRE_PER_SECOND
        t.check(f"{name}: at full speed", abs(pace - speed) < 0.1, f"{pace:.2f} m/s")
        shown = self.input.yaw >> 4, (self.input.pitch + 256) >> 9
        t.equal(f"{name}: looks where it was told", (after[YAW], after[PITCH]), shown)
        end = self.session.own()
        t.check(
            f"{name}: stands still after it", end is not None and (end.state[VX], end.state[VZ]) == (0, 0)
        )

    def check_tick(self, t: vectors.Tally, name: str) -> None:
        """I-5: the snapshot of an input's tick shows its effect, the one before does not."""
        first, at = self.ticks[0], self.axis - X + VX
        before, shown = self.session.own_at(first - 1), self.session.own_at(first)
        told = before is not None and shown is not None and before[at] == 0 and shown[at] * self.sign > 0
        t.check(f"{name}: an input shows in its own tick", told, f"{before} then {shown}")


def check_margins(t: vectors.Tally, name: str, walked: Walk, share: float) -> None:
    """Inputs arrive in time (end of section 15)."""
    margins = [m for tick, m in walked.session.margins.items() if tick in walked.ticks and m is not None]
    in_time = sum(m >= 0 for m in margins)
    detail = f"{in_time} of {len(margins)}, median {statistics.median(margins or [-128])}"
    t.check(f"{name}: inputs arrive in time", bool(margins) and in_time >= share * len(margins), detail)


def check_neighbours(t: vectors.Tally, name: str, session: Session) -> None:
    """Others are seen, on the map and within range, with plausible states."""
    own, welcome = session.own(), session.up.welcome
    if own is None or welcome is None:
        t.check(f"{name}: sees itself", False)
        return
    told = welcome.half_extent_m, welcome.boxes, welcome.map_seed
    t.equal(f"{name}: Welcome says what map it is", told, MAP)
    others = [e for e in session.up.world.slots.values() if e is not own]
    far = max((distance(own.state, e.state) for e in others), default=0.0)
    npcs = sum(e.kind == 1 for e in others)
    t.check(f"{name}: sees characters", npcs > 0, f"{len(others)} others, {npcs} of them NPCs")
    reach = welcome.aoi_radius_m * 1.2 + 1
    t.check(f"{name}: all of them within range", far <= reach, f"{far:.1f} m of {welcome.aoi_radius_m} m")
    speeds = [max(map(abs, e.state[VX : VZ + 1])) / METRE_PER_SECOND for e in others]
    t.check(f"{name}: none faster than a body can be", max(speeds, default=0.0) <= 15.0)
    moved = {e.id for e in others if len({e.state[X], *(state[X] for _, state in e.history)}) > 1}
    t.check(f"{name}: some of them move", bool(moved), f"{len(moved)} do")


def distance(a: zw.State, b: zw.State) -> float:
    """Metres in the plane."""
    return float(((a[X] - b[X]) ** 2 + (a[Z] - b[Z]) ** 2) ** 0.5 / METRE)


def check_healthy(t: vectors.Tally, name: str, session: Session, allowed: set[str]) -> None:
    """Nothing was dropped but for ``allowed`` causes, and nobody wants to close."""
    drops = session.up.drops
    t.check(f"{name}: no drops but {sorted(allowed) or 'none'}", set(drops) <= allowed, str(dict(drops)))
    reasons = (session.up.close_reason, session.up.must_close)
    t.equal(f"{name}: the connection stands", reasons, (None, None))


def check_close(t: vectors.Tally, name: str, server: Server, session: Session) -> None:
    """W-5, W-6: an authenticated close ends it, the server falls silent and frees the place."""
    session.close()
    drive([session], lambda: session.closed, 1.0)
    play([session], 0.15)
    quiet_from = time.monotonic()
    arrived = 0
    while time.monotonic() < quiet_from + 0.4:
        arrived += len(session.link.receive(time.monotonic()))
        time.sleep(0.01)
    t.equal(f"{name}: no answers after the close", arrived, 0)
    status = server.status(lambda s: (s.get("players"), s.get("connections")) == ("0", "0"))
    counts = (status.get("players"), status.get("connections"))
    t.equal(f"{name}: players and connections of the status line", counts, ("0", "0"))


def check_session(t: vectors.Tally, server: Server, suite: zw.CipherSuite, sprint: bool) -> None:
    """A whole session in fine weather."""
    name = suite.name
    session = Session.start(server.token(), suite, server.address, roll_packets=ROLL_PACKETS)
    if not connect(t, name, [session]):
        return
    accepted = session.up.established.accepted
    t.equal(
        f"{name}: client time comes back",
        accepted.client_time,
        int.from_bytes(session.attempt.hello[12:20], "little"),
    )
    t.equal(f"{name}: longest packet", accepted.longest_packet, zw.MAX_PACKET)
    t.equal(f"{name}: features", accepted.features, int(zw.ALL_FEATURES))
    play([session], 0.8)
    check_neighbours(t, name, session)
    walked = walk([session], 2.0, zw.SPRINT if sprint else 0)[0]
    walked.check(t, name, 7.5 if sprint else 5.0)
    walked.check_tick(t, name)
    check_margins(t, name, walked, 0.9)
    check_neighbours(t, f"{name} after its walk", session)
    echo_checks.check_clock(t, name, session)
    check_move(t, name, session)
    check_healthy(t, name, session, set())
    phase = session.up.send_keys.phase
    t.check(f"{name}: the client's keys have rolled", phase > 0, f"phase {phase}")
    check_tampered(t, name, server, session)
    check_close(t, name, server, session)


def check_move(t: vectors.Tally, name: str, session: Session) -> None:
    """W-7, W-8: the client goes on from another port."""
    tick, port = session.up.world.tick, session.link.port
    session.link.move()
    play([session], 1.0)
    news = session.up.world.tick - tick
    going_on = news >= 12 and not session.up.over
    t.check(
        f"{name}: snapshots follow to another port", going_on, f"{port} to {session.link.port}, {news} ticks"
    )
    t.check(f"{name}: after a challenge", session.up.frames_seen["PathChallenge"] > 0)


def check_tampered(t: vectors.Tally, name: str, server: Server, session: Session) -> None:
    """P-1 to P-7 at the server: what is not authentic changes nothing."""
    sent = session.last_sent
    number = int.from_bytes(sent[5:7], "little")
    ahead = sent[:5] + (number + 20 & 0xFFFF).to_bytes(2, "little") + sent[7:]
    tampered = {
        "auth_failed": ahead,
        "duplicate": sent,
        "reserved_bits": b"\x42" + sent[1:],
        "unknown_type": b"\xc0" + sent[1:],
        "unknown_connection": sent[:1] + bytes([sent[1] ^ 1]) + sent[2:],
        "too_short": sent[: zw.MIN_TO_SERVER - 1],
    }
    stranger, since = Link(server.address), len(server.log())
    for _ in range(TAMPERED):
        for datagram in tampered.values():
            session.link.send(datagram, time.monotonic())
        session.link.send(b"\x41" + ahead[1:], time.monotonic())  # as if of the next phase (K-6)
        stranger.send(ahead, time.monotonic())
    tick = session.up.world.tick
    play([session], 1.2)
    news = session.up.world.tick - tick
    going_on = news >= 15 and not session.up.over
    t.check(f"{name}: snapshots go on after tampered packets", going_on, f"{news} ticks")
    t.equal(f"{name}: a stranger gets no answer", stranger.receive(time.monotonic()), [])
    expected = dict.fromkeys(tampered, TAMPERED)
    expected["auth_failed"] = 3 * TAMPERED
    t.equal(f"{name}: the server counts them by cause", dict(server.drops(since)), expected)


def check_bad_weather(t: vectors.Tally, server: Server, seed: int) -> None:
    """Two clients, one of each cipher, lose, double and reorder 10 % of their datagrams each way."""
    rng = random.Random(seed)
    weathers = [Weather(random.Random(rng.random())) for _ in zw.CipherSuite]
    bundles = server.tokens(len(weathers))
    sessions = [
        Session.start(bundle, suite, server.address, weather)
        for bundle, suite, weather in zip(bundles, zw.CipherSuite, weathers, strict=True)
    ]
    if not connect(t, "bad weather", sessions, 8.0):
        return
    play(sessions, 1.0)
    walks = walk(sessions, 2.0, 0)
    for session, walked, weather in zip(sessions, walks, weathers, strict=True):
        name = f"bad weather {session.attempt.suite.name}"
        walked.check(t, name, 5.0)
        check_margins(t, name, walked, 0.7)
        check_neighbours(t, name, session)
        check_healthy(t, name, session, {"duplicate", "late_snapshot", "not_expected"})
        print(f"     {dict(weather.counts)}; dropped {dict(session.up.drops)}")
    check_agreement(t, "bad weather", sessions)
    check_mutual_sight(t, "bad weather", sessions)
    for session in sessions:
        session.close()
    drive(sessions, lambda: all(session.closed for session in sessions), 1.0)
    play(sessions, 0.2)


def check_agreement(t: vectors.Tally, name: str, sessions: Sequence[Session]) -> None:
    """Both see the same entities in the same state at the same tick: nothing was decoded wrongly."""
    one, other = (
        {(tick, i): state for tick, states in session.seen_by_all.items() for i, state in states.items()}
        for session in sessions
    )
    common = one.keys() & other.keys()
    wrong = [place for place in common if one[place] != other[place]]
    t.check(f"{name}: both see the same entities", len(common) > 200, f"{len(common)} states")
    t.check(f"{name}: in the same states", not wrong, f"{len(wrong)} differ")


def check_mutual_sight(t: vectors.Tally, name: str, sessions: Sequence[Session]) -> None:
    """Players who are near see each other."""
    one, other = sessions
    states = [own.state for own in (one.own(), other.own()) if own]
    apart = distance(states[0], states[1]) if len(states) == 2 else 0.0
    pairs = ((one, other), (other, one))
    seen = all(a.up.welcome and b.up.world.entity(a.up.welcome.entity) for a, b in pairs)
    t.check(f"{name}: they see each other", seen or apart > 45, f"{apart:.1f} m apart")


# --- Checks of refusals ---------------------------------------------------------------------------


def outcome(server: Server, attempt: zw.Attempt, seconds: float = 2.5) -> Session:
    """Runs an attempt until it is decided or time is up."""
    session = Session(attempt, Link(server.address))
    drive([session], lambda: session.refused is not None or session.connection is not None, seconds)
    return session


def check_refused(
    t: vectors.Tally, name: str, session: Session, reason: zw.RefuseReason, proven: bool
) -> None:
    """The attempt ended with this reason."""
    got = (session.refused.reason, session.refused.proven) if session.refused else None
    t.equal(f"refused: {name}", got, (reason, proven))


def attempt_with(bundle: zw.Bundle, **options: Any) -> zw.Attempt:
    """An attempt with AES-128-GCM."""
    return zw.Attempt(bundle.token, bundle.psk, zw.CipherSuite.AES_128_GCM, client_time(), **options)


def check_refusals(t: vectors.Tally, server: Server) -> None:
    """H-5 to H-14 at a server that asks for no cookies."""
    reasons = zw.RefuseReason
    bundle = server.token()
    garbage = replace(bundle, token=random.Random(1).randbytes(zw.TOKEN_BYTES))
    check_refused(t, "garbage token", outcome(server, attempt_with(garbage)), reasons.TOKEN_INVALID, False)
    changed = replace(bundle, token=bundle.token[:-1] + bytes([bundle.token[-1] ^ 1]))
    check_refused(t, "changed token", outcome(server, attempt_with(changed)), reasons.TOKEN_INVALID, False)
    newer = outcome(server, attempt_with(bundle, version=3, highest=3))
    check_refused(t, "version 3", newer, reasons.VERSION_MISMATCH, False)
    t.equal("refused: version 3, the range", newer.refused and newer.refused.versions, (2, 2))
    check_refused(
        t, "other schema", outcome(server, attempt_with(bundle, schema_hash=1)), reasons.SCHEMA_MISMATCH, True
    )
    check_refused(
        t,
        "other channels",
        outcome(server, attempt_with(bundle, channel_hash=1)),
        reasons.CHANNEL_MISMATCH,
        True,
    )
    thief = outcome(server, attempt_with(replace(bundle, psk=bytes(32))), 0.6)
    t.equal("refused: a token without its PSK gets no answer", thief.answers, [])
    session = outcome(server, attempt_with(bundle))
    t.check("refused: no refusal has used the token", session.connection is not None)
    check_refused(t, "used token", outcome(server, attempt_with(bundle)), reasons.TOKEN_USED, True)
    if session.connection is not None:
        check_malformed(t, session)


def check_malformed(t: vectors.Tally, session: Session) -> None:
    """P-8: the third malformed packet closes the connection."""
    for count in range(1, zw.MAX_MALFORMED + 1):
        now = time.monotonic()
        session.send_plain(b"\x80", now, eliciting=False)
        drive([session], lambda: session.up.over, 0.4)
        expected = zw.CloseReason.PROTOCOL_ERROR if count == zw.MAX_MALFORMED else None
        t.equal(f"malformed packet {count}: close", session.up.close_reason, expected)


def check_same_accept(t: vectors.Tally, server: Server) -> None:
    """H-6: a HELLO that is repeated before the first data packet gets the same ACCEPT."""
    attempt = attempt_with(server.token())
    link = Link(server.address)
    answers: list[bytes] = []
    for _ in range(2):
        link.send(attempt.hello, time.monotonic())
        deadline = time.monotonic() + 1.0
        while not (arrived := link.receive(time.monotonic())) and time.monotonic() < deadline:
            time.sleep(0.005)
        answers += arrived
    accepts = [a for a in answers if len(a) == zw.ACCEPT_BYTES]
    t.check(
        "half-open: the same ACCEPT again", len(accepts) == 2 == len(answers) and accepts[0] == accepts[1]
    )
    time.sleep(0.3)
    t.equal("half-open: nothing but ACCEPTs", link.receive(time.monotonic()), [])


def own_token(server: Server, **changes: Any) -> zw.Bundle:
    """A token that this program seals itself (T-1)."""
    now = time.time_ns() // 1_000_000
    entry = zw.ServerEntry(SERVER_ID, *server.address)
    token = zw.Token(EPOCH, now + 30_000, os.urandom(16), now, 99, 100, 0, 0, 0, os.urandom(32), (entry,))
    token = replace(token, **changes)
    return zw.Bundle(token.seal(CLUSTER_KEY), token.psk, token.servers, token.expires_ms)


def check_own_tokens(t: vectors.Tally, server: Server) -> None:
    """H-7, H-9, H-11 at a server that always asks for a cookie and whose cluster key is known here."""
    reasons = zw.RefuseReason
    session = outcome(server, attempt_with(own_token(server)))
    kinds = [answer[0] for answer in session.answers]
    t.equal("cookie: RETRY, then ACCEPT", kinds, [2, 3])
    t.check("own token: it is good", drive([session], lambda: in_world(session), 3.0))
    session.close()
    drive([session], lambda: session.closed, 1.0)
    elsewhere = (zw.ServerEntry(SERVER_ID + 1, *server.address),)
    cases = {
        "expired token": (
            own_token(server, expires_ms=time.time_ns() // 1_000_000 - 1000),
            reasons.TOKEN_EXPIRED,
        ),
        "another group": (own_token(server, group=1), reasons.WRONG_GROUP),
        "another server": (own_token(server, servers=elsewhere), reasons.WRONG_SERVER),
        "no server": (own_token(server, servers=()), reasons.WRONG_SERVER),
    }
    for name, (bundle, reason) in cases.items():
        check_refused(t, name, outcome(server, attempt_with(bundle)), reason, True)
    unknown = outcome(server, attempt_with(own_token(server, epoch=EPOCH + 1)))
    check_refused(t, "another epoch", unknown, reasons.TOKEN_INVALID, False)


def check_fast_rate(t: vectors.Tally, server: Server) -> None:
    """Another tick rate (S-7), and jumps: all fields of a body are in use."""
    name, suite = f"{FAST_RATE} Hz", zw.CipherSuite.CHACHA20_POLY1305
    sessions = [Session.start(own_token(server, character=i), suite, server.address) for i in range(2)]
    if not connect(t, name, sessions):
        return
    t.equal(f"{name}: rate of the ACCEPT", sessions[0].rate, FAST_RATE)
    play(sessions, 0.6)
    for session, walked in zip(sessions, walk(sessions, 1.5, zw.JUMP), strict=True):
        heights = [state[Y] / METRE for state in map(session.own_at, walked.ticks) if state]
        high = max(heights, default=0.0) - min(heights, default=0.0)
        t.check(f"{name}: jumps", 0.3 < high < 5.0, f"{high:.2f} m high")
        check_margins(t, name, walked, 0.8)
        check_healthy(t, name, session, set())
    check_agreement(t, name, sessions)


def check_compact(t: vectors.Tally, server: Server) -> None:
    """S-14 to S-26, M-4: tables come, and snapshots from them say what others see."""
    name, suite = "compact", zw.CipherSuite.AES_128_GCM
    sessions = [Session.start(own_token(server, character=10 + i), suite, server.address) for i in range(3)]
    if not connect(t, name, sessions):
        return
    # What moves fills the tables: circles, each at its own pace.
    for i, session in enumerate(sessions):
        session.input = zw.Input(move_x=15 - 4 * i, move_z=9, yaw=8000 * i)
    drive(sessions, lambda: all(s.up.compact_snapshots > 0 for s in sessions), 15)
    before = [session.up.compact_snapshots for session in sessions]
    # Tables take this decoder so long that its inputs may come too late, which is not the question here.
    walk(sessions, 1.5, zw.JUMP)
    for session in sessions:
        check_healthy(t, name, session, set())
    more = [session.up.compact_snapshots - had for session, had in zip(sessions, before)]
    t.check(f"{name}: snapshots from tables", min(more) > FAST_RATE, f"{more} of them")
    check_agreement(t, name, sessions[:2])


# --- All together ---------------------------------------------------------------------------------


def check_first_server(t: vectors.Tally, server: Server, seed: int) -> None:
    """Play, refusals, shutdown."""
    if not t.check("server: ready", server.wait_ready()):
        return
    check_session(t, server, zw.CipherSuite.AES_128_GCM, sprint=False)
    check_session(t, server, zw.CipherSuite.CHACHA20_POLY1305, sprint=True)
    check_bad_weather(t, server, seed)
    check_same_accept(t, server)
    check_refusals(t, server)
    last = Session.start(server.token(), zw.CipherSuite.AES_128_GCM, server.address)
    connect(t, "shutdown", [last])
    t.equal("shutdown: exit code after SIGTERM", server.stop([last]), 0)
    if last.connection is not None:
        drive([last], lambda: last.up.over, 0.3)
        t.equal("shutdown: the client is told", last.up.close_reason, zw.CloseReason.SERVER_SHUTDOWN)


def check_second_server(t: vectors.Tally, server: Server) -> None:
    """Cookies and tokens made here."""
    if t.check("second server: ready", server.wait_ready()):
        check_own_tokens(t, server)
        check_fast_rate(t, server)
        check_compact(t, server)
        t.equal("second server: exit code after SIGTERM", server.stop(), 0)


def second_config(directory: str) -> Path:
    """The configuration of the second server."""
    path = Path(directory) / "server.toml"
    rate = f"[world]\ntick_rate_hz = {FAST_RATE}\n"
    keys = f'[access]\ncluster_keys = [{{ epoch = {EPOCH}, hex = "{CLUSTER_KEY.hex()}" }}]\n'
    rate += '[replication]\ncodec = "compact"\n'
    path.write_text(f"{rate}{keys}[load]\ncookie_above_per_s = 0\n", encoding="utf-8")
    return path


class OutOfTimeError(Exception):
    """A part of the run takes too long."""


def out_of_time(_signal: int, _frame: FrameType | None) -> None:
    """SIGALRM."""
    raise OutOfTimeError(f"not done after the time of {TIME_LIMIT}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--server", type=Path, help="the server's program")
    parser.add_argument("--bots", type=Path, help="the program that has `echo`")
    parser.add_argument("--port", type=int, help="first of six ports to use; without it, free ones")
    parser.add_argument("--seed", type=int, default=1, help="of the bad weather")
    return parser.parse_args()


def check_vectors(t: vectors.Tally, seed: int) -> None:
    """The test vectors, as one check, and what needs no server."""
    quiet = vectors.Tally(quiet=True)
    vectors.check_all(quiet)
    t.check("test vectors", quiet.failed == 0, quiet.summary())
    rules.check_all(alone := vectors.Tally(quiet=True), seed)
    t.check("rules without vectors", alone.failed == 0, alone.summary())


def check_servers(t: vectors.Tally, path: Path, port: Callable[[], int], seed: int) -> None:
    """Two servers, one after the other."""
    with Server(path, port(), port(), WORLD) as server:
        check_first_server(t, server, seed)
    with tempfile.TemporaryDirectory() as directory:
        config = ["--config", str(second_config(directory))]
        with Server(path, port(), port(), [*WORLD, *config]) as server:
            check_second_server(t, server)


def guarded(t: vectors.Tally, name: str, part: Callable[[], None]) -> None:
    """Runs a part; that it breaks off, or takes too long, is a failure."""
    signal.alarm(TIME_LIMIT[name])
    try:
        part()
    except (OSError, LookupError, RuntimeError, ValueError, OutOfTimeError, zw.Drop) as error:
        t.check(f"run, {name}", False, f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)


def main() -> int:
    """Entry point."""
    options, tally = arguments(), vectors.Tally()
    signal.signal(signal.SIGALRM, out_of_time)
    port = free_ports(options.port)
    guarded(tally, "server", lambda: check_vectors(tally, options.seed))
    if options.server:
        guarded(tally, "server", lambda: check_servers(tally, options.server, port, options.seed))
    if options.bots:
        guarded(tally, "bots", lambda: echo_checks.check_all(tally, options.bots, port, options.seed))
    print(tally.summary())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

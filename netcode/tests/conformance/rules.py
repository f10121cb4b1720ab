"""Checks of rules that take a course of packets and have no vectors: two ends of this program.

``python3 rules.py`` prints ``N passed, 0 failed`` and exits with 0 if so.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

import zonewire as zw
from vectors import Tally, drop_cause

SUITE = zw.CipherSuite.CHACHA20_POLY1305
CHANNELS = (zw.ORDERED_CHANNEL, zw.UNORDERED_CHANNEL, zw.DATAGRAM_CHANNEL, zw.BLOCK_CHANNEL)
ORDERED, UNORDERED, DATAGRAM, BLOCK = (zw.LAB_CHANNELS[i] for i in CHANNELS)
FULL = bytes(zw.PIECE)


def malformed(action: Callable[[], object]) -> str | None:
    """The rule that ``action`` finds broken."""
    try:
        action()
    except zw.Malformed as error:
        return error.rule
    return None


def check_key_phases(t: Tally) -> None:
    """K-5, K-6."""
    secret = bytes(range(32))
    sender = zw.SendKeys(SUITE, secret, 10)
    packets = []
    for number in range(40):
        sender.roll(number, 0.0)
        packets.append((number, sender.phase, sender.key.seal(number, b"x", b"")))
        sender.acknowledged(number)
    t.equal("phases: of 40 packets", [phase for _, phase, _ in packets[::10]], [0, 1, 2, 3])
    receiver = zw.ReceiveKeys(SUITE, secret)

    def opens(index: int, now: float) -> str | None:
        number, phase, sealed = packets[index]
        return drop_cause(receiver.open, number, phase & 1, sealed, b"", now)

    t.equal("phases: the first", opens(3, 0.0), None)
    t.equal("phases: the next", opens(14, 0.0), None)
    t.equal("phases: late, of the one before", opens(7, 1.0), None)
    t.equal("phases: late, of the present one", opens(11, 1.0), None)
    t.equal("phases: of the one before, 3 seconds later", opens(8, 3.1), "auth_failed")
    t.equal("phases: the failure has changed nothing", (receiver.phase, opens(15, 3.1)), (1, None))
    t.equal("phases: two at once do not open", opens(39, 3.1), "auth_failed")
    t.equal("phases: the one after", opens(25, 3.2), None)
    t.equal("phases: late by two", opens(5, 3.3), "auth_failed")
    t.equal(
        "phases: forged, as if of the next",
        drop_cause(receiver.open, 41, 1, bytes(17), b"", 3.3),
        "auth_failed",
    )
    t.equal("phases: the real next one", opens(30, 3.3), None)
    waiting = zw.SendKeys(SUITE, secret, 10)
    for number in range(30):
        waiting.roll(number, 0.0)
    t.equal("phases: none before a packet was acknowledged", waiting.phase, 0)
    waiting.acknowledged(3)
    waiting.roll(30, 0.0)
    waiting.acknowledged(3)
    for number in range(31, 60):
        waiting.roll(number, 0.0)
    t.equal("phases: an ack of the phase before does not count", waiting.phase, 1)


def check_parts(t: Tally) -> None:
    """C-2, C-3."""
    receiver = zw.PartsReceiver(DATAGRAM)
    receiver.receive(zw.Part(32768, 1, 0), FULL)
    t.equal("parts: one of two", receiver.receive(zw.Part(65535, 1, 1), b"b"), None)
    t.equal("parts: both", receiver.receive(zw.Part(65535, 1, 0), FULL), FULL + b"b")
    t.equal("parts: once only", receiver.receive(zw.Part(65535, 1, 0), FULL), None)
    t.equal("parts: a doubled part", receiver.receive(zw.Part(0, 1, 0), FULL), None)
    t.equal("parts: completes nothing", receiver.receive(zw.Part(0, 1, 0), FULL), None)
    for number in range(1, 9):
        receiver.receive(zw.Part(number, 1, 0), FULL)
    t.equal("parts: the oldest of nine is given up", receiver.receive(zw.Part(0, 1, 1), b"b"), None)
    t.equal("parts: the others are not", receiver.receive(zw.Part(1, 1, 1), b"b"), FULL + b"b")
    short = zw.PartsReceiver(DATAGRAM._replace(longest=1500))
    for number in range(70, 79):
        receiver.receive(zw.Part(number, 1, 0), FULL)
    t.equal("parts: of a message 64 below the greatest", receiver.receive(zw.Part(14, 1, 1), b"b"), None)
    t.equal("parts: of one 63 below", receiver.receive(zw.Part(15, 1, 1), b"b"), None)
    t.equal(
        "parts: the other of that, with eight newer ones", receiver.receive(zw.Part(15, 1, 0), FULL), None
    )
    t.equal("parts: too long", malformed(lambda: short.receive(zw.Part(0, 1, 1), bytes(477))), "C-3")
    t.equal("parts: as long as allowed", malformed(lambda: short.receive(zw.Part(0, 1, 1), bytes(476))), None)
    t.equal("parts: another last", malformed(lambda: short.receive(zw.Part(0, 2, 1), FULL)), "C-3")


def check_reliable(t: Tally, seed: int) -> None:
    """C-4 to C-8: a sender and a receiver with half of the packets lost and all of them mixed up."""
    rng = random.Random(seed)
    for channel in (ORDERED, UNORDERED, ORDERED._replace(longest=2048, queue=5000)):
        sender, receiver = zw.ReliableSender(zw.ORDERED_CHANNEL, channel), zw.ReliableReceiver(channel)
        lengths = (0, 1, 1023, 1024, 1025, 2048, channel.longest)
        messages = [rng.randbytes(rng.choice(lengths)) for _ in range(60)]
        for message in messages:
            sender.send(message)
        delivered: list[bytes] = []
        flying: list[zw.Packer] = []
        for _ in range(20_000):
            if sender.done:
                break
            if sender.waits():
                packer = zw.Packer(zw.LAB_CHANNELS, 8 * 1177)
                sender.fill(packer)
                flying.append(packer)
            if not flying or sender.waits() and len(flying) < 300:
                continue
            packer = flying.pop(rng.randrange(len(flying)))
            arrives = rng.random() < 0.5
            for frame in packer.frames if arrives else ():
                if isinstance(frame, zw.Message) and isinstance(frame.head, zw.Segment):
                    delivered += receiver.receive(frame.head, frame.body)
            for outcome in packer.outcomes:
                outcome(arrives and rng.random() < 0.8)
        name = f"reliable: {channel.kind.name}, queue {channel.queue}"
        in_order = channel.kind is zw.ChannelKind.RELIABLE_ORDERED
        same = delivered == messages if in_order else sorted(delivered) == sorted(messages)
        t.check(name, same, f"{len(delivered)} of {len(messages)}")
        t.equal(f"{name}, held at the end", receiver.held_bytes, 0)


def check_blocks(t: Tally, seed: int) -> None:
    """C-9 to C-11."""
    rng = random.Random(seed)
    channel = BLOCK._replace(queue=8 * 1024)
    sender, receiver = zw.BlockSender(zw.BLOCK_CHANNEL, channel), zw.BlockReceiver(channel)
    sayer = zw.BlockSayer(7, receiver)
    blocks = [rng.randbytes(length) for length in (1, 1023, 1024, 1025, 8192, 8193, 100_000)]
    for block in blocks:
        sender.send(block)
    arrived: list[bytes] = []
    flying: list[zw.Packer] = []
    for _ in range(20_000):
        for end in (sender, sayer):
            if end.waits():
                packer = zw.Packer(zw.LAB_CHANNELS, 8 * 1177)
                end.fill(packer)
                flying.append(packer)
        if not flying:
            break
        packer = flying.pop(rng.randrange(len(flying)))
        arrives = rng.random() < 0.5
        for frame in packer.frames if arrives else ():
            match frame:
                case zw.Message(_, body, zw.Chunk() as head):
                    whole = receiver.receive(head, body)
                    arrived += [whole] if whole is not None else []
                case zw.Message(_, _, zw.Credit() as head):
                    sender.credit(head)
        for outcome in packer.outcomes:
            outcome(arrives and rng.random() < 0.8)
    t.check("blocks: all of them, in order", arrived == blocks, f"{[len(block) for block in arrived]}")
    t.check(
        "blocks: the sender knows that they are received", sender.done and len(sender.sent) == len(blocks)
    )
    receiver = zw.BlockReceiver(channel)
    receiver.receive(zw.Chunk(0, 5000, 1), FULL)
    t.equal("blocks: a later one ends the present", receiver.receive(zw.Chunk(1, 5, 0), b"later"), b"later")
    t.equal("blocks: of an earlier one", receiver.receive(zw.Chunk(0, 5000, 0), FULL), None)
    receiver.cancelled(zw.Cancel(2, by_sender=True))
    t.equal("blocks: a cancel before any chunk", receiver.receive(zw.Chunk(2, 5, 0), b"never"), None)


def check_attempt(t: Tally) -> None:
    """A-4, A-6, E-3, E-4."""
    for name, change, cause in (
        ("good", {}, None),
        ("a feature that was not offered", {"features": 2}, "malformed"),
        ("a tick of 2^40", {"tick": zw.TICK_END}, "malformed"),
        ("a longest packet below 1200", {"longest_packet": 1199}, "malformed"),
        ("no rate", {"rate": 0}, "malformed"),
    ):
        attempt = zw.Attempt(bytes(292), bytes(32), SUITE, 5, features=1)
        accept = accept_for(attempt, **change)
        t.equal(f"ACCEPT with {name}", drop_cause(attempt.receive, accept, 0.0), cause)
        t.equal(
            f"ACCEPT with {name}, another after it", drop_cause(attempt.receive, accept, 0.0), "not_expected"
        )
    attempt = zw.Attempt(bytes(292), bytes(32), SUITE, 5, version=3, highest=3)
    refuse = bytes([4, 1, 2, 2]) + attempt.mac
    attempt.receive(refuse + bytes(16), 1.0)
    attempt.receive(bytes([4, 2, 0, 0]) + attempt.mac + bytes(16), 1.5)
    attempt.check_unproven(1.9)
    try:
        attempt.check_unproven(2.0)
        t.check("an unproven refusal is believed after a second", False)
    except zw.Refused as refused:
        t.equal("an unproven refusal is believed after a second", refused.next_version((1, 2, 3)), 2)
        t.equal("no version in common", refused.next_version((1, 3)), None)


def accept_for(attempt: zw.Attempt, **change: int) -> bytes:
    """An ACCEPT, as a server makes it."""
    private = X25519PrivateKey.from_private_bytes(os.urandom(32))
    shared = private.exchange(X25519PublicKey.from_public_bytes(attempt.hello[76:108]))
    head = b"\3\0\0\0" + attempt.mac + private.public_key().public_bytes_raw()
    keys = zw.derive_keys(SUITE, zw.transcript(attempt.hello, head), shared, bytes(32))
    fields = {
        "connection": 1,
        "tick": 2,
        "server_time": 3,
        "client_time": 5,
        "rate": 20,
        "longest_packet": 1452,
        "idle_ms": 10_000,
        "channel_hash": zw.STANDARD_CHANNELS_HASH,
        "schema_hash": zw.STANDARD_SCHEMA.hash(),
        "down_cap": 0,
        "up_cap": 0,
        "features": 1,
        **change,
    }
    sealed = head + keys.handshake.seal(0, zw.Accepted(**fields).encode(), head)
    return sealed + zw.mac16(attempt.mac_key, sealed)


def check_frames(t: Tally, seed: int) -> None:
    """Section 9: whatever is written is read again, and nothing else makes the reader fail."""
    rng = random.Random(seed)
    makers: list[Callable[[], zw.Frame]] = [
        zw.Ping,
        lambda: zw.Close(zw.CloseReason(rng.randrange(6))),
        lambda: zw.PathChallenge(rng.randbytes(8)),
        lambda: zw.TimeReply(rng.getrandbits(32), rng.getrandbits(64), rng.getrandbits(32)),
        lambda: zw.Message(zw.INPUT_CHANNEL, rng.randbytes(rng.randrange(129))),
        lambda: zw.Message(
            zw.SESSION_CHANNEL, rng.randbytes(99), zw.Segment(rng.getrandbits(16), True, rng.random() < 0.5)
        ),
        lambda: zw.Message(zw.DATAGRAM_CHANNEL, rng.randbytes(70)),
        lambda: zw.Message(
            zw.DATAGRAM_CHANNEL, rng.randbytes(5), zw.Part(rng.getrandbits(16), 7, rng.randrange(8))
        ),
        lambda: zw.Message(
            zw.BLOCK_CHANNEL, rng.randbytes(8), zw.Chunk(rng.getrandbits(16), 1 + rng.getrandbits(24), 16383)
        ),
        lambda: zw.Message(zw.BLOCK_CHANNEL, b"", zw.Credit(rng.getrandbits(16), rng.getrandbits(15))),
        lambda: zw.Message(zw.BLOCK_CHANNEL, b"", zw.Cancel(rng.getrandbits(16), rng.random() < 0.5)),
    ]
    wrong = 0
    for _ in range(2000):
        ack = zw.Ack(rng.getrandbits(16), rng.getrandbits(8), rng.choice((zw.MASK_ALL, rng.getrandbits(32))))
        frames = [rng.choice(makers)() for _ in range(rng.randrange(6))]
        frames += rng.choice(([], [zw.Snapshot(rng.randbytes(9))], [zw.MtuProbe()]))
        packet = zw.Plaintext(rng.choice((None, ack)), rng.choice((None, 7)), tuple(frames))
        data = packet.encode(zw.LAB_CHANNELS)
        wrong += zw.Plaintext.decode(data, channels=zw.LAB_CHANNELS) != packet
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        malformed(lambda d=bytes(changed): zw.Plaintext.decode(d, channels=zw.LAB_CHANNELS))  # type: ignore[misc]
    t.equal("frames: 2000 packets written and read", wrong, 0)


def check_inputs(t: Tally, seed: int) -> None:
    """I-1: whatever is written is read again, and nothing else makes the reader fail."""
    rng, fields = random.Random(seed), zw.STANDARD_SCHEMA.input
    wrong = 0
    for _ in range(2000):
        inputs = [zw.Input()]
        while len(inputs) <= zw.INPUTS_PER_MESSAGE:
            last = zip(fields, inputs[-1], strict=True)
            values = (rng.randint(f.low, f.high) if rng.random() < 0.3 else old for f, old in last)
            inputs.append(zw.Input(*values))
        inputs = inputs[1 : 2 + rng.randrange(zw.INPUTS_PER_MESSAGE)]
        body = zw.encode_inputs(inputs)
        wrong += zw.decode_inputs(body) != inputs
        changed = bytearray(body[: 1 + rng.randrange(len(body))])
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        try:
            again = zw.decode_inputs(bytes(changed))
        except (zw.EndOfData, ValueError):
            continue
        wrong += len(zw.encode_inputs(again)) > len(changed)
    t.equal("inputs: 2000 messages written and read", wrong, 0)


def check_events(t: Tally) -> None:
    """M-5."""
    somebody = 7 << 12 | 1
    good = {
        struct.pack("<IBBIBBH", 5, 0, 0, somebody, 30, 1, 120): (5, 0, 0, (somebody, 30, 1, 120)),
        struct.pack("<IBBIBH", 5, 1, 1, 0, 30, 120): (5, 1, 1, (0, 30, 120)),
        struct.pack("<IBBIH", 0xFFFF_FFFF, 0, 2, somebody, 60): (-1, 0, 2, (somebody, 60)),
        struct.pack("<IBB", 5, 0, 3): (5, 0, 3, ()),
        struct.pack("<IBBIB", 5, 0, 4, 9000, 3): (5, 0, 4, (9000, 3)),
        struct.pack("<IBBIBH", 5, 0, 5, somebody, 2, 10): (5, 0, 5, (somebody, 2, 10)),
        struct.pack("<IBBB", 5, 0, 6, 8): (5, 0, 6, (8,)),
    }
    for data, (tick, *rest) in good.items():
        near = (1 << 32) + 3
        t.equal(f"event {data.hex()}", tuple(zw.decode_event(data, near)), ((1 << 32) + tick, *rest))
        t.equal(f"event {data.hex()}, cut", no_event(data[:-1]), True)
        t.equal(f"event {data.hex()}, continued", no_event(data + b"\0"), True)
    for data in (
        struct.pack("<IBBIBBH", 5, 0, 0, somebody, 30, 2, 120),
        struct.pack("<IBBIBH", 5, 0, 5, 0, 2, 10),
        struct.pack("<IBBB", 5, 0, 6, 9),
        struct.pack("<IBB", 5, 0, 7),
    ):
        t.equal(f"no event {data.hex()}", no_event(data), True)


def no_event(data: bytes) -> bool:
    """Whether these bytes are none."""
    try:
        zw.decode_event(data, 0)
    except zw.MessageError:
        return True
    return False


def check_all(t: Tally, seed: int = 1) -> None:
    """All of them."""
    check_key_phases(t)
    check_parts(t)
    check_reliable(t, seed)
    check_blocks(t, seed)
    check_attempt(t)
    check_frames(t, seed)
    check_inputs(t, seed)
    check_events(t)


def main() -> int:
    """Entry point."""
    tally = Tally(quiet="-v" not in sys.argv[1:])
    check_all(tally)
    print(tally.summary())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks the client of ``zonewire.py`` against every section of ``../vectors.json``.

``python3 vectors.py`` prints ``N passed, 0 failed`` and exits with 0 if so.
"""

from __future__ import annotations

import hmac
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

import compact
import zonewire as zw

VECTORS = Path(__file__).resolve().parent.parent / "vectors.json"


class Tally:
    """Counts checks; says which failed."""

    def __init__(self, quiet: bool = False) -> None:
        self.passed = 0
        self.failed = 0
        self._quiet = quiet

    def check(self, name: str, passed: bool, detail: str = "") -> bool:
        """Counts one check."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
        if not passed or not self._quiet:
            print(f"{'ok  ' if passed else 'FAIL'} {name}{': ' + detail if detail else ''}", flush=True)
        return passed

    def equal(self, name: str, got: object, expected: object) -> bool:
        """Counts one comparison."""
        detail = "" if got == expected else f"got {got!r}, expected {expected!r}"
        return self.check(name, got == expected, detail)

    def summary(self) -> str:
        """The last line."""
        return f"{self.passed} passed, {self.failed} failed"


def number(text: str) -> int:
    """A 64-bit number of the file (section 19)."""
    return int(text, 0)


def drop_cause(action: Callable[..., object], *arguments: object, **options: object) -> str | None:
    """The cause for which ``action`` drops its datagram."""
    try:
        action(*arguments, **options)
    except zw.Drop as drop:
        return drop.cause
    return None


TABLES = {"standard": zw.STANDARD_CHANNELS, "lab": zw.LAB_CHANNELS}


def read_channel(v: dict[str, Any]) -> zw.Channel:
    """A row of one of the file's channel tables."""
    return zw.Channel(
        v["name"],
        zw.ChannelKind(v["kind"]),
        v["priority"],
        v["weight"],
        v["least_per_tick"],
        v["most_per_tick"],
        v["longest_message"],
        v["queue"],
        v["overflow"],
    )


def check_channel_tables(t: Tally, v: list[dict[str, Any]]) -> None:
    """C-12."""
    t.equal("channel tables: names", sorted(case["name"] for case in v), sorted(TABLES))
    for case in v:
        name, table = f"channel table {case['name']}", tuple(map(read_channel, case["channels"]))
        t.equal(name, table, TABLES[case["name"]])
        t.equal(f"{name}: canonical", zw.channels_canonical(table).hex(), case["canonical"])
        t.equal(f"{name}: hash", zw.fnv1a(zw.channels_canonical(table)), number(case["hash"]))


def read_field(v: dict[str, Any]) -> zw.Field:
    """A field of the file's schema."""
    numbers = v["predictor"]
    predictor: zw.Linear | zw.Fall | None = None
    if numbers != "hold":
        predictor = zw.Linear(**numbers) if "velocity" in numbers else zw.Fall(**numbers)
    head = (v["name"], v["bits"], v["signed"], v["wraps"], v["scale"], v["unit"], v["group"])
    return zw.Field(*head, v["order"], predictor, v["audience"] == 1)


def check_schema(t: Tally, v: dict[str, Any]) -> None:
    """D-1 to D-6."""
    kinds = tuple(zw.Kind(k["name"], tuple(map(read_field, k["fields"]))) for k in v["kinds"])
    schema = zw.Schema(kinds, tuple(map(read_field, v["input"])))
    t.equal("schema: standard", schema, zw.STANDARD_SCHEMA)
    t.equal("schema: canonical", schema.canonical().hex(), v["canonical"])
    t.equal("schema: hash", schema.hash(), number(v["hash"]))


def check_expansion(t: Tally, v: list[dict[str, Any]]) -> None:
    """G-6."""
    for case in v:
        got = zw.expand(number(case["reference"]), case["low"])
        t.equal(f"expansion: {case['low']} near {case['reference']}", got, number(case["value"]))


def read_token(v: dict[str, Any]) -> zw.Token:
    """The file's token, from its fields."""
    servers = []
    for entry in v["servers"]:
        host, _, port = entry["addr"].rpartition(":")
        servers.append(zw.ServerEntry(entry["id"], host.strip("[]"), int(port)))
    return zw.Token(
        epoch=v["epoch"],
        expires_ms=number(v["expires_ms"]),
        id=bytes.fromhex(v["id"]),
        issued_ms=number(v["issued_ms"]),
        account=number(v["account"]),
        character=number(v["character"]),
        group=v["group"],
        down_cap=v["down_cap"],
        up_cap=v["up_cap"],
        psk=bytes.fromhex(v["psk"]),
        servers=tuple(servers),
    )


def check_token(t: Tally, v: dict[str, Any]) -> None:
    """T-1, T-2."""
    token, sealed, cluster_key = read_token(v), bytes.fromhex(v["bytes"]), bytes.fromhex(v["cluster_key"])
    key, nonce = zw.token_key(cluster_key, token.id)
    t.equal("token: key", key.hex(), v["key"])
    t.equal("token: nonce", nonce.hex(), v["nonce"])
    t.equal("token: sealed", token.seal(cluster_key).hex(), v["bytes"])
    t.equal("token: opened", zw.Token.open(sealed, {token.epoch: cluster_key}), token)
    for at in (0, 1, 2, 4, 12, 28, len(sealed) - 1):
        broken = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        try:
            zw.Token.open(broken, {token.epoch: cluster_key})
        except zw.TokenError:
            t.check(f"token: byte {at} changed", True)
        else:
            t.check(f"token: byte {at} changed", False, "it opens")


def attempt_of(v: dict[str, Any], token: bytes) -> zw.Attempt:
    """The client's side of a handshake of the file."""
    hello = bytes.fromhex(v["hello"])
    return zw.Attempt(
        token,
        bytes.fromhex(v["psk"]),
        zw.CipherSuite(v["cipher"]),
        number(v["client_time"]),
        private_key=bytes.fromhex(v["client_private"]),
        highest=hello[3],
        features=int.from_bytes(hello[36:44], "little"),
        longest_packet=int.from_bytes(hello[400:402], "little"),
    )


def check_handshakes(t: Tally, v: list[dict[str, Any]], token: bytes) -> None:
    """H, R, A, E, K and P, once for each cipher."""
    for case in v:
        name = f"handshake {zw.CipherSuite(case['cipher']).name}"
        check_hello(t, name, case, token)
        check_refusals(t, name, case, token)
        check_keys(t, name, case, token)
        check_accept(t, name, case, token)
        check_packets(t, name, case, token)


def check_hello(t: Tally, name: str, v: dict[str, Any], token: bytes) -> None:
    """Section 3 and R-1, R-2."""
    attempt = attempt_of(v, token)
    t.equal(f"{name}: public key", attempt.hello[76:108].hex(), v["client_public"])
    t.equal(f"{name}: MAC key", attempt.mac_key.hex(), v["mac_key"])
    t.equal(f"{name}: MAC", attempt.mac.hex(), v["mac"])
    t.equal(f"{name}: HELLO", attempt.hello.hex(), v["hello"])
    t.equal(f"{name}: cookie", make_cookie(v["cookie"], token[12:28]).hex(), v["cookie"]["bytes"])
    t.equal(f"{name}: RETRY holds it", v["retry"], f"02000000{v['mac']}{v['cookie']['bytes']}")
    answer = attempt.receive(bytes.fromhex(v["retry"]), 0.0)
    t.equal(f"{name}: HELLO with cookie", answer, bytes.fromhex(v["hello_with_cookie"]))
    for _ in range(zw.MAX_RETRIES - 1):
        attempt.receive(bytes.fromhex(v["retry"]), 0.0)
    cause = drop_cause(attempt.receive, bytes.fromhex(v["retry"]), 0.0)
    t.check(f"{name}: a ninth RETRY is not followed", cause is not None)


def make_cookie(v: dict[str, Any], token_id: bytes) -> bytes:
    """This server's cookies (R-1)."""
    host, _, port = v["from"].rpartition(":")
    seconds = int(v["seconds"]).to_bytes(4, "little")
    place = zw.mapped_address(host.strip("[]")) + int(port).to_bytes(2, "little")
    key = bytes.fromhex(v["key"])
    return seconds + hmac.digest(key, seconds + place + token_id, "sha256")[:28]


def check_refusals(t: Tally, name: str, v: dict[str, Any], token: bytes) -> None:
    """E-1 to E-3."""
    proven, unproven = v["refuse_proven"], v["refuse_unproven"]
    try:
        attempt_of(v, token).receive(bytes.fromhex(proven["bytes"]), 0.0)
        t.check(f"{name}: proven REFUSE", False, "the attempt goes on")
    except zw.Refused as refused:
        t.equal(f"{name}: proven REFUSE", (refused.reason, refused.proven), (proven["reason"], True))
    attempt = attempt_of(v, token)
    attempt.receive(bytes.fromhex(unproven["bytes"]), 10.0)
    attempt.check_unproven(10.9)
    try:
        attempt.check_unproven(11.1)
        t.check(f"{name}: unproven REFUSE", False, "the attempt goes on")
    except zw.Refused as refused:
        t.equal(f"{name}: unproven REFUSE", (refused.reason, refused.proven), (unproven["reason"], False))


def check_keys(t: Tally, name: str, v: dict[str, Any], token: bytes) -> None:
    """K-1, K-2."""
    server = X25519PrivateKey.from_private_bytes(bytes.fromhex(v["server_private"]))
    t.equal(f"{name}: server's public key", server.public_key().public_bytes_raw().hex(), v["server_public"])
    peer = X25519PublicKey.from_public_bytes(bytes.fromhex(v["client_public"]))
    t.equal(f"{name}: X25519", server.exchange(peer).hex(), v["shared"])
    hello, accept = bytes.fromhex(v["hello_with_cookie"]), bytes.fromhex(v["accept"])
    t.equal(f"{name}: transcript", zw.transcript(hello, accept).hex(), v["transcript"])
    keys, expected = attempt_of(v, token).keys_for(accept), v["keys"]
    t.equal(f"{name}: key handshake", describe_key(keys.handshake), pick(expected["handshake"], "key", "iv"))
    for label, secret in (("c2s", keys.c2s), ("s2c", keys.s2c)):
        t.equal(f"{name}: secret {label}", secret.hex(), expected[label]["secret"])
        got = describe_key(zw.phase_key(keys.suite, secret))
        t.equal(f"{name}: key {label}", got, pick(expected[label], "key", "iv"))


def describe_key(key: zw.SealingKey) -> dict[str, str]:
    """A key as the file writes it."""
    return {"key": key.key.hex(), "iv": key.iv.hex()}


def pick(v: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Some of the entries."""
    return {key: v[key] for key in keys}


def check_key_phases(t: Tally, v: list[dict[str, Any]]) -> None:
    """K-2, K-5, K-6: each direction through its phases, for each cipher."""
    courses: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for case in v:
        courses.setdefault((case["cipher"], case["direction"]), []).append(case)
    t.equal("key phases: courses", len(courses), 4)
    for (cipher, direction), course in courses.items():
        suite, secret = zw.CipherSuite(cipher), bytes.fromhex(course[0]["secret"])
        receiver = zw.ReceiveKeys(suite, secret)
        for phase, case in enumerate(course):
            name, key = f"key phases {suite.name} {direction} {phase}", zw.phase_key(suite, secret)
            t.equal(f"{name}: phase", phase, case["phase"])
            t.equal(f"{name}: secret", secret.hex(), case["secret"])
            t.equal(f"{name}: key", describe_key(key), pick(case, "key", "iv"))
            check_phase_packet(t, name, case["packet"], key, phase, receiver)
            t.equal(f"{name}: the receiver's phase", receiver.phase, phase)
            secret = zw.next_secret(secret)


def check_phase_packet(
    t: Tally, name: str, v: dict[str, Any], key: zw.SealingKey, phase: int, receiver: zw.ReceiveKeys
) -> None:
    """A packet of one phase, opened and sealed."""
    datagram, plaintext, pn = bytes.fromhex(v["datagram"]), bytes.fromhex(v["plaintext"]), number(v["number"])
    to_client = v["to"] == "client"
    t.equal(f"{name}: flags", datagram[0], zw.DATA_FLAGS | phase & 1)
    t.equal(f"{name}: opened", zw.open_data(key, pn, datagram, to_client=to_client), plaintext)
    if to_client:
        sealed = zw.seal_to_client(key, pn, plaintext, phase)
    else:
        sealed = zw.seal_to_server(key, int.from_bytes(datagram[1:5], "little"), pn, plaintext, phase)
    t.equal(f"{name}: sealed", sealed, datagram)
    header = zw.HEADER_TO_CLIENT if to_client else zw.HEADER_TO_SERVER
    opened = receiver.open(pn, datagram[0] & zw.PHASE_FLAG, datagram[header:], datagram[:header], 0.0)
    t.equal(f"{name}: opened by its bit", opened, plaintext)


def check_accept(t: Tally, name: str, v: dict[str, Any], token: bytes) -> None:
    """A-1 to A-7, and the same bytes made anew as a server does."""
    attempt, datagram = attempt_of(v, token), bytes.fromhex(v["accept"])
    attempt.receive(bytes.fromhex(v["retry"]), 0.0)
    result = attempt.receive(datagram, 0.0)
    if not isinstance(result, zw.Established):
        t.check(f"{name}: ACCEPT", False, "not taken")
        return
    got = result.accepted
    for key, value in v["accepted"].items():
        expected = number(value) if isinstance(value, str) else value
        t.equal(f"{name}: ACCEPT {key}", getattr(got, key), expected)
    t.equal(f"{name}: ACCEPT client time", got.client_time, number(v["client_time"]))
    t.equal(f"{name}: parameters", got.encode().hex(), v["parameters"])
    head = b"\3\0\0\0" + attempt.mac + bytes.fromhex(v["server_public"])
    sealed = head + result.keys.handshake.seal(0, got.encode(), head)
    t.equal(f"{name}: ACCEPT made anew", sealed + zw.mac16(attempt.mac_key, sealed), datagram)
    cause = drop_cause(attempt.receive, datagram, 0.0)
    t.equal(f"{name}: a second ACCEPT", cause, "not_expected")


def check_packets(t: Tally, name: str, v: dict[str, Any], token: bytes) -> None:
    """Section 8: header, nonce, additional data."""
    keys = attempt_of(v, token).keys_for(bytes.fromhex(v["accept"]))
    for packet in v["packets"]:
        label = f"{name}: packet '{packet['name']}'"
        datagram, plaintext = bytes.fromhex(packet["datagram"]), bytes.fromhex(packet["plaintext"])
        pn, to_client = number(packet["number"]), packet["to"] == "client"
        key = zw.phase_key(keys.suite, keys.s2c if to_client else keys.c2s)
        zw.check_header(datagram, to_client=to_client)
        t.equal(f"{label} opened", zw.open_data(key, pn, datagram, to_client=to_client), plaintext)
        if to_client:
            sealed = zw.seal_to_client(key, pn, plaintext)
        else:
            sealed = zw.seal_to_server(key, v["accepted"]["connection"], pn, plaintext)
        t.equal(f"{label} sealed", sealed, datagram)
        broken = datagram[:-1] + bytes([datagram[-1] ^ 0x80])
        cause = drop_cause(zw.open_data, key, pn, broken, to_client=to_client)
        t.equal(f"{label} changed", cause, "auth_failed")
        parsed = zw.Plaintext.decode(plaintext, to_client=to_client)
        t.equal(f"{label} written", parsed.encode(), plaintext)


def check_dropped_by_client(
    t: Tally, v: list[dict[str, Any]], handshake: dict[str, Any], token: bytes
) -> None:
    """A-1 to A-4, R-2, E-1: dropped, and the attempt stays as it was."""
    attempt = attempt_of(handshake, token)
    for case in v:
        cause = drop_cause(attempt.receive, bytes.fromhex(case["datagram"]), 0.0)
        t.equal(f"dropped by client: {case['name']}", cause, case["cause"])
    result = attempt.receive(bytes.fromhex(handshake["accept"]), 0.0)
    t.check("dropped by client: the ACCEPT is good after all that", isinstance(result, zw.Established))


def check_dropped_headers(t: Tally, v: list[dict[str, Any]]) -> None:
    """P-1 to P-3."""
    for case in v:
        to_client = case["to"] == "client"
        cause = drop_cause(zw.check_header, bytes.fromhex(case["datagram"]), to_client=to_client)
        t.equal(f"dropped header: {case['name']}, to {case['to']}", cause, case["cause"])


def describe_frame(frame: zw.Frame) -> dict[str, Any]:
    """A frame as the file writes it."""
    match frame:
        case zw.Message(channel, body, head):
            return {"channel": channel, "payload": body.hex(), **describe_head(head)}
        case zw.Snapshot(body):
            return {"snapshot": body.hex()}
        case zw.Close(reason):
            return {"control": "close", "reason": int(reason)}
        case zw.PathChallenge(data):
            return {"control": "path_challenge", "data": data.hex()}
        case zw.PathResponse(data):
            return {"control": "path_response", "data": data.hex()}
        case zw.TimeRequest(at_once, client_time):
            return {"control": "time_request", "at_once": at_once, "sent": client_time}
        case zw.TimeReply(client_time, server_time, held):
            times = {"sent": client_time, "received": str(server_time), "hold": held}
            return {"control": "time_reply", **times}
    return {"control": "ping" if isinstance(frame, zw.Ping) else "mtu_probe"}


OPS: dict[type, str] = {zw.Chunk: "chunk", zw.Credit: "credit", zw.Cancel: "cancel"}


def describe_head(head: zw.Head) -> dict[str, Any]:
    """The head of a message as the file writes it."""
    if head is None:
        return {}
    op = OPS.get(type(head))
    return asdict(head) if op is None else {"op": op, **asdict(head)}


def decode_case(case: dict[str, Any], *, to_client: bool = True) -> zw.Plaintext:
    """Parses a plaintext of the file with its table and features."""
    return zw.Plaintext.decode(
        bytes.fromhex(case["plaintext"]),
        to_client=to_client,
        channels=TABLES[case["table"]],
        features=case["features"],
    )


def decode_for_either(case: dict[str, Any]) -> zw.Plaintext:
    """The same, for whoever it may go to: nothing says so but its frames (F-9)."""
    try:
        return decode_case(case)
    except zw.Malformed as error:
        if error.rule != "F-9":
            raise
        return decode_case(case, to_client=False)


def check_plaintexts(t: Tally, v: list[dict[str, Any]]) -> None:
    """Section 9, both ways."""
    for case in v:
        plaintext, table = bytes.fromhex(case["plaintext"]), TABLES[case["table"]]
        parsed = decode_for_either(case)
        described = {
            "ack": parsed.ack._asdict() if parsed.ack else None,
            "tick": parsed.tick,
            "frames": [describe_frame(frame) for frame in parsed.frames],
        }
        t.equal(f"plaintext: {case['name']}", described, case["parsed"])
        probe = bool(parsed.frames) and isinstance(parsed.frames[-1], zw.MtuProbe)
        written = parsed.encode(table, len(plaintext) if probe else 0)
        if case["name"] in MAY_BE_WRITTEN_SO:
            again = decode_for_either({**case, "plaintext": written.hex()})
            t.equal(f"plaintext: {case['name']}, read again", again, parsed)
        else:
            t.equal(f"plaintext: {case['name']}, written", written, plaintext)


MAY_BE_WRITTEN_SO = ("a short length in the long form",)  # F-5: it may, but not by this client


def check_malformed_plaintexts(t: Tally, v: list[dict[str, Any]]) -> None:
    """F-1 to F-8; which rule is broken is not asked for."""
    for case in v:
        t.check(f"malformed: {case['name']}", broken_rule(case) is not None, f"{case['rule']} is not seen")


def broken_rule(case: dict[str, Any]) -> str | None:
    """The rule that a plaintext breaks."""
    try:
        decode_case(case)
    except zw.Malformed as error:
        return error.rule
    return None


def check_inputs(t: Tally, v: list[dict[str, Any]]) -> None:
    """I-1, I-2."""
    for case in v:
        inputs = [zw.Input(*entry) for entry in case["newest_first"]]
        same = zw.encode_inputs(inputs).hex() == case["body"]
        t.equal(f"inputs: {case['body']} written", same, case["as_written"])
        t.equal(f"inputs: {case['body']} read", zw.decode_inputs(bytes.fromhex(case["body"])), inputs)


def check_messages(t: Tally, v: list[dict[str, Any]]) -> None:
    """M-1 to M-3, M-6."""
    for case in v:
        got = zw.decode_message(bytes.fromhex(case["bytes"]))
        if case["message"] == "welcome":
            fields = {name: case[name] for name in zw.Welcome._fields}
            fields |= {name: number(case[name]) for name in ("map_seed", "rules")}
            t.equal("message: welcome", got, zw.Welcome(**fields))
        elif case["message"] == "tables":
            part = zw.TablesPart(case["version"], case["part"], case["last"], bytes.fromhex(case["data"]))
            t.equal("message: tables", got, part)
        elif case["message"] == "tables_ready":
            t.equal("message: tables ready", got, zw.TablesReady(case["version"]))
            t.equal("message: tables ready, written", got.encode().hex(), case["bytes"])
        elif case["message"] == "pace":
            t.equal("message: pace", got, zw.Pace(number(case["tick"]), case["percent"]))
        else:
            t.equal("message: notice", got, zw.Notice(case["text"]))


def describe_world(world: zw.World) -> list[dict[str, Any]]:
    """A world as the file writes it."""
    described = [
        {
            "confirmed": str(e.confirmed),
            "id": e.id,
            "kind": e.kind,
            "owner": e.owner,
            "slot": slot,
            "state": list(e.state),
        }
        for slot, e in world.slots.items()
    ]
    return sorted(described, key=lambda entry: entry["id"])


def check_snapshots(t: Tally, v: dict[str, Any]) -> None:
    """S-1 to S-13, one world through the whole sequence."""
    check_sequence(t, v, zw.World(v["rate"]))


def check_compact(t: Tally, v: dict[str, Any]) -> None:
    """S-15 to S-26: the newest two of the tables hold."""
    world, fresh = zw.World(v["rate"]), zw.World(v["rate"])
    for case in v["tables_in_order"]:
        tables = compact.read_tables(world.schema, bytes.fromhex(case["bytes"]))
        t.equal("compact: version of tables", tables.version, case["version"])
        world.add_tables(tables)
        parts, data = zw.TablesParts(), bytes.fromhex(case["bytes"])
        cut = [data[i : i + 960] for i in range(0, len(data), 960)]
        last = len(cut) - 1
        whole = [parts.take(zw.TablesPart(tables.version, i, last, piece)) for i, piece in enumerate(cut)]
        t.equal("compact: tables in parts", whole, [None] * last + [tables])
    for case in v["refused_tables"]:
        t.check(f"compact: tables {case['name']} are refused", not are_tables(case))
    t.check("compact: nothing is read without tables", refuses(fresh, v["sequence"][0]))
    check_sequence(t, v, world)
    check_step(t, v["after_that"], world)


def are_tables(case: dict[str, Any]) -> bool:
    """Whether bytes are tables."""
    try:
        compact.read_tables(zw.STANDARD_SCHEMA, bytes.fromhex(case["bytes"]))
    except compact.CompactError:
        return False
    return True


def check_step(t: Tally, case: dict[str, Any], world: zw.World) -> None:
    """One snapshot of a sequence."""
    applied = world.apply(bytes.fromhex(case["body"]), number(case["tick"]))
    name = f"snapshot: {case['name']}"
    t.equal(f"{name}, header", (applied.margin, applied.complete), (case["margin"], case["complete"]))
    t.equal(f"{name}, events", [{e.what: e.id} for e in applied.events], case["events"])
    t.equal(f"{name}, entities", describe_world(world), case["entities_by_id"])


def check_sequence(t: Tally, v: dict[str, Any], world: zw.World) -> None:
    """A world through a whole sequence, and what it refuses then."""
    for case in v["sequence"]:
        check_step(t, case, world)
    before = describe_world(world)
    for case in v["refused_after_it"]:
        t.check(f"snapshot refused: {case['error']}", refuses(world, case))
        t.equal("snapshot refused: nothing has changed", describe_world(world), before)


def refuses(world: zw.World, case: dict[str, Any]) -> bool:
    """Whether a snapshot is an error (S-9)."""
    try:
        world.apply(bytes.fromhex(case["body"]), number(case["tick"]))
    except zw.SnapshotError:
        return True
    return False


BROKEN_OFF = (LookupError, ValueError, TypeError, zw.Drop, zw.Malformed, zw.Refused, zw.SnapshotError)


def check_all(t: Tally, path: Path = VECTORS) -> None:
    """Checks every section; one that is not known here, or is missing, is a failure."""
    v = json.loads(path.read_text(encoding="utf-8"))
    token = bytes.fromhex(v["token"]["bytes"])
    sections: dict[str, Callable[[Any], None]] = {
        "channel_tables": lambda s: check_channel_tables(t, s),
        "compact": lambda s: check_compact(t, s),
        "dropped_by_client": lambda s: check_dropped_by_client(t, s, v["handshakes"][0], token),
        "dropped_headers": lambda s: check_dropped_headers(t, s),
        "expansion": lambda s: check_expansion(t, s),
        "handshakes": lambda s: check_handshakes(t, s, token),
        "key_phases": lambda s: check_key_phases(t, s),
        "inputs": lambda s: check_inputs(t, s),
        "malformed_plaintexts": lambda s: check_malformed_plaintexts(t, s),
        "messages": lambda s: check_messages(t, s),
        "plaintexts": lambda s: check_plaintexts(t, s),
        "schema": lambda s: check_schema(t, s),
        "snapshots": lambda s: check_snapshots(t, s),
        "token": lambda s: check_token(t, s),
    }
    t.equal("vectors: sections", sorted(set(v) - {"about"}), sorted(sections))
    for section in sorted(sections.keys() & v.keys()):
        try:
            sections[section](v[section])
        except BROKEN_OFF as error:
            t.check(f"vectors: {section}", False, f"broken off by {type(error).__name__}: {error}")


def main() -> int:
    """Entry point."""
    tally = Tally(quiet="-v" not in sys.argv[1:])
    check_all(tally)
    print(tally.summary())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The compact codec of snapshots, from SPEC.md alone (S-15 to S-26): range decoder, model, tables, records.

Decides nothing about slots, baselines and courses: that is ``zonewire.World``'s part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from zonewire import Field, Kind, Schema, State

MOST_TABLE_BYTES = 65536
MOST_VERSIONS = 2
MOST_RECORDS = 4095

#: The free contexts (S-22). They may change with the codec; nothing else here knows their numbers.
NO_MARGIN, COMPLETE, NO_SECOND = 0, 1, 2
NOT_UPDATE, DESPAWN = 4, 6
NOT_FIRST, NOT_SECOND = 8, 12
OWNER, GROUP, KIND = 16, 24, 32
COUNT, GAP, GAP_INCOMPLETE = 64, 96, 128
AGE, MARGIN = 192, 256
FREE, OWN, PATH, WIDTHS = 1024, 32, 64, 16
UNUSED, FLAGS, INDEX, RANK = 256, 512, 128, 4  # slots of each kind (S-21)

FRESH_SLOT, FRESH_CELL, FRESH_MEAN, FRESH_WEIGHT = (1 << 31) + 1, 1 << 15, 48, 36044
ODDS_END = 2047
FARTHEST_WAY, TELLING_WAY, FIRST_SHARE, SURE_PATH = 1 << 32, 16, 10, 47


class CompactError(Exception):
    """A body or tables that are an error (S-9, S-25)."""


# --- S-16, S-17 Range decoder ---------------------------------------------------------------------


class RangeDecoder:
    """One range-coded string."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._taken = 8
        self._code = int.from_bytes(data[:8].ljust(8, b"\0"), "big")
        self._range = (1 << 64) - 1

    def bit(self, probability: int) -> int:
        """A decision, of a 1 with that probability in 1/65536."""
        bound = (self._range >> 16) * probability
        bit = self._code < bound
        if bit:
            self._range = bound
        else:
            self._code -= bound
            self._range -= bound
        self._shift()
        return int(bit)

    def raw(self, bits: int) -> int:
        """A value of equally likely bits."""
        value = 0
        while bits:
            n = min(bits, 16)
            bits -= n
            self._range >>= n
            piece = min(self._code // self._range, (1 << n) - 1)
            self._code -= piece * self._range
            self._shift()
            value = value << n | piece
        return value

    def _shift(self) -> None:
        if self._range < 1 << 32:
            word = self._data[self._taken : self._taken + 4].ljust(4, b"\0")
            self._taken += 4
            self._range <<= 32
            self._code = (self._code << 32 | int.from_bytes(word, "big")) & (1 << 64) - 1

    def check_not_spent(self) -> None:
        """More was read than the string can have held."""
        if len(self._data) < self._taken - 8:
            raise CompactError("the string is shorter than what it codes")

    def finish(self) -> None:
        """S-17."""
        self.check_not_spent()
        if len(self._data) > self._taken:
            raise CompactError("the string is longer than what it codes")


# --- S-18 to S-20 Probabilities -------------------------------------------------------------------


def squash(odds: int) -> int:
    """The probability of log-odds (S-19)."""
    return SQUASHED[max(-ODDS_END, min(ODDS_END, odds)) + ODDS_END]


def stretch(probability: int) -> int:
    """The log-odds of a probability (S-19)."""
    return STRETCHED[probability >> 4]


SQUASHED = [round(65536 / (1 + math.exp(-x / 256))) for x in range(-ODDS_END, ODDS_END + 1)]


def _stretched() -> Iterator[int]:
    x = -ODDS_END
    for i in range(4096):
        middle = 16 * i + 8
        while x < ODDS_END and squash(x) < middle:
            x += 1
        yield x - 1 if middle - squash(x - 1) < squash(x) - middle else x


STRETCHED = list(_stretched())
RATES = [655360 // (10 * n + 16) for n in range(31)]


def slot_p(s: int) -> int:
    """The probability of a slot."""
    return s >> 16


def slot_learned(s: int, bit: int) -> int:
    """A slot after a bit."""
    q, n = s >> 10, s & 1023
    target = (65536 - 24 if bit else 24) << 6
    q += (target - q) * RATES[n] >> 16
    return q << 10 | max(n, min(n + 1, 30))


def slot_from(odds: int) -> int:
    """A slot of tables."""
    return max(24, min(65512, squash(64 * odds))) << 16 | 8


def cell_p(s: int) -> int:
    """The probability of a cell."""
    return s | 4


def cell_learned(s: int, bit: int) -> int:
    """A cell after a bit."""
    q, n = s | 4, s & 7
    q += ((65528 if bit else 8) - q) >> (n + 4) // 2
    return q & ~7 | min(n + 1, 7)


def cell_from(odds: int) -> int:
    """A cell of tables."""
    return squash(64 * odds) & ~7 | 4


def signed32(value: int) -> int:
    """``value`` modulo 2^32, signed."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


# --- S-21 The model -------------------------------------------------------------------------------


def is_index(f: Field) -> bool:
    """Whether a field says which component a rotation leaves out (D-4)."""
    return getattr(f.predictor, "part", None) == 0


def is_linear(f: Field) -> bool:
    """Whether a field comes after the others, whose way says much of it (S-8, S-23)."""
    return f.bits > 1 and type(f.predictor).__name__ == "Linear"


def likeness(f: Field) -> tuple[object, ...]:
    """What fields of one class have in common (S-21)."""
    numerator = getattr(f.predictor, "numerator", None)
    return (f.bits, f.signed, f.wraps, f.group, type(f.predictor).__name__, numerator)


def classes_of(schema: Schema) -> list[dict[int, int]]:
    """The class of each field that has one, for each kind."""
    classes, count = [], 0
    for kind in schema.kinds:
        by_likeness: dict[tuple[object, ...], int] = {}
        mine = {}
        for i, f in enumerate(kind.fields):
            if f.bits > 1 and not is_index(f):
                if likeness(f) not in by_likeness:
                    by_likeness[likeness(f)] = count
                    count += 1
                mine[i] = by_likeness[likeness(f)]
        classes.append(mine)
    return classes


Key = tuple[Any, ...]


class Tables(NamedTuple):
    """What bodies start from; what is not there is fresh."""

    version: int
    slots: dict[Key, int]
    cells: dict[Key, int]
    means: dict[Key, int]
    weights: dict[Key, int]


STEPS = ("least", "up", "down")


class TablesReader:
    """S-25."""

    def __init__(self, schema: Schema, data: bytes) -> None:
        if len(data) > MOST_TABLE_BYTES:
            raise CompactError("tables of too many bytes")
        self._binary = RangeDecoder(data)
        self._coding: dict[Key, int] = {}
        self._before = self._last = 0
        self.tables = Tables(self._binary.raw(7), {}, {}, {}, {})
        for number in range(len(schema.kinds)):
            for name, count in (("unused", UNUSED), ("flag", FLAGS), ("index", INDEX), ("rank", RANK)):
                self._read(self.tables.slots, slot_from, ((number, name, i) for i in range(count)))
        for number in sorted({c for mine in classes_of(schema) for c in mine.values()}):
            self._class(number)
        self._read(self.tables.slots, slot_from, (("free", i) for i in range(FREE)))
        self._binary.finish()

    def _class(self, number: int) -> None:
        contexts = [(number, "own", i) for i in range(OWN)] + [(number, "path", i) for i in range(PATH)]
        cells: list[Key] = [(*c, step, w) for c in contexts for step in STEPS for w in range(WIDTHS)]
        cells += [(number, "sign", i) for i in range(OWN)] + [(number, "top", w) for w in range(WIDTHS)]
        self._read(self.tables.cells, cell_from, iter(cells))
        mean = 6
        for context in contexts:
            mean = self._step(0, mean, 0, 30)
            self.tables.means[context] = 8 * mean
        for step in STEPS:
            for w in range(WIDTHS):
                for side in (0, 1):
                    self.tables.weights[number, step, w, side] = 4096 * self._step(1, 9, -64, 64)

    def _read(self, out: dict[Key, int], made: Callable[[int], int], keys: Iterator[Key]) -> None:
        """Log-odds, as many as there are keys."""
        for key in keys:
            self._before = self._bit("known", self._before)
            if self._before:
                self._last = self._step(2, self._last, -32, 32)
                out[key] = made(self._last)

    def _step(self, equal: int, start: int, least: int, most: int) -> int:
        if self._bit("equal", equal):
            return max(least, min(most, start))
        down, n = self._bit("sign"), 1
        while n < 65 and self._bit("size", n - 1):
            n += 1
        return max(least, min(most, start - n if down else start + n))

    def _bit(self, *key: Any) -> int:
        slot = self._coding.get(key, FRESH_SLOT)
        bit = self._binary.bit(slot_p(slot))
        self._coding[key] = slot_learned(slot, bit)
        return bit


def read_tables(schema: Schema, data: bytes) -> Tables:
    """Tables from their bytes."""
    return TablesReader(schema, data).tables


# --- S-22 to S-24 Bodies --------------------------------------------------------------------------


class Header(NamedTuple):
    """What a body begins with."""

    margin: int | None
    complete: bool
    first: int
    second: int | None
    count: int


class Spawned(NamedTuple):
    """A spawn but for its slot."""

    id: int
    kind: int
    owner: bool
    state: State


class Decoder:
    """The decisions of one body, in order; keeps what bears on the next ones."""

    def __init__(self, schema: Schema, tables: Tables, data: bytes) -> None:
        self._schema = schema
        self._classes = classes_of(schema)
        self._tables = tables
        self._slots: dict[Key, int] = {}
        self._cells: dict[Key, int] = {}
        self._means: dict[Key, int] = {}
        self._weights: dict[Key, int] = {}
        self._binary = RangeDecoder(data)
        self._no_update = self._not_first = 0
        self._header = Header(None, False, 0, None, 0)
        self.finish = self._binary.finish

    def slot(self, *key: Any) -> int:
        """A direct decision of a slot."""
        slot = self._slots.get(key) or self._tables.slots.get(key, FRESH_SLOT)
        bit = self._binary.bit(slot_p(slot))
        self._slots[key] = slot_learned(slot, bit)
        return bit

    def _cell(self, key: Key) -> int:
        cell = self._cells.get(key)
        return self._tables.cells.get(key, FRESH_CELL) if cell is None else cell

    def cell(self, *key: Any) -> int:
        """A direct decision of a cell."""
        cell = self._cell(key)
        bit = self._binary.bit(cell_p(cell))
        self._cells[key] = cell_learned(cell, bit)
        return bit

    def mixed(self, number: int, own: int, path: int, step: str, w: int) -> int:
        """A decision about a width (S-20)."""
        keys = ((number, "own", own, step, w), (number, "path", path, step, w))
        cells = [self._cell(key) for key in keys]
        odds = [stretch(cell_p(cell)) for cell in cells]
        places = [(number, step, w, side) for side in (0, 1)]
        fresh = self._tables.weights
        weights = [self._weights.get(place, fresh.get(place, FRESH_WEIGHT)) for place in places]
        total = signed32(weights[0] * odds[0] + weights[1] * odds[1])
        probability = squash(total >> 16)
        bit = self._binary.bit(probability)
        error = 65536 * bit - probability
        for key, cell, place, weight, x in zip(keys, cells, places, weights, odds):
            self._weights[place] = signed32(weight + (signed32(error * x) >> 14))
            self._cells[key] = cell_learned(cell, bit)
        return bit

    def free(self, context: int) -> int:
        """A direct decision of a free slot."""
        return self.slot("free", context)

    def tree(self, context: int, bits: int) -> int:
        """A tree (S-22)."""
        node = 1
        for _ in range(bits):
            node = 2 * node + self.free(context + node)
        return node - (1 << bits)

    def width(self, context: int) -> int:
        """A number by its width (S-22)."""
        w = 0
        while w < 32 and self.free(context + w):
            w += 1
        return w if w < 2 else (1 << w - 1) + self._binary.raw(w - 1)

    def header(self) -> Header:
        """The header."""
        margin = None if self.free(NO_MARGIN) else (self.tree(MARGIN, 8) + 128) % 256 - 128
        complete, count, first, second = bool(self.free(COMPLETE)), self.width(COUNT), 0, None
        if count > MOST_RECORDS:
            raise CompactError("more records than there may be")
        if count:
            first = self.tree(AGE, 6)
            second = None if self.free(NO_SECOND) else self.tree(AGE, 6)
            if second == 0:
                raise CompactError("a second age of 0")
        self._header = Header(margin, complete, first, second, count)
        return self._header

    def gap(self) -> int:
        """The gap before a record."""
        self._binary.check_not_spent()
        gap = self.width(GAP if self._header.complete else GAP_INCOMPLETE)
        if gap > 4095:
            raise CompactError("a slot that does not exist")
        return gap

    def op(self) -> int | Spawned | None:
        """The age of an update, a spawn, or nothing for a despawn."""
        self._no_update = self.free(NOT_UPDATE + self._no_update)
        if not self._no_update:
            return self._age()
        return None if self.free(DESPAWN) else self._spawn()

    def _age(self) -> int:
        first, second = self._header.first, self._header.second
        context = self._not_first + 2 * (second is not None)
        self._not_first = self.free(NOT_FIRST + context)
        if not self._not_first:
            return first
        if second is not None and not self.free(NOT_SECOND):
            return second
        return self.tree(AGE, 6)

    def _spawn(self) -> Spawned:
        entity_id, number = self._binary.raw(32), self.tree(KIND, 4)
        if number >= len(self._schema.kinds):
            raise CompactError("an unknown kind")
        owner, kind = bool(self.free(OWNER)), self._schema.kinds[number]
        told = {group for group in kind.groups(owner) if self.free(GROUP + group)}
        state = tuple(self._raw(f) if f.group in told else 0 for f in kind.fields)
        return Spawned(entity_id, number, owner, state)

    def _raw(self, f: Field) -> int:
        value = self._binary.raw(f.bits)
        return value - (1 << f.bits) if f.signed and value >> f.bits - 1 else value

    def fields(self, number: int, owner: bool, base: State, age: int, rate: int) -> State:
        """The fields of an update (S-23)."""
        kind = self._schema.kinds[number]
        update = _Update(self, kind, number, base, kind.moved_on(base, age, rate))
        return update.fields(owner, self._classes[number], age, rate)

    def residual(self, number: int, own: int, path: int) -> int:
        """A residual of that class."""
        w = self._residual_width(number, own, path)
        if w == 0:
            return 0
        negative = self.cell(number, "sign", own)
        size = 1
        if w > 1:
            size = 2 + self.cell(number, "top", min(15, w))
            size = size << w - 2 | self._binary.raw(w - 2)
        return -size if negative else size

    def _residual_width(self, number: int, own: int, path: int) -> int:
        places = ((number, "own", own), (number, "path", path))
        fresh = self._tables.means
        means = [self._means.get(place, fresh.get(place, FRESH_MEAN)) for place in places]
        expected = (sum(means) + 16) >> 5
        w = expected
        if expected == 0 or self.mixed(number, own, path, "least", expected):
            while w < 33 and self.mixed(number, own, path, "up", min(15, w)):
                w += 1
        else:
            w -= 1
            while w > 0 and self.mixed(number, own, path, "down", w):
                w -= 1
        for place, mean in zip(places, means):
            self._means[place] = mean + ((16 * min(15, w) - mean) >> 3)
        return w


def way(f: Field, start: int, end: int) -> int:
    """``end - start``; in a cyclic field the shorter way round."""
    half = 1 << f.bits - 1
    return (end - start + half) % (2 * half) - half if f.wraps else end - start


class _Update:
    """The contexts of one update's fields (S-23)."""

    def __init__(self, decoder: Decoder, kind: Kind, number: int, base: State, guess: State) -> None:
        self._decoder = decoder
        self._kind = kind
        self._number = number
        self._base = list(base)
        self._guess = list(guess)
        self._moved: dict[int, int] = {}
        for f, b, g in zip(kind.fields, base, guess):
            if f.bits > 1 and type(f.predictor).__name__ in ("Linear", "Fall"):
                self._moved[f.group] = self._moved.get(f.group, 0) | abs(way(f, b, g))
        self._runs_before: list[int] = []
        self._run: list[int] = []
        self._group: int | None = None

    def _motion(self, group: int) -> int:
        return min(15, self._moved.get(group, 0).bit_length())

    def fields(self, owner: bool, classes: dict[int, int], age: int, rate: int) -> State:
        """All of them."""
        state = list(self._guess)
        any_motion = min(15, max((m.bit_length() for m in self._moved.values()), default=0))
        told = [(i, f) for i, f in enumerate(self._kind.fields) if owner or not f.owners]
        for i, f in told:
            if is_linear(f):
                continue
            self._enter(f.group)
            if i in classes:
                back = way(f, self._guess[i], self._base[i])
                state[i] = self._value(f, classes[i], back, self._path(f.group), self._guess[i])
            elif f.bits == 1:
                guess = self._guess[i]
                differs = self._decoder.slot(self._number, "flag", 32 * i + 16 * (guess != 0) + any_motion)
                state[i] = f.low + f.high - guess if differs else guess
            else:
                state[i] = self._index(i, f)
        share = None
        for i, f in told:
            if is_linear(f):
                share = self._linear(i, f, classes[i], state, share, age, rate)
        return tuple(state)

    def _linear(
        self, i: int, f: Field, number: int, state: list[int], share: int | None, age: int, rate: int
    ) -> int | None:
        """A field that moves along another, whose value is known (S-8); the share from here on."""
        p: Any = f.predictor
        change = way(self._kind.fields[p.velocity], self._guess[p.velocity], state[p.velocity])
        gone = max(-FARTHEST_WAY, min(FARTHEST_WAY, change * p.numerator * age // rate))
        guess = f.into_range(self._guess[i] + (gone * (FIRST_SHARE if share is None else share) >> 4))
        self._enter(f.group)
        path = self._path(f.group) if share is None else SURE_PATH
        state[i] = self._value(f, number, gone, path, guess)
        length = abs(gone)
        if length < TELLING_WAY:
            return share
        went = way(f, self._guess[i], state[i]) * (1 if gone > 0 else -1)
        return max(0, min(16, (16 * went + length // 2) // length))

    def _enter(self, group: int) -> None:
        """A field of that group is next."""
        if group != self._group:
            self._runs_before += self._run
            self._run, self._group = [], group

    def _value(self, f: Field, number: int, back: int, path: int, guess: int) -> int:
        """A guess and its residual."""
        own = 2 * min(15, abs(back).bit_length()) + (back < 0)
        residual = self._decoder.residual(number, own, path)
        self._run.append(abs(residual).bit_length())
        value = guess + residual
        if not f.wraps and not f.low <= value <= f.high:
            raise CompactError("a value out of range")
        return f.into_range(value)

    def _path(self, group: int) -> int:
        if len(self._run) > 1:
            return 48 + min(15, (self._run[-1] + self._run[-2]) // 2)
        if self._run:
            return 32 + min(15, self._run[0])
        return 16 + min(15, max(self._runs_before)) if self._runs_before else self._motion(group)

    def _index(self, i: int, f: Field) -> int:
        """S-24."""
        bits, guessed = self._kind.fields[i + 1].bits, self._guess[i]
        whole = unpacked(self._guess[i : i + 4], bits)
        order = sorted(range(4), key=lambda c: -abs(whole[c]))
        order.remove(guessed)
        order.insert(0, guessed)
        margin = max(0, min(7, (abs(whole[order[0]]) - abs(whole[order[1]])) >> 10))
        slots = (("index", 16 * margin + self._motion(f.group)), ("rank", 0), ("rank", 1))
        rank = 0
        while rank < 3 and self._decoder.slot(self._number, *slots[rank]):
            rank += 1
        if rank:
            self._guess[i + 1 : i + 4] = self._base[i + 1 : i + 4] = packed(whole, order[rank], bits)
        return order[rank]


def unpacked(fields: Sequence[int], bits: int) -> list[int]:
    """x, y, z, w of a rotation (S-24)."""
    most = (1 << bits) - 1
    three = [(2 * f - most) << 14 - bits for f in fields[1:]]
    square = max(0, (2 * most * most << 28 - 2 * bits) - sum(c * c for c in three))
    j = square >> 21
    low, high = math.isqrt(j << 37), math.isqrt(j + 1 << 37)
    part = (square & (1 << 21) - 1) >> 5
    large = ((low << 8) + (1 << 15) + ((high - low) * part % (1 << 32) >> 8)) >> 16
    return [*three[: fields[0]], large, *three[fields[0] :]]


def packed(whole: Sequence[int], index: int, bits: int) -> list[int]:
    """The fields of all components but one (S-24)."""
    most, sign = (1 << bits) - 1, -1 if whole[index] < 0 else 1
    middle = (most << 14 - bits) + (1 << 14 - bits)
    rest = [c for i, c in enumerate(whole) if i != index]
    return [max(0, min(most, (c * sign + middle) >> 15 - bits)) for c in rest]

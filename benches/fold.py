#!/usr/bin/env python3
"""Folds `perf script -F comm,tid,ip,sym` (standard input) into stacks, a flame graph and a table.

Writes stacks.folded, flame.svg and top.txt into the directory that is named, and prints the table. A flame graph (Gregg, "The
Flame Graph", CACM 59/6, 2016): the wider a box, the more samples had that function on their stack; boxes stand on their
callers, siblings in alphabetical order.
"""

import collections
import html
import pathlib
import re
import sys

WIDTH, ROW, LEAST = 1200, 17, 0.4
SHOWN = 20


def stacks(lines):
    """Each sample as a list of functions, thread first, innermost last."""
    thread, frames = None, []
    for line in lines:
        if not line.strip():
            if thread:
                yield [thread] + frames[::-1]
            thread, frames = None, []
        elif not line[0].isspace():
            # "worker-0 1234": the name may have blanks, the number is last.
            thread, frames = line.rsplit(None, 1)[0].strip(), []
        else:
            name = line.split(None, 1)[1].strip() if len(line.split(None, 1)) > 1 else "?"
            frames.append(short(name))
    if thread:
        yield [thread] + frames[::-1]


def short(name):
    """A Rust path without hash, generics and the traits it implements."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    for _ in range(4):
        name = re.sub(r"<([^<>]*)>", lambda m: m.group(1).split(" as ")[0] if " as " in m.group(1) else "", name)
    return name.replace("::::", "::") or "?"


def tree(folded):
    root = {}
    for stack, count in folded.items():
        at = root
        for name in stack:
            node = at.setdefault(name, [0, {}])
            node[0] += count
            at = node[1]
    return root


def boxes(level, left, depth, unit, into):
    for name in sorted(level):
        count, below = level[name]
        if count * unit >= LEAST:
            into.append((name, left, depth, count))
            boxes(below, left, depth + 1, unit, into)
        left += count * unit


def flame(folded, total):
    unit, into = WIDTH / max(total, 1), []
    boxes(tree(folded), 0.0, 0, unit, into)
    height = (max((depth for _, _, depth, _ in into), default=0) + 2) * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for name, left, depth, count in into:
        wide, top = count * unit, height - (depth + 1) * ROW
        hue = sum(map(ord, name)) % 50
        text = html.escape(name)
        label = html.escape(name[: int(wide / 6.7)]) if wide > 20 else ""
        parts.append(
            f'<g><title>{text}: {count} samples, {100 * count / total:.2f} %</title>'
            f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{ROW - 1}" fill="hsl({hue},80%,65%)"/>'
            f'<text x="{left + 2:.1f}" y="{top + 12}">{label}</text></g>'
        )
    return "\n".join(parts + ["</svg>", ""])


def table(folded, total):
    own, whole = collections.Counter(), collections.Counter()
    for stack, count in folded.items():
        own[stack[-1]] += count
        for name in set(stack):
            whole[name] += count
    lines = ["  self %  with callees %  function"]
    for name, count in own.most_common(SHOWN):
        lines.append(f"{100 * count / total:8.2f}  {100 * whole[name] / total:14.2f}  {name}")
    return "\n".join(lines) + "\n"


def main():
    out = pathlib.Path(sys.argv[1])
    folded = collections.Counter(tuple(stack) for stack in stacks(sys.stdin))
    total = sum(folded.values())
    if total == 0:
        sys.exit("perf saw nothing of the server")
    (out / "stacks.folded").write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in sorted(folded.items())))
    (out / "flame.svg").write_text(flame(folded, total))
    (out / "top.txt").write_text(table(folded, total))
    print(f"{total} samples\n{table(folded, total)}", end="")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""Draws where the instructions of an operation go, as a flame graph: `make flame`.

    flame.py OPERATION SVG

Widths are instructions in user space as callgrind counts them while the function of COLLECT runs:
the same on every run, unlike samples. Callers are below, callees above; what is narrower than a
pixel is left out."""

import argparse
import html
import os
import re
import sys
import tempfile

from test_instructions import COUNT, output_of

COLLECT = {"request": "event_base_loop", "event": "ig_record_kernel_event"}
TITLES = {"request": "A cached token: from the request's bytes to its answer and audit record",
          "event": "An event of the kernel: from the ring's record to the line in the queue"}
TURNS, CALLERS = 400, 40
WIDTH, ROW, MARGIN = 1200, 17, 10
CHARACTER, MIN_WIDTH = 6.6, 1.0
OURS, LIBRARIES = ("#f2b35c", "#f7c67f"), ("#9fc2e0", "#b7d2e8")


class Frame:
    def __init__(self, name):
        self.name, self.cost, self.ours, self.children = name, 0, False, {}

    def add(self, stack, cost, ours):
        self.cost += cost
        if stack:
            child = self.children.setdefault(stack[0], Frame(stack[0]))
            child.ours |= ours and len(stack) == 1
            child.add(stack[1:], cost, ours)

    def depth(self, least):
        """Rows that are drawn."""
        return 1 + max((child.depth(least) for child in self.children.values()
                        if child.cost >= least), default=0)


class Names:
    """callgrind writes a name once, "(7) name", and then only "(7)"."""

    def __init__(self):
        self._known = {}

    def __getitem__(self, text):
        number, _, name = text.partition(" ")
        if name:
            self._known[number] = name
        return self._known[number]


def stacks_of(lines):
    """(functions from the outermost on, instructions of the innermost, its object)"""
    functions, objects = Names(), Names()
    stack, where, skip = [], "", False
    for line in lines:
        key, _, value = line.rstrip("\n").partition("=")
        if key == "ob":
            where = objects[value]
        elif key == "cob":
            objects[value]  # pylint: disable=pointless-statement
        elif key in ("fn", "cfn"):
            name = functions[value]
            if key == "fn":
                # NAME'CALLER'…, where a number says how deep a recursion is
                stack = [part for part in name.split("'")[::-1] if not part.isdigit()]
        elif key == "calls":
            skip = True  # the next line is what the callee cost, which has lines of its own
        elif re.match(r"[+\-*\d]", line):
            if not skip:
                yield stack, int(line.split()[1]), where
            skip = False


def record(operation):
    """A tree of what was called from COLLECT's function."""
    root, begin = Frame("all"), COLLECT[operation]
    with tempfile.TemporaryDirectory(prefix="flame-") as folder:
        output_of("valgrind", "--tool=callgrind", "--callgrind-out-file=out",
                  f"--separate-callers={CALLERS}", f"--toggle-collect={begin}", COUNT, operation,
                  str(TURNS), ".", cwd=folder)
        with open(os.path.join(folder, "out"), encoding="utf-8", errors="replace") as f:
            for stack, cost, where in stacks_of(f):
                if begin in stack:
                    root.add(stack[stack.index(begin):], cost, where.endswith("/count"))
    return root


def draw(frame, x, y, scale, total, out):
    width = frame.cost * scale
    if width < MIN_WIDTH:
        return
    share, name = f"{frame.cost / total:.1%}", html.escape(frame.name)
    color = (OURS if frame.ours else LIBRARIES)[len(out) % 2]
    room = int((width - 4) / CHARACTER)
    text = frame.name if len(frame.name) <= room else f"{frame.name[:room - 1]}…" if room > 3 else ""
    out.append(f'<g><title>{name} {share}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
               f'height="{ROW - 1}" fill="{color}"/>'
               + (f'<text x="{x + 2:.1f}" y="{y + ROW - 5}">{html.escape(text)}</text>' if text else "")
               + "</g>")
    for child in sorted(frame.children.values(), key=lambda f: f.name):
        draw(child, x, y - ROW, scale, total, out)
        x += child.cost * scale


def svg(root, title):
    (top,) = root.children.values()
    scale, out = (WIDTH - 2 * MARGIN) / top.cost, []
    height = (top.depth(MIN_WIDTH / scale) + 3) * ROW + 2 * MARGIN
    draw(top, MARGIN, height - MARGIN - ROW, scale, top.cost, out)
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 8}" font-size="14">{html.escape(title)}</text>',
        f'<text x="{MARGIN}" y="{MARGIN + 8 + ROW}">Instructions in user space; orange: imdsgate, '
        'blue: libraries. Point at a function for its share.</text>',
        *out, "</svg>", ""))


def main():
    parser = argparse.ArgumentParser(prog="flame.py", description="draws a flame graph")
    parser.add_argument("operation", choices=COLLECT)
    parser.add_argument("svg")
    options = parser.parse_args()
    root = record(options.operation)
    if not root.children:
        sys.exit(f"flame.py: {COLLECT[options.operation]}() was never called")
    with open(options.svg, "w", encoding="utf-8") as f:
        f.write(svg(root, TITLES[options.operation]))


if __name__ == "__main__":
    main()

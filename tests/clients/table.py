"""The table of results in docs/clients.md: written from what was measured, and compared with it.
Used by test_clients.py.

A table is a list of rows, each a list of cells; the first row is the heading, and the second cell
of each is the version of the client."""

START, END = "<!-- results: begin -->", "<!-- results: end -->"
UNKNOWN, IMPOSSIBLE = "?", "–"
VERSION = 1


def lines(rows):
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in rows]
    return [text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]]


def parse(text):
    """The rows between the marks."""
    inside = text.split(START)[1].split(END)[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")]
            for line in inside.splitlines() if line.startswith("|")]
    return [row for number, row in enumerate(rows) if number != 1]


def read(path):
    with open(path, encoding="utf-8") as f:
        return parse(f.read())


def update(path, rows):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as f:
        f.write(before + START + "\n" + "\n".join(lines(rows)) + "\n" + END + after)


def differences(documented, measured, floating):
    """What the document says otherwise; a cell that could not be measured is no difference, nor is
    the version of a client that is in `floating`."""
    if [row[0] for row in documented] != [row[0] for row in measured]:
        return ["it does not have the same clients in the same order"]
    found = []
    for old, new in zip(documented, measured):
        if len(old) != len(new):
            found.append(f"{old[0]}: {len(old)} cells, should have {len(new)}")
        for column, (was, now) in enumerate(zip(old, new)):
            if was == now or now == UNKNOWN or (column == VERSION and old[0] in floating):
                continue
            found.append(f"{old[0]}, {documented[0][column]}: says {was!r}, measured {now!r}")
    return found

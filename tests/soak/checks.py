"""What must be flat, as pure functions over what was sampled: each returns complaints, an empty list
when all is well. README.md says why the bounds are what they are. Used by soak.py."""

import statistics

GROWTH_KB = 512          # of a process over the second half of the run
SLACK_DESCRIPTORS = 8    # between two moments of load: calls upstream, control connections
SLACK_AT_REST = {"the server: socket": 4}  # connections to the upstream that are kept for the next
LATENCY_RATIO = 1.5      # of the last fifth to the first, each by its control
LATENCY_SLACK_MS = 0.2
LEAST_SAMPLES = 100      # of a fifth, or its percentiles say nothing
PERCENTILES = (50, 90, 99)


def slope(series):
    """Of [(x, y)], by least squares."""
    xs, ys = zip(*series)
    return statistics.linear_regression(xs, ys).slope


def memory(name, series):
    """series: [(seconds, kB)] of one process over the whole run"""
    begin, end = series[0][0], series[-1][0]
    half = [(t, kb) for t, kb in series if t >= (begin + end) / 2]
    if len(half) < 3:
        return [f"{name}: only {len(half)} samples in the second half"]
    grown = slope(half) * (half[-1][0] - half[0][0])
    return ([f"{name} grew by {grown:.0f} kB over the second half, {half[0][1]} to {half[-1][1]}"]
            if grown > GROWTH_KB else [])


def descriptors(name, series):
    """series: numbers that do not belong to a connection or a listener, at moments of load"""
    third = max(1, len(series) // 3)
    before, after = min(series[:third]), min(series[-third:])
    return ([f"{name}: {before} descriptors at first, {after} in the end"]
            if after > before + SLACK_DESCRIPTORS else [])


def at_rest(before, after):
    """What there is of each kind when no pod is there: {name: number}"""
    return [f"{name}: {before.get(name, 0)} before, {after.get(name, 0)} after"
            for name in sorted(before.keys() | after.keys())
            if after.get(name, 0) > before.get(name, 0) + SLACK_AT_REST.get(name, 0)]


def percentiles(values):
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return [cuts[p - 1] for p in PERCENTILES]


def latency(gate, control):
    """gate, control: [(seconds, ms)]: answers from the cache that no fault touched, and answers of a
    server that has nothing to do with the gate, from the same callers at the same time: what the
    machine does otherwise falls on both."""
    if not gate:
        return ["nobody was answered from the cache"]
    begin, end = gate[0][0], gate[-1][0]
    fifth = (end - begin) / 5

    def parts(samples):
        return ([ms for t, ms in samples if t < begin + fifth],
                [ms for t, ms in samples if t >= end - fifth])
    (first, last), (control_first, control_last) = parts(gate), parts(control)
    fewest = min(map(len, (first, last, control_first, control_last)))
    if fewest < LEAST_SAMPLES:
        return [f"a fifth has {fewest} samples, which is not enough"]
    complaints = []
    for name, *values in zip(PERCENTILES, *map(percentiles, (first, last, control_first,
                                                              control_last))):
        before, after, slow_before, slow_after = values
        machine = max(1, slow_after / slow_before)
        if after > before * machine * LATENCY_RATIO + LATENCY_SLACK_MS:
            complaints.append(f"p{name}: {before:.2f} ms at first, {after:.2f} in the end (control: "
                              f"{slow_before:.2f}, {slow_after:.2f})")
    return complaints

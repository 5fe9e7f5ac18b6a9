"""What the guard does when it cannot do its work: at start, and when the kernel's reports are lost."""

import json
import os
import signal

from fabric import SECOND_FABRIC, SECOND_NODE, fabric_world
from harness import IMDS, TRACES
from tap import Suite

suite = Suite(fabric_world, TRACES)
UPLINKS_MAX = 64  # include/imdsgate/limits.h


@suite.test("an uplink cannot be guarded at start: the agent says so and does not start")
def at_start(w):
    numbers = range(UPLINKS_MAX + 1)
    w.host.ip(*(line for n in numbers for line in (
        f"link add x{n} type veth peer name y{n}", f"link set x{n} up", f"link set y{n} up",
        f"route add {IMDS}/32 dev x{n} table {1000 + n}")))
    status, said = w.agent.fail_to_start()
    assert status not in (0, 2) and "uplink" in said, (status, said)
    w.host.ip(*(f"link del x{n}" for n in numbers))
    w.agent.start()


@suite.test("reports of links and routes are lost: all are asked for again, nothing is overlooked")
def lost(w):
    mark, (monitor, _) = w.agent.log.mark(), w.agent.pids()
    os.kill(monitor, signal.SIGSTOP)
    try:
        w.host.ip(*(f"addr {verb} 127.9.{n // 250}.{n % 250 + 1}/32 dev lo"
                    for n in range(4000) for verb in ("add", "del")))
        w.add_uplink("up1", "fab1", SECOND_NODE, SECOND_FABRIC)
        w.host.ip(f"route add {IMDS}/32 via {SECOND_FABRIC} table 77")
    finally:
        os.kill(monitor, signal.SIGCONT)
    w.agent.log.wait_for(lambda line: "links and routes were lost" in line, mark)
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and "up1" in line, mark)
    w.sniff("fab1")
    seen = w.seen.mark()
    w.host.ip(f"route replace {IMDS}/32 via {SECOND_FABRIC}")
    w.send(w.pods["c"], "raw", w.pods["c"].address, IMDS, 80)
    assert not w.sent(seen, "up1")


@suite.test("reports are lost while uplinks go: they are forgotten, and one that gets the number of "
            "another is guarded")
def lost_ends(w):
    numbers = range(UPLINKS_MAX - 4)
    mark, (monitor, _) = w.agent.log.mark(), w.agent.pids()
    pins = len(w.pins())
    w.host.ip(*(line for n in numbers for line in (
        f"link add x{n} type veth peer name y{n}", f"link set x{n} up", f"link set y{n} up",
        f"route add {IMDS}/32 dev x{n} table {1000 + n}")))
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and f'"x{numbers[-1]}"' in line,
                         mark)
    index = json.loads(w.host.run(["ip", "-json", "link", "show", "x0"])[1])[0]["ifindex"]
    mark = w.agent.log.mark()
    os.kill(monitor, signal.SIGSTOP)
    try:
        w.host.ip(*(f"addr {verb} 127.9.{n // 250}.{n % 250 + 1}/32 dev lo"
                    for n in range(4000) for verb in ("add", "del")))
        w.host.ip(*(f"link del x{n}" for n in numbers))
        w.host.ip(f"link add z0 index {index} type veth peer name z1", "link set z0 up",
                  "link set z1 up", f"route add {IMDS}/32 dev z0 table 78")
    finally:
        os.kill(monitor, signal.SIGCONT)
    w.agent.log.wait_for(lambda line: "links and routes were lost" in line, mark)
    w.agent.log.wait_for(lambda line: "guarding an uplink" in line and '"z0"' in line, mark)
    w.wait_pins(pins + 1)
    w.host.ip("link del z0")
    w.wait_pins(pins)


if __name__ == "__main__":
    suite.run()

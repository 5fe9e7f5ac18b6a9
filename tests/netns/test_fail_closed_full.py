"""The tables of the data path have no room, or the kernel no memory: the connection is refused,
counted and recorded, and others are served as soon as there is room again."""

import ctypes
import os
import struct

from harness import TRACES, manifests, standard_world
from tap import Skip, Suite
from watch import event

suite = Suite(standard_world, TRACES)
A = manifests.ID_A.client_id
BPF_OBJ_GET, BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, SYS_BPF = 7, 26, 27, 321
FLOWS_MAX = 65536  # include/imdsgate/limits.h
KEY, VALUE_BYTES = "=QIHH", 112  # struct ig_flow_key, struct ig_flow in abi.h


class Flows:
    """The map of flows, filled with such as nobody asks for: of namespaces that are not there."""

    def __init__(self, w):
        paths = [os.path.join(directory, "flows") for directory, _, names in os.walk(w.bpffs)
                 if "flows" in names]
        assert len(paths) == 1, paths
        self._libc = ctypes.CDLL(None, use_errno=True)
        name = ctypes.create_string_buffer(os.fsencode(paths[0]))
        self._fd = self._bpf(BPF_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
        self._keys = ctypes.create_string_buffer(
            b"".join(struct.pack(KEY, 2 ** 60 + i, 0, 0, 0) for i in range(FLOWS_MAX)))
        self._values = ctypes.create_string_buffer(VALUE_BYTES * FLOWS_MAX)

    def _bpf(self, command, values):
        attr = ctypes.create_string_buffer(values, 128)
        result = self._libc.syscall(SYS_BPF, command, attr, 128)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"bpf({command})")
        return result

    def _batch(self, command):
        self._bpf(command, struct.pack("=QQQQIIQQ", 0, 0, ctypes.addressof(self._keys),
                                       ctypes.addressof(self._values), FLOWS_MAX, self._fd, 0, 0))

    def fill(self):
        self._batch(BPF_MAP_UPDATE_BATCH)

    def empty(self):
        self._batch(BPF_MAP_DELETE_BATCH)
        os.close(self._fd)


@suite.test("the flow table is full: refused, counted, recorded; served when there is room")
def flow_table(w):
    flows, mark = Flows(w), w.agent.audit.mark()
    flows.fill()
    for mode in ("plain", "v6mapped", "nonblocking"):
        reply = w.pods["a"].dial(mode)
        assert reply["result"] == "error" and reply.appid is None, reply
        w.agent.audit.wait_for(event("connect.refused", reason="flow_table_full", pod__name="a",
                                     process__pid=reply["pid"]), mark)
    assert w.agent.cli("status")["counters"]["flow_table_full"] == 3
    flows.empty()
    assert w.pods["a"].dial().appid == A
    w.lab.never_reached()


@suite.test("no memory for the socket's storage: refused, counted, recorded; then served")
def socket_storage(w):
    pod, mark = w.pods["a"], w.agent.audit.mark()
    status, before, _ = pod.run(["sysctl", "-n", "net.core.optmem_max"])
    if status:
        raise Skip("this kernel has this limit for all namespaces together (before 6.8)")
    assert pod.run(["sysctl", "-qw", "net.core.optmem_max=64"])[0] == 0
    for mode in ("plain", "v6mapped", "io_uring"):
        reply = pod.dial(mode)
        assert reply.refused or reply["result"] == "unsupported", reply
    w.agent.audit.wait_for(event("connect.refused", reason="no_socket_storage", pod__name="a"),
                           mark)
    assert w.agent.cli("status")["counters"]["no_socket_storage"] >= 2
    assert w.pods["b"].dial().appid == manifests.ID_B.client_id, "another's namespace suffers"
    assert pod.run(["sysctl", "-qw", f"net.core.optmem_max={before.strip()}"])[0] == 0
    assert pod.dial().appid == A
    w.lab.never_reached()


if __name__ == "__main__":
    suite.run()

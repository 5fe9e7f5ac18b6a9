#!/usr/bin/python3
"""Containers of podman as workloads by manifest, on a machine with systemd (machine.py): the control group
that a manifest names is one that has the same name each time, see docs/operations.md. runc makes the
containers; limits that this machine's control groups do not have are switched off."""

import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
import kernel
import manifests
from machine import Machine, Service
from tap import Skip, Suite

A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
ROOTFS = "/run/rootfs"
LIMITS = ["--pids-limit=-1", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]


class Container(Service):
    """What podman runs, started by a service of that name."""

    def __init__(self, machine, name, *options, manager="systemd", network="host"):
        super().__init__(machine, name)
        forbidden = ",".join(map(str, kernel.outside_netns()))
        self._command = [
            "podman", "--root=/run/podman/root", "--runroot=/run/podman/run", "--storage-driver=vfs",
            "--runtime=runc", f"--cgroup-manager={manager}", "run", "--rm", "--quiet", f"--network={network}",
            f"--env=IG_FORBIDDEN_NETNS={forbidden}", "--volume=/usr:/usr:ro", f"--volume={tools.BUILD}:{tools.BUILD}:ro",
            *LIMITS, *options, "--rootfs", ROOTFS]

    def spawn(self, argv, **options):
        return super().spawn([*self._command, *argv], **options)


class World(Machine):
    def __enter__(self):
        if not shutil.which("podman") or not shutil.which("runc"):
            raise Skip("needs podman and runc")
        super().__enter__()
        self.make_rootfs(ROOTFS)
        self.declare({"orders": ("/orders.slice", "sel-a"), "reports": ("/system.slice/reports.service", "sel-b"),
                      "batch": ("/batch", "sel-a"), "scraper": ("/scraper.slice", None)})
        # so that not even the first instruction of a container is taken for the host's
        self.start_agent("--host-verdict redirect")
        return self


suite = Suite(World, seconds=120)


@suite.test("a slice is the workload: systemd makes the scope of each of its containers below it")
def _(m):
    reply = Container(m, "any-1", "--cgroup-parent=orders.slice").dial()
    assert reply.appid == A, reply


@suite.test("a service is the workload: its container stays in its control group (--cgroups=split, Quadlet)")
def _(m):
    reply = Container(m, "reports", "--cgroups=split").dial()
    assert reply.appid == B, reply


@suite.test("a control group of podman's own making is the workload (cgroupfs)")
def _(m):
    reply = Container(m, "any-2", "--cgroup-parent=/batch", manager="cgroupfs").dial()
    assert reply.appid == A, reply


@suite.test("with a network of its own, it asks there")
def _(m):
    # where podman keeps those of its networks, too
    m.do("ip", "netns", "add", "net-3")
    m.do("ip", "-netns", "net-3", "link", "set", "lo", "up")
    reply = Container(m, "any-3", "--cgroup-parent=orders.slice", network="ns:/run/netns/net-3").dial()
    assert reply.appid == A, reply


@suite.test("a container that no manifest names, or that is bound to nothing, gets no token and reaches nobody")
def _(m):
    for container in (Container(m, "any-4"), Container(m, "any-5", "--cgroup-parent=scraper.slice"),
                      Container(m, "any-6", manager="cgroupfs")):
        reply = container.dial()
        assert not reply.appid and (reply.refused or reply.status in (400, 403)), reply
    assert not m.lab.reached_by_clients()


if __name__ == "__main__":
    suite.run()

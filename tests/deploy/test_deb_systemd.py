#!/usr/bin/python3
"""The Debian package on a machine with systemd (machine.py): installed, it guards; workloads are services
that a manifest names; a newer version takes over without a failed request; purged, it has never been."""

import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
import kernel
import manifests
from machine import Machine, Service
from places import TokenLoad
from tap import Suite

A = manifests.ID_A.client_id
NEWER = "9.9-1"
HOOKS = 7  # programs on the cgroup


class World(Machine):
    def __enter__(self):
        self.deb = tools.deb()
        self.outside = kernel.connect4_programs(kernel.cgroup2_mount())
        super().__enter__()
        self.files_before = self.files()
        self.orders = Service(self, "orders")
        self.reports = Service(self, "reports")
        self.stranger = Service(self, "stranger")
        return self

    def files(self):
        """What is called as we are, in the folders that packages, services and agents write to."""
        return set(self.do("find", "/etc", "/usr", "/var", "/run", "/sys/fs/bpf", "/sys/fs/cgroup",
                           "-iname", "*imdsgate*").split())

    def main_pid(self):
        return self.do("systemctl", "show", "--property=MainPID", "--value", "imdsgated").strip()

    def is_active(self):
        return self.run("systemctl", "is-active", "imdsgated")[1].strip()

    def reaches_lab(self, service):
        before = len(self.lab.reached_by_clients())
        reply = service.dial()
        return reply["result"] == "ok" and len(self.lab.reached_by_clients()) == before + 1

    def set_flags(self, flags):
        self.write("/etc/default/imdsgated", f'IMDSGATED_FLAGS="{flags}"\n')


def newer(deb, directory):
    """The same package with a higher version."""
    tree = f"{directory}/tree"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    with open(f"{tree}/DEBIAN/control", encoding="utf-8") as file:
        lines = [f"Version: {NEWER}\n" if line.startswith("Version:") else line for line in file]
    with open(f"{tree}/DEBIAN/control", "w", encoding="utf-8") as file:
        file.writelines(lines)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, f"{directory}/newer.deb"], check=True,
                   stdout=subprocess.DEVNULL)
    return f"{directory}/newer.deb"


suite = Suite(World, seconds=120)


@suite.test("installed, it serves: nothing else has to be done, and the programs are on this machine's tree alone")
def _(m):
    assert not kernel.connect4_programs(m.cgroup.path)
    m.do("dpkg", "--install", m.copy_in(m.deb))
    assert m.is_active() == "active"
    assert m.do("systemctl", "is-enabled", "imdsgated").strip() == "enabled"
    m.do("imdsgate", "status")
    assert len(kernel.connect4_programs(m.cgroup.path)) == 1
    assert kernel.connect4_programs(kernel.cgroup2_mount()) == m.outside


@suite.test("the doctor finds no problem")
def _(m):
    # its self-test would not do: the kernel tells of a process in a new namespace by its number outside
    status, out = m.run("imdsgate", "doctor", "--no-self-test")
    assert status == 0 and "ok       agent" in out and out.count("ok       attached") == HOOKS, out


@suite.test("a service gets the token that its manifest says, another declared one gets none")
def _(m):
    m.declare({"orders": ("/system.slice/orders.service", "sel-a"),
               "reports": ("/system.slice/reports.service", None)})
    m.do("systemctl", "reload", "imdsgated")  # so that the manifest was read
    reply = m.orders.dial()
    assert reply.appid == A, reply
    reply = m.reports.dial()
    assert reply.status in (400, 403) and not reply.appid, reply
    assert not m.lab.reached_by_clients()


@suite.test("a newer package takes over while requests are made: none fails")
def _(m):
    before = m.main_pid()
    load = TokenLoad(m.orders, A, kept=2, new=3, slow=1, per_second=20)
    with tempfile.TemporaryDirectory() as directory:
        m.do("dpkg", "--install", m.copy_in(newer(m.deb, directory)))
    result = load.stop()
    assert not result["failures"] and min(result[kind] for kind in ("kept", "new", "slow")) > 5, result
    assert m.do("dpkg-query", "--show", "--showformat=${Version}", "imdsgate") == NEWER
    assert m.main_pid() != before and m.is_active() == "active"
    assert not os.readlink(m.path(f"/proc/{m.main_pid()}/exe")).endswith("(deleted)")
    m.do("imdsgate", "status")


@suite.test("a reload takes new flags, and no request fails; with wrong ones everything stays as it was")
def _(m):
    assert m.reaches_lab(m.stranger), "processes of the host go on as before"
    load = TokenLoad(m.orders, A)
    m.set_flags("--host-verdict deny")
    m.do("systemctl", "reload", "imdsgated")
    result = load.stop()
    assert not result["failures"], result
    assert m.stranger.dial().refused and m.orders.dial().appid == A
    before = m.main_pid()
    m.set_flags("--no-such-flag")
    status, _ = m.run("systemctl", "reload", "imdsgated")
    assert status != 0 and m.is_active() == "active" and m.main_pid() == before
    assert m.orders.dial().appid == A
    m.set_flags("")


@suite.test("the agent is killed: systemd brings it back, and it is the service's main process")
def _(m):
    before = m.main_pid()
    m.do("systemctl", "kill", "--signal=KILL", "imdsgated")
    # until systemd has heard of the end, starting what runs is nothing to do
    deadline = time.monotonic() + 30
    while m.main_pid() in (before, "0"):
        assert time.monotonic() < deadline, "no new main process"
        m.do("systemctl", "start", "imdsgated")
    assert m.orders.dial().appid == A


@suite.test("purged: no program, no pin, no file, no service is left, and the metadata service is open")
def _(m):
    m.do("systemctl", "stop", "imdsgated")
    assert m.main_pid() == "0" and kernel.connect4_programs(m.cgroup.path)
    os.unlink(m.path("/etc/imdsgate/manifests/all.yaml"))
    m.do("dpkg", "--purge", "imdsgate")
    assert not kernel.connect4_programs(m.cgroup.path)
    left = m.files() - m.files_before
    assert not left, left
    assert m.reaches_lab(m.orders)


if __name__ == "__main__":
    suite.run()

#!/usr/bin/python3
"""Containers of docker as workloads by manifest, on a machine with systemd (machine.py). Debian's docker is
installed there and nowhere else: its daemon runs in namespaces of ours, and writes no packet filter rules."""

import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
import kernel
import manifests
import packages
from machine import Machine, Service
from tap import Skip, Suite

A = manifests.ID_A.client_id
PACKAGES = ("containerd", "docker.io")
DAEMON = {"iptables": False, "ip6tables": False, "ip-forward": False, "bridge": "none", "storage-driver": "vfs",
          "data-root": "/run/docker-data"}
# what this machine may not have: more files, and an adjustment for the OOM killer
UNIT = "[Service]\nLimitNOFILE=20000\nLimitNPROC=\nLimitCORE=\nOOMScoreAdjust=0\n"


def debs():
    """A directory with Debian's packages, which are not installed on this system."""
    versions = [packages.apt_candidate(name) for name in PACKAGES]
    if not all(versions):
        raise Skip(f"no packages {' '.join(PACKAGES)} here")

    def download(directory):
        packages.run("apt-get download", ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
                                          *map("=".join, zip(PACKAGES, versions))], cwd=directory)
    return packages.cached("docker-" + re.sub(r"[^A-Za-z0-9.+-]", "_", "-".join(versions)), download)


class Container(Service):
    def __init__(self, machine, name, *options):
        super().__init__(machine, name)
        forbidden = ",".join(map(str, kernel.outside_netns()))
        self._command = ["docker", "run", "--rm", "--network=host", f"--env=IG_FORBIDDEN_NETNS={forbidden}",
                         "--volume=/usr:/usr:ro", f"--volume={tools.BUILD}:{tools.BUILD}:ro", *options, "rootfs"]

    def spawn(self, argv, **options):
        return self.machine.start("env", "PATH=/usr/sbin:/usr/bin", *self._command, *argv, **options)


class World(Machine):
    def __enter__(self):
        directory = debs()
        super().__enter__()
        self.write("/etc/containerd/config.toml", "oom_score = 0\n")
        for name in ("containerd", "docker"):
            self.write(f"/etc/systemd/system/{name}.service.d/machine.conf", UNIT)
        self.make_rootfs("/run/rootfs")
        self.use("systemd")
        inside = [self.copy_in(f"{directory}/{name}") for name in sorted(os.listdir(directory))]
        # parts that these tests do without are not there
        self.run("dpkg", "--force-depends", "--install", *inside)
        self.do("systemctl", "start", "docker")
        self.do("sh", "-c", "tar -C /run/rootfs -c . | env PATH=/usr/sbin:/usr/bin docker import - rootfs")
        self.declare({"orders": ("/orders.slice", "sel-a"), "batch": ("/batch", "sel-a"),
                      "scraper": ("/scraper.slice", None)})
        self.start_agent("--host-verdict redirect")
        return self

    def use(self, driver):
        self.write("/etc/docker/daemon.json",
                   json.dumps({**DAEMON, "exec-opts": [f"native.cgroupdriver={driver}"]}))


suite = Suite(World, seconds=120)


@suite.test("a slice is the workload: systemd makes the scope of each of its containers below it")
def _(m):
    reply = Container(m, "any", "--cgroup-parent=orders.slice").dial()
    assert reply.appid == A, reply


@suite.test("a container that no manifest names, or that is bound to nothing, gets no token and reaches nobody")
def _(m):
    for container in (Container(m, "any"), Container(m, "any", "--cgroup-parent=scraper.slice")):
        reply = container.dial()
        assert not reply.appid and (reply.refused or reply.status in (400, 403)), reply
    assert not m.lab.reached_by_clients()


@suite.test("a control group of docker's own making is the workload (cgroupfs)")
def _(m):
    m.use("cgroupfs")
    m.do("systemctl", "restart", "docker")
    reply = Container(m, "any", "--cgroup-parent=/batch").dial()
    assert reply.appid == A, reply


if __name__ == "__main__":
    suite.run()

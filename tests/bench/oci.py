"""What containerd's CRI plugin writes for runc, as far as a machine without controllers of control
groups can do it: no limits. Used by case_first.py."""

CAPABILITIES = [f"CAP_{name}" for name in (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE")]
MOUNTS = (("/proc", "proc", "proc", []),
          ("/dev", "tmpfs", "tmpfs", ["strictatime", "mode=755", "size=65536k"]),
          ("/dev/pts", "devpts", "devpts", ["noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
          ("/dev/mqueue", "mqueue", "mqueue", ["noexec", "nodev"]),
          ("/dev/shm", "tmpfs", "shm", ["noexec", "nodev", "mode=1777", "size=65536k"]),
          ("/sys", "sysfs", "sysfs", ["noexec", "nodev", "ro"]),
          ("/sys/fs/cgroup", "cgroup", "cgroup", ["noexec", "nodev", "relatime", "ro"]))
DEVICES = (("c", None, None), ("b", None, None), ("c", 1, 3), ("c", 1, 8), ("c", 1, 7),
           ("c", 5, 0), ("c", 1, 5), ("c", 1, 9), ("c", 5, 1), ("c", 136, None), ("c", 5, 2))


def _device(kind, major, minor):
    rule = {"allow": True, "type": kind, "access": "m" if major is None else "rwm"}
    return rule | {k: v for k, v in (("major", major), ("minor", minor)) if v is not None}


def config(argv, env, root, netns, cgroup):
    """config.json of a container in a pod's network namespace, by path."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=first", *env],
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "oomScoreAdj": 1000},
        "root": {"path": root, "readonly": True},
        "mounts": [{"destination": where, "type": kind, "source": source,
                    "options": ["nosuid", *options]} for where, kind, source, options in MOUNTS],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": False, "access": "rwm"},
                                      *(_device(*device) for device in DEVICES)]},
            "namespaces": [{"type": "network", "path": netns},
                           *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup"))],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                            "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                            "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                              "/proc/sysrq-trigger"]},
    }

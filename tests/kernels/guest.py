#!/usr/bin/python3
"""Boots a kernel in a virtual machine of its own and runs a command on it, with this machine's files
beneath (read-only, changes stay in the guest's memory). The guest has no network device.

KVM is used where it can be opened; without it the processor is emulated, several times slower.
Used by test_kernels.py, and by hand: tests/kernels/guest.py 5.10 COMMAND...
"""

import contextlib
import ctypes
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
MODULES = ("virtio_pci", "virtiofs", "overlay")
MEMORY_MIB = 1536
STATUS = re.compile(r"^guest: exit status (\d+)\n?\Z", re.M)


class Unavailable(Exception):
    """It cannot be done on this machine; the text says why."""


_machines = set()  # that are running


def stop():
    """Ends all guests; whoever waits for them gets a GuestFailed."""
    for machine in tuple(_machines):
        machine.kill()


class GuestFailed(Exception):
    """The guest did not come to an end of its own; the text has the end of its console."""

    def __init__(self, text, output):
        super().__init__(text)
        self.output = output


def has_kvm():
    """In some virtual machines there is a /dev/kvm on a processor that cannot do it: guests hang."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        able = re.search(r"^flags\s*:.*\b(vmx|svm)\b", f.read(), re.M)
    return bool(able) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def fetch(name):
    """The directory of a kernel: vmlinuz, release, lib/modules."""
    done = subprocess.run([HERE / "fetch", name], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, check=False)
    if done.returncode == 77:
        raise Unavailable(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"fetch {name}: exit {done.returncode}: {done.stderr}")
    return Path(done.stdout.strip())


def release_of(directory):
    return (directory / "release").read_text(encoding="ascii").strip()


# ---- the initramfs ------------------------------------------------------------------------------

def _cpio_entry(name, mode, data=b""):
    """The "newc" format: all numbers as eight hexadecimal digits, parts padded to four bytes."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _modules(directory):
    """[(name, content)] of what the guest needs to see its root, in the order of loading."""
    found = {}
    for wanted in MODULES:
        shown = subprocess.run(
            ["modprobe", "--show-depends", "-d", directory, "-S", release_of(directory), wanted],
            text=True, capture_output=True, check=True, env={"PATH": os.defpath + ":/sbin"})
        for line in shown.stdout.splitlines():
            kind, *path = line.split()
            if kind == "insmod":
                path = Path(path[0])
                data = path.read_bytes()
                if path.suffix == ".xz":
                    path, data = path.with_suffix(""), lzma.decompress(data)
                found.setdefault(path.name, data)
    return list(found.items())


def initramfs(directory, words):
    modules = _modules(directory)
    parts = [_cpio_entry(name, 0o040755) for name in
             ("bin", "dev", "proc", "modules", "lower", "upper", "new")]
    parts += [_cpio_entry(f"modules/{name}", 0o100644, data) for name, data in modules]
    order = "".join(f"{name}\n" for name, _ in modules)
    parts += [
        _cpio_entry("modules/order", 0o100644, order.encode()),
        _cpio_entry("job", 0o100644, "".join(f"{word}\n" for word in words).encode()),
        _cpio_entry("bin/busybox", 0o100755, Path(shutil.which("busybox")).read_bytes()),
        _cpio_entry("bin/sh", 0o120777, b"busybox"),
        _cpio_entry("init", 0o100755, (HERE / "init").read_bytes()),
        _cpio_entry("TRAILER!!!", 0),
    ]
    return b"".join(parts)


# ---- the machine --------------------------------------------------------------------------------

def _virtiofsd():
    for path in VIRTIOFSD:
        if os.access(path, os.X_OK):
            return path
    raise Unavailable(f"there is no {' or '.join(VIRTIOFSD)}")


def check_tools():
    for tool in ("qemu-system-x86_64", "busybox", "modprobe"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/sbin:/usr/sbin"):
            raise Unavailable(f"there is no {tool}")
    _virtiofsd()


def _qemu_argv(directory, tmp):
    # With cx16 the emulation of QEMU 7.2 crashes Linux 6.12 now and then. Without it 7.3 has no
    # memory for socket-local storage.
    cpu = "max" if int(release_of(directory).split(".")[0]) >= 7 else "max,-cx16"
    processor = ["-accel", "kvm", "-cpu", "host", "-smp", "2"] if has_kvm() else [
        "-accel", "tcg,tb-size=256", "-cpu", cpu, "-smp", "1"]
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35,memory-backend=mem",
            *processor, "-m", str(MEMORY_MIB), "-object",
            f"memory-backend-memfd,id=mem,size={MEMORY_MIB}M,share=on", "-display", "none",
            "-nic", "none", "-no-reboot", "-serial", f"file:{tmp}/console", "-serial",
            f"file:{tmp}/output", "-chardev", f"socket,id=files,path={tmp}/files.sock", "-device",
            "vhost-user-fs-pci,chardev=files,tag=root", "-kernel", f"{directory}/vmlinuz",
            "-initrd", f"{tmp}/initramfs", "-append",
            # no_timer_check: on a busy machine the kernel finds that the emulated timer does not work
            "console=ttyS0 mitigations=off quiet loglevel=4 panic=-1 random.trust_cpu=on "
            "no_timer_check nowatchdog rcupdate.rcu_expedited=1"]


def _start(stack, argv, log):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               preexec_fn=die_with_parent, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _share_files(stack, tmp, log):
    daemon = _start(stack, [_virtiofsd(), f"--socket-path={tmp}/files.sock", "-o", "source=/",
                            "-o", "sandbox=chroot", "-o", "cache=always"], log)
    deadline = time.monotonic() + 10
    while not os.path.exists(f"{tmp}/files.sock"):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise Unavailable("virtiofsd does not start: "
                              + Path(log.name).read_text(encoding="utf-8", errors="replace"))
        time.sleep(0.01)


def _read(path):
    with contextlib.suppress(FileNotFoundError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def run(directory, argv, seconds):
    """(exit status, output) of a command on that kernel."""
    with contextlib.ExitStack() as stack:
        tmp = stack.enter_context(tempfile.TemporaryDirectory(prefix="igkernel-"))
        log = stack.enter_context(open(f"{tmp}/log", "wb"))
        words = ["/bin/bash", HERE / "inside", directory, *argv]
        Path(tmp, "initramfs").write_bytes(initramfs(directory, words))
        _share_files(stack, tmp, log)
        machine = _start(stack, _qemu_argv(directory, tmp), log)
        _machines.add(machine)
        stack.callback(_machines.discard, machine)
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.wait(seconds)
        output = _read(f"{tmp}/output")
        end = STATUS.search(output)
        if not end:
            what = f"was not done after {seconds} s" if machine.poll() is None else "ended early"
            raise GuestFailed(f"the guest {what}\n{_read(log.name)}\n--- its console:\n"
                              + _read(f"{tmp}/console")[-4000:], output)
        return int(end[1]), output[:end.start()]


if __name__ == "__main__":
    code, text = run(fetch(sys.argv[1]), sys.argv[2:], 600)
    print(text, end="")
    sys.exit(code)

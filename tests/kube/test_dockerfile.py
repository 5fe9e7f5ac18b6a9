#!/usr/bin/python3
"""deploy/Dockerfile, built by buildah without a registry and without network: its image has the files that
`make image` has. Its base is this system, as of a Debian that has everything installed: in a machine of
namespaces (tests/deploy/machine.py), with the folders mounted."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(HERE), "deploy"))
# pylint: disable=wrong-import-position
import tools  # noqa: E402
from machine import Machine  # noqa: E402
from tap import Skip, Suite  # noqa: E402

BUILDAH = ["buildah", "--root=/var/igtest/root", "--runroot=/run/igtest", "--storage-driver=vfs"]
MOUNTED = [f"--volume={name}:{name}:ro" for name in ("/usr", "/etc", "/var/lib")]


class World(Machine):
    def __enter__(self):
        if not shutil.which("buildah"):
            raise Skip("needs buildah")
        return super().__enter__()

    def buildah(self, *args):
        return self.do(*BUILDAH, *args, timeout=500).splitlines()[-1]


def entries(directory):
    """Names and kinds of all that is below."""
    return {(os.path.relpath(entry.path, directory), entry.is_symlink(), entry.is_dir(follow_symlinks=False))
            for place, _, _ in os.walk(directory) for entry in os.scandir(place)}


suite = Suite(World, seconds=600)


@suite.test("the image of the Dockerfile has the files of `make image`, and starts the agent")
def _(m):
    m.make_rootfs("/run/rootfs")
    base = m.buildah("from", "scratch")
    m.buildah("copy", base, "/run/rootfs", "/")
    m.buildah("commit", "--quiet", base, "localhost/base")
    m.buildah("bud", "--isolation=chroot", "--pull-never", "--build-arg=BASE=localhost/base", *MOUNTED,
              f"--file={tools.REPO}/deploy/Dockerfile", "--tag=imdsgate", tools.REPO)
    image = m.buildah("from", "localhost/imdsgate")
    tree = m.buildah("mount", image)
    with tempfile.TemporaryDirectory(prefix="igtest-image-") as tmp:
        subprocess.run(["make", "-C", tools.REPO, f"O={tools.BUILD}", "rootfs", f"ROOTFS={tmp}/rootfs"], check=True,
                       stdout=subprocess.DEVNULL)
        assert entries(m.path(tree)) == entries(f"{tmp}/rootfs")
    assert "imdsgated" in m.do(*BUILDAH, "run", "--isolation=chroot", image, "--", "/usr/local/sbin/imdsgated", "--version")
    form = "{{.OCIv1.Config.Entrypoint}}"
    assert m.buildah("inspect", "--format", form, image) == "[/usr/local/sbin/imdsgated]"


if __name__ == "__main__":
    suite.run()

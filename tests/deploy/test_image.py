#!/usr/bin/python3
"""The container image: complete (its programs run in it and find what they need), small (nothing else
is there), the same for the same inputs, and honest about what it consists of."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import tools
from tap import Suite
from tools import BUILD, REPO

IMAGE = os.path.join(REPO, "deploy", "image")
PROGRAMS = {"usr/local/sbin/imdsgated", "usr/local/bin/imdsgate"}
FOLDERS = re.compile(r"(etc|usr/lib|usr/lib64|usr/lib/[^/]+-linux-gnu|usr/lib/[^/]+-linux-gnu/ossl-modules)/"
                     r"[^/]+|usr/share/(doc|imdsgate)/.+|(etc|usr/lib)/ssl/.+")
MANIFEST = """apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: a, namespace: shop}
spec: {type: 0, clientID: nonsense, resourceID: /nonsense}
"""


class World(tools.Desk):
    """The image's tree and archive, made once."""

    def __enter__(self):
        self._tmp = tempfile.TemporaryDirectory(prefix="igtest-image-")  # pylint: disable=R1732
        self.tmp = self._tmp.name
        self.sbom = self.make("sbom.json")
        self.rootfs = self.tree("rootfs")
        self.archive = self.pack(self.rootfs, "image.tar")
        return self

    def __exit__(self, *error):
        self._tmp.cleanup()

    @staticmethod
    def run(*argv, **options):
        done = subprocess.run(argv, capture_output=True, text=True, check=False,
                              env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, **options)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def make(self, name):
        path = f"{self.tmp}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.run(f"{IMAGE}/sbom", "--build", BUILD, "--version", "1.2.3"))
        return path

    def tree(self, name):
        path = f"{self.tmp}/{name}"
        self.run(f"{IMAGE}/rootfs", "--build", BUILD, "--sbom", self.sbom, path)
        return path

    def pack(self, rootfs, name):
        path = f"{self.tmp}/{name}"
        self.run(f"{IMAGE}/oci", "--rootfs", rootfs, "--tag", "gate/imdsgate:1.2.3",
                 "--version", "1.2.3", "--revision", "abc", path)
        return path

    def inside(self, *argv):
        return subprocess.run(["chroot", self.rootfs, *argv], capture_output=True, text=True,
                              check=False, stdin=subprocess.DEVNULL, env={},
                              executable=shutil.which("chroot"))

    def files(self):
        """{path: type} of the tree, directories left out."""
        found = {}
        for directory, names, files in os.walk(self.rootfs):
            for name in names + files:
                path = os.path.join(directory, name)
                if os.path.islink(path) or not os.path.isdir(path):
                    found[os.path.relpath(path, self.rootfs)] = os.path.islink(path)
        return found


suite = Suite(World, seconds=100)


def blobs(archive):
    """{name: bytes} of an OCI archive."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def blob(files, descriptor):
    return files["blobs/" + descriptor["digest"].replace(":", "/")]


@suite.test("the programs run in it, and find the users, the providers and the authorities")
def _(w):
    for program in PROGRAMS:
        done = w.inside(f"/{program}", "--version" if "sbin" in program else "version")
        assert done.returncode == 0 and re.match(r"imdsgated? \d", done.stdout), done
    with open(f"{w.rootfs}/etc/imdsgate/manifests/a.yaml", "w", encoding="utf-8") as file:
        file.write(MANIFEST)
    done = w.inside("/usr/local/sbin/imdsgated", "--check-config")
    os.unlink(f"{w.rootfs}/etc/imdsgate/manifests/a.yaml")
    assert done.returncode == 5 and "clientID" in done.stderr + done.stdout, done
    with open(f"{w.rootfs}/etc/passwd", encoding="utf-8") as file:
        users = {line.split(":")[0]: line.split(":")[2] for line in file}
    assert users == {"root": "0", "imdsgate": "64929"}, users
    with open(f"{w.rootfs}/etc/ssl/certs/ca-certificates.crt", encoding="utf-8") as file:
        assert file.read().count("BEGIN CERTIFICATE") > 50
    assert [name for name in w.files() if name.endswith("/ossl-modules/legacy.so")]


@suite.test("nothing is missing: every library of every file is there")
def _(w):
    checked = 0
    for name, link in w.files().items():
        if link or not (name in PROGRAMS or ".so" in name):
            continue
        said = w.run("readelf", "-d", f"{w.rootfs}/{name}")
        for needed in re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", said):
            assert any(os.path.basename(other) == needed for other in w.files()), (name, needed)
            checked += 1
    assert checked > 20


@suite.test("nothing is there that does not belong: no shell, no other program, no way to become root")
def _(w):
    for name, link in w.files().items():
        assert name in PROGRAMS or FOLDERS.fullmatch(name) or link and name in ("lib", "lib64"), name
        assert "\n" not in name
    for directory, names, files in os.walk(w.rootfs):
        for name in names + files:
            mode = os.lstat(os.path.join(directory, name)).st_mode
            assert not mode & 0o6000, f"{name} is setuid"
            assert os.path.islink(os.path.join(directory, name)) or not mode & 0o002 \
                or mode & 0o1000, f"everybody may write {name}"
    assert not [name for name in w.files() if re.search(r"(^|/)s?bin/", name)
                and name not in PROGRAMS]


@suite.test("the programs are stripped, and name no folder of the machine that built them")
def _(w):
    for program in PROGRAMS:
        assert ".debug_info" not in w.run("readelf", "-S", f"{w.rootfs}/{program}")
        with open(f"{w.rootfs}/{program}", "rb") as file:
            data = file.read()
        for folder in (REPO, BUILD):
            assert folder.encode() + b"/" not in data, f"{program} has {folder} in it"


@suite.test("the archive is an OCI image, every digest and size is right")
def _(w):
    files = blobs(w.archive)
    for name, data in files.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.rsplit("/", 1)[1], name
    (listed,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(files, listed))
    for descriptor in (listed, manifest["config"], *manifest["layers"]):
        assert len(blob(files, descriptor)) == descriptor["size"]
    config = json.loads(blob(files, manifest["config"]))
    assert listed["annotations"]["io.containerd.image.name"] == "docker.io/gate/imdsgate:1.2.3"
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert config["config"]["Entrypoint"] == ["/usr/local/sbin/imdsgated"]
    assert len(files) == 5, "index, layout, manifest, config, one layer"


@suite.test("same inputs, same bytes")
def _(w):
    again = w.pack(w.tree("again"), "again.tar")
    with open(w.archive, "rb") as one, open(again, "rb") as other:
        assert one.read() == other.read()


@suite.test("the list of contents names each library's package, and its licences are in the image")
def _(w):
    with open(w.sbom, encoding="utf-8") as file:
        sbom = json.load(file)
    packages = {package["name"]: package for package in sbom["packages"]}
    assert sbom["spdxVersion"] == "SPDX-2.3" and packages["imdsgate"]["versionInfo"] == "1.2.3"
    told = " ".join(package.get("sourceInfo", "") for package in packages.values())
    for name in w.files():
        if ".so" in name:
            assert f"{name}," in told.replace(" ", ",") or f" {name}" in told, name
    for name in packages:
        text = f"{w.rootfs}/usr/share/doc/{name}/copyright"
        assert os.path.getsize(text) > 500, name
    assert {"libbpf1", "libcurl4", "libjansson4", "uthash-dev"} <= set(packages), sorted(packages)
    related = {r["relatedSpdxElement"] for r in sbom["relationships"]}
    assert related == {package["SPDXID"] for package in sbom["packages"]}


if __name__ == "__main__":
    suite.run()

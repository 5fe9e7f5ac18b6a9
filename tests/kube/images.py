"""Container images without a registry: a docker-archive tar with one layer, made of files of this
machine, which `ctr images import` takes. Used by cluster.py."""

import hashlib
import io
import json
import os
import platform
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
REGISTRY = "imdsgate.test"  # exists nowhere; pods say imagePullPolicy: Never


def _add(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _layer(files, directories, links):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name in directories:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, source in files.items():
            with open(source, "rb") as f:
                _add(tar, name, f.read(), 0o755 if os.access(source, os.X_OK) else 0o644)
    return raw.getvalue()


def name_of(image):
    return f"{REGISTRY}/{image}"


def write(path, name, files, entrypoint=(), env=(), directories=("tmp",), links=()):
    """files: {path in the image, without a leading slash: file here}. links: {path: target}.
    env: ("NAME=value", …)."""
    layer = _layer(files, directories, dict(links))
    config = {"architecture": ARCHITECTURES[platform.machine()], "os": "linux",
              "config": {"Entrypoint": list(entrypoint), "Env": list(env)},
              "rootfs": {"type": "layers",
                         "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return path

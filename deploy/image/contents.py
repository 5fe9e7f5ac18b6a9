"""What an image of imdsgate consists of, and where it comes from: programs, the libraries that they
are linked with, and what those load at run time. Used by rootfs and sbom. Reads Debian's package
database, changes nothing."""

import os
import re
import subprocess

PROGRAMS = {"usr/local/sbin/imdsgated": "imdsgated", "usr/local/bin/imdsgate": "imdsgate"}
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# OpenSSL reads old PKCS#12 files with it; loaded by name, so ldd does not know
PROVIDERS = ("legacy.so",)
# compiled in: each as the release has it
SOURCES = (("/usr/include/uthash.h",), ("/usr/share/llhttp/llhttp.c", "/usr/include/llhttp.h"))
SERVER_UID = 64929


def output_of(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def libraries_of(program):
    """Paths as the loader finds them; the loader itself among them."""
    said = output_of("ldd", program)
    if "not found" in said:
        raise SystemExit(f"{program} cannot be run here:\n{said}")
    return sorted(set(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", said, re.MULTILINE)))


def providers():
    directory = re.search(r'"(.*)"', output_of("openssl", "version", "-m"))[1]
    return [os.path.join(directory, name) for name in PROVIDERS]


def merged(path):
    """/lib/x/y → usr/lib/x/y: the image has one of the two, and a link."""
    return re.sub(r"^/(lib\w*)/", r"usr/\1/", path).lstrip("/")


def system_files(build):
    """{path in the image: file here} of what the programs need of the system."""
    found = {}
    for program in PROGRAMS.values():
        for path in libraries_of(os.path.join(build, program)):
            found[merged(path)] = os.path.realpath(path)
    for path in providers():
        found[merged(path)] = os.path.realpath(path)
        for library in libraries_of(path):
            found[merged(library)] = os.path.realpath(library)
    found[AUTHORITIES.lstrip("/")] = AUTHORITIES
    found["etc/ssl/openssl.cnf"] = "/etc/ssl/openssl.cnf"
    return found


def twins(path):
    """The file under the names that it may have on either side of the merged /usr."""
    return path, re.sub(r"^/usr/", "/", path), f"/usr{path}"


def owners(paths):
    """{path: package}"""
    said = subprocess.run(["dpkg-query", "-S", *(twin for path in paths for twin in twins(path))],
                          capture_output=True, text=True, check=False).stdout
    owner = {AUTHORITIES: "ca-certificates"}  # its scripts write it
    for line in said.splitlines():
        packages_there, path = line.rsplit(": ", 1)
        owner[path] = packages_there.split(", ")[0].split(":")[0]
    found = {}
    for path in paths:
        found[path] = next((owner[twin] for twin in twins(path) if twin in owner), None)
        if not found[path]:
            raise SystemExit(f"no package of this system has {path}, so its licence is not known")
    return found


def described(names):
    """{name: {"version", "source", "source_version", "architecture", "files": []}}"""
    keys = ("version", "source", "source_version", "architecture")
    said = output_of("dpkg-query", "-W", "-f", "${Package}\t${Version}\t${source:Package}\t"
                     "${source:Version}\t${Architecture}\n", *names)
    rows = (line.split("\t") for line in said.splitlines())
    return {name: dict(zip(keys, fields), files=[]) for name, *fields in rows}


def packages(build):
    """As described(), with the names that their files have in the image; none of what is compiled
    in."""
    compiled = [next(path for path in paths if os.path.exists(path)) for paths in SOURCES]
    files = system_files(build)
    owner = owners([*compiled, *files.values()])
    found = described(sorted(set(owner.values())))
    for name, path in sorted(files.items()):
        found[owner[path]]["files"].append(name)
    return found


def copyright_of(package):
    """The file with authors and licences that Debian's policy demands of every package."""
    return os.path.realpath(f"/usr/share/doc/{package}/copyright")

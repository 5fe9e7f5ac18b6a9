#!/usr/bin/python3
"""The documents: every command in them is run by a test or stands in documents.py with the reason why
it cannot be; every link leads somewhere; every test that is named exists. And those commands are run
that need no cluster: installing, on copies of the machine's directories, and the tools over logs
and rules."""

import datetime
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import documents
import tools  # for the path to the other suites' modules
from documents import REPO
from tap import Suite
from tools import BUILD

sys.path.insert(1, os.path.join(REPO, "tests", "cli"))
import records  # noqa: E402
import rules  # noqa: E402

# lines that begin so are commands, wherever they stand
PROGRAMS = re.compile(r"(\$ )?(sudo|make|apt|apt-get|systemctl|install|mkdir|kubectl|helm|az|terraform|"
                      r"imdsgate|imdsgated|iptables|nft|jq|curl|docker|podman|for) ")
# blocks that show something else: what a program prints, how it is used
SHOWN = {
    ("README.md", "The command-line tool"): "every verb and how it is used; cli/test_manuals compares them",
    ("docs/operations.md", "What is going on"): "what imdsgate top prints",
    ("docs/policy.md", "What would happen"): "what imdsgate explain prints",
}
# directories that the commands may write to, which are put back
COPIED = ("etc", "usr/local", "var/log")
SESSION = """
mount --make-rprivate /
mount -t tmpfs none "$LAYERS"
for dir in $COPIED; do
    mkdir -p "$LAYERS/$dir/upper" "$LAYERS/$dir/work"
    mount -t overlay none -o "lowerdir=/$dir,upperdir=$LAYERS/$dir/upper,workdir=$LAYERS/$dir/work" "/$dir"
done
sudo() { "$@"; }
"""


def build_folder():
    """As it was given to make, whose flags have it in them: what is built is not built again."""
    inside = os.path.relpath(BUILD, REPO)
    return BUILD if inside.startswith("..") else inside


class World:
    """A directory, and shells in which nothing of the machine's can be changed or reached."""

    def __enter__(self):
        self._stack = tempfile.TemporaryDirectory()
        self.tmp = self._stack.name
        self.script = documents.Script("deploy/test_docs")
        return self

    def __exit__(self, *error):
        self._stack.cleanup()

    @staticmethod
    def tails():
        return ""

    def write(self, name, text):
        path = os.path.join(self.tmp, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def shell(self, text, cwd):
        """(exit status, all that it said)"""
        layers = os.path.join(self.tmp, "layers")
        os.makedirs(layers, exist_ok=True)
        env = {"PATH": f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{BUILD}", "LC_ALL": "C.UTF-8",
               "LAYERS": layers, "COPIED": " ".join(COPIED), "MAKEFLAGS": f"O={build_folder()}", "TMP": self.tmp}
        done = subprocess.run(["unshare", "--mount", "--net", "bash", "-euo", "pipefail", "-c",
                               SESSION + text], cwd=cwd, env=env, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=150)
        return done.returncode, done.stdout


suite = Suite(World, seconds=170)


@suite.test("every command is run by a test, or it is said why it cannot be")
def _(_):
    found = [command for page in documents.pages() for command in documents.commands(page)]
    assert len(found) > 50, found
    for command in found:
        assert documents.why_not(command) or documents.runner(command), f"no test runs {command}"
    for begin in documents.CANNOT:
        assert any(c.text.startswith(begin) for c in found), f"no page has: {begin}"
    for row in documents.RUNS:
        assert any(documents.runner(c) == row[2] and c.page == row[0] and c.text.startswith(row[1])
                   for c in found), f"no page has: {row}"
        with open(f"{REPO}/tests/{row[2]}.py", encoding="utf-8") as file:
            text = file.read()
        assert "check_done()" in text and f'Script("{row[2]}")' in text, f"{row[2]} does not run them"


def outside_blocks(page):
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", documents.read(page)).splitlines()


@suite.test("commands stand in blocks that say so")
def _(_):
    for page in documents.pages():
        for section, language, lines in documents.blocks(page):
            hidden = [line for line in lines if PROGRAMS.match(line)]
            assert language != "" or not hidden or (page, section) in SHOWN, (page, section, hidden)
        hidden = [line for line in outside_blocks(page) if PROGRAMS.match(line.lstrip())
                  and line.startswith("    ")]
        assert not hidden, (page, hidden)


def anchors(page):
    """As GitHub makes them of headings."""
    titles = [line.lstrip("# ") for line in outside_blocks(page) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@suite.test("every link leads to a file, and to a heading in it")
def _(_):
    seen = 0
    for page in documents.pages():
        for target in re.findall(r"\]\(([^)\s]+)\)", documents.read(page)):
            if re.match(r"https?:", target):
                continue
            name, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
            assert os.path.exists(os.path.join(REPO, path)), f"{page}: {target}"
            if anchor:
                assert anchor in anchors(path), f"{page}: {target}"
            seen += 1
    assert seen > 60, seen


@suite.test("the security model names tests that exist")
def _(_):
    named = re.findall(r"`(\w+/test_[\w*]+)`", documents.read("docs/security.md"))
    assert len(named) > 10, named
    for name in named:
        folder, _, stem = name.partition("/")
        have = [file.split(".")[0] for file in os.listdir(f"{REPO}/tests/{folder}")]
        pattern = re.compile(stem.replace("*", ".*"))
        assert any(pattern.fullmatch(file) for file in have), name


@suite.test("quick start: installed from the sources, with its user; credentials go where it says")
def _(w):
    w.write("clientSecret", "a secret")
    install = [text for text in w.script.take("README.md", "Quick start", "make ")]
    status, out = w.shell("\n".join([
        "set -x", *install, 'cd "$TMP"', *w.script.take("README.md", "Credentials"),
        "imdsgated --version", "command -v imdsgated imdsgate", "man -w imdsgated",
        "stat --format '%n %U:%G %a' /etc/imdsgate/secrets/shop/orders/clientSecret"]), REPO)
    assert status == 0, out
    assert "/usr/local/share/man/man8/imdsgated.8" in out, out[-2000:]
    assert "clientSecret root:imdsgate 640" in out, out[-2000:]
    assert not os.path.exists("/etc/imdsgate/secrets/shop/orders"), "it was not put back"


@suite.test("quick start: the demo shows what the README says")
def _(w):
    (demo,) = w.script.take("README.md", "Quick start", "sudo make demo")
    done = subprocess.run(["bash", "-c", f'sudo() {{ "$@"; }}\n{demo}'], cwd=REPO, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, "MAKEFLAGS": f"O={build_folder()}"},
                          timeout=160)
    assert done.returncode == 0, done.stdout
    for step in re.findall(r"(?m)^\[\d/\d\] .*$", documents.read("README.md")):
        assert step in done.stdout, f"{step}: {done.stdout}"


def make_logs(w):
    """Two weeks of them, until an hour ago."""
    log = records.Log()
    begin = (datetime.datetime.now(datetime.timezone.utc) - records.START).total_seconds() - 3600
    for hour in range(14 * 24, 0, -1):
        pod = f"shop/cart-{hour % 2}"
        log.token(begin - hour * 3600, pod, identity="cart-identity")
        log.token(begin - hour * 3600 + 1, pod, decision="deny", resource=records.STORAGE)
    lines = log.text().splitlines(keepends=True)
    half = len(lines) // 2
    for name, part in (("audit.jsonl.1", lines[:half]), ("audit.jsonl", lines[half:]),
                       ("december.jsonl", lines[:half]), ("january.jsonl", lines[half:]),
                       ("AUDIT_FILE", lines)):
        w.write(name, "".join(part))


def make_rules(w):
    pods = "".join(rules.pod(f"cart-{i}", {"aadpodidbinding": "cart", "app": "cart"},
                             containers=[("server", "1" * 63 + str(i))]) for i in range(2))
    w.write("candidate/rules.yaml", pods + rules.identity("cart-identity", rules.ALPHA)
            + rules.binding("cart", "cart-identity", "cart")
            + rules.policy("vault", "{mode: Enforce, allow: {resources: ['https://vault.azure.net']}}"))
    w.write("pods/pods.yaml", pods)
    (cases,) = ("\n".join(lines) for section, language, lines in documents.blocks("docs/tools.md")
                if section == "imdsgate policy test" and language == "yaml")
    w.write("cases.yaml", cases)


@suite.test("tools over logs and rules: every example of their pages works")
def _(w):
    make_logs(w)
    make_rules(w)
    prepare = 'mkdir -p /var/log/imdsgate; cp audit.jsonl audit.jsonl.1 /var/log/imdsgate\n'
    for text in w.script.take("docs/tools.md") + w.script.take("docs/audit.md"):
        status, out = w.shell(prepare + text, w.tmp)
        # a replay that finds changes says so by its status
        assert status in ((0, 5) if "policy replay" in text else (0,)), f"{text}: {status} {out}"
        assert out or ">" in text or "--html" in text, f"{text} said nothing"
    for name in ("report.html", "suggested.yaml"):
        assert os.path.getsize(os.path.join(w.tmp, name)) > 100, name


@suite.test("nothing that stands there was left out")
def _(w):
    w.script.check_done()


if __name__ == "__main__":
    suite.run()

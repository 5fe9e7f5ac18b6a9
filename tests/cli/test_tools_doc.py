"""docs/tools.md and the tool: the same verbs, the same options, and examples that are understood."""

import os
import re
import shlex

import suite as suites
from records import REPO, tool

suite = suites.new()
VERBS = [("audit", "stats"), ("audit", "report"), ("policy", "test"), ("policy", "replay"),
         ("policy", "suggest")]
COMMON = {"since", "until", "namespace", "pod", "identity", "resource", "kind", "decision"}


def sections():
    with open(os.path.join(REPO, "docs/tools.md"), encoding="utf-8") as file:
        parts = re.split(r"^## ", file.read(), flags=re.MULTILINE)
    return {part.split("\n")[0]: part for part in parts}


def commands():
    return {(c["noun"], c["verb"]): c for c in tool("--json", "help").json()["commands"]}


@suite.test("every option stands in its verb's section, and none that there is not")
def options(_):
    there, known = sections(), commands()
    chosen = set(re.findall(r"`--([a-z-]+)", there["Logs, and which records"]))
    for noun, verb in VERBS:
        text = there[f"imdsgate {noun} {verb}"]
        real = {option["name"] for option in known[(noun, verb)]["options"]}
        reads_logs = COMMON <= real and (noun, verb) != ("policy", "test")
        table = set(re.findall(r"--([a-z-]+)", "\n".join(
            line.split("|")[1] for line in text.split("\n") if line.startswith("| `--"))))
        assert table == real - (COMMON if reads_logs else set()), (verb, table ^ real)
        assert not reads_logs or COMMON <= chosen, COMMON - chosen


@suite.test("the examples are understood")
def examples(desk):
    os.chdir(desk.tmp)  # whatever they write
    seen = 0
    for place, page in sections().items():
        for block in re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^imdsgate (.*?)(?:  +#.*)?$", block, flags=re.MULTILINE):
                words = shlex.split(line.split(" | ")[0].split(" > ")[0])
                output = tool(*words, stdin="", status=None)
                assert "Try 'imdsgate" not in output.err, (place, line, output.err)
                seen += 1
    assert seen > 10, seen


@suite.test("the verbs are those of the tool")
def verbs(_):
    known = [key for key in commands() if key[0] == "policy" or key[1] in ("stats", "report")]
    assert sorted(known) == sorted(VERBS), known


if __name__ == "__main__":
    suite.run()

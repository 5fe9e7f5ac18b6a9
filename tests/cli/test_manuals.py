"""Help, manual pages, README: the same nouns, verbs, options, kinds and fields in each, pages that
build without a warning, and examples that work."""

import json
import os
import re
import shlex

import pages as manuals
import suite as suites
from records import BUILD, REPO, Log

import tap  # noqa: E402  (suite.py finds it)

ANNOTATION = r"(?:imdsgate\.dev|azure\.workload\.identity|aadpodidentity\.k8s\.io)/[A-Za-z][A-Za-z-]+\b"
CACHE = {}
suite = suites.new()


def page(desk, name):
    missing = manuals.missing_tools()
    if missing:
        raise tap.Skip(f"needs {' and '.join(missing)}")
    if name not in CACHE:
        CACHE[name] = manuals.Page(name, desk.tmp)
    return CACHE[name]


def read(*parts):
    with open(os.path.join(REPO, *parts), encoding="utf-8") as file:
        return file.read()


def same(left, right, what):
    left, right = set(left), set(right)
    assert left == right, (f"{what}: only the first has {sorted(left - right)}, "
                           f"only the second {sorted(right - left)}")


@suite.test("every page is made without a warning")
def clean(desk):
    sources = {name[:-len(".scd")] for name in os.listdir(f"{REPO}/deploy/man")
               if name.endswith(".scd")}
    same(sources, manuals.PAGES, "pages in the folder, pages tested")
    for name in manuals.PAGES:
        made = page(desk, name)
        assert not made.complaints, f"{name}: {made.complaints}"
        assert not re.search(r"@[a-z-]+( [a-z.]+)?@", made.text), f"{name}: not filled in"
        assert len(made.text) > 2000, made.text


@suite.test("imdsgated(8) has the flags of --help, with their values")
def agent_flags(desk):
    listed = re.findall(r"(?m)^ {7}(--[a-z-]+)(?: (\S+))?$",
                        page(desk, "imdsgated.8").section("OPTIONS"))
    flags = manuals.flags()
    assert len(flags) > 20, flags
    same(listed, [(flag, value) for flag, (value, _) in flags.items()], "page, --help")


@suite.test("imdsgate(1) has every noun, verb and option, and no other")
def tool_verbs(desk):
    text, known = page(desk, "imdsgate.1").text, manuals.command_help()
    found, heading = {}, None
    for line in text.splitlines():
        if re.match(r"\S", line):
            heading = "global" if line == "GLOBAL OPTIONS" else None
        verb = re.fullmatch(r" {3}imdsgate (.*)", line)
        heading = verb[1] if verb else heading
        option = re.fullmatch(r" {7}--([a-z-]+)(?: (\S+))?", line)
        if heading:
            found.setdefault(heading, []).extend([(option[1], option[2])] if option else [])
    expected = {"global": [(o["name"], o["value"]) for o in known["global_options"]]}
    for command in known["commands"]:
        usage = f"{manuals.words_of(command)} {'[OPTIONS] ' * bool(command['options'])}"
        expected[(usage + command["args"]).strip()] = [(o["name"], o["value"])
                                                       for o in command["options"]]
    assert len(expected) > 8, expected
    same(found, expected, "page, help")
    for verb, options in expected.items():
        same(found[verb], options, f"options of {verb}: page, help")


@suite.test("no page names an option that there is not")
def no_others(desk):
    known, flags = manuals.command_help(), set(manuals.flags())
    options = {"--" + o["name"] for c in known["commands"] for o in c["options"]}
    options |= {"--" + o["name"] for o in known["global_options"]}
    for name in manuals.PAGES:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page(desk, name).text))
        assert named <= flags | options, f"{name}: {sorted(named - flags - options)}"


@suite.test("README's table has the flags of --help, with their values and defaults")
def readme_flags(_):
    table = read("README.md").split("## Flags of imdsgated")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| (`--.*?) \| (.*?) ?\| .*\|$", table)
    listed = {}
    for cell, default in rows:
        for text in re.findall(r"`(.*?)`", cell):
            flag, _, value = text.replace("\\|", "|").partition(" ")
            assert flag not in listed, f"{flag} has two rows"
            listed[flag] = (value, default)
    flags = manuals.flags()
    same([(flag, value) for flag, (value, _) in listed.items()],
         [(flag, value) for flag, (value, _) in flags.items()], "README, --help")
    for flag, (_, text) in flags.items():
        default = re.search(r"\(default ([^ ;:)]+)\)", text)
        if default and default[1] != "0":
            assert f"`{default[1]}`" in listed[flag][1], f"{flag}: {default[1]}, {listed[flag]}"


@suite.test("README lists every verb, and no other")
def readme_verbs(_):
    block = read("README.md").split("## The command-line tool")[1].split("```")[1]
    listed = re.findall(r"(?m)^imdsgate ([a-z]+(?: [a-z]+)?)\b", block)
    same(listed, map(manuals.words_of, manuals.command_help()["commands"]), "README, help")
    assert len(listed) == len(set(listed)), f"twice: {listed}"


@suite.test("README tells the exit status that help tells")
def readme_status(_):
    listed = re.search(r"(?m)^Exit status: (.*)$", read("README.md"))[1]
    same(re.findall(r"\d", listed), map(str, range(len(manuals.command_help()["exit_status"]))),
         "README, help")


def commands_of(made, program):
    return [shlex.split(line) for block in made.blocks() for line in block.splitlines()
            if line.startswith(program + " ")]


@suite.test("the examples of imdsgate(1) are understood")
def tool_examples(desk):
    log = Log()
    log.token(10)
    for name in ("audit.jsonl", "audit.jsonl.1"):
        log.write(desk.path("logs", name))
    examples = commands_of(page(desk, "imdsgate.1"), "imdsgate")
    assert len(examples) >= 5
    for argv in examples:
        done = manuals.run(f"{BUILD}/imdsgate", "--socket", "/nonexistent", *argv[1:],
                           cwd=desk.path("logs", ""))
        assert done.returncode in (0, 3, 5), (argv, done)


@suite.test("the examples of imdsgated(8) are understood")
def agent_examples(desk):
    os.makedirs(desk.path("none", ""), exist_ok=True)
    examples = commands_of(page(desk, "imdsgated.8"), "imdsgated")
    assert len(examples) >= 3
    for argv in examples:
        done = manuals.run(f"{BUILD}/imdsgated", *argv[1:], "--check-config", "--manifests",
                           desk.path("none"))
        assert done.returncode == 0, (argv, done)


@suite.test("the examples of imdsgate-manifests(5) are accepted")
def manifest_examples(desk):
    blocks = page(desk, "imdsgate-manifests.5").blocks()
    kinds = {kind for block in blocks for kind in re.findall(r"(?m)^kind: (\w+)", block)}
    same(kinds, ("AzureIdentity", "AzureIdentityBinding", "AzurePodIdentityException",
                 "MetadataPolicy", "Pod"), "kinds of the examples, kinds")
    for number, block in enumerate(blocks):
        desk.write(block, "manifests", f"{number}.yaml")
    done = manuals.run(f"{BUILD}/imdsgated", "--check-config", "--manifests",
                       desk.path("manifests"))
    assert done.returncode == 0 and done.stdout.count("ok\n") == len(blocks), done


def fields(schema, path="spec"):
    """Of the two upper levels; {deeper names} too."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        if path == "spec" and name == "allow":
            yield from fields(below, "spec.allow")


@suite.test("imdsgate-manifests(5) has the fields of the CRDs, and no other")
def manifest_fields(desk):
    import yaml  # pylint: disable=import-outside-toplevel
    made = page(desk, "imdsgate-manifests.5")
    folder = os.path.join(REPO, "deploy/kubernetes/crds")
    for name in sorted(os.listdir(folder)):
        crd = yaml.safe_load(read(folder, name))
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        expected = set(fields(schema)) - {"spec.allow"}  # its members stand for it
        kind = crd["spec"]["names"]["kind"]
        listed = [term for term in made.terms(kind.upper()) if term.startswith("spec.")]
        same(listed, expected, f"{kind}: page, CRD")
        deeper = {below for field in schema["properties"].values() if "allow" not in field
                  for below in field.get("properties", {})}
        for below in deeper - {"name", "allow"}:
            assert below.split(".")[-1] in made.section(kind.upper()), (kind, below)


@suite.test("imdsgate-manifests(5) has the annotations that are read")
def annotations(desk):
    sources = "".join(read("user/objects", name) for name in os.listdir(f"{REPO}/user/objects")
                      if name.endswith(".c"))
    defined = re.findall(rf'"({ANNOTATION})"', sources)
    assert len(defined) >= 8, defined
    named = re.findall(ANNOTATION, page(desk, "imdsgate-manifests.5").text)
    same(named, set(defined) | {"azure.workload.identity/use"}, "page, source")


def schema():
    return json.loads(read("deploy/schema/audit-v1.schema.json"))


@suite.test("imdsgate-audit(5) has the members of a record, and no other")
def members(desk):
    made, properties = page(desk, "imdsgate-audit.5"), schema()["properties"]
    same(made.terms("MEMBERS"), properties, "page, schema")
    text = made.section("MEMBERS")
    for name, below in properties.items():
        paragraph = re.search(rf"(?ms)^ {{7}}(?:\S+, )*{name}(?:, \S+)*\n(.*?)(?=\n\n|\Z)", text)[1]
        for member in below.get("properties", {}):
            assert re.search(rf"\b{member}\b", paragraph), f"{name}.{member}"
    ordered = made.terms("MEMBERS")
    assert ordered == list(properties), f"in another order: {ordered}"


@suite.test("imdsgate-audit(5) has every kind and reason, and no other")
def kinds_and_reasons(desk):
    made, rules = page(desk, "imdsgate-audit.5"), schema()
    same(made.terms("KINDS"), rules["properties"]["kind"]["enum"], "kinds: page, schema")
    lists = [rule["then"]["properties"].get("reason") for rule in rules["allOf"]]
    reasons = {reason for rule in lists if rule for reason in rule["enum"]}
    assert len(reasons) > 50
    same(made.terms("REASONS"), reasons, "reasons: page, schema")
    same(set(re.findall(r"[a-z_]+", " ".join(re.findall(r"Reasons: (.*?)\.\n",
                                                        made.section("KINDS"))))),
         reasons, "reasons of kinds, reasons")


@suite.test("the record of imdsgate-audit(5) is valid")
def record(desk):
    block = page(desk, "imdsgate-audit.5").blocks()[0]
    path = desk.write(json.dumps(json.loads(block), ensure_ascii=False) + "\n", "record.jsonl")
    done = manuals.run(f"{REPO}/tests/check/audit_schema.py", path)
    assert done.returncode == 0, done


@suite.test("make install brings programs, pages and completion, and uninstall takes them")
def install(desk):
    page(desk, "imdsgate.1")  # or skip
    dest = desk.path("dest", "")
    base = ["make", "-C", REPO, f"O={BUILD}", f"DESTDIR={dest}", "PREFIX=/usr", "-o",
            f"{BUILD}/imdsgate", "-o", f"{BUILD}/imdsgated"]
    done = manuals.run(*base, "install")
    assert done.returncode == 0, done
    for name in manuals.PAGES:
        found = manuals.run("man", "-M", f"{dest}/usr/share/man", "-w", name.rsplit(".", 1)[0])
        assert found.stdout.strip().endswith(f"/{name}"), found
    for name in ("bin/imdsgate", "share/bash-completion/completions/imdsgated",
                 "share/zsh/site-functions/_imdsgate",
                 "share/fish/vendor_completions.d/imdsgate.fish",
                 "share/imdsgate/prometheus/imdsgate.rules.yaml",
                 "share/imdsgate/grafana/imdsgate.json"):
        assert os.path.isfile(f"{dest}/usr/{name}"), name
    done = manuals.run(*base, "uninstall")
    left = [os.path.join(folder, name) for folder, _, names in os.walk(dest) for name in names]
    assert done.returncode == 0 and not left, (done, left)


suite.run()

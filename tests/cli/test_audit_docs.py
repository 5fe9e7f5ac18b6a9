"""docs/audit.md: configurations for shippers parse and name members that records have; the commands
of the table of questions find what they promise."""

import configparser
import fnmatch
import json
import re
import subprocess

import suite as suites
from records import BUILD, REPO, Log

suite = suites.new()
TOKEN = "not.a.token"


def document():
    with open(f"{REPO}/docs/audit.md", encoding="utf-8") as file:
        return file.read()


def section(heading):
    return document().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", section("How to ship it"))


def schema():
    with open(f"{REPO}/deploy/schema/audit-v1.schema.json", encoding="utf-8") as file:
        return json.load(file)


def members(node=None, path=""):
    for name, below in (node or schema())["properties"].items():
        yield path + name
        if "properties" in below:
            yield from members(below, f"{path}{name}.")


def kinds():
    return schema()["properties"]["kind"]["enum"]


@suite.test("Fluent Bit and Vector: the parts fit together")
def yaml_parts(_):
    import yaml  # pylint: disable=import-outside-toplevel
    fluent, _, vector = map(yaml.safe_load, blocks("yaml"))
    source, = fluent["pipeline"]["inputs"]
    assert source["parser"] == fluent["parsers"][0]["name"]
    assert fluent["parsers"][0]["time_key"] in members()
    for sink in fluent["pipeline"]["outputs"]:
        assert sink["match"] == source["tag"], sink
    known = {*vector["sources"], *vector["transforms"]}
    for part in (*vector["transforms"].values(), *vector["sinks"].values()):
        assert set(part["inputs"]) <= known, part
    assert vector["sinks"]["splunk"]["host_key"] in members()
    for path in (source["path"], *vector["sources"]["imdsgate"]["include"]):
        assert path == "/var/log/imdsgate/audit.jsonl", path


@suite.test("Fluent Bit, from the containers' logs: a filter parses what the input has put together")
def container_logs(_):
    import yaml  # pylint: disable=import-outside-toplevel
    fluent, containers, _ = map(yaml.safe_load, blocks("yaml"))
    source, = containers["pipeline"]["inputs"]
    # with this one the input asks no other parser
    assert source["multiline.parser"] == "cri" and "parser" not in source, source
    stream, parser = containers["pipeline"]["filters"]
    assert stream["regex"] == "stream ^stdout$" and parser["key_name"] == "log"
    assert parser["parser"] == fluent["parsers"][0]["name"]
    tag = fluent["pipeline"]["inputs"][0]["tag"]
    assert {source["tag"], stream["match"], parser["match"]} == {tag}
    with open(f"{REPO}/deploy/kubernetes/daemonset.yaml", encoding="utf-8") as file:
        agent = yaml.safe_load(file)
    container, = agent["spec"]["template"]["spec"]["containers"]
    name = f"{agent['metadata']['name']}-x1y2z_{agent['metadata']['namespace']}_{container['name']}-0a1b.log"
    assert fnmatch.fnmatch(f"/var/log/containers/{name}", source["path"])
    path, = (arg.split("=")[1] for arg in container["args"] if arg.startswith("--audit-file="))
    assert f"`{path}`" in section("How to ship it")


@suite.test("Splunk: the time is found where the settings look for it")
def splunk(_):
    inputs, props = (configparser.RawConfigParser(delimiters=("=",)) for _ in range(2))
    for parser, text in zip((inputs, props), blocks("ini")):
        parser.optionxform = str
        parser.read_string(text)
    monitor, = inputs.sections()
    settings = props[inputs[monitor]["sourcetype"]]
    log = Log()
    log.token(10)
    line = log.text().splitlines()[0].replace('": ', '":')  # as the agent writes it
    place = re.search(settings["TIME_PREFIX"], line).end()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line[place:]), line[place:]
    assert re.split(settings["LINE_BREAKER"], "a\nb")[::2] == ["a", "b"]
    assert int(settings["TRUNCATE"]) > 16 * 1024


@suite.test("Sentinel: the rule's columns are members, and its transformation uses them")
def sentinel(_):
    rule = json.loads(blocks("json")[0])["properties"]
    name, = rule["streamDeclarations"]
    columns = {column["name"]: column["type"]
               for column in rule["streamDeclarations"][name]["columns"]}
    properties = schema()["properties"]
    for column, kind in columns.items():
        assert column == "TimeGenerated" or column in properties, column
        if column != "TimeGenerated":
            assert (kind == "dynamic") == (properties[column].get("type") == "object"), column
    flow, = rule["dataFlows"]
    assert flow["streams"] == rule["dataSources"]["logFiles"][0]["streams"] == [name]
    used = re.findall(r"= (?:\[')?(\w+)", flow["transformKql"])
    assert set(used) == set(columns) - {"TimeGenerated"}, used


@suite.test("queries name kinds and members that there are")
def queries(_):
    text = section("How to ship it")
    named = re.findall(r'Kind == "([a-z.]+)"', text)
    assert named and set(named) <= set(kinds()), named
    assert {"pod.namespace", "pod.name", "process.exe", "identity.name"} <= set(members())
    assert {"events.lost", "agent.stopped"} <= set(kinds())


def rows():
    table = section("Which question, which fields")
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
             for line in table.splitlines() if line.startswith("| ")]
    return [(question, named, command.strip("`")) for question, named, command in cells[1:]]


@suite.test("the table of questions: its fields are members, kinds or reasons")
def fields(_):
    known = {*members(), *kinds(), "kind"}
    named = [name for _, cell, _ in rows() for name in re.findall(r"`([a-z_.]+)`", cell)]
    assert len(named) > 15 and set(named) <= known, set(named) - known


def sample():
    log = Log(run="9f86d081884c7d65")
    digest = subprocess.run(["sha256sum"], input=TOKEN, capture_output=True, text=True, check=True)
    log.add(0, "agent.started")
    log.add(1, "policy.changed", count=3, policy_epoch=1)
    log.token(2, token={"fingerprint": digest.stdout[:16]})
    log.token(3, identity=None, decision="deny", reason="resource_not_allowed",
              policy={"namespace": "shop", "name": "p", "would_deny": "resource_not_allowed"})
    log.token(4, decision="error", on_behalf_of={"namespace": "shop", "name": "web-0"})
    log.add(5, "connect.denied", "deny", "denied", connection={
        "protocol": "tcp", "endpoint": "wireserver", "destination": "168.63.129.16:80"})
    log.add(6, "connect.unattributed", "deny", "no_flow", process={
        "pid": 7, "comm": "x", "exe": "/tmp/x", "exe_deleted": True})
    log.add(7, "agent.stopped")
    return log


@suite.test("the table of questions: each command finds something")
def commands(desk):
    path = desk.path("audit.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, separators=(",", ":")) + "\n"
                        for record in sample().records)
    env = {"PATH": f"{BUILD}:/usr/bin:/bin", "TOKEN": TOKEN, "LC_ALL": "C.UTF-8"}
    asked = rows()
    assert len(asked) > 10
    for question, _, command in asked:
        line = re.sub(r"\bLOG\b", path, command)
        if "LOG" not in command:  # asks the agent
            line = line.replace("imdsgate ", f"imdsgate --socket {desk.path('none')} ", 1)
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True,
                              timeout=60, check=False)
        wanted = 0 if "LOG" in command else 3
        assert done.returncode == wanted, (question, line, done)
        if "audit stats" in line:
            assert "\nKIND" in done.stdout, (question, line, done.stdout)  # it counted some


suite.run()

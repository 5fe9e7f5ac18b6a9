"""The rules of deploy/prometheus: promtool takes them, each alert fires when it should and not when it
should not, and the cases would notice if one never did. Needs neither root nor a server."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
RULES = os.path.join(REPO, "deploy/prometheus/imdsgate.rules.yaml")
sys.path.insert(0, os.path.join(REPO, "tests", "check"))
import tap  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def promtool(*args):
    """What it says when something is wrong; "" otherwise."""
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "it failed"


def run_cases(rules, directory):
    """The cases against these rules."""
    path = os.path.join(directory, "rules.yaml")
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump(rules, f)
    cases = os.path.join(directory, "cases.yaml")
    with open(cases, "w", encoding="utf-8") as f:
        f.write(read(os.path.join(HERE, "rules_test.yaml")).replace("RULES", path))
    return promtool("test", "rules", cases)


def alerts_of(rules):
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def cases_by_alert():
    """{alert: (how often it has to fire, how often it must not)}"""
    found = {}
    for group in yaml.safe_load(read(os.path.join(HERE, "rules_test.yaml")))["tests"]:
        for case in group["alert_rule_test"]:
            fires, silent = found.get(case["alertname"], (0, 0))
            found[case["alertname"]] = (fires + bool(case.get("exp_alerts")),
                                        silent + (not case.get("exp_alerts")))
    return found


def documented():
    section = read(os.path.join(REPO, "docs/metrics.md")).split("\n## Alerts\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.M)


def main():
    report = tap.Tap()
    rules = yaml.safe_load(read(RULES))
    alerts = [rule["alert"] for rule in alerts_of(rules)]
    report.point("promtool takes the rules", promtool("check", "rules", RULES).splitlines())
    with tempfile.TemporaryDirectory() as directory:
        report.point("every alert fires and is silent as it should",
                     run_cases(rules, directory).splitlines())
        for number, name in enumerate(alerts):
            broken = copy.deepcopy(rules)
            alerts_of(broken)[number]["expr"] = "vector(0) > 1"
            noticed = run_cases(broken, directory)
            report.point(f"a {name} that never fires is noticed",
                         [] if noticed else ["the cases passed"])
    cases = cases_by_alert()
    report.point("every alert has both kinds of cases",
                 [name for name in alerts if not all(cases.get(name, (0, 0)))]
                 + [f"{name} is no alert" for name in cases if name not in alerts])
    report.point("the document has the same alerts",
                 [] if sorted(documented()) == sorted(alerts) else [f"{documented()} {alerts}"])
    report.point("every alert says how bad it is and what it is",
                 [rule["alert"] for rule in alerts_of(rules)
                  if rule["labels"]["severity"] not in ("warning", "critical")
                  or not rule["annotations"]["summary"]])
    return report.finish()


if __name__ == "__main__":
    if not shutil.which("promtool"):
        print("1..0 # SKIP promtool is not installed")
        sys.exit(77)
    sys.exit(main())

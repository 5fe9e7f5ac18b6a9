"""A real Prometheus in a network namespace of the test: it scrapes the agent and evaluates the rules of
deploy/prometheus, a few times a second, and answers queries. Used by test_prometheus.py."""

import json
import os
import sys
import time

import yaml

from exposition import PORT
from places import REPO

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS = "127.0.0.1:9090"  # of a namespace that the test made
RULES = os.path.join(REPO, "deploy/prometheus/imdsgate.rules.yaml")
INTERVAL = "200ms"


class Prometheus:
    def __init__(self, place, directory):
        self._place = place
        self._directory = os.path.join(directory, "prometheus")
        os.mkdir(self._directory)

    def start(self):
        config = os.path.join(self._directory, "prometheus.yaml")
        with open(config, "w", encoding="utf-8") as f:
            yaml.safe_dump({
                "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL,
                           "evaluation_interval": INTERVAL},
                "rule_files": [RULES],
                # the labels that docs/metrics.md lets the scrape configuration give
                "scrape_configs": [{"job_name": "imdsgate", "static_configs": [
                    {"targets": [f"127.0.0.1:{PORT}"],
                     "labels": {"namespace": "imdsgate-system", "node": "n1"}}]}]}, f)
        with open(os.path.join(self._directory, "log"), "wb") as log:
            self._place.spawn(
                ["prometheus", f"--config.file={config}", f"--web.listen-address={ADDRESS}",
                 f"--storage.tsdb.path={self._directory}/data", "--log.level=warn"],
                stdout=log, stderr=log, cwd=self._directory)

    def log(self):
        with open(os.path.join(self._directory, "log"), encoding="utf-8") as f:
            return f.read()

    def get(self, path, **query):
        """What the HTTP API says: {"status": …, "data": …}; {} while it does not answer."""
        status, out, err = self._place.run(
            [sys.executable, "-S", os.path.join(HERE, "api_client.py"), ADDRESS, path,
             json.dumps(query)])
        assert status == 0, err
        return json.loads(out)

    def query(self, expr):
        """[(labels, value)] of an instant query; an error of Prometheus is one here."""
        said = self.get("/api/v1/query", query=expr)
        assert said.get("status") == "success", f"{expr}: {said}\n{self.log()}"
        assert not said.get("warnings"), f"{expr}: {said}"
        result = said["data"]["result"]
        if said["data"]["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def wait_for(self, wanted, what, timeout=30):
        """Until wanted(self), which may fail to reach the server."""
        deadline = time.monotonic() + timeout
        while not wanted(self):
            assert time.monotonic() < deadline, f"still not: {what}\n{self.log()}"

    def has(self, expr, at_least):
        said = self.get("/api/v1/query", query=expr)
        return (said.get("status") == "success" and said["data"]["result"]
                and float(said["data"]["result"][0]["value"][1]) >= at_least)

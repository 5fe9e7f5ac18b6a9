"""The metadata service that the agent gets its tokens from in the tests of the clients, as in the tests
of documents, and what it saw. Used by test_clients.py."""

import manifests
import metadata_upstream


class Upstream(metadata_upstream.Upstream):
    def requests(self, since):
        """All of them are the agent's, or this fails."""
        found = self.log.find(lambda e: e["event"] == "request", since)
        for request in found:
            headers = {k.lower(): v for k, v in request["headers"].items()}
            assert headers.get("user-agent", "").startswith("imdsgate/"), f"reached: {request}"
        return found

    def replies(self, since):
        """The status of each."""
        return [e["status"] for e in self.log.find(lambda e: e["event"] == "reply", since)]


OUTAGE = manifests.Identity("id-outage", "cccccccc-0000-4000-8000-000000000003",
                            "cccccccc-1111-4000-8000-000000000003")

"""Every answer has its audit record, and every record its attempt: both are matched by the request's
id, as they come. Pure, and of bounded size as long as nothing is lost. Used by soak.py."""

KIND_OF_STATUS = {200: ("token.issued",), 400: ("token.denied",)}


class Ledger:
    def __init__(self):
        self.answers = {}    # id -> answer whose record has not come
        self.records = {}    # id -> record whose answer has not come
        self.complaints = []
        self.matched = 0

    def answer(self, answer, uid):
        """What the pod with that uid got; its record, if that is here already. Without an answer
        there may be a record or none."""
        answer = {**answer, "uid": uid}
        if answer["result"] != "ok":
            self.records.pop(answer["id"], None)
        elif answer["id"] in self.records:
            return self._match(answer, self.records.pop(answer["id"]))
        else:
            self.answers[answer["id"]] = answer
        return None

    def record(self, record):
        """One that names a request; returns the answer, if that is here already."""
        number = record["request"]["request_id"]
        if number in self.answers:
            answer = self.answers.pop(number)
            self._match(answer, record)
            return answer
        if number in self.records:
            self.complaints.append(f"two records for {number}")
        else:
            self.records[number] = record
        return None

    def _match(self, answer, record):
        self.matched += 1
        kinds = KIND_OF_STATUS.get(answer["status"], ("token.failed", "token.denied"))
        problems = [what for what, wrong in (
            ("kind", record["kind"] not in kinds),
            ("status", record["request"].get("status") != answer["status"]),
            ("pod", record.get("pod", {}).get("uid", answer["uid"]) != answer["uid"]),
            ("identity", answer["status"] == 200 and
             record.get("identity", {}).get("client_id") != answer["client_id"]),
        ) if wrong]
        if problems:
            self.complaints.append(f"{' and '.join(problems)}: {answer} has the record {record}")
        return record

    def close(self, left, may_lose=0):
        """What is wrong at the end. left: requests whose caller was ended before their answer;
        may_lose: records that ends of the server may have taken with them."""
        complaints = list(self.complaints)
        if len(self.answers) > may_lose:
            complaints.append(f"{len(self.answers)} answers without a record, as "
                              f"{next(iter(self.answers.values()))}")
        if len(self.records) > left:
            complaints.append(f"{len(self.records)} records, but only {left} requests without an "
                              f"answer, as {next(iter(self.records.values()))}")
        return complaints

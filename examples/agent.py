#!/usr/bin/env python3
"""An agent that asks Gatewright for its tool calls, one at a time, over HTTP. Python's standard library only.

    export GATEWRIGHT_KEY=$(gatewright key create --role submitter,actor --workspace default --for support-bot)
    python3 examples/agent.py http://127.0.0.1:8080 runtime.echo '{"say": "hello"}' egress.request '{"target_url": "…"}'

Each tool is called with the input behind it. A line is printed for each call: its output, or why it was not made.
A call that needs approval is asked for again with the approval's id, until somebody has decided.
Exits with 0 when every call succeeded, otherwise with 1.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

PATIENCE_S = 600  # How long a decision is waited for.


class Refused(Exception):
    """Gatewright answered with a problem document."""

    def __init__(self, problem):
        super().__init__(problem.get("detail"))
        self.problem = problem


class Gatewright:
    """One key to the HTTP API at `url`."""

    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/"), key

    def post(self, path, body, **headers):
        """Sends a request; sends it again, under the same key, while it cannot be told whether it arrived."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        for pause_s in (0.2, 1, 5, None):
            try:
                with urllib.request.urlopen(request, timeout=90) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                problem = json.load(error)
                if error.code not in (429, 503, 504) or pause_s is None:
                    raise Refused(problem) from None
            except OSError:
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    def begin(self):
        """Submits a run whose calls come from here, and opens its first step; answers with both ids."""
        run = f"agent-{uuid.uuid4().hex}"
        self.post("/v1/runs", {"run_id": run, "input": {"runtime": {"actor": "external"}}})
        step = self.post(f"/v1/runs/{run}/steps", {"title": "calls"}, Idempotency_Key="step-1")
        return run, step["step_id"]

    def call(self, step, key, tool, value):
        """Asks for one call; answers with its output."""
        path, body = f"/v1/steps/{step}/toolcalls", {"tool": tool, "input": value}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.post(path, body, Prefer="wait=30", Idempotency_Key=key)
            if answer["status"] == "succeeded":
                return answer["output"]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{answer['tool_call_id']} is still {answer['status']}")
            if answer["approval_id"] and "approval_id" not in body:
                print(f"{tool} waits for approval {answer['approval_id']}", file=sys.stderr, flush=True)
                body["approval_id"] = answer["approval_id"]

    def complete(self, run, succeeded):
        """Says that the run is done."""
        return self.post(f"/v1/runs/{run}/complete", {"succeeded": succeeded})


def main(url, *calls):
    gatewright = Gatewright(url, os.environ["GATEWRIGHT_KEY"])
    run, step = gatewright.begin()
    succeeded = True
    for number, (tool, value) in enumerate(zip(calls[::2], calls[1::2]), 1):
        try:
            output = gatewright.call(step, f"call-{number}", tool, json.loads(value))
            line = {"tool": tool, "output": output}
        except Refused as refused:
            succeeded = False
            line = {"tool": tool, "reason_code": refused.problem.get("reason_code"), "detail": str(refused)}
        print(json.dumps(line), flush=True)
    gatewright.complete(run, succeeded)
    return 0 if succeeded else 1


if __name__ == "__main__":
    if len(sys.argv) < 4 or len(sys.argv) % 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

"""A Prefect server on loopback, with its book in a file, and a small worker that runs what the server schedules.

`stop` ends the server's process; the worker goes on, and its reports wait for the server.
"""

import sys
import threading
import time
import urllib.error
from pathlib import Path

from remote import Processes, call, free_port, run_inside, serve, until

if __name__ == "__main__":
    run_inside(["prefect==3.9.1"])

processes = Processes()
port = free_port()
url = f"http://127.0.0.1:{port}/api"
ENVIRONMENT = {
    "PREFECT_HOME": str(processes.folder / "prefect"),
    "PREFECT_API_URL": url,
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
server = {}


def start():
    server["process"] = processes.start(
        Path(sys.prefix) / "bin" / "prefect", "server", "start", "--host", "127.0.0.1", "--port", port,
        environment=ENVIRONMENT,
    )  # fmt: skip
    until("the server", lambda: call(f"{url}/health"))
    return True


def stop():
    processes.end(server.pop("process").pid)
    return True


def runs():
    return call(f"{url}/flow_runs/filter", {"limit": 200})


def books():
    found = until("the runs", lambda: [runs()])[0]
    return [{"key": run["idempotency_key"], "state": run["state"]["type"]} for run in found]


def report(run, **state):
    call(f"{url}/flow_runs/{run['id']}/set_state", {"state": state})


def step(run):
    """One look of the worker at a run."""
    state, given = run["state"]["type"], run["parameters"]
    if state == "CANCELLING":
        report(run, type="CANCELLED", message="the worker was told to stop")
    elif state == "SCHEDULED":
        report(run, type="PENDING")
    elif state == "PENDING":
        report(run, type="RUNNING")
    elif state == "RUNNING" and given["what"] == "fail":
        report(run, type="FAILED", message="ValueError: told to fail")
    elif state == "RUNNING" and given["what"] == "sum":
        report(run, type="COMPLETED", message=str(sum(given["numbers"])))


def work():
    while True:
        try:
            for run in runs():
                step(run)
        except (OSError, ValueError, urllib.error.URLError):
            pass  # the server is away
        time.sleep(0.3)


def main():
    start()
    # A server that has just come up answers 503 while its book is busy; both calls may be repeated.
    flow = until("the flow", lambda: call(f"{url}/flows/", {"name": "example"}))
    schema = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    wanted = {"name": "example", "flow_id": flow["id"], "parameter_openapi_schema": schema}
    deployment = until("the deployment", lambda: call(f"{url}/deployments/", {**wanted, "enforce_parameter_schema": True}))
    threading.Thread(target=work, daemon=True).start()
    commands = {"stop": stop, "start": start, "books": books, "deployment": lambda: deployment["id"]}
    serve(url, commands, processes.end_all)


if __name__ == "__main__":
    try:
        main()
    finally:
        processes.end_all()

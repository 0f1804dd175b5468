"""A Ray cluster of one node on loopback. `stop` ends its dashboard, which has the job API; jobs go on meanwhile."""

import os
import sys
from pathlib import Path

from remote import Processes, call, free_port, run_inside, serve, until

if __name__ == "__main__":
    run_inside(["ray[default]==2.60.0"])

processes = Processes()
port = free_port()
url = f"http://127.0.0.1:{port}"
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DASHBOARD_NO_CACHE": "1"}
dashboard = {}


def jobs():
    return call(f"{url}/api/jobs/")


def find_dashboard():
    for pid in processes.below():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        if any(part.endswith(b"dashboard/dashboard.py") for part in command):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return {
                "pid": pid,
                "command": [part.decode() for part in command],
                "environment": dict(part.decode().split("=", 1) for part in environment if b"=" in part),
            }
    raise RuntimeError("Ray runs no dashboard")


def stop():
    dashboard.update(find_dashboard())
    processes.end(dashboard["pid"])
    return True


def start():
    processes.start(*dashboard["command"], environment=dashboard["environment"])
    until("the job API", lambda: jobs() is not None)
    return True


def books():
    return [{"key": job["submission_id"], "state": job["status"]} for job in jobs()]


def main():
    head = processes.start(
        Path(sys.prefix) / "bin" / "ray", "start", "--head", "--disable-usage-stats",
        "--node-ip-address=127.0.0.1", "--port=0", "--num-cpus=8", "--include-log-monitor=false",
        "--object-store-memory=80000000", f"--temp-dir={processes.folder / 'ray'}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}",
        f"--ray-client-server-port={free_port()}", f"--metrics-export-port={free_port()}",
        environment=ENVIRONMENT,
    )  # fmt: skip
    until("the cluster", lambda: head.poll() is not None)
    if head.returncode != 0:
        sys.exit((processes.folder / "log").read_text())
    until("the job API", lambda: jobs() is not None)
    serve(url, {"stop": stop, "start": start, "books": books}, processes.end_all)


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    try:
        main()
    finally:
        processes.end_all()

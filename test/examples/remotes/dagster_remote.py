"""A Dagster webserver on loopback, with its book in a folder, and the code server that runs its jobs.

`stop` ends the webserver, which has the GraphQL API; runs go on meanwhile.
"""

import sys
from pathlib import Path

from remote import Processes, call, free_port, run_inside, serve, until

if __name__ == "__main__":
    run_inside(["dagster==1.13.28", "dagster-webserver==1.13.28"])

processes = Processes()
port, code_port = free_port(), free_port()
url = f"http://127.0.0.1:{port}/graphql"
home = processes.folder / "home"
ENVIRONMENT = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
SETTINGS = """
telemetry: { enabled: false }
run_coordinator: { module: dagster.core.run_coordinator, class: DefaultRunCoordinator }
"""
BOOKS = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"
server = {}


def ask(query):
    return call(url, {"query": query})["data"]


def is_ready():
    locations = ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    return locations["repositoriesOrError"].get("nodes")


def start():
    server["process"] = processes.start(
        Path(sys.prefix) / "bin" / "dagster-webserver", "-h", "127.0.0.1", "-p", port, "-w", home / "workspace.yaml",
        environment=ENVIRONMENT,
    )  # fmt: skip
    until("the webserver", is_ready)
    return True


def stop():
    processes.end(server.pop("process").pid)
    return True


def books():
    runs = ask(BOOKS)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]
    return [{"key": known["webapi-plugin-host"], "state": run["status"]} for run, known in zip(runs, tags)]


def main():
    home.mkdir()
    (home / "dagster.yaml").write_text(SETTINGS)
    (home / "workspace.yaml").write_text(
        f"load_from: [{{ grpc_server: {{ host: 127.0.0.1, port: {code_port}, location_name: example }} }}]\n"
    )
    processes.start(
        Path(sys.prefix) / "bin" / "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", code_port,
        "-f", Path(__file__).with_name("dagster_jobs.py"), "--location-name", "example",
        environment=ENVIRONMENT,
    )  # fmt: skip
    start()
    serve(url, {"stop": stop, "start": start, "books": books}, processes.end_all)


if __name__ == "__main__":
    try:
        main()
    finally:
        processes.end_all()

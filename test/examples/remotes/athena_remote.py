"""Athena as moto plays it, on loopback. moto starts queries, tells their state and stops them; what AWS does beside that,
and moto does not, is added here: BatchGetQueryExecution, one query a client request token, and queries that fail."""

from remote import free_port, run_inside, serve

if __name__ == "__main__":
    run_inside(["moto[server]==5.2.5"])

import json  # noqa: E402
import logging  # noqa: E402

from moto.athena.models import athena_backends  # noqa: E402
from moto.athena.responses import AthenaResponse  # noqa: E402
from moto.moto_api import state_manager  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

port = free_port()
by_token: dict = {}
start_in_moto = AthenaResponse.start_query_execution
running: dict = {}


def backend():
    return athena_backends["123456789012"]["us-east-1"]


def start_query_execution(self):
    token = self._get_param("ClientRequestToken")
    if token not in by_token:
        answer = start_in_moto(self)
        if isinstance(answer, tuple):
            return answer  # refused
        by_token[token] = json.loads(answer)["QueryExecutionId"]
    return json.dumps({"QueryExecutionId": by_token[token]})


def batch_get_query_execution(self):
    found, missing = [], []
    for query_id in self._get_param("QueryExecutionIds"):
        query = backend().executions.get(query_id)
        if query is None:
            missing.append({"QueryExecutionId": query_id, "ErrorCode": "INVALID_INPUT"})
            continue
        if query.status == "RUNNING" and "no_such_table" in query.query:
            query.status = "FAILED"
        elif query.status in ("QUEUED", "RUNNING") and not (query.status == "RUNNING" and "endless" in query.query):
            query.advance()
        failed = {"StateChangeReason": "TABLE_NOT_FOUND: no_such_table"} if query.status == "FAILED" else {}
        found.append(
            {
                "QueryExecutionId": query_id,
                "Query": query.query,
                "ResultConfiguration": query.config,
                "Status": {"State": query.status, **failed},
            }
        )
    return json.dumps({"QueryExecutions": found, "UnprocessedQueryExecutionIds": missing})


def start():
    running["server"] = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running["server"].start()
    return True


def stop():
    running.pop("server").stop()
    return True


def books():
    tokens = {query_id: token for token, query_id in by_token.items()}
    return [{"key": tokens[query.id], "state": query.status} for query in backend().executions.values()]


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    AthenaResponse.start_query_execution = start_query_execution
    AthenaResponse.batch_get_query_execution = batch_get_query_execution
    state_manager.set_transition(model_name="athena::execution", transition={"progression": "manual", "times": 2})
    start()
    serve(f"http://127.0.0.1:{port}", {"stop": stop, "start": start, "books": books}, lambda: None)


if __name__ == "__main__":
    main()

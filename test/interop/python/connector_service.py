"""Runs flytekit's own connector service with a connector equivalent to ../plugin: the same steering, the same remote.

Usage: connector_service.py --port PORT --remote URL
"""

import argparse
import asyncio
import hashlib
import time
from concurrent import futures
from dataclasses import dataclass

import grpc
import httpx
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flyteidl.core.metrics_pb2 import ExecutionMetricResult
from flyteidl.service.agent_pb2_grpc import (
    add_AgentMetadataServiceServicer_to_server,
    add_AsyncAgentServiceServicer_to_server,
    add_SyncAgentServiceServicer_to_server,
)
from flytekit.extend.backend.base_connector import (
    AsyncConnectorBase,
    ConnectorRegistry,
    Resource,
    ResourceMeta,
    SyncConnectorBase,
)
from flytekit.extend.backend.connector_service import (
    AsyncConnectorService,
    ConnectorMetadataService,
    SyncConnectorService,
)
from flytekit.models.literals import LiteralMap
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_reflection.v1alpha import reflection

REMOTE = ""
client: httpx.AsyncClient | None = None


async def call(method, path, json=None):
    response = await client.request(method, REMOTE + path, json=json)
    if not response.is_success:
        raise RuntimeError(f"the remote answered {response.status_code}: {response.text}")
    return response.json()


def text_output(text):
    value = literals_pb2.Literal(
        scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=text))
    )
    return literals_pb2.LiteralMap(literals={"text": value})


@dataclass
class JobMeta(ResourceMeta):
    id: str
    output_prefix: str


class JobConnector(AsyncConnectorBase):
    def __init__(self, name, task_type, version=0):
        super().__init__(metadata_type=JobMeta, task_type_name=task_type, task_type_version=version)
        self.name = name
        self._echoes = {}
        self._spun = set()

    async def create(self, task_template, output_prefix, inputs=None, task_execution_metadata=None, **kwargs):
        steer = (task_template.custom or {}).get("steer", {})
        raw = inputs.to_flyte_idl().SerializeToString(deterministic=True) if inputs else b""
        container, sql = task_template.container, task_template.sql
        seen = {
            "type": task_template.type,
            "version": task_template.task_type_version,
            "image": container.image if container else None,
            "args": list(container.args) if container else None,
            "command": list(container.command) if container else None,
            "statement": sql.statement if sql else None,
            "inputBytes": len(raw),
            "inputHash": hashlib.sha256(raw).hexdigest(),
            "outputPrefix": output_prefix,
        }
        job = await call("POST", "/jobs", {"label": steer.get("label"), "steer": steer, "seen": seen})
        if steer.get("outputs") == "echo":
            self._echoes[job["id"]] = inputs
        return JobMeta(id=job["id"], output_prefix=output_prefix)

    async def get(self, resource_meta, **kwargs):
        job = await call("GET", f"/jobs/{resource_meta.id}")
        steer = job["steer"]
        if steer.get("spinMs", 0) > 0 and job["id"] not in self._spun:
            self._spun.add(job["id"])
            until = time.monotonic() + steer["spinMs"] / 1000
            while time.monotonic() < until:
                pass
        links = [TaskLog(name="Job log", uri=f"{REMOTE}/jobs/{job['id']}/logs")]
        if job["state"] == "queued":
            return Resource(TaskExecution.QUEUED, message="in the queue of the remote", log_links=links)
        if job["state"] == "running":
            return Resource(TaskExecution.RUNNING, message="running", log_links=links)
        if job["state"] == "succeeded":
            return Resource(TaskExecution.SUCCEEDED, outputs=self._outputs(job, resource_meta), log_links=links)
        message = steer.get("message", "the job failed")
        if job["state"] == "cancelled":
            return Resource(TaskExecution.ABORTED, message=message, log_links=links)
        retryable = steer.get("outcome") in ("retryable", "system")
        phase = TaskExecution.RETRYABLE_FAILED if retryable else TaskExecution.FAILED
        return Resource(phase, message=f"{steer.get('code', 'JobFailed')}: {message}", log_links=links)

    def _outputs(self, job, meta):
        steer = job["steer"]
        kind = steer.get("outputs", "none")
        if kind == "echo":
            return self._echoes[job["id"]]
        if kind == "bytes":
            return LiteralMap.from_flyte_idl(text_output("x" * int(steer["bytes"])))
        if kind == "missing":
            return LiteralMap(literals={})
        if kind == "file":
            from pathlib import Path
            from urllib.parse import urlparse

            target = Path(urlparse(meta.output_prefix).path)
            target.mkdir(parents=True, exist_ok=True)
            (target / "outputs.pb").write_bytes(text_output(f"written by {job['id']}").SerializeToString())
        return None

    async def delete(self, resource_meta, **kwargs):
        await call("DELETE", f"/jobs/{resource_meta.id}")

    async def get_logs(self, resource_meta, **kwargs):
        page = await call("GET", f"/jobs/{resource_meta.id}/logs?from=0&lines=1000")
        return agent_pb2.GetTaskLogsResponse(body=agent_pb2.GetTaskLogsResponseBody(results=page["lines"]))

    async def get_metrics(self, resource_meta, **kwargs):
        data = Struct()
        data.update({"resultType": "matrix", "result": []})
        return agent_pb2.GetTaskMetricsResponse(results=[ExecutionMetricResult(metric="cpu", data=data)])


class RunConnector(SyncConnectorBase):
    name = "interop-sync"

    def __init__(self):
        super().__init__(task_type_name="interop_sync")

    async def do(self, task_template, output_prefix, inputs=None, **kwargs):
        steer = (task_template.custom or {}).get("steer", {})
        message = steer.get("message", "the sync task failed")
        ran = await call("POST", "/run", {"label": steer.get("label"), "steer": steer})
        if steer.get("outcome") == "throw":
            raise ValueError(message)
        if steer.get("outcome") == "permanent":
            return Resource(TaskExecution.FAILED, message=message)
        if steer.get("outcome") == "retryable":
            return Resource(TaskExecution.RETRYABLE_FAILED, message=message)
        return Resource(TaskExecution.SUCCEEDED, outputs={"times": int(ran["times"])})


TYPES = {
    "interop": [
        ("interop_job", 0),
        ("interop_versioned", 2),
        ("python-task", 0),
        ("container", 0),
        ("raw-container", 0),
        ("sql", 0),
    ],
    "interop-other": [("interop_other", 0)],
    "interop-quota": [("interop_quota", 0)],
    "interop-spin": [("interop_spin", 0)],
}


async def serve(port):
    global client
    client = httpx.AsyncClient(timeout=30)
    for name, types in TYPES.items():
        for task_type, version in types:
            ConnectorRegistry.register(JobConnector(name, task_type, version))
    ConnectorRegistry.register(RunConnector())
    # The server as `pyflyte serve connector` makes it: an aio server with a pool of ten threads.
    server = grpc.aio.server(futures.ThreadPoolExecutor(max_workers=10))
    add_AsyncAgentServiceServicer_to_server(AsyncConnectorService(), server)
    add_SyncAgentServiceServicer_to_server(SyncConnectorService(), server)
    add_AgentMetadataServiceServicer_to_server(ConnectorMetadataService(), server)
    health = HealthServicer()
    for service in agent_services():
        health.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*agent_services(), reflection.SERVICE_NAME), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def agent_services():
    from flyteidl.service import agent_pb2 as service_pb2

    return [service.full_name for service in service_pb2.DESCRIPTOR.services_by_name.values()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--remote", required=True)
    arguments = parser.parse_args()
    REMOTE = arguments.remote
    asyncio.run(serve(arguments.port))

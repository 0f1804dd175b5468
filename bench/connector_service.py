"""flytekit's own connector service with a connector that answers at once, for the bench `python`. Prints `ready PORT`."""

import asyncio
from concurrent import futures
from dataclasses import dataclass

import grpc
from flyteidl.core.execution_pb2 import TaskExecution
from flyteidl.service.agent_pb2_grpc import add_AsyncAgentServiceServicer_to_server
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.extend.backend.connector_service import AsyncConnectorService


@dataclass
class Job(ResourceMeta):
    job: str
    cluster: str


class BenchConnector(AsyncConnectorBase):
    name = "bench"

    def __init__(self):
        super().__init__(task_type_name="bench", metadata_type=Job)

    async def create(self, task_template, output_prefix, inputs=None, **kwargs):
        return Job(job="job-000000000000000000", cluster="bench-cluster-0")

    async def get(self, resource_meta, **kwargs):
        return Resource(TaskExecution.RUNNING, message="the job runs on node c12 of the cluster.")

    async def delete(self, resource_meta, **kwargs):
        pass


async def serve():
    ConnectorRegistry.register(BenchConnector())
    # The server as `pyflyte serve connector` makes it: an aio server with a pool of ten threads.
    server = grpc.aio.server(futures.ThreadPoolExecutor(max_workers=10))
    add_AsyncAgentServiceServicer_to_server(AsyncConnectorService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready {port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())

"""A client of the Flyte 1 agent protocol with the stock generated stubs: every RPC, logs in pages, health, reflection."""

import asyncio
import time

import grpc
from flyteidl.admin import agent_pb2 as pb
from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl.service import agent_pb2_grpc
from google.protobuf import timestamp_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from harness import DEADLINE, POLL, Cases, Control, check, main, steer_into

Phase = execution_pb2.TaskExecution
TERMINAL = {Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.RETRYABLE_FAILED}
CASES = Cases()
case = CASES.case


class Env:
    def __init__(self, args):
        self.args = args
        self.control = Control(args.control)
        self.channel = grpc.aio.insecure_channel(args.endpoint.removeprefix("dns:///"))
        self.tasks = agent_pb2_grpc.AsyncAgentServiceStub(self.channel)
        self.sync = agent_pb2_grpc.SyncAgentServiceStub(self.channel)
        self.metadata = agent_pb2_grpc.AgentMetadataServiceStub(self.channel)

    async def close(self):
        await self.channel.close()

    def template(self, fixture, steer):
        template = tasks_pb2.TaskTemplate.FromString((self.args.fixtures / f"{fixture}.template.pb").read_bytes())
        steer_into(template, steer)
        return template

    def inputs(self, fixture):
        return literals_pb2.LiteralMap.FromString((self.args.fixtures / f"{fixture}.inputs.pb").read_bytes())

    def prefix(self, name):
        return f"file://{self.args.data}/{name}/n0/data/0"

    def metadata_of(self, template, name):
        identifier = {"project": "flytesnacks", "domain": "development", "name": name}
        return pb.TaskExecutionMetadata(
            namespace="flytesnacks-development",
            task_execution_id={
                "task_id": template.id,
                "node_execution_id": {"node_id": "n0", "execution_id": identifier},
            },
        )

    async def create(self, name, steer, fixture="job"):
        template = self.template(fixture, {"label": name, **steer})
        request = pb.CreateTaskRequest(
            template=template,
            inputs=self.inputs(fixture),
            output_prefix=self.prefix(name),
            task_execution_metadata=self.metadata_of(template, name),
        )
        return (await self.tasks.CreateTask(request, timeout=DEADLINE)).resource_meta

    async def get(self, meta):
        request = pb.GetTaskRequest(resource_meta=meta, task_type="interop_job", task_category=CATEGORY)
        return (await self.tasks.GetTask(request, timeout=DEADLINE)).resource

    async def until(self, meta, phases, limit=60):
        deadline = time.monotonic() + limit
        while True:
            resource = await self.get(meta)
            if resource.phase in phases:
                return resource
            check(time.monotonic() < deadline, f"still {Phase.Phase.Name(resource.phase)} after {limit} s")
            await asyncio.sleep(POLL)

    async def delete(self, meta):
        await self.tasks.DeleteTask(
            pb.DeleteTaskRequest(resource_meta=meta, task_type="interop_job", task_category=CATEGORY), timeout=DEADLINE
        )


CATEGORY = pb.TaskCategory(name="interop_job", version=0)


async def code_of(call):
    """The status of a call that is expected to fail."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded, expected an error")


@case("create-get-delete")
async def create_get_delete(env, name):
    meta = await env.create(name, {"hold": True})
    check(len(meta) <= 1024, f"the resource meta has {len(meta)} bytes")
    resource = await env.until(meta, {Phase.RUNNING})
    check(resource.state == pb.RUNNING, "the deprecated state is not RUNNING")
    check(len(resource.log_links) == 1, "the first RUNNING answer has no log link")
    await env.delete(meta)
    await env.control.expect_jobs(name, "cancelled")
    await env.delete(meta)
    return f"resource meta of {len(meta)} bytes"


@case("deprecated-state-of-the-end")
async def deprecated_state(env, name):
    good = await env.create(f"{name}-good", {})
    bad = await env.create(f"{name}-bad", {"outcome": "permanent"})
    state = (await env.until(good, TERMINAL)).state
    check(state == pb.SUCCEEDED, f"the deprecated state of a success is {pb.State.Name(state)}")
    state = (await env.until(bad, TERMINAL)).state
    check(state == pb.PERMANENT_FAILURE, f"the deprecated state of a failure is {pb.State.Name(state)}")
    return "SUCCEEDED, PERMANENT_FAILURE"


@case("logs-in-pages")
async def logs_in_pages(env, name):
    meta = await env.create(name, {"logLines": 25})
    await env.until(meta, TERMINAL)
    lines, token, pages = [], "", 0
    while True:
        request = pb.GetTaskLogsRequest(
            resource_meta=meta, task_type="interop_job", task_category=CATEGORY, lines=10, token=token
        )
        async for part in env.tasks.GetTaskLogs(request, timeout=DEADLINE):
            if part.WhichOneof("part") == "header":
                token = part.header.token
            else:
                lines.extend(part.body.results)
        pages += 1
        if not token:
            break
    check(lines == [f"line {i} of {name}" for i in range(25)] and pages == 3, f"{pages} pages, {len(lines)} lines")
    return f"{len(lines)} lines in {pages} pages"


@case("metrics")
async def metrics(env, name):
    meta = await env.create(name, {})
    await env.until(meta, TERMINAL)
    request = pb.GetTaskMetricsRequest(
        resource_meta=meta,
        task_type="interop_job",
        task_category=CATEGORY,
        queries=["cpu"],
        start_time=timestamp_pb2.Timestamp(seconds=1),
    )
    answer = await env.tasks.GetTaskMetrics(request, timeout=DEADLINE)
    check([one.metric for one in answer.results] == ["cpu"], f"the metrics are {list(answer.results)}")
    return answer.results[0].data["resultType"]


def sync_parts(env, name, steer):
    template = env.template("sync", {"label": name, **steer})
    header = pb.CreateRequestHeader(
        template=template, output_prefix=env.prefix(name), task_execution_metadata=env.metadata_of(template, name)
    )
    return pb.ExecuteTaskSyncRequest(header=header), pb.ExecuteTaskSyncRequest(inputs=env.inputs("sync"))


async def execute(env, *parts):
    return [answer async for answer in env.sync.ExecuteTaskSync(iter(parts), timeout=DEADLINE)]


@case("execute-sync")
async def execute_sync(env, name):
    (answer,) = await execute(env, *sync_parts(env, name, {}))
    check(answer.header.resource.phase == Phase.SUCCEEDED, str(answer))
    return f"times = {answer.header.resource.outputs.literals['times'].scalar.primitive.integer}"


@case("execute-sync-error-code")
async def execute_sync_error(env, name):
    (answer,) = await execute(env, *sync_parts(env, name, {"outcome": "permanent", "code": "NoQuota"}))
    check(answer.header.resource.phase == Phase.FAILED, str(answer))
    code = answer.header.resource.agent_error.code
    check(code == "NoQuota", f"the code of the error is {code!r}")
    return code


@case("execute-sync-wrong-order")
async def wrong_order(env, name):
    header, inputs = sync_parts(env, name, {})
    for parts in ((inputs, header), (header, header), (header,)):
        error = await code_of(execute(env, *parts))
        check(error.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{error.code().name}: {error.details()}")
    return error.details()


@case("agents-listed")
async def agents_listed(env, name):
    answer = await env.metadata.ListAgents(pb.ListAgentsRequest(), timeout=3)
    found = {category.name: agent for agent in answer.agents for category in agent.supported_task_categories}
    check({"interop_job", "interop_other", "interop_sync"} <= set(found), str(sorted(found)))
    check(found["interop_sync"].is_sync and not found["interop_job"].is_sync, "is_sync is wrong")
    one = await env.metadata.GetAgent(pb.GetAgentRequest(name="interop-other"), timeout=3)
    check(one.agent.supported_task_categories[0].name == "interop_other", str(one))
    return ", ".join(sorted(found))


@case("agent-unknown")
async def agent_unknown(env, name):
    error = await code_of(env.metadata.GetAgent(pb.GetAgentRequest(name="nobody"), timeout=3))
    check(error.code() == grpc.StatusCode.NOT_FOUND, f"{error.code().name}: {error.details()}")
    return error.details()


@case("resource-meta-damaged")
async def meta_damaged(env, name):
    meta = await env.create(name, {})
    for damaged in (meta[:-3], b"\x00\xff", b""):
        error = await code_of(env.get(damaged))
        check(error.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{error.code().name}: {error.details()}")
    return error.details()


@case("template-missing")
async def template_missing(env, name):
    request = pb.CreateTaskRequest(output_prefix=env.prefix(name))
    error = await code_of(env.tasks.CreateTask(request, timeout=DEADLINE))
    check(error.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{error.code().name}: {error.details()}")
    return error.details()


@case("health")
async def health(env, name):
    stub = health_pb2_grpc.HealthStub(env.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    services = ("", "flyteidl.service.AsyncAgentService")
    for service in services:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=3)
        check(answer.status == serving, f"{service or 'overall'} is {answer.status}")
    error = await code_of(stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=3))
    check(error.code() == grpc.StatusCode.NOT_FOUND, error.code().name)
    return "overall and by service"


@case("reflection")
async def reflection(env, name):
    stub = reflection_pb2_grpc.ServerReflectionStub(env.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = [one async for one in stub.ServerReflectionInfo(iter((request,)), timeout=5)]
    services = {service.name for service in answer.list_services_response.service}
    wanted = {f"flyteidl.service.{one}" for one in ("AsyncAgentService", "SyncAgentService", "AgentMetadataService")}
    check(wanted <= services, f"listed are {sorted(services)}")
    for symbol in sorted(wanted):
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
        (answer,) = [one async for one in stub.ServerReflectionInfo(iter((request,)), timeout=5)]
        check(len(answer.file_descriptor_response.file_descriptor_proto) > 0, f"no file for {symbol}")
    return ", ".join(sorted(services))


@case("moved-to-the-daemon", asked=True)
async def moved(env, name):
    """The service behind the address is exchanged while two tasks run; one goes on, one is deleted."""
    kept = await env.create(name, {"hold": True})
    dropped = await env.create(f"{name}-dropped", {"hold": True})
    for meta in (kept, dropped):
        await env.until(meta, {Phase.RUNNING})
    await env.control.call("swap", {})
    for attempt in range(20):
        try:
            await env.delete(dropped)
            break
        except grpc.aio.AioRpcError as error:
            check(error.code() == grpc.StatusCode.UNAVAILABLE and attempt < 19, f"{error.code()}: {error.details()}")
            await asyncio.sleep(1)
    await env.control.expect_jobs(f"{name}-dropped", "cancelled")
    resource = await env.get(kept)
    check(resource.phase == Phase.RUNNING, f"a running task is {Phase.Phase.Name(resource.phase)} after the move")
    await env.control.release(name)
    resource = await env.until(kept, TERMINAL)
    check(resource.phase == Phase.SUCCEEDED, f"{Phase.Phase.Name(resource.phase)}: {resource.message}")
    await env.control.expect_jobs(name, "succeeded")
    return "one job went on, one was cancelled; nothing was created again"


async def make_env(args):
    return Env(args)


if __name__ == "__main__":
    main(CASES, make_env, __doc__)

"""A client of the Flyte 2 connector protocol with the stock generated stubs, in the rounds of the Flyte 2 engine.

This is not the engine's own code. What the engine does to a service is done from the
outside: CreateTask with a limit of 10 s and no second try, GetTask until the phase is terminal (the sixth failed one
ends the polling), outputs written from the answer or taken from the output prefix, DeleteTask on abort and again when
the finished action is collected.
"""

import asyncio
import os
import time
from urllib.parse import urlparse

import grpc
from flyteidl2.connector import connector_pb2 as pb
from flyteidl2.connector import service_pb2_grpc
from flyteidl2.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl2.task import common_pb2
from harness import DEADLINE, POLL, Cases, Control, check, main, steer_into

Phase = execution_pb2.TaskExecution
TERMINAL = {Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.RETRYABLE_FAILED}
CASES = Cases()
case = CASES.case


class Env:
    def __init__(self, args):
        self.args = args
        self.control = Control(args.control)
        self.channel = grpc.aio.insecure_channel(
            args.endpoint.removeprefix("dns:///"),
            # The engine's client accepts 4 MiB an answer; it bounds nothing that it sends.
            options=[("grpc.max_send_message_length", -1), ("grpc.max_reconnect_backoff_ms", 1000)],
        )
        self.tasks = service_pb2_grpc.AsyncConnectorServiceStub(self.channel)
        self.metadata = service_pb2_grpc.ConnectorMetadataServiceStub(self.channel)

    async def close(self):
        await self.channel.close()

    def task(self, execution, steer, **more):
        return Action(self, execution, steer, **more)

    async def run_one(self, execution, steer, limit=60, **more):
        action = self.task(execution, steer, **more)
        await action.run(limit)
        return action



class Action:
    """One attempt of one action, with what the engine keeps of it."""

    def __init__(self, env, execution, steer, fixture="job", task_type="interop_job", version=0, node="a0", attempt=1,
                 outputs=None, inputs=None, connection=None):
        self.env = env
        self.template = tasks_pb2.TaskTemplate.FromString(self._fixture(fixture, "template"))
        self.inputs = inputs or common_pb2.Inputs.FromString(self._fixture(fixture, "inputs"))
        if task_type:
            self.template.type = task_type
        self.template.task_type_version = version
        if outputs is not None:
            variables = self.template.interface.outputs.variables
            del variables[:]
            for name in outputs:
                variables.add(key=name)
        steer_into(self.template, steer)
        self.prefix = f"file://{env.args.data}/{execution}/{node}/{attempt}"
        self.node, self.attempt, self.execution, self.connection = node, attempt, execution, connection
        self.meta, self.resource, self.error = None, None, None
        self.failures, self.seen, self.links = 0, [], 0

    def _fixture(self, name, kind):
        return (self.env.args.fixtures / f"{name}.{kind}.pb").read_bytes()

    @property
    def category(self):
        return pb.TaskCategory(name=self.template.type, version=self.template.task_type_version)

    def _metadata(self):
        identifier = {"project": "flytesnacks", "domain": "development", "name": self.execution}
        return pb.TaskExecutionMetadata(
            namespace="flytesnacks-development",
            labels={"team": "interop"},
            task_execution_id={
                "task_id": self.template.id,
                "node_execution_id": {"node_id": self.node, "execution_id": identifier},
                "retry_attempt": self.attempt,
            },
        )

    async def create(self):
        """An error ends the attempt, whatever its code; the engine has no meta then."""
        request = pb.CreateTaskRequest(
            template=self.template,
            inputs=self.inputs,
            output_prefix=self.prefix,
            task_execution_metadata=self._metadata(),
            connection=self.connection,
        )
        try:
            self.meta = (await self.env.tasks.CreateTask(request, timeout=DEADLINE)).resource_meta
        except grpc.aio.AioRpcError as error:
            self.error = error
        return self.meta

    async def poll(self):
        request = pb.GetTaskRequest(
            resource_meta=self.meta, task_category=self.category, output_prefix=self.prefix, connection=self.connection
        )
        try:
            self.resource = (await self.env.tasks.GetTask(request, timeout=DEADLINE)).resource
        except grpc.aio.AioRpcError as error:
            self.failures += 1
            check(self.failures < 6, f"the engine gave up after six failed GetTask, the last one {error.details()}")
            return
        check(self.resource.phase != Phase.UNDEFINED, "UNDEFINED was answered, a system error to the engine")
        name = Phase.Phase.Name(self.resource.phase)
        if not self.seen or self.seen[-1] != name:
            self.seen.append(name)
        if name == "RUNNING":
            self.links = max(self.links, len(self.resource.log_links))
        if self.resource.phase == Phase.SUCCEEDED:
            self._write_outputs()

    def _write_outputs(self):
        if self.resource.HasField("outputs"):
            path = self._outputs_path()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.resource.outputs.SerializeToString())

    def _outputs_path(self):
        from pathlib import Path

        return Path(urlparse(self.prefix).path) / "outputs.pb"

    def outputs(self):
        found = common_pb2.Outputs.FromString(self._outputs_path().read_bytes())
        return {named.name: named.value for named in found.literals}

    @property
    def over(self):
        return self.error is not None or (self.resource is not None and self.resource.phase in TERMINAL)

    @property
    def phase(self):
        return None if self.resource is None else Phase.Phase.Name(self.resource.phase)

    async def until(self, done, limit=60):
        if self.meta is None:
            await self.create()
        deadline = time.monotonic() + limit
        while self.error is None:
            await self.poll()
            if done():
                return
            check(not self.over, f"ended as {self.phase}: {self.message}")
            check(time.monotonic() < deadline, f"not reached in {limit} s; seen {self.seen}; {self.message}")
            await asyncio.sleep(POLL)
        raise AssertionError(f"CreateTask failed: {self.error.code().name} {self.error.details()}")

    async def run(self, limit=60):
        await self.until(lambda: self.over, limit)

    async def delete(self):
        request = pb.DeleteTaskRequest(resource_meta=self.meta, task_category=self.category, connection=self.connection)
        await self.env.tasks.DeleteTask(request, timeout=DEADLINE)

    @property
    def message(self):
        return "" if self.resource is None else self.resource.message

    def expect(self, phase):
        check(self.phase == phase, f"expected {phase}, got {self.phase} ({self.message}); seen {self.seen}")
        return self


def running(action):
    return lambda: action.phase == "RUNNING"


@case("phases-seen")
async def phases_seen(env, name):
    action = await env.run_one(name, {"label": name, "queueMs": 3000, "runMs": 6000}, outputs=[])
    action.expect("SUCCEEDED")
    check("RUNNING" in action.seen and action.links > 0, f"seen {action.seen}, {action.links} log links")
    return " ".join(action.seen)


def failure(outcome, phase, *parts):
    async def run(env, name):
        message = f"disk full on node 7: {outcome}"
        steer = {"label": name, "outcome": outcome, "message": message, "code": "DiskFull"}
        action = (await env.run_one(name, steer)).expect(phase)
        for part in (message, *parts):
            check(part in action.message, f"the message lacks {part!r}: {action.message}")
        return action.message

    return run


case("failure-permanent")(failure("permanent", "FAILED", "DiskFull"))
case("failure-retryable")(failure("retryable", "RETRYABLE_FAILED", "DiskFull"))
case("failure-system")(failure("system", "RETRYABLE_FAILED", "DiskFull", "SYSTEM"))
case("aborted-at-remote")(failure("aborted", "FAILED"))


def polled_after_delete(outcome, phase):
    async def run(env, name):
        steer = {"label": name, "outcome": outcome, "message": "disk full on node 7", "code": "DiskFull"}
        action = (await env.run_one(name, steer, outputs=[])).expect(phase)
        told = action.message
        for _ in range(2):
            await action.delete()
            await action.poll()
            action.expect(phase)
            check(action.message == told, f"after the delete it says {action.message!r}, before it said {told!r}")
        following = await env.run_one(name, {"label": name}, attempt=2, outputs=[])
        following.expect("SUCCEEDED")
        return f"{phase} before and after the delete; the next attempt ran"

    return run


# The engine deletes an attempt that failed before it writes that down, and asks again when the write fails.
case("failure-deleted-then-polled")(polled_after_delete("retryable", "RETRYABLE_FAILED"))
case("permanent-deleted-then-polled")(polled_after_delete("permanent", "FAILED"))
case("success-deleted-then-polled")(polled_after_delete("success", "SUCCEEDED"))


@case("create-refused")
async def create_refused(env, name):
    action = await env.run_one(name, {"label": name, "refuse": 400, "message": "no such cluster"})
    check("no such cluster" in action.expect("FAILED").message, action.message)
    return action.message


@case("create-transient")
async def create_transient(env, name):
    action = await env.run_one(name, {"label": name, "refuse": 503, "refuseTimes": 2}, outputs=[])
    action.expect("SUCCEEDED")
    await env.control.expect_count(name, 1)
    return "two refused creates, then one job"


@case("create-slow")
async def create_slow(env, name):
    action = env.task(name, {"label": name, "createMs": 12000}, outputs=[])
    await action.run(90)
    action.expect("SUCCEEDED")
    await env.control.expect_count(name, 1)
    return "the remote took 12 s to create; one job"


@case("abort-running")
async def abort_running(env, name):
    action = env.task(name, {"label": name, "hold": True})
    await action.until(running(action))
    await action.delete()
    await env.control.expect_jobs(name, "cancelled")
    return "the job was cancelled at the remote"


@case("abort-after-end")
async def abort_after_end(env, name):
    action = await env.run_one(name, {"label": name}, outputs=[])
    await action.delete()
    await action.delete()
    (job,) = await env.control.expect_jobs(name, "succeeded")
    check(job["deletes"] == 0, f"the remote was asked {job['deletes']} times to delete a finished job")
    return "collected twice; the remote was not asked"


QUOTA = asyncio.Lock()


async def hold_quota(env, name):
    first = env.task(f"{name}-a", {"label": f"{name}-a", "hold": True}, task_type="interop_quota", outputs=[])
    await first.until(running(first))
    second = env.task(f"{name}-b", {"label": f"{name}-b"}, task_type="interop_quota", outputs=[])
    await second.until(lambda: second.phase == "WAITING_FOR_RESOURCES")
    return first, second


@case("quota-wait")
async def quota_wait(env, name):
    async with QUOTA:
        _, second = await hold_quota(env, name)
        reason, until = second.message, time.monotonic() + DEADLINE + 5
        while time.monotonic() < until:
            await second.poll()
            check(not second.over, f"a task without quota ended as {second.phase}: {second.message}")
            await asyncio.sleep(POLL)
        await env.control.expect_count(f"{name}-b", 0)
        await env.control.release(f"{name}-a")
        await second.run()
        second.expect("SUCCEEDED")
        return reason


@case("abort-waiting")
async def abort_waiting(env, name):
    async with QUOTA:
        first, second = await hold_quota(env, name)
        await second.delete()
        await env.control.release(f"{name}-a")
        await first.run()
        first.expect("SUCCEEDED")
        await env.control.expect_count(f"{name}-b", 0)
        return "no job was made"


def routed(task_type, version):
    async def run(env, name):
        action = await env.run_one(name, {"label": name}, task_type=task_type, version=version, outputs=[])
        action.expect("SUCCEEDED")
        (job,) = await env.control.expect_count(name, 1)
        check(job["seen"]["type"] == task_type and job["seen"]["version"] == version, str(job["seen"]))
        return f"{task_type} version {version}"

    return run


case("two-plugins")(routed("interop_other", 0))
case("task-type-version")(routed("interop_versioned", 2))


@case("unknown-type")
async def unknown_type(env, name):
    action = env.task(name, {"label": name}, task_type="interop_nobody")
    await action.create()
    check(action.error is not None, "an unknown type was accepted")
    check(action.error.code() == grpc.StatusCode.NOT_FOUND, str(action.error.code()))
    check("interop_nobody" in action.error.details(), action.error.details())
    return action.error.details()


@case("sync-type-as-async")
async def sync_as_async(env, name):
    action = await env.run_one(name, {"label": name}, task_type="interop_sync", outputs=["times"])
    action.expect("SUCCEEDED")
    check(action.outputs()["times"].scalar.primitive.integer == 1, str(action.outputs()))
    return "a sync plugin's task ran in the background"


@case("two-attempts-two-prefixes")
async def two_prefixes(env, name):
    actions = [env.task(name, {"label": name, "outputs": "file"}, node=node, outputs=["text"]) for node in ("a1", "a2")]
    await asyncio.gather(*(action.run() for action in actions))
    texts = {action.expect("SUCCEEDED").outputs()["text"].scalar.primitive.string_value for action in actions}
    await env.control.expect_count(name, 2)
    check(len(texts) == 2, f"both got the same outputs: {texts}")
    return "two jobs, each with its own outputs"


@case("retry-attempts")
async def retry_attempts(env, name):
    for attempt, outcome in enumerate(("retryable", "retryable", "success"), 1):
        action = await env.run_one(name, {"label": name, "outcome": outcome}, attempt=attempt, outputs=[])
        action.expect("SUCCEEDED" if outcome == "success" else "RETRYABLE_FAILED")
    await env.control.expect_count(name, 3)
    return "three attempts, three jobs"


@case("same-attempt-twice")
async def same_attempt_twice(env, name):
    first, second = (env.task(name, {"label": name}, outputs=[]) for _ in range(2))
    check(await first.create() == await second.create(), "the repeated create answered another resource meta")
    await second.run()
    second.expect("SUCCEEDED")
    await env.control.expect_count(name, 1)
    return "the same resource meta twice, one job"


@case("same-attempt-after-delete")
async def same_attempt_after_delete(env, name):
    old, new = (env.task(name, {"label": name, "hold": True}, outputs=[]) for _ in range(2))
    await old.until(running(old))
    await old.delete()
    await env.control.expect_jobs(name, "cancelled")
    await new.until(running(new))
    await old.delete()
    await env.control.expect_jobs(name, "cancelled", "running")
    await env.control.release(name)
    await new.run()
    new.expect("SUCCEEDED")
    return "a second job ran; the late delete touched nothing"


@case("sdk-task")
async def sdk_task(env, name):
    steer = {"label": name, "outputs": "echo"}
    action = env.task(name, steer, task_type=None)
    del action.template.interface.outputs.variables[:]
    for named in action.inputs.literals:
        action.template.interface.outputs.variables.add(key=named.name)
    await action.run()
    action.expect("SUCCEEDED")
    given = {named.name: named.value for named in action.inputs.literals}
    check(action.outputs() == given, f"expected {given}, got {action.outputs()}")
    return f"{len(given)} outputs equal to the inputs"


@case("sdk-raw-container")
async def sdk_raw_container(env, name):
    action = await env.run_one(name, {"label": name, "outputs": "file"}, fixture="raw-container", task_type=None)
    action.expect("SUCCEEDED")
    (job,) = await env.control.expect_count(name, 1)
    check(job["seen"]["image"] == "docker.io/library/busybox:1", str(job["seen"]))
    return " ".join(job["seen"]["args"])


@case("outputs-file-based")
async def file_based(env, name):
    action = await env.run_one(name, {"label": name, "outputs": "file"}, outputs=["text"])
    action.expect("SUCCEEDED")
    check(not action.resource.HasField("outputs"), "outputs are set, which overwrites the file")
    (job,) = await env.control.expect_count(name, 1)
    check(action.outputs()["text"].scalar.primitive.string_value == f"written by {job['id']}", str(action.outputs()))
    return "the file the job wrote is untouched"


@case("outputs-missing")
async def outputs_missing(env, name):
    action = await env.run_one(name, {"label": name, "outputs": "missing"}, outputs=["text"])
    check("text" in action.expect("FAILED").message, action.message)
    return action.message


def large_outputs(size):
    async def run(env, name):
        steer = {"label": name, "outputs": "bytes", "bytes": size}
        action = (await env.run_one(name, steer, outputs=["text"])).expect("SUCCEEDED")
        got = len(action.outputs()["text"].scalar.primitive.string_value)
        check(got == size, f"expected {size} characters, got {got}")
        return f"{size} bytes"

    return run


case("outputs-3.9-MiB")(large_outputs(39 * 1024 * 1024 // 10))
case("outputs-5-MiB")(large_outputs(5 * 1024 * 1024))


@case("inputs-6-MiB")
async def large_inputs(env, name):
    text = literals_pb2.Literal(scalar={"primitive": {"string_value": "y" * (6 * 1024 * 1024)}})
    inputs = common_pb2.Inputs(literals=[common_pb2.NamedLiteral(name="a", value=text)])
    (await env.run_one(name, {"label": name}, inputs=inputs, outputs=[])).expect("SUCCEEDED")
    (job,) = await env.control.expect_count(name, 1)
    check(job["seen"]["inputBytes"] == inputs.ByteSize(), str(job["seen"]["inputBytes"]))
    return f"{inputs.ByteSize()} bytes"


@case("connection")
async def connection(env, name):
    from flyteidl2.core import security_pb2

    given = security_pb2.Connection(task_type="interop_job", secrets={"token": os.environ.get("CONNECTION_SECRET", "s3cret")}, configs={"region": "eu"})
    (await env.run_one(name, {"label": name}, connection=given, outputs=[])).expect("SUCCEEDED")
    (job,) = await env.control.expect_count(name, 1)
    check(job["seen"]["secrets"] == ["token"] and job["seen"]["configs"] == {"region": "eu"}, str(job["seen"]))
    return "names of secrets and configs reached the plugin"


@case("connectors-listed")
async def connectors_listed(env, name):
    answer = await env.metadata.ListConnectors(pb.ListConnectorsRequest(), timeout=3)
    found = {category.name for one in answer.connectors for category in one.supported_task_categories}
    check({"interop_job", "interop_other", "interop_sync"} <= found, str(found))
    one = await env.metadata.GetConnector(pb.GetConnectorRequest(name="interop-other"), timeout=3)
    check(one.connector.supported_task_categories[0].name == "interop_other", str(one))
    return ", ".join(sorted(found))


@case("logs-in-pages")
async def logs_in_pages(env, name):
    action = await env.run_one(name, {"label": name, "logLines": 25}, outputs=[])
    lines, token, pages = [], "", 0
    while True:
        request = pb.GetTaskLogsRequest(resource_meta=action.meta, task_category=action.category, lines=10, token=token)
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


@case("plugin-spins", serial=True)
async def plugin_spins(env, name):
    action = env.task(name, {"label": name, "spinMs": 15000, "runMs": 1000}, task_type="interop_spin", outputs=[])
    await action.create()
    slowest, until = 0.0, time.monotonic() + 12
    while time.monotonic() < until:
        started = time.monotonic()
        await env.metadata.ListConnectors(pb.ListConnectorsRequest(), timeout=3)
        await action.poll()
        slowest = max(slowest, time.monotonic() - started)
        await asyncio.sleep(POLL)
    check(action.failures == 0, f"{action.failures} failed GetTask")
    label = f"{name}-other"
    (await env.run_one(label, {"label": label}, limit=30, task_type="interop_other", outputs=[])).expect("SUCCEEDED")
    await action.run(90)
    action.expect("SUCCEEDED")
    return f"slowest round {slowest * 1000:.0f} ms"


def remote_fault(mode, seconds):
    async def run(env, name):
        action = env.task(name, {"label": name, "hold": True}, outputs=[])
        await action.until(running(action))
        await env.control.fault(mode)
        try:
            late = env.task(name, {"label": f"{name}-late"}, node="a1", outputs=[])
            await late.create()
            check(late.error is None, f"CreateTask failed while the remote was bad: {late.error}")
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for one in (action, late):
                    await one.poll()
                    check(not one.over, f"ended as {one.phase} while the remote was bad: {one.message}")
                await asyncio.sleep(POLL)
        finally:
            await env.control.fault("ok")
        await env.control.release(name)
        for one in (action, late):
            await one.run(90)
            one.expect("SUCCEEDED")
        await env.control.expect_count(name, 1)
        check(action.failures + late.failures == 0, f"{action.failures + late.failures} failed GetTask")
        return f"{mode} for {seconds} s, both tasks succeeded"

    return run


case("remote-throttles", serial=True)(remote_fault("throttle", 10))
case("remote-unavailable", serial=True)(remote_fault("unavailable", 10))
case("remote-down", serial=True)(remote_fault("down", 30))


@case("service-killed", serial=True)
async def service_killed(env, name):
    action = env.task(name, {"label": name, "hold": True}, outputs=[])
    gone = env.task(name, {"label": f"{name}-abort", "hold": True}, node="a1", outputs=[])
    for one in (action, gone):
        await one.until(running(one))
    await env.control.restart_service()
    for _ in range(30):
        try:
            await gone.delete()
            break
        except grpc.aio.AioRpcError as error:
            check(error.code() == grpc.StatusCode.UNAVAILABLE, f"delete: {error.code()} {error.details()}")
            await asyncio.sleep(1)
    await env.control.expect_jobs(f"{name}-abort", "cancelled")
    await action.poll()
    check(action.phase == "RUNNING", f"a running task was reported as {action.phase} after the restart")
    await env.control.release(name)
    await action.run()
    action.expect("SUCCEEDED")
    (job,) = await env.control.expect_jobs(name, "succeeded")
    check(job["deletes"] == 0, "the job was deleted")
    return "taken up from the resource meta, one job; the other one cancelled"


async def reachable(call):
    """What an engine does while the service is away: it comes back to the call."""
    for _ in range(30):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            check(error.code() == grpc.StatusCode.UNAVAILABLE, f"{error.code()} {error.details()}")
            await asyncio.sleep(1)
    raise AssertionError("the service did not come back")


@case("failure-deleted-after-kill", serial=True)
async def deleted_after_kill(env, name):
    steer = {"label": name, "outcome": "retryable", "message": "disk full on node 7", "code": "DiskFull"}
    action = (await env.run_one(name, steer, outputs=[])).expect("RETRYABLE_FAILED")
    await env.control.restart_service()
    await reachable(action.delete)
    await action.poll()
    check("disk full on node 7" in action.expect("RETRYABLE_FAILED").message, action.message)
    return action.message


@case("create-repeated-after-kill", serial=True)
async def repeated_after_kill(env, name):
    first, again = (env.task(name, {"label": name}, outputs=[]) for _ in range(2))
    await first.run()
    await env.control.restart_service()

    async def create():
        again.error = None
        if await again.create() is None:
            raise again.error

    await reachable(create)
    await again.run()
    again.expect("SUCCEEDED")
    await env.control.expect_count(name, 1)
    return "the job had ended when its create was repeated; it ran once"


@case("killed-at-every-stage", serial=True)
async def killed_at_every_stage(env, name):
    """One task accepted, one being created, one live, one over and one being deleted when the service is killed."""

    def task(stage, **steer):
        return env.task(name, {"label": f"{name}-{stage}", **steer}, node=f"a-{stage}", outputs=[])

    async with QUOTA:
        holder, accepted = await hold_quota(env, name)
        live, over, gone = (task(stage, hold=True) for stage in ("live", "over", "gone"))
        for one in (live, over, gone):
            await one.until(running(one))
        creating = task("creating", createMs=15000)
        await creating.create()
        check(creating.error is None, f"CreateTask failed: {creating.error}")
        await env.control.expect_count(f"{name}-creating", 1)
        await env.control.release(f"{name}-over")
        await over.run()
        await env.control.fault("unavailable")
        try:
            await gone.delete()
            await env.control.restart_service(empty=False)
        finally:
            await env.control.fault("ok")
        before = len(over.seen)
        await over.poll()
        over.expect("SUCCEEDED")
        check(len(over.seen) == before, f"an end that was told reads otherwise: {over.seen}")
        await live.poll()
        check(live.phase == "RUNNING", f"a running task was reported as {live.phase} after the restart")
        await env.control.expect_jobs(f"{name}-gone", "cancelled")
        await env.control.expect_count(f"{name}-b", 0)
        for stage in ("live", "a"):
            await env.control.release(f"{name}-{stage}")
        for one in (live, holder, accepted, creating):
            await one.run(120)
            one.expect("SUCCEEDED")
        for stage in ("a", "b", "live", "over", "creating"):
            (job,) = await env.control.expect_jobs(f"{name}-{stage}", "succeeded")
            check(job["deletes"] == 0, f"the job of {stage} was deleted")
    return "accepted, creating, live, over, deleting: one job each, and the deleted one cancelled"


@case("three-hundred", serial=True)
async def three_hundred(env, name):
    started = time.monotonic()
    actions = [
        env.task(name, {"label": name, "runMs": 3000 + i * 20}, node=f"a{i}", outputs=[]) for i in range(300)
    ]
    await asyncio.gather(*(action.run(180) for action in actions))
    for action in actions:
        action.expect("SUCCEEDED")
    await env.control.expect_count(name, 300)
    return f"300 tasks in {time.monotonic() - started:.0f} s"


async def make_env(args):
    return Env(args)


if __name__ == "__main__":
    main(CASES, make_env, __doc__)

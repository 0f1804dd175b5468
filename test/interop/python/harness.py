"""What the Python clients share: the remote's control, the running of cases, and their result lines."""

import argparse
import asyncio
import json
import sys
import time
import traceback
import urllib.parse
import urllib.request
from pathlib import Path

POLL = 0.5
DEADLINE = 10


class Control:
    """The control port of the interop remote."""

    def __init__(self, base):
        self._base = base

    def _call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}/{path}", data=data)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    async def call(self, path, body=None):
        return await asyncio.to_thread(self._call, path, body)

    async def jobs(self, label):
        return (await self.call(f"jobs?label={urllib.parse.quote(label)}"))["jobs"]

    async def expect_jobs(self, label, *states):
        """The jobs of the label, once they are in these states; fails when they are not within 20 s."""
        deadline = time.monotonic() + 20
        while True:
            jobs = await self.jobs(label)
            seen = [job["state"] for job in jobs]
            if seen == list(states):
                return jobs
            check(time.monotonic() < deadline, f"expected jobs {list(states)}, got {seen}")
            await asyncio.sleep(0.2)

    async def expect_count(self, label, count):
        jobs = await self.jobs(label)
        check(len(jobs) == count, f"expected {count} jobs at the remote, got {len(jobs)}")
        return jobs

    async def release(self, label):
        await self.call("release", {"label": label})

    async def fault(self, mode):
        await self.call("fault", {"mode": mode})

    async def restart_service(self, empty=True):
        """Killed and started again, by default with nothing of what it kept."""
        await self.call("restart", {"empty": empty})


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def steer_into(template, steer):
    """Puts the steering into the template's custom field."""
    if not template.HasField("custom"):
        template.custom.SetInParent()
    template.custom.fields["steer"].struct_value.update(steer)


class Cases:
    """Cases by name, in the order of their definition; serial ones disturb the others."""

    def __init__(self):
        self._cases = []

    def case(self, name, serial=False, asked=False):
        """`asked` ones run only where they are named."""

        def add(function):
            self._cases.append((name, serial, asked, function))
            return function

        return add

    def choose(self, names):
        wanted = names.split(",") if names else None
        chosen = [case for case in self._cases if (not case[2] if wanted is None else case[0] in wanted)]
        return [(name, serial, function) for name, serial, _, function in chosen]


async def run_one(name, function, env):
    started = time.monotonic()
    try:
        detail = await asyncio.wait_for(function(env, f"{name}-{env.run}"), 240)
        result = {"case": name, "ok": True, "detail": detail or ""}
    except Exception as error:  # noqa: BLE001  a failed case is a result
        if not isinstance(error, AssertionError):
            traceback.print_exc(limit=4, file=sys.stderr)
        text = str(error) or type(error).__name__
        result = {"case": name, "ok": False, "detail": text}
    result["ms"] = int((time.monotonic() - started) * 1000)
    print(json.dumps(result), flush=True)
    return result["ok"]


async def run_cases(cases, env, names):
    chosen = cases.choose(names)
    together = [run_one(name, function, env) for name, serial, function in chosen if not serial]
    results = list(await asyncio.gather(*together))
    for name, serial, function in chosen:
        if serial:
            results.append(await run_one(name, function, env))
    return all(results)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--fixtures", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", default="")
    return parser.parse_args()


def main(cases, make_env, description):
    args = arguments(description)

    async def run():
        env = await make_env(args)
        env.run = f"{int(time.time() * 1000):x}"
        try:
            return await run_cases(cases, env, args.cases)
        finally:
            await env.close()

    sys.exit(0 if asyncio.run(run()) else 1)

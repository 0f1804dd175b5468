"""What the remotes of this folder share: how the suite talks to them, and that nothing outlives them.

A remote prints `listening URL`, then answers one JSON line to each line on standard input: `stop` and `start` take its API
away and bring it back, `books` tells what the remote itself knows. It ends when standard input closes.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts" / "fixtures"))

from own_venv import run_inside  # noqa: E402, F401

PATIENCE_S = 120
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(url: str, body=None, timeout: float = 10):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def until(what: str, look):
    """Looks until it answers something; an error of the connection counts as nothing."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            seen = look()
            if seen:
                return seen
        except (OSError, ValueError, urllib.error.URLError):
            pass
        time.sleep(0.2)
    raise TimeoutError(f"waited {PATIENCE_S} s in vain for {what}")


class Processes:
    """Child processes with one log; `end_all` also reaches those that made themselves daemons."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="example-remote-"))
        self.log = open(self.folder / "log", "wb")
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)

    def start(self, *command, environment=None, cwd=None):
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=cwd or self.folder,
            env={**os.environ, **(environment or {})},
        )

    def end(self, pid: int) -> None:
        """In order, and by force when that takes long."""
        for number, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            end = time.monotonic() + patience
            while time.monotonic() < end:
                reap()
                if not Path(f"/proc/{pid}").exists():
                    return
                time.sleep(0.1)

    def below(self):
        """Process ids of all descendants."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError, ValueError):
                    continue
        found, level = [], [os.getpid()]
        while level:
            level = [pid for pid, parent in parents.items() if parent in level]
            found += level
        return found

    def end_all(self) -> None:
        for _ in range(20):
            pids = self.below()
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.2)
            reap()


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(url: str, commands, end) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(f"listening {url}", flush=True)
        for line in sys.stdin:
            print(json.dumps(commands[line.strip()]()), flush=True)
    finally:
        end()

"""A real service that can be killed, and commands run as processes, with pipes or a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

# It ends with its standard input, so that it can't outlive a test run that is killed.
SERVICE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from httpbin import app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
"""
PATIENCE = 20.0


def until(condition, what):
    """Wait until `condition()` is true, and return what it returned."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {PATIENCE:g} s: {what() if callable(what) else what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Service:
    """httpbin in a process of its own, on one port, to be killed and started again."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.answers, "the service is up")

    def answers(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{self.url}/status/200", timeout=2) as response:
                return response.status == 200
        return False

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def http_table(name, url, **settings):
    """Return the TOML of an HTTP provider."""
    lines = {"type": "sdk", "driver": "http", "version": "1", "api_endpoint": url, **settings}
    return f"[providers.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in lines.items())


def _toml(value):
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def environment(**more):
    return {**os.environ, "COLUMNS": "80", **more}


def start(*arguments, cwd, env=None, **options):
    """Start a command as a process in a session of its own, output and errors in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "aioproviders", *arguments],
        cwd=cwd,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def session_members(pid):
    """Return the living processes of the session that `pid` leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[3]) == pid and stat[0] != "Z":
                    found.append(int(entry.name))
    return found


class Terminal:
    """A command on a pseudo-terminal of 80 columns."""

    def __init__(self, *arguments, cwd, rows=24, program=("-m", "aioproviders")):
        self.raw = self.output = ""
        self._forgotten = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=cwd,
            env={**env, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read(self):
        """Take in what there is; False at the end."""
        if select.select([self._master], [], [], 0.05)[0]:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:
                return False
            self.raw += chunk.decode(errors="replace")
            self.output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)[self._forgotten :]
            return bool(chunk)
        return True

    def wait_for(self, pattern):
        """Read until `pattern` has come since the last match; returns and forgets what came before."""

        def found():
            more = self.read()
            match = re.search(pattern, self.output, re.DOTALL)
            assert match or more, f"it ended without {pattern!r}: {self.output!r}"
            return match

        match = until(found, lambda: f"{pattern!r} in {self.output[-2000:]!r}")
        seen, self.output = self.output[: match.end()], self.output[match.end() :]
        self._forgotten += match.end()
        return seen

    def interrupt(self):
        """Press Ctrl-C; returns the exit code and what came then."""
        os.killpg(self.process.pid, signal.SIGINT)
        end = time.monotonic() + PATIENCE
        while self.read() and time.monotonic() < end:
            pass
        return self.process.wait(PATIENCE), self.output

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


APP = Path(__file__).parent.parent / "deployment" / "apps" / "versioned.py"


def process_table(name, folder, **settings):
    """Return the TOML of a process deployment of the tests' service; the program is a copy in `folder`."""
    app = folder / "versioned.py"
    app.write_bytes(APP.read_bytes())
    lines = {
        "type": "deployment",
        "driver": "process",
        "version": "1.0.0",
        "command": [sys.executable, "-IS", str(app), "{version}"],
        "readiness_probe": {"kind": "notify"},
        "state_directory": str(folder / "state"),
        "stop_timeout_ms": 5000,
        "rollout_timeout_ms": 20_000,
        "restart_backoff_initial_ms": 20,
        "restart_backoff_max_ms": 100,
        **settings,
    }
    return f"[providers.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in lines.items())


def processes_of(folder):
    """Return the living processes that have something of `folder` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


class Reader:
    """What a process writes to its pipes, read as it comes."""

    def __init__(self, process):
        self.process = process
        self.out, self.err = [], []
        self._threads = [
            threading.Thread(target=lambda kept=kept, pipe=pipe: kept.extend(iter(pipe.readline, "")))
            for kept, pipe in ((self.out, process.stdout), (self.err, process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, pattern, count=1):
        """Wait until so many lines match; returns the last match."""

        def found():
            matches = [match for line in list(self.out) if (match := re.search(pattern, line))]
            return matches[count - 1] if len(matches) >= count else None

        return until(found, lambda: f"{count} x {pattern!r} in {self.out} {self.err}")

    def end(self):
        """Wait for the end of the process; returns its exit code."""
        code = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

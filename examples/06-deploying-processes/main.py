"""A service of two processes gets a new version while it is in use, and gets rid of a bad one."""

import asyncio
import os
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

import anyio
import httpx

from aioproviders import DeploymentProvider, ProviderRegistry

HERE = Path(__file__).parent


async def ask(url: str, answers: Counter[str]) -> None:
    """Ask again and again; what fails counts as an answer, too."""
    while True:
        try:
            async with httpx.AsyncClient() as client:
                answers[(await client.get(url)).text.strip()] += 1
        except httpx.HTTPError as error:
            answers[repr(error)] += 1


async def main() -> None:
    """Deploy, update under load, fail, go back, scale."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        os.environ.setdefault("PORT", str(free.getsockname()[1]))
    async with ProviderRegistry.from_file(HERE / "providers.toml") as registry:
        greeter = registry.get("greeter", DeploymentProvider)
        result = await greeter.deploy(greeter.config)
        print(f"{result.status}: {result.metadata['replicas']}")

        answers: Counter[str] = Counter()
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, f"http://127.0.0.1:{os.environ['PORT']}", answers)
            result = await greeter.deploy(greeter.config.model_copy(update={"version": "2.0.0"}))
            callers.cancel_scope.cancel()
        print(f"{result.status}: version {result.metadata['version']}; meanwhile:")
        for answer in sorted(answers):
            print(f"    {answer}")

        # It will look for GREETING in vain.
        bad = greeter.config.model_copy(update={"version": "3.0.0", "env": {}})
        result = await greeter.deploy(bad)
        print(f"{result.status}: {result.message}")
        if result.diagnosis is not None:
            print(f"    {result.diagnosis.logs[-1]}")

        await greeter.scale(3)
        for release in await greeter.history():
            print(f"{'*' if release.current else ' '} {release.revision} {release.version} {release.status}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as state:
        os.environ.update(PYTHON=sys.executable, STATE=state)
        asyncio.run(main())

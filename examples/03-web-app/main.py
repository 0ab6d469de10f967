"""A web app whose routes await providers."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aioproviders import ProviderRegistry, SDKProvider, configure_logging, trace_context

HERE = Path(__file__).parent
QUOTES_PORT = int(os.environ.get("QUOTES_PORT", "8090"))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, object]]:
    """Open the providers before the first request, close them after the last."""
    os.environ.setdefault("QUOTES_URL", f"http://127.0.0.1:{QUOTES_PORT}")
    async with (
        ProviderRegistry.from_file(HERE / "providers.toml", start=False) as registry,
        registry.monitor(interval=10) as monitor,
    ):
        yield {"quotes": registry.get("quotes", SDKProvider), "monitor": monitor}


async def quote(request: Request) -> JSONResponse:
    """Await the provider. What failed behind the app is told to its caller without details."""
    with trace_context(request.headers.get("traceparent")) as trace_id:
        quotes: SDKProvider = request.state.quotes
        response = await quotes.make_request(f"/quotes/{request.path_params['number']}.json", method="GET")
    if response.success:
        return JSONResponse(response.data)
    status = 404 if response.status_code == 404 else 503
    return JSONResponse(
        {"error": "not found" if status == 404 else "try later", "trace_id": trace_id}, status
    )


async def health(request: Request) -> JSONResponse:
    """Answer from the monitor's cache."""
    report = await request.state.monitor.report(max_age=30)
    return JSONResponse(
        {"status": report.status, "checks": {name: check["status"] for name, check in report.checks.items()}},
        200 if report.ok else 503,
    )


app = Starlette(
    routes=[Route("/quotes/{number:int}", quote), Route("/health", health)],
    lifespan=lifespan,
)


if __name__ == "__main__":
    configure_logging("console", "info")
    # The service behind the app: a real web server over the files of this folder.
    behind = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(HERE),
            str(QUOTES_PORT),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), log_level="warning")
    finally:
        behind.terminate()
        behind.wait()

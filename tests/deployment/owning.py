"""Providers for fixtures, whose set-up and tear-down run in tasks of their own."""

import asyncio
from contextlib import asynccontextmanager


@asynccontextmanager
async def owned(provider):
    """Keep `provider` in an ``async with`` of a task of its own, as the whole of it must be in one task."""
    opened, done = asyncio.Event(), asyncio.Event()

    async def own():
        try:
            async with provider:
                opened.set()
                await done.wait()
        finally:
            opened.set()

    task = asyncio.create_task(own())
    await opened.wait()
    try:
        if task.done():
            await task
        yield provider
    finally:
        done.set()
        await task

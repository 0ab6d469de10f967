"""Settings in a SQLite database, as a driver for aioproviders."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from aioproviders import ConfigurationError, ConfigurationProvider, ProviderConfig

T = TypeVar("T")


class SQLiteConfig(ProviderConfig):
    """Where the database is.

    Attributes:
        path: The database's file; ``:memory:`` for one that is gone when the provider closes.
        max_concurrency: One, as SQLite takes one writer at a time.
    """

    path: str
    max_concurrency: int | None = 1


class SQLiteConfigProvider(ConfigurationProvider[SQLiteConfig]):
    """Reads and writes settings as JSON values in a table ``settings``."""

    _db: sqlite3.Connection | None = None

    async def initialize(self) -> None:
        """Open the database, and make the table where there is none."""
        self._db = await anyio.to_thread.run_sync(self._open)

    async def health_check(self) -> dict[str, Any]:
        """Healthy when the database answers."""
        return {"status": "healthy", "settings": (await self._run("SELECT count(*) FROM settings"))[0][0]}

    async def cleanup(self) -> None:
        """Close the database."""
        db, self._db = self._db, None
        if db is not None:
            await anyio.to_thread.run_sync(db.close)

    async def get_config(self, key: str, default: Any = None) -> Any:
        """Return the setting `key`, or `default`."""
        found = await self._run("SELECT value FROM settings WHERE key = ?", key)
        return json.loads(found[0][0]) if found else default

    async def set_config(self, key: str, value: Any) -> None:
        """Set `key` to `value`, which must be JSON."""
        try:
            text = json.dumps(value)
        except TypeError:
            raise ConfigurationError(f"{key}: a setting should be JSON, not {type(value).__name__}") from None
        await self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, text)

    async def reload_config(self) -> None:
        """See that the database is still whole; every read asks it anyway."""
        [(verdict,)] = await self._run("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise ConfigurationError(f"{self.config.path} is damaged: {verdict}")

    def _open(self) -> sqlite3.Connection:
        # One connection used by worker threads in turn: max_concurrency sees to that.
        db = sqlite3.connect(self.config.path, check_same_thread=False)
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        return db

    async def _run(self, statement: str, *values: str) -> list[Any]:
        def run() -> list[Any]:
            assert self._db is not None
            with self._db:
                return self._db.execute(statement, values).fetchall()

        return await _in_thread(run)


async def _in_thread(function: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(function)

"""What authors of providers test with.

`ProviderTestBase` is to be inherited by a test class, which says in one fixture how the provider is
made. It needs pytest and pytest-asyncio, in either of its modes; nothing else in the library does.
"""

try:
    import pytest
except ModuleNotFoundError:
    raise ImportError("aioproviders.testing needs pytest; run: pip install pytest pytest-asyncio") from None

# Before the import, so that a failed assert tells what it saw.
pytest.register_assert_rewrite("aioproviders.testing.suites")

from aioproviders.testing.suites import ProviderTestBase  # noqa: E402 - see above

__all__ = ["ProviderTestBase"]

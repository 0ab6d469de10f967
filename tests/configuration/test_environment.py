"""The environment configuration driver, against the environment of this process."""

import os
import socket
import threading
import traceback
from datetime import timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, assert_type

import anyio
import pytest
import structlog
from pydantic import AfterValidator, BaseModel, SecretStr

from aioproviders import ConfigurationError, HealthStatus, ProviderConfig, ProviderStateError
from aioproviders.configuration.environment import EnvironmentConfig, EnvironmentConfigProvider

PREFIX = "AIOPROVIDERS_TEST_"
CANARY = "canary-7f3a91"


class Colour(Enum):
    RED = "red"


class Size(StrEnum):
    LARGE = "large"


class Limits(BaseModel):
    most: int
    names: list[str] = []


class Login(BaseModel):
    user: str
    password: SecretStr


@pytest.fixture(autouse=True)
def clean_environment():
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def provider():
    return EnvironmentConfigProvider(EnvironmentConfig(name="settings", version="1", prefix=PREFIX))


async def test_plain_config_has_the_specified_prefix():
    """Given a plain ProviderConfig it reads variables that begin with ALTWALLET_."""
    provider = EnvironmentConfigProvider(ProviderConfig(name="settings", version="1"))
    os.environ["ALTWALLET_REGION"] = "eu"
    assert provider.prefix == "ALTWALLET_"
    assert isinstance(provider.config, EnvironmentConfig)
    assert await provider.get_config("region") == "eu"


@pytest.mark.parametrize("key", ["db.pool-size", "DB_POOL_SIZE", "db_Pool.size"])
async def test_keys_are_upper_cased_and_separators_become_underscores(provider, key):
    """All spellings of a key are one variable."""
    os.environ[f"{PREFIX}DB_POOL_SIZE"] = "7"
    assert await provider.get_config(key) == "7"


async def test_unset_variable_gives_the_default_as_it_is(provider):
    """A default is returned untouched, and None without one; a variable set to '' is set."""
    os.environ[f"{PREFIX}EMPTY"] = ""
    default = object()
    assert await provider.get_config("missing") is None
    assert await provider.get_config("missing", default) is default
    assert await provider.get_config("empty", default) == ""


async def test_typed_reads_are_typed(provider):
    """The type asked for is the type a checker sees."""
    os.environ[f"{PREFIX}TIMEOUT"] = "30"
    known = await provider.get_config("timeout", default=5, as_type=int)
    assert_type(known, int)
    maybe = await provider.get_config("nothing", as_type=int)
    assert_type(maybe, int | None)
    assert (known, maybe) == (30, None)


@pytest.mark.parametrize(
    ("text", "as_type", "value"),
    [
        ("true", bool, True),
        ("1", bool, True),
        ("on", bool, True),
        ("OFF", bool, False),
        ("8", int, 8),
        ("0.25", float, 0.25),
        ("[1, 2]", str, "[1, 2]"),
        ('["a", "b"]', list[str], ["a", "b"]),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ('{"most": 3}', Limits, Limits(most=3)),
        ("null", int | None, None),
        ("red", Colour, Colour.RED),
    ],
)
async def test_text_is_converted(provider, text, as_type, value):
    """Scalars convert as pydantic does it in lax mode, containers and models from JSON."""
    os.environ[f"{PREFIX}SETTING"] = text
    assert await provider.get_config("setting", as_type=as_type) == value


@pytest.mark.parametrize(("as_type", "shown"), [(int, "int"), (list[int], "list[int]"), (Limits, "Limits")])
async def test_what_does_not_convert_is_named_and_not_shown(provider, as_type, shown):
    """The error names variable and type; the value is nowhere, not even in the exception's context."""
    os.environ[f"{PREFIX}TIMEOUT"] = CANARY
    with pytest.raises(ConfigurationError, match=f"{PREFIX}TIMEOUT should be a ") as caught:
        await provider.get_config("timeout", as_type=as_type)
    assert shown in str(caught.value)
    link = caught.value
    while link is not None:
        assert CANARY not in f"{link!r} {link}"
        link = link.__cause__ or link.__context__


@pytest.mark.parametrize(
    "value",
    ["text", "", 5, 0.1, True, [1, "two"], {"a": {"b": None}}, Limits(most=1, names=["x"])],
)
async def test_what_is_written_reads_back(provider, value):
    """A value read with its own type is equal to what was written."""
    await provider.set_config("setting", value)
    assert await provider.get_config("setting", as_type=type(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.50, "1.5"),
        (Decimal("1.10"), "1.10"),
        ([True, None], "[true,null]"),
        (Colour.RED, "red"),
        (Size.LARGE, "large"),
        (b"bytes", "bytes"),
        (timedelta(seconds=3), "PT3S"),
        (SecretStr(CANARY), CANARY),
    ],
)
async def test_how_values_are_written(provider, value, text):
    """Text and scalars are written plainly, the rest as JSON, a secret in the clear."""
    await provider.set_config("setting", value)
    assert os.environ[f"{PREFIX}SETTING"] == text


async def test_none_removes_the_variable(provider):
    """After None the default holds again; removing what is not there is no error."""
    await provider.set_config("setting", "x")
    await provider.set_config("setting", None)
    await provider.set_config("setting", None)
    assert f"{PREFIX}SETTING" not in os.environ
    assert await provider.get_config("setting", "default") == "default"


@pytest.mark.parametrize("key", ["", "a=b", "a\0b", 5])
async def test_impossible_keys_are_refused(provider, key):
    """A key that can't be a variable's name is a ConfigurationError, reading and writing."""
    with pytest.raises(ConfigurationError, match="key"):
        await provider.get_config(key)
    with pytest.raises(ConfigurationError, match="key"):
        await provider.set_config(key, "x")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"{CANARY}\0", "NUL"),
        (object(), "a object can't be written"),
        (b"\xff", "a bytes can't be written"),
        ("\ud800", "UnicodeEncodeError"),
        (Login(user="u", password=SecretStr(CANARY)), "would be written masked"),
    ],
)
async def test_impossible_values_are_refused(provider, value, why):
    """What can't be in an environment is refused by variable and reason, and not shown."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        await provider.set_config("setting", value)
    assert f"{PREFIX}SETTING" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert f"{PREFIX}SETTING" not in os.environ


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
async def test_several_are_set_all_or_none(provider, bad):
    """When one of several can't be set, even if only the system finds out, the others are as before."""
    os.environ[f"{PREFIX}OLD"] = "old"
    with pytest.raises(ConfigurationError):
        await provider.set_many({"old": "new", "gone": None, "fresh": 1, "bad": bad})
    assert os.environ[f"{PREFIX}OLD"] == "old"
    assert f"{PREFIX}FRESH" not in os.environ
    await provider.set_many({"old": "new", "fresh": 1})
    assert (os.environ[f"{PREFIX}OLD"], os.environ[f"{PREFIX}FRESH"]) == ("new", "1")


async def test_two_spellings_of_one_variable_are_refused(provider):
    """Which of two values should win can't be told, so neither is written."""
    with pytest.raises(ConfigurationError, match="same variable"):
        await provider.set_many({"a.b": 1, "a-b": 2})
    assert f"{PREFIX}A_B" not in os.environ


async def test_concurrent_writers_do_not_mix(provider):
    """Sets of settings written from several threads end up as one of them, whole."""
    keys = [f"k{number}" for number in range(40)]

    def write(value: str) -> None:
        other = EnvironmentConfigProvider(provider.config)

        async def main() -> None:
            for _ in range(20):
                await other.set_many(dict.fromkeys(keys, value))

        anyio.run(main)

    threads = [threading.Thread(target=write, args=(value,)) for value in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert len({await provider.get_config(key) for key in keys}) == 1


@pytest.mark.parametrize("prefix", ["A=", "A\0"])
def test_impossible_prefix_is_refused(prefix):
    """A prefix that no variable can begin with is refused when the provider is made."""
    with pytest.raises(ConfigurationError, match="prefix"):
        EnvironmentConfigProvider(EnvironmentConfig(name="settings", version="1", prefix=prefix))


async def test_health_counts_variables_and_shows_no_value(provider):
    """The check is healthy, with the number of variables under the prefix."""
    await provider.set_many({"one": CANARY, "two": 2})
    check = await provider.health_check()
    assert check["status"] is HealthStatus.HEALTHY
    assert check["details"] == {"prefix": PREFIX, "variables": 2}


async def test_reload_tells_how_many_there_are(provider):
    """A reload logs the number of variables, and no value; reads are always fresh."""
    await provider.set_config("secret", CANARY)
    with structlog.testing.capture_logs() as events:
        await provider.reload_config()
    [event] = [event for event in events if event["event"] == "configuration.reloaded"]
    assert event["variables"] == 1
    assert CANARY not in str(events)
    os.environ[f"{PREFIX}SECRET"] = "other"
    assert await provider.get_config("secret") == "other"


async def test_environment_stays_after_cleanup(provider):
    """A closed provider refuses use; what it set belongs to the process and stays."""
    await provider.set_config("setting", "x")
    await provider.cleanup()
    with pytest.raises(ProviderStateError):
        await provider.get_config("setting")
    assert os.environ[f"{PREFIX}SETTING"] == "x"


async def test_a_validator_that_shows_the_value_is_not_heard(monkeypatch):
    """Whatever a type's own validator raises, the setting's value does not come out."""

    def lookup(text: str) -> str:
        return {}[text]

    monkeypatch.setenv("ALTWALLET_PIN", "hunter2hunter2")
    async with EnvironmentConfigProvider(EnvironmentConfig(name="settings", version="1")) as provider:
        with pytest.raises(ConfigurationError) as caught:
            await provider.get_config("pin", as_type=Annotated[str, AfterValidator(lookup)])
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(ConfigurationError, match="no such type"):
            await provider.get_config("pin", as_type=socket.socket)

"""The JSON Schema of providers files: what it lets through, what it refuses, and that it is one."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, SecretStr

from aioproviders.config import ProviderConfig, Settings
from aioproviders.factory import DriverInfo, ProviderFactory
from aioproviders.loading import load_providers, providers_schema
from aioproviders.provider import BaseProvider, ProviderType


class Pool(Settings):
    size: int
    mode: Literal["fifo", "lifo"] = "fifo"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


class BucketConfig(ProviderConfig):
    bucket: str
    key: SecretStr | None = None
    pool: Pool | None = None
    pools: Mapping[str, Pool] = {}
    ratio: Annotated[float, Field(le=1)] = 0.5
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Dog(kind="dog")
    hook: Callable[[], Any] | None = None


class Bucket(BaseProvider[BucketConfig]):
    async def initialize(self): ...

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...


class PlainConfig(ProviderConfig):
    colour: str = "red"


class Plain(Bucket):
    config_class = PlainConfig


@pytest.fixture(autouse=True)
def factory(monkeypatch):
    """A factory with two drivers of the type storage and one of the type sdk."""
    with ProviderFactory.temporary():
        ProviderFactory._providers.clear()
        ProviderFactory._drivers.clear()
        monkeypatch.setattr(ProviderFactory, "_plugins", ())
        ProviderFactory.register_provider("storage", Bucket, driver="bucket")
        ProviderFactory.register_provider("storage", Plain, driver="odd/na~me é")
        ProviderFactory.register_provider("sdk", Plain, driver="plain")
        yield ProviderFactory


def errors(document):
    schema = providers_schema()
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]


def table(**settings):
    return {"type": "storage", "driver": "bucket", "version": "1", "bucket": "b", **settings}


GOOD = [
    {},
    {"$schema": "./providers.schema.json", "providers": {"a": table()}},
    {
        "providers": {
            "a": table(timeout_ms=3, key="k", pool={"size": 1}, pools={"x": {"size": 2}}, depends_on=["b"])
        }
    },
    {
        "providers": {
            "a": table(timeout_ms="${T}", enabled="${E:-true}", ratio="x${R}", pool={"size": "${S}"})
        }
    },
    {"providers": {"a": table(pool={"size": 1, "mode": "${M}"}, pet={"kind": "cat", "lives": "${L}"})}},
    {
        "providers": {
            "a": table(circuit_breaker={"open_ms": 5}, operations={"x": {"timeout_ms": "${T}"}}, hook="any")
        }
    },
    {"providers": {"a": {"type": "sdk", "version": "1", "colour": "blue"}}},
    {"providers": {"a": {"type": "sdk", "driver": "plain", "version": "1"}}},
    {"providers": {"a": {"type": "storage", "driver": "odd/na~me é", "version": "1", "colour": "x"}}},
    {"providers": {"a": {"type": "${T}", "whatever": 1}}},
    {"providers": {"a": {"type": "storage", "driver": "${D}", "whatever": 1}}},
    {
        "providers": {"a": table()},
        "environments": {"dev": {}, "prod": {"providers": {"a": {"timeout_ms": 3}}}},
    },
    {"environments": {"prod": {"providers": {"a": {"pool": {"mode": "lifo"}, "pet": {"kind": "cat"}}}}}},
    {"environments": {"prod": {"providers": {"a": table(), "b": {}, "c": {"colour": "x"}}}}},
]

BAD = [
    [],
    {"provider": {}},
    {"$schema": 1},
    {"providers": []},
    {"providers": {"a": {}}},
    {"providers": {"a": {"type": "nonsense"}}},
    {"providers": {"a": {"type": "storage", "version": "1", "bucket": "b"}}},
    {"providers": {"a": {"type": "storage", "driver": "nonsense", "version": "1"}}},
    {"providers": {"a": {"type": "storage", "driver": "bucket", "version": "1"}}},
    {"providers": {"a": table(name="a")}},
    {"providers": {"a": table(timout_ms=3)}},
    {"providers": {"a": table(timeout_ms="soon")}},
    {"providers": {"a": table(timeout_ms="$T {x}")}},
    {"providers": {"a": table(pool={"mode": "fifo"})}},
    {"providers": {"a": table(pool={"size": 1, "mode": "filo"})}},
    {"providers": {"a": table(pool={"size": 1, "sise": 1})}},
    {"providers": {"a": table(ratio=2)}},
    {"providers": {"a": table(pet={"kind": "cow"})}},
    {"providers": {"a": {"type": "sdk", "version": "1", "bucket": "x"}}},
    {"environments": {"prod": {"provider": {}}}},
    {"environments": {"prod": {"providers": {"a": {"timout_ms": 3}}}}},
    {"environments": {"prod": {"providers": {"a": {"pool": {"sise": 1}}}}}},
    {"environments": {"prod": {"providers": {"a": {"type": "sdk", "driver": "plain", "bucket": "x"}}}}},
]


@pytest.mark.parametrize("document", GOOD, ids=range(len(GOOD)))
def test_lets_good_files_through(document):
    """What is right, or may be once references are put in, fits the schema."""
    assert errors(document) == []


@pytest.mark.parametrize("document", BAD, ids=range(len(BAD)))
def test_refuses_bad_files(document):
    """What can't be right does not fit the schema."""
    assert errors(document)


def test_what_loads_fits_the_schema(tmp_path):
    """A file that loads without references fits, with the overlay as well."""
    document = {
        "providers": {"a": table(operations={"health_check": {"timeout_ms": 5}}, tags=["x"])},
        "environments": {"prod": {"providers": {"a": {"enabled": False}}}},
    }
    file = tmp_path / "x.json"
    file.write_text(json.dumps(document))
    assert load_providers(file, environment="prod").specs[0].config.tags == ("x",)
    assert errors(document) == []


def test_it_is_plain_json_without_anything_unused():
    """The schema can be written as JSON, and every definition in it is used."""
    schema = providers_schema()
    text = json.dumps(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "ProviderConfig" not in schema["$defs"]
    assert "BucketConfig" not in schema["$defs"]
    assert "Pool" in schema["$defs"]
    assert "discriminator" not in text


def test_drivers_can_be_chosen():
    """Only the drivers that are asked for are described, and those that can't be loaded are left out."""
    drivers = [
        DriverInfo(ProviderType.SDK, "plain", "registered", "x:Plain"),
        DriverInfo(ProviderType.SDK, "gone", "gone 1.0", "x:Gone"),
        DriverInfo(None, "misnamed", "odd 1.0", "x:Y"),
    ]
    names = providers_schema(drivers=drivers)["$defs"]
    assert [name for name in names if name.startswith("driver:")] == [
        "driver:sdk",
        "driver:sdk.plain",
        "driver:sdk.plain:overlay",
        "driver:sdk:overlay",
    ]


def test_without_drivers_it_is_still_a_schema():
    """Where no driver is known no provider fits, and an empty file does."""
    schema = providers_schema(drivers=[])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"providers": {}})
    assert not validator.is_valid({"providers": {"a": {"type": "sdk"}}})


def test_secrets_in_defaults_stay_out(factory):
    """A default that the config's author marked as secret is not shown."""

    class Config(ProviderConfig):
        key: SecretStr = SecretStr("hunter2")

    factory.register_provider("monitoring", type("Of", (Bucket,), {"config_class": Config}))
    assert "hunter2" not in json.dumps(providers_schema())

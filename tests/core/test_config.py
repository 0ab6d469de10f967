"""ProviderConfig: checks, frozen in depth, copies, conflicts, overrides, and no secrets shown."""

import copy
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from aioproviders import ConfigurationError, ConfigurationWarning, DeploymentConfig, ProviderConfig, SDKConfig
from aioproviders.config import OperationConfig, Settings, fit

CANARY = "c4n4ry-Zx9"


class Nested(ProviderConfig):
    mapping: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}}  # noqa: RUF012 - pydantic copies it
    items: list[Any] = [1, [2, {"d": 3}]]  # noqa: RUF012 - pydantic copies it
    pairs: tuple[Any, ...] = ([1], {"e": 1})
    names: set[str] = {"x"}  # noqa: RUF012 - pydantic copies it


def make(cls=ProviderConfig, **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)
        return cls(**{"name": "it", "version": "1", **fields})


def test_defaults():
    """The defaults are the documented ones."""
    config = make()
    assert config.model_dump() == {
        "name": "it",
        "version": "1",
        "enabled": True,
        "timeout_ms": 5000,
        "retry_attempts": 3,
        "deadline_ms": None,
        "backoff_initial_ms": 100,
        "backoff_max_ms": 10_000,
        "retry_after_max_ms": 30_000,
        "max_concurrency": None,
        "circuit_breaker": None,
        "retry_budget": {"ratio": 0.2, "floor": 10, "window_ms": 60_000},
        "operations": {},
        "depends_on": (),
        "tags": (),
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"timeout_ms": 0}, "should be 1 or more"),
        ({"deadline_ms": -1}, "should be 1 or more"),
        ({"retry_attempts": 0}, "should be 1 or more"),
        ({"max_concurrency": 0}, "should be 1 or more"),
        ({"backoff_initial_ms": 0}, "should be 1 or more"),
        ({"backoff_max_ms": 0}, "should be 1 or more"),
        ({"retry_after_max_ms": -1}, "should be 0 or more"),
        ({"timeout_ms": True}, "should be a whole number, not true or false"),
        ({"timeout_ms": 1.5}, "valid integer"),
        ({"name": ""}, "at least 1 character"),
        ({"version": ""}, "at least 1 character"),
        ({"timeout": 5}, "Extra inputs are not permitted"),
        ({"circuit_breaker": {"failure_ratio": 0}}, "greater than 0"),
        ({"circuit_breaker": {"minimum_calls": True}}, "should be a whole number, not true or false"),
        ({"retry_budget": {"ratio": 2}}, "less than or equal to 1"),
        ({"operations": {"read": {"timeout_ms": 0}}}, "greater than 0"),
        ({"operations": {"read": {"timeout_ms": True}}}, "should be a whole number, not true or false"),
        ({"operations": {"read": {"retries": 1}}}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_refused(fields, words):
    """What can't work is refused with what would be right."""
    with pytest.raises(ValidationError, match=words):
        make(**fields)


@pytest.mark.parametrize("fields", [{"retry_after_max_ms": 0}, {"timeout_ms": "70"}, {"circuit_breaker": {}}])
def test_what_is_accepted(fields):
    """No waiting for Retry-After, numbers as text (from the environment) and an empty breaker are fine."""
    make(**fields)


def test_the_checks_hold_for_redefined_defaults():
    """A driver that gives a field another default keeps its checks."""
    assert make(SDKConfig, api_endpoint="x").timeout_ms == 10_000
    with pytest.raises(ValidationError, match="should be 1 or more"):
        make(SDKConfig, api_endpoint="x", timeout_ms=0)


# Frozen.


@pytest.mark.parametrize(
    "config",
    [
        make(Nested),
        make(Nested, mapping={"a": {"b": [1, {"c": 2}]}}, items=[1, [2, {"d": 3}]], pairs=([1], {"e": 1})),
        copy.deepcopy(make(Nested)),
        pickle.loads(pickle.dumps(make(Nested))),
        make(Nested).model_copy(update={"mapping": {"a": {"b": [1, {"c": 2}]}}}),
        make(Nested).model_copy(deep=True),
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "name", "x"),
        lambda c: delattr(c, "name"),
        lambda c: setattr(c, "new", 1),
        lambda c: c.mapping.update(x=1),
        lambda c: c.mapping["a"].pop("b"),
        lambda c: c.mapping["a"]["b"].append(1),
        lambda c: c.mapping["a"]["b"].__setitem__(0, 5),
        lambda c: c.mapping["a"]["b"][1].__setitem__("c", 3),
        lambda c: c.mapping.__delitem__("a"),
        lambda c: c.mapping.setdefault("z", 1),
        lambda c: c.mapping.clear(),
        lambda c: c.mapping.popitem(),
        lambda c: c.mapping.__ior__({"x": 1}),
        lambda c: c.items.sort(),
        lambda c: c.items.__iadd__([1]),
        lambda c: c.items.__imul__(2),
        lambda c: c.items[1].extend([1]),
        lambda c: c.items[1].insert(0, 1),
        lambda c: c.items[1][1].clear(),
        lambda c: c.items.reverse(),
        lambda c: c.items.remove(1),
        lambda c: c.items.__delitem__(0),
        lambda c: c.pairs[0].append(1),
        lambda c: c.pairs[1].update(x=1),
        lambda c: c.names.add("y"),
    ],
)
def test_frozen_in_depth(config, change):
    """Nothing of a config can be changed, nested defaults, given values, copies and pickles alike."""
    before = config.model_dump()
    with pytest.raises((TypeError, ValidationError, AttributeError)):
        change(config)
    assert config.model_dump() == before


def test_what_was_given_stays_the_givers():
    """The config keeps a copy: changing what was given changes nothing in it."""
    given_mapping = {"a": [1]}
    config = make(Nested, mapping=given_mapping)
    given_mapping["a"].append(2)
    assert config.mapping == {"a": [1]}


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_mappings_of_any_kind_are_frozen(kind):
    """Whatever mapping was given, it can't be changed afterwards."""
    config = make(DeploymentConfig, resources=kind({"cpu": {"limit": 1}}))
    assert isinstance(config.resources, Mapping)
    for mapping in (config.resources, config.resources["cpu"]):
        with pytest.raises((TypeError, AttributeError)):
            mapping["x"] = 1


def test_configs_share_no_defaults():
    """Equal defaults are equal, and each config is a value."""
    assert make(Nested) == make(Nested)
    assert make(Nested).mapping | {"x": 1} == {"a": {"b": [1, {"c": 2}]}, "x": 1}


# Round trips.

MS = st.integers(1, 10**6)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "timeout_ms": MS,
        "retry_attempts": st.integers(1, 9),
        "deadline_ms": MS,
        "retry_after_max_ms": st.integers(0, 9),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=9), "version": st.just("1")},
    optional={
        "enabled": st.booleans(),
        "timeout_ms": MS,
        "retry_attempts": st.integers(1, 200),
        "deadline_ms": st.none() | MS,
        "backoff_initial_ms": MS,
        "backoff_max_ms": MS,
        "max_concurrency": st.none() | MS,
        "circuit_breaker": st.none() | st.fixed_dictionaries({"window_ms": MS}),
        "retry_budget": st.none() | st.fixed_dictionaries({"ratio": st.floats(0, 1)}),
        "operations": st.dictionaries(st.sampled_from(["read", "write"]), OVERRIDES),
        "depends_on": st.lists(st.text(max_size=4), max_size=3),
        "tags": st.lists(st.text(max_size=4), max_size=3),
        "mapping": st.dictionaries(st.text(max_size=4), JSON, max_size=3),
        "items": st.lists(JSON, max_size=3),
    },
)


@given(FIELDS)
def test_round_trips(fields):
    """Dumped and validated, in Python or JSON, copied or pickled, a config is the same."""
    config = make(Nested, **fields)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)
        assert Nested.model_validate(config.model_dump()) == config
        assert Nested.model_validate_json(config.model_dump_json()) == config
    assert copy.deepcopy(config) == config
    assert copy.copy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


# Conflicts.


@given(
    attempts=st.integers(1, 150),
    override=st.none() | st.integers(1, 90),
    deadline=st.none() | st.integers(1, 300_000),
    backoff=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_conflicts_against_the_real_series(attempts, override, deadline, backoff):
    """It warns exactly when timeouts and the longest waits, added one by one, exceed the deadline."""
    timeout, (initial, most) = 250, backoff
    config = make(
        retry_attempts=attempts,
        timeout_ms=timeout,
        backoff_initial_ms=initial,
        backoff_max_ms=most,
        deadline_ms=deadline,
        operations={} if override is None else {"read": {"retry_attempts": override}},
    )
    for where, count in [("", attempts), ("operations.read: ", override)]:
        if count is None:
            continue
        whole = 0
        for attempt in range(count):
            whole += timeout
            if attempt < count - 1:
                whole += min(initial * 2**attempt, most)
        lines = [line for line in config.conflicts() if line.startswith(f"{where}{count} attempts")]
        assert len(lines) == (deadline is not None and whole > deadline)
        assert all(f"up to {whole} ms" in line for line in lines)
    assert any("backoff_initial_ms=" in line for line in config.conflicts()) == (initial > most)


def test_conflicts_are_cheap_for_any_number_of_attempts():
    """Even with a billion attempts the sum is found at once."""
    config = make(retry_attempts=10**9, deadline_ms=1000)
    assert "1000000000 attempts" in config.conflicts()[0]


def test_conflicts_are_warned_of(monkeypatch):
    """Loading warns, naming provider and fields, unless all is to be silent."""
    fields = {"name": "it", "version": "1", "deadline_ms": 100}
    with pytest.warns(
        ConfigurationWarning, match=r"it: 3 attempts of 5000 ms .* does not fit deadline_ms=100"
    ):
        ProviderConfig(**fields)
    monkeypatch.setenv("LOG_SILENT", "1")
    ProviderConfig(**fields)


# Overrides and fitting.


def test_for_operation():
    """An operation's own settings go before the provider's."""
    config = make(timeout_ms=7, operations={"deploy": {"retry_attempts": 1}})
    deploy = config.for_operation("deploy")
    assert (deploy.timeout_ms, deploy.retry_attempts) == (7, 1)
    assert config.for_operation("other") is config
    assert OperationConfig() == OperationConfig(timeout_ms=None)


def test_fit_keeps_what_fits():
    """An instance of the class that is needed is used as it is."""
    config = make(SDKConfig, api_endpoint="x")
    assert fit(config, ProviderConfig, "P", ()) is config


def test_fit_tells_what_is_wrong_without_values():
    """The fields are named, their values not."""

    class Strict(ProviderConfig):
        token: int

    class Loose(ProviderConfig):
        token: str

    with pytest.raises(ConfigurationError, match="see token") as caught:
        fit(make(Loose, token=CANARY), Strict, "P", ())
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


# Secrets.


class Secretive(ProviderConfig):
    api_key: SecretStr = SecretStr(CANARY)
    db_password: str = CANARY
    url: str = f"https://user:{CANARY}@host/x"
    token_url: str = "https://host/token"
    headers: dict[str, str] = {"Authorization": CANARY, "Accept": "json"}  # noqa: RUF012 - pydantic copies it
    sources: list[str] = [f"s3://{CANARY}@bucket"]  # noqa: RUF012 - pydantic copies it


@pytest.mark.parametrize(
    "show", [repr, str, lambda c: f"{c}", lambda c: "".join(map(str, c.__rich_repr__()))]
)
def test_no_secret_is_shown(show):
    """However a config is printed, no secret is in it, and the rest can be read."""
    shown = show(make(Secretive))
    assert CANARY not in shown
    assert "https://host/token" in shown
    assert "json" in shown


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": [CANARY]},
        {"db_password": [CANARY]},
        {"url": {CANARY: 1}},
        {"timeout_ms": CANARY},
        {"headers": CANARY},
        {"operations": {"read": {"timeout_ms": CANARY}}},
    ],
)
def test_validation_errors_show_no_input(fields):
    """What was given wrongly is not repeated in the message."""
    with pytest.raises(ValidationError) as caught:
        make(Secretive, **fields)
    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_settings_can_hold_other_models():
    """A model that is no Settings can be a field, and is printed as usual."""

    class Inner(BaseModel):
        x: int = 1

    class Outer(Settings):
        inner: Inner = Inner()

    assert repr(Outer()) == "Outer(inner=Inner(x=1))"

"""`list`, `check` and `schema`: what there is, told without calling anything."""

import json

from cli_processes import http_table

from aioproviders.errors import ConfigurationError
from aioproviders.sdk.http import HTTPSDKProvider

TIGHT = http_table("payments", "http://127.0.0.1:1", deadline_ms=100)


def test_check_tells_what_cannot_take_effect_together(providers, run):
    """Settings that don't fit together are a warning each, and no failure."""
    providers(TIGHT)

    result = run("check")

    assert (result.code, result.out) == (0, "providers.toml: ok, 1 provider, 1 warning\n")
    assert result.err.startswith("warning: providers.toml: providers.payments: 3 attempts of 10000 ms")
    assert result.err.count("\n") == 1


def test_warnings_stay_with_check(providers, run):
    """Other commands don't repeat them."""
    providers(TIGHT)

    assert run("list").err == ""
    assert run("health").err == ""


def test_check_as_a_document(providers, run):
    """With --json a file's problems and warnings are one document, good or bad."""
    providers(TIGHT)
    good = json.loads(run("check", "--json").out)
    providers(http_table("payments", "http://127.0.0.1:1", timeout=1))
    result = run("check", "--json")
    bad = json.loads(result.out)

    assert good["ok"] is True
    assert (good["providers"], len(good["warnings"])) == (1, 1)
    assert result.code == 2
    assert bad["ok"] is False
    assert bad["problems"] == [result.err.removeprefix("error: ").rstrip()]


def test_check_finds_what_only_the_provider_itself_refuses(providers, run, monkeypatch):
    """A constructor's objection is a problem of the file, with its place."""
    providers(TIGHT)

    def refuse(self, config):
        raise ConfigurationError("not on a Sunday")

    monkeypatch.setattr(HTTPSDKProvider, "__init__", refuse)

    result = run("check")

    assert result.code == 2
    assert result.err.splitlines()[-1] == "error: providers.toml: providers.payments: not on a Sunday"


def test_list_needs_no_file(providers, run):
    """Without a file in the current folder the drivers are listed all the same."""
    result = run("list")
    document = json.loads(run("list", "--json").out)

    assert result.code == 0
    assert "there is no providers.toml here" in result.out
    assert "sdk.http" in result.out
    assert (document["file"], document["providers"]) == (None, [])


def test_list_as_a_document(providers, run):
    """With --json the providers' plain facts and all drivers are one document."""
    providers(http_table("payments", "http://127.0.0.1:1", tags=["a"], api_key="canary"))

    result = run("list", "--json")

    document = json.loads(result.out)
    assert document["providers"][0] == {
        "name": "payments",
        "type": "sdk",
        "driver": "http",
        "class": f"{HTTPSDKProvider.__module__}:HTTPSDKProvider",
        "version": "1",
        "enabled": True,
        "tags": ["a"],
        "depends_on": [],
    }
    assert {"sdk", "configuration"} <= {driver["type"] for driver in document["drivers"]}
    assert "canary" not in result.out


def test_schema_is_a_json_schema(run):
    """The schema describes the fields of the installed drivers."""
    result = run("schema")

    document = json.loads(result.out)
    assert result.code == 0
    assert document["$schema"].startswith("https://json-schema.org/")
    assert "idempotency_header" in result.out

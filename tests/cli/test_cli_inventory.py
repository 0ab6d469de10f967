"""`list`, `check` and `schema`: what there is, told without calling anything."""

import json

import pytest
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


def test_check_takes_every_environment(providers, run):
    """Each environment's own mistakes are told, each once and with the environment; --env takes that one."""
    providers(
        http_table("payments", "http://127.0.0.1:1", retry_attempts=0, client_certificate="c.pem")
        + "[environments.staging.providers.payments]\ntimeout_msec = 5\n"
        + '[environments.production.providers.payments]\ntransport = "pigeon"\n'
    )
    places = {
        arguments: [line.split(": ")[2] for line in run("check", *arguments).err.splitlines()]
        for arguments in [(), ("--env", "staging")]
    }

    base = "providers.payments.retry_attempts"
    staging = "environments.staging.providers.payments.timeout_msec"
    assert sorted(places[()]) == ["environments.production.providers.payments.transport", staging, base]
    assert sorted(places["--env", "staging"]) == [staging, base]


def test_check_says_in_which_environment_settings_clash(providers, run):
    """What only comes of the base and an environment together names the environment."""
    providers(
        http_table("payments", "http://127.0.0.1:1", http2=True, transport="httpx")
        + '[environments.staging.providers.payments]\ntransport = "aiohttp"\n'
    )

    result = run("check")

    assert result.code == 2
    assert result.err.startswith("error: providers.toml: providers.payments: http2 needs transport")
    assert result.err.endswith(" (in the environment staging)\n")
    assert run("check", "--env", "staging").err.endswith("HTTP/1.1 only\n")


def test_check_counts_environments(providers, run):
    """A good file's environments are counted, and listed with --json."""
    providers(
        http_table("payments", "http://127.0.0.1:1")
        + "[environments.staging.providers.payments]\ntimeout_ms = 5\n"
    )

    assert run("check").out == "providers.toml: ok, 1 provider, 1 environment\n"
    assert json.loads(run("check", "--json").out)["environments"] == ["staging"]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            http_table(
                "p", "http://h", api_key="canary", auth={"type": "basic", "username": "u", "password": "p"}
            ),
            "providers.p: api_key goes unused with auth of type basic: leave one of them out",
        ),
        (
            '[providers.p]\ntype = "sdk"\ndriver = "python"\nversion = "*x"\npackage_name = "json"\n',
            "or '*', not '*x'",
        ),
        (http_table("p", "https://"), "the name or address of a host after '://'"),
        (http_table("p", "http"), "should be a URL that begins with http:// or https://"),
    ],
)
def test_problems_do_not_mask_their_own_words(table, line, providers, run):
    """What is said of a setting stays readable, though its words may be values of the file."""
    providers(table)

    result = run("check")

    assert line in result.err
    assert "***" not in result.err
    assert "canary" not in result.err


def test_a_misspelt_operation_is_told_with_the_rest(providers, run):
    """A key of `operations` that names none is told at once, not only when all else is right."""
    providers(http_table("p", "http://h", retry_attempts=0) + "[providers.p.operations.make_requst]\n")

    lines = run("check").err.splitlines()

    assert [line.split(": ")[2] for line in lines] == [
        "providers.p.retry_attempts",
        "providers.p.operations.make_requst",
    ]


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

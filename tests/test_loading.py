"""Providers files: reading, overlays, references, validation, and that no error shows a value."""

import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import anyio
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    AwareDatetime,
    BaseModel,
    Discriminator,
    Field,
    FutureDate,
    HttpUrl,
    Json,
    SecretStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from aioproviders.config import LocalPath, LocalPathText, ProviderConfig, Settings
from aioproviders.errors import ConfigurationError, ConfigurationWarning
from aioproviders.factory import ProviderFactory
from aioproviders.loading import LoadedProviders, ProviderSpec, load_providers, read_providers
from aioproviders.loading import documents as documents_module
from aioproviders.loading.interpolation import Interpolator
from aioproviders.loading.layers import merge
from aioproviders.loading.messages import Explainer, _is_own, _secret_texts
from aioproviders.loading.problems import Problems, look_up, render
from aioproviders.provider import BaseProvider, ProviderType
from aioproviders.sdk.http import HTTPSDKConfig

CANARY = "hunter2-CANARY"
NUMBER = 918273645
ALLOWED = "providers, environments, $schema"
TYPES = ", ".join(ProviderType)


class Pool(Settings):
    size: int = 1
    wait_ms: int = 5


class StoreConfig(ProviderConfig):
    url: str = "memory://"
    key: SecretStr | None = None
    pool: Pool = Pool()
    pools: Mapping[str, Pool] = {}
    labels: tuple[str, ...] = ()
    anything: Any = None


class Store(BaseProvider[StoreConfig]):
    async def initialize(self): ...

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...


def provider_of(config):
    """Make a provider class with another config class."""
    return type(f"Of{config.__name__}", (Store,), {"config_class": config})


@pytest.fixture(autouse=True)
def factory(monkeypatch):
    """A factory that knows the drivers 'mine' (the default) and 'other' of the type storage."""
    with ProviderFactory.temporary():
        ProviderFactory._providers.clear()
        ProviderFactory._drivers.clear()
        monkeypatch.setattr(ProviderFactory, "_plugins", ())
        ProviderFactory.register_provider("storage", Store)
        ProviderFactory.register_provider("storage", Store, driver="mine")
        yield ProviderFactory


@pytest.fixture
def write(tmp_path):
    """Write a providers file; tables become JSON."""

    def write(content, name=None):
        file = tmp_path / (name or ("providers.toml" if isinstance(content, str) else "providers.json"))
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return file

    return write


@pytest.fixture
def load(write):
    """Load a file with one provider 'a' that has these settings."""

    def load(env=None, /, **settings):
        table = {"type": "storage", "version": "1", **settings}
        return load_providers(write({"providers": {"a": table}}), env=env or {})

    return load


@pytest.fixture
def problems(write):
    """Load what is broken, and return its problems without the file's name, after looking for leaks."""

    def problems(content, *, name=None, **options):
        options.setdefault("env", {})
        file = write(content, name) if not isinstance(content, Path) else content
        with pytest.raises(ConfigurationError) as caught:
            load_providers(file, **options)
        return lines_of(caught.value, file)

    return problems


def lines_of(error, file):
    lines = error.message.split("\n")
    assert all(line.startswith(f"{file}: ") for line in lines), lines
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.args)
    for secret in (CANARY, str(NUMBER), "hunter2"):
        assert secret not in shown
    return [line.removeprefix(f"{file}: ") for line in lines]


def one(**settings):
    return {"providers": {"a": {"type": "storage", "version": "1", **settings}}}


# What is read.


def test_loads_a_file(write):
    """A file's providers come in its order, each with its driver's class and typed config."""
    file = write("""
        [providers.b]
        type = "storage"
        driver = "mine"
        version = "1.4.0"
        url = "s3://bucket"
        pool = {size = 7}

        [providers.a]
        type = "storage"
        version = "2"
        depends_on = ["b"]
    """)
    loaded = load_providers(file)
    assert isinstance(loaded, LoadedProviders)
    assert (loaded.path, loaded.environment, loaded.warnings) == (file, None, ())
    first, second = loaded.specs
    assert isinstance(first, ProviderSpec)
    assert (first.name, first.type, first.driver, first.provider_class) == (
        "b",
        ProviderType.STORAGE,
        "mine",
        Store,
    )
    assert first.config == StoreConfig(name="b", version="1.4.0", url="s3://bucket", pool={"size": 7})
    assert (second.name, second.driver, second.config.depends_on) == ("a", None, ("b",))
    provider = second.build()
    assert type(provider) is Store
    assert provider.name == "a"


def test_formats_say_the_same(write):
    """TOML, YAML and JSON files of the same content load alike, with a byte order mark too."""
    tables = {"a": {"type": "storage", "version": "1", "labels": ["x", "y"], "pool": {"size": 2}}}
    toml = '\ufeff[providers.a]\r\ntype="storage"\r\nversion="1"\r\nlabels=["x","y"]\r\npool.size=2\r\n'
    files = [
        write(toml, "x.toml"),
        write(yaml.safe_dump({"providers": tables}), "x.yaml"),
        write(yaml.safe_dump({"providers": tables}), "x.YML"),
        write(json.dumps({"$schema": "./schema.json", "providers": tables}), "x.json"),
    ]
    assert len({repr(load_providers(file).specs) for file in files}) == 1


def test_a_path_may_be_a_string(write):
    """The path may be given as text, and stands so in errors."""
    assert load_providers(str(write(one()))).specs
    with pytest.raises(ConfigurationError, match=r"^no/such\.toml: does not exist$"):
        load_providers("no/such.toml")


async def test_reads_in_a_worker_thread(write):
    """`read_providers` gives the same, and does its reading off the event loop."""
    threads = []

    class Config(ProviderConfig):
        @model_validator(mode="after")
        def _watch(self):
            threads.append(threading.get_ident())
            return self

    ProviderFactory.register_provider("storage", provider_of(Config))
    file = write(one(tags=["${T}"]))
    loaded = await read_providers(file, env={"T": "x"})
    assert loaded.specs[0].config.tags == ("x",)
    assert threads
    assert threading.get_ident() not in threads
    with pytest.raises(ConfigurationError, match="the environment variable T is not set"):
        await read_providers(file, env={})


async def test_a_cancelled_reader_does_not_wait(write, monkeypatch):
    """Whoever reads from a hanging disk can be cancelled."""
    release = threading.Event()
    monkeypatch.setattr(Path, "read_bytes", lambda self: release.wait(20) and b"")
    with anyio.move_on_after(0.05) as scope:
        await read_providers(write(one()))
    release.set()
    assert scope.cancelled_caught


def test_an_empty_table_of_providers_is_fine(write):
    """A file may have no providers, as long as it says so."""
    assert load_providers(write("[providers]")).specs == ()
    assert load_providers(write("[environments.dev]"), environment="dev").specs == ()


# What can't be read.


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.ini", "x", "should be a file that ends in .toml, .yaml, .yml or .json"),
        ("x.toml", "", "is empty, it should have a table 'providers'"),
        ("x.toml", "# nothing\n", "is empty, it should have a table 'providers'"),
        ("x.yaml", "# nothing\n", "is empty, it should have a table 'providers'"),
        ("x.json", "null", "is empty, it should have a table 'providers'"),
        ("x.json", "{}", "should have a table 'providers'"),
        ("x.json", f'["{CANARY}"]', "should be a table with the key 'providers'"),
        ("x.yaml", CANARY, "should be a table with the key 'providers'"),
        ("x.toml", f'a = "x"\nb = {CANARY}', "is not valid TOML at line 2, column 5: Invalid value"),
        ("x.toml", f"a = '{CANARY}", "is not valid TOML at line 1, column 20"),
        ("x.toml", f'a = "{CANARY}\n"', "is not valid TOML at line 1, column 20"),
        ("x.toml", f'a = "1" {CANARY}', "is not valid TOML at line 1, column 9: Expected newline"),
        ("x.toml", f"{CANARY} = 1\n{CANARY} = 2", "is not valid TOML at line 2, column"),
        ("x.toml", f"[{CANARY}]\n[{CANARY}]", "a key or table stands there twice"),
        ("x.toml", f'a = {{"{CANARY}" = 1, "{CANARY}" = 2}}', "a key or table stands there twice"),
        ("x.toml", "a = 2030-02-31", "is not valid TOML at line 1, column"),
        ("x.toml", f"a = {'9' * 5000}", "holds a number or date that can't be read"),
        ("x.json", '{\n"a": ' + CANARY, "is not valid JSON at line 2, column 6"),
        (
            "x.json",
            f'{{"a": 1, "b": [{{"{CANARY[:3]}": 1, "{CANARY[:3]}": 2}}]}}',
            "has the key hun twice in one table",
        ),
        ("x.json", f'{{"a": {"9" * 5000}}}', "holds a number or date that can't be read"),
        ("x.json", "[" * 100_000, "is nested too deeply"),
        ("x.json", f"{'[' * 90}{']' * 90}", "is nested too deeply"),
        ("x.yaml", f"a: b\nc: [{CANARY}", "is not valid YAML at line "),
        ("x.yaml", f"a: 'x'\n  {CANARY}: 1", "is not valid YAML at line 2, column "),
        ("x.yaml", f"a: !{CANARY} x", "is not valid YAML at line 1, column 4"),
        ("x.yaml", f"a: *{CANARY}", "is not valid YAML at line 1, column 4"),
        ("x.yaml", f"a: 1\nb:\n  c: {CANARY}\n  c: 2", "line 4, column 3: a key stands twice in one table"),
        ("x.yaml", f"a: ä\nb: {CANARY}\x07", "is not valid YAML at line "),
        ("x.yaml", "a: 1\n---\nb: 2", "is not valid YAML at line "),
        ("x.yaml", "a: 2030-02-31", "holds a number or date that can't be read"),
        (
            "x.yaml",
            f"providers: {{1: {CANARY}}}",
            "providers: should have strings for keys; put quotes around them",
        ),
        ("x.yaml", f"1: {CANARY}", "the top level: should have strings for keys; put quotes around them"),
        ("x.yaml", "a: &a [*a]", "is nested too deeply"),
    ],
)
def test_what_can_not_be_parsed_is_one_clear_line(problems, name, content, problem):
    """A file that can't be parsed gives one line, with the place and without the text."""
    (line,) = problems(content, name=name)
    assert problem in line


def test_yaml_can_not_blow_up(problems, monkeypatch):
    """Aliases that stand for millions of values are refused before they are copied."""
    monkeypatch.setattr(documents_module, "_MOST_VALUES", 1000)
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert problems(bomb, name="x.yaml") == ["holds more than 1000 values"]


def test_yaml_works_without_its_fast_parser(tmp_path):
    """Where PyYAML was built without libyaml, its own parser does the same, and places errors alike."""
    code = (
        "import sys, yaml\n"
        "del yaml.CSafeLoader\n"
        "from aioproviders.loading.yaml_documents import parse\n"
        "print(parse('a: [1, 2]'), parse('a: 1\\nb: \\x07'), parse('a: [')[1][:2], parse(''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "({'a': [1, 2]}, None) (None, (2, 4, 'a character that YAML does not allow')) (1, 5) (None, None)"
    )


def test_yaml_merge_keys_work(write):
    """A YAML file may use anchors and merge keys."""
    text = "providers:\n  a: &a {type: storage, version: '1'}\n  b: {<<: *a, version: '2'}\n"
    assert [spec.config.version for spec in load_providers(write(text, "x.yaml")).specs] == ["1", "2"]


def test_a_missing_extra_names_the_line_to_install_it(problems, monkeypatch):
    """Without PyYAML a YAML file is one clear error."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert problems("a: 1", name="x.yaml") == ["YAML files need PyYAML: pip install 'aioproviders[files]'"]


def test_files_that_are_not_there(problems, tmp_path, monkeypatch):
    """A missing file, a directory, one without permission and one in another encoding each say so."""
    assert problems(tmp_path / "x.toml") == ["does not exist"]
    (tmp_path / "d.toml").mkdir()
    assert problems(tmp_path / "d.toml") == ["is a directory, it should be a file"]
    (tmp_path / "l.toml").write_bytes(f"a = '{CANARY}\xe4'".encode("latin-1"))
    assert problems(tmp_path / "l.toml") == ["is not UTF-8: wrong byte at offset 19"]

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert problems(tmp_path / "p.toml") == ["can't be read: Permission denied"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            {"environment": {}, "providers": {}},
            ["environment: is no key here; there may be " + ALLOWED + "; did you mean 'environments'?"],
        ),
        ({"$schema": NUMBER, "providers": {}}, ["$schema: should be a string"]),
        ({"providers": CANARY}, ["providers: should be a table"]),
        (
            {"providers": {"a": CANARY, "b": None}},
            ["providers.a: should be a table", "providers.b: should be a table"],
        ),
        ({"providers": {" ": {}}}, ['providers." ": should have a name that is not empty']),
        ({"providers": {}, "environments": [CANARY]}, ["environments: should be a table"]),
        ({"providers": {}, "environments": {"x": CANARY}}, ["environments.x: should be a table"]),
        ({"environments": {"x": {"providers": CANARY}}}, ["environments.x.providers: should be a table"]),
        (
            {"environments": {"x": {"a": {}}}},
            ["environments.x.a: is no key here; there may be providers"],
        ),
    ],
)
def test_the_outer_shape_is_checked(problems, content, lines):
    """Nothing but providers, environments and $schema stands at the top, and each is a table of tables."""
    assert problems(content) == lines


# Overlays.


def test_an_overlay_is_merged(write):
    """Of an overlay tables are merged and all else, arrays too, replaces; the base alone stays as it is."""
    file = write(
        {
            "providers": {
                "a": {
                    "type": "storage",
                    "version": "1",
                    "pool": {"size": 3, "wait_ms": 9},
                    "labels": ["x", "y"],
                },
                "b": {"type": "storage", "version": "1"},
            },
            "environments": {
                "prod": {
                    "providers": {
                        "a": {"pool": {"size": 8}, "labels": ["z"], "timeout_ms": 2000},
                        "b": {"enabled": False},
                        "c": {"type": "storage", "version": "3"},
                    }
                },
                "dev": {},
            },
        }
    )
    base, prod = load_providers(file), load_providers(file, environment="prod")
    assert [spec.name for spec in base.specs] == ["a", "b"]
    assert base.specs[0].config.pool.size == 3
    assert prod.environment == "prod"
    assert [spec.name for spec in prod.specs] == ["a", "b", "c"]
    first = prod.specs[0].config
    assert (first.pool.size, first.pool.wait_ms, first.labels, first.timeout_ms) == (8, 9, ("z",), 2000)
    assert [spec.config.enabled for spec in prod.specs] == [True, False, True]
    assert load_providers(file, environment="dev").specs == base.specs


def test_an_unknown_environment_names_those_there_are(problems):
    """An environment that the file lacks is answered with those it has."""
    content = {"providers": {}, "environments": {"production": {}, "staging": {}}}
    assert problems(content, environment="prodution") == [
        "environments: has no prodution; there are production, staging; did you mean 'production'?"
    ]
    assert problems({"providers": {}}, environment="prod") == ["environments: the file has none, so no prod"]


def test_problems_of_an_overlay_have_its_path(problems):
    """A problem is reported where its value stands: in the overlay, or in the base."""
    content = {
        "providers": {"a": {"type": "storage", "timeout_ms": CANARY, "labels": [1]}},
        "environments": {
            "prod": {
                "providers": {
                    "a": {"retry_attempts": CANARY, "pool": {"size": CANARY}},
                    "b": {"type": "storage"},
                    "c": {"type": CANARY},
                }
            }
        },
    }
    assert problems(content, environment="prod") == [
        f"environments.prod.providers.c.type: should be one of {TYPES}",
        "providers.a.version: is required",
        "providers.a.timeout_ms: should be a whole number",
        "environments.prod.providers.a.retry_attempts: should be a whole number",
        "environments.prod.providers.a.pool.size: should be a whole number",
        "providers.a.labels[0]: should be a string (write it in quotes)",
        "environments.prod.providers.b.version: is required",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=4)


@given(tables, tables, tables)
def test_merging_is_lawful(base, overlay, third):
    """Merging an overlay holds all of it, keeps what it does not name, and changes none of its parts."""
    before = json.dumps([base, overlay])
    merged = merge(base, overlay)
    assert json.dumps([base, overlay]) == before
    assert list(merged) == list(dict.fromkeys([*base, *overlay]))
    for key in merged:
        if key not in overlay:
            assert merged[key] == base[key]
        elif not (isinstance(base.get(key), dict) and isinstance(overlay[key], dict)):
            assert merged[key] == overlay[key]
    assert merge(base, {}) == merge({}, base) == merge(base, base) == base
    assert merge(merged, overlay) == merged


# References.


def interpolate(text, env=None, folder=Path()):
    interpolator = Interpolator(env or {}, folder)
    return interpolator.resolve(text), interpolator


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${B_2}z", "x1ytwoz"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${A:-default}", "1"),
        ("${NO:-default}", "default"),
        ("${NO:-}", ""),
        ("${NO:-a:-b $x\n}", "a:-b $x\n"),
        ("${REFERS}", "${A}"),
        ("$${A}", "${A}"),
        ("$${A}${A}", "${A}1"),
        ("$A $$ $ }", "$A $$ $ }"),
        ("$$${A}", "$${A}"),
        ("${NO:-$}${A}", "$1"),
        ({"x": ["${A}", {"y": "${A}"}], "n": 3}, {"x": ["1", {"y": "1"}], "n": 3}),
    ],
)
def test_references_are_resolved(text, result):
    """Every form of reference gives its text, at any depth, and what is put in is not looked at again."""
    env = {"A": "1", "B_2": "two", "EMPTY": "", "REFERS": "${A}"}
    assert interpolate(text, env)[0] == result


@given(st.text(st.sampled_from("${}A:- x") | st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_escaped(text):
    """With every ${ escaped, any text comes out as it was."""
    assert interpolate(text.replace("${", "$${"))[0] == text


@given(
    st.text(),
    st.text(st.characters(exclude_characters="${}")),
    st.text(st.characters(exclude_characters="$")),
)
def test_any_value_comes_through_whole(value, default, around):
    """Whatever a variable holds stands in its place unchanged, and so does a default."""
    assert interpolate(f"{around}${{V}}{around}", {"V": value})[0] == f"{around}{value}{around}"
    assert interpolate(f"${{V:-{default}}}")[0] == default


@given(st.text(st.sampled_from("${}A:-f ile")))
def test_no_text_breaks_it(text):
    """Any text either resolves or is reported, and what is reported stays as written."""
    result, interpolator = interpolate(text, {"A": "1"})
    if interpolator.unresolved or interpolator.malformed:
        assert result == text


@pytest.mark.parametrize(
    "text", ["${", "${}", "${A", f"x ${{1{CANARY}}}", "${ A }", "${A-b}", "${A:b}", "${file:}", "${NO:-${A}}"]
)
def test_what_only_looks_like_a_reference_is_reported(problems, text):
    """A ${ that begins no reference is an error that shows the right forms, in a disabled provider too."""
    for enabled in (True, False):
        (line,) = problems(one(url=text, enabled=enabled))
        assert line.startswith("providers.a.url: has a ")
        assert line.endswith("write ${NAME}, ${NAME:-default} or ${file:PATH}, and $${ for a plain one")


def test_files_are_read(tmp_path, load):
    """A file's text stands for its reference, without the last line break; paths start at the file."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("s3cret\n\n")
    (tmp_path / "plain").write_text("x")
    loaded = load(key="${file:secrets/key}", labels=[f"${{file:{tmp_path}/plain}}y"])
    config = loaded.specs[0].config
    assert config.key.get_secret_value() == "s3cret\n"
    assert config.labels == ("xy",)


def test_relative_paths_start_at_the_file(tmp_path, write, monkeypatch, factory):
    """A path in a file starts at the file's folder, wherever the program runs; elsewhere, where that runs."""

    class Places(ProviderConfig):
        one: LocalPath
        more: tuple[LocalPath, ...]
        text: bool | LocalPathText = True

    factory.register_provider("storage", provider_of(Places))
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path / "etc")
    monkeypatch.setenv("HOME", "/home/ada")
    said = {"one": "state", "more": ["../shop", "/srv", "~/shop"], "text": "ca.pem"}
    write({"providers": {"a": {"type": "storage", "version": "1", **said}}})

    config = load_providers("../providers.json").specs[0].config
    here = tmp_path
    assert (config.one, config.text) == (here / "state", str(here / "ca.pem"))
    assert config.more == (here / "../shop", Path("/srv"), Path("/home/ada/shop"))
    made = Places(name="a", version="1", **said)
    assert (made.one, made.more[2], made.text) == (Path("state"), Path("/home/ada/shop"), "ca.pem")
    assert Places(name="a", version="1", one="/x", more=()).text is True


def test_a_home_that_is_nobodys(problems, factory):
    """A path below the home of a user that there is not is refused in a line."""

    class Place(ProviderConfig):
        folder: LocalPath

    factory.register_provider("storage", provider_of(Place))
    assert problems(one(folder="~nobody-at-all/x")) == [
        "providers.a.folder: begins with '~', and whose home that is can't be told"
    ]


def test_files_that_can_not_be_read_are_reported(problems, tmp_path):
    """A file that is missing, a directory or no text is named, and nothing of it shown."""
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    content = one(labels=["${file:missing}", f"${{file:{tmp_path}}}", "${file:binary}", "${file:a\0b}"])
    assert problems(content) == [
        "providers.a.labels[0]: the file missing can't be read: No such file or directory",
        f"providers.a.labels[1]: the file {tmp_path} can't be read: Is a directory",
        "providers.a.labels[2]: the file it names is no UTF-8 text",
        "providers.a.labels[3]: the file it names is no UTF-8 text",
    ]


def test_numbers_and_switches_may_be_references(load):
    """A reference may stand for a number or a switch."""
    config = load({"T": "250", "E": "false"}, timeout_ms="${T}", enabled="${E}").specs[0].config
    assert (config.timeout_ms, config.enabled) == (250, False)


def test_type_and_driver_may_be_references(write, problems):
    """Which driver it is may come from the environment; unset, it is all that is said of them."""
    content = {"providers": {"a": {"type": "${T}", "driver": "${D}", "version": "1"}}}
    assert load_providers(write(content), env={"T": "storage", "D": "mine"}).specs[0].driver == "mine"
    assert problems(content) == [
        "providers.a.type: the environment variable T is not set",
        "providers.a.driver: the environment variable D is not set",
    ]


def test_environment_variables_are_the_process_own_by_default(write, monkeypatch):
    """Without an `env`, references see the variables of the process as they are now."""
    monkeypatch.setenv("AIOPROVIDERS_TEST_URL", "x://y")
    assert load_providers(write(one(url="${AIOPROVIDERS_TEST_URL}"))).specs[0].config.url == "x://y"


def test_an_unset_variable_is_all_that_is_said_of_its_setting(problems):
    """Where a variable is unset nothing else is said of that setting, while others are still checked."""
    content = one(timeout_ms="${T}", retry_attempts=CANARY, pool={"size": "${S}"}, circuit_breaker="${C}")
    assert sorted(problems(content)) == [
        "providers.a.circuit_breaker: the environment variable C is not set",
        "providers.a.pool.size: the environment variable S is not set",
        "providers.a.retry_attempts: should be a whole number",
        "providers.a.timeout_ms: the environment variable T is not set",
    ]


def test_what_is_overlaid_away_need_not_be_set(write):
    """A variable that only a replaced value asks for is not looked up."""
    file = write(
        {
            "providers": {"a": {"type": "storage", "version": "1", "url": "${URL}"}},
            "environments": {"dev": {"providers": {"a": {"url": "memory://"}}}},
        }
    )
    assert load_providers(file, environment="dev", env={}).specs[0].config.url == "memory://"


def test_a_disabled_provider_may_lack_its_variables(load, problems):
    """Disabled, a provider keeps its unset references as written, as long as the rest is valid."""
    config = load(enabled=False, url="${URL}", key="${KEY}").specs[0].config
    assert config.url == "${URL}"
    assert problems(one(enabled=False, url="${URL}", timeout_ms="${T}")) == [
        "providers.a.url: the environment variable URL is not set",
        "providers.a.timeout_ms: the environment variable T is not set",
    ]
    assert problems(one(enabled="${E:-off}", url="${URL}", retry_attempts=0)) == [
        "providers.a.retry_attempts: should be 1 or more",
        "providers.a.url: the environment variable URL is not set",
    ]


# Validation.


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            {},
            f"providers.a.type: is required, and should be one of {TYPES}",
        ),
        ({"type": "Storage"}, "storage, configuration; did you mean 'storage'?"),
        (
            {"type": CANARY},
            f"providers.a.type: should be one of {TYPES}",
        ),
        ({"type": [CANARY]}, "providers.a.type: should be one of deployment, "),
        ({"type": NUMBER}, "providers.a.type: should be one of deployment, "),
        ({"type": "storage", "driver": NUMBER}, "providers.a.driver: should be a string"),
        ({"type": "storage", "driver": CANARY}, "providers.a.driver: should be one of mine"),
        (
            {"type": "storage", "driver": "mien"},
            "providers.a.driver: should be one of mine; did you mean 'mine'?",
        ),
        ({"type": "sdk", "driver": CANARY}, "providers.a.driver: the type sdk has no drivers installed"),
        ({"type": "sdk"}, "providers.a.driver: the type sdk has no drivers installed"),
        (
            {"type": "monitoring"},
            "providers.a.driver: Provider type monitoring has no default driver; choose one of: x, y",
        ),
        (
            {"type": "storage", "version": "1", "name": CANARY},
            "providers.a.name: is the table's own key, and should be left out",
        ),
        (
            {"type": "storage", "version": "1", "operations": {"health_chek": {}}},
            "providers.a.operations.health_chek: is no operation of the driver; did you mean 'health_check'?",
        ),
    ],
)
def test_what_a_table_lacks_is_named(problems, factory, table, line):
    """A wrong type, driver, name or operation is reported with what would be right."""
    factory.register_provider("monitoring", Store, driver="x")
    factory.register_provider("monitoring", Store, driver="y")
    (found,) = problems({"providers": {"a": table}})
    assert line in found


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"timout_ms": NUMBER}, "timout_ms: is no known setting; did you mean 'timeout_ms'?"),
        ({"zzzzzz": CANARY}, "zzzzzz: is no known setting"),
        ({"pool": {"sise": NUMBER}}, "pool.sise: is no known setting; did you mean 'size'?"),
        (
            {"pools": {"x.y": {"sise": NUMBER}}},
            "pools.\"x.y\".sise: is no known setting; did you mean 'size'?",
        ),
        (
            {"circuit_breaker": {"open": NUMBER}},
            "circuit_breaker.open: is no known setting; did you mean 'open_ms'?",
        ),
        ({"a\nb": CANARY}, '"a\\nb": is no known setting'),
    ],
)
def test_unknown_settings_get_near_matches(problems, settings, line):
    """A setting that there is not is named with its path and the nearest one at that place."""
    assert problems(one(**settings)) == [f"providers.a.{line}"]


def test_all_problems_come_at_once(problems):
    """Every problem of a file has its own line, those of the outer shape first."""
    content = {
        "bogus": CANARY,
        "providers": {
            "a": {"type": "storage", "timeout_ms": CANARY, "tags": CANARY},
            "b": {"type": CANARY, "url": "${UNSET}"},
            "c": {"type": "storage", "version": "1", "depends_on": ["aa", CANARY, "c", NUMBER]},
        },
    }
    assert problems(content) == [
        "bogus: is no key here; there may be providers, environments, $schema",
        f"providers.b.type: should be one of {TYPES}",
        "providers.a.version: is required",
        "providers.a.timeout_ms: should be a whole number",
        "providers.a.tags: should be an array",
        "providers.b.url: the environment variable UNSET is not set",
        "providers.c.depends_on[3]: should be a string (write it in quotes)",
        "providers.c.depends_on[0]: should be the name of another provider of this file; did you mean 'a'?",
        "providers.c.depends_on[1]: should be the name of another provider of this file",
        "providers.c.depends_on[2]: a provider can't depend on itself",
        "providers.c.depends_on[3]: should be the name of another provider of this file",
    ]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


def _kind_of(value):
    return value.get("what") if isinstance(value, dict) else "d"


class ZooConfig(ProviderConfig):
    """A field of every sort that can go wrong."""

    an_int: int = 0
    a_small_int: Annotated[int, Field(ge=1, lt=10, multiple_of=3)] = 3
    a_float: float = 0.0
    a_finite: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    a_decimal: Annotated[Decimal, Field(max_digits=3)] = Decimal(1)
    a_bool: bool = True
    a_str: str = ""
    a_short_str: Annotated[str, Field(min_length=2, max_length=4)] = "xx"
    a_pattern: Annotated[str, Field(pattern="^[a-z]+$")] = "x"
    some_bytes: bytes = b""
    an_enum: Color = Color.RED
    a_literal: Literal["json", "text"] = "json"
    a_strategy: Literal["rolling_update", "recreate"] = "recreate"
    a_url: HttpUrl = HttpUrl("http://x")
    any_url: AnyUrl = AnyUrl("x://x")
    a_json: Json[list[int]] = Field(default="[]")
    a_table: Mapping[str, int] = {}
    a_frozen: Mapping[int, int] = {}
    a_model: Cat | None = None
    a_list: Annotated[list[int], Field(max_length=2, default_factory=list)]
    a_set: frozenset[int] = frozenset()
    a_pair: tuple[int, str] = (1, "")
    a_union: int | list[int] | Cat = 1
    a_tagged: Annotated[Cat | Dog, Field(discriminator="kind")] = Dog(kind="dog")
    a_tagged_by_function: Annotated[
        Annotated[Cat, Tag("c")] | Annotated[Dog, Tag("d")], Discriminator(_kind_of)
    ] = Dog(kind="dog")
    a_uuid: UUID = UUID(int=0)
    a_date: date = date(2020, 1, 1)
    a_future: FutureDate = date(2999, 1, 1)
    a_time: time = time(1)
    a_datetime: datetime = datetime(2020, 1, 1)  # noqa: DTZ001 - a plain one is what this field takes
    an_aware: AwareDatetime = datetime.fromisoformat("2020-01-01T00:00Z")
    a_delta: timedelta = timedelta(1)
    a_path: Path = Path()
    a_none: None = None
    a_class: type[int] = int
    an_instance: Annotated[Any, Field()] = None
    a_secret: SecretStr = SecretStr("x")
    raises_value: str = ""
    asserts: str = ""
    raises_custom: Any = ""
    raises_known: str = ""
    raises_odd: str = ""

    @field_validator("raises_value")
    @classmethod
    def _value(cls, value):
        if value:
            raise ValueError(f"no  such\nthing: {value!r}, use json")
        return value

    @field_validator("asserts")
    @classmethod
    def _assert(cls, value):
        if value:
            raise AssertionError(f"{value} is bad")
        return value

    @field_validator("raises_custom", mode="before")
    @classmethod
    def _custom(cls, value):
        kinds = {"t": "extra_forbidden", "u": "union_tag_invalid", "o": "odd", "l": "literal_error"}
        if isinstance(value, dict):
            said = value.get("value", "x")
            raise PydanticCustomError(
                kinds.get(str(value.get("kind")), "odd"), "should not be {v}", {"v": said}
            )
        return value

    @field_validator("raises_known")
    @classmethod
    def _known(cls, value):
        if value:
            raise PydanticKnownError("literal_error", {"expected": value})
        return value


ZOO = [
    ("an_int", CANARY, "should be a whole number"),
    ("an_int", 1.5, "should be a whole number"),
    ("an_int", [CANARY], "should be a whole number"),
    ("an_int", "9" * 5000, "should be a whole number"),
    ("a_small_int", NUMBER, "should be less than 10"),
    ("a_small_int", 0, "should be greater than or equal to 1"),
    ("a_small_int", 5, "should be a multiple of 3"),
    ("a_float", CANARY, "should be a number"),
    ("a_finite", "inf", "should be a finite number"),
    ("a_decimal", CANARY, "should be a number"),
    ("a_decimal", NUMBER, "Decimal input should have no more than 3 digits in total"),
    ("a_bool", CANARY, "should be true or false"),
    ("a_str", NUMBER, "should be a string"),
    ("a_short_str", CANARY, "should have at most 4 characters"),
    ("a_short_str", "x", "should have at least 2 characters"),
    ("a_pattern", CANARY, "should match pattern '^[a-z]+$'"),
    ("some_bytes", NUMBER, "should be a string"),
    ("an_enum", CANARY, "should be 'red' or 'blue'"),
    ("a_literal", CANARY, "should be 'json' or 'text'"),
    ("a_literal", [CANARY], "should be 'json' or 'text'"),
    ("a_strategy", "rolling", "should be 'rolling_update' or 'recreate'"),
    ("a_url", CANARY, "should be a URL, such as https://api.example.com"),
    ("a_url", f"ftp://user:{CANARY}@host", "URL scheme should be 'http' or 'https'"),
    ("a_url", f"http://user:{CANARY}@host:99999999", "should be a URL, such as https://api.example.com"),
    ("a_url", "http://x/" + CANARY * 200, "should have at most 2083 characters"),
    ("any_url", NUMBER, "should be a URL, such as https://api.example.com"),
    ("a_json", CANARY, "should be a text with JSON in it"),
    ("a_json", NUMBER, "should be a text with JSON in it"),
    ("a_json", f'["{CANARY}"]', "should be a whole number"),
    ("a_table", CANARY, "should be a table"),
    ("a_table", {"x": CANARY}, "should be a whole number"),
    ("a_frozen", {"x": 1}, "should be a whole number"),
    ("a_model", CANARY, "should be a table"),
    ("a_model", {"kind": CANARY}, "should be 'cat'"),
    ("a_model", {"kind": "cat", "lives": CANARY}, "should be a whole number"),
    ("a_model", {}, "is required"),
    ("a_list", CANARY, "should be an array"),
    ("a_list", [1, 2, 3], "should have at most 2 items"),
    ("a_set", CANARY, "should be an array"),
    ("a_pair", [1], "is required"),
    ("a_pair", [CANARY, NUMBER], "should be a whole number"),
    ("a_union", CANARY, "should be a whole number, or should be an array, or should be a table"),
    ("a_union", {"kind": "cat", "lives": CANARY}, "should be a whole number"),
    ("a_tagged", {"kind": CANARY}, "should be of one of the kinds 'cat', 'dog'"),
    ("a_tagged", {"kind": f"{CANARY} expected tags: {CANARY}"}, "should be of one of the kinds 'cat', 'dog'"),
    ("a_tagged", {"kind": "cat", "lives": CANARY}, "should be a whole number"),
    ("a_tagged", {}, "Unable to extract tag using discriminator 'kind'"),
    ("a_tagged", CANARY, "should be a table"),
    ("a_tagged_by_function", {"what": CANARY}, "should be of one of the kinds 'c', 'd'"),
    ("a_uuid", CANARY, "should be a UUID"),
    ("a_uuid", NUMBER, "should be a UUID"),
    ("a_date", CANARY, "should be a date, such as 2030-12-31"),
    ("a_future", "1999-01-01", "should be in the future"),
    ("a_time", CANARY, "should be a time, such as 23:59:00"),
    ("a_datetime", CANARY, "should be a date and time, such as 2030-12-31T23:59:00Z"),
    ("an_aware", "2020-01-01T00:00", "should have timezone info"),
    ("a_delta", CANARY, "should be a duration in seconds, or such as PT1H30M"),
    ("a_path", NUMBER, "is not a valid path"),
    ("a_none", CANARY, "should be left out"),
    ("a_class", CANARY, "subclass of int|should be a"),
    ("a_secret", NUMBER, "should be a string"),
    ("a_secret", {"value": CANARY}, "should be a string"),
    ("raises_value", CANARY, "no such thing: '**********', use json"),
    ("asserts", CANARY, "********** is bad"),
    ("raises_custom", {"kind": "t", "value": CANARY}, "is no known setting"),
    ("raises_custom", {"kind": "u", "value": CANARY}, "should not be **********"),
    ("raises_custom", {"kind": "o", "value": NUMBER}, "should not be **********"),
    ("raises_custom", {"kind": "l", "value": CANARY}, "should not be **********"),
    ("raises_known", CANARY, "should be **********"),
]


@pytest.mark.parametrize(("field", "value", "text"), ZOO, ids=lambda value: str(value)[:20])
def test_no_error_shows_a_value(problems, factory, field, value, text):
    """For every kind of error, the line says what would be right and never what was there."""
    factory.register_provider("storage", provider_of(ZooConfig))
    lines = problems(one(**{field: value}))
    assert all(line.startswith(f"providers.a.{field}") for line in lines)
    assert any(option in lines[0] for option in text.split("|")), lines
    assert not any("Input" in line or "input_value" in line for line in lines)


@given(
    st.sampled_from([name for name in ZooConfig.model_fields if name not in ProviderConfig.model_fields]),
    st.data(),
)
def test_no_error_shows_any_value(field, data):
    """Whatever stands in whichever field, no part of it gets into an error."""
    canaries = st.sampled_from([CANARY, f"x://u:{CANARY}@h", NUMBER, f"{NUMBER}.5", f"{CANARY}\n{CANARY}"])
    value = data.draw(
        st.recursive(
            canaries,
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["kind", "what", "x", "value", "lives"]), inner, max_size=2)
            ),
            max_leaves=4,
        )
    )
    table = {"name": "a", "version": "1", field: value}
    try:
        ZooConfig.model_validate(table)
    except ValueError as error:
        for path, text in Explainer(ZooConfig, table, frozenset()).explain(error):
            assert path
            assert path[0] == field
            assert "hunter2" not in text
            assert str(NUMBER) not in text
            assert "\n" not in text


class Kept(Settings):
    plain: SecretStr


def test_secret_texts_are_found_by_name_and_by_field():
    """A value is secret under a telling name, or in a field that keeps it so, however deep it stands."""

    class Config(Settings):
        port: int
        inner: Kept | None = None
        headers: Mapping[str, str | SecretStr] = {}

    table = {
        "port": 1,
        "inner": {"plain": "one", "open": "x"},
        "headers": {"A": "two"},
        "api_key": "three",
        "many": [{"password": "four", "user": "y"}],
    }

    assert sorted(_secret_texts(table, [Config])) == ["four", "one", "three", "two"]


def test_only_this_package_s_own_errors_are_trusted():
    """An error is this package's where its code raised it; one from below or from elsewhere is not."""
    with pytest.raises(ValidationError) as own:
        HTTPSDKConfig(name="n", version="1", api_endpoint="x://h")
    with pytest.raises(ValueError, match="invalid literal") as foreign:
        int("x")

    assert _is_own(own.value.errors()[0]["ctx"]["error"])
    assert not _is_own(foreign.value)
    assert not _is_own(ValueError("never raised"))
    assert not _is_own(None)


def test_values_from_the_environment_are_masked(problems, factory):
    """What came from a reference is masked in a validator's own text, on its own as well."""

    class Config(ProviderConfig):
        header: str = ""

        @field_validator("header")
        @classmethod
        def _check(cls, value):
            raise ValueError(f"{value.split()[1]} is no token")

    factory.register_provider("storage", provider_of(Config))
    lines = problems(one(header="Bearer ${TOKEN}"), env={"TOKEN": CANARY})
    assert lines == ["providers.a.header: ********** is no token"]


def test_a_validator_of_the_whole_table_is_masked(problems, factory):
    """What a validator of the whole model says has every value of the table masked, numbers too."""

    class Config(ProviderConfig):
        low: int = 0
        high: int = 0
        label: str = ""

        @model_validator(mode="after")
        def _check(self):
            raise ValueError(f"{self.low} is more than {self.high} for {self.label} or {self!r}" + "." * 999)

    factory.register_provider("storage", provider_of(Config))
    (line,) = problems(one(low=NUMBER, high=12345, label=CANARY))
    assert line.startswith("providers.a: ********** is more than ********** for **********")
    assert len(line) < 400


def test_dates_are_masked(problems, factory):
    """A date or time that a validator repeats is masked as well."""

    class Config(ProviderConfig):
        day: Any = None

        @field_validator("day")
        @classmethod
        def _check(cls, value):
            raise ValueError(f"{value} {value!r} {value}")

    factory.register_provider("storage", provider_of(Config))
    (line,) = problems('[providers.a]\ntype="storage"\nversion="1"\nday=2031-05-06\n')
    assert "2031" not in line
    text = "providers: {a: {type: storage, version: '1', day: !!binary aHVudGVyMg==}}"
    (line,) = problems(text, name="x.yaml")
    assert "hunter2" not in line


def test_a_validator_that_breaks_is_reported(problems, factory):
    """A validator that raises what pydantic does not expect is one problem, with values masked."""

    class Config(ProviderConfig):
        x: Any = None

        @field_validator("x")
        @classmethod
        def _check(cls, value):
            raise KeyError(value)

    factory.register_provider("storage", provider_of(Config))
    assert problems(one(x=CANARY)) == ["providers.a: Config can't check it: KeyError: '**********'"]


def test_an_empty_complaint_still_says_something(problems, factory):
    """A validator that gives no reason is reported all the same."""

    class Config(ProviderConfig):
        x: Any = None

        @field_validator("x")
        @classmethod
        def _check(cls, value):
            raise ValueError

    factory.register_provider("storage", provider_of(Config))
    assert problems(one(x=1)) == ["providers.a.x: is not valid"]


def test_the_error_survives_pickling(write):
    """The error can be sent to another process."""
    with pytest.raises(ConfigurationError) as caught:
        load_providers(write(one(timeout_ms=CANARY)))
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


# What providers say of one another.


def depends(**edges):
    return {
        "providers": {
            name: {"type": "storage", "version": "1", "depends_on": on} for name, on in edges.items()
        }
    }


def test_cycles_are_named(problems):
    """Each cycle of dependencies is named once, in the direction of the dependencies."""
    assert problems(depends(a=["b"], b=["c"], c=["a", "d"], d=[], e=["f"], f=["e"])) == [
        "providers.a.depends_on: leads back to itself: a → b → c → a",
        "providers.e.depends_on: leads back to itself: e → f → e",
    ]


def test_a_long_chain_is_no_cycle(write):
    """Thousands of providers in one chain load, and don't run into a recursion limit."""
    content = depends(**{f"p{n}": [f"p{n + 1}"] for n in range(3000)}, p3000=[])
    assert len(load_providers(write(content)).specs) == 3001


def test_a_dependency_from_an_unset_variable_is_reported_once(problems):
    """A dependency that is an unset variable is not called unknown as well."""
    assert problems(depends(a=["${B}"])) == [
        "providers.a.depends_on[0]: the environment variable B is not set"
    ]


# Warnings.


def test_warnings_are_handed_back(load, recwarn, capfd, caplog, monkeypatch):
    """Settings that can't take effect together are told with their path, and nothing is shown."""
    monkeypatch.delenv("LOG_SILENT", raising=False)
    with caplog.at_level(logging.DEBUG):
        loaded = load(deadline_ms=10, retry_attempts=1)
    (line,) = loaded.warnings
    assert line == (
        f"{loaded.path}: providers.a: 1 attempts of 5000 ms with their backoff take up to 5000 ms, "
        "which does not fit deadline_ms=10"
    )
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("LOG_SILENT", "1")
    assert load(deadline_ms=10, retry_attempts=1).warnings == loaded.warnings


def test_warnings_of_validators_are_caught(load, factory, recwarn, capfd):
    """A driver's own warnings are handed back too, masked, and shown nowhere."""

    class Config(ProviderConfig):
        old: str = ""

        @field_validator("old")
        @classmethod
        def _warn(cls, value):
            warnings.warn(f"{value}: don't", ConfigurationWarning, stacklevel=1)
            return value

    factory.register_provider("storage", provider_of(Config))
    for _ in range(2):
        loaded = load(old=CANARY)
        assert [line.partition(": ")[2] for line in loaded.warnings] == ["providers.a: **********: don't"]
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_warnings_of_other_threads_are_left_alone(load, factory):
    """While a file is validated, another thread's warning goes where it would have gone."""

    class Config(ProviderConfig):
        @model_validator(mode="after")
        def _meanwhile(self):
            other = threading.Thread(
                target=lambda: warnings.warn("not yours", ConfigurationWarning, stacklevel=1)
            )
            other.start()
            other.join()
            return self

    factory.register_provider("storage", provider_of(Config))
    with pytest.warns(ConfigurationWarning, match="not yours"):
        loaded = load()
    assert loaded.warnings == ()


# Small parts.


def test_key_paths_are_written_like_toml():
    """Keys that are no bare ones are quoted, and stay on one line."""
    assert render(("a", "b-c", 0, "d.e", "f\ng", "ä")) == 'a.b-c[0]."d.e"."f\\ng"."ä"'
    assert render(()) == ""


def test_a_problem_counts_once():
    """The same problem at the same place is one line."""
    problems = Problems("f")
    assert not problems
    problems.add(("a",), "x")
    problems.add(("a",), "x")
    assert problems.error().message == "f: a: x"


def test_looking_up_follows_tables_and_arrays():
    """A path leads through tables and arrays, and says when it leads nowhere."""
    assert look_up({"a": [{"b": 1}]}, ("a", 0, "b")) == (True, 1)
    for path in [("b",), ("a", 1), ("a", -1), ("a", "x"), ("a", 0, "b", "c")]:
        assert look_up({"a": [{"b": 1}]}, path) == (False, None)


def test_loading_is_silent(tmp_path):
    """Loading a file prints nothing, whatever it warns of."""
    code = (
        "from aioproviders.loading import load_providers\n"
        "from aioproviders.factory import ProviderFactory\n"
        "from aioproviders.provider import BaseProvider\n"
        "class P(BaseProvider):\n"
        "    async def initialize(self): ...\n"
        "    async def health_check(self): return {}\n"
        "    async def cleanup(self): ...\n"
        "ProviderFactory.register_provider('storage', P)\n"
        "assert load_providers('x.toml').warnings\n"
    )
    (tmp_path / "x.toml").write_text('[providers.a]\ntype="storage"\nversion="1"\ndeadline_ms=1\n')
    env = {key: value for key, value in os.environ.items() if not re.match("PYTHON|LOG_SILENT|COV", key)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

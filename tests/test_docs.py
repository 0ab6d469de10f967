"""The README's and the docstrings' code runs."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser

from aioproviders.loading import load_providers

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def evaluate(example: Example) -> None:
    """Run a block of Python; await what it awaits at its top level, all blocks in one event loop."""
    runner: asyncio.Runner = example.namespace["__runner__"]
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(example.parsed, f"{example.path}:{example.line}", "exec", flags=flags)
    result = eval(code, example.namespace)
    if inspect.iscoroutine(result):
        runner.run(result)


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, httpbin_url: str) -> None:
    """Each block of Python in the README runs, in order, with the README's own providers file."""
    providers_file = re.search(r"```toml\n# providers.toml\n(.*?)```", README, re.DOTALL)
    assert providers_file
    (tmp_path / "providers.toml").write_text(providers_file[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYMENTS_URL", httpbin_url)
    monkeypatch.setenv("PAYMENTS_API_KEY", "secret-key")
    monkeypatch.delenv("SHOP_TIMEOUT", raising=False)
    document = Sybil(parsers=[CodeBlockParser("python", evaluate)]).parse(ROOT / "README.md")
    count = 0
    with asyncio.Runner() as runner:
        document.namespace["__runner__"] = runner
        document.namespace["__name__"] = "__main__"
        for example in document.examples():
            example.evaluate()
            count += 1
    assert count == README.count("```python")


def test_readme_providers_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each providers file that the README shows is valid, in each of its environments."""
    monkeypatch.setenv("PAYMENTS_API_KEY", "secret-key")
    monkeypatch.setenv("ORDERS_SECRET", "secret-key")
    found = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert len(found) == README.count("```toml")
    for text in found:
        path = tmp_path / "providers.toml"
        path.write_text(text)
        for environment in (None, *re.findall(r"^\[environments\.(\w+)", text, re.MULTILINE)):
            loaded = load_providers(path, environment=environment)
            assert loaded.specs
            assert not loaded.warnings


def test_readme_sections_are_linked() -> None:
    """Each link to a section of the README leads to one, and each file it names is there."""
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall("^## (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]*)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("http"):
            assert (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "aioproviders").rglob("*.py")), ids=lambda path: path.name)
def test_docstrings(path: Path) -> None:
    """Each prompt in a docstring of the package gives what it shows."""
    for example in Sybil(parsers=[DocTestParser()]).parse(path).examples():
        example.evaluate()

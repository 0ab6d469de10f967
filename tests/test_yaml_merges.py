"""YAML's merge keys in providers files."""

import pytest

from aioproviders import ConfigurationError
from aioproviders.loading import load_providers


def test_merge_keys_share_settings(tmp_path):
    """What several providers have in common can stand once."""
    path = tmp_path / "providers.yaml"
    path.write_text(
        "providers:\n"
        "  a: &a {type: configuration, driver: environment, version: '1', prefix: A_}\n"
        "  b: {<<: *a, prefix: B_}\n"
    )
    assert [spec.config.prefix for spec in load_providers(path).specs] == ["A_", "B_"]


def test_merge_keys_that_multiply_are_refused(tmp_path):
    """A small file that would become millions of entries is refused before it does."""
    path = tmp_path / "providers.yaml"
    lines = ["a0: &a0 {k: 1, l: 2}"]
    for level in range(1, 9):
        below = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {{<<: [{below}]}}")
    path.write_text("\n".join([*lines, "providers: {<<: *a8}"]))
    with pytest.raises(ConfigurationError, match="merge keys"):
        load_providers(path)

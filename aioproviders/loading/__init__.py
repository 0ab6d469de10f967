"""Providers files: TOML, YAML or JSON that says which providers there are, per environment.

    [providers.payments]
    type = "sdk"
    driver = "http"
    version = "1.4.0"
    api_endpoint = "https://api.example.com"
    api_key = "${PAYMENTS_API_KEY}"

    [environments.production.providers.payments]
    timeout_ms = 2000

A file is read (`documents`), the chosen environment's overlay is merged into it and references such
as ``${NAME}`` are put in (`interpolation`), each provider's table is validated with its driver's
config class (`drafts`, in the words of `messages`), and what they say of one another is checked
(`files`). All that is wrong is reported at once, a line per problem, and no line ever shows a value.
`schema` describes the format for editors.
"""

from __future__ import annotations

from aioproviders.loading.files import (
    LoadedProviders,
    ProviderSpec,
    environments_of,
    load_providers,
    read_providers,
)
from aioproviders.loading.schema import providers_schema

__all__ = [
    "LoadedProviders",
    "ProviderSpec",
    "environments_of",
    "load_providers",
    "providers_schema",
    "read_providers",
]

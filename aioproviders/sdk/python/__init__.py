"""The driver ``sdk.python``: an installed package, whosever it is, behind the interface of SDK providers.

`provider` has the config and the provider; `packages` imports a package and checks its version,
`threads` runs what is synchronous, `client` drives the vendor's client, `vendor` reads what it
returns and raises.
"""

from aioproviders.sdk.python.provider import PythonSDKConfig, PythonSDKProvider

__all__ = ["PythonSDKConfig", "PythonSDKProvider"]

"""Which requests the environment sends through a proxy, as httpx reads it.

httpx leaves the environment's proxies out for a client that is given a
transport; this gives them back, as mounts: URL patterns and proxies.
"""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies


def environment_proxies() -> dict[str, str | None]:
    """Return URL patterns and the proxy for each; None: go straight to the origin.

    ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, also in
    lower case; on macOS and Windows the system's settings.
    """
    found = getproxies()
    exceptions = [each.strip() for each in found.get("no", "").split(",")]
    if "*" in exceptions:
        return {}
    proxies: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        proxy = found.get(scheme)
        if proxy:
            proxies[f"{scheme}://"] = proxy if "://" in proxy else f"http://{proxy}"
    for exception in exceptions:
        pattern = _pattern(exception)
        if pattern is not None:
            proxies[pattern] = None
    return proxies


def _pattern(host: str) -> str | None:
    """Return the URL pattern for an entry of ``NO_PROXY``; None: it can't be used."""
    if not host:
        return None
    if "://" in host:
        return host
    bare = host.strip("[]")
    try:
        version = ipaddress.ip_interface(bare).version
    except ValueError:
        if "/" in host:
            return None
    else:
        return f"all://[{bare}]" if version == 6 else f"all://{bare}"
    if host.lower() == "localhost":
        return "all://localhost"
    # example.org: itself and all below it; .example.org: only those below.
    return f"all://{host}" if host.startswith("*.") else f"all://*{host}"

"""One question to a running node's admin listener, over HTTP."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from s3node.config import Keys

TIMEOUT_S = 30


class NoAnswer(Exception):
    """One line that says why there is none."""


def ask(admin: str, view: str, keys: Keys) -> Any:
    """The JSON value at a path of the API. NoAnswer."""
    request = urllib.request.Request(f"{admin.rstrip('/')}/v1/{view}")  # noqa: S310  # checked
    token = base64.b64encode(f"{keys.access}:{keys.secret}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as fault:
        raise NoAnswer(f"{admin} answered {fault.code}: {_reason(fault)}") from None
    except (urllib.error.URLError, OSError, ValueError) as fault:
        why = getattr(fault, "reason", fault)
        raise NoAnswer(f"cannot ask {admin}: {why}; does the node run there?") from None


def _reason(fault: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(fault)["error"])
    except (ValueError, KeyError, TypeError):
        return fault.reason

"""One question to a running node's admin listener, over HTTP."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from s3node.config import Keys

TIMEOUT_S = 30


class NoAnswer(Exception):
    """One line that says why there is none."""


def ask(admin: str, view: str, keys: Keys, certificate: Path | None = None) -> Any:
    """The JSON value at a path of the API. NoAnswer.

    `certificate` is the one that a node on this machine's loopback address shows: it is trusted
    as it is, for it names the host as clients know it, and may be signed by nobody.
    """
    request = urllib.request.Request(f"{admin.rstrip('/')}/v1/{view}")  # noqa: S310  # checked
    token = base64.b64encode(f"{keys.access}:{keys.secret}".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    try:
        trust = urllib.request.HTTPSHandler(context=_context(certificate))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as fault:
        raise NoAnswer(f"{admin} answered {fault.code}: {_reason(fault)}") from None
    except (urllib.error.URLError, OSError, ValueError) as fault:
        why = getattr(fault, "reason", fault)
        if isinstance(why, ssl.SSLCertVerificationError):
            advice = "SSL_CERT_FILE=FILE names certificates to trust"
        else:
            advice = "does the node run there?"
        raise NoAnswer(f"cannot ask {admin}: {why}; {advice}") from None


def _context(certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certificate is not None:
        context.load_verify_locations(certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


def _reason(fault: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(fault)["error"])
    except (ValueError, KeyError, TypeError):
        return fault.reason

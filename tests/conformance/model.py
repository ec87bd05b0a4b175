"""botocore's model of S3: what each operation takes, and which errors it names."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import botocore

FILE = Path(botocore.__file__).parent / "data/s3/2006-03-01/service-2.json.gz"


@cache
def model() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def operations() -> dict[str, Any]:
    found: dict[str, Any] = model()["operations"]
    return found


def _members(name: str) -> list[dict[str, Any]]:
    shape = operations().get(name, {}).get("input", {}).get("shape")
    return list(model()["shapes"][shape]["members"].values()) if shape else []


def inputs(name: str) -> list[str]:
    """The headers that an operation takes, lower case."""
    return [
        member["locationName"].lower()
        for member in _members(name)
        if member.get("location") in {"header", "headers"}
    ]


def parameters(name: str) -> list[str]:
    """The query parameters that it takes, without what routes it."""
    return [
        member["locationName"]
        for member in _members(name)
        if member.get("location") == "querystring"
    ]


def errors(name: str) -> list[str]:
    return [error["shape"] for error in operations().get(name, {}).get("errors", [])]


def example(name: str) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers with everything that the model requires, and x-id."""
    http = operations()[name]["http"]
    shape = model()["shapes"].get(operations()[name].get("input", {}).get("shape"), {})
    path, _, query = http["requestUri"].partition("?")
    path = path.replace("{Bucket}", "bucket").replace("{Key+}", "a/key")
    pairs = [query] if query else []
    headers = {}
    for member in shape.get("required", ()):
        details = shape["members"][member]
        if details.get("location") == "querystring":
            pairs.append(f"{details['locationName']}=1")
        elif details.get("location") == "header":
            headers[details["locationName"].lower()] = "value"
    return http["method"], f"{path}?{'&'.join([*pairs, f'x-id={name}'])}", headers

"""Routing against botocore's service model: every operation routes to its own name."""

from __future__ import annotations

import pytest

from s3node.base.errors import S3Error
from s3node.s3 import routes
from s3node.s3.routes import operation, route
from s3node.s3.unbuilt import OLDER_FORMS
from tests.conformance.model import example, operations

from .build import request


@pytest.mark.parametrize("name", operations())
def test_every_operation_of_the_model(name: str) -> None:
    method, target, headers = example(name)
    asked = request(method, target, headers)
    wanted = OLDER_FORMS.get(name, name)
    assert operation(asked) == wanted
    if wanted in routes.BUILT:
        assert route(asked) == wanted
    else:
        with pytest.raises(S3Error, match=wanted) as caught:
            route(asked)
        assert caught.value.code == "NotImplemented"


def test_the_table_names_only_operations_of_the_model() -> None:
    known = {*operations(), "PostObject", "OptionsObject"}  # what browsers send is in no SDK
    assert {*routes.TABLE.values(), *routes.BUILT} <= known
    assert {name for _, name in routes.BY_PARAMETER.values()} <= known
    assert set(routes.BY_COPY_SOURCE.values()) <= known


REFUSED = [
    ("PUT", "/bucket/key?retention&acl", "InvalidArgument"),
    ("PUT", "/bucket/key?partNumber=1", "InvalidArgument"),
    ("PUT", "/bucket/key?uploadId=1", "InvalidArgument"),
    ("GET", "/bucket?list-type=3", "InvalidArgument"),
    ("PUT", "/bucket/key?versions", "MethodNotAllowed"),
    ("DELETE", "/bucket/key?lifecycle", "MethodNotAllowed"),
    ("DELETE", "/bucket?versions", "MethodNotAllowed"),
    ("PUT", "/bucket/key?uploads", "MethodNotAllowed"),
    ("POST", "/bucket/key", "MethodNotAllowed"),
    ("PATCH", "/bucket/key", "MethodNotAllowed"),
    ("PUT", "/", "MethodNotAllowed"),
    ("GET", "/?acl", "MethodNotAllowed"),
]


@pytest.mark.parametrize(("method", "target", "code"), REFUSED)
def test_what_is_no_operation_is_refused(method: str, target: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        route(request(method, target))
    assert caught.value.code == code


def test_405_names_the_methods_that_are_allowed() -> None:
    with pytest.raises(S3Error) as caught:
        route(request("POST", "/bucket/key"))
    assert caught.value.headers == {"allow": "DELETE, GET, HEAD, PUT"}


def test_what_decides_beside_the_subresource() -> None:
    copy = {"x-amz-copy-source": "/a/b"}
    assert route(request("PUT", "/bucket/key", copy)) == "CopyObject"
    assert route(request("PUT", "/bucket/key?uploadId=1&partNumber=1", copy)) == "UploadPartCopy"
    assert route(request("GET", "/bucket/key", copy)) == "GetObject"
    assert route(request("GET", "/bucket/key?partNumber=1&versionId=null")) == "GetObject"
    assert route(request("GET", "/bucket?list-type=2&x-id=GetObject")) == "ListObjectsV2"
    assert route(request("GET", "/", host="bucket.s3.amazonaws.com")) == "ListObjects"
    assert route(request("POST", "/bucket")) == "PostObject"
    assert route(request("OPTIONS", "/bucket/key?acl&partNumber=1")) == "OptionsObject"


def test_no_unbuilt_subresource_falls_through_to_the_plain_operation() -> None:
    plain = {routes.TABLE[row] for row in routes.TABLE if not row.subresource}
    for subresource in routes.SUBRESOURCES:
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            for path in ("/bucket", "/bucket/key"):
                try:
                    name = operation(request(method, f"{path}?{subresource}&partNumber=1"))
                except S3Error as error:
                    assert error.code == "MethodNotAllowed"
                else:
                    assert name not in plain

"""The bucket in the host name: under each configured domain, whatever the port, with TLS by one
certificate for all of them; any other host names no bucket.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from s3node.base.shares import REQUESTS
from tests.edge.certificates import Authority
from tests.edge.listening import ACCESS, REGION, SECRET, Edge, listening
from tests.edge.wire import Wire

DOMAINS = ("s3.example.org", "example.org")
KEYS = ["a.b.c.dcm", "...", ".hidden/a.", "bucket/k", "a b+c%41", "\u00fc.\u4e2d"]
"""Without the dots that this client's library takes out of a URL where there is a proxy."""


def virtual(edge: Edge, endpoint: str) -> Any:
    """boto3 as it is: the node is its proxy, so that no name has to be looked up."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        region_name=REGION,
        config=Config(
            proxies={"http": f"http://127.0.0.1:{edge.port}"},
            s3={"addressing_style": "virtual"},
            signature_version="s3v4",
            retries={"total_max_attempts": 1},
        ),
    )


@pytest.mark.parametrize(
    "endpoint", ["http://s3.example.org", "http://s3.example.org:9000", "http://example.org:80"]
)
async def test_boto3_with_buckets_in_host_names(endpoint: str) -> None:
    """Absolute targets too: that is how one speaks to a proxy."""

    def work(edge: Edge) -> None:
        there, here = virtual(edge, endpoint), edge.client()
        where = {"LocationConstraint": REGION}
        for bucket in ("studies", "with.dots"):
            there.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
            for key in KEYS:
                there.put_object(Bucket=bucket, Key=key, Body=key.encode())
                assert here.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
            listed = there.list_objects_v2(Bucket=bucket)["Contents"]
            assert [each["Key"] for each in listed] == sorted(KEYS, key=str.encode)
            there.head_bucket(Bucket=bucket)
        assert len(there.list_buckets()["Buckets"]) == 2

    async with listening(domains=DOMAINS) as edge:
        await asyncio.to_thread(work, edge)


HOSTS = [
    ("studies.s3.example.org", "/k", "studies", "k"),
    ("studies.s3.example.org.", "/k", "studies", "k"),
    ("studies.s3.example.org:1", "/k", "studies", "k"),
    ("studies.s3.example.org:65535", "/studies/k", "studies", "studies/k"),
    ("a.b.s3.example.org", "/k", "a.b", "k"),
    ("s3.example.org", "/studies/k", "studies", "k"),
    ("s3.example.org:9000", "/studies/k", "studies", "k"),
    ("xs3.example.org", "/k", "xs3", "k"),  # of the shorter domain
    ("studies.s3.example.net", "/studies/k", "studies", "k"),
    ("127.0.0.1", "/studies/k", "studies", "k"),
    ("[::1]:9000", "/studies/k", "studies", "k"),
    ("example.org.evil.net", "/studies/k", "studies", "k"),
]


@pytest.mark.parametrize(("host", "path", "bucket", "key"), HOSTS)
async def test_which_bucket_a_host_names(host: str, path: str, bucket: str, key: str) -> None:
    async with listening(domains=DOMAINS) as edge, await Wire.connect(edge.port) as wire:
        answer = await wire.ask(edge.signed("GET", path, host=host))
        assert b"<Code>NoSuchBucket</Code>" in answer.body
        assert f"<BucketName>{bucket}</BucketName>".encode() in answer.body
        assert f"<Resource>/{bucket}/{key}</Resource>".encode() in answer.body


@pytest.mark.parametrize("host", [".s3.example.org", "-x.s3.example.org", "a_b.s3.example.org"])
async def test_what_is_no_bucket_name_is_none_in_a_host_either(host: str) -> None:
    async with listening(domains=DOMAINS) as edge, await Wire.connect(edge.port) as wire:
        answer = await wire.ask(edge.signed("GET", "/k", host=host))
        assert (answer.status, b"<Code>InvalidBucketName</Code>" in answer.body) == (400, True)


async def test_the_signature_is_of_the_host_that_was_asked() -> None:
    """A request for one bucket is not one for another, nor for the same path without a bucket."""
    async with listening(domains=DOMAINS) as edge, await Wire.connect(edge.port) as wire:
        for other in ("other.s3.example.org", "s3.example.org", "studies.s3.example.org:1"):
            request = edge.signed("GET", "/images", host="studies.s3.example.org")
            moved = request.replace(b": studies.s3.example.org\r", f": {other}\r".encode())
            assert moved != request
            answer = await wire.ask(moved)
            assert b"<Code>SignatureDoesNotMatch</Code>" in answer.body


async def test_domains_that_changed_are_used_from_the_next_request_on() -> None:
    async with listening(domains=DOMAINS) as edge, await Wire.connect(edge.port) as wire:
        for domains, bucket in ((DOMAINS, b"studies"), ((), b"k"), (("net",), b"k")):
            edge.s3.change(domains, REQUESTS)
            answer = await wire.ask(edge.signed("GET", "/k", host="studies.s3.example.org"))
            assert b"<BucketName>%s</BucketName>" % bucket in answer.body


async def test_one_certificate_serves_all_buckets(tmp_path: Path) -> None:
    """A name of a star holds for one label: a bucket with dots is reached by its path."""
    ours = Authority(tmp_path, "ours")
    server = ours.server("s3.example.org", "*.s3.example.org")
    async with listening(domains=DOMAINS, tls=(*server, None)) as edge:

        async def ask(host: str, path: str) -> int:
            wire = await Wire.connect(edge.port, ssl=ours.trusted(), server_hostname=host)
            async with wire:
                named = f"{host}:{edge.port}"
                return (await wire.ask(edge.signed("PUT", path, b"x", host=named))).status

        s3 = edge.client(verify=False)
        where = {"LocationConstraint": REGION}
        for bucket in ("studies", "with.dots"):
            await asyncio.to_thread(
                s3.create_bucket, Bucket=bucket, CreateBucketConfiguration=where
            )
        assert await ask("studies.s3.example.org", "/a.dcm") == 200
        assert await ask("s3.example.org", "/with.dots/a.dcm") == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask("with.dots.s3.example.org", "/a.dcm")

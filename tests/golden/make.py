"""Make the golden stores. Run once per format version; what is here is never made again.

    python -m tests.golden.make

`v1.tar.xz`: a few objects, no checkpoint but the first. `v1-checkpoint.tar.xz`: few rows too, but
so much was overwritten that a checkpoint was made and the journal before it dropped; the rows are
large and alike, so that it packs well. Beside each, NAME.json has what must come out of it: the
SHA-256 of each object.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import shutil
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.node.process import NodeProcess

HERE = Path(__file__).parent
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 64 << 20}]


def fill(s3: Any) -> dict[str, bytes]:
    bits = random.Random(4)
    s3.create_bucket(Bucket="golden")
    s3.create_bucket(Bucket="empty")
    objects = {
        "inline": b"small",
        "empty": b"",
        "stripe": bits.randbytes(9_001),
        "ünïcödé/../日本": b"a key with dots",
        "k" * 401 + "/" + "é" * 300: b"a long key",
        "stripes": b"abcdefg" * 310_000,  # two stripes, of bytes that pack well
    }
    for key, body in objects.items():
        s3.put_object(Bucket="golden", Key=key, Body=b"overwritten" * 100)
        s3.put_object(Bucket="golden", Key=key, Body=body, Metadata={"of": "gold"})
    s3.put_object(Bucket="golden", Key="deleted", Body=bits.randbytes(5_000))
    s3.delete_object(Bucket="golden", Key="deleted")
    for key, part in (("multipart", bits.randbytes(8_000)), ("unfinished", bits.randbytes(6_000))):
        where = {"Bucket": "golden", "Key": key}
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        tag = s3.upload_part(**where, PartNumber=1, Body=part)["ETag"]
        if key == "multipart":
            done = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
            s3.complete_multipart_upload(**where, MultipartUpload=done)
            objects[key] = part
    return objects


def churn(node: NodeProcess) -> None:
    """Overwrite eight keys with large rows until a checkpoint is there."""
    s3 = node.s3(max_pool_connections=32)
    large = {
        "Metadata": {"v": "v" * 1900},
        "ContentDisposition": "d" * 6000,
        "CacheControl": "c" * 6000,
    }
    deadline = time.monotonic() + 300

    def put(number: int) -> None:
        key = "churned/" + "k" * 1000 + str(number % 8)
        s3.put_object(Bucket="golden", Key=key, Body=b"i" * 4000, **large)

    with ThreadPoolExecutor(32) as pool:
        while not list(node.disk_path(0).glob("checkpoints/*-0000000000000001.manifest")):
            assert time.monotonic() < deadline
            list(pool.map(put, range(64)))


def make(name: str, *, checkpoint: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with NodeProcess(Path(folder) / "data") as node:
            objects = fill(node.s3())
            if checkpoint:
                churn(node)
                objects |= {f"churned/{'k' * 1000}{n}": b"i" * 4000 for n in range(8)}
                node.stop()
                node.start()
            node.stop()
        shutil.rmtree(node.data / "meta")
        with (
            lzma.open(HERE / f"{name}.tar.xz", "wb", filters=XZ) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for path in sorted(node.data.rglob("*")):
                tar.add(path, path.relative_to(node.data), recursive=False)
    sums = {key: hashlib.sha256(body).hexdigest() for key, body in objects.items()}
    (HERE / f"{name}.json").write_text(json.dumps(sums, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    make("v1", checkpoint=False)
    make("v1-checkpoint", checkpoint=True)

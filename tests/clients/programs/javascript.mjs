// Workflows through the AWS SDK for JavaScript, version 3, as `test_libraries.py` says.

import assert from "node:assert/strict";
import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import * as S3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [workflow, endpoint, Bucket, folder] = process.argv.slice(2);
const client = new S3.S3Client({
  endpoint, forcePathStyle: true, region: process.env.AWS_DEFAULT_REGION,
});

const send = (name, input) => client.send(new S3[`${name}Command`]({ Bucket, ...input }));
const read = async (Key, input = {}) => {
  const answer = await send("GetObject", { Key, ...input });
  return Buffer.from(await answer.Body.transformToByteArray());
};
const refused = (promise, name) => assert.rejects(promise, (error) => error.name === name);
const large = () => readFileSync(join(folder, "large/several parts.bin"));

const workflows = {
  async tree() {
    const files = readdirSync(folder, { recursive: true })
      .filter((name) => statSync(join(folder, name)).isFile());
    for (const Key of files) {
      await new Upload({
        client, params: { Bucket, Key, Body: createReadStream(join(folder, Key)) },
      }).done();
    }
    const found = [];
    const pages = S3.paginateListObjectsV2({ client, pageSize: 3 }, { Bucket });
    for await (const page of pages) found.push(...page.Contents.map((item) => item.Key));
    assert.deepEqual(found.toSorted(), files.toSorted());
    for (const Key of files) assert.deepEqual(await read(Key), readFileSync(join(folder, Key)));
    const Objects = files.map((Key) => ({ Key }));
    const gone = await send("DeleteObjects", { Delete: { Objects } });
    assert.equal(gone.Deleted.length, files.length);
    await send("DeleteBucket");
    await S3.waitUntilBucketNotExists({ client, maxWaitTime: 60 }, { Bucket });
  },

  async streams() {
    const whole = large();
    const path = join(folder, "large/several parts.bin");
    const body = createReadStream(path);
    await send("PutObject", {
      Key: "stream", Body: body, ContentLength: whole.length, ContentType: "application/dicom",
      Metadata: { study: "1.2" }, CacheControl: "no-store",
    });
    const head = await send("HeadObject", { Key: "stream" });
    assert.equal(head.ContentLength, whole.length);
    assert.equal(head.ContentType, "application/dicom");
    assert.equal(head.CacheControl, "no-store");
    assert.deepEqual(head.Metadata, { study: "1.2" });
    assert.deepEqual(await read("stream"), whole);
    const part = await read("stream", { Range: "bytes=8388600-8388700" });
    assert.deepEqual(part, whole.subarray(8388600, 8388701));
    await send("CopyObject", { Key: "copied", CopySource: `${Bucket}/stream` });
    assert.deepEqual(await read("copied"), whole);
    await refused(read("absent"), "NoSuchKey");
    await refused(send("PutObject", { Key: "copied", IfNoneMatch: "*" }), "PreconditionFailed");
  },

  async presigned() {
    const Key = "a b/c+d&é'(1)!*.txt";
    const put = await getSignedUrl(client, new S3.PutObjectCommand({ Bucket, Key }));
    const stored = await fetch(put, { method: "PUT", body: "signed" });
    assert.equal(stored.status, 200, await stored.text());
    const get = await getSignedUrl(
      client, new S3.GetObjectCommand({ Bucket, Key }), { expiresIn: 60 },
    );
    assert.equal(await (await fetch(get)).text(), "signed");
  },

  async form() {
    const { url, fields } = await createPresignedPost(client, {
      Bucket, Key: "in/${filename}", Conditions: [["content-length-range", 1, 1000]],
    });
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", new Blob(["of a form"]), "a.txt");
    const answer = await fetch(url, { method: "POST", body: form });
    assert.equal(answer.status, 204, await answer.text());
    assert.equal((await read("in/a.txt")).toString(), "of a form");
  },

  async versions() {
    await send("PutBucketVersioning", { VersioningConfiguration: { Status: "Enabled" } });
    const made = [];
    for (const Body of ["1", "2"]) {
      made.unshift((await send("PutObject", { Key: "k", Body })).VersionId);
    }
    const marker = await send("DeleteObject", { Key: "k" });
    assert.equal(marker.DeleteMarker, true);
    await refused(read("k"), "NoSuchKey");
    const { Versions, DeleteMarkers } = await send("ListObjectVersions");
    assert.deepEqual(Versions.map((one) => one.VersionId), made);
    assert.deepEqual(DeleteMarkers.map((one) => one.VersionId), [marker.VersionId]);
    assert.equal((await read("k", { VersionId: made[1] })).toString(), "1");
    await send("DeleteObject", { Key: "k", VersionId: marker.VersionId });
    assert.equal((await read("k")).toString(), "2");
    const CopySource = `${Bucket}/k?versionId=${made[1]}`;
    await send("CopyObject", { Key: "k", CopySource });
    assert.equal((await read("k")).toString(), "1");
  },

  async tags() {
    const TagSet = [{ Key: "ward", Value: "west" }, { Key: "kind", Value: "a b" }];
    const told = async () => (await send("GetObjectTagging", { Key: "k" })).TagSet;
    const named = (set) => Object.fromEntries(set.map((tag) => [tag.Key, tag.Value]));
    await send("PutObject", { Key: "k", Body: "x", Tagging: "ward=west&kind=a%20b" });
    assert.deepEqual(named(await told()), named(TagSet));
    await send("DeleteObjectTagging", { Key: "k" });
    assert.deepEqual(await told(), []);
    await send("PutObjectTagging", { Key: "k", Tagging: { TagSet } });
    assert.deepEqual(named(await told()), named(TagSet));
    await send("PutBucketTagging", { Tagging: { TagSet } });
    assert.deepEqual(named((await send("GetBucketTagging")).TagSet), named(TagSet));
    await send("DeleteBucketTagging");
  },

  async checksums() {
    const body = large();
    for (const algorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
      const field = `Checksum${algorithm}`;
      const stored = await send("PutObject", {
        Key: algorithm, Body: body, ChecksumAlgorithm: algorithm,
      });
      assert.ok(stored[field], algorithm);
      const answer = await send("GetObject", { Key: algorithm, ChecksumMode: "ENABLED" });
      assert.equal(answer[field], stored[field]);
      assert.deepEqual(Buffer.from(await answer.Body.transformToByteArray()), body);
    }
    const upload = new Upload({
      client, params: { Bucket, Key: "parts", Body: body, ChecksumAlgorithm: "SHA256" },
    });
    await upload.done();
    const told = await send("GetObjectAttributes", {
      Key: "parts", ObjectAttributes: ["Checksum", "ObjectParts", "ObjectSize"],
    });
    assert.equal(told.ObjectSize, body.length);
    assert.equal(told.ObjectParts.TotalPartsCount, Math.ceil(body.length / (5 << 20)));
    assert.equal(told.Checksum.ChecksumType, "COMPOSITE");
  },
};

await send("CreateBucket");
await workflows[workflow]();

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { makeDataStore, type OwnedDataStore } from '../../src/data/stores/data-store.js';
import { type ErrorCode, HostError } from '../../src/errors/index.js';

/** How the S3 side answers faults; that it works against a real server is shown by `npm run e2e:s3`. */

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
let handler: Handler;
let requests: string[] = [];
let server: Server;
let store: OwnedDataStore;

before(async () => {
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    request.resume();
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  store = makeDataStore({
    localRoots: [],
    maxObjectBytes: 1000,
    s3: {
      enabled: true,
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      forcePathStyle: true,
      accessKeyId: 'key',
      secretAccessKey: 'hunter2',
      maxAttempts: 1,
    },
  });
});
after(async () => {
  await store.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const xml = (status: number, code: string): Handler => {
  return (_, response) => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>says the store</Message></Error>`);
  };
};

async function fails(action: Promise<unknown>, code: ErrorCode, pattern = /./): Promise<void> {
  await assert.rejects(action, (error: unknown) => {
    assert.ok(HostError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
}

test('faults of the store become not found, denied, misplaced or transient', async () => {
  for (const [status, said, code] of [
    [404, 'NoSuchKey', 'DATA_NOT_FOUND'],
    [404, 'NoSuchBucket', 'DATA_NOT_FOUND'],
    [403, 'AccessDenied', 'DATA_ACCESS_DENIED'],
    [403, 'SignatureDoesNotMatch', 'DATA_ACCESS_DENIED'],
    [400, 'ExpiredToken', 'DATA_ACCESS_DENIED'],
    [301, 'PermanentRedirect', 'DATA_LOCATION_UNSUPPORTED'],
    [400, 'InvalidBucketName', 'DATA_LOCATION_UNSUPPORTED'],
    [400, 'EntityTooLarge', 'DATA_TOO_LARGE'],
    [500, 'InternalError', 'DATA_UNAVAILABLE'],
    [503, 'SlowDown', 'DATA_UNAVAILABLE'],
    [429, 'TooManyRequests', 'DATA_UNAVAILABLE'],
  ] as const) {
    handler = xml(status, said);
    await fails(store.get('s3://bucket/a/key'), code, new RegExp(`"s3://bucket/a/key".*${said}`));
    await fails(store.put('s3://bucket/key', Buffer.from('x')), code);
    await fails(store.list('s3://bucket/folder'), code);
  }
});

test('exists tells an absent object from one that cannot be asked for', async () => {
  handler = (_, response) => response.writeHead(404).end();
  assert.equal(await store.exists('s3://bucket/key'), false);
  handler = (_, response) => response.writeHead(403).end();
  await fails(store.exists('s3://bucket/key'), 'DATA_ACCESS_DENIED');
  handler = (_, response) => response.writeHead(200).end();
  assert.equal(await store.exists('s3://bucket/key'), true);
});

test('a connection that breaks, before or within the answer, is transient', async () => {
  handler = (request) => request.socket.destroy();
  await fails(store.get('s3://bucket/key'), 'DATA_UNAVAILABLE');
  handler = (_, response) => {
    response.writeHead(200, { 'content-length': '500' });
    response.write('part', () => response.destroy());
  };
  await fails(store.get('s3://bucket/key'), 'DATA_UNAVAILABLE');
});

test('an object beyond the bound is refused by its announced size, or when it goes on', async () => {
  handler = (_, response) => response.writeHead(200, { 'content-length': '1001' }).end(Buffer.alloc(1001));
  await fails(store.get('s3://bucket/key'), 'DATA_TOO_LARGE', /has 1001 bytes, and at most 1000/);
  handler = (_, response) => {
    response.writeHead(200);
    response.write(Buffer.alloc(600));
    response.end(Buffer.alloc(600));
  };
  await fails(store.get('s3://bucket/key'), 'DATA_TOO_LARGE', /goes on/);
  requests = [];
  await fails(store.put('s3://bucket/key', Buffer.alloc(1001)), 'DATA_TOO_LARGE');
  assert.deepEqual(requests, []);
});

test('aborting ends a call that hangs, before the answer and within it', async () => {
  const silent = new AbortController();
  handler = () => silent.abort();
  await fails(store.get('s3://bucket/key', { signal: silent.signal }), 'CALL_CANCELLED');
  const late = new AbortController();
  handler = (_, response) => {
    response.writeHead(200);
    response.write('first piece');
  };
  const read = async () => {
    for await (const _ of store.stream('s3://bucket/key', { signal: late.signal })) {
      late.abort(new DOMException('late', 'TimeoutError'));
    }
  };
  await fails(read(), 'DEADLINE_EXCEEDED');
});

test('URIs that name no object are refused before anything is sent', async () => {
  requests = [];
  for (const uri of [
    's3://',
    's3:///key',
    's3://b/key',
    's3://bucket',
    's3://bucket/',
    's3://bucket/folder/',
    's3://bucket/a/../b',
  ]) {
    await fails(store.get(uri), 'DATA_LOCATION_UNSUPPORTED');
    await fails(store.put(uri, Buffer.from('x')), 'DATA_LOCATION_UNSUPPORTED');
    await fails(store.delete(uri), 'DATA_LOCATION_UNSUPPORTED');
  }
  assert.deepEqual(requests, []);
});

test('a listing follows pages and leaves out the objects that stand for folders', async () => {
  handler = (request, response) => {
    const second = request.url?.includes('continuation-token=next');
    const keys = second ? ['folder/a'] : ['folder/', 'folder/b', 'folder/sub/c'];
    const next = second
      ? '<IsTruncated>false</IsTruncated>'
      : '<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>';
    const contents = keys.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('');
    response.writeHead(200, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><ListBucketResult>${next}${contents}</ListBucketResult>`);
  };
  requests = [];
  assert.deepEqual(await store.list('s3://bucket/folder'), [
    's3://bucket/folder/a',
    's3://bucket/folder/b',
    's3://bucket/folder/sub/c',
  ]);
  assert.equal(requests.length, 2);
  assert.match(requests[0]!, /prefix=folder%2F/);
});

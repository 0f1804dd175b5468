// Proves the S3 side of the data store against a real S3-compatible server (moto, from PyPI), started here on loopback in
// a virtual environment of its own. Needs Python 3 and PyPI; fails where they are missing. Run by `npm run e2e:s3`, which
// builds first. Ends with a line `N passed, N failed`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { makeInputReader } from '../dist/src/data/input-reader.js';
import { makeLiteralCodec } from '../dist/src/data/literal-codec.js';
import { makeOutputWriter } from '../dist/src/data/output-writer.js';
import { makeDataStore } from '../dist/src/data/stores/data-store.js';
import { loadFlyteidlCore } from '../dist/src/idl/load-core.js';
import { searchFor, suiteSecret } from '../dist/test/support/suite-secrets.js';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const BUCKET = 'e2e-bucket';
const MAX_OBJECT_BYTES = 32 * 1024 * 1024;
const OBJECTS_LISTED = 1_250; // more than one page of 1,000
const START_LIMIT_MS = 300_000; // the first start installs from PyPI

let passed = 0;
let failed = 0;
async function check(title, run) {
  try {
    await run();
    passed++;
    console.log(`ok      ${title}`);
  } catch (error) {
    failed++;
    console.log(`NOT OK  ${title}\n${error?.stack ?? error}`);
  }
}

/** The server ends when its standard input closes, which also happens if this process dies. */
async function startServer(environment = {}) {
  const script = path.join(root, 'scripts', 'fixtures', 's3_server.py');
  const child = spawn('python3', [script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
    signal: AbortSignal.timeout(START_LIMIT_MS + 120_000),
  });
  const exited = once(child, 'exit');
  exited.catch(() => undefined);
  const lines = createInterface({ input: child.stdout });
  const endpoint = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no server within ${START_LIMIT_MS} ms`)), START_LIMIT_MS);
    const settle = (action, value) => {
      clearTimeout(timer);
      action(value);
    };
    lines.on('line', (line) => line.startsWith('listening ') && settle(resolve, line.slice('listening '.length)));
    child.once('error', (error) => settle(reject, new Error(`python3 cannot be started: ${error.message}`)));
    child.once('exit', (code) => settle(reject, new Error(`the server ended at start with code ${code}`)));
  });
  return {
    endpoint,
    /** Sends a line to the server's own boto3 client and answers what that says. */
    async tell(line) {
      const answer = once(lines, 'line');
      child.stdin.write(`${line}\n`);
      return (await answer)[0];
    },
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}

const KEYS = { accessKeyId: 'e2e-key', secretAccessKey: suiteSecret('storeKey') };
const storeAt = (endpoint, more = {}) =>
  makeDataStore({
    localRoots: [],
    maxObjectBytes: MAX_OBJECT_BYTES,
    s3: { enabled: true, endpoint, region: 'us-east-1', forcePathStyle: true, ...KEYS, ...more },
  });

async function createBucket(endpoint) {
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: KEYS });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
}

/** Asserts the code and that no credential is in the message. */
const refusedAs = (code) => (error) => {
  assert.equal(error.code, code, error.message);
  searchFor('error', code, inspect(error, { depth: 10 }));
  return true;
};

const uri = (key) => `s3://${BUCKET}/${key}`;

async function objects(store, server) {
  await check('what is put is what boto3 gets, and the other way round', async () => {
    for (const data of [Buffer.alloc(0), Buffer.from('text'), randomBytes(1024 * 1024)]) {
      await store.put(uri('plain/object'), data);
      const seen = await server.tell(`get ${BUCKET} plain/object`);
      assert.equal(seen.trim(), `got ${data.toString('base64')}`.trim());
      assert.deepEqual(Buffer.from(await store.get(uri('plain/object'))), data);
    }
    assert.equal(await server.tell(`put ${BUCKET} plain/foreign ${Buffer.from('foreign').toString('base64')}`), 'put');
    assert.equal(Buffer.from(await store.get(uri('plain/foreign'))).toString(), 'foreign');
  });
  await check('keys of any spelling are kept', async () => {
    const names = ['a b', 'ü/世界', 'q?x=1', 'hash#y', 'per%20cent', 'plus+plus', 'a//b', "quo'te", 'amp&<x>'];
    for (const name of names) await store.put(uri(`odd/${name}`), Buffer.from(name));
    for (const name of names) assert.equal(Buffer.from(await store.get(uri(`odd/${name}`))).toString(), name);
    assert.deepEqual(await store.list(uri('odd')), names.map((name) => uri(`odd/${name}`)).sort());
  });
  await check('exists, delete, and delete again', async () => {
    assert.equal(await store.exists(uri('gone')), false);
    await store.put(uri('gone'), Buffer.from('x'));
    assert.equal(await store.exists(uri('gone')), true);
    await store.delete(uri('gone'));
    await store.delete(uri('gone'));
    assert.equal(await store.exists(uri('gone')), false);
  });
  await check('a missing object or bucket is DATA_NOT_FOUND, an empty folder an empty list', async () => {
    await assert.rejects(store.get(uri('absent')), refusedAs('DATA_NOT_FOUND'));
    await assert.rejects(store.get('s3://no-such-bucket/key'), refusedAs('DATA_NOT_FOUND'));
    await assert.rejects(store.put('s3://no-such-bucket/key', Buffer.from('x')), refusedAs('DATA_NOT_FOUND'));
    await assert.rejects(store.list('s3://no-such-bucket/folder'), refusedAs('DATA_NOT_FOUND'));
    assert.deepEqual(await store.list(uri('nothing-here')), []);
  });
  await check(`a listing of ${OBJECTS_LISTED} objects is whole, and a neighbour is not in it`, async () => {
    const wanted = Array.from({ length: OBJECTS_LISTED }, (_, index) => uri(`many/part-${index}`));
    const queue = [...wanted, uri('many-more/x')];
    const work = async () => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) await store.put(next, Buffer.from('x'));
    };
    await Promise.all(Array.from({ length: 8 }, work));
    assert.deepEqual(await store.list(uri('many')), wanted.sort());
  });
}

async function bounds(store) {
  await check('a large object comes in pieces, and leaving early ends it', async () => {
    const data = randomBytes(20 * 1024 * 1024);
    await store.put(uri('large'), data);
    const pieces = [];
    for await (const piece of store.stream(uri('large'))) pieces.push(piece);
    assert.ok(pieces.length > 10);
    assert.deepEqual(Buffer.concat(pieces), data);
    for await (const piece of store.stream(uri('large'))) {
      assert.ok(piece.length < data.length);
      break;
    }
    assert.equal(await store.exists(uri('large')), true);
  });
  await check('objects beyond the bound are refused, on reading and on writing', async () => {
    await assert.rejects(store.get(uri('large'), { maxBytes: 1000 }), refusedAs('DATA_TOO_LARGE'));
    const tooLarge = Buffer.alloc(MAX_OBJECT_BYTES + 1);
    await assert.rejects(store.put(uri('too-large'), tooLarge), refusedAs('DATA_TOO_LARGE'));
    assert.equal(await store.exists(uri('too-large')), false);
  });
  await check('a signal ends a read half-way', async () => {
    const controller = new AbortController();
    const read = async () => {
      for await (const _ of store.stream(uri('large'), { signal: controller.signal })) controller.abort();
    };
    await assert.rejects(read(), refusedAs('CALL_CANCELLED'));
  });
}

async function inputsAndOutputs(store) {
  await check('inputs.pb of flytekit is read, outputs.pb and error.pb are written, under a prefix', async () => {
    const idl = loadFlyteidlCore();
    const codec = makeLiteralCodec(idl);
    const bytes = readFileSync(path.join(root, 'test', 'fixtures', 'literals', 'inputs.pb'));
    await store.put(uri('run/inputs.pb'), bytes);
    const reader = makeInputReader({ codec, inputPrefix: uri('run'), store });
    const { cases } = JSON.parse(readFileSync(path.join(root, 'test', 'fixtures', 'literals', 'cases.json'), 'utf8'));
    assert.equal(Object.keys(await reader.get()).length, cases.length);
    const writer = makeOutputWriter({
      idl,
      codec,
      store,
      outputPrefix: uri('run/outputs/'),
      maxOutputBytes: 1_000_000,
      clock: { now: () => Date.now() },
    });
    await writer.put(await reader.literals());
    await writer.putError({ code: 'E', message: 'm', recoverable: true });
    assert.deepEqual(writer.written, { outputs: true, error: true });
    const listed = await store.list(uri('run'));
    assert.deepEqual(listed, ['run/inputs.pb', 'run/outputs/error.pb', 'run/outputs/outputs.pb'].map(uri));
    assert.deepEqual(codec.readMap(await store.get(uri('run/outputs/outputs.pb'))), await reader.get());
  });
}

async function credentials(endpoint) {
  await check('without keys the usual AWS sources are used', async () => {
    process.env.AWS_ACCESS_KEY_ID = KEYS.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = KEYS.secretAccessKey;
    const store = storeAt(endpoint, { accessKeyId: undefined, secretAccessKey: undefined });
    await store.put(uri('by-environment'), Buffer.from('x'));
    assert.equal(await store.exists(uri('by-environment')), true);
    await store.close();
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
  });
  await check('a server that does not know the key refuses: DATA_ACCESS_DENIED', async () => {
    // This one checks access after its first call, which makes the bucket.
    const strict = await startServer({ INITIAL_NO_AUTH_ACTION_COUNT: '1' });
    try {
      await createBucket(strict.endpoint);
      const store = storeAt(strict.endpoint);
      await assert.rejects(store.get(uri('x')), refusedAs('DATA_ACCESS_DENIED'));
      await assert.rejects(store.put(uri('x'), Buffer.from('x')), refusedAs('DATA_ACCESS_DENIED'));
      await assert.rejects(store.exists(uri('x')), refusedAs('DATA_ACCESS_DENIED'));
      await store.close();
    } finally {
      await strict.stop();
    }
  });
}

try {
  const server = await startServer();
  const store = storeAt(server.endpoint);
  try {
    await createBucket(server.endpoint);
    await objects(store, server);
    await bounds(store);
    await inputsAndOutputs(store);
    await credentials(server.endpoint);
  } finally {
    await server.stop();
  }
  await check('a server that is gone is DATA_UNAVAILABLE, which may pass', async () => {
    const once = storeAt(server.endpoint, { maxAttempts: 1 });
    await assert.rejects(once.get(uri('large')), refusedAs('DATA_UNAVAILABLE'));
    await once.close();
  });
  await store.close();
} catch (error) {
  failed++;
  console.log(`NOT OK  the run as a whole\n${error?.stack ?? error}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { bindDataStore, makeDataStore } from '../../src/data/stores/data-store.js';
import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { bindLease } from '../../src/plugin-api/call-lease.js';

let base: string;
let root: string;
const MAX = 1000;
const store = () => makeDataStore({ localRoots: [root], maxObjectBytes: MAX });
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

before(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'file-store-'));
  root = path.join(base, 'root');
  await mkdir(root);
  await writeFile(path.join(base, 'secret'), 'outside');
});
after(() => rm(base, { recursive: true }));

async function fails(action: Promise<unknown>, code: ErrorCode, pattern = /./): Promise<void> {
  await assert.rejects(action, (error: unknown) => {
    assert.ok(HostError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });
}

test('writes, reads, lists, streams and deletes, by path and by file URL', async () => {
  const file = path.join(root, 'life', 'a b', 'ü#%.pb');
  const url = pathToFileURL(file).href;
  assert.equal(await store().exists(file), false);
  await store().put(file, Buffer.from('one'));
  await store().put(url, Buffer.from('two'));
  assert.equal(text(await store().get(file)), 'two');
  assert.equal(text(await store().get(url)), 'two');
  assert.equal(await store().exists(url), true);
  assert.deepEqual(await store().list(path.join(root, 'life')), [file]);
  assert.deepEqual(await store().list(pathToFileURL(path.join(root, 'life')).href), [url]);
  assert.deepEqual(await readdir(path.dirname(file)), ['ü#%.pb']);
  const pieces: Uint8Array[] = [];
  for await (const piece of store().stream(url)) pieces.push(piece);
  assert.equal(text(Buffer.concat(pieces)), 'two');
  await store().delete(url);
  await store().delete(url);
  assert.equal(await store().exists(file), false);
  assert.deepEqual(await store().list(path.join(root, 'nowhere')), []);
});

test('a read of what is not there, or is no file, is DATA_NOT_FOUND', async () => {
  await mkdir(path.join(root, 'folder'));
  await writeFile(path.join(root, 'plain'), '');
  for (const name of ['absent', 'folder', 'plain/below']) {
    await fails(store().get(path.join(root, name)), 'DATA_NOT_FOUND');
    assert.equal(await store().exists(path.join(root, name)), false);
  }
  assert.equal((await store().get(path.join(root, 'plain'))).length, 0);
});

test('a pipe does not hold the reader up', async () => {
  const pipe = path.join(root, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await fails(store().get(pipe), 'DATA_NOT_FOUND', /not a regular file/);
});

test('nothing outside the roots is reached, by dots, absolute paths, links or neighbours with the same beginning', async () => {
  await mkdir(path.join(base, 'root-neighbour'));
  await symlink(path.join(base, 'secret'), path.join(root, 'link'));
  await symlink(base, path.join(root, 'up'));
  await symlink(path.join(base, 'made-by-link'), path.join(root, 'dangling'));
  for (const uri of [
    `${root}/../secret`,
    `file://${root}/../secret`,
    `file://${root}/%2e%2e/secret`,
    path.join(base, 'secret'),
    path.join(base, 'root-neighbour', 'x'),
    '/etc/passwd',
    path.join(root, 'link'),
    path.join(root, 'up', 'secret'),
  ]) {
    await fails(store().get(uri), 'DATA_LOCATION_UNSUPPORTED', /outside the allowed local roots/);
    await fails(store().exists(uri), 'DATA_LOCATION_UNSUPPORTED');
    await fails(store().put(uri, Buffer.from('x')), 'DATA_LOCATION_UNSUPPORTED');
    await fails(store().delete(uri), 'DATA_LOCATION_UNSUPPORTED');
  }
  await fails(store().list(path.join(root, 'up')), 'DATA_LOCATION_UNSUPPORTED');
  await store().put(path.join(root, 'dangling'), Buffer.from('x'));
  assert.deepEqual((await readdir(base)).sort(), ['root', 'root-neighbour', 'secret']);
  assert.equal(await readFile(path.join(base, 'secret'), 'utf8'), 'outside');
  assert.ok(!(await store().list(root)).some((uri) => uri.includes('up') || uri.endsWith('link')));
});

test('links within the roots are followed, and a root may be a link itself', async () => {
  await writeFile(path.join(root, 'real'), 'r');
  await symlink(path.join(root, 'real'), path.join(root, 'alias'));
  assert.equal(text(await store().get(path.join(root, 'alias'))), 'r');
  const linked = path.join(base, 'linked-root');
  await symlink(root, linked);
  const through = makeDataStore({ localRoots: [linked], maxObjectBytes: MAX });
  assert.equal(text(await through.get(path.join(linked, 'real'))), 'r');
  await rm(linked);
});

test('malformed and foreign URIs are refused with what was seen and what is served', async () => {
  for (const [uri, pattern] of [
    ['', /got nothing/],
    ['relative/path', /expected s3:\/\/…, file:\/\/\/… or an absolute path/],
    ['gs://bucket/key', /no data store serves gs:\/\//],
    ['file://otherhost/x', /expected file:/],
    ['file:///a%2fb', /expected file:/],
    ['/nul\0byte', /zero byte/],
    [`/${'x'.repeat(5000)}`, /longer than 4096/],
    ['s3://bucket/key', /S3 is off; dataStore\.s3\.enabled turns it on/],
    ['/tmp/x/', /names a folder/],
  ] as const) {
    await fails(store().get(uri), 'DATA_LOCATION_UNSUPPORTED', pattern);
  }
  await fails(store().put(`${root}/folder-name/`, Buffer.from('')), 'DATA_LOCATION_UNSUPPORTED', /names a folder/);
  const off = makeDataStore({ localRoots: [], maxObjectBytes: MAX });
  await fails(off.get('/etc/passwd'), 'DATA_LOCATION_UNSUPPORTED', /local files are off/);
  assert.throws(() => makeDataStore({ localRoots: ['relative'], maxObjectBytes: MAX }), /must be an absolute path/);
});

test('user info and queries of a URI do not appear in errors', async () => {
  await assert.rejects(store().get('https://user:hunter2@host/x?token=hunter2'), (error: Error) => {
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
});

test('a file in the way of a folder, or the reverse, is refused on writing', async () => {
  await mkdir(path.join(root, 'occupied', 'inner'), { recursive: true });
  await writeFile(path.join(root, 'leaf'), '');
  await fails(store().put(path.join(root, 'occupied'), Buffer.from('x')), 'DATA_LOCATION_UNSUPPORTED', /in the way/);
  await fails(store().put(path.join(root, 'leaf', 'x'), Buffer.from('x')), 'DATA_LOCATION_UNSUPPORTED', /in the way/);
});

test('sizes are bounded, reading and writing, by the store and by the call', async () => {
  const file = path.join(root, 'big');
  await writeFile(file, Buffer.alloc(MAX + 1));
  await fails(store().get(file), 'DATA_TOO_LARGE', /has 1001 bytes, and at most 1000 bytes are accepted/);
  await writeFile(file, Buffer.alloc(MAX));
  assert.equal((await store().get(file)).length, MAX);
  await fails(store().get(file, { maxBytes: 10 }), 'DATA_TOO_LARGE', /at most 10 bytes/);
  await fails(store().put(file, Buffer.alloc(MAX + 1)), 'DATA_TOO_LARGE');
  assert.equal((await readFile(file)).length, MAX);
});

test('what a plugin writes after the lease of its call is not there, also where it gives a signal of its own', async () => {
  const file = path.join(root, 'outputs.pb');
  for (const own of [undefined, new AbortController().signal]) {
    let over = false;
    const call = new AbortController();
    const lease = {
      maySend: () => {
        if (over) call.abort(new Error('the lease is over'));
        return !over;
      },
      with: (other: AbortSignal) => other,
    };
    const native = Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')!.get!;
    const { signal } = call;
    bindLease(signal, lease, () => native.call(signal) || !lease.maySend());
    const bound = bindDataStore(store(), signal);
    const put = (text: string) => bound.put(file, Buffer.from(text), own && { signal: own });
    await put('before');
    const late = put('late');
    over = true;
    await fails(late, 'CALL_CANCELLED');
    await fails(put('later'), 'CALL_CANCELLED');
    assert.equal(String(await readFile(file)), 'before');
  }
});

test('an aborted signal ends a call before it does anything; a time-out is told apart', async () => {
  const file = path.join(root, 'never');
  await fails(store().put(file, Buffer.from('x'), { signal: AbortSignal.abort() }), 'CALL_CANCELLED');
  const timedOut = AbortSignal.abort(new DOMException('late', 'TimeoutError'));
  await fails(store().get(file, { signal: timedOut }), 'DEADLINE_EXCEEDED');
  await fails(bindDataStore(store(), AbortSignal.abort()).list(root), 'CALL_CANCELLED');
  assert.equal(await store().exists(file), false);
  assert.equal(await bindDataStore(store(), new AbortController().signal).exists(file), false);
});

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { makeInputReader } from '../../src/data/input-reader.js';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { makeOutputWriter, type OutputWriterOptions } from '../../src/data/output-writer.js';
import { bindDataStore, makeDataStore } from '../../src/data/stores/data-store.js';
import { readTaskInterface } from '../../src/data/task-interface.js';
import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { readNamedLiterals } from '../../src/idl/literal-map.js';
import { loadFlyteidl2 } from '../../src/idl/load.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { lenField } from '../../src/idl/wire.js';
import type { DataStore } from '../../src/plugin-api/data.js';
import { literals } from '../../src/plugin-api/literals.js';

const idl = loadFlyteidlCore();
const codec = makeLiteralCodec(idl);
let folder: string;
let store: DataStore;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'input-output-'));
  store = makeDataStore({ localRoots: [folder], maxObjectBytes: 1_000_000 });
});
after(() => rm(folder, { recursive: true }));

const coded =
  (code: ErrorCode, pattern = /./) =>
  (error: unknown) => {
    assert.ok(HostError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  };
const writer = (options: Partial<OutputWriterOptions> = {}) =>
  makeOutputWriter({
    idl,
    codec,
    store,
    outputPrefix: folder,
    maxOutputBytes: 1000,
    clock: { now: () => 1500 },
    ...options,
  });

test('inputs that came inline are read without touching the store', async () => {
  const inline = codec.writeMap({ a: 1, b: literals.blob('s3://b/k') });
  const reader = makeInputReader({ codec, inline, inputPrefix: '/nowhere', store });
  assert.deepEqual(await reader.get(), { a: 1, b: literals.blob('s3://b/k') });
  assert.equal(await reader.bytes(), inline);
  const raw = await reader.literals();
  assert.deepEqual(readNamedLiterals(codec.writeMap(raw)), readNamedLiterals(inline));
});

test('inputs.pb is read once however often it is asked for, and again after a failure', async () => {
  let reads = 0;
  const counting: DataStore = {
    ...bindDataStore(store, new AbortController().signal),
    get: (uri, options) => {
      reads += 1;
      return store.get(uri, options);
    },
  };
  const reader = makeInputReader({ codec, inputPrefix: `${folder}/`, store: counting });
  await assert.rejects(reader.get(), coded('DATA_NOT_FOUND', /inputs\.pb/));
  await writeFile(path.join(folder, 'inputs.pb'), codec.writeMap({ x: 'y' }));
  assert.deepEqual(await Promise.all([reader.get(), reader.get()]), [{ x: 'y' }, { x: 'y' }]);
  assert.equal(reads, 2);
  const bounded = makeInputReader({ codec, inputPrefix: folder, store, maxBytes: 3 });
  await assert.rejects(bounded.get(), coded('DATA_TOO_LARGE'));
  const cancelled = makeInputReader({ codec, inputPrefix: folder, store });
  await assert.rejects(cancelled.get({ signal: AbortSignal.abort() }), coded('CALL_CANCELLED'));
});

test('a task without inputs has none, and damaged inputs are told as such', async () => {
  assert.deepEqual(await makeInputReader({ codec, store }).get(), {});
  const damaged = makeInputReader({ codec, inline: Buffer.from([0x0a, 9]), store });
  await assert.rejects(damaged.get(), coded('REQUEST_UNDECODABLE'));
});

test('writes outputs of values and of bytes, and remembers that it did', async () => {
  const outputs = writer();
  assert.deepEqual(outputs.written, { outputs: false, error: false });
  await outputs.put({ n: 1.5, list: [1, 2] });
  assert.deepEqual(codec.readMap(await readFile(path.join(folder, 'outputs.pb'))), { n: 1.5, list: [1, 2] });
  const bytes = Buffer.concat([codec.writeMap({ n: 1 }), lenField(9, 'unknown field')]);
  await outputs.putBytes(bytes);
  assert.deepEqual(await readFile(path.join(folder, 'outputs.pb')), bytes);
  assert.deepEqual(outputs.written, { outputs: true, error: false });
});

test('declared types decide, and names other than the declared ones are refused', async () => {
  const declared = new Map([
    ['f', { simple: 'FLOAT' } as const],
    ['s', undefined],
  ]);
  const outputs = writer({ declared });
  await outputs.put({ f: 1, s: 'x' });
  const written = readNamedLiterals(await readFile(path.join(folder, 'outputs.pb')));
  const first = idl.codec('flyteidl.core.Literal').decode(written[0]!.value);
  assert.equal(first.scalar.primitive.value, 'floatValue');
  await assert.rejects(
    outputs.put({ f: 1, t: 'x' }),
    coded('OUTPUTS_UNUSABLE', /declares the outputs "f", "s"; not declared: "t"; missing: "s"/),
  );
  await assert.rejects(outputs.putBytes(codec.writeMap({ f: 1 })), coded('OUTPUTS_UNUSABLE', /missing: "s"/));
  await assert.rejects(outputs.put({ f: 'x', s: 'x' }), coded('LITERAL_UNCONVERTIBLE', /^f: declared as FLOAT/));
});

test('too large outputs, outputs without a prefix and failed writes leave nothing written', async () => {
  await rm(path.join(folder, 'outputs.pb'), { force: true });
  const outputs = writer();
  await assert.rejects(
    outputs.put({ x: 'x'.repeat(1000) }),
    coded('DATA_TOO_LARGE', /outputs take \d+ bytes .* most 1000/),
  );
  const nowhere = writer({ outputPrefix: '' });
  await assert.rejects(nowhere.put({ x: 1 }), coded('DATA_LOCATION_UNSUPPORTED', /sent no output prefix/));
  const outside = writer({ outputPrefix: '/etc' });
  await assert.rejects(outside.put({ x: 1 }), coded('DATA_LOCATION_UNSUPPORTED'));
  for (const one of [outputs, nowhere, outside]) assert.deepEqual(one.written, { outputs: false, error: false });
  assert.equal(await store.exists(path.join(folder, 'outputs.pb')), false);
});

test('error.pb is the document that flytekit writes, with a time', async () => {
  const outputs = writer();
  await outputs.putError({ code: 'OutOfMemory', message: 'killed', recoverable: true, origin: 'SYSTEM' });
  const document = idl.codec('flyteidl.core.ErrorDocument');
  const written = document.decode(await readFile(path.join(folder, 'error.pb')));
  assert.deepEqual(written.error.timestamp, { seconds: '1', nanos: 500_000_000 });
  const fixture = new URL('../../../test/fixtures/literals/error-document.pb', import.meta.url);
  written.error.timestamp = null;
  assert.deepEqual(written, document.decode(await readFile(fixture)));
  assert.equal(outputs.written.error, true);
  await assert.rejects(
    writer().putError({ code: '', message: 'm', recoverable: false }),
    coded('ENCODE_INVALID', /error\.code: required/),
  );
});

test('the declared interface is read from templates of Flyte 1 and Flyte 2 alike', () => {
  const one = idl.codec('flyteidl.core.TaskTemplate').encode({
    type: 't',
    interface: {
      inputs: { variables: { i: { type: { simple: 'INTEGER' } } } },
      outputs: { variables: { o: { type: { collectionType: { simple: 'FLOAT' } } }, p: {} } },
    },
  });
  const two = loadFlyteidl2()
    .codec('flyteidl2.core.TaskTemplate')
    .encode({
      type: 't',
      interface: {
        inputs: { variables: [{ key: 'i', value: { type: { simple: 'INTEGER' } } }] },
        outputs: {
          variables: [
            { key: 'o', value: { type: { collectionType: { simple: 'FLOAT' } } } },
            { key: 'p', value: {} },
          ],
        },
      },
    });
  for (const template of [one, two]) {
    const { inputs, outputs } = readTaskInterface(codec, template);
    assert.equal(inputs.get('i')?.simple, 'INTEGER');
    assert.equal(outputs.get('o')?.collectionType?.simple, 'FLOAT');
    assert.deepEqual([...outputs.keys()], ['o', 'p']);
    assert.deepEqual(codec.read(codec.write(5, outputs.get('p'))), 5);
  }
  assert.equal(readTaskInterface(codec, Buffer.alloc(0)).inputs.size, 0);
  assert.throws(() => readTaskInterface(codec, Buffer.from([0x22, 9])), coded('REQUEST_UNDECODABLE'));
});

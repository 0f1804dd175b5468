import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import type { TaskEvents } from '../../src/model/events/tasks.js';
import { decodeHandle } from '../../src/model/handle.js';
import { HandleKeys } from '../../src/model/handle-keys.js';
import { underSignatureOf, withChecksum } from '../model/made-up-handles.js';
import { created, type Harness, type HarnessOptions, HINTS, makeHarness, ok, running, settle } from './harness.js';

const MINE = 'the-key-of-this-daemon-0123456789abcdef';
const NEWER = 'the-key-that-came-later-0123456789abcdef';
const FOREIGN = 'the-key-of-another-daemon-0123456789abcdef';
const HOUR = 3_600_000;

interface Seen {
  readonly signature: string;
  readonly taken: boolean;
}

async function daemon(options: HarnessOptions = {}): Promise<{ readonly h: Harness; readonly seen: Seen[] }> {
  const seen: Seen[] = [];
  const events: TaskEvents = { handleUnverified: (signature, taken) => seen.push({ signature, taken }) };
  const h = await makeHarness({ handleKeys: [MINE], events, ...options });
  h.plugin.on.create = () => created('{"job":1}', undefined);
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  return { h, seen };
}

/** A handle that some daemon with these keys answered. */
async function answered(keys: readonly string[] | undefined, name = 'a'): Promise<Buffer> {
  const { h } = await daemon({ handleKeys: keys });
  const { handle } = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.stop();
  return handle;
}

/** Another job, under a checksum that fits. */
function alteredMeta(handle: Buffer): Buffer {
  const altered = Buffer.from(handle);
  altered[altered.length - 2] = 0x39;
  return withChecksum(altered);
}

const status = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
const refusedAs = (code: string) => (error: unknown) => HostError.is(error) && error.code === code;

async function refusedEverywhere(h: Harness, handle: Buffer, code: string): Promise<void> {
  const before = h.plugin.calls.length;
  const calls: [string, () => Promise<unknown>][] = [
    ['Status', () => status(h, handle)],
    ['Get', () => settle(h.clock, h.tasks.get(handle, HINTS, h.scope()))],
    ['Delete', () => settle(h.clock, h.tasks.delete(handle, 'r', HINTS))],
    ['Watch', async () => h.tasks.watch({ plugins: [], handles: [handle], resumeToken: '', includeCurrent: true })],
  ];
  for (const [name, call] of calls) await assert.rejects(call, refusedAs(code), name);
  assert.equal(h.plugin.calls.length, before, 'it costs the plugin nothing');
  assert.equal(h.store.unfinished, 0, 'and no place');
  assert.equal(h.store.owed.size, 0);
}

test('a handle of a daemon before this one is taken up by its signature, also under a key that has been replaced', async () => {
  const old = await answered([MINE]);
  for (const handleKeys of [[MINE], [NEWER, MINE]]) {
    const { h, seen } = await daemon({ handleKeys });
    assert.equal((await status(h, old)).state.phase, 'RUNNING');
    assert.deepEqual(seen, []);
    await h.stop();
  }
});

test('a handle that is unsigned, foreign, or altered is refused with its code by each call, and costs nothing', async () => {
  const mine = await answered([MINE]);
  const altered = alteredMeta(mine);
  const cases: [handle: Buffer, code: string][] = [
    [await answered(undefined), 'HANDLE_UNSIGNED'],
    [await answered([FOREIGN]), 'HANDLE_FOREIGN'],
    [altered, 'HANDLE_MALFORMED'],
    [mine.subarray(0, mine.length - 1), 'HANDLE_MALFORMED'],
  ];
  for (const [handle, code] of cases) {
    const { h } = await daemon();
    await refusedEverywhere(h, handle, code);
    await h.stop();
  }
});

test('a signed handle of another key, plugin, project or incarnation cannot be made from one that was seen', async () => {
  const { h } = await daemon();
  const mine = await answered([MINE]);
  const { identity, meta } = decodeHandle(mine);
  const parts = [
    { plugin: 'other' },
    { project: 'p2' },
    { incarnation: 2 },
    { key: 'f'.repeat(32) },
    { taskType: 'u' },
  ];
  for (const part of parts) {
    const made = underSignatureOf(mine, { identity: { ...identity, ...part }, meta });
    await assert.rejects(status(h, made), refusedAs('HANDLE_MALFORMED'), JSON.stringify(part));
  }
  await h.stop();
});

test('within the grace after the birth of the state unsigned and foreign handles are taken up, altered ones never, and after it none', async () => {
  const unsigned = await answered(undefined, 'u');
  const foreign = await answered([FOREIGN], 'f');
  const altered = alteredMeta(await answered([MINE], 'm'));
  const { h, seen } = await daemon({ handleGraceMs: HOUR });
  assert.equal((await status(h, unsigned)).state.phase, 'RUNNING');
  assert.equal((await status(h, foreign)).state.phase, 'RUNNING');
  await assert.rejects(status(h, altered), refusedAs('HANDLE_MALFORMED'));
  assert.deepEqual(seen, [
    { signature: 'none', taken: true },
    { signature: 'unknown', taken: true },
    { signature: 'wrong', taken: false },
  ]);
  await h.clock.advance(HOUR);
  assert.equal((await status(h, unsigned)).state.phase, 'RUNNING', 'what was taken up is held, and is asked no more');
  await assert.rejects(status(h, await answered(undefined, 'late')), refusedAs('HANDLE_UNSIGNED'));
  await assert.rejects(status(h, await answered([FOREIGN], 'late')), refusedAs('HANDLE_FOREIGN'));
  await h.stop();
});

test('a repeated create answers the bytes that it answered first, also after the keys have changed', async () => {
  const { h } = await daemon();
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  h.trust.use(new HandleKeys([NEWER, MINE]));
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(again.handle, first.handle);
  const next = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  assert.equal(decodeHandle(next.handle).signedWith, new HandleKeys([NEWER]).signer?.keyId);
  h.trust.use(new HandleKeys([NEWER]));
  assert.equal((await status(h, first.handle)).state.phase, 'RUNNING', 'what memory holds needs no key');
  await h.stop();
});

test('without keys handles are not signed, and those of daemons that sign are taken up', async () => {
  const { h, seen } = await daemon({ handleKeys: undefined });
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(decodeHandle(handle).signedWith, undefined);
  assert.equal((await status(h, await answered([FOREIGN], 'f'))).state.phase, 'RUNNING');
  assert.deepEqual(seen, []);
  await h.stop();
});

test('a resource meta of another service is looked at by a plugin only where the operator lets it', async () => {
  const { h } = await daemon({
    plugin: (plugin) => {
      plugin.features.adoptMeta = true;
    },
  });
  const meta = Buffer.from('{"foreign":1}');
  h.plugin.on.adoptMeta = () => ok({ meta });
  const before = h.plugin.calls.length;
  const adopt = settle(h.clock, h.tasks.adoptForeign(meta, 't', 0, HINTS, h.scope()));
  await assert.rejects(
    adopt,
    (error) => refusedAs('HANDLE_MALFORMED')(error) && /handles\.adoptForeign/.test(String(error)),
  );
  assert.equal(h.plugin.calls.length, before);
  await h.stop();
});

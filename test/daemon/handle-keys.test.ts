import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HandleKeyWatch, type KeptKey, type KeyTaker } from '../../src/daemon/handle-keys.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { SecretMasks } from '../../src/lib/secrets.js';
import { decodeHandle, encodeHandle } from '../../src/model/handle.js';
import { HandleKeys } from '../../src/model/handle-keys.js';
import { HandleTrust } from '../../src/tasks/read/handle-trust.js';
import type { Log } from '../../src/telemetry/index.js';
import { compiled } from '../support/paths.js';
import { start as spawn } from '../support/spawn.js';
import { tempFolder } from '../support/temp.js';
import { BOUND, configOf, type DaemonProcess, demoEntry, spawnServe, startServe, until } from './support.js';

const FIRST = 'first-key-0123456789abcdef0123456789abcdef';
const SECOND = 'second-key-0123456789abcdef0123456789abcdef';
const idOf = (key: string) => new HandleKeys([key]).signer?.keyId;

const IDENTITY = {
  plugin: 'demo',
  taskType: 't',
  taskTypeVersion: 0,
  key: '0123456789abcdef0123456789abcdef',
  incarnation: 1,
  project: '',
  domain: '',
  namespace: '',
  quotaNamespace: '',
  createdAtMs: 0,
  outputNames: undefined,
};

function watch(file: string | undefined) {
  const clock = new ManualClock();
  const lines: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  const log = { emit: (event: string, fields = {}) => lines.push({ event, fields }) } as unknown as Log;
  const trust = new HandleTrust({ clock, graceMs: 0, events: {} });
  const masks = new SecretMasks();
  const keys = new HandleKeyWatch({ file, masks, clock, log });
  const start = (kept?: KeptKey) => keys.take([{ trust, kept }]);
  const signsWith = () => decodeHandle(trust.encode({ identity: IDENTITY, meta: undefined })).signedWith;
  return { clock, lines, keys, start, masks, trust, signsWith };
}

test('the keys of the file sign from the start, and others as soon as the file holds them', async (t) => {
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, `${FIRST}\n`);
  const { clock, lines, keys, start, masks, signsWith } = watch(file);
  await start();
  assert.equal(signsWith(), idOf(FIRST));
  writeFileSync(`${file}.new`, `${SECOND}\n${FIRST}\n`);
  renameSync(`${file}.new`, file);
  await until('the new key', async () => {
    await clock.advance(10_000);
    await sleep(5);
    return signsWith() === idOf(SECOND);
  });
  assert.deepEqual(
    lines.map(({ event, fields }) => [event, (fields.keys as string[]).length]),
    [
      ['handle.keys', 1],
      ['handle.keys', 2],
    ],
  );
  assert.ok(!JSON.stringify(lines).includes('key-0123'), 'ids are told, no keys');
  assert.doesNotMatch(masks.mask(`seen ${FIRST} and ${SECOND}`), /key-0123/);
  keys.stop();
});

test('a key that is being written signs nothing until a second look finds the same', async (t) => {
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, FIRST);
  const { clock, keys, lines, start, signsWith } = watch(file);
  await start();
  t.after(() => keys.stop());
  const after = async (ms: number, text: string) => {
    writeFileSync(file, text);
    await clock.advance(ms);
    await until('the next look', () => clock.pending > 0);
    return signsWith();
  };
  assert.equal(await after(10_000, SECOND.slice(0, 32)), idOf(FIRST));
  assert.equal(await after(1_000, SECOND.slice(0, 40)), idOf(FIRST));
  assert.equal(await after(1_000, SECOND), idOf(FIRST));
  assert.equal(await after(1_000, SECOND), idOf(SECOND));
  assert.equal(lines.filter(({ event }) => event === 'handle.keys').length, 2);
});

test('a file that is gone or spoilt while the daemon runs changes nothing, is told once for each reason, and is taken when it is whole again', async (t) => {
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, FIRST);
  const { clock, lines, keys, start, signsWith } = watch(file);
  await start();
  const told = () =>
    lines.filter(({ event }) => event === 'handle.keys_kept').map(({ fields }) => String(fields.error));
  const looks = async (what: string, seen: () => boolean) =>
    until(what, async () => {
      await clock.advance(10_000);
      await sleep(5);
      return seen();
    });
  rmSync(file);
  await looks('the first report', () => told().length === 1);
  writeFileSync(file, '# nothing here yet\n');
  await looks('the second report', () => told().length === 2);
  for (let look = 0; look < 3; look++) {
    await clock.advance(10_000);
    await sleep(5);
  }
  assert.equal(told().length, 2);
  assert.match(told()[0] ?? '', /ENOENT/);
  assert.match(told()[1] ?? '', /holds no key/);
  assert.equal(signsWith(), idOf(FIRST));
  writeFileSync(file, SECOND);
  await looks('the keys', () => signsWith() === idOf(SECOND));
  keys.stop();
});

test('a daemon without a file of keys signs nothing, and one whose file cannot be used does not start', async (t) => {
  const without = watch(undefined);
  await without.start();
  assert.equal(without.signsWith(), undefined);
  const folder = tempFolder(t);
  const file = path.join(folder, 'keys');
  const starts = (at: string) => assert.rejects(watch(at).start(), (error) => unreadable(error, at));
  await starts(file);
  writeFileSync(file, 'too short');
  await starts(file);
  writeFileSync(file, `${FIRST}\n${'#'.repeat(70_000)}`);
  await starts(file);
  await starts(folder);
  await starts('/dev/zero');
});

test('a standby whose file cannot be used says why, once, signs for nobody, and does as soon as it can', async (t) => {
  const file = path.join(tempFolder(t), 'keys');
  const { clock, lines, keys, start, masks, signsWith } = watch(file);
  const isAway = (error: unknown) => HostError.is(error) && error.code === 'OWNER_AWAY';
  const looked = async () => {
    await clock.advance(10_000);
    await sleep(5);
  };
  await keys.read();
  assert.equal(lines.length, 1);
  for (let times = 0; times < 3; times++) await looked();
  assert.deepEqual(
    lines.map(({ event, fields }) => [event, fields.file]),
    [['handle.keys_unread', file]],
  );
  assert.match(String(lines[0]?.fields.error), /ENOENT/);
  assert.throws(() => keys.textsWith(SECOND), isAway);
  await assert.rejects(start(), (error) => HostError.is(error) && error.code === 'HANDLE_KEYS_UNREADABLE');
  writeFileSync(file, `${FIRST}\n`);
  const texts = await until('the key', async () => {
    await looked();
    try {
      return keys.textsWith(SECOND);
    } catch (error) {
      if (!isAway(error)) throw error;
      return undefined;
    }
  });
  assert.deepEqual(texts, [FIRST, SECOND], 'the key of the state verifies below those of the file');
  assert.doesNotMatch(masks.mask(`seen ${FIRST} and ${SECOND}`), /key-0123/);
  await start();
  assert.equal(signsWith(), idOf(FIRST));
  keys.stop();
});

test('who stands in signs as an owner of the part would: with its own key where there is no file, and once where both are the same', async (t) => {
  const alone = watch(undefined);
  await alone.keys.read();
  assert.deepEqual(alone.keys.textsWith(FIRST), [FIRST]);
  assert.equal(alone.clock.pending, 0, 'there is nothing to look at');
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, `${SECOND}\n${FIRST}\n`);
  const both = watch(file);
  await both.keys.read();
  assert.deepEqual(both.keys.textsWith(FIRST), [SECOND, FIRST]);
  assert.deepEqual(both.lines, []);
  both.keys.stop();
});

test('the key of the state signs where there is no file, and verifies below the keys of one', async (t) => {
  const kept = { text: 'key-of-the-state-0123456789abcdef0123456789', bornMsAgo: 5_000 };
  const alone = watch(undefined);
  await alone.start(kept);
  assert.equal(alone.signsWith(), idOf(kept.text));
  assert.deepEqual(
    alone.lines.map(({ event }) => event),
    ['handle.key_kept_in_state'],
  );
  assert.doesNotMatch(alone.masks.mask(`seen ${kept.text}`), /key-of-the-state/);
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, FIRST);
  const both = watch(file);
  await both.start(kept);
  assert.equal(both.signsWith(), idOf(FIRST));
  const ofState = encodeHandle({ identity: IDENTITY, meta: undefined }, new HandleKeys([kept.text]).signer);
  assert.doesNotThrow(() => both.trust.check(ofState, decodeHandle(ofState)));
  both.keys.stop();
});

test('one watch of the file gives its keys to each part with the key of that part, also to one that comes later, and to none that went', async (t) => {
  const file = path.join(tempFolder(t), 'keys');
  writeFileSync(file, FIRST);
  const { clock, keys, lines } = watch(file);
  t.after(() => keys.stop());
  const keptBy = (part: string) => ({ text: `key-of-part-${part}-0123456789abcdef0123456789`, bornMsAgo: 5_000 });
  const parts = ['a', 'b', 'c'].map((name) => {
    const trust = new HandleTrust({ clock, graceMs: 0, events: {} });
    return { trust, kept: keptBy(name) };
  }) as [KeyTaker, KeyTaker, KeyTaker];
  const [a, b, c] = parts;
  const signsWith = ({ trust }: KeyTaker) =>
    decodeHandle(trust.encode({ identity: IDENTITY, meta: undefined })).signedWith;
  const takes = ({ trust }: KeyTaker, key: string) => {
    const bytes = encodeHandle({ identity: IDENTITY, meta: undefined }, new HandleKeys([key]).signer);
    try {
      trust.check(bytes, decodeHandle(bytes));
      return true;
    } catch {
      return false;
    }
  };
  await keys.take([a, b]);
  assert.equal(clock.pending, 1, 'one look for both');
  await keys.take([c]);
  assert.equal(clock.pending, 1);
  assert.deepEqual(parts.map(signsWith), [idOf(FIRST), idOf(FIRST), idOf(FIRST)]);
  for (const one of parts) {
    assert.deepEqual(
      parts.map(({ kept }) => takes(one, kept?.text as string)),
      parts.map((other) => other === one),
    );
  }
  keys.letGo(b.trust);
  writeFileSync(file, SECOND);
  await until('the new key', async () => {
    await clock.advance(10_000);
    await sleep(5);
    return signsWith(c) === idOf(SECOND);
  });
  assert.deepEqual(parts.map(signsWith), [idOf(SECOND), idOf(FIRST), idOf(SECOND)]);
  assert.ok(takes(a, a.kept?.text as string), 'the key of the part counts on');
  assert.deepEqual(
    lines.map(({ fields }) => (fields.keys as string[]).length),
    [3, 2, 3],
  );
});

function unreadable(error: unknown, file: string): boolean {
  assert.ok(HostError.is(error), String(error));
  assert.equal(error.code, 'HANDLE_KEYS_UNREADABLE');
  assert.ok(error.message.includes(file) && error.message.includes('handles.keysFile'), error.message);
  return true;
}

test('a handle outlives its daemon where the next one has its key, and is refused where not', BOUND, async (t) => {
  const folder = tempFolder(t);
  const keysFile = path.join(folder, 'keys');
  const config = configOf({ demo: demoEntry('http://127.0.0.1:9') }, { handles: { keysFile, grace: '0ms' } });
  writeFileSync(keysFile, FIRST);
  const maker = await startServe(t, config);
  const task = { generatedName: 'a', template: { type: 'demo_hang' } };
  const { handle } = await maker.client.create(task, { deadlineMs: 2_000 });
  assert.equal(decodeHandle(handle).signedWith, idOf(FIRST));
  await stop(maker);

  const answerOf = async (keys: string) => {
    writeFileSync(keysFile, keys);
    const daemon = await startServe(t, config);
    const answer = await daemon.client.status(handle).then(
      (status) => status.phaseInfo.error?.code,
      (error: { code?: string }) => error.code,
    );
    const { body } = await daemon.http('/metrics');
    await stop(daemon);
    return { answer, refused: /pluginhost_handles_unverified_total\{.*\} 1/.test(body) };
  };
  // Its remote is not there, so it was accepted and no more.
  assert.deepEqual(await answerOf(`${SECOND}\n${FIRST}`), { answer: 'CREATE_LOST', refused: false });
  assert.deepEqual(await answerOf(SECOND), { answer: 'HANDLE_FOREIGN', refused: true });

  rmSync(keysFile);
  const failed = spawnServe(t, config);
  await failed.waitFor(/HANDLE_KEYS_UNREADABLE/);
});

test(
  'a state keeps its key over restarts, another state has another one, and the export of a state has none',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    const config = (dir: string) =>
      configOf(
        { demo: demoEntry('http://127.0.0.1:9') },
        { handles: { grace: '0ms' }, state: { dir: path.join(folder, dir) } },
      );
    const create = async (daemon: DaemonProcess, generatedName: string) => {
      const task = { generatedName, template: { type: 'demo_hang' } };
      return (await daemon.client.create(task, { deadlineMs: 2_000 })).handle;
    };
    const signers: (number | undefined)[] = [];
    for (const dir of ['one', 'one', 'two']) {
      const daemon = await startServe(t, config(dir));
      const handle = await create(daemon, `${dir}-${signers.length}`);
      signers.push(decodeHandle(handle).signedWith);
      await stop(daemon);
    }
    assert.notEqual(signers[0], undefined);
    assert.equal(signers[0], signers[1]);
    assert.notEqual(signers[0], signers[2]);
    const args = [compiled('src/main.ts'), 'state', 'export', path.join(folder, 'one')];
    const { stdout, code } = await spawn(t, process.execPath, args).finished;
    assert.equal(code, 0);
    assert.match(stdout, /"kind":"handleKey"/);
    assert.match(stdout, /"signingKey":"\[redacted\]"/);
  },
);

async function stop({ running }: DaemonProcess): Promise<void> {
  running.child.kill('SIGTERM');
  await running.finished;
}

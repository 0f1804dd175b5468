import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/lib/clock.js';
import { decodeHandle } from '../../src/model/handle.js';
import { EmbeddedEngine, inspectState, openFolderForInspection } from '../../src/state/index.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { type KeptState, keptConfig, task, toldOf, withOutputs } from './kept-state.js';
import { logOf, spawnServe, startDemoRemote, startServe } from './support.js';

const BOUND = { timeout: 290_000 };

const fixtures = fromRoot('test', 'fixtures', 'daemon-state');
const releases = readdirSync(fixtures).map((name) => name.replace('.json', ''));

function unpack(t: TestContext, release: string): { readonly dir: string; readonly kept: KeptState } {
  const dir = path.join(tempFolder(t), 'state');
  const kept = JSON.parse(readFileSync(path.join(fixtures, `${release}.json`), 'utf8')) as KeptState;
  for (const [name, content] of Object.entries(kept.files)) {
    mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    writeFileSync(path.join(dir, name), Buffer.from(content, 'base64'));
  }
  return { dir, kept };
}

/** In so short a time nothing is forgotten for its age. Milliseconds. */
const SOON_MS = 60_000;

/** Has a daemon take it to be soon after those tasks were created, whatever the day: what it remembers of ends it does for a day. */
function soonAfter({ tasks }: KeptState): Record<string, string> {
  const created = Object.values(tasks).map(({ handle }) => decodeHandle(Buffer.from(handle, 'base64')).identity);
  const nowMs = Math.max(...created.map(({ createdAtMs }) => createdAtMs)) + SOON_MS;
  const set = `Object.defineProperty(performance, 'timeOrigin', { value: ${nowMs} - performance.now() })`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(set)}` };
}

test('there is what a daemon of at least one release left', () => assert.ok(releases.includes('0.1.0')));

for (const release of releases) {
  test(
    `a daemon goes on from what one of ${release} left when it was killed, and tells each handle what it was told`,
    BOUND,
    async (t) => {
      const { dir, kept } = unpack(t, release);
      const report = await inspectState(await openFolderForInspection(dir));
      assert.deepEqual(report.problems, []);
      for (const kind of [
        'task',
        'payload',
        'outputs',
        'owed',
        'mark',
        'do',
        'routes',
        'birth',
        'handleKey',
      ] as const) {
        assert.ok(report.facts[kind].count > 0, kind);
      }
      // Its remote is away, so that nothing changes but by the daemon itself.
      const remote = await startDemoRemote(t);
      remote.control.down = true;
      const daemon = await startServe(t, keptConfig(remote.url, dir), undefined, soonAfter(kept));
      for (const [name, told] of Object.entries(kept.tasks)) {
        const now = await toldOf(daemon.client, Buffer.from(told.handle, 'base64'));
        assert.deepEqual(now, told, name);
      }
      const loaded = logOf(daemon.running).find(({ event }) => event === 'state.loaded');
      assert.equal(loaded?.deletesOwed, kept.owed);
      const small = (await daemon.plugin('demo')).quotas.find(({ namespace }) => namespace === 'small');
      assert.deepEqual([small?.used, small?.waiting], [2, 1]);
      const again = await daemon.client.create(withOutputs('over with outputs', 'kept'));
      assert.equal(again.handle.toString('base64'), kept.tasks['over with outputs']?.handle);
      assert.equal(remote.created, 0);
      remote.control.down = false;
      const fresh = await daemon.client.create(withOutputs('new', 'said'));
      assert.equal((await daemon.client.waitForEnd(fresh.handle, { timeoutMs: 60_000 })).phaseInfo.phase, 'SUCCESS');
    },
  );
}

for (const [what, spoil, said] of [
  ['folder', writeNewerFolder, /STATE_FORMAT_NEWER: the state in .* has format 99, this release knows \d+/],
  ['kind of facts', (dir: string) => put(dir, 'lease/3'), /STATE_FORMAT_NEWER: the state holds "lease\/3"/],
] as const) {
  test(
    `a daemon does not start on a state with a newer ${what}, says what to do, and leaves it as it is`,
    BOUND,
    async (t) => {
      const { dir } = unpack(t, releases[0] as string);
      await spoil(dir);
      const remote = await startDemoRemote(t);
      const refused = spawnServe(t, keptConfig(remote.url, dir));
      const { code, stderr } = await refused.finished;
      assert.notEqual(code, 0);
      assert.match(stderr, said);
      assert.match(stderr, /start the release that wrote it, or a later one/);
      assert.equal((await spawnServe(t, keptConfig(remote.url, dir)).finished).code, code, 'and so it does again');
    },
  );
}

function writeNewerFolder(dir: string): void {
  writeFileSync(path.join(dir, 'state.json'), '{"format":99}\n');
}

async function put(dir: string, key: string): Promise<void> {
  const engine = new EmbeddedEngine({ dir, clock: systemClock });
  await engine.open();
  await engine.commit(new Map([[key, Buffer.alloc(20)]]), []);
  await engine.close();
}

test(
  'a handle that is shown again after its task was over or deleted, or to another daemon, changes nothing and is answered truly',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const first = await startServe(t, keptConfig(remote.url, path.join(tempFolder(t), 'state')));
    const over = await first.client.create(withOutputs('over', 'said'));
    await first.client.waitForEnd(over.handle, { timeoutMs: 60_000 });
    const gone = await first.client.create(task('gone', 'demo_hang'));
    await first.client.delete(gone.handle);
    const before = [await toldOf(first.client, over.handle), await toldOf(first.client, gone.handle)];
    assert.deepEqual(
      before.map(({ code, phase }) => code || phase),
      ['SUCCESS', 'TASK_DELETED'],
    );
    const jobs = remote.created;
    for (let i = 0; i < 3; i++) {
      await first.client.delete(gone.handle);
      await first.client.delete(over.handle);
      await first.client.get(over.handle);
      assert.deepEqual([await toldOf(first.client, over.handle), await toldOf(first.client, gone.handle)], before);
    }
    first.running.child.kill('SIGKILL');
    await first.running.finished;
    const config = keptConfig(remote.url, path.join(tempFolder(t), 'state'));
    const other = await startServe(t, { ...config, handles: { grace: '0s' } });
    const calls = remote.calls.length;
    for (const { handle } of [over, gone]) {
      const refused = (error: { code?: string }) => error.code === 'HANDLE_FOREIGN';
      await assert.rejects(other.client.status(handle), refused);
      await assert.rejects(other.client.get(handle), refused);
      await assert.rejects(other.client.delete(handle), refused);
    }
    assert.deepEqual([remote.created, remote.calls.length], [jobs, calls], 'the remote hears nothing of it');
  },
);

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootMs } from '../../src/lib/boot-clock.js';
import type { SendingLease } from '../../src/model/sending-lease.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { createArgs, resourceArgs, startHost } from './support.js';

const BOUND = { timeout: 120_000 };
/** How long a call may take here, and a process be silent: nobody's patience ends before the test does. */
const PATIENT = { heartbeatMs: 60_000, hangMs: 110_000 };
/** Of the first try; the next one has twice as long, where a busy machine let it pass before the call was begun. */
const LEASE_MS = 1_000;

/** Asks the remote for a page, and then to make a job: by the HTTP client, or by what Node has. */
const PLUGIN = `
import { createHttpClient, definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({
  id: 'two-steps', apiVersion: 1, version: '1.0.0', taskTypes: ['two_steps'],
  load({ settings: { url, plain } }) {
    const api = createHttpClient({ baseUrl: url, proxy: 'none' });
    return {
      async create(ctx) {
        if (plain) {
          await (await fetch(url + '/first')).text();
          await (await fetch(url + '/job', { method: 'POST', signal: ctx.signal })).text();
        } else {
          await api.get(ctx, '/first');
          await api.post(ctx, '/job');
        }
        return { resourceMeta: 'job' };
      },
      resourceRequirements: () => ({ namespace: 'one' }),
      get: () => phases.running(),
      delete: () => {},
      close: () => api.close(),
    };
  },
});
`;

async function makeScene(t: TestContext, plain = false) {
  const asked: string[] = [];
  const first: ServerResponse[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (request.url === '/first') first.push(response);
    else response.end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const folder = tempFolder(t);
  writeTree(folder, { 'two-steps.mjs': PLUGIN });
  const renewals = new Set<(endsAtMs: number) => void>();
  const held = { endsAtMs: Number.POSITIVE_INFINITY };
  const lease: SendingLease = {
    endsAtMs: () => held.endsAtMs,
    onRenewed: (listener) => {
      renewals.add(listener);
      return () => renewals.delete(listener);
    },
  };
  const renew = (endsAtMs: number) => {
    held.endsAtMs = endsAtMs;
    for (const one of renewals) one(endsAtMs);
  };
  const settings = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, plain };
  const entry = { source: `${folder}/two-steps.mjs`, callTimeout: '100s', settings };
  const { plugin } = await startHost(t, [entry], { lease, limits: PATIENT });
  const served = plugin('two-steps');
  const pid = served.pid as number;
  const outcomeOf = async (call: ReturnType<typeof served.call>) => {
    const outcome = await call;
    if (outcome.ok) return 'ok';
    const { kind, code, notCreated } = outcome.failure;
    return `${kind} ${code}${notCreated ? ' not created' : ''}`;
  };
  const until = async (what: () => boolean) => {
    while (!what()) await sleep(5);
  };
  return {
    asked,
    renew,
    renewals,
    plugin: served,
    until,
    outcomeOf,
    answerFirst: () => first.shift()?.end('{}'),
    /** A create that has asked for its first page, and when the lease ends that it was called under. */
    async begun() {
      for (let leaseMs = LEASE_MS; ; leaseMs *= 2) {
        const endsAtMs = bootMs() + leaseMs;
        renew(endsAtMs);
        let refused = false;
        const outcome = outcomeOf(served.call('create', createArgs(), { deadlineMs: undefined }));
        void outcome.then(() => {
          refused = true;
        });
        await until(() => refused || first.length > 0);
        if (first.length > 0) return { outcome, endsAtMs };
      }
    },
    /** Resolves once its process has taken in whatever was sent to it so far. */
    async tookIn() {
      const { template, metadata } = createArgs();
      await served.call('resourceRequirements', { template, metadata }, { deadlineMs: undefined });
    },
    async freeze() {
      process.kill(pid, 'SIGSTOP');
      await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')));
    },
    wake: () => process.kill(pid, 'SIGCONT'),
  };
}

test(
  'a call that a plugin’s process finds only after the lease, since it was frozen, is not begun',
  BOUND,
  async (t) => {
    const { asked, renew, plugin, until, freeze, wake, outcomeOf } = await makeScene(t);
    await freeze();
    const endsAtMs = bootMs() + 50;
    renew(endsAtMs);
    const create = plugin.call('create', createArgs(), { deadlineMs: undefined });
    const read = plugin.call('getLogs', { ...resourceArgs('job'), lines: 1, token: '' }, { deadlineMs: undefined });
    const remove = plugin.call('delete', { ...resourceArgs('job'), reason: 'test' }, { deadlineMs: undefined });
    await until(() => bootMs() > endsAtMs);
    wake();
    assert.equal(await outcomeOf(create), 'not_admitted LEASE_LAPSED');
    assert.equal(await outcomeOf(remove), 'not_admitted LEASE_LAPSED');
    await read;
    assert.deepEqual(asked, []);
  },
);

test('nor is one that it finds after the grant of the call, though the lease goes on', BOUND, async (t) => {
  const { asked, renew, plugin, until, freeze, wake, outcomeOf } = await makeScene(t);
  renew(bootMs() + 600_000);
  await freeze();
  const beginByMs = bootMs() + 50;
  const create = plugin.call('create', createArgs(), { deadlineMs: undefined, beginByMs });
  const remove = plugin.call(
    'delete',
    { ...resourceArgs('job'), reason: 'test' },
    { deadlineMs: undefined, beginByMs: beginByMs + 600_000 },
  );
  await until(() => bootMs() > beginByMs);
  wake();
  assert.equal(await outcomeOf(create), 'not_admitted GRANT_LAPSED');
  assert.equal(await outcomeOf(remove), 'ok');
  assert.deepEqual(asked, []);
});

for (const plain of [false, true]) {
  test(
    `a create that is frozen before it sends, and wakes after the lease, sends nothing more ${plain ? 'by fetch with the call’s signal' : 'by the HTTP client'}`,
    BOUND,
    async (t) => {
      const { asked, begun, until, freeze, wake, answerFirst } = await makeScene(t, plain);
      const { outcome, endsAtMs } = await begun();
      await freeze();
      answerFirst();
      await until(() => bootMs() > endsAtMs);
      wake();
      assert.equal(await outcome, `cancelled LEASE_LAPSED${plain ? ' not created' : ''}`);
      assert.deepEqual(asked, ['GET /first']);
    },
  );
}

test(
  'a create that runs for longer than a lease goes on under the next one, which its process is told',
  BOUND,
  async (t) => {
    const { asked, renew, renewals, begun, tookIn, until, answerFirst } = await makeScene(t);
    const { outcome, endsAtMs } = await begun();
    renew(endsAtMs + 600_000);
    await tookIn();
    await until(() => bootMs() > endsAtMs);
    answerFirst();
    assert.equal(await outcome, 'ok');
    assert.deepEqual(asked, ['GET /first', 'POST /job']);
    assert.equal(renewals.size, 1);
  },
);

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, logOf, startServe, statusWhere, until, WIDE_LIMITS } from './support.js';

/** A remote whose reads of the jobs made before `flip` fail for ever, while everything else works. */
async function poisonedRemote(t: TestContext) {
  const jobs = new Map<string, { sick: boolean; done: boolean }>();
  const gone: string[] = [];
  const server = createServer((request, response) => {
    const id = request.url?.slice(1) ?? '';
    if (request.method === 'PUT' && !jobs.has(id)) jobs.set(id, { sick: false, done: false });
    if (request.method === 'DELETE') {
      gone.push(id);
      jobs.delete(id);
      response.end('{}');
      return;
    }
    const job = jobs.get(id);
    response.writeHead(job === undefined ? 404 : job.sick ? 500 : 200).end(JSON.stringify(job ?? {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const flip = () => {
    for (const job of jobs.values()) job.sick = true;
  };
  const finish = () => {
    for (const job of jobs.values()) job.done = true;
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, gone, flip, finish };
}

const plugin = (url: string) => `
import { definePlugin, phases, TransientError } from 'webapi-plugin-host';
const call = async (method, id, signal) => {
  const response = await fetch(${JSON.stringify(url)} + '/' + encodeURIComponent(id), { method, signal });
  if (!response.ok) throw new TransientError('HTTP ' + response.status);
  return response.json();
};
export default definePlugin({
  id: 'poisoned',
  apiVersion: 1,
  taskTypes: ['poisoned'],
  load: () => ({
    async create({ idempotencyKey, signal }) {
      await call('PUT', idempotencyKey, signal);
      return { resourceMeta: idempotencyKey };
    },
    get: ({ resourceMeta, signal }) => call('GET', resourceMeta, signal),
    status: ({ resource }) => (resource.done ? phases.success({}) : phases.running({ reason: 'it runs' })),
    async delete({ resourceMeta, signal }) {
      await call('DELETE', resourceMeta, signal);
    },
  }),
});
`;

test(
  'jobs that can never be read neither hold new ones up nor hide them, and end with their deletes owed',
  BOUND,
  async (t) => {
    const remote = await poisonedRemote(t);
    const folder = tempFolder(t);
    writeTree(folder, { 'poisoned.mjs': plugin(remote.url) });
    const config = { ...WIDE_LIMITS, caching: { resyncInterval: '5s', maxSystemFailures: 1 } };
    const daemon = await startServe(
      t,
      configOf(
        { poisoned: { source: './poisoned.mjs', config } },
        { tasks: { outageGrace: '20s', minFailingTime: '1s' } },
      ),
      folder,
    );
    const { client } = daemon;
    const start = (generatedName: string) => client.create({ generatedName, template: { type: 'poisoned' } });
    const runs = ({ phaseInfo }: { phaseInfo: { phase: string } }) => phaseInfo.phase === 'RUNNING';
    const sick = [];
    for (let i = 0; i < 5; i++) sick.push((await start(`sick-${i}`)).handle);
    for (const handle of sick) await statusWhere(client, handle, 'that runs', runs);
    remote.flip();
    await until('an outage of reads', async () => (await daemon.plugin('poisoned')).state === 'REMOTE_DOWN');
    const { handle } = await start('one-more');
    await statusWhere(client, handle, 'that was read', runs);
    const { stateReason } = await daemon.plugin('poisoned');
    assert.ok(!stateReason.includes('creates fail'), stateReason);
    for (const one of sick) {
      const { phaseInfo } = await statusWhere(client, one, 'that has ended', (s) => s.phaseInfo.phase !== 'RUNNING');
      assert.equal(phaseInfo.phase, 'RETRYABLE_FAILURE');
      assert.match(phaseInfo.error?.code ?? '', /^(READS_FAILING|REMOTE_OUTAGE)$/);
    }
    await until('the deletes of the jobs', () => remote.gone.length === 5);
    remote.finish();
    await statusWhere(client, handle, 'that has succeeded', ({ phaseInfo }) => phaseInfo.phase === 'SUCCESS');
    assert.ok(!logOf(daemon.running).some(({ event }) => event === 'creates.down'));
  },
);

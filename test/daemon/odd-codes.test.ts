import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { encode, FLYTE1, FLYTE2, type Protocol } from '../rpc/flyte/support.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, startServe, WIDE_LIMITS } from './support.js';

/** Names that every object has; as the code of an error they are a plugin's own code like any other. */
const CODES = ['constructor', 'toString', '__proto__', 'hasOwnProperty'];

const PLUGIN = `
import { definePlugin, NotFoundError, TransientError, ThrottledError } from 'webapi-plugin-host';
const fail = (code) => { throw new TransientError('no luck', { code }); };
export const odd = (id, type, load) => definePlugin({ id, apiVersion: 1, taskTypes: [type], load });
export default odd('odd', 'odd', () => ({
  create: async (ctx) => ({ resourceMeta: ctx.taskReader.read().custom.code }),
  get: async ({ resourceMeta }) => { throw new NotFoundError('no luck', { code: resourceMeta }); },
  getLogs: async ({ resourceMeta }) => fail(resourceMeta),
  getMetrics: async ({ resourceMeta }) => fail(resourceMeta),
  delete: async () => {},
}));
export const sync = odd('oddsync', 'oddsync', () => ({
  do: async (ctx) => { throw new ThrottledError('not now', { code: ctx.taskReader.read().custom.code }); },
}));
`;

/** The status with which a call of these bytes ends. */
function endOf(client: Client, path: string, request: Buffer): Promise<status> {
  const pass = (bytes: Buffer) => bytes;
  const call = client.makeServerStreamRequest(path, pass, pass, request, new Metadata(), {
    deadline: Date.now() + 60_000,
  });
  call.resume();
  call.on('error', () => undefined);
  return new Promise((resolve) => call.on('status', ({ code }) => resolve(code)));
}

test(
  'an error whose code is the name of what every object has costs its own call only, in every dialect',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    writeTree(folder, {
      'odd.mjs': PLUGIN,
      'oddsync.mjs': "export { sync as default } from './odd.mjs';\n",
    });
    const entry = (id: string) => [id, { source: `./${id}.mjs`, config: WIDE_LIMITS }];
    const daemon = await startServe(t, configOf(Object.fromEntries(['odd', 'oddsync'].map(entry))), folder);
    const raw = new Client(daemon.grpc, credentials.createInsecure());
    t.after(() => raw.close());
    const about = (protocol: Protocol, name: string, handle: Buffer) =>
      encode(protocol, name, { resourceMeta: handle, taskCategory: { name: 'odd', version: 0 } });
    for (const code of CODES) {
      const { handle } = await daemon.client.create({
        generatedName: code,
        template: { type: 'odd', custom: { code } },
      });
      await assert.rejects(daemon.client.get(handle), /no luck/);
      for (const protocol of [FLYTE1, FLYTE2]) {
        for (const method of ['GetTaskLogs', 'GetTaskMetrics']) {
          const path = `/${protocol.asyncService}/${method}`;
          assert.equal(await endOf(raw, path, about(protocol, `${method}Request`, handle)), status.UNAVAILABLE, path);
        }
      }
      const task = { generatedName: `sync-${code}`, template: { type: 'oddsync', custom: { code } } };
      await assert.rejects(daemon.client.do(task, { deadlineMs: 1_000 }));
    }
    assert.equal(
      (await daemon.client.listPlugins()).every(({ state }) => state === 'SERVING'),
      true,
    );
    daemon.running.child.kill('SIGTERM');
    assert.equal((await daemon.running.finished).code, 0);
  },
);

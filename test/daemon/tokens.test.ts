import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createClient, PluginHostError } from '../../src/client/index.js';
import { tempFolder } from '../support/temp.js';
import { healthClient } from './health-client.js';
import { BOUND, configOf, startServe } from './support.js';

const RUN = 'a-token-that-may-run-and-read';
const READ = 'a-token-that-may-only-read';
const OPS = 'a-token-that-may-operate';
const ADMIN = 'the-admin-token-of-before';

test(
  'a daemon with tokens asks for one on the native API and the operator’s view, by its rights, and tells who acted',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    for (const [name, text] of [
      ['run', RUN],
      ['read', READ],
      ['ops', OPS],
    ] as const)
      writeFileSync(path.join(folder, name), text);
    const tokens = {
      engine: { file: './run', may: ['run', 'read'] },
      viewer: { file: './read', may: ['read'] },
      ops: { file: './ops', may: ['operate'] },
    };
    const daemon = await startServe(
      t,
      configOf({}, { tokens, admin: { host: '127.0.0.1', port: 0, token: ADMIN } }),
      folder,
    );
    const codeOf = async (token: string | undefined, call: 'listPlugins' | 'delete') => {
      const client = createClient({ address: daemon.grpc, token, deadlineMs: 60_000 });
      t.after(() => client.close());
      const done = call === 'delete' ? client.delete(Buffer.from('no handle at all')) : client.listPlugins();
      return done.then(
        () => 'OK',
        (error: unknown) => (error instanceof PluginHostError ? `${error.status} ${error.code}` : String(error)),
      );
    };
    assert.equal(await codeOf(undefined, 'listPlugins'), 'UNAUTHENTICATED TOKEN_WRONG');
    assert.equal(await codeOf('a-token-of-nobody', 'listPlugins'), 'UNAUTHENTICATED TOKEN_WRONG');
    assert.equal(await codeOf(ADMIN, 'listPlugins'), 'UNAUTHENTICATED TOKEN_WRONG');
    assert.equal(await codeOf(READ, 'listPlugins'), 'OK');
    assert.equal(await codeOf(READ, 'delete'), 'PERMISSION_DENIED TOKEN_MAY_NOT');
    assert.equal(await codeOf(OPS, 'listPlugins'), 'PERMISSION_DENIED TOKEN_MAY_NOT');
    assert.equal(await codeOf(RUN, 'listPlugins'), 'OK');
    assert.match(await codeOf(RUN, 'delete'), /^INVALID_ARGUMENT HANDLE_/);
    assert.equal(await healthClient(t, daemon.grpc)(''), 'SERVING');

    const http = async (token: string | undefined, url: string, method = 'GET') => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return (await daemon.http(url, { method, headers })).status;
    };
    assert.equal(await http(undefined, '/metrics'), 200);
    assert.equal(await http(undefined, '/v1/tasks'), 401);
    assert.equal(await http(READ, '/v1/tasks'), 200);
    assert.equal(await http(READ, '/v1/profile?seconds=1', 'POST'), 403);
    assert.equal(await http(OPS, '/v1/tasks'), 403);
    assert.equal(await http(OPS, '/v1/profile?seconds=1', 'POST'), 200);
    assert.equal(await http(ADMIN, '/v1/profile?seconds=1', 'POST'), 200);
    assert.equal(await http(ADMIN, '/v1/tasks'), 200);
    await daemon.running.waitFor(/"event":"audit\.action".*"action":"profile","by":"ops","remote":"127\.0\.0\.1"/);
    await daemon.running.waitFor(/"event":"audit\.action".*"by":"admin\.token"/);
    for (const secret of [RUN, READ, OPS, ADMIN]) assert.ok(!daemon.running.output().includes(secret));
  },
);

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, it, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Entrance } from '../../src/access/entrance.js';
import { CallGuard } from '../../src/access/guard.js';
import { Tokens } from '../../src/access/tokens.js';
import { oncePerTurn } from '../../src/admin/in-turn.js';
import { ADMIN_BOUNDS, AdminServer } from '../../src/admin/index.js';
import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { captureLog } from '../telemetry/support.js';
import { makeSource, openTo, serveAdmin, TOKEN } from './support.js';

const GUARDED: [string, string][] = [
  ['GET', '/v1/plugins'],
  ['GET', '/v1/tasks'],
  ['GET', '/v1/deletes'],
  ['GET', '/v1/orphans'],
  ['GET', '/v1/unclear-creates'],
  ['GET', '/v1/config'],
  ['POST', '/v1/plugins/slurm/pause'],
  ['POST', '/v1/plugins/slurm/resume'],
  ['POST', '/v1/plugins/slurm/reload'],
  ['POST', '/v1/profile'],
];

describe('admin server', () => {
  it('serves metrics and health without a token', async (t) => {
    const { call } = await serveAdmin(t, { token: undefined });
    const metrics = await call('/metrics');
    assert.equal(metrics.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    assert.match(await metrics.text(), /pluginhost_build_info\{version="1\.2\.3"/);
    assert.deepEqual(await (await call('/healthz')).json(), { status: 'ok', tickAgeMs: 12 });
    assert.deepEqual(await (await call('/readyz')).json(), { status: 'ready', state: 'ready', unready: [] });
    const head = await call('/healthz', { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), '');
  });

  it('answers 503 while it makes no progress, or is not ready, naming what is not', async (t) => {
    const unready = [{ what: 'plugin slurm', why: 'failed to load', fatal: true }];
    const { call } = await serveAdmin(t, {
      source: makeSource({
        liveness: () => ({ ok: false, detail: { tickAgeMs: 99_000 } }),
        readiness: () => ({ ready: false, state: 'starting', unready }),
      }),
    });
    const health = await call('/healthz');
    assert.deepEqual([health.status, await health.json()], [503, { status: 'stuck', tickAgeMs: 99_000 }]);
    const ready = await call('/readyz');
    assert.deepEqual([ready.status, await ready.json()], [503, { status: 'not ready', state: 'starting', unready }]);
  });

  it('shows and does nothing without the token, and says how it is sent', async (t) => {
    const source = makeSource();
    const { call, lines } = await serveAdmin(t, { source });
    const startMs = performance.now();
    for (const [method, path] of GUARDED) {
      for (const authorization of [undefined, 'Bearer wrong', `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, 'Bearer ', TOKEN]) {
        const response = await call(path, { method, headers: authorization === undefined ? {} : { authorization } });
        assert.equal(response.status, 401, `${method} ${path} ${authorization}`);
        assert.match(response.headers.get('www-authenticate') ?? '', /^Bearer/);
        const body = (await response.json()) as { code: string; message: string };
        assert.equal(body.code, 'ADMIN_TOKEN_WRONG');
        assert.doesNotMatch(body.message, new RegExp(TOKEN));
      }
    }
    assert.deepEqual(source.done, []);
    const told = lines.filter(({ event }) => event === 'admin.denied').length;
    // A machine that is busy with other things takes longer than the pause between two lines.
    const most = 1 + Math.floor((performance.now() - startMs) / 10_000);
    assert.ok(told >= 1 && told <= most, `a flood of denials is one line, and was ${told}`);
  });

  it('keeps the operator’s view closed where no token is configured, whatever is sent', async (t) => {
    const { call } = await serveAdmin(t, { token: undefined });
    for (const [method, path] of GUARDED) {
      for (const authorization of ['Bearer x', 'Bearer undefined', 'Bearer ']) {
        const response = await call(path, { method, headers: { authorization } });
        assert.equal(response.status, 403);
        const body = (await response.json()) as { code: string; message: string };
        assert.equal(body.code, 'ADMIN_TOKEN_UNSET');
        assert.match(body.message, /admin\.token/);
      }
    }
  });

  it('answers the operator’s view and passes filters and pages on', async (t) => {
    const { operator } = await serveAdmin(t);
    assert.deepEqual(await (await operator('/v1/plugins')).json(), { plugins: [{ id: 'slurm' }] });
    assert.deepEqual(await (await operator('/v1/config')).json(), { config: { admin: { token: '********' } } });
    assert.deepEqual(await (await operator('/v1/deletes')).json(), { deletes: [], next: null });
    assert.deepEqual(await (await operator('/v1/orphans?limit=5')).json(), { orphans: [], next: null });
    assert.deepEqual(await (await operator('/v1/unclear-creates')).json(), { unclearCreates: [], next: null });
    const page = await (
      await operator('/v1/tasks?limit=7&after=k-1&plugin=slurm&phase=RUNNING&stage=live&project=p&id=3f')
    ).json();
    assert.deepEqual(page, {
      tasks: [{ limit: 7, after: 'k-1', plugin: 'slurm', phase: 'RUNNING', stage: 'live', project: 'p', id: '3f' }],
      next: 'k-2',
    });
    assert.deepEqual(((await (await operator('/v1/tasks')).json()) as { tasks: unknown }).tasks, [
      { limit: 100, after: '' },
    ]);
  });

  it('pauses, resumes and reloads, logging who did it', async (t) => {
    const source = makeSource();
    const { operator, lines } = await serveAdmin(t, { source });
    for (const action of ['pause', 'resume', 'reload']) {
      const response = await operator(`/v1/plugins/slurm/${action}`, { method: 'POST' });
      assert.deepEqual([response.status, await response.json()], [200, { plugin: 'slurm', done: action }]);
    }
    assert.deepEqual(source.done, ['pause slurm', 'resume slurm', 'reload slurm']);
    const noted = lines.filter(({ event }) => event === 'admin.action');
    assert.deepEqual(
      noted.map(({ action, plugin }) => [action, plugin]),
      [
        ['pause', 'slurm'],
        ['resume', 'slurm'],
        ['reload', 'slurm'],
      ],
    );
    const unknown = await operator('/v1/plugins/nobody/pause', { method: 'POST' });
    assert.equal(unknown.status, 503);
    assert.equal(((await unknown.json()) as { code: string }).code, 'PLUGIN_NOT_SERVING');
  });

  it('takes a profile for ten seconds unless told for how many, and for no more than thirty', async (t) => {
    const { operator, lines } = await serveAdmin(t);
    const take = (query: string) => operator(`/v1/profile${query}`, { method: 'POST' });
    assert.deepEqual(await (await take('')).json(), { nodes: [], seconds: 10 });
    assert.deepEqual(await (await take('?seconds=30')).json(), { nodes: [], seconds: 30 });
    for (const query of [
      '?seconds=0',
      '?seconds=31',
      '?seconds=1.5',
      '?seconds=',
      '?minutes=1',
      '?seconds=1&seconds=2',
    ]) {
      assert.equal((await take(query)).status, 400, query);
    }
    const noted = lines.filter(({ event }) => event === 'admin.action').map(({ action }) => action);
    assert.deepEqual(noted, ['profile', 'profile']);
  });

  it('refuses bad requests with a code: paths, methods, queries, bodies', async (t) => {
    const { operator } = await serveAdmin(t);
    const cases: [string, RequestInit, number, string][] = [
      ['/', {}, 404, 'ADMIN_ROUTE_UNKNOWN'],
      ['/metrics/', {}, 404, 'ADMIN_ROUTE_UNKNOWN'],
      ['/v1/plugins/../config', {}, 200, ''],
      ['/v1/plugins/Bad%20Id/pause', { method: 'POST' }, 404, 'ADMIN_ROUTE_UNKNOWN'],
      ['/v1/plugins/slurm/pause', {}, 405, 'ADMIN_ROUTE_UNKNOWN'],
      ['/metrics', { method: 'POST' }, 405, 'ADMIN_ROUTE_UNKNOWN'],
      ['/v1/tasks', { method: 'DELETE' }, 405, 'ADMIN_ROUTE_UNKNOWN'],
      ['/v1/tasks?limit=0', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?limit=1001', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?limit=ten', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?limit=5&limit=6', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?phase=running', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?stage=alive', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?colour=red', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/tasks?__proto__=x', {}, 400, 'REQUEST_FIELD_INVALID'],
      [`/v1/tasks?plugin=${'x'.repeat(501)}`, {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/plugins?x=1', {}, 400, 'REQUEST_FIELD_INVALID'],
      ['/v1/plugins/slurm/pause', { method: 'POST', body: 'x'.repeat(5000) }, 413, 'REQUEST_TOO_LARGE'],
    ];
    for (const [path, init, status, code] of cases) {
      const response = await operator(path, init);
      assert.equal(response.status, status, `${init.method ?? 'GET'} ${path}`);
      const body = (await response.json()) as { code?: string };
      if (code !== '') assert.equal(body.code, code);
      if (status === 405) assert.ok(response.headers.get('allow'));
    }
  });

  it('answers 500 without details for a fault of its own, and logs it', async (t) => {
    const { call, lines } = await serveAdmin(t, {
      source: makeSource({ metrics: () => Promise.reject(new TypeError('hidden detail')) }),
    });
    const response = await call('/metrics');
    assert.equal(response.status, 500);
    assert.doesNotMatch(await response.text(), /hidden/);
    assert.equal(lines.find(({ event }) => event === 'admin.fault')?.error, 'hidden detail');
    assert.equal((await call('/healthz')).status, 200);
  });

  it('lets the connection give way that waited longest when a newcomer finds it full, and not the newcomer', async (t) => {
    const { server, call } = await serveAdmin(t, { maxConnections: 2 });
    const port = Number(new URL(`http://${server.address}`).port);
    const open: net.Socket[] = [];
    for (let i = 0; i < 2; i++) {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {});
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      open.push(socket);
    }
    const first = once(open[0]!.resume(), 'close');
    assert.equal((await call('/healthz')).status, 200);
    await first;
    assert.equal(open[1]!.destroyed, false);
  });

  it('answers every probe while others hold all the room: heads by single bytes, bodies that do not come, answers not read', async (t) => {
    const { server } = await serveAdmin(t, { maxConnections: 10, writeTimeoutMs: 60_000 });
    const port = Number(new URL(`http://${server.address}`).port);
    let stopped = false;
    const held = new Set<net.Socket>();
    const attack = (i: number) => {
      if (stopped) return;
      const socket = net.connect(port, '127.0.0.1').on('error', () => {});
      held.add(socket);
      if (i % 3 === 0) socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n');
      else if (i % 3 === 1)
        socket.write('POST /v1/plugins/slurm/pause HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1');
      else socket.pause().write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(50));
      socket.on('close', () => {
        held.delete(socket);
        setTimeout(() => attack(i), 1);
      });
      if (i % 3 !== 2) socket.resume();
    };
    for (let i = 0; i < 30; i++) attack(i);
    t.after(() => {
      stopped = true;
      for (const socket of held) socket.destroy();
    });
    for (let probe = 0; probe < 15; probe++) {
      const socket = net.connect(port, '127.0.0.1');
      let text = '';
      socket.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      await once(socket, 'close');
      assert.match(text, /^HTTP\/1\.1 200 /, `probe ${probe}`);
    }
  });

  it('cuts a peer that does not read its answer, which makes room for another one', async (t) => {
    const body = 'x'.repeat(32 * 1024 * 1024);
    const { url, call } = await serveAdmin(t, {
      maxConnections: 1,
      writeTimeoutMs: 100,
      source: makeSource({ metrics: async () => ({ text: body, contentType: 'text/plain' }) }),
    });
    const idle = net.connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
    t.after(() => idle.destroy());
    idle.pause();
    idle.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n');
    for (;;) {
      const response = await call('/healthz').catch(() => undefined);
      if (response?.status === 200) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('answers the requests of one connection one after the other, asks for metrics once a turn, and lets others in between', async (t) => {
    let asked = 0;
    const { url, call } = await serveAdmin(t, {
      source: makeSource({
        async metrics() {
          asked += 1;
          return { text: 'figures', contentType: 'text/plain' };
        },
      }),
    });
    const port = Number(new URL(url).port);
    const pipelined = async (requests: number) => {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {});
      t.after(() => socket.destroy());
      const closed = once(socket, 'close');
      let text = '';
      socket.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      const request = 'GET /metrics HTTP/1.1\r\nhost: x\r\n';
      socket.write(`${`${request}\r\n`.repeat(requests - 1)}${request}connection: close\r\n\r\n`);
      await closed;
      return text.split('figures').length - 1;
    };
    assert.equal(await pipelined(90), 90);
    const before = asked;
    const [answered, probe] = await Promise.all([pipelined(1_500), call('/healthz')]);
    assert.equal(probe.status, 200);
    assert.equal(answered, 101, 'who sends far too many ahead is answered a hundred, and cut');
    assert.ok(asked - before <= 101, `the metrics were asked for ${asked - before} times`);
    const scrapes = oncePerTurn(async () => ++asked);
    assert.deepEqual(new Set(await Promise.all(Array.from({ length: 50 }, scrapes))).size, 1);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.notEqual(await scrapes(), before, 'and anew in the next');
  });

  it('takes a client that leaves within its request for no fault', async (t) => {
    const { url, call, lines } = await serveAdmin(t);
    const closed = [1, 2].map(async () => {
      const socket = net.connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
      await new Promise((resolve) =>
        socket.write(
          'GET /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n',
          resolve,
        ),
      );
      // The server asks for the body, so it waits for it.
      await once(socket, 'data');
      socket.resetAndDestroy();
    });
    await Promise.all(closed);
    for (let i = 0; i < 20; i++) assert.equal((await call('/healthz')).status, 200);
    assert.deepEqual(
      lines.filter(({ event }) => event === 'admin.fault'),
      [],
    );
  });

  it('stops cleanly: lets an answer in flight end, ends idle connections, may be called twice', async (t) => {
    const entered = createDeferred<void>();
    const release = createDeferred<void>();
    const { server, call, url } = await serveAdmin(t, {
      source: makeSource({
        async metrics() {
          entered.resolve();
          await release.promise;
          return { text: 'late', contentType: 'text/plain' };
        },
      }),
    });
    await (await call('/healthz')).text();
    const pending = call('/metrics');
    await entered.promise;
    const stopped = server.stop(60_000);
    release.resolve();
    assert.equal(await (await pending).text(), 'late');
    await stopped;
    await server.stop(1_000);
    await assert.rejects(fetch(`${url}/healthz`));
  });

  it('ends what is still running when its grace is over', async (t) => {
    const entered = createDeferred<void>();
    const { server, call } = await serveAdmin(t, {
      source: makeSource({
        metrics() {
          entered.resolve();
          return new Promise(() => {});
        },
      }),
    });
    const pending = assert.rejects(call('/metrics'));
    await entered.promise;
    await server.stop(0);
    await pending;
  });

  it('says which address it cannot listen on', async (t) => {
    const { server } = await serveAdmin(t);
    const port = Number(server.address.split(':').at(-1));
    const { log } = captureLog();
    const second = new AdminServer({
      host: '127.0.0.1',
      port,
      maxConnections: 1,
      ...ADMIN_BOUNDS,
      source: makeSource(),
      log,
      access: openTo(undefined),
    });
    await assert.rejects(second.start(), (error) => {
      assert.ok(HostError.is(error));
      assert.equal(error.code, 'LISTEN_FAILED');
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}`));
      return true;
    });
    await second.stop(1_000);
  });
});

test('who has done something is told with the address of a client that has gone meanwhile', async (t) => {
  const [gate, begun, gone] = [createDeferred<void>(), createDeferred<void>(), createDeferred<void>()];
  const reload = () => {
    begun.resolve();
    return gate.promise;
  };
  const open = openTo(TOKEN);
  const admit: Entrance['admit'] = (raw, enter) => {
    raw.once('close', () => gone.resolve());
    // An address that no socket here has: as it was let in, and not as the socket knows it then.
    open.entrance.admit(raw, (socket, peer) => enter(socket, { ...peer, address: '10.0.0.9' }));
  };
  const { server, lines } = await serveAdmin(t, {
    source: makeSource({ reload }),
    access: { ...open, entrance: { admit } },
  });
  const client = net.connect(Number(server.address.split(':').at(-1)), '127.0.0.1');
  const head = 'POST /v1/plugins/slurm/reload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n';
  client.write(`${head}authorization: Bearer ${TOKEN}\r\n\r\n`);
  await begun.promise;
  client.destroy();
  await gone.promise;
  gate.resolve();
  await turn();
  for (const name of ['audit.action', 'admin.action']) {
    assert.equal(lines.find(({ event }) => event === name)?.remote, '10.0.0.9', name);
  }
});

test('what was asked for with a token that was taken out meanwhile is not handed out', async (t) => {
  let tokens = new Tokens([{ token: TOKEN, caller: { name: 'ops', may: ['operate'] } }]);
  const guard = new CallGuard({
    port: 'admin',
    needs: () => 'operate',
    tokens: () => tokens,
    events: { refused() {} },
  });
  const profile = () => {
    tokens = new Tokens([]);
    return Promise.resolve({ nodes: [] });
  };
  const { operator, lines } = await serveAdmin(t, {
    source: makeSource({ profile }),
    access: { ...openTo(TOKEN), guard },
  });
  const answer = await operator('/v1/profile?seconds=1', { method: 'POST' });
  const { code } = (await answer.json()) as { code: string };
  assert.deepEqual([answer.status, code], [401, 'TOKEN_REVOKED']);
  assert.equal(lines.find(({ event }) => event === 'audit.action')?.by, 'ops');
});

test('the listings of a replica that has some parts of the tasks say which, and others say nothing of it', async (t) => {
  const covers = 'parts 0-3 of 8';
  const some = await serveAdmin(t, { source: makeSource({ covers: () => covers }) });
  const all = await serveAdmin(t);
  for (const path of ['plugins', 'tasks', 'deletes', 'unclear-creates', 'orphans']) {
    const said = async ({ operator }: typeof all) =>
      ((await (await operator(`/v1/${path}`)).json()) as { covers?: string }).covers;
    assert.deepEqual([await said(some), await said(all)], [covers, undefined], path);
  }
});

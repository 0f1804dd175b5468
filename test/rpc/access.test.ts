import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CallGuard } from '../../src/access/guard.js';
import type { Peer } from '../../src/access/peer.js';
import { Tokens } from '../../src/access/tokens.js';
import { needOf } from '../../src/daemon/needs.js';
import { RIGHTS, type Right } from '../../src/model/access.js';
import type { RpcLog } from '../../src/model/events/rpc.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import { noteAccess } from '../access/support.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { createRequest, encode, FLYTE1, FLYTE2, FlyteTasks, PROTOCOLS } from './flyte/support.js';
import { createRequest as createNative, idl, SERVICE, startServer } from './support.js';

const NEEDS_RUN = new Set(['Create', 'Delete', 'Do', 'CreateTask', 'DeleteTask', 'ExecuteTaskSync']);
/** Where callers come from; all of 127/8 is this machine. */
const FROM = '127.0.0.9';
const UNAUTHENTICATED = '16';
const PERMISSION_DENIED = '7';
const RESOURCE_EXHAUSTED = '8';
const tokenOf = (right: Right) => `token-that-may-${right}`;

interface Options {
  readonly flyteNeedsToken?: boolean;
  /** Nobody needs a token. */
  readonly open?: boolean;
  readonly names?: readonly string[];
  readonly requests?: Readonly<Record<string, Buffer>>;
}

/** Calls from an address of this machine: the gRPC status that one ends with, and what it was answered. */
function asking(t: TestContext, port: number, from: string) {
  const createConnection = () => net.connect({ port, host: '127.0.0.1', localAddress: from });
  const session = http2.connect(`http://127.0.0.1:${port}`, { createConnection });
  t.after(() => session.destroy());
  return async (path: string, token?: string, request: Buffer = Buffer.alloc(0), timeout = '500m') => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      // A stream that stays open is over then.
      'grpc-timeout': timeout,
      ...headers,
    });
    const head = Buffer.alloc(5);
    head.writeUInt32BE(request.length, 1);
    stream.end(Buffer.concat([head, request]));
    let status: unknown;
    let message: unknown;
    const chunks: Buffer[] = [];
    for (const event of ['response', 'trailers'] as const) {
      stream.on(event, (got: http2.IncomingHttpHeaders) => {
        status = got['grpc-status'] ?? status;
        message = got['grpc-message'] ?? message;
      });
    }
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    await new Promise<void>((resolve, reject) => stream.once('close', resolve).once('error', reject));
    return { status: String(status), message: String(message), answer: Buffer.concat(chunks).subarray(5) };
  };
}

/** Both APIs on one port, behind a guard as the daemon sets it up. */
async function serve(t: TestContext, { flyteNeedsToken = true, open = false, names = [] }: Options = {}) {
  let tokens = new Tokens(
    RIGHTS.map((right) => ({ token: tokenOf(right), caller: { name: `may-${right}`, may: [right] } })),
  );
  const listeners: (() => void)[] = [];
  const guard = new CallGuard({
    port: 'grpc',
    needs: (path) => needOf(path, flyteNeedsToken),
    ...(open ? {} : { tokens: () => tokens, onTokens: (listener) => void listeners.push(listener) }),
    events: noteAccess(),
    now: () => 0,
  });
  const peer = (address: string): Peer => ({ address, names, refusal: undefined });
  const tasks = new FlyteTasks();
  const native = createNativeService({ tasks, idl, limits: DEFAULT_FIELD_LIMITS, ...NATIVE_BOUNDS });
  const flyte = createFlyteServices({
    tasks,
    limits: DEFAULT_FIELD_LIMITS,
    flyteidl: FLYTE1.idl,
    flyteidl2: FLYTE2.idl,
    maxStalenessMs: 0,
  });
  const services = [native, ...flyte];
  const acts: Parameters<NonNullable<RpcLog['acted']>>[0][] = [];
  const { port, server } = await startServer(t, {
    services,
    access: { guard, entrance: { admit: (raw, enter) => enter(raw, peer(raw.remoteAddress ?? '')) } },
    log: { fault: () => {}, library: () => {}, acted: (act) => acts.push(act) },
    reflection: true,
  });
  const ask = asking(t, port, FROM);
  const paths = services.flatMap(({ definition }) => Object.values(definition).map(({ path }) => path));
  /** Has these tokens instead, all of which may read. */
  const exchange = (...names: string[]) => {
    tokens = new Tokens(names.map((token) => ({ token, caller: { name: 'reader', may: ['read'] } })));
    for (const listener of listeners) listener();
  };
  return { tasks, acts, paths, ask, from: (address: string) => asking(t, port, address), exchange, server };
}

const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const rightFor = (path: string): Right => (NEEDS_RUN.has(nameOf(path)) ? 'run' : 'read');

test('on the wire every method is closed without a token, to a wrong one and to one without its right, and open to who has it', async (t) => {
  const { paths, ask, tasks } = await serve(t);
  assert.ok(paths.length >= 18, `there are ${paths.length} methods`);
  await Promise.all(
    paths.map(async (path) => {
      for (const token of [undefined, 'a-token-of-nobody', '']) {
        assert.equal((await ask(path, token)).status, UNAUTHENTICATED, `${path} with ${token}`);
      }
      for (const right of RIGHTS) {
        const { status } = await ask(path, tokenOf(right));
        if (right === rightFor(path)) assert.ok(![UNAUTHENTICATED, PERMISSION_DENIED].includes(status), path);
        else assert.equal(status, PERMISSION_DENIED, `${path} with ${right}`);
      }
    }),
  );
  assert.equal(tasks.deletes.length, 0);
});

test('an address that guessed ten times is told to wait by every method, whatever it sends, and nobody else is', async (t) => {
  const { paths, ask, from } = await serve(t);
  const read = `${SERVICE}/ListPlugins`;
  for (let i = 0; i < 10; i++) assert.equal((await ask(read, `a-guess-${i}`)).status, UNAUTHENTICATED);
  await Promise.all(
    paths.map(async (path) => {
      for (const token of ['one-more-guess', tokenOf(rightFor(path))]) {
        const { status, message } = await ask(path, token);
        assert.equal(status, RESOURCE_EXHAUSTED, path);
        assert.match(message, /too%20many%20wrong%20tokens/, path);
      }
    }),
  );
  assert.equal((await ask('/grpc.health.v1.Health/Check')).status, '0');
  assert.equal((await from('127.0.0.8')(read, tokenOf('read'))).status, '0');
});

test('a stream ends with its token, whatever else its name has, and one with another token goes on', async (t) => {
  const { ask, exchange, server } = await serve(t);
  exchange('the-old-token', 'the-next-token');
  const ends: string[] = [];
  const watch = async (token: string) => {
    const end = await ask(`${SERVICE}/Watch`, token, Buffer.alloc(0), '10S');
    ends.push(`${token} ${end.status}`);
    return end;
  };
  const old = watch('the-old-token');
  void watch('the-next-token');
  while (server.openStreams < 2) await turn();
  exchange('the-old-token', 'the-next-token', 'a-third-token');
  exchange('the-next-token', 'a-third-token');
  assert.match((await old).message, /taken%20out/);
  assert.deepEqual(ends, [`the-old-token ${UNAUTHENTICATED}`]);
  while (server.openStreams > 1) await turn();
  assert.equal((await ask(`${SERVICE}/Watch`, 'the-old-token')).status, UNAUTHENTICATED);
});

test('without a token Flyte’s services are open where nothing else is said, and the native API is not', async (t) => {
  const { paths, ask } = await serve(t, { flyteNeedsToken: false });
  await Promise.all(
    paths.map(async (path) => {
      const { status } = await ask(path);
      if (path.startsWith(SERVICE)) assert.equal(status, UNAUTHENTICATED, path);
      else assert.ok(![UNAUTHENTICATED, PERMISSION_DENIED].includes(status), path);
    }),
  );
});

test('health needs no token, and another way to write a path opens nothing', async (t) => {
  const { ask, tasks } = await serve(t);
  assert.equal((await ask('/grpc.health.v1.Health/Check')).status, '0');
  for (const path of [
    `/${SERVICE}/Delete`,
    `${SERVICE}/Delete/`,
    `${SERVICE}/Delete?x=/Status`,
    `${SERVICE}/delete`,
    `${SERVICE}%2FDelete`,
    `/grpc.health.v1.Health/../pluginhost.v1.PluginHost/Delete`,
    `${SERVICE}/Delete/Status`,
  ]) {
    const { status } = await ask(path);
    assert.ok(status !== '0', path);
    assert.notEqual((await ask(path, tokenOf('read'))).status, '0', path);
  }
  assert.deepEqual([tasks.deletes, tasks.specs], [[], []]);
});

/** A task of each API with the request that deletes it. */
async function deletable({ ask }: Awaited<ReturnType<typeof serve>>): Promise<{ path: string; request: Buffer }[]> {
  const made = await ask(`${SERVICE}/Create`, tokenOf('run'), createNative());
  const { handle } = idl.codec('pluginhost.v1.CreateResponse').decode(made.answer, { raw: ['status'] });
  const native = idl.codec('pluginhost.v1.DeleteRequest').encode({ handle, reason: 'no more' });
  const flyte = await Promise.all(
    PROTOCOLS.map(async (protocol) => {
      const service = `/${protocol.asyncService}`;
      const { answer } = await ask(`${service}/CreateTask`, tokenOf('run'), createRequest(protocol));
      const { resourceMeta } = protocol.idl.codec(`${protocol.messages}.CreateTaskResponse`).decode(answer);
      return { path: `${service}/DeleteTask`, request: encode(protocol, 'DeleteTaskRequest', { resourceMeta }) };
    }),
  );
  return [{ path: `${SERVICE}/Delete`, request: native }, ...flyte];
}

test('who deleted what is told once for each delete of every API, by the name of the token, with address and task', async (t) => {
  const served = await serve(t);
  for (const { path, request } of await deletable(served)) {
    served.acts.length = 0;
    assert.equal((await served.ask(path, tokenOf('run'), request)).status, '0', path);
    const [act, ...more] = served.acts;
    assert.deepEqual([act?.action, act?.by, act?.remote, more.length], ['delete', 'may-run', FROM, 0], path);
    assert.match(act?.task ?? '', /^[0-9a-f]{32}-1$/);
  }
});

test('a delete of a task that another service has begun is told with the id that it has here', async (t) => {
  const served = await serve(t);
  await deletable(served);
  const known = [...served.tasks.records.values()][0];
  assert.ok(known !== undefined);
  for (const protocol of PROTOCOLS) {
    const resourceMeta = Buffer.from(`{"job": ${protocol.version}}`);
    served.tasks.foreign.set(resourceMeta.toString('latin1'), known);
    const request = encode(protocol, 'DeleteTaskRequest', { resourceMeta });
    served.acts.length = 0;
    assert.equal((await served.ask(`/${protocol.asyncService}/DeleteTask`, tokenOf('run'), request)).status, '0');
    assert.deepEqual(
      served.acts.map(({ task, by }) => [task, by]),
      [[known.id, 'may-run']],
    );
  }
});

test('a delete is told by the certificate where there are no tokens, and of nobody where there is neither', async (t) => {
  for (const [names, by] of [
    [['CN=engine', 'DNS:engine.flyte'], 'CN=engine'],
    [[], ''],
  ] as const) {
    const served = await serve(t, { open: true, names });
    for (const { path, request } of await deletable(served)) {
      served.acts.length = 0;
      assert.equal((await served.ask(path, undefined, request)).status, '0', path);
      assert.deepEqual(
        served.acts.map((act) => act.by),
        [by],
        path,
      );
    }
  }
});

test('a delete that was refused or failed is told as nobody’s, and a read never is', async (t) => {
  const served = await serve(t);
  const all = await deletable(served);
  for (const { path, request } of all) {
    await served.ask(path, undefined, request);
    await served.ask(path, tokenOf('read'), request);
    await served.ask(path, tokenOf('run'), Buffer.from([0xff]));
  }
  served.tasks.before = (method) => (method === 'delete' ? Promise.reject(new Error('the state is full')) : undefined);
  for (const { path, request } of all) assert.notEqual((await served.ask(path, tokenOf('run'), request)).status, '0');
  await served.ask(`${SERVICE}/Status`, tokenOf('read'), all[0]?.request);
  assert.deepEqual(served.acts, []);
});

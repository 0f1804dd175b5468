import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { type TestContext, test } from 'node:test';
import { HostError } from '../../../src/errors/index.js';
import { decodeRpcStatus } from '../../../src/idl/rpc-status.js';
import { createDeferred } from '../../../src/lib/deferred.js';
import { EndedElsewhere } from '../../../src/model/forwarding.js';
import type { RpcServerOptions } from '../../../src/rpc/server.js';
import { until } from '../../daemon/support.js';
import { abortCode, aborted } from '../../support/aborted.js';
import { createRequest, type Fixture, http2Call, idl, SERVICE, startServer } from '../support.js';

/** What a call names that grpc-js is to have, and one that the edge answers by itself. */
const WAYS = { edge: {}, 'grpc-js': { 'grpc-encoding': 'identity' } } as const;

interface Ended {
  readonly headers: Record<string, unknown> | undefined;
  readonly body: string;
  readonly trailers: Record<string, unknown> | undefined;
  readonly reset: number;
}

interface Making {
  readonly method?: string;
  readonly request?: Buffer;
  readonly headers?: http2.OutgoingHttpHeaders;
  readonly settings?: http2.Settings;
}

/** A server, and calls of it that come by one way. */
interface Way extends Fixture {
  /** What the metrics were told. */
  readonly counts: string[];
  readonly acts: object[];
  make(making?: Making): {
    readonly session: http2.ClientHttp2Session;
    readonly stream: http2.ClientHttp2Stream;
    readonly ended: Promise<Ended>;
  };
}

/** Headers that say the same by their absence; the date is none of gRPC's. */
const UNSAID = ['date', 'grpc-encoding', 'grpc-accept-encoding'];
const OK_SAID = { 'grpc-message': 'OK' };

function said(headers: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name, value]) => !UNSAID.includes(name) && OK_SAID[name as keyof typeof OK_SAID] !== value,
    ),
  );
}

async function startWay(t: TestContext, named: object, options: Partial<RpcServerOptions> = {}): Promise<Way> {
  const counts: string[] = [];
  const acts: object[] = [];
  const faults: unknown[] = [];
  const fixture = await startServer(t, {
    log: { fault: (event) => faults.push(event), library: () => {}, acted: (event) => acts.push(event) },
    metrics: ({ method }) => ({
      started: () => counts.push(`${method} started`),
      received: () => counts.push(`${method} received`),
      sent: () => counts.push(`${method} sent`),
      handled: (code) => counts.push(`${method} ${code}`),
    }),
    ...options,
  });
  const make = (making: Making = {}) => {
    const { method = 'Create', request = createRequest(), settings = {}, headers = {} } = making;
    const made = http2Call(t, fixture.port, method, request, settings, { ...named, ...headers });
    const { stream } = made;
    let first: Ended['headers'];
    let last: Ended['trailers'];
    const body: Buffer[] = [];
    stream.on('response', (seen) => {
      first = said(seen);
    });
    stream.on('trailers', (seen) => {
      last = said(seen);
    });
    stream.on('data', (chunk: Buffer) => body.push(chunk));
    const ended = new Promise<Ended>((resolve) =>
      stream.once('close', () =>
        resolve({ headers: first, body: Buffer.concat(body).toString('hex'), trailers: last, reset: stream.rstCode }),
      ),
    );
    return { ...made, ended };
  };
  return { ...fixture, faults, counts, acts, make };
}

/** Holds the use cases up until they are let go. */
function hold({ tasks }: Way) {
  const entered = createDeferred<void>();
  const release = createDeferred<void>();
  tasks.before = async () => {
    entered.resolve();
    await release.promise;
  };
  return { entered: entered.promise, release: () => release.resolve() };
}

const codeOf = ({ headers, trailers }: Ended): number =>
  Number(headers?.['grpc-status'] ?? trailers?.['grpc-status'] ?? -1);

function reasonOf({ headers }: Ended): string | undefined {
  const bin = headers?.['grpc-status-details-bin'];
  return bin === undefined ? undefined : decodeRpcStatus(Buffer.from(String(bin), 'base64')).errorInfo?.reason;
}

/** An end in words that name no time. */
const shortly = (ended: Ended) => [codeOf(ended), reasonOf(ended), ended.reset, ended.body];

const undelivered = ({ tasks }: Way, times: number) =>
  until(`${times} undelivered`, () => tasks.undeliveredCount === times);

/** `at` is what the server is started with; `see` answers what is to be alike by both ways. */
interface Property {
  readonly at?: Partial<RpcServerOptions>;
  see(way: Way, t: TestContext): Promise<unknown>;
}

const PROPERTIES: Readonly<Record<string, Property>> = {
  'an answer that comes later leaves as its bytes, is counted, and is not undelivered': {
    see: async (way) => {
      const held = hold(way);
      const { ended, stream } = way.make();
      await held.entered;
      assert.deepEqual([way.server.inFlight, way.server.unfinishedBytes, stream.closed], [1, 0, false]);
      held.release();
      const end = await ended;
      assert.equal(codeOf(end), 0);
      await way.make({ method: 'ListPlugins', request: Buffer.alloc(0) }).ended;
      assert.deepEqual([way.server.inFlight, way.tasks.undeliveredCount], [0, 0]);
      return [end, way.counts];
    },
  },
  'an error is told in the same words, with all of its details, whatever they hold': {
    see: async (way) => {
      way.tasks.before = () => {
        const details = { field: 'handle', naïve: 'ü\u0000\u007f%' };
        throw new HostError('TASK_UNKNOWN', '100 % of “tasks”\r\n\ud83d\ude00 \ud800', {
          details,
          retryAfterMs: 1_500,
        });
      };
      const end = await way.make().ended;
      assert.deepEqual([codeOf(end), reasonOf(end)], [5, 'TASK_UNKNOWN']);
      assert.match(String(end.headers?.['grpc-message']), /^100%20%25%20of/);
      return [end, way.counts, way.tasks.undeliveredCount];
    },
  },
  'what another replica has answered is passed on as it was, with its details or without': {
    see: async (way) => {
      const ends = [];
      for (const trailer of [undefined, Buffer.from([8, 14, 255, 0])]) {
        way.tasks.before = () => Promise.reject(new EndedElsewhere(14, 'gone – 50 %', trailer));
        ends.push(await way.make().ended);
      }
      assert.deepEqual(ends.map(codeOf), [14, 14]);
      assert.deepEqual(
        ends.map(({ headers }) => headers?.['grpc-status-details-bin']),
        [undefined, 'CA7/AA=='],
      );
      return [ends, way.counts, way.faults];
    },
  },
  'a fault says nothing of its inside to the caller, and all of it to the log': {
    see: async (way) => {
      way.tasks.before = () => Promise.reject(new Error('the inside'));
      const end = await way.make().ended;
      assert.deepEqual([codeOf(end), reasonOf(end)], [13, 'INTERNAL']);
      assert.deepEqual(
        way.faults.map((fault) => [(fault as { method: string }).method, String((fault as { error: Error }).error)]),
        [[`${SERVICE}/Create`, 'Error: the inside']],
      );
      return [end, way.counts];
    },
  },
  'an answer larger than may be sent is refused, counted so, and undelivered': {
    at: { maxSendBytes: 10 },
    see: async (way) => {
      const end = await way.make().ended;
      assert.match(String(end.headers?.['grpc-message']), /larger%20than%20max/);
      await undelivered(way, 1);
      assert.deepEqual(way.counts, ['Create started', 'Create received', 'Create RESOURCE_EXHAUSTED']);
      return [end, way.counts];
    },
  },
  'at the default deadline a call is answered and its signal aborted; what comes later is undelivered': {
    at: { defaultDeadlineMs: 100 },
    see: async (way) => {
      const held = hold(way);
      const end = await way.make().ended;
      const { signal } = way.tasks.scopes[0]!;
      assert.deepEqual([signal.aborted, abortCode(signal)], [true, 'DEADLINE_EXCEEDED']);
      assert.equal(way.server.inFlight, 1);
      held.release();
      await undelivered(way, 1);
      assert.deepEqual(shortly(end), [4, 'DEADLINE_EXCEEDED', 0, '']);
      return [shortly(end), way.counts];
    },
  },
  'the same at its own deadline; a fault that comes later goes to the log': {
    see: async (way) => {
      const held = createDeferred<void>();
      way.tasks.before = () => held.promise;
      const end = await way.make({ headers: { 'grpc-timeout': '80m' } }).ended;
      held.reject(new Error('too late'));
      await until('the fault', () => way.faults.length === 1);
      assert.deepEqual(shortly(end), [4, 'DEADLINE_EXCEEDED', 0, '']);
      return [shortly(end), way.counts];
    },
  },
  'a reset of the call aborts its signal; what comes later is undelivered': {
    see: async (way) => {
      const held = hold(way);
      const { stream, ended } = way.make();
      await held.entered;
      const { signal } = way.tasks.scopes[0]!;
      const gone = aborted(signal);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await Promise.all([gone, ended]);
      assert.equal(abortCode(signal), 'CALL_CANCELLED');
      held.release();
      await undelivered(way, 1);
      assert.deepEqual(way.counts, ['Create started', 'Create received', 'Create CANCELLED']);
      return way.counts;
    },
  },
  'a reset before anybody asks for the signal is seen by who asks later': {
    see: async (way) => {
      const held = hold(way);
      const { stream, ended } = way.make();
      await held.entered;
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await ended;
      await until('the daemon to see it', () => way.tasks.scopes[0]!.signal.aborted);
      held.release();
      await undelivered(way, 1);
      return [abortCode(way.tasks.scopes[0]!.signal), way.counts];
    },
  },
  'a connection that breaks aborts the signal; what comes later is undelivered': {
    see: async (way) => {
      const held = hold(way);
      const { session } = way.make();
      await held.entered;
      const { signal } = way.tasks.scopes[0]!;
      const gone = aborted(signal);
      session.destroy();
      await gone;
      held.release();
      await undelivered(way, 1);
      return [abortCode(signal), way.counts];
    },
  },
  'an answer that was handed over and could not leave is undelivered once its connection breaks': {
    see: async (way) => {
      const { session, stream } = way.make({ settings: { initialWindowSize: 0 } });
      await once(stream, 'response');
      assert.equal(way.tasks.undeliveredCount, 0);
      session.destroy();
      await undelivered(way, 1);
      return way.counts;
    },
  },
  'an answer that is not taken by its deadline is reset then, and undelivered': {
    at: { defaultDeadlineMs: 100 },
    see: async (way) => {
      const { ended } = way.make({ settings: { initialWindowSize: 0 } });
      const { reset } = await ended;
      assert.equal(reset, http2.constants.NGHTTP2_CANCEL);
      await undelivered(way, 1);
      return way.counts;
    },
  },
  'metadata is read alike: text, bytes, what comes twice or is not allowed': {
    see: async (way) => {
      const names = ['x-text', 'x-twice', 'x-none', 'x-odd', 'x-bytes-bin', 'traceparent', 'authorization', 'x-empty'];
      const seen: unknown[] = [];
      way.tasks.before = (_method, scope) => {
        const { header } = scope as unknown as { header(name: string): string | undefined };
        for (const name of names) seen.push(header.call(scope, name));
      };
      const headers = {
        'x-text': 'a, b',
        'x-twice': ['one', 'two'],
        'x-odd': 'ÿ',
        'x-bytes-bin': 'AAEC',
        traceparent: '00-1-2-01',
        authorization: 'Bearer t',
        'x-empty': '',
      };
      await way.make({ headers }).ended;
      assert.deepEqual(seen, ['a, b', 'one, two', undefined, undefined, undefined, '00-1-2-01', 'Bearer t', '']);
      return seen;
    },
  },
  'who deleted what is told with the address it came from, also where the answer reaches nobody': {
    at: { defaultDeadlineMs: 100 },
    see: async (way) => {
      await way.make().ended;
      const [handle] = [...way.tasks.records.keys()].map((key) => Buffer.from(key, 'latin1'));
      const request = idl.codec('pluginhost.v1.DeleteRequest').encode({ handle, reason: 'no more' });
      const ends = [shortly(await way.make({ method: 'Delete', request }).ended)];
      const held = hold(way);
      ends.push(shortly(await way.make({ method: 'Delete', request }).ended));
      held.release();
      await until('the second one', () => way.acts.length === 2);
      assert.deepEqual(
        way.acts.map((act) => (act as { remote: string }).remote),
        ['127.0.0.1', '127.0.0.1'],
      );
      return [ends, way.counts, way.acts];
    },
  },
  'a stop waits for calls under way, and is clean': {
    see: async (way) => {
      const held = hold(way);
      const { ended } = way.make();
      await held.entered;
      const stopped = way.server.stop(60_000);
      held.release();
      const end = await ended;
      assert.deepEqual([codeOf(end), await stopped], [0, true]);
      return end;
    },
  },
  'a call that outlives the grace of a stop is cut, and undelivered': {
    see: async (way) => {
      const held = hold(way);
      const { ended } = way.make();
      await held.entered;
      assert.equal(await way.server.stop(50), false);
      await ended;
      held.release();
      await undelivered(way, 1);
      return way.counts;
    },
  },
  'a request in many pieces, and a large one, are whole for their handler, which may keep them': {
    see: async (way) => {
      const padding = Buffer.concat([Buffer.from([0xfa, 0x07, 0x80, 0x80, 0x40]), Buffer.alloc(MIB, 7)]);
      const ends = await Promise.all(
        [createRequest(), Buffer.concat([createRequest(), padding])].map((request) => way.make({ request }).ended),
      );
      assert.deepEqual(ends.map(codeOf), [0, 0]);
      return [ends, way.tasks.specs];
    },
  },
};

const MIB = 1024 * 1024;

for (const [title, { see, at }] of Object.entries(PROPERTIES)) {
  test(`by the edge as by grpc-js: ${title}`, async (t) => {
    const seen: unknown[] = [];
    for (const named of Object.values(WAYS)) seen.push(await see(await startWay(t, named, at), t));
    assert.deepEqual(seen[0], seen[1]);
  });
}

test('only calls that name a coding are calls of grpc-js, which says so in its answer', async (t) => {
  const { port } = await startServer(t);
  for (const [way, named] of Object.entries(WAYS)) {
    const { stream } = http2Call(t, port, 'Create', createRequest(), {}, named);
    const [headers] = await once(stream, 'response');
    assert.equal('grpc-accept-encoding' in headers, way === 'grpc-js');
  }
});

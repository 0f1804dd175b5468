import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDeferred } from '../../src/lib/deferred.js';
import { type Elsewhere, EndedElsewhere, HERE } from '../../src/model/forwarding.js';
import type { WatchEvent, WatchReader } from '../../src/model/watch.js';
import { GONE_POSITION, partedToken, positionsOf } from '../../src/model/watch-token.js';
import { servePartedWatch } from '../../src/rpc/native/parted-watch.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import type { WatchOptions } from '../../src/rpc/native/watch.js';
import type { RpcStream } from '../../src/rpc/stream.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { idl } from './support.js';

const RUN = 'aaaaaaaaaaaa';
const request = idl.codec('pluginhost.v1.WatchRequest');
const response = idl.codec('pluginhost.v1.WatchResponse');

/** Readers whose events never end, counted. */
class Endless implements WatchReader {
  pulled = 0;
  closed = false;

  async next(): Promise<WatchEvent | undefined> {
    this.pulled += 1;
    return { kind: 'lagged', dropped: this.pulled, resumeToken: `${RUN}.${this.pulled}` };
  }

  bookmark(): WatchEvent {
    return { kind: 'bookmark', draining: false, resumeToken: `${RUN}.0` };
  }

  close(): void {
    this.closed = true;
  }
}

function optionsOf(watchPart: NonNullable<WatchOptions['tasks']['watchPart']>): WatchOptions {
  const tasks = { watch: () => assert.fail('all at once'), watchPart, remoteDown: () => false };
  const encoder = new StatusEncoder(idl);
  return { tasks, request, response, encoder, limits: DEFAULT_FIELD_LIMITS, bookmarkIntervalMs: 10_000 };
}

/** A stream whose caller takes so many messages, and no more. */
class Taker {
  readonly written: Buffer[] = [];
  readonly left = new AbortController();
  readonly stream: RpcStream;

  constructor(takes: number, relayed = false) {
    const call = {
      signal: this.left.signal,
      abortSignal: () => this.left.signal,
      relayed,
      deadlineMs: Number.POSITIVE_INFINITY,
      header: () => undefined,
    };
    const never = createDeferred<boolean>();
    this.left.signal.addEventListener('abort', () => never.resolve(false));
    const write = (message: Buffer) => {
      this.written.push(message);
      return this.written.length > takes ? never.promise : Promise.resolve(true);
    };
    this.stream = { call, write, draining: new AbortController().signal, fault() {} } as unknown as RpcStream;
  }
}

interface There {
  readonly stream: Elsewhere['stream'];
  readonly ownerOf?: (part: number) => string | undefined;
}

function elsewhereOf(parts: number, { stream, ownerOf = (part) => (part === 0 ? HERE : 'there') }: There): Elsewhere {
  const onChange = () => () => {};
  return {
    parts,
    ownerOf,
    onChange,
    stream,
    away: (part) => ownerOf(part) !== HERE,
    unary: () => assert.fail('unary'),
  };
}

test('a caller that takes nothing more costs one event of each source', async () => {
  const here = new Endless();
  let there = 0;
  const elsewhere = elsewhereOf(2, {
    stream: async () =>
      (async function* () {
        for (;;) {
          there += 1;
          const resumeToken = partedToken([[1, `${RUN}.${there}`]]);
          yield there === 1
            ? response.encode({ resumeToken, bookmark: { draining: false } })
            : response.encode({ resumeToken, lagged: { dropped: there } });
        }
      })(),
  });
  const taker = new Taker(5);
  const served = servePartedWatch(
    optionsOf(() => here),
    request.encode({}),
    taker.stream,
    elsewhere,
    '/a/Watch',
  );
  await sleep(50);
  assert.equal(taker.written.length, 6);
  const told = taker.written.slice(1).map((bytes) => Number(response.decode(bytes).lagged.dropped));
  assert.equal(told.length, 5);
  assert.ok(here.pulled >= 3 && there >= 3, 'both are told in turns');
  assert.ok(here.pulled + there <= 6 + 1 + 2, `${here.pulled} and ${there} pulled for 6 messages`);
  taker.left.abort();
  await served;
  assert.ok(here.closed);
});

test('a position counts for its own part, once its event is told', async () => {
  const elsewhere = elsewhereOf(4, {
    stream: async () =>
      (async function* () {
        yield response.encode({
          resumeToken: partedToken([
            [1, `${RUN}.5`],
            [2, `${RUN}.6`],
            [3, `${RUN}.7`],
          ]),
          bookmark: {},
        });
        yield response.encode({ resumeToken: partedToken([[2, `${RUN}.8`]]), lagged: { dropped: 1 } });
        yield response.encode({ resumeToken: partedToken([[3, `${RUN}.9`]]), lagged: { dropped: 1 } });
        await new Promise(() => {});
      })(),
  });
  const quiet = new Endless();
  quiet.next = () => new Promise(() => {});
  const taker = new Taker(1);
  const served = servePartedWatch(
    optionsOf(() => quiet),
    request.encode({}),
    taker.stream,
    elsewhere,
    '/a/Watch',
  );
  await sleep(50);
  const tokens = taker.written.map((bytes) => [...positionsOf(response.decode(bytes).resumeToken, 4)].sort());
  const all = (...positions: number[]) =>
    positions.map((position, part) => [part, position === 0 ? '' : `${RUN}.${position}`]);
  const standing = (entries: readonly (readonly [number, string])[]) =>
    entries.map(([part, position]) => [part, position === `${RUN}.0` ? '' : position]);
  assert.deepEqual(tokens.map(standing), [all(0, 5, 6, 7), all(0, 5, 8, 7)]);
  taker.left.abort();
  await served;
});

test('what any owner would refuse ends the Watch; what may pass is asked again', async () => {
  let asked = 0;
  const elsewhere = elsewhereOf(2, {
    stream: async () => {
      asked += 1;
      throw new EndedElsewhere(asked < 3 ? 14 : 3, 'no', undefined);
    },
  });
  const quiet = new Endless();
  quiet.next = () => new Promise(() => {});
  const taker = new Taker(9);
  const served = servePartedWatch(
    optionsOf(() => quiet),
    request.encode({}),
    taker.stream,
    elsewhere,
    '/a/Watch',
  );
  await assert.rejects(served, EndedElsewhere);
  assert.equal(asked, 3);
  assert.ok(quiet.closed);
});

test('another replica is told which of the parts that it asks for are gone, and only what changed', async () => {
  const readers = new Map<number, Endless>();
  const elsewhere = elsewhereOf(4, {
    ownerOf: (part) => (part < 2 ? HERE : 'other'),
    stream: () => assert.fail('never two hops'),
  });
  const options = optionsOf((part) => {
    const reader = new Endless();
    let count = 0;
    reader.next = async () => {
      count += 1;
      return count > 1 ? undefined : { kind: 'lagged', dropped: part, resumeToken: `${RUN}.${part + 5}` };
    };
    readers.set(part, reader);
    return reader;
  });
  const taker = new Taker(99, true);
  const resumeToken = partedToken([0, 1, 3].map((part) => [part, '']));
  await servePartedWatch(options, request.encode({ resumeToken }), taker.stream, elsewhere, '/a/Watch');
  const said = taker.written.map((bytes) => [...positionsOf(response.decode(bytes).resumeToken, 4)]);
  const gone = said.flat().filter(([, position]) => position === GONE_POSITION);
  assert.deepEqual(gone.map(([part]) => part).sort(), [0, 1, 3], 'all in the end');
  const events = taker.written.filter((bytes) => response.decode(bytes).event === 'lagged');
  assert.deepEqual(
    events.map((bytes) => [...positionsOf(response.decode(bytes).resumeToken, 4)]),
    [[[0, `${RUN}.5`]], [[1, `${RUN}.6`]]],
  );
  assert.deepEqual([...readers.keys()], [0, 1]);
});

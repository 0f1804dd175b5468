import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  MalformedEnvelope,
} from '../../../src/limits/grants/envelope.js';

const request = {
  taskId: 't',
  quotaNamespace: 'q',
  project: 'p',
  namespace: 'n',
  constraints: { project: 2, namespace: 3 },
};
const { constraints: _, ...plain } = request;
const between = { epoch: 'e', drawer: 'd' };

const EACH: readonly Envelope[] = [
  {
    plugin: 'p',
    kind: 'draw',
    lane: 'read',
    message: { ...between, draw: 1, seen: 0, left: 2, busy: 3, wanted: 4, throttledMs: 1.5 },
  },
  {
    plugin: 'p',
    kind: 'grant',
    lane: 'write',
    message: { ...between, draw: 1, number: 7, calls: 2, pausedMs: undefined, waitMs: 10, reportAfter: 1 },
  },
  {
    plugin: 'p',
    kind: 'ask',
    message: {
      ...between,
      from: 1,
      through: 0,
      items: [
        { kind: 'want', ask: 1, turn: 0, request },
        { kind: 'hold', turn: 2, request: plain, job: undefined },
        { kind: 'hold', turn: 2, request: { ...plain, constraints: {} }, job: 'j' },
        { kind: 'adopt', turn: 2, request: plain, job: 'j' },
        { kind: 'handOver', turn: 2, from: 'f', request: plain },
        { kind: 'job', taskId: 't', job: 'j' },
        { kind: 'close', forMs: 5 },
        { kind: 'gone', taskId: 't' },
        { kind: 'told' },
      ],
    },
  },
  {
    plugin: 'p',
    kind: 'said',
    message: {
      ...between,
      from: 1,
      through: 9,
      items: [
        { kind: 'granted', taskId: 't', ask: 1 },
        { kind: 'full', taskId: 't', ask: 1 },
        { kind: 'lacks', taskId: 't', ask: 1, lacks: 'project' },
        { kind: 'adopted', taskId: 't', granted: true },
        { kind: 'waited', namespaces: ['q'], all: false },
      ],
    },
  },
];

/** As it comes out of JSON, which has no undefined. */
const same = (envelope: Envelope): unknown => JSON.parse(JSON.stringify(envelope));

test('what replicas say to each other comes out as it went in, and what is not known of it is left out', () => {
  for (const envelope of EACH) {
    assert.deepEqual(same(decodeEnvelope(encodeEnvelope(envelope))), same(envelope));
    const more = { ...envelope, later: 1, message: { ...envelope.message, later: { a: 1 } } } as unknown as Envelope;
    assert.deepEqual(same(decodeEnvelope(encodeEnvelope(more))), same(envelope));
  }
});

/** Every place in a value, as its path. */
function* places(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  if (typeof value !== 'object' || value === null) {
    yield path;
    return;
  }
  yield path;
  for (const [name, inner] of Object.entries(value)) yield* places(inner, [...path, name]);
}

function put(value: unknown, [name, ...rest]: readonly string[], to: unknown): unknown {
  if (name === undefined) return to;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, unknown>;
  const inner = put(copy[name], rest, to);
  if (inner === undefined) delete copy[name];
  else copy[name] = inner;
  return copy;
}

/** It is understood, or refused as none; it neither throws anything else nor lets anything odd through. */
function takes(bytes: Buffer): Envelope | undefined {
  try {
    return decodeEnvelope(bytes);
  } catch (error) {
    assert.ok(error instanceof MalformedEnvelope, `${error}`);
    return undefined;
  }
}

const ODD: readonly unknown[] = [-1, 0.5, 1e300, Number.MAX_SAFE_INTEGER, '', 'x'.repeat(5_000), null, [], {}, true];

test('in no place of a message another kind of value, a negative one or a huge one is taken', () => {
  for (const envelope of EACH) {
    for (const path of places(same(envelope))) {
      for (const odd of ODD) {
        const got = takes(Buffer.from(JSON.stringify(put(same(envelope), path, odd))));
        if (got === undefined) continue;
        const text = JSON.stringify(got);
        assert.doesNotMatch(text, /-\d|x{4097}|1e\+?300/, `${path.join('.')} = ${JSON.stringify(odd)}`);
        // What was taken is what would be sent.
        assert.deepEqual(same(decodeEnvelope(encodeEnvelope(got))), same(got));
      }
      if (path.length > 0) takes(Buffer.from(JSON.stringify(put(same(envelope), path, undefined))));
    }
  }
});

test('bytes that are no message are refused as such, whatever they are', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), (bytes) => {
      assert.equal(takes(Buffer.from(bytes)), undefined);
    }),
    { numRuns: 2_000 },
  );
  const [first] = EACH;
  const whole = encodeEnvelope(first as Envelope);
  for (let length = 0; length < whole.length; length++) assert.equal(takes(whole.subarray(0, length)), undefined);
  fc.assert(
    fc.property(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
      const changed = Buffer.from(whole);
      changed[at] = byte;
      takes(changed);
    }),
    { numRuns: 2_000 },
  );
  assert.equal(takes(Buffer.from(`{"plugin":"p","kind":"ask","message":{"items":${'['.repeat(100_000)}`)), undefined);
});

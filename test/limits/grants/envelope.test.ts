import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../src/lib/clock.js';
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  MalformedEnvelope,
} from '../../../src/limits/grants/envelope.js';
import { GrantDrawer } from '../../../src/limits/grants/grant-drawer.js';
import { GrantOwner } from '../../../src/limits/grants/grant-owner.js';
import type { Grant } from '../../../src/limits/grants/messages.js';

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
      link: 1,
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
        { kind: 'away', taskId: 't' },
        { kind: 'unwritten', taskId: 't' },
        { kind: 'told' },
      ],
    },
  },
  {
    plugin: 'p',
    kind: 'said',
    message: {
      ...between,
      link: 2,
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

test('a message of a release that had one link a tenancy is one of the first', () => {
  for (const envelope of EACH) {
    if (envelope.kind !== 'ask' && envelope.kind !== 'said') continue;
    const got = takes(Buffer.from(JSON.stringify(put(same(envelope), ['message', 'link'], undefined))));
    assert.equal(got?.kind === envelope.kind && got.message.link, 1);
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

const text = fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: 'binary', maxLength: 40 }));
const wholeNumber = fc.oneof(fc.nat(), fc.constantFrom(0, Number.MAX_SAFE_INTEGER));
const calls = fc.nat({ max: 1_000_000_000 });
const time = fc.oneof(fc.double({ min: 0, max: Number.MAX_SAFE_INTEGER, noNaN: true }), wholeNumber);
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const asked = fc.record(
  {
    taskId: text,
    quotaNamespace: text,
    project: text,
    namespace: text,
    constraints: fc.record({ project: wholeNumber, namespace: wholeNumber }, { requiredKeys: [] }),
  },
  { requiredKeys: ['taskId', 'quotaNamespace', 'project', 'namespace'] },
);
const kindOf = <const K extends string, T extends object>(kind: K, rest: { [F in keyof T]: fc.Arbitrary<T[F]> }) =>
  fc.record({ kind: fc.constant(kind), ...rest });
const about = { turn: wholeNumber, request: asked };
const ask = fc.oneof(
  kindOf('want', { ask: wholeNumber, ...about }),
  kindOf('hold', { job: maybe(text), ...about }),
  kindOf('adopt', { job: text, ...about }),
  kindOf('handOver', { from: text, ...about }),
  kindOf('job', { taskId: text, job: text }),
  kindOf('close', { forMs: time }),
  kindOf('gone', { taskId: text }),
  kindOf('away', { taskId: text }),
  kindOf('unwritten', { taskId: text }),
  kindOf('told', {}),
);
const said = fc.oneof(
  kindOf('granted', { taskId: text, ask: wholeNumber }),
  kindOf('full', { taskId: text, ask: wholeNumber }),
  kindOf('lacks', {
    taskId: text,
    ask: wholeNumber,
    lacks: fc.constantFrom('capacity', 'quota', 'project', 'namespace'),
  }),
  kindOf('adopted', { taskId: text, granted: fc.boolean() }),
  kindOf('waited', { namespaces: fc.array(text, { maxLength: 5 }), all: fc.boolean() }),
);
const to = { epoch: text, drawer: text };
const ordered = { ...to, link: wholeNumber, from: wholeNumber, through: wholeNumber };
const lane = fc.constantFrom('read', 'write');
const draw = {
  draw: wholeNumber,
  seen: wholeNumber,
  left: calls,
  busy: calls,
  wanted: calls,
  throttledMs: maybe(time),
};
const grant = { draw: wholeNumber, number: wholeNumber, calls, pausedMs: maybe(time), waitMs: time };
const anyEnvelope = fc.oneof(
  kindOf('draw', { plugin: text, lane, message: fc.record({ ...to, ...draw }) }),
  kindOf('grant', {
    plugin: text,
    lane,
    message: fc.record({ ...to, ...grant, reportAfter: fc.integer({ min: 1, max: 1_000_000_000 }) }),
  }),
  kindOf('ask', { plugin: text, message: fc.record({ ...ordered, items: fc.array(ask, { maxLength: 6 }) }) }),
  kindOf('said', { plugin: text, message: fc.record({ ...ordered, items: fc.array(said, { maxLength: 6 }) }) }),
) as fc.Arbitrary<Envelope>;

test('whatever is said within the bounds is understood, and means the same', () => {
  fc.assert(
    fc.property(anyEnvelope, (envelope) => {
      assert.deepEqual(same(decodeEnvelope(encodeEnvelope(envelope))), same(envelope));
    }),
    { numRuns: 1_000 },
  );
});

/** What is taken is within bounds in each place, and goes on as it was taken. */
function takesOnlySound(bytes: Buffer): void {
  const got = takes(bytes);
  if (got === undefined) return;
  for (const path of places(same(got))) {
    const value = path.reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], same(got));
    if (typeof value === 'string') assert.ok(value.length <= 4_096);
    if (typeof value === 'number') assert.ok(value >= 0 && value <= Number.MAX_SAFE_INTEGER);
    if (Array.isArray(value)) assert.ok(value.length <= 10_000);
  }
  assert.deepEqual(same(decodeEnvelope(encodeEnvelope(got))), same(got));
}

test('messages of which some places, or some bytes, are others are understood within the bounds, or refused as none', () => {
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    by: fc.uint8Array({ maxLength: 3 }),
    of: fc.nat({ max: 3 }),
  });
  fc.assert(
    fc.property(anyEnvelope, fc.array(edit, { minLength: 1, maxLength: 4 }), (envelope, edits) => {
      let bytes = encodeEnvelope(envelope);
      for (const { at, by, of } of edits) {
        const place = Math.floor(at * bytes.length);
        bytes = Buffer.concat([bytes.subarray(0, place), by, bytes.subarray(place + of)]);
      }
      takesOnlySound(bytes);
    }),
    { numRuns: 500 },
  );
  const odd = fc.oneof(fc.jsonValue(), fc.constantFrom(...ODD));
  fc.assert(
    fc.property(anyEnvelope, fc.nat(), odd, fc.nat(), (envelope, first, value, second) => {
      let tree = same(envelope);
      for (const at of [first, second]) {
        const all = [...places(tree)];
        tree = put(tree, all[at % all.length] as readonly string[], value);
      }
      takesOnlySound(Buffer.from(JSON.stringify(tree)));
    }),
    { numRuns: 500 },
  );
});

test('a list of more than is ever sent at once is none', () => {
  const [, , , last] = EACH;
  for (const [length, taken] of [
    [10_000, true],
    [10_001, false],
  ] as const) {
    const items = Array.from({ length }, () => ({ kind: 'granted', taskId: 't', ask: 1 }));
    assert.equal(takes(Buffer.from(JSON.stringify(put(last, ['message', 'items'], items)))) !== undefined, taken);
  }
});

test('an owner and its drawers understand each other at any rate that may be set, and after any pause', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ qps: fc.constantFrom(0.001, 0.1, 100_000), burst: fc.constantFrom(1, 10_000) }),
      fc.constantFrom(1, 1_000_000),
      fc.constantFrom(0, 1, 2 ** 31 * 1_000),
      async (rate, wanted, pauseMs) => {
        const clock = new ManualClock();
        const through = <E extends Envelope>(envelope: E): E => decodeEnvelope(encodeEnvelope(envelope)) as E;
        const heard: Grant[] = [];
        const owner = new GrantOwner({
          epoch: 'e',
          bounds: { rate, concurrency: 1_000_000, callMs: 1_000 },
          grantMs: 3_000,
          clock,
          mayGrant: () => true,
          send: (message) => heard.push(through({ plugin: 'p', kind: 'grant', lane: 'read', message }).message),
        });
        const drawer = new GrantDrawer({
          drawer: 'd',
          grantMs: 3_000,
          clock,
          bootMs: () => clock.now(),
          send: (message) => owner.onDraw(through({ plugin: 'p', kind: 'draw', lane: 'read', message }).message),
          changed: () => {},
        });
        drawer.follow('e');
        drawer.want(wanted);
        if (pauseMs > 0) drawer.pause(clock.now() + pauseMs);
        await clock.advance(10_000);
        assert.ok(heard.length > 0);
        owner.close();
        drawer.close();
      },
    ),
    { numRuns: 50 },
  );
});

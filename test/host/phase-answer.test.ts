import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, FrameDecoder } from '../../src/channel/frame.js';
import { checkAnswer } from '../../src/host/process/answers.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import type { JsonValue } from '../../src/lib/json.js';
import type { PhaseState } from '../../src/model/phase-state.js';
import { PermanentError } from '../../src/plugin-api/errors.js';
import { flyte1, flyte2 } from '../../src/rpc/flyte/dialect.js';
import { logMessages } from '../../src/rpc/flyte/logs-metrics.js';
import { ResourceEncoder } from '../../src/rpc/flyte/resource.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { toFailure } from '../../src/sandbox/failures.js';
import { InvalidAnswer } from '../../src/sandbox/invalid-answer.js';
import { logsPage } from '../../src/sandbox/other-answers.js';
import { toPhaseState } from '../../src/sandbox/phase-answer.js';
import { Redactor } from '../../src/sandbox/redactor.js';

const idl = loadPluginHost();
const struct = idl.codec('google.protobuf.Struct');
const native = new StatusEncoder(idl);
const resources = [new ResourceEncoder(flyte1(idl, struct)), new ResourceEncoder(flyte2(loadFlyteidl2(), struct))];

const context = {
  method: 'get',
  outputsWritten: false,
  encodeOutputs: () => Buffer.alloc(0),
  redact: (text: string) => text,
};

/** What the daemon gets of a plugin's answer: checked there, sent over the channel, checked here. */
function received(answer: unknown): PhaseState {
  const decoder = new FrameDecoder(1 << 26);
  for (const part of encodeFrame(toPhaseState(answer, context), 1 << 26).parts) decoder.push(Buffer.from(part));
  return checkAnswer('get', decoder.next()?.message, {});
}

function assertTellable(state: PhaseState): void {
  native.phaseInfo(state, 1);
  for (const encoder of resources) encoder.resource(state);
}

function nested(levels: number): object {
  let value: object = {};
  for (let level = 1; level < levels; level++) value = level % 2 === 0 ? [value] : { inner: value };
  return { inner: value };
}

const HALF = '\ud83d';

test('a text that was cut within a character reaches the engines with a mark in its place', () => {
  const log = { uri: `https://logs.example.org/${HALF}`, name: `log ${HALF}` };
  const customInfo = { [`key ${HALF}`]: [`value ${HALF}`, 'a\\ud83d', '😀'] };
  const state = received({
    phase: 'RETRYABLE_FAILURE',
    reason: `cut ${HALF}`,
    remotePhase: HALF,
    error: { code: `E${HALF}`, message: HALF, kind: 'USER' },
    logs: [log],
    customInfo,
    externalResources: [{ externalId: HALF, logs: [log], customInfo }],
  });
  assertTellable(state);
  assert.equal(state.reason, 'cut \ufffd');
  assert.deepEqual(state.customInfo, { 'key \ufffd': ['value \ufffd', 'a\\ud83d', '😀'] });
});

test('a reason that the bound cuts within a character can be told', () => {
  const state = received({ phase: 'RUNNING', reason: `${'x'.repeat(8191)}😀 and more` });
  assertTellable(state);
  assert.match(state.reason, /^x{8191}… \(8202 characters\)$/);
});

test('custom info as deep as is taken can be told, and deeper is an invalid answer', () => {
  const deep = {
    phase: 'RUNNING',
    customInfo: nested(29),
    externalResources: [{ externalId: 'a', customInfo: nested(29) }],
  };
  assertTellable(received(deep));
  for (const answer of [
    { phase: 'RUNNING', customInfo: nested(60) },
    { phase: 'RUNNING', externalResources: [{ externalId: 'a', customInfo: nested(60) }] },
  ]) {
    assert.throws(
      () => received(answer),
      (error: Error) =>
        error instanceof InvalidAnswer && /customInfo is nested deeper than 30 levels/.test(error.message),
    );
  }
});

test('a time that no Timestamp can hold is an invalid answer, and all others can be told', () => {
  for (const timestampMs of [Number.NaN, 1e300, 253_402_300_800_000, -62_135_596_800_001, '0']) {
    assert.throws(() => logsPage({ lines: [{ message: 'm', timestampMs }] }), InvalidAnswer);
  }
  for (const timestampMs of [0, 0.5, -1.5, 253_402_300_799_999, -62_135_596_800_000]) {
    const page = logsPage({ lines: [{ message: 'm', timestampMs }] });
    assert.equal([...logMessages(flyte1(idl, struct), page)].length, 2);
  }
});

function withoutHugeNumbers(value: unknown): JsonValue {
  const text = JSON.stringify(value, (_, item) => (isHuge(item) ? Math.sign(item) : item));
  return JSON.parse(text) as JsonValue;
}

/** An object may have a `valueOf` of its own, which is no function. */
function isHuge(item: unknown): item is number {
  return typeof item === 'number' && Math.abs(item) > 2 ** 53;
}

test('whatever a plugin answers is refused at its process or can be told to every engine', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', HALF, `${HALF}x`, '\ude00', '\u0000'));
  // Mostly in range, so that most answers pass the checks of the plugin's process.
  const number = fc.oneof({ weight: 20, arbitrary: fc.nat() }, { weight: 1, arbitrary: fc.double() });
  const log = fc.record(
    { uri: text, name: text, ttlMs: number, messageFormat: fc.constantFrom('CSV', 'JSON') },
    { requiredKeys: ['uri'] },
  );
  // Whole numbers beyond 2^53 are refused, and fast-check likes them.
  const json = fc.dictionary(text, fc.jsonValue({ maxDepth: 40 }).map(withoutHugeNumbers), { maxKeys: 3 });
  const part = fc.record(
    { externalId: text, index: number, logs: fc.array(log, { maxLength: 2 }), customInfo: json },
    { requiredKeys: ['externalId'] },
  );
  const common = {
    reason: text,
    remotePhase: text,
    logs: fc.array(log, { maxLength: 2 }),
    customInfo: json,
    externalResources: fc.array(part, { maxLength: 2 }),
    version: number,
  };
  const error = fc.record({ code: text, message: text, kind: fc.constantFrom('USER', 'SYSTEM') });
  const answer = fc.oneof(
    fc.record({ phase: fc.constantFrom('QUEUED', 'RUNNING', 'SUCCESS'), ...common }, { requiredKeys: ['phase'] }),
    fc.record({ phase: fc.constantFrom('ABORTED', 'RETRYABLE_FAILURE'), error, ...common }),
    fc.record({ phase: fc.constantFrom('UNDEFINED', 'NOPE'), ...common }),
  );
  let told = 0;
  fc.assert(
    fc.property(answer, (given) => {
      let state: PhaseState;
      try {
        state = received(given);
      } catch (error) {
        assert.ok(error instanceof InvalidAnswer, String(error));
        return;
      }
      assertTellable(state);
      told += 1;
    }),
    { numRuns: 500 },
  );
  assert.ok(told > 100, `${told} of 500 were answers`);
});

test('a secret is masked in every text that an engine is told, and data that holds none stays as it is', () => {
  const redactor = new Redactor();
  const secret = 'hush "quoted" hush';
  redactor.add(secret);
  const log = { uri: `https://logs.example.org/?token=${secret}`, name: secret };
  const customInfo = { [secret]: ['plain', { inner: `a ${secret} b` }, 7, null, true] };
  const answer = {
    phase: 'PERMANENT_FAILURE',
    reason: secret,
    remotePhase: secret,
    error: { code: `E ${secret}`, message: secret, kind: 'USER' },
    logs: [log],
    customInfo,
    externalResources: [{ externalId: secret, logs: [log], customInfo }],
  };
  const state = toPhaseState(answer, { ...context, redact: (text) => redactor.redact(text) });
  assert.ok(!JSON.stringify(state).includes('quoted'));
  assert.equal(state.error?.code, 'E [redacted]');
  assert.equal(state.logs[0]?.uri, 'https://logs.example.org/?token=[redacted]');
  assert.deepEqual(state.externalResources[0]?.customInfo, {
    '[redacted]': ['plain', { inner: 'a [redacted] b' }, 7, null, true],
  });
  const thrown = new PermanentError('no', { code: `E ${secret}` });
  assert.equal(toFailure(thrown, (text) => redactor.redact(text)).code, 'E [redacted]');
  assert.deepEqual(toPhaseState({ phase: 'RUNNING', customInfo: { a: 1 } }, context).customInfo, { a: 1 });
});

test('what comes with a phase is bounded, so that the largest of it still fits an answer that an engine takes', () => {
  const ones = (characters: number) => ({ a: Array.from({ length: characters / 2 - 10 }, () => 1) });
  const links = (count: number) => Array.from({ length: count }, () => ({ uri: `http://${'u'.repeat(1_000)}` }));
  const items = (count: number) =>
    Array.from({ length: count }, () => ({ externalId: 'e'.repeat(900), logs: [{ uri: 'u'.repeat(100) }] }));
  const largest = received({
    phase: 'RUNNING',
    reason: '\u6f22'.repeat(8_192),
    customInfo: ones(256 * 1024),
    logs: links(1_000),
  });
  for (const encoder of resources) assert.ok(encoder.resource(largest).length < 4 * 1024 * 1024);
  for (const [answer, field] of [
    [{ customInfo: ones(256 * 1024 + 100) }, 'customInfo'],
    [{ logs: [{ uri: 'u'.repeat(1024 * 1024) }] }, 'logs'],
    [{ externalResources: items(2_500) }, 'externalResources'],
  ] as const) {
    assert.throws(
      () => received({ phase: 'RUNNING', ...answer }),
      (error) =>
        error instanceof InvalidAnswer &&
        new RegExp(`${field} has \\d+ characters of JSON; expected`).test(error.message),
    );
  }
});

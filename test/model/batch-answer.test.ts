import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkAnswer, maskedAnswer } from '../../src/host/process/answers.js';
import { withoutRepeats, withRepeats } from '../../src/model/batch-answer.js';
import { isPlainState, type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { pluginFailure } from '../../src/model/plugin-failure.js';

type Outcome = PluginOutcome<PhaseState>;

const FAILED: Outcome = { ok: false, failure: pluginFailure('transient', 'REMOTE_BUSY', 'busy') };
const running = (parts: Parameters<typeof phaseState>[1] = {}): Outcome => ({
  ok: true,
  value: phaseState('RUNNING', parts),
});
const asTheyAre = (value: unknown) => value as Outcome;

const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.constant(FAILED),
  fc
    .record({
      reason: fc.constantFrom('', '1', ' 1', 'a'.repeat(256), 'a'.repeat(257)),
      remotePhase: fc.constantFrom('', '1', ' 1', '11'),
      version: fc.constantFrom(0, 1, 11),
      nextPollAfterMs: fc.constantFrom(undefined, 1, 11),
      logs: fc.constantFrom([], [], [], [{ uri: 'http://log' }]),
      customInfo: fc.constantFrom(undefined, undefined, undefined, { a: 1 }),
    })
    .map(running),
  fc.constantFrom<Outcome>(
    { ok: true, value: phaseState('QUEUED', { reason: '1' }) },
    { ok: true, value: phaseState('SUCCESS', { outputs: { kind: 'prefix' } }) },
    { ok: true, value: phaseState('PERMANENT_FAILURE', { error: { code: 'C', message: 'm', kind: 'USER' } }) },
  ),
);

test('a batch is the same after its repeats were left out and put back, and has each plain state once', () => {
  fc.assert(
    fc.property(fc.array(outcome, { maxLength: 30 }), (outcomes) => {
      const told = withoutRepeats(outcomes);
      assert.deepEqual(withRepeats(told, asTheyAre), outcomes);
      const short = told
        .filter((one) => typeof one !== 'number' && one.ok && isPlainState(one.value) && one.value.reason.length <= 256)
        .map((one) => JSON.stringify(one));
      assert.equal(new Set(short).size, short.length);
    }),
  );
});

test('of a hundred tasks that say the same one is written', () => {
  const told = withoutRepeats(Array.from({ length: 100 }, () => running({ reason: 'on node c12' })));
  assert.deepEqual(told.slice(1), new Array(99).fill(0));
  const reads = withRepeats(told, asTheyAre);
  assert.ok(reads.every((one) => one === reads[0]));
});

test('a number is taken for a plain state before it and for nothing else', () => {
  const items = { items: new Array(3).fill({}) };
  const check = (told: unknown[]) => checkAnswer('getMany', told, items);
  const plain = running();
  assert.deepEqual(check([plain, 0, 0]), [plain, plain, plain]);
  const withLog = running({ logs: [{ uri: 'http://log' }] });
  for (const number of [1, 2, 3, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32]) {
    assert.throws(() => check([plain, number, plain]), /outcome 1 repeats/, String(number));
  }
  assert.throws(() => check([0, plain, plain]), /outcome 0 repeats 0/);
  assert.throws(() => check([FAILED, 0, plain]), /outcome 1 repeats 0/);
  assert.throws(() => check([withLog, plain, 0]), /outcome 2 repeats 0/);
  assert.throws(() => check([plain, 0]), /2 outcomes for 3 items/);
});

test('what repeats is masked as what it repeats', () => {
  const mask = (text: string) => text.replaceAll('hunter2', '***');
  const [first, other] = [running({ reason: 'with hunter2' }), running({ reason: 'hunter2 again' })];
  const masked = maskedAnswer('getMany', [first, first, other, first, FAILED], mask);
  const reasons = masked.map((one) => (one.ok ? one.value.reason : one.failure.message));
  assert.deepEqual(reasons, ['with ***', 'with ***', '*** again', 'with ***', 'busy']);
});

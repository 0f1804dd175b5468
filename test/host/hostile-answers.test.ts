import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAnswer } from '../../src/host/process/answers.js';
import { phaseState } from '../../src/model/phase-state.js';

const state = (parts: object) => ({ ...phaseState('RUNNING'), ...parts });

test('an answer that could not be encoded for an engine is none, whoever says that it was checked', () => {
  const bad: Record<string, object> = {
    'a log without text': { logs: [{ uri: 'u', name: 5 }] },
    'a log for no time': { logs: [{ uri: 'u', ttlMs: -1 }] },
    'a log of no format': { logs: [{ uri: 'u', messageFormat: 'constructor' }] },
    'an index out of range': { externalResources: [{ externalId: 'x', index: 2 ** 40 }] },
    'no phase': { externalResources: [{ externalId: 'x', phase: 'BOGUS' }] },
    'a version out of range': { version: -1 },
    'bytes in custom info': { customInfo: { a: Buffer.alloc(1) } },
    'no number in custom info': { customInfo: { a: Number.POSITIVE_INFINITY } },
  };
  for (const [what, parts] of Object.entries(bad)) assert.throws(() => checkAnswer('get', state(parts), {}), what);
  assert.throws(() => checkAnswer('getLogs', { lines: [{ message: 'm', timestampMs: 1e300 }], token: '' }, {}));
  assert.throws(() => checkAnswer('getMetrics', { series: [{ metric: 5, points: [] }] }, {}));
  assert.doesNotThrow(() => checkAnswer('get', state({ logs: [{ uri: 'u', name: 'n', ttlMs: 1 }], version: 3 }), {}));
});

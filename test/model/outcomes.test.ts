import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERROR_CATALOGUE } from '../../src/errors/index.js';
import { OUTCOME_PLACES, OUTCOMES, type OutcomePlace } from '../../src/model/outcomes.js';
import { FAILURE_KINDS } from '../../src/model/plugin-call.js';

function* cells() {
  for (const place of OUTCOME_PLACES)
    for (const kind of FAILURE_KINDS) yield { place, kind, rule: OUTCOMES[place][kind] };
}

test('every cell of the outcome table is filled, with codes of the catalogue, and no row is left over', () => {
  assert.deepEqual(Object.keys(OUTCOMES).sort(), [...OUTCOME_PLACES].sort());
  let seen = 0;
  for (const { place, kind, rule } of cells()) {
    assert.ok(rule, `${place} with ${kind}`);
    const codes = [rule.answer, rule.ends?.code, rule.endsPastBound?.code];
    for (const code of codes) {
      if (code === undefined || ['phase', 'ok', 'plugin'].includes(code)) continue;
      assert.ok(code in ERROR_CATALOGUE, `${place} with ${kind} names ${code}`);
    }
    seen += 1;
  }
  assert.equal(seen, 70);
  for (const place of OUTCOME_PLACES) assert.equal(Object.keys(OUTCOMES[place]).length, FAILURE_KINDS.length);
});

test('the fixed points of the design hold in every place', () => {
  for (const { place, kind, rule } of cells()) {
    const cell = `${place} with ${kind}`;
    if (['throttled', 'not_admitted', 'cancelled'].includes(kind)) {
      assert.equal(rule.counted, 'no', cell);
      assert.equal(rule.ends ?? rule.endsPastBound, undefined, cell);
    }
    if (rule.ends !== undefined && rule.endsWhen === undefined) assert.equal(rule.counted, 'no', cell);
    if (rule.token === 'freed')
      assert.ok(['no', 'confirm'].includes(rule.retry), `${cell} frees the token and goes on`);
  }
  const at = (place: OutcomePlace) => OUTCOMES[place];
  assert.deepEqual(at('get').not_found.ends, { phase: 'RETRYABLE_FAILURE', code: 'RESOURCE_LOST' });
  assert.deepEqual([at('get').not_found.endsWhen, at('get').not_found.remote], ['confirmed', 'unknown']);
  assert.deepEqual([at('delete').not_found.answer, at('delete').not_found.token], ['ok', 'freed']);
  assert.equal(at('create').permanent.ends?.phase, 'PERMANENT_FAILURE');
  assert.equal(at('create').transient.endsPastBound?.code, 'CREATE_BUDGET_SPENT');
  for (const place of ['create', 'get', 'getManyItem', 'status', 'delete', 'do'] as const) {
    const { unknown, transient } = at(place);
    assert.deepEqual({ ...unknown, answer: '' }, { ...transient, answer: '' }, `${place}: unknown is transient`);
  }
});

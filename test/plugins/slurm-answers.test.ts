import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAnswer } from '../../plugins/slurm/answer-text.js';

const answerOf = (...records: string[]) => `{"meta": {}, "jobs": [${records.join(', ')}], "errors": []}`;
const OURS = '{"job_id": 5, "comment": "key", "job_state": ["RUNNING"]}';
const jobsIn = (text: string) => (parseAnswer(text).json as { jobs: unknown[] } | undefined)?.jobs;

test('what is JSON is read as it is', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.deepEqual(parseAnswer(text), { json: JSON.parse(text), broken: [] });
    }),
  );
});

test('numbers that are none, commas too many, raw control characters and odd escapes in one record hide no other', () => {
  const odd: [string, unknown][] = [
    ['{"a": NaN}', { a: null }],
    ['{"a": -nan, "b": [Infinity,-Infinity, inf]}', { a: null, b: [null, null, null] }],
    ['{"a": 1e5, "b": 1E-2, "c": -0.5, "d": true, "e": null}', { a: 1e5, b: 0.01, c: -0.5, d: true, e: null }],
    ['{"a": [1, 2 , ], }', { a: [1, 2] }],
    ['{"a": "x\ty\n"}', { a: 'x\ty\n' }],
    ['{"a": "C:\\work \\d"}', { a: 'C:\\work \\d' }],
    // nothing inside a string is touched
    ['{"a": "NaN, ] , } -Infinity \\" NaN", "b": NaN}', { a: 'NaN, ] , } -Infinity " NaN', b: null }],
    ['{"NaN": NaN}', { NaN: null }],
  ];
  for (const [record, value] of odd) {
    assert.deepEqual(jobsIn(answerOf(record, OURS)), [value, JSON.parse(OURS)], record);
    assert.deepEqual(jobsIn(answerOf(OURS, record)), [JSON.parse(OURS), value], record);
  }
  assert.deepEqual(jobsIn(`\ufeff${answerOf(OURS)}`), [JSON.parse(OURS)]);
});

test('a record that is beyond mending is told apart, and nothing else is lost', () => {
  for (const record of [
    '{"a": undefined}',
    '{"a": }',
    "{'a': 1}",
    '{"a" "b"}',
    '{"a": 01}',
    '{"jobs": [oops]}',
    'what',
  ]) {
    for (const text of [answerOf(record, OURS), answerOf(OURS, record), answerOf(OURS, record, OURS)]) {
      const { json, broken } = parseAnswer(text);
      const { jobs, errors } = json as { jobs: unknown[]; errors: unknown };
      assert.deepEqual(broken, [record]);
      assert.ok(jobs.length > 0);
      for (const job of jobs) assert.deepEqual(job, JSON.parse(OURS));
      assert.deepEqual(errors, []);
    }
  }
});

test('an answer that is cut short, has no end or is a page is no answer', () => {
  const whole = answerOf('{"a": undefined}', OURS);
  for (const text of [
    '',
    '<html>',
    'NaNsense',
    '{"jobs": [',
    '{"jobs": [{"a": "',
    answerOf('{"a": {'),
    answerOf('{"a": "'),
  ]) {
    assert.equal(parseAnswer(text).json, undefined, text);
  }
  for (let end = 1; end < whole.length; end++) assert.equal(parseAnswer(whole.slice(0, end)).json, undefined);
});

test('whatever one record holds, the records beside it are read or the whole answer is refused', () => {
  const part = fc.constantFrom(...'{}[],:"\\ \n', 'NaN', '-', '"a"', '1', 'e', 'Infinity', '"jobs"', 'null', 'x');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const { json } = parseAnswer(answerOf(OURS, `{"a": ${parts.join('')}}`, OURS));
      if (json === undefined) return;
      const { jobs } = json as { jobs: unknown[] };
      assert.deepEqual(jobs[0], JSON.parse(OURS));
    }),
    { numRuns: 2_000 },
  );
});

test('mending a list of tens of thousands of records takes about as long as reading it', () => {
  const record = `{"job_id": 7, "name": "${'n'.repeat(1_000)}", "billable_tres": NaN, "job_state": ["RUNNING"]}`;
  const text = answerOf(...Array.from({ length: 20_000 }, () => record));
  assert.equal(jobsIn(text)?.length, 20_000);
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { customSchema } from '../../plugins/slurm/custom.js';
import { settingsSchema } from '../../plugins/slurm/settings.js';
import { FAILED_REASONS, STATE_TABLE } from '../../plugins/slurm/states.js';
import { fromRoot } from '../support/paths.js';

const DOC = readFileSync(fromRoot('docs/plugins/slurm.md'), 'utf8');
/** Cells of the table's rows, the states of the first cell apart. */
const ROWS = DOC.split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );

test('the settings shown in the docs are valid', () => {
  const yaml = /```yaml\n([\s\S]*?)```/.exec(DOC)?.[1] ?? '';
  const { settings } = (parse(yaml) as { plugins: { slurm: { settings: unknown } } }).plugins.slurm;
  assert.equal(settingsSchema.parse(settings).defaultCluster, 'main');
});

test('the docs name every state with the phase, kind and code of the table', () => {
  for (const [state, rule] of Object.entries(STATE_TABLE)) {
    const [, phase = '', kind, codes = ''] =
      ROWS.find(([states = '']) => new RegExp(`(^|[ ,])${state}([ ,:]|$)`).test(states)) ?? [];
    if (rule.kind === 'failed') {
      assert.match(phase, rule.retryable ? /^RETRYABLE_FAILURE/ : /^PERMANENT_FAILURE/, state);
      assert.equal(kind, rule.fault, state);
      assert.match(codes, new RegExp(`\\b${rule.code}\\b`), state);
    } else {
      assert.match(phase, /^(QUEUED|INITIALIZING|RUNNING|SUCCESS|ABORTED)$/, state);
    }
  }
  const reasons = ROWS.map(([states = '']) => states).filter((states) => states.startsWith('FAILED'));
  for (const reason of Object.keys(FAILED_REASONS)) {
    const known = reasons.some((states) => states.includes(reason)) || ['TimeLimit', 'OutOfMemory'].includes(reason);
    assert.ok(known, `the docs do not tell of the reason ${reason}`);
  }
});

test('the docs name every key of the settings and of a task', () => {
  const keys = [...Object.keys(settingsSchema.shape), ...Object.keys(customSchema.shape)];
  assert.ok(keys.length > 25);
  for (const key of keys) assert.ok(DOC.includes(`\`${key}\``) || DOC.includes(`${key}:`), key);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rarely } from '../../src/lib/rarely.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { Telemetry } from '../../src/telemetry/index.js';
import { captureLog } from './support.js';

test('each key is let through once in a pause, and no more keys than the bound', () => {
  let now = 0;
  const rarely = new Rarely({ now: () => now, pauseMs: 100, maxKeys: 2 });
  assert.deepEqual(
    [rarely.allows('a'), rarely.allows('a'), rarely.allows('b'), rarely.allows('c')],
    [true, false, true, false],
  );
  now = 99;
  assert.equal(rarely.allows('a'), false);
  now = 100;
  assert.equal(rarely.allows('a'), true);
});

test('large metas and states are warned about once a plugin and hour, and a delete that fails for days ever more rarely', () => {
  let now = 0;
  const { log, lines } = captureLog({ level: 'debug' });
  const { taskEvents } = new Telemetry({
    log,
    version: '1',
    plugins: ['a', 'b'],
    processMetrics: false,
    now: () => now,
  });
  const task = (plugin: string) => ({ id: 't', identity: { plugin, taskType: 'x' }, scope: { plugin } }) as TaskRecord;
  for (let i = 0; i < 50; i++) for (const plugin of ['a', 'b']) taskEvents.metaLarge(task(plugin), 2_000);
  for (let i = 0; i < 50; i++) for (const plugin of ['a', 'b']) taskEvents.stateCut(task(plugin));
  assert.equal(lines.length, 4);
  now = 3_600_000;
  taskEvents.metaLarge(task('a'), 2_000);
  taskEvents.stateCut(task('a'));
  assert.equal(lines.length, 6);
  for (let attempt = 1; attempt <= 100; attempt++) taskEvents.deleteFailed('t', 'a', 'X', 'no', attempt);
  assert.deepEqual(
    lines.slice(6).map(({ attempts }) => attempts),
    [1, 2, 4, 8, 16, 32, 64],
  );
});

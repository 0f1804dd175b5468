import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pack, unpack } from '../../src/channel/pack.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { BatchItem } from '../../src/runtime/batch-item.js';
import { resourceArgs } from '../../src/runtime/runtime.js';
import { adoptedTask, insertTask, storeOf } from '../store/make-store.js';

const NOW = 5;

/** As the plugin's process has it; `longText` as in `pack`. */
function sent(value: unknown, longText?: number): unknown {
  const { json, attachments } = pack({ items: [value, value] }, longText);
  return unpack(json, Buffer.concat(attachments));
}

function assertTheSame(task: TaskRecord, what: string): void {
  const [item, args] = [new BatchItem(task, NOW), resourceArgs(task, NOW)];
  assert.deepEqual(sent(item), sent(args), what);
  assert.deepEqual(sent(item, 4), sent(args, 4), `${what}, with long texts beside it`);
  const { meta, outputPrefix, outputNames, idempotencyKey, connection } = item;
  assert.deepEqual({ meta, outputPrefix, outputNames, idempotencyKey, connection }, args);
}

test('a task arrives in a batch as it does alone, whatever its record holds', () => {
  const text = fc.string({ unit: 'binary' });
  const facts = fc.record({
    meta: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    outputPrefix: text,
    connection: fc.option(fc.record({ secrets: fc.dictionary(text, text), configs: fc.dictionary(text, text) }), {
      nil: undefined,
    }),
    connectionUntilMs: fc.constantFrom(NOW, NOW + 1),
  });
  fc.assert(
    fc.property(facts, (more) => {
      assertTheSame(insertTask(storeOf().store, 'a', more), 'a task of an engine');
      assertTheSame(adoptedTask(storeOf().store, 'a', more), 'a task that is known from a handle');
    }),
    { numRuns: 200 },
  );
  assertTheSame(insertTask(storeOf().store, 'a'), 'a task without a meta');
});

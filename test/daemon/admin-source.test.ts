import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AdminParts, adminSource } from '../../src/daemon/admin-source.js';
import { HostError } from '../../src/errors/index.js';

const owed = (id: string) => ({ id, identity: { plugin: 'p' }, reason: 'r', sinceMs: 0, attempts: 1 });

function sourceOver(ids: string[]) {
  const tasks = { owedDeletes: { list: () => ids.map(owed) } };
  return adminSource({ tasks } as unknown as AdminParts);
}

test('pages of a listing join to the whole, and end without `next`', () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  const source = sourceOver(ids);
  const seen: unknown[] = [];
  let after: string | undefined = '';
  for (let pages = 0; after !== undefined; pages++) {
    assert.ok(pages < 3);
    const page = source.deletes({ limit: 2, after });
    seen.push(...page.rows.map(({ id }) => id));
    after = page.next;
  }
  assert.deepEqual(seen, ids);
  assert.deepEqual(sourceOver([]).deletes({ limit: 2, after: '' }), { rows: [], next: undefined });
});

test('a page after a row that is gone is an error, and not the end of the list', () => {
  const ids = ['a', 'b', 'c'];
  const source = sourceOver(ids);
  assert.equal(source.deletes({ limit: 1, after: '' }).next, 'a');
  ids.shift();
  assert.throws(
    () => source.deletes({ limit: 1, after: 'a' }),
    (error) => HostError.is(error) && error.code === 'REQUEST_FIELD_INVALID' && /start again/.test(error.message),
  );
});

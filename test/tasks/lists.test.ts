import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import type { Listed } from '../../src/lib/roll.js';
import { Roll } from '../../src/lib/roll.js';
import type { Page } from '../../src/model/page.js';
import { MAX_LOOKED_AT, Pages } from '../../src/tasks/list/page.js';
import { created, fail, makeHarness, running, settle } from './harness.js';

interface Row extends Listed {
  readonly id: string;
}

function listOf(ids: readonly string[], mark = 'm') {
  const roll = new Roll<Row>();
  const rows = ids.map((id): Row => ({ id, listedAt: 0 }));
  for (const row of rows) roll.add(row);
  const pages = new Pages(mark);
  let shown = 0;
  const page = (limit: number, after = '', wanted?: (row: Row) => boolean) =>
    pages.of<Row>(
      {
        after: (place) => roll.after(place),
        ...(wanted === undefined ? {} : { wanted }),
        show: ({ id }) => {
          shown += 1;
          if (id === 'bad') throw new RangeError('Invalid time value');
          return { id };
        },
      },
      { limit, after },
    );
  return { roll, rows, page, shown: () => shown };
}

const idsOf = ({ rows }: Page) => rows.map(({ id }) => id);

test('pages of a listing join to the whole, and end without `next`', () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  const { page, shown } = listOf(ids);
  const seen: unknown[] = [];
  let after: string | undefined = '';
  for (let pages = 0; after !== undefined; pages++) {
    assert.ok(pages < 3);
    const one: Page = page(2, after);
    seen.push(...idsOf(one));
    after = one.next;
  }
  assert.deepEqual(seen, ids);
  assert.equal(shown(), ids.length, 'no row is made that is not shown');
  assert.deepEqual(listOf([]).page(2), { rows: [], next: undefined });
});

test('a page goes on where the one before ended, also when its last row and others are gone', () => {
  const { roll, rows, page } = listOf(['a', 'b', 'c', 'd']);
  const first = page(2);
  assert.deepEqual(idsOf(first), ['a', 'b']);
  for (const row of rows.slice(0, 3)) roll.delete(row);
  roll.add({ id: 'e', listedAt: 0 });
  assert.deepEqual(idsOf(page(2, first.next)), ['d', 'e']);
});

test('a cursor that was made up, or is of an earlier life of the daemon, is an error and not the end of the list', () => {
  const { page } = listOf(['a', 'b', 'c']);
  const other = listOf(['a', 'b', 'c'], 'n').page(1).next as string;
  const long = 'x'.repeat(1_000);
  assert.throws(
    () => page(1, `y${long}`),
    (error) => HostError.is(error) && error.message.startsWith(`after="y${long.slice(0, 79)}" is no place`),
  );
  for (const after of [other, 'a', 'm.', 'm.x', 'm.1.2', 'm.-1', 'm.1e3', 'm']) {
    assert.throws(
      () => page(1, after),
      (error) => HostError.is(error) && error.code === 'REQUEST_FIELD_INVALID' && /start again/.test(error.message),
      after,
    );
  }
});

test('a page looks at a bounded number of rows, says so by its cursor, and the next one goes on', () => {
  const total = 2 * MAX_LOOKED_AT + 5;
  const { page } = listOf(Array.from({ length: total }, (_, i) => String(i)));
  const rare = ({ id }: Row) => id === String(total - 1);
  let looked = 0;
  const counted = (row: Row) => {
    looked += 1;
    return rare(row);
  };
  const first = page(10, '', counted);
  assert.deepEqual([idsOf(first), first.next !== undefined], [[], true]);
  assert.deepEqual([looked, first.next], [MAX_LOOKED_AT + 1, `m.${MAX_LOOKED_AT}`]);
  const second = page(10, first.next, rare);
  const third = page(10, second.next, rare);
  assert.deepEqual([idsOf(second), idsOf(third), third.next], [[], [String(total - 1)], undefined]);
});

test('a page that is full ends before the next wanted row, and is the last where there is none', () => {
  const { page } = listOf(['a', 'x', 'b', 'x', 'x']);
  const wanted = ({ id }: Row) => id !== 'x';
  const first = page(1, '', wanted);
  assert.deepEqual([idsOf(first), first.next !== undefined], [['a'], true]);
  assert.deepEqual(page(1, first.next, wanted), { rows: [{ id: 'b' }], next: undefined });
});

test('a row that cannot be shown is named, and the rows after it are shown', () => {
  const { rows } = listOf(['a', 'bad', 'c']).page(10);
  assert.deepEqual(rows, [{ id: 'a' }, { id: 'bad', unshown: 'Invalid time value' }, { id: 'c' }]);
});

test('the list of tasks has each in the order it came, live or over, and only what is asked for', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const filters = {
    plugin: undefined,
    phase: undefined,
    stage: undefined,
    project: undefined,
    id: undefined,
    limit: 10,
    after: '',
  };
  const ids: string[] = [];
  for (const name of ['a', 'b', 'c']) {
    const { task } = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
    ids.push(task.id);
  }
  h.plugin.on.create = () => fail('permanent');
  const over = await settle(h.clock, h.tasks.create(h.spec('d'), h.scope()));
  assert.deepEqual(idsOf(h.tasks.lists.tasks(filters)), [...ids, over.task.id]);
  assert.deepEqual(idsOf(h.tasks.lists.tasks({ ...filters, stage: 'over' })), [over.task.id]);
  assert.deepEqual(idsOf(h.tasks.lists.tasks({ ...filters, plugin: 'other' })), []);
  const first = h.tasks.lists.tasks({ ...filters, limit: 2 });
  assert.deepEqual(idsOf(h.tasks.lists.tasks({ ...filters, after: first.next as string })), [ids[2], over.task.id]);
  await h.stop();
});

test('the row of a task says since when and by how many reads its job is not found, and whether a wave froze it', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const filters = { plugin: undefined, phase: undefined, stage: undefined, project: undefined, id: undefined };
  const told = () => h.tasks.lists.tasks({ ...filters, limit: 10, after: '' }).rows.map(({ notFound }) => notFound);
  for (const name of ['a', 'b', 'c']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  assert.deepEqual(told(), [null, null, null]);
  h.plugin.on.get = () => fail('not_found');
  await h.clock.advance(300_000);
  for (const row of told() as { frozen: boolean; reads: number }[]) assert.ok(row.frozen && row.reads >= 3);
  h.plugin.on.get = () => running();
  await h.clock.advance(120_000);
  assert.deepEqual(told(), [null, null, null]);
  await h.stop();
});

test('tasks are found by the beginning of their id, and by nothing else of it', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const ids: string[] = [];
  for (const name of ['a', 'b']) {
    ids.push((await settle(h.clock, h.tasks.create(h.spec(name), h.scope()))).task.id);
  }
  const query = { plugin: undefined, phase: undefined, stage: undefined, project: undefined, limit: 10, after: '' };
  const found = (id: string) => h.tasks.lists.tasks({ ...query, id }).rows.map((row) => row.id);
  for (const id of ids) {
    assert.deepEqual(found(id), [id]);
    assert.deepEqual(found(id.slice(0, 20)), [id]);
    assert.deepEqual(found(id.slice(1)), []);
  }
  await h.stop();
});

test('deletes that are owed and creates of unclear outcome are listed, each with why it stays', async () => {
  const h = await makeHarness({ options: { createBudgetMs: 1_000 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', { outputPrefix: '', connection: undefined }));
  h.plugin.on.create = () => fail('deadline');
  const unclear = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  await h.clock.advance(60_000);
  assert.deepEqual(idsOf(h.tasks.lists.deletes({ limit: 10, after: '' })), [task.id]);
  assert.deepEqual(idsOf(h.tasks.lists.unclearCreates({ limit: 10, after: '' })), [unclear.task.id]);
  await h.stop();
});

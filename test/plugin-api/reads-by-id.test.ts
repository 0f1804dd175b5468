import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ResourceContext } from '../../src/plugin-api/contexts.js';
import { NotFoundError, TransientError } from '../../src/plugin-api/errors.js';
import { readsById } from '../../src/plugin-api/reads-by-id.js';

const context = <Meta>(resourceMeta: Meta) => ({ resourceMeta }) as ResourceContext<Meta>;

interface Job {
  readonly id: string;
  readonly state: string;
}

test('each context gets the outcome of its own job, whatever the list has and in whatever order', async () => {
  const ids = fc.constantFrom('a', 'b', 'c', 'd', '__proto__', 'constructor', 'toString', '');
  await fc.assert(
    fc.asyncProperty(fc.array(ids), fc.uniqueArray(ids), async (asked, listed) => {
      let lists = 0;
      const { get, getMany } = readsById<{ id: string }, Job>(100, async (_ctx, wanted) => {
        lists += 1;
        assert.ok(wanted.length > 0);
        return listed.map((id) => ({ id, state: `state of ${id}` }));
      });
      const outcomes = await getMany.read(asked.map((id) => context({ id: id as string })));
      assert.equal(lists, asked.length === 0 ? 0 : 1);
      assert.equal(outcomes.length, asked.length);
      for (const [index, outcome] of outcomes.entries()) {
        const id = asked[index] as string;
        if (!(listed as string[]).includes(id)) {
          assert.ok(outcome.status === 'rejected' && outcome.reason instanceof NotFoundError);
          await assert.rejects(get(context({ id })), NotFoundError);
          continue;
        }
        assert.deepEqual(outcome, { status: 'fulfilled', value: { id, state: `state of ${id}` } });
        assert.deepEqual(await get(context({ id })), { id, state: `state of ${id}` });
      }
    }),
  );
});

test('a list that fails fails the whole read, and one job that fails fails alone', async () => {
  const failing = readsById<string, Job>(10, () => Promise.reject(new TransientError('down')));
  await assert.rejects(failing.getMany.read([context('a'), context('b')]), /down/);
  await assert.rejects(failing.get(context('a')), /down/);
  const jobs = [
    { id: 'a', state: 'done' },
    { id: 'b', state: 'done' },
  ];
  const { getMany } = readsById<string, Job, string>(10, async () => jobs, {
    each(_ctx, job) {
      if (job.id === 'a') throw new TransientError('no result');
      return `result of ${job.id}`;
    },
  });
  const [a, b] = await getMany.read([context('a'), context('b')]);
  assert.equal(a?.status === 'rejected' && (a.reason as Error).message, 'no result');
  assert.deepEqual(b, { status: 'fulfilled', value: 'result of b' });
});

test('ids may be numbers, stand under other names, and keep batches apart by key', async () => {
  const { getMany } = readsById<{ job: number; site: string }, { number: number }>(5, async () => [{ number: 7 }], {
    idOf: ({ number }) => String(number),
    metaId: ({ job }) => String(job),
    batchKey: ({ site }) => site,
  });
  assert.equal(getMany.maxBatch, 5);
  assert.equal(getMany.batchKey?.({ job: 7, site: 'x' }), 'x');
  assert.deepEqual(await getMany.read([context({ job: 7, site: 'x' })]), [
    { status: 'fulfilled', value: { number: 7 } },
  ]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type HeapMember, IndexedHeap } from '../../src/refresh/heap.js';

/** More comes than goes, so that the heap grows some levels deep. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('push' as const), key: fc.integer({ min: 0, max: 20 }) }) },
  fc.record({ do: fc.constant('pop' as const) }),
  fc.record({ do: fc.constant('remove' as const), n: fc.nat(20) }),
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('move' as const), n: fc.nat(20), key: fc.integer({ min: 0, max: 20 }) }),
  },
  fc.record({ do: fc.constant('rebuild' as const), add: fc.integer({ min: -9, max: 9 }) }),
);

test('the heap gives the smallest first whatever is pushed, removed, moved or changed in bulk', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const heap = new IndexedHeap<HeapMember>();
      const model: HeapMember[] = [];
      for (const s of steps) {
        if (s.do === 'push') {
          const member = { key: s.key, heapIndex: -1 };
          heap.push(member);
          model.push(member);
        } else if (s.do === 'pop') {
          const first = heap.peek();
          if (first === undefined) continue;
          heap.remove(first);
          model.splice(model.indexOf(first), 1);
        } else if (s.do === 'rebuild') {
          for (const m of model) m.key = (m.key * 7 + s.add) % 23;
          heap.rebuild();
        } else {
          const member = model[s.n];
          if (member === undefined) continue;
          if (s.do === 'remove') {
            heap.remove(member);
            model.splice(s.n, 1);
            assert.equal(member.heapIndex, -1);
          } else {
            member.key = s.key;
            heap.moved(member);
          }
        }
        assert.equal(heap.size, model.length);
        assert.equal(heap.peek()?.key, model.length === 0 ? undefined : Math.min(...model.map((m) => m.key)));
        assert.equal(heap.countUpTo(10), model.filter((m) => m.key <= 10).length);
        for (const m of model) assert.equal([...heap][m.heapIndex], m);
      }
      const sorted = model.map((m) => m.key).sort((a, b) => a - b);
      for (const key of sorted) {
        assert.equal(heap.peek()?.key, key);
        heap.remove(heap.peek() as HeapMember);
      }
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LinkedQueue, type QueueNode } from '../../src/lib/linked-queue.js';

const step = fc.oneof(
  fc.record({ do: fc.constant('push' as const) }),
  fc.record({ do: fc.constant('shift' as const) }),
  fc.record({ do: fc.constant('remove' as const), n: fc.nat(30) }),
);

test('the queue keeps its order whatever is removed from it, and removes each member once', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const queue = new LinkedQueue<number>();
      const places: QueueNode<number>[] = [];
      const model: number[] = [];
      for (const s of steps) {
        if (s.do === 'push') {
          model.push(places.length);
          places.push(queue.push(places.length));
        } else if (s.do === 'shift') {
          assert.equal(queue.shift(), model.shift());
        } else {
          const place = places[s.n];
          if (place === undefined) continue;
          const at = model.indexOf(place.value);
          assert.equal(queue.remove(place), at >= 0);
          if (at >= 0) model.splice(at, 1);
        }
        assert.deepEqual([...queue], model);
        assert.equal(queue.size, model.length);
        assert.equal(queue.peek(), model[0]);
      }
    }),
  );
});

test('members may be removed while the queue is walked, and a place of another queue removes nothing', () => {
  const queue = new LinkedQueue<number>();
  const places = [1, 2, 3].map((n) => queue.push(n));
  const seen: number[] = [];
  for (const n of queue) {
    seen.push(n);
    queue.remove(places[n - 1]!);
  }
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(queue.size, 0);
  const other = new LinkedQueue<number>();
  other.push(4);
  assert.equal(other.remove(queue.push(5)), false);
  assert.deepEqual([...other], [4]);
});

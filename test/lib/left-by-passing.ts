import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { IdTable } from '../../src/lib/id-table.js';
import { LinkedQueue, type QueueNode } from '../../src/lib/linked-queue.js';
import { PassingMap, PassingSet } from '../../src/lib/passing.js';
import { keepObjectsYoung } from '../../src/lib/young-objects.js';

/**
 * Has things of some 800 bytes pass through what its argument names, a hundred at a time, in a process of its own; tells how many bytes
 * each has left in the old space since a full collection.
 */

const AT_ONCE = 100;
/** A full collection comes after so many; few enough that V8 makes no further one by itself. */
const FIRST = 2_000;
const COUNTED = 15_000;

/** How something is put in, and taken out by the answer. */
type Put = (id: number, thing: object) => () => void;

function fromQueue(between: (queue: LinkedQueue<object>) => void): Put {
  const queue = new LinkedQueue<object>();
  return (_id, thing) => {
    const place: QueueNode<object> = queue.push(thing);
    return () => {
      queue.remove(place);
      between(queue);
    };
  };
}

const map = new Map<string, object>();
const passing = new PassingMap<string, object>();
const set = new PassingSet<object>();
const table = new IdTable<object>();
const WAYS: Readonly<Record<string, Put>> = {
  Map: (id, thing) => {
    map.set(`thing ${id}`, thing);
    return () => map.delete(`thing ${id}`);
  },
  PassingMap: (id, thing) => {
    passing.set(`thing ${id}`, thing);
    return () => passing.delete(`thing ${id}`);
  },
  PassingSet: (_id, thing) => {
    set.add(thing);
    return () => set.delete(thing);
  },
  IdTable: (id, thing) => {
    table.set(id, thing);
    return () => table.delete(id);
  },
  LinkedQueue: fromQueue(() => {}),
  'walked LinkedQueue': fromQueue((queue) => {
    for (const _ of queue) break;
  }),
};

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const put = WAYS[process.argv[2]!]!;
const outs: (() => void)[] = new Array(AT_ONCE);
let next = 1;

function pass(things: number): void {
  for (const end = next + things; next < end; next += 1) {
    const at = next % AT_ONCE;
    outs[at]?.();
    outs[at] = put(next, { bytes: new Array<number>(AT_ONCE).fill(next) });
  }
}

const old = () => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')!.space_used_size;

keepObjectsYoung();
pass(FIRST);
collect();
const before = old();
pass(COUNTED);
process.send?.((old() - before) / COUNTED);

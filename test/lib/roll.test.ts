import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Roll } from '../../src/lib/roll.js';

interface Thing {
  readonly name: number;
  listedAt: number;
}

const thing = (name: number): Thing => ({ name, listedAt: 0 });

test('pages join to all that was there throughout, once each and in order, whatever comes and goes between them', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ do: fc.constant('add' as const), count: fc.integer({ min: 1, max: 400 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('delete' as const),
        count: fc.nat(400),
        every: fc.integer({ min: 1, max: 5 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('page' as const), count: fc.integer({ min: 1, max: 300 }) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const roll = new Roll<Thing>();
      const present: Thing[] = [];
      const listed: Thing[] = [];
      const gone = new Set<Thing>();
      let made = 0;
      for (const one of steps) {
        if (one.do === 'add') {
          for (let i = 0; i < one.count; i++) {
            const added = thing(made++);
            roll.add(added);
            present.push(added);
          }
        } else if (one.do === 'delete') {
          for (const item of present.filter((_, i) => i % one.every === 0).slice(0, one.count)) {
            roll.delete(item);
            roll.delete(item);
            gone.add(item);
            present.splice(present.indexOf(item), 1);
          }
        } else {
          const page = [];
          for (const item of roll.after(listed.at(-1)?.listedAt ?? 0)) if (page.push(item) === one.count) break;
          listed.push(...page);
        }
      }
      listed.push(...roll.after(listed.at(-1)?.listedAt ?? 0));
      assert.deepEqual([...roll.after(0)], present);
      assert.deepEqual(
        listed.map(({ name }) => name),
        [...new Set(listed.map(({ name }) => name))].sort((a, b) => a - b),
      );
      const seen = new Set(listed);
      assert.ok(present.every((item) => seen.has(item)));
      assert.ok(listed.every((item) => seen.has(item) && (present.includes(item) || gone.has(item))));
    }),
    { numRuns: 60 },
  );
});

test('a page far down looks at what it gives and at no more than a block before it', () => {
  let looks = 0;
  class Watched {
    #at = 0;
    get listedAt(): number {
      looks += 1;
      return this.#at;
    }
    set listedAt(at: number) {
      this.#at = at;
    }
  }
  const roll = new Roll<Watched>();
  for (let i = 0; i < 20_000; i++) roll.add(new Watched());
  const page = [];
  for (const item of roll.after(15_000)) if (page.push(item) === 10) break;
  assert.equal(page[0]?.listedAt, 15_001);
  assert.ok(looks < 300, `${looks} looks`);
});

test('what was never added, or stands in another roll, is not taken out', () => {
  const roll = new Roll<Thing>();
  const here = thing(1);
  roll.add(here);
  roll.delete(thing(2));
  roll.delete({ name: 3, listedAt: here.listedAt });
  assert.deepEqual([...roll.after(0)], [here]);
});

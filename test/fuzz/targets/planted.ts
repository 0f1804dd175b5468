import { oneOf } from '../bytes.js';
import { Finding, type Target } from '../target.js';

const kept: Buffer[] = [];
let count = 0;

const planted = (name: string, at: number, act: () => void): Target => ({
  name: `planted-${name}`,
  summary: 'a fault that is there, to see that it is found',
  open: () => ({
    one(dice) {
      oneOf(dice, [1, 2]);
      if (count++ === at) act();
    },
  }),
});

/** Targets with a fault each; none of them is in the list of what is fuzzed. */
export const PLANTED: readonly Target[] = [
  planted('abort', 300, () => process.abort()),
  planted('stray', 300, () => void Promise.reject(new Error('nobody waits for this'))),
  planted('hang', 300, () => {
    for (;;);
  }),
  planted('wrong', 300, () => {
    throw new Finding('wrong', 'as planted');
  }),
  {
    name: 'planted-growth',
    summary: 'keeps what it is given',
    open: () => ({
      async one() {
        kept.push(Buffer.alloc(64 * 1024));
        await new Promise((resolve) => setTimeout(resolve, 1));
      },
    }),
  },
  { name: 'planted-none', summary: 'has no fault', open: () => ({ one: () => undefined }) },
];

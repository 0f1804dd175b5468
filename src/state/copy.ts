import { HostError } from '../errors/index.js';
import type { StateEngine } from './engine.js';
import { COPYING, type FactKey } from './facts/facts.js';
import type { Inspection } from './inspection.js';

const BATCH_FACTS = 2_000;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Copies a state as it is, value for value, into one that is empty. Until all of it is there a mark says so, with which no daemon
 * starts: half a state would lose the other half's tasks. Answers how many facts were copied. Throws STATE_FOREIGN where the target
 * holds something, and what reading or writing throws; the target is to be emptied then. The source stays as it is.
 */
export async function copyState(from: Inspection, to: StateEngine): Promise<number> {
  for await (const page of to.load()) {
    if (page.length > 0) {
      throw new HostError('STATE_FOREIGN', 'what is to be copied to holds a state already; nothing was copied');
    }
  }
  await to.commit(new Map([[COPYING, Buffer.alloc(0)]]), []);
  let puts = new Map<FactKey, Buffer>();
  let bytes = 0;
  let copied = 0;
  const write = async () => {
    await to.commit(puts, []);
    copied += puts.size;
    puts = new Map();
    bytes = 0;
  };
  for await (const [key, value] of from.pairs()) {
    puts.set(key, value);
    bytes += value.length;
    if (puts.size >= BATCH_FACTS || bytes >= BATCH_BYTES) await write();
  }
  await write();
  await to.commit(new Map(), [COPYING]);
  return copied;
}

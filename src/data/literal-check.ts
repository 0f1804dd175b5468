import { messageOf } from '../errors/index.js';
import type { Codec } from '../idl/codec.js';
import { readLiteralNames } from '../idl/literal-map.js';
import { loadFlyteidlCore } from '../idl/load-core.js';
import { readFields } from '../idl/wire.js';
import { MAX_WIRE_DEPTH } from '../idl/wire-check.js';

/** Of the messages that hold the outputs in an answer. */
const LEVELS_AROUND = 5;

let maps: Codec | undefined;

/**
 * What keeps bytes, of which a plugin's process says that they are a LiteralMap of just these names, from being shown to
 * an engine as that; undefined when nothing does. The descriptors are loaded by the first call (some 10 ms).
 */
export function literalMapProblem(bytes: Uint8Array, names: readonly string[]): string | undefined {
  try {
    let entries = 0;
    for (const _ of readFields(bytes)) if (++entries > names.length) return 'they hold more than the names';
    const found = new Set(readLiteralNames(bytes));
    if (found.size !== entries || names.some((name) => !found.has(name))) return 'they hold other names';
  } catch (thrown) {
    return messageOf(thrown);
  }
  maps ??= loadFlyteidlCore().codec('flyteidl.core.LiteralMap');
  return maps.wireProblem(bytes, MAX_WIRE_DEPTH - LEVELS_AROUND);
}

import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { HostError } from '../../../src/errors/index.js';
import { systemClock } from '../../../src/lib/clock.js';
import {
  decodePair,
  EmbeddedEngine,
  encodeFact,
  factKey,
  inspectState,
  openFolderForInspection,
} from '../../../src/state/index.js';
import { sampleFacts } from '../../state/sample-facts.js';
import type { Dice } from '../../support/decisions.js';
import { tempFolder } from '../../support/temp.js';
import { below, mutateBytes, oneOf } from '../bytes.js';
import type { Target } from '../target.js';
import { mutateValue } from '../values.js';

const PAIRS = sampleFacts().map(
  ({ kind, name, fact }) => [factKey(kind, name), encodeFact(kind, name, fact as never)] as const,
);
const VALUES = PAIRS.map(([, value]) => value);
/** See `facts/envelope.ts`. */
const HEAD = 9;

/** The value with a checksum that fits, so that what is behind it is tried as well. */
function summed(key: string, value: Buffer): Buffer {
  if (value.length < HEAD) return value;
  const copy = Buffer.from(value);
  copy.writeUInt32BE(crc32(copy.subarray(5), crc32(`${key}\n${copy[0]}`)), 1);
  return copy;
}

/** The JSON in it changed as a tree. */
function changedFields(dice: Dice, value: Buffer): Buffer {
  const end = HEAD + value.readUInt32BE(5);
  const json = Buffer.from(JSON.stringify(mutateValue(dice, JSON.parse(value.toString('utf8', HEAD, end)))) ?? 'null');
  const out = Buffer.concat([value.subarray(0, HEAD), json, value.subarray(end)]);
  out.writeUInt32BE(json.length, 5);
  return out;
}

export const stateValues: Target = {
  name: 'state-values',
  summary: 'values of the state, with checksums that fit and that do not: a fact, or an error of the catalogue',
  open: () => ({
    one(dice) {
      const [key, value] = oneOf(dice, PAIRS);
      const changed = dice.chance(0.5) ? changedFields(dice, value) : mutateBytes(dice, value, VALUES);
      const under = dice.chance(0.1) ? mutateBytes(dice, Buffer.from(key)).toString('utf8') : key;
      try {
        decodePair(under, dice.chance(0.9) ? summed(under, changed) : changed);
      } catch (error) {
        if (!HostError.is(error)) throw error;
      }
    },
  }),
};

/** The folder of a state with facts of every kind, in tables and in a log. */
async function stateFolder(dir: string): Promise<void> {
  for (let opened = 0; opened < 2; opened++) {
    const engine = new EmbeddedEngine({ dir, clock: systemClock });
    await engine.open();
    for (let commit = 0; commit < 5; commit++) await engine.commit(new Map(PAIRS), []);
    await engine.close();
  }
}

const filesOf = (dir: string): string[] =>
  readdirSync(dir, { recursive: true })
    .map((name) => path.join(dir, String(name)))
    .filter((file) => statSync(file).isFile() && !file.endsWith('LOCK'));

export const stateFolders: Target = {
  name: 'state-folders',
  summary:
    "a state's files: read in whole or in part, or refused with an error of the catalogue, by the daemon and by the tool",
  async open(undo) {
    const base = tempFolder(undo, 'plugin-host-fuzz-');
    const whole = path.join(base, 'whole');
    mkdirSync(whole, { mode: 0o700 });
    await stateFolder(whole);
    let count = 0;
    return {
      async one(dice) {
        const dir = path.join(base, String(count++ % 4));
        cpSync(whole, dir, { recursive: true, force: true });
        const files = filesOf(dir);
        for (let left = 1 + below(dice, 2); left > 0; left--) {
          const file = oneOf(dice, files);
          writeFileSync(file, mutateBytes(dice, readFileSync(file), [readFileSync(oneOf(dice, files))]));
        }
        await tolerant(async () => void (await inspectState(await openFolderForInspection(dir))));
        await tolerant(() => readBy(new EmbeddedEngine({ dir, clock: systemClock })));
      },
    };
  },
};

async function readBy(engine: EmbeddedEngine): Promise<void> {
  try {
    await engine.open();
    for await (const batch of engine.load()) {
      for (const [key, value] of batch) await tolerant(async () => void decodePair(key, value));
    }
    await engine.commit(new Map([PAIRS[0] as (typeof PAIRS)[number]]), []);
  } finally {
    await engine.close();
  }
}

async function tolerant(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!HostError.is(error)) throw error;
  }
}

import { ClassicLevel } from 'classic-level';
import type { FactKey } from '../facts/facts.js';
import type { Inspection } from '../inspection.js';
import { isChainKey, readChain } from './commit-chain.js';
import { Acknowledged, StateFolder } from './folder.js';
import { claimFolder, openFailure } from './lock.js';
import { shadowOf } from './shadow.js';

/** Opens a state's folder that no daemon has, to be read. Nothing in it is changed, whatever it holds. */
export async function openFolderForInspection(dir: string): Promise<Inspection> {
  const folder = new StateFolder(dir);
  await folder.assertIsState();
  const undo: (() => unknown)[] = [claimFolder(dir)];
  const letGo = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const shadow = await shadowOf(folder.database);
    undo.push(shadow.remove);
    const db = new ClassicLevel<string, Buffer>(shadow.dir, { valueEncoding: 'buffer', createIfMissing: false });
    undo.push(() => db.close());
    await db.open();
    const acknowledged = await Acknowledged.lastOf(folder.acknowledged);
    const chain = readChain(await db.iterator({ gte: 'commit/', lt: 'commit0' }).all(), acknowledged);
    const sizeBytes = await folder.measure();
    const { last, problem } = chain;
    return { lastCommit: last, problem, sizeBytes, waiting: 0, pairs: () => pairsOf(db), close: letGo };
  } catch (error) {
    await letGo().catch(() => undefined);
    throw await openFailure(folder, error);
  }
}

async function* pairsOf(db: ClassicLevel<string, Buffer>): AsyncIterable<readonly [FactKey, Buffer]> {
  for await (const pair of db.iterator({ fillCache: false })) if (!isChainKey(pair[0])) yield pair;
}

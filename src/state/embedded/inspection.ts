import { ClassicLevel } from 'classic-level';
import type { FactKey } from '../facts/facts.js';
import type { Inspection } from '../inspection.js';
import { isChainKey, readChain } from './commit-chain.js';
import { Acknowledged, StateFolder } from './folder.js';
import { openFailure } from './lock.js';

/** Opens a state's folder that no daemon has. Nothing is made where nothing is. */
export async function openFolderForInspection(dir: string): Promise<Inspection> {
  const folder = new StateFolder(dir);
  await folder.assertIsState();
  const db = new ClassicLevel<string, Buffer>(folder.database, { valueEncoding: 'buffer', createIfMissing: false });
  try {
    await db.open();
    const acknowledged = await Acknowledged.lastOf(folder.acknowledged);
    const chain = readChain(await db.iterator({ gte: 'commit/', lt: 'commit0' }).all(), acknowledged);
    const sizeBytes = await folder.measure();
    const { last, problem } = chain;
    return { lastCommit: last, problem, sizeBytes, pairs: () => pairsOf(db), close: () => db.close() };
  } catch (error) {
    await db.close().catch(() => undefined);
    throw await openFailure(folder, error);
  }
}

async function* pairsOf(db: ClassicLevel<string, Buffer>): AsyncIterable<readonly [FactKey, Buffer]> {
  for await (const pair of db.iterator({ fillCache: false })) if (!isChainKey(pair[0])) yield pair;
}

import { crc32 } from 'node:zlib';

/** Commits are numbered; the last so many each leave a trace. */
const CHAIN_LENGTH = 1024;
const PREFIX = 'commit/';

/** Where the trace of a commit stands, so that a missing one shows. */
export function chainKey(commit: number): string {
  return `${PREFIX}${commit % CHAIN_LENGTH}`;
}

export function isChainKey(key: string): boolean {
  return key.startsWith(PREFIX);
}

/** The number and its checksum: a trace is never believed by its place alone. */
export function chainValue(commit: number): Buffer {
  const value = Buffer.alloc(12);
  value.writeBigUInt64BE(BigInt(commit), 0);
  value.writeUInt32BE(crc32(value.subarray(0, 8)), 8);
  return value;
}

/** What the traces say: the last commit, and what is wrong with those before it. */
export interface ChainReport {
  readonly last: number;
  /** In words; undefined where nothing is missing. */
  readonly problem: string | undefined;
}

/** Reads the traces of one database, against the last commit that was acknowledged. */
export function readChain(traces: Iterable<readonly [key: string, value: Buffer]>, acknowledged: number): ChainReport {
  const commits = new Set<number>();
  let problem: string | undefined;
  for (const [key, value] of traces) {
    const commit = value.length === 12 ? Number(value.readBigUInt64BE(0)) : 0;
    if (value.length !== 12 || value.readUInt32BE(8) !== crc32(value.subarray(0, 8)) || chainKey(commit) !== key) {
      problem ??= `the trace ${key} of a commit is unreadable`;
      continue;
    }
    commits.add(commit);
  }
  const last = [...commits].reduce((most, commit) => Math.max(most, commit), 0);
  for (let commit = last; commit > Math.max(0, last - CHAIN_LENGTH); commit--) {
    if (!commits.has(commit)) problem ??= `commit ${commit} of ${last} is missing`;
  }
  if (acknowledged > last) {
    problem ??= `commits up to ${acknowledged} were acknowledged, and ${last} is the last one that is there`;
  }
  return { last, problem };
}

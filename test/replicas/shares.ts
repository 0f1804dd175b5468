import { partitionOfHandle, partOf } from '../../src/model/handle.js';
import { type DaemonProcess, logOf } from '../daemon/support.js';
import type { PostgresServer } from '../postgres/server.js';
import { clusterOf } from './support.js';

/** The parts that each replica has, by index. */
export type Shares = ReadonlyMap<DaemonProcess, readonly number[]>;

/** Undefined unless the parts lie evenly, each with one replica, and all replicas say the same of it as the rows. */
export async function evenShares(
  replicas: readonly DaemonProcess[],
  parts: number,
  server: PostgresServer,
  schema: string,
): Promise<Shares | undefined> {
  const seen = await Promise.all(replicas.map((replica) => clusterOf(replica).catch(() => undefined)));
  const owners = await rowsOf(server, schema);
  const shares = new Map<DaemonProcess, readonly number[]>();
  for (const [index, replica] of replicas.entries()) {
    const shown = seen[index];
    if (shown?.parts === undefined || owners.length !== parts) return undefined;
    if (shown.parts.some(({ part, owner }) => owner !== owners[part])) return undefined;
    shares.set(
      replica,
      [...owners.keys()].filter((part) => owners[part] === shown.epoch),
    );
  }
  const counts = [...shares.values()].map(({ length }) => length);
  const all = counts.reduce((sum, count) => sum + count, 0);
  return all === parts && Math.max(...counts) - Math.min(...counts) <= 1 ? shares : undefined;
}

/** Who has each part by its row, by epoch. */
export async function rowsOf(server: PostgresServer, schema: string): Promise<readonly (string | null)[]> {
  const rows = await server.ask(`SELECT coalesce(json_agg(epoch ORDER BY part), '[]') FROM ${schema}.owner`);
  return JSON.parse(rows) as (string | null)[];
}

/** The one that has a part. */
export function holderOf(shares: Shares, part: number): DaemonProcess {
  for (const [replica, parts] of shares) if (parts.includes(part)) return replica;
  throw new Error(`nobody has part ${part}`);
}

/** The part of the task that a handle is of. */
export const partOfTask = (handle: Buffer, parts: number): number => partOf(partitionOfHandle(handle), parts);

/** When a replica took or gave parts, by its log; milliseconds since the epoch. */
export function movesOf(replica: DaemonProcess, event: 'part.taken' | 'part.given'): Map<number, number> {
  const rows = logOf(replica.running).filter((row) => row.event === event);
  return new Map(rows.map(({ part, time }) => [Number(part), Date.parse(String(time))]));
}

import { partitionOf, partOf } from '../../src/model/handle.js';
import type { DaemonProcess } from '../daemon/support.js';
import type { PostgresServer } from '../postgres/server.js';
import type { Scene } from './scene.js';
import { holderOf, rowsOf } from './shares.js';

/** So long that nobody takes a dead one's parts while it is asked what others answer meanwhile. Milliseconds. */
export const LONG_LEASE_MS = 20_000;

/** Tells which keys are whose as the parts lie now, by node or by attempt. */
export async function holders(scene: Scene): Promise<(key: string) => DaemonProcess> {
  if (scene.parts === 1) {
    const owner = await scene.owner();
    return () => owner;
  }
  const shares = await scene.even();
  return (key) => holderOf(shares, partOf(partitionOf(key), scene.parts));
}

/** The first of many names that passes: `tag-0`, `tag-1` and so on. */
export function named(tag: string, passes: (name: string) => boolean): string {
  for (let at = 0; ; at++) if (passes(`${tag}-${at}`)) return `${tag}-${at}`;
}

/** How long a call takes; milliseconds, beside its answer. */
export async function timed<T>(call: Promise<T>): Promise<readonly [T, number]> {
  const fromMs = performance.now();
  const answer = await call;
  return [answer, performance.now() - fromMs];
}

/** Who has the parts by the rows of the database: changes as soon as one is taken over. */
export async function heldBy(server: PostgresServer, { schema }: Scene): Promise<string> {
  return (await rowsOf(server, schema)).join();
}

/** What a dead replica had is free, as if it had given it back: nobody has to wait for its lease. */
export async function free(server: PostgresServer, { schema }: Scene, epoch: string): Promise<void> {
  await server.ask(`UPDATE ${schema}.owner SET epoch = NULL, name = NULL WHERE epoch = '${epoch}'`);
}

/** Rows that wait in the inbox. */
export async function waitingIn(server: PostgresServer, { schema }: Scene): Promise<number> {
  return Number(await server.ask(`SELECT count(*) FROM ${schema}.inbox`));
}

/** Rows that were ever put into the inbox, or were to be. */
export async function everPutIn(server: PostgresServer, { schema }: Scene): Promise<number> {
  const sequence = `pg_get_serial_sequence('${schema}.inbox', 'id')::regclass`;
  return Number(await server.ask(`SELECT coalesce(pg_sequence_last_value(${sequence}), 0)`));
}

/** A counter of a replica, over all its labels. */
export async function countOf(replica: DaemonProcess, name: string): Promise<number> {
  const { body } = await replica.http('/metrics');
  const values = body.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)$`, 'gm'));
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

import type { FactKey } from '../facts/facts.js';
import type { KeyRange } from '../facts/part-keys.js';
import type { Connections } from './connections.js';
import type { Tables } from './schema.js';
import { PAGE_BYTES, PAGE_ROWS, pageStatement } from './statements.js';

type Page = readonly (readonly [FactKey, Buffer])[];

/** All facts of a range; the next page is read by the server while the last one is taken in. */
export async function* pages(
  connections: Connections,
  { facts, payloads }: Tables,
  { after = '', before }: KeyRange = {},
): AsyncIterable<Page> {
  for (const table of [facts, payloads]) {
    let next = pageOf(connections, table, after, before);
    for (;;) {
      const page = await next;
      const last = page.at(-1);
      if (last === undefined) break;
      next = pageOf(connections, table, last[0], before);
      next.catch(() => undefined);
      yield page;
    }
  }
}

async function pageOf(
  connections: Connections,
  table: string,
  after: FactKey,
  before: FactKey | undefined,
): Promise<Page> {
  type Row = { key: string; value: Buffer };
  const hasEnd = before !== undefined;
  const values = [after, PAGE_ROWS, PAGE_BYTES, ...(hasEnd ? [before] : [])];
  const rows = await connections.run<Row>(pageStatement(table, hasEnd), values);
  return rows.map(({ key, value }) => [key, value]);
}

/** What the facts and the inbox, where there is one, take in the database, indexes included. Bytes. */
export async function measure(connections: Connections, { facts, payloads, inbox }: Tables): Promise<number> {
  const [size] = await connections.run<{ bytes: number }>(
    'SELECT sum(pg_total_relation_size(to_regclass(name)))::float8 AS bytes FROM unnest($1::text[]) AS t (name)',
    [[facts, payloads, inbox]],
  );
  return size?.bytes ?? 0;
}

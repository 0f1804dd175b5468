import type { Puts } from '../engine.js';
import type { FactKey } from '../facts/facts.js';
import type { Tables } from './schema.js';

/** What a page of facts holds at most, but one value at least. */
export const PAGE_ROWS = 2_000;
export const PAGE_BYTES = 4 * 1024 * 1024;

/** Facts by key from `$1` on, up to `$2` rows and `$3` bytes. */
export function pageStatement(table: string): string {
  return `SELECT key, value FROM (
      SELECT key, value, sum(octet_length(value)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
      FROM (SELECT key, value FROM ${table} WHERE key > $1 ORDER BY key LIMIT $2) AS rows
    ) AS sums WHERE before < $3 ORDER BY key`;
}

export interface Commit {
  readonly epoch: string;
  readonly puts: Puts;
  readonly drops: readonly FactKey[];
  readonly isWrittenOnce: (key: FactKey) => boolean;
}

/**
 * One statement that answers `mine`: false where the state belongs to another epoch, and then nothing was written. The lock on
 * the owner's row is what makes the comparison hold until the commit: without it, a takeover between the two would load a state
 * without what is then acknowledged. The values travel as one run of bytes, cut up by the server: as an array they would be
 * text in hexadecimal, twice as long.
 */
export function commitStatement(tables: Tables, commit: Commit): { readonly text: string; readonly values: unknown[] } {
  const { puts, drops, isWrittenOnce } = commit;
  const keys = [...puts.keys()].sort();
  const values = keys.map((key) => puts.get(key) as Buffer);
  const starts: number[] = [];
  let end = 0;
  for (const value of values) {
    starts.push(end + 1);
    end += value.length;
  }
  return {
    text: textOf(tables),
    values: [
      commit.epoch,
      keys,
      starts,
      values.map((value) => value.length),
      keys.map(isWrittenOnce),
      Buffer.concat(values, end),
      drops.filter((key) => !isWrittenOnce(key)),
      drops.filter(isWrittenOnce),
    ],
  };
}

function textOf({ owner, facts, payloads }: Tables): string {
  const put = (table: string, which: string) => `INSERT INTO ${table} (key, value)
    SELECT key, value FROM given, held WHERE mine AND ${which} ORDER BY key
    ON CONFLICT (key) DO UPDATE SET value = excluded.value`;
  const drop = (table: string, keys: string) =>
    `DELETE FROM ${table} USING held WHERE mine AND key = ANY(${keys}::text[])`;
  return `WITH fence AS (SELECT 1 FROM ${owner} WHERE epoch = $1 FOR SHARE),
  held AS MATERIALIZED (SELECT count(*) = 1 AS mine FROM fence),
  given AS MATERIALIZED (
    SELECT key, apart, substr($6::bytea, start, length) AS value
    FROM unnest($2::text[], $3::int[], $4::int[], $5::boolean[]) AS g (key, start, length, apart)
  ),
  put_facts AS (${put(facts, 'NOT apart')}),
  put_payloads AS (${put(payloads, 'apart')}),
  drop_facts AS (${drop(facts, '$7')}),
  drop_payloads AS (${drop(payloads, '$8')})
  SELECT mine FROM held`;
}

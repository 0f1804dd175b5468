import type { Guard, PartCommit } from '../engine.js';
import type { FactKey } from '../facts/facts.js';
import type { Tables } from './schema.js';

/** What a page of facts holds at most, but one value at least. */
export const PAGE_ROWS = 2_000;
export const PAGE_BYTES = 4 * 1024 * 1024;

/** Facts by key after `$1`, up to `$2` rows and `$3` bytes; where there is an end, before `$4`. */
export function pageStatement(table: string, hasEnd: boolean): string {
  const range = hasEnd ? 'key > $1 AND key < $4' : 'key > $1';
  return `SELECT key, value FROM (
      SELECT key, value, sum(octet_length(value)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
      FROM (SELECT key, value FROM ${table} WHERE ${range} ORDER BY key LIMIT $2) AS rows
    ) AS sums WHERE before < $3 ORDER BY key`;
}

export interface Commit {
  readonly epoch: string;
  /** At least one; each part once. */
  readonly commits: readonly PartCommit[];
  readonly isWrittenOnce: (key: FactKey) => boolean;
}

/** Each with the part whose facts are under it. */
interface GuardOf {
  readonly of: number;
  readonly guard: Guard;
}

/** In the order in which a commit's statement counts them. */
export function guardsOf(commits: readonly PartCommit[]): readonly GuardOf[] {
  return commits.flatMap(({ part, guards = [] }) => guards.map((guard) => ({ of: part, guard })));
}

/**
 * One statement that answers `held`: which of the parts are the epoch's, under the tenure it names; of the others nothing was written. The
 * lock on the owner's row is what makes the comparison hold until the commit: without it, a takeover between the two would load a state
 * without what is then acknowledged. With guards it answers `unmet` as well, and writes nothing of their parts; their rows are locked just
 * so, since whoever takes them reads who holds tokens. Rows of the inbox go with what follows from them, and only then. All rows are locked in one order, so that no two commits wait for each other. The
 * values travel as one run of bytes, cut up by the server: as an array they would be text in hexadecimal, twice as long.
 */
export function commitStatement(tables: Tables, commit: Commit): { readonly text: string; readonly values: unknown[] } {
  const { epoch, commits, isWrittenOnce } = commit;
  const puts = commits.flatMap(({ part, puts }) => [...puts].map(([key, value]) => ({ part, key, value })));
  puts.sort((a, b) => (a.key < b.key ? -1 : 1));
  const drops = commits.flatMap(({ part, drops }) => drops.map((key) => ({ part, key })));
  const [once, often] = [true, false].map((which) => drops.filter(({ key }) => isWrittenOnce(key) === which));
  const starts: number[] = [];
  let end = 0;
  for (const { value } of puts) {
    starts.push(end + 1);
    end += value.length;
  }
  const values: unknown[] = [
    epoch,
    puts.map(({ key }) => key),
    starts,
    puts.map(({ value }) => value.length),
    puts.map(({ key }) => isWrittenOnce(key)),
    Buffer.concat(
      puts.map(({ value }) => value),
      end,
    ),
    often?.map(({ key }) => key),
    once?.map(({ key }) => key),
  ];
  const [only] = commits;
  const guards = guardsOf(commits);
  // The server plans it anew each time, for a quarter less where there is nothing to join.
  const consumed = commits.flatMap((one) => one.consumed ?? []);
  const ending = (scope: Scope, all: unknown[]) => {
    if (consumed.length === 0) return { text: textOf(tables, scope), values: all };
    return { text: textOf(tables, scope, `$${all.length + 1}`), values: [...all, consumed] };
  };
  if (only !== undefined && commits.length === 1 && guards.length === 0) {
    return ending(ofOne, [...values, only.part, only.tenure]);
  }
  values.push(
    commits.map(({ part }) => part),
    commits.map(({ tenure }) => tenure),
  );
  for (const rows of [puts, often, once]) values.push(rows?.map(({ part }) => part));
  if (guards.length === 0) return ending(ofSeveral, values);
  values.push(
    guards.map(({ of }) => of),
    guards.map(({ guard }) => guard.part),
    guards.map(({ guard }) => guard.tenure),
  );
  return ending(ofGuarded, values);
}

/** How a statement says whose rows it writes: each of one part, or each with its part beside it. */
interface Scope {
  /** Up to `held`, whose `parts` are written, of a table of owners. */
  readonly held: (owner: string) => string;
  readonly given: string;
  readonly columns: string;
  readonly mine: string;
  /** Of rows whose keys, and then parts, these values hold. */
  dropped(keys: string, parts: string): string;
  readonly answer: string;
}

const heldBy = (fence: string) => `fence AS (${fence} FOR SHARE OF o),
  held AS MATERIALIZED (SELECT coalesce(array_agg(part), '{}') AS parts FROM fence)`;

const ofOne: Scope = {
  held: (owner) => heldBy(`SELECT part FROM ${owner} AS o WHERE part = $9 AND tenure = $10 AND epoch = $1`),
  given: '$2::text[], $3::int[], $4::int[], $5::boolean[]',
  columns: 'key, start, length, apart',
  mine: 'cardinality(parts) = 1',
  dropped: (keys) => `USING held WHERE cardinality(parts) = 1 AND key = ANY(${keys}::text[])`,
  answer: 'SELECT parts AS held FROM held',
};

const ofSeveral: Scope = {
  held: (owner) =>
    heldBy(`SELECT o.part FROM ${owner} AS o, unnest($9::int[], $10::bigint[]) AS w (part, tenure)
    WHERE o.part = w.part AND o.tenure = w.tenure AND o.epoch = $1 ORDER BY o.part`),
  given: `${ofOne.given}, $11::int[]`,
  columns: `${ofOne.columns}, part`,
  mine: 'part = ANY(parts)',
  dropped: (keys, parts) => `AS d USING held, unnest(${keys}::text[], ${parts}::int[]) AS g (key, part)
      WHERE d.key = g.key AND g.part = ANY(parts)`,
  answer: ofOne.answer,
};

/** What is compared is what was locked: a row that was waited for is seen as it is then. */
const ofGuarded: Scope = {
  ...ofSeveral,
  held: (owner) => `fence AS MATERIALIZED (
    SELECT o.part, o.tenure, o.epoch FROM ${owner} AS o WHERE o.part = ANY($9::int[] || $15::int[]) ORDER BY o.part FOR SHARE OF o
  ),
  own AS MATERIALIZED (
    SELECT f.part FROM fence AS f, unnest($9::int[], $10::bigint[]) AS w (part, tenure)
    WHERE f.part = w.part AND f.tenure = w.tenure AND f.epoch = $1
  ),
  unmet AS MATERIALIZED (
    SELECT g.part, g.at::int AS at FROM unnest($14::int[], $15::int[], $16::bigint[]) WITH ORDINALITY AS g (part, guard, tenure, at)
    WHERE NOT EXISTS (SELECT FROM fence AS f WHERE f.part = g.guard AND f.tenure = g.tenure)
  ),
  held AS MATERIALIZED (
    SELECT coalesce(array_agg(part), '{}') AS parts FROM own WHERE part NOT IN (SELECT part FROM unmet)
  )`,
  answer: `SELECT (SELECT coalesce(array_agg(part), '{}') FROM own) AS held, (SELECT coalesce(array_agg(at), '{}') FROM unmet) AS unmet`,
};

/** `consumed`: the value that holds the rows of the inbox that end with it. */
function textOf(tables: Tables, { held, given, columns, mine, dropped, answer }: Scope, consumed?: string): string {
  const { owner, facts, payloads, inbox } = tables;
  const ended = `,
  drop_inbox AS (DELETE FROM ${inbox} AS d USING held WHERE d.part = ANY(parts) AND d.id = ANY(${consumed}::bigint[]))`;
  const put = (table: string, which: string) => `INSERT INTO ${table} (key, value)
    SELECT key, value FROM given, held WHERE ${mine} AND ${which} ORDER BY key
    ON CONFLICT (key) DO UPDATE SET value = excluded.value`;
  return `WITH ${held(owner)},
  given AS MATERIALIZED (
    SELECT g.*, substr($6::bytea, start, length) AS value FROM unnest(${given}) AS g (${columns})
  ),
  put_facts AS (${put(facts, 'NOT apart')}),
  put_payloads AS (${put(payloads, 'apart')}),
  drop_facts AS (DELETE FROM ${facts} ${dropped('$7', '$12')}),
  drop_payloads AS (DELETE FROM ${payloads} ${dropped('$8', '$13')})${consumed === undefined ? '' : ended}
  ${answer}`;
}

/** Gives back all that the epoch `$1` has. The rows are locked in the order of commits, which one in doubt may still be. */
export function leaveStatement({ owner, members }: Tables): string {
  return `WITH mine AS (SELECT part FROM ${owner} WHERE epoch = $1 ORDER BY part FOR UPDATE),
    free AS (UPDATE ${owner} SET epoch = NULL, name = NULL WHERE part IN (SELECT part FROM mine) AND epoch = $1)
  DELETE FROM ${members} WHERE epoch = $1`;
}

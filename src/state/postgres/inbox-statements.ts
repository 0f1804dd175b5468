import { type FactKind, factKey } from '../facts/facts.js';
import { partPrefix } from '../facts/part-keys.js';
import type { NewInboxRow } from '../inbox.js';
import type { Tables } from './schema.js';

interface Statement {
  readonly text: string;
  readonly values: unknown[];
}

/** What may wait in one part. Above that nothing is put; those that are put at a time may pass it by themselves. */
const MAX_ROWS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;
/** What a look shows at most, but one row at least. */
const LOOK_ROWS = 1_000;
const LOOK_BYTES = 16 * 1024 * 1024;
/** Facts of a kind that one key has at most: incarnations, and handles that differ. */
const FACTS_OF_KIND = 1_000;

/** Named by a task's id, which begins with the attempt key; by the key itself; and those that a part has one of. */
const BY_ID: readonly FactKind[] = ['task', 'owed', 'unclear'];
const BY_KEY: readonly FactKind[] = ['mark', 'do'];
const OF_PART: readonly FactKind[] = ['handleKey', 'birth'];
const APART: readonly FactKind[] = ['outputs'];

/** Keys from the one to before the other. */
interface Range {
  readonly at: number;
  readonly from: string;
  readonly to: string;
}

/** `.` is next to `-`, which comes behind an attempt key in a task's id; no key has a character below `!`. */
function rangesOf(at: number, prefix: string, key: string, kinds: 'small' | 'apart'): readonly Range[] {
  const ofTasks = (kind: FactKind) => {
    const name = prefix + factKey(kind, key);
    return { at, from: `${name}-`, to: `${name}.` };
  };
  if (kinds === 'apart') return APART.map(ofTasks);
  const alone = (name: string) => ({ at, from: name, to: `${name}!` });
  return [
    ...BY_ID.map(ofTasks),
    ...BY_KEY.map((kind) => alone(prefix + factKey(kind, key))),
    ...OF_PART.map((kind) => alone(prefix + factKey(kind))),
  ];
}

/**
 * All that is kept of some keys, each with its part, as of one instant: what is seen of who has the part, of the facts and of the inbox goes
 * together. Ordered pages are asked of each range, so that it is read by its key however the tables lie.
 */
export function readStatement(
  { facts, payloads, owner, inbox }: Tables,
  parts: number,
  asked: readonly { readonly part: number; readonly key: string }[],
): Statement {
  const prefixOf = (part: number) => (parts === 1 ? '' : partPrefix(part, parts));
  const ranges = (kinds: 'small' | 'apart') =>
    asked.flatMap(({ part, key }, at) => rangesOf(at, prefixOf(part), key, kinds));
  const columns = (of: readonly Range[]) => [
    of.map(({ at }) => at),
    of.map(({ from }) => from),
    of.map(({ to }) => to),
  ];
  const found = (table: string, values: string) => `SELECT 'fact' AS what, r.at, f.key, f.value, NULL::json AS said
    FROM unnest(${values}) AS r (at, lo, hi)
    CROSS JOIN LATERAL (SELECT key, value FROM ${table} WHERE key >= r.lo AND key < r.hi ORDER BY key LIMIT ${FACTS_OF_KIND}) AS f`;
  return {
    text: `WITH asked AS (SELECT part, key, (at - 1)::int AS at FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS a (part, key, at))
    SELECT 'part' AS what, a.at, NULL::text AS key, NULL::bytea AS value, json_build_object('tenure', o.tenure::text, 'owner', o.epoch) AS said
    FROM asked AS a JOIN ${owner} AS o ON o.part = a.part
    UNION ALL ${found(facts, '$3::int[], $4::text[], $5::text[]')}
    UNION ALL ${found(payloads, '$6::int[], $7::text[], $8::text[]')}
    UNION ALL SELECT 'row', w.at, NULL, w.body, w.said FROM (
      SELECT a.at, i.id, i.body, json_build_object('id', i.id::text, 'part', i.part, 'kind', i.kind, 'key', i.key, 'name', i.name, 'epoch', i.epoch) AS said
      FROM asked AS a JOIN ${inbox} AS i ON i.part = a.part AND i.key = a.key ORDER BY i.id
    ) AS w`,
    values: [
      asked.map(({ part }) => part),
      asked.map(({ key }) => key),
      ...columns(ranges('small')),
      ...columns(ranges('apart')),
    ],
  };
}

/**
 * Puts rows, each while its part is held under the tenure that it goes by, and answers `at`, counted from 0, and `end` of each. The owner's row
 * is locked, as a commit does it: who takes the part changes that row and then reads, so that what is put is read, or is not put. A row that is
 * changed meanwhile is not waited for, which would hold up what is put into other parts: nothing is put into its part. Rows are put in one
 * order by whoever puts them, so that no two that put the same wait for each other.
 */
export function putStatement(
  { owner, inbox }: Tables,
  epoch: string,
  asked: readonly { readonly row: NewInboxRow; readonly tenure: string }[],
): Statement {
  const bodies = asked.map(({ row }) => row.body ?? Buffer.alloc(0));
  let end = 0;
  const starts = bodies.map((body) => {
    const start = end + 1;
    end += body.length;
    return start;
  });
  return {
    text: `WITH given AS MATERIALIZED (
      SELECT g.*, (at - 1)::int AS n FROM unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[])
        WITH ORDINALITY AS g (part, tenure, kind, key, name, start, length, at)
    ),
    fence AS MATERIALIZED (
      SELECT o.part, o.tenure FROM ${owner} AS o WHERE o.part IN (SELECT part FROM given) ORDER BY o.part FOR SHARE OF o SKIP LOCKED
    ),
    held AS MATERIALIZED (SELECT g.* FROM given AS g JOIN fence AS f ON f.part = g.part AND f.tenure = g.tenure),
    room AS MATERIALIZED (
      SELECT f.part FROM fence AS f LEFT JOIN ${inbox} AS i ON i.part = f.part
      GROUP BY f.part HAVING count(i.id) < ${MAX_ROWS} AND coalesce(sum(octet_length(i.body)), 0) < ${MAX_BYTES}
    ),
    done AS (
      INSERT INTO ${inbox} (part, kind, key, name, epoch, body)
      SELECT part, kind, key, name, $1, CASE WHEN length >= 0 THEN substr($9::bytea, start, length) END
      FROM held WHERE part IN (SELECT part FROM room) ORDER BY part, key, kind, name
      ON CONFLICT (part, kind, key, name) DO NOTHING RETURNING part, kind, key, name
    )
    SELECT h.n AS at, CASE
      WHEN d.part IS NOT NULL THEN 'put'
      WHEN h.part IN (SELECT part FROM room) THEN 'stands'
      ELSE 'full' END AS "end"
    FROM held AS h LEFT JOIN done AS d ON d.part = h.part AND d.kind = h.kind AND d.key = h.key AND d.name = h.name`,
    values: [
      epoch,
      asked.map(({ row }) => row.part),
      asked.map(({ tenure }) => tenure),
      asked.map(({ row }) => row.kind),
      asked.map(({ row }) => row.key),
      asked.map(({ row }) => row.name),
      starts,
      asked.map(({ row }) => row.body?.length ?? -1),
      Buffer.concat(bodies, end),
    ],
  };
}

/** What waits in the parts `$1` behind the row `$2`, in the order in which it was put, a page of it. */
export function lookStatement({ inbox }: Tables): string {
  return `SELECT id::text AS id, part, kind, key, name, epoch, body FROM (
      SELECT i.*, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - coalesce(octet_length(body), 0) AS before
      FROM (SELECT * FROM ${inbox} WHERE part = ANY($1::int[]) AND id > $2::bigint ORDER BY id LIMIT ${LOOK_ROWS}) AS i
    ) AS sums WHERE before < ${LOOK_BYTES} ORDER BY id`;
}

/** How much is in those of the parts `$1` in which anything is, and how old, by the database's clock. */
export function waitingStatement({ inbox }: Tables): string {
  return `SELECT part, count(body)::int AS waiting, (count(*) - count(body))::int AS running,
      coalesce(greatest(0, extract(epoch FROM clock_timestamp() - min(at) FILTER (WHERE body IS NOT NULL)) * 1000), 0)::float8 AS "oldestMs"
    FROM ${inbox} WHERE part = ANY($1::int[]) GROUP BY part`;
}

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BENCHES } from '../../bench/benches.js';
import type { Targets } from '../../bench/lib/bench.js';
import { SPREAD_FIELDS } from '../../bench/lib/spread.js';
import { fromRoot } from '../support/paths.js';

const PAGE = readFileSync(fromRoot('docs/performance.md'), 'utf8');

/** Bench → the fields that its rows name in their first column; `…` stands for any part of a name. */
function documented(page: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let fields: string[] = [];
  const table = page.slice(page.indexOf('| Field ')).split('\n\n', 1)[0]!;
  for (const row of table.split('\n').slice(2)) {
    const first = row.split('|')[1]!.trim();
    const name = /^\*\*(.+)\*\*$/.exec(first)?.[1];
    if (name === undefined) {
      fields.push(...[...first.matchAll(/`([^`]+)`/g)].map(([, field]) => field!));
      continue;
    }
    fields = [];
    found.set(name, fields);
  }
  return found;
}

/** Fields that no row names, and names that are no field. */
function differences(fields: readonly string[], names: readonly string[]): string[] {
  const patterns = names.map((name) => ({ name, means: new RegExp(`^${name.replaceAll('…', '\\w+')}$`) }));
  return [
    ...fields
      .filter((field) => !patterns.some(({ means }) => means.test(field)))
      .map((field) => `${field} is not documented`),
    ...patterns
      .filter(({ means }) => !fields.some((field) => means.test(field)))
      .map(({ name }) => `there is no ${name}`),
  ];
}

async function declared(): Promise<Map<string, readonly string[]>> {
  const all = new Map<string, readonly string[]>([['replicas --parts 8', SPREAD_FIELDS]]);
  for (const [name, load] of Object.entries(BENCHES)) all.set(name, (await load()).bench.fields);
  return all;
}

test('every figure of a bench is in the table of the page on performance, and every one there is a figure', async () => {
  const rows = documented(PAGE);
  const benches = await declared();
  assert.deepEqual([...rows.keys()].sort(), [...benches.keys()].sort());
  for (const [name, fields] of benches) assert.deepEqual(differences(fields, rows.get(name)!), [], name);
});

test('a figure without a row is found, and a row without a figure', () => {
  const rows = documented('| Field | Meaning |\n| --- | --- |\n| **one** | `x` |\n| `a`, `…_s` | `y` |\n\n| `z` | |');
  assert.deepEqual([...rows], [['one', ['a', '…_s']]]);
  assert.deepEqual(differences(['a', 'p_s'], ['a', '…_s']), []);
  assert.deepEqual(differences(['a', 'b'], ['a', '…_s']), ['b is not documented', 'there is no …_s']);
});

/** Bench → what CI holds it to, as the table of the page says. */
function heldTo(page: string): Map<string, Targets> {
  const table = page.slice(page.indexOf('| Bench')).split('\n\n', 1)[0]!;
  return new Map(
    table
      .split('\n')
      .slice(2)
      .map((row) => {
        const [, name, held] = row.split('|').map((cell) => cell.trim());
        const bounds = [...held!.matchAll(/`(\w+)` ([≥≤]) ([\d.,]+\d|\d)/g)].map(([, field, sign, digits]) => {
          const bound = Number(digits!.replace(',', ''));
          return [field!, sign === '≥' ? { atLeast: bound } : { atMost: bound }] as const;
        });
        return [name!, Object.fromEntries(bounds)] as const;
      }),
  );
}

const rounded = (targets: Targets): Targets =>
  JSON.parse(JSON.stringify(targets, (_, value) => (typeof value === 'number' ? Number(value.toFixed(3)) : value)));

test('what the page says that CI holds is what CI holds', async () => {
  const steps = readFileSync(fromRoot('.ci/run'), 'utf8').matchAll(
    /^(?:tries=2 )?(?:suite|step) bench\b.*?(\w+) --json --enforce/gm,
  );
  const held = heldTo(PAGE);
  assert.deepEqual([...held.keys()].sort(), [...steps].map(([, name]) => name).sort());
  for (const [name, targets] of held) assert.deepEqual(targets, rounded((await BENCHES[name]!()).bench.targets!), name);
});

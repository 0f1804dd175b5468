import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/errors/index.js';
import { PostgresServer } from '../postgres/server.js';
import { numberFlag, resultLine } from '../support/long-run.js';
import { allPlants } from './all-plants.js';
import { InboxBook } from './inbox-book.js';
import { PartsBook } from './parts-book.js';
import { bentOf, Garden, plantOf } from './plants.js';
import { type RunOptions, type RunResult, runChaos } from './run.js';

const USAGE =
  'usage: npm run chaos -- [--kills 100] [--seed NUMBER] [--plant NAME | --plants [--only NAME,NAME]] [--state postgres [--replicas 3]] [--parts 8] [--keep] [--json]';
/** Violations of each kind of which the whole story is printed. */
const TOLD = 4;

/** A start after a kill waits for it. Milliseconds. */
const LEASE_MS = 1_000;
/** With less the grants of a busy machine are over before they are used. Milliseconds. */
const REPLICAS_LEASE_MS = 5_000;

/** A database of the run's own, and its books of what replicas promised for another, and of who had which part where they share them. */
async function inPostgres(
  after: (done: () => unknown) => void,
  replicas: number,
  parts: number,
): Promise<Pick<RunOptions, 'state' | 'inbox' | 'spread'>> {
  const server = await PostgresServer.start({ after });
  const place = server.place();
  const { host, port, database, user } = place;
  const leaseMs = replicas > 1 ? REPLICAS_LEASE_MS : LEASE_MS;
  const state = { engine: 'postgres', postgres: { host, port, database, user, lease: leaseMs } };
  if (replicas === 1) return { state };
  const inbox = await InboxBook.open(server, place, parts);
  if (parts === 1) return { state, inbox };
  return { state, inbox, spread: { leaseMs, book: await PartsBook.open(server, place, parts, replicas) } };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '100' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      plant: { type: 'string' },
      plants: { type: 'boolean', default: false },
      only: { type: 'string' },
      state: { type: 'string', default: 'embedded' },
      replicas: { type: 'string', default: '1' },
      parts: { type: 'string', default: '1' },
      keep: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const kills = numberFlag('kills', values.kills, { least: 1, whole: true, usage: USAGE });
  const seed = numberFlag('seed', values.seed, { least: 0, whole: true, usage: USAGE });
  const replicas = numberFlag('replicas', values.replicas, { least: 1, whole: true, usage: USAGE });
  const parts = numberFlag('parts', values.parts, { least: 1, whole: true, usage: USAGE });
  if (replicas > 1 && values.state !== 'postgres') throw new Error(`--replicas needs --state postgres\n${USAGE}`);
  if (values.plants) {
    const result = await allPlants({ kills, seed, only: values.only?.split(','), say: (line) => console.error(line) });
    console.log(values.json ? JSON.stringify(result) : result.table);
    if (result.missed.length > 0) process.exitCode = 1;
    return;
  }
  const own = fileURLToPath(new URL('../../..', import.meta.url));
  if (!['embedded', 'postgres'].includes(values.state)) throw new Error(`--state ${values.state}: unknown\n${USAGE}`);
  const garden = values.plant === undefined ? undefined : new Garden(own);
  console.error(
    `chaos: seed ${seed}, ${kills} kills${values.plant === undefined ? '' : `, with the plant ${values.plant}`}`,
  );
  const undo: (() => unknown)[] = [];
  const ending = new AbortController();
  process.once('SIGTERM', () => ending.abort());
  let result: RunResult;
  try {
    const plant = values.plant === undefined ? undefined : plantOf(values.plant);
    if (plant !== undefined) garden?.plant(plant);
    result = await runChaos({
      ...(plant === undefined ? {} : { bent: bentOf(plant) ?? {}, untilSeen: true }),
      kills,
      seed,
      signal: ending.signal,
      build: garden?.root ?? own,
      replicas,
      parts,
      ...(values.state === 'postgres' && (await inPostgres((done) => undo.unshift(done), replicas, parts))),
      say: (line) => console.error(`chaos: ${line}`),
    });
  } finally {
    garden?.remove();
    for (const done of undo) await done();
  }
  const told = new Map<string, number>();
  for (const violation of result.violations) {
    console.error(`\n${violation.kind}: ${violation.what}`);
    const before = told.get(violation.kind) ?? 0;
    told.set(violation.kind, before + 1);
    if (before < TOLD) for (const line of result.evidence(violation)) console.error(`  ${line}`);
  }
  for (const line of result.shown) console.error(`\nsecrets: ${line}`);
  if (!values.keep) result.clean();
  const whole = { ...result.counts, secrets: result.shown.length, ...result.facts };
  console.log(resultLine(whole, values.json));
  if (result.violations.length > 0 || result.shown.length > 0) process.exitCode = 1;
}

await main().catch((error: unknown) => {
  console.error(error);
  // Whoever reads the last line learns that the run said nothing.
  if (process.argv.includes('--json')) console.log(JSON.stringify({ error: messageOf(error) }));
  process.exitCode = 2;
});

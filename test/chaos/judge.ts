import type { PluginReport } from '../../src/client/index.js';
import { phaseRank } from '../../src/model/phase-state.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import type { ChaosDaemon } from './daemon.js';
import type { ChaosEngine } from './engine.js';
import { CALL_MS, FLAVOURS, type Flavour, type Fleet, SYNC, SYNC_WRITES } from './fleet.js';
import { type OwnersBook, ownedTwice } from './owned-twice.js';
import type { CallNote, Job, Remotes } from './remote.js';
import type { Attempt, Seen } from './story.js';

export const COUNTS = [
  'lost',
  'doubled',
  'orphaned',
  'leaked',
  'over_quota',
  'over_limit',
  'backwards',
  'changed',
  'owned_twice',
] as const;
export type Count = (typeof COUNTS)[number];

export interface Violation {
  readonly kind: Count;
  readonly what: string;
  readonly attempt?: Attempt | undefined;
  /** Idempotency keys whose calls and log lines tell more. */
  readonly keys: readonly string[];
}

/** What the daemon says of itself when all is over. */
export interface LastWords {
  readonly listed: ReadonlySet<string>;
  /** Tasks that hold tokens by right: live ones that were answered and never asked for, and jobs that are looked for. */
  readonly holders: readonly { readonly id: string; readonly plugin: string }[];
  readonly quotas: readonly {
    readonly plugin: string;
    readonly namespace: string;
    readonly used: number;
    readonly waiting: number;
  }[];
}

/** A busy machine takes its time; a run that gave up over that would say nothing. Milliseconds. */
const PATIENCE_MS = 60_000;

/** What is asked for its last words: where there are several daemons, each of their loads. */
export interface Speaker extends Pick<ChaosDaemon, 'listing'> {
  loads?(deadlineMs: number): Promise<readonly PluginReport[]>;
}

export async function lastWords(daemon: Speaker, engine: ChaosEngine): Promise<LastWords> {
  const [deletes, unclear, orphans] = await Promise.all([
    daemon.listing('deletes', 'deletes'),
    daemon.listing('unclear-creates', 'unclearCreates'),
    daemon.listing('orphans', 'orphans'),
  ]);
  const ids = (rows: readonly Record<string, unknown>[]) => rows.map(({ id }) => String(id));
  const plugins = await (daemon.loads?.(PATIENCE_MS) ?? engine.client.listPlugins({ deadlineMs: PATIENCE_MS }));
  return {
    listed: new Set(ids([...deletes, ...unclear, ...orphans])),
    holders: [...orphans, ...unclear.filter(({ left }) => left === null)].map(({ id, plugin }) => ({
      id: String(id),
      plugin: String(plugin),
    })),
    quotas: quotasOf(plugins),
  };
}

/** Each daemon tells of its own tasks. */
function quotasOf(plugins: readonly PluginReport[]): LastWords['quotas'] {
  const sums = new Map<string, { plugin: string; namespace: string; used: number; waiting: number }>();
  for (const { id: plugin, quotas } of plugins) {
    for (const { namespace, used, waiting } of quotas) {
      const name = `${plugin}/${namespace}`;
      const sum = sums.get(name) ?? { plugin, namespace, used: 0, waiting: 0 };
      sums.set(name, { ...sum, used: sum.used + used, waiting: sum.waiting + waiting });
    }
  }
  return [...sums.values()];
}

/** Compares what engines were told, and what the daemon says, with the books of the remotes. */
export function judge(
  engine: ChaosEngine,
  remotes: Remotes,
  words: LastWords,
  fleet: Fleets,
  book?: OwnersBook,
): Violation[] {
  const byTask = new Map<string, Job[]>();
  for (const job of remotes.jobs) byTask.set(job.task, [...(byTask.get(job.task) ?? []), job]);
  const ofAttempts = engine.attempts.flatMap((attempt) => {
    const jobs = byTask.get(attempt.name) ?? [];
    const keys = [...new Set(jobs.map(({ key }) => key))];
    const found = [...ends(attempt, jobs), ...doubles(attempt, jobs), ...tellings(attempt)];
    return found.map(({ kind, what }) => ({ kind, what, attempt, keys }));
  });
  const complaints = engine.complaints.map(({ kind, attempt, what }) => {
    const keys = [...new Set((byTask.get(attempt.name) ?? []).map(({ key }) => key))];
    return { kind, what, attempt, keys };
  });
  const attempts = new Map(engine.attempts.map((attempt) => [attempt.name, attempt]));
  return [
    ...complaints,
    ...ofAttempts,
    ...orphans(remotes.jobs, words, attempts),
    ...leaks(words),
    ...overQuota(remotes.jobs, words, fleet),
    ...overLimits(remotes.calls, 'sentAtMs', fleet),
    ...(book === undefined ? [] : ownedTwice(remotes.jobs, attempts, book)),
  ];
}

/** What is a violation as soon as it is seen, and not at the end alone. */
export function judgeMidway(engine: ChaosEngine, remotes: Remotes, fleet: Fleets): Violation[] {
  return [
    ...engine.attempts.flatMap((attempt) => [...tellings(attempt)].map((found) => ({ ...found, attempt, keys: [] }))),
    ...engine.complaints.map(({ kind, attempt, what }) => ({ kind, what, attempt, keys: [] })),
    ...overLimits(remotes.calls, 'sentAtMs', fleet),
  ];
}

type Fleets = Readonly<Record<Flavour, Fleet>>;
type Found = Pick<Violation, 'kind' | 'what'>;

/** Whether every task that was answered came to the end that its job had. */
function* ends(attempt: Attempt, jobs: readonly Job[]): Iterable<Found> {
  if (!attempt.finished) {
    yield { kind: 'lost', what: `${attempt.name} did not come to its end` };
    return;
  }
  const last = attempt.incarnations.at(-1);
  if (last?.handle === undefined || last.deleted !== 'no' || attempt.givenUp) return;
  const seen = last.polled.find(({ phase }) => isTerminal(phase));
  if (seen === undefined) yield { kind: 'lost', what: `${attempt.name} has no end` };
  else if (attempt.plan.plan === 'sync') {
    if (seen.phase !== 'SUCCESS') yield { kind: 'lost', what: `${attempt.name} ended ${seen.phase} ${seen.code}` };
  } else if (!isTrue(seen, attempt, jobs)) {
    const book = jobs.map(({ id, state }) => `${id} ${state}`).join(', ') || 'no job';
    yield { kind: 'lost', what: `${attempt.name} ended ${seen.phase} ${seen.code}, and the book says: ${book}` };
  }
}

function isTrue(seen: Seen, { plan }: Attempt, jobs: readonly Job[]): boolean {
  if (seen.phase === 'SUCCESS') return jobs.some(({ id, state }) => state === 'done' && seen.outputs.includes(id));
  if (seen.code === 'JOB_FAILED') return jobs.some(({ state }) => state === 'failed');
  // A create that may have been sent is never repeated where nothing could find its job.
  return seen.code === 'CREATE_UNCLEAR' && seen.phase === 'RETRYABLE_FAILURE' && plan.flavour === 'blind';
}

/**
 * Jobs that were made after the call that asked for them had to be over, since their request was held up on its way: whoever
 * searched after the call's bound did not find them. Nothing but a remote that takes keys can refuse these.
 */
export const madeLate = (jobs: readonly Job[]): Job[] =>
  jobs.filter(({ flavour, madeAtMs, sentAtMs }) => flavour === 'searched' && madeAtMs - sentAtMs > CALL_MS);

/** Two jobs kept of one incarnation, and more lives than the engine asked for. */
function* doubles(attempt: Attempt, jobs: readonly Job[]): Iterable<Found> {
  const late = new Set(madeLate(jobs));
  const kept = jobs.filter((job) => !job.double && !late.has(job) && !(job.state === 'cancelled' && attempt.givenUp));
  for (const key of new Set(kept.map((job) => job.key))) {
    const ofKey = kept.filter((job) => job.key === key);
    if (ofKey.length > 1) {
      const ids = ofKey.map(({ id, state }) => `${id} ${state}`).join(', ');
      yield { kind: 'doubled', what: `${attempt.name}: ${ofKey.length} jobs of the key ${key}: ${ids}` };
    }
  }
  const lives = new Set(kept.map(({ key }) => key)).size;
  if (lives > attempt.incarnations.length) {
    yield {
      kind: 'doubled',
      what: `${attempt.name}: ${lives} lives of ${attempt.incarnations.length} that were asked for`,
    };
  }
}

function* tellings(attempt: Attempt): Iterable<Found> {
  for (const [number, { polled, watched }] of attempt.incarnations.entries()) {
    for (const [how, told] of [
      ['answered', polled],
      ['watched', watched],
    ] as const) {
      for (const [index, seen] of told.entries()) {
        const before = told[index - 1];
        if (before === undefined) continue;
        const was = `${attempt.name}, life ${number + 1}, ${how}: ${before.phase}.${before.version} ${before.code} in life ${before.life}`;
        const is = `${seen.phase}.${seen.version} ${seen.code} in life ${seen.life}`;
        if (isTerminal(before.phase)) {
          const same = before.phase === seen.phase && before.code === seen.code && before.outputs === seen.outputs;
          if (!same) yield { kind: 'changed', what: `${was}, then ${is}` };
        } else if (phaseRank(seen.phase) < phaseRank(before.phase) || seen.version < before.version) {
          yield { kind: 'backwards', what: `${was}, then ${is}` };
        }
      }
    }
  }
  // Where a repeat may well succeed, no end is kept.
  const [first, ...later] = attempt.runs.slice(
    Math.max(
      0,
      attempt.runs.findIndex(({ phase }) => phase !== 'RETRYABLE_FAILURE'),
    ),
  );
  for (const run of later) {
    if (run.outputs !== first?.outputs || run.phase !== first.phase) {
      yield { kind: 'changed', what: `${attempt.name}: a repeated Do was answered ${run.phase} with other outputs` };
    }
  }
}

function* orphans(
  jobs: readonly Job[],
  { listed }: LastWords,
  attempts: ReadonlyMap<string, Attempt>,
): Iterable<Violation> {
  for (const { id, key, state, task } of jobs) {
    if (state !== 'queued' && state !== 'running') continue;
    if (listed.has(key)) continue;
    yield {
      kind: 'orphaned',
      what: `${id} of ${task} is ${state}, and nobody lists ${key}`,
      keys: [key],
      attempt: attempts.get(task),
    };
  }
}

/** Tokens that are held, or waited for, by nobody who may. */
/** Tokens beyond those that somebody holds by right, or waits for; who is on a list and holds none makes up for nobody else. */
export function heldForNothing({ quotas, holders }: LastWords): { plugin: string; tokens: number }[] {
  return quotas.map(({ plugin, used, waiting }) => {
    const theirs = holders.filter((holder) => holder.plugin === plugin).length;
    return { plugin, tokens: Math.max(0, used + waiting - theirs) };
  });
}

function* leaks(words: LastWords): Iterable<Violation> {
  for (const { plugin, tokens } of heldForNothing(words)) {
    if (tokens > 0)
      yield { kind: 'leaked', what: `${plugin}: ${tokens} tokens are held or waited for, and all is over`, keys: [] };
  }
}

/**
 * More jobs at once than tokens; several of one key are one task's, and count once. A job that a remote made of a create of unclear
 * outcome, and that nobody can find, is on the operator's list and counts for nobody.
 */
function* overQuota(jobs: readonly Job[], { listed }: Pick<LastWords, 'listed'>, fleet: Fleets): Iterable<Violation> {
  for (const flavour of FLAVOURS) {
    const { quota, projectQuota } = fleet[flavour];
    const own = jobs.filter((job) => job.flavour === flavour && !job.double && !listed.has(job.key));
    yield* overOne(own, quota, flavour);
    if (projectQuota === 0) continue;
    for (const project of new Set(own.map((job) => job.project))) {
      yield* overOne(
        own.filter((job) => job.project === project),
        projectQuota,
        `${flavour}, project ${project}`,
      );
    }
  }
}

function* overOne(jobs: readonly Job[], quota: number, where: string): Iterable<Violation> {
  const steps = jobs.flatMap((job) => [
    { atMs: job.madeAtMs, job, by: 1 },
    { atMs: job.overAtMs ?? Number.POSITIVE_INFINITY, job, by: -1 },
  ]);
  steps.sort((a, b) => a.atMs - b.atMs || a.by - b.by);
  const running = new Map<string, Job>();
  let over = false;
  for (const { job, by } of steps) {
    if (by < 0) running.delete(job.key);
    else running.set(job.key, job);
    if (running.size <= quota) over = false;
    else if (!over) {
      over = true;
      const jobs = [...running.values()];
      const ids = jobs.map(({ id }) => id).join(', ');
      yield {
        kind: 'over_quota',
        what: `${where}: ${running.size} of ${quota} when ${job.id} was made: ${ids}`,
        keys: jobs.map(({ key }) => key),
      };
    }
  }
}

/** Calls in any window above burst + qps·W. A call's time is taken some microseconds after its token, hence the slack. */
const SLACK_CALLS = 0.1;

export function* overLimits(
  calls: readonly CallNote[],
  time: 'sentAtMs' | 'arrivedAtMs',
  fleet: Fleets,
): Iterable<Violation> {
  const lanes = FLAVOURS.flatMap((plugin) =>
    (['read', 'write'] as const).map((lane) => ({ plugin, lane, ...fleet[plugin][lane] })),
  );
  for (const { plugin, lane, qps, burst } of [...lanes, { plugin: SYNC, lane: 'write', ...SYNC_WRITES }]) {
    const own = calls.filter((call) => call.plugin === plugin && call.lane === lane).sort((a, b) => a[time] - b[time]);
    // From call i to call j: j - i + 1 may be burst + qps·(tj - ti) at most.
    let least = Number.POSITIVE_INFINITY;
    let from: CallNote | undefined;
    for (const [index, call] of own.entries()) {
      const level = index - (qps * call[time]) / 1000;
      if (level < least) {
        least = level;
        from = call;
      }
      const over = level + 1 - burst - least;
      if (over <= SLACK_CALLS || from === undefined) continue;
      const windowMs = call[time] - from[time];
      const most = burst + (qps * windowMs) / 1000;
      const what = `${plugin} ${lane}: ${(most + over).toFixed(0)} calls in ${windowMs.toFixed(1)} ms, ${most.toFixed(2)} are allowed; the last: ${call.what} of ${call.key}`;
      yield { kind: 'over_limit', what, keys: [] };
      // The next window begins behind it, so that one excess is told once.
      least = Number.POSITIVE_INFINITY;
    }
  }
}

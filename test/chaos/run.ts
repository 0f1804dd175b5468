import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { machineMs } from '../../src/lib/clock.js';
import { TASKS_BOUNDS } from '../../src/tasks/deps.js';
import { Decisions } from '../support/decisions.js';
import { searchAdmin, searchFolder, searchFor, shownBy } from '../support/suite-secrets.js';
import { type Bent, fleetOf, KILLS, type Kill } from './bent.js';
import { ChaosDaemon } from './daemon.js';
import { ChaosEngine } from './engine.js';
import type { InboxBook } from './inbox-book.js';
import {
  COUNTS,
  type Count,
  heldForNothing,
  judge,
  judgeMidway,
  lastWords,
  madeLate,
  overLimits,
  type Speaker,
  type Violation,
} from './judge.js';
import type { OwnersBook } from './owned-twice.js';
import type { PartsBook } from './parts-book.js';
import { refill } from './refill.js';
import { Remotes } from './remote.js';
import { ChaosReplicas } from './replicas.js';

export interface RunOptions {
  readonly kills: number;
  readonly seed: number;
  /** The root of the build that is run. */
  readonly build: string;
  /** The config's section `state`; a folder of the run's own unless given. */
  readonly state?: object;
  /** Daemons with one state, of which the one that works is killed; 1 unless given. */
  readonly replicas?: number;
  /** Into which the state is divided; 1 unless given. Several replicas share them. */
  readonly parts?: number;
  /** Of several replicas: the database's own book of what was promised for an owner that was away. */
  readonly inbox?: InboxBook;
  /** Of replicas that share parts: the lease, in milliseconds, and the database's own book of who had which. */
  readonly spread?: { readonly leaseMs: number; readonly book: PartsBook };
  readonly bent?: Bent;
  /** Ends with the first violation that shows before the end. */
  readonly untilSeen?: boolean;
  /** Ends the kills early; what was done until then is judged. */
  readonly signal?: AbortSignal;
  readonly say: (line: string) => void;
}

export interface RunResult {
  readonly counts: Readonly<Record<Count, number>>;
  readonly facts: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  /** Where secrets are shown, in words. */
  readonly shown: readonly string[];
  /** The whole story of a violation: what its engine did, the remote's book and calls, and the daemon's log. */
  evidence(violation: Violation): string[];
  /** Removes what the run left on disk. */
  clean(): void;
}

/** Tasks that are open at once, at most. */
const OPEN = 60;
/** Longest time from one new task to the next. Milliseconds. */
const APART_MS = 180;
/** Longest life of a daemon that is to be killed by something that happens. Milliseconds. */
const LONGEST_MS = 3_500;
/** A create whose tries failed is tried again within this time at the latest: the longest delay of its back-off, and its jitter. Milliseconds. */
const LONGEST_RETRY_MS = TASKS_BOUNDS.retryMaxMs * 1.25;
/**
 * After the last kill everything comes to its end, as long as something does within a step, the longest wait of a task and its call: a
 * busy machine is slow. Milliseconds.
 */
export const SETTLE_STEP_MS = LONGEST_RETRY_MS + 45_000;
const SETTLE_STEPS = 5;
/** An owner looks at the inbox once a second. Milliseconds. */
const TAKING_MS = 10_000;

type Victim = ChaosDaemon | ChaosReplicas;

export async function runChaos(options: RunOptions): Promise<RunResult> {
  const { kills, seed, build, state, replicas = 1, parts = 1, bent = {}, untilSeen = false, signal, say } = options;
  const { spread, inbox } = options;
  const fleet = fleetOf(bent);
  const decisions = new Decisions(seed);
  const remotes = new Remotes(decisions);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-chaos-'));
  mkdirSync(path.join(folder, 'state'));
  const plugins = fileURLToPath(new URL('./plugins', import.meta.url));
  const place = {
    build,
    plugins,
    folder,
    remote: await remotes.start(),
    state: { ...(state ?? { dir: path.join(folder, 'state') }), parts },
    fleet,
  };
  const userOf = (replica: number) => spread?.book.userOf(replica) ?? '';
  const of = spread && { parts, leaseMs: spread.leaseMs, decisions, userOf };
  const daemon = replicas > 1 ? await ChaosReplicas.prepare(place, replicas, of) : await ChaosDaemon.prepare(place);
  const engine = new ChaosEngine(decisions, bent);
  const bornMs = machineMs();
  let pluginKills = 0;
  let done = 0;
  const begins = begin(engine, decisions);
  try {
    for (let life = 1; life <= kills && signal?.aborted !== true; life++) {
      daemon.start();
      engine.connect(daemon.port, life);
      const victims = scheduleKills(daemon, decisions, life);
      await killed(daemon, engine, remotes, decisions, life, bent);
      pluginKills += victims();
      if (engine.faults.length > 0) throw engine.faults[0];
      done = life;
      if (untilSeen && judgeMidway(engine, remotes, fleet).length > 0) break;
      if (life % 10 === 0)
        say(`${life} kills, ${engine.attempts.length} tasks, ${remotes.jobs.length} jobs, ${engine.open} open`);
    }
    begins.stop();
    const seen = untilSeen ? judgeMidway(engine, remotes, fleet) : [];
    const violations =
      seen.length > 0
        ? seen
        : await theEnd({
            engine,
            remotes,
            daemon,
            fleet,
            say,
            inbox,
            book: () => ownersBook(daemon, parts, spread?.book),
          });
    const shown = await secretsOf(daemon, engine, folder);
    engine.close();
    const counts = Object.fromEntries(
      COUNTS.map((kind) => [kind, violations.filter((one) => one.kind === kind).length]),
    );
    return {
      counts: counts as Record<Count, number>,
      facts: {
        kills: done,
        plugin_kills: pluginKills,
        tasks: engine.attempts.length,
        jobs: remotes.jobs.length,
        calls: remotes.calls.length,
        unclear: engine.attempts.filter(({ incarnations }) =>
          incarnations.some(({ polled }) => polled.at(-1)?.code === 'CREATE_UNCLEAR'),
        ).length,
        made_late: madeLate(remotes.jobs).length,
        over_limit_by_arrival: [...overLimits(remotes.calls, 'arrivedAtMs', fleet)].length,
        ...inbox?.promised(),
        ...(spread && daemon instanceof ChaosReplicas && { moves: spread.book.moves().length, ...daemon.counts }),
        seed,
        seconds: Math.round((machineMs() - bornMs) / 1000),
      },
      violations,
      shown,
      evidence: (violation) => evidence(violation, remotes, daemon, bornMs),
      clean: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }),
    };
  } finally {
    begins.stop();
    engine.close();
    await daemon.end();
    await remotes.stop();
  }
}

/** Where secrets are shown of all that a run leaves: by a daemon that lives, to engines, in logs and in the state. */
export function secretsOf(daemon: Pick<Victim, 'operator'>, engine: ChaosEngine, folder: string): Promise<string[]> {
  const { url, ...operator } = daemon.operator;
  return shownBy(
    () => searchAdmin(url, operator),
    () => searchFor('error', 'what engines were told', engine.attempts.flatMap(({ events }) => events).join('\n')),
    // Where a run ends with the first violation, its daemon may be dead.
    async () => searchFor('listing', 'ListPlugins', JSON.stringify(await engine.client.listPlugins().catch(String))),
    () => searchFolder(folder, (file) => (file.endsWith('.log') && /life-\d+\.log$/.test(file) ? 'log' : 'state')),
  );
}

/** Everything comes to its end, is looked at once more after a stop, and is judged. */
async function theEnd({ engine, remotes, daemon, fleet, say, inbox, book }: Parts): Promise<Violation[]> {
  remotes.fair();
  daemon.start();
  await daemon.answers();
  engine.connect(daemon.port, daemon.life);
  say(`${engine.open} tasks are to come to their end`);
  await settled(engine, remotes, daemon, say);
  const words = await lastWords(daemon, engine);
  const missing = daemon instanceof ChaosReplicas ? await refill(engine, remotes, fleet, words) : [];
  await engine.lookAgain();
  await daemon.stop();
  daemon.start();
  await daemon.answers();
  engine.connect(daemon.port, daemon.life);
  await engine.lookAgain();
  if (engine.faults.length > 0) throw engine.faults[0];
  return [...judge(engine, remotes, words, fleet, book()), ...missing, ...(await forgotten(inbox))];
}

/** Promises that no owner took in, long after all of them were there. */
async function forgotten(inbox: InboxBook | undefined): Promise<Violation[]> {
  const untilMs = machineMs() + TAKING_MS;
  while (inbox !== undefined && inbox.waiting().length > 0 && machineMs() < untilMs) await sleep(500);
  return (inbox?.waiting() ?? []).map((row) => ({ kind: 'lost', what: `was promised and waits: ${row}`, keys: [] }));
}

function ownersBook(daemon: Victim, parts: number, book: PartsBook | undefined): OwnersBook | undefined {
  if (book === undefined || !(daemon instanceof ChaosReplicas)) return undefined;
  const replicaOf = (pid: number) => daemon.replicaOf(pid);
  return { parts, moves: book.moves(), foreignWrites: book.foreignWrites(), replicaOf };
}

interface Parts {
  readonly engine: ChaosEngine;
  readonly remotes: Remotes;
  readonly daemon: Victim;
  readonly fleet: ReturnType<typeof fleetOf>;
  readonly say: (line: string) => void;
  readonly inbox: InboxBook | undefined;
  /** Read when all is over. */
  readonly book: () => OwnersBook | undefined;
}

/** New tasks come at their own times, whether a daemon lives or not. */
export function begin(
  engine: ChaosEngine,
  decisions: Decisions,
  { open = OPEN, apartMs = APART_MS }: { open?: number; apartMs?: number } = {},
): { stop(): void } {
  const dice = decisions.of('arrivals');
  let timer: NodeJS.Timeout | undefined;
  const next = () => {
    timer = setTimeout(
      () => {
        if (engine.open < open) engine.begin();
        next();
      },
      dice.between(0, apartMs),
    );
  };
  next();
  return { stop: () => clearTimeout(timer) };
}

/** Ends plugin processes at times of their own; answers how many were. */
function scheduleKills(daemon: Victim, decisions: Decisions, life: number): () => number {
  const dice = decisions.of('plugin kills', life);
  let ended = 0;
  const timers = [0.35, 0.15]
    .filter((share) => dice.chance(share))
    .map(() => {
      const which = dice.next();
      return setTimeout(
        () => {
          ended += 1;
          daemon.killPlugin(which);
        },
        dice.between(600, 3_500),
      );
    });
  return () => {
    for (const timer of timers) clearTimeout(timer);
    return ended;
  };
}

/** Kills the daemon at the time, or the event, that the seed says; resolves when it is gone. */
async function killed(
  daemon: Victim,
  engine: ChaosEngine,
  remotes: Remotes,
  decisions: Decisions,
  life: number,
  { kills = KILLS, most = 4 }: Bent,
): Promise<void> {
  const dice = decisions.of('kill', life);
  const how = dice.pick<Kill>(kills as Record<Kill, number>);
  let left = 1 + Math.floor(dice.next() * most);
  const early = how === 'early';
  const timed = how === 'time' || how === 'opening';
  const afterMs = how === 'time' ? dice.between(100, 2_500) : dice.between(0, 900);
  await new Promise<void>((resolve, reject) => {
    let timer = early ? setTimeout(resolve, afterMs) : undefined;
    // On a busy machine a start takes long; what comes after it counts from its end.
    const up = how === 'opening' ? daemon.answers() : daemon.ready();
    up.then((is) => {
      if (is && !early) timer = setTimeout(resolve, timed ? afterMs : LONGEST_MS);
    }, reject);
    const count = (is: boolean) => {
      if (is) left -= 1;
      if (left > 0 || !is) return;
      clearTimeout(timer);
      resolve();
    };
    remotes.onDeed = (what, when) => {
      if (how === 'submit') count(what === 'create' && when === 'before');
      else if (how === 'submitted') count(what === 'create' && when === 'after');
      else if (how === 'cancel') count(what === 'delete' && when === 'before');
      else if (how === 'cancelled') count(what === 'delete' && when === 'after');
    };
    engine.onAnswer = () => count(how === 'answer');
  });
  remotes.onDeed = undefined;
  engine.onAnswer = undefined;
  await daemon.kill();
}

/** Waits until every story is over and every job that nobody lists is too; gives up after a time, which the judge sees. */
export async function settled(
  engine: ChaosEngine,
  remotes: Remotes,
  daemon: Speaker,
  say: (line: string) => void,
  stepMs = SETTLE_STEP_MS,
): Promise<void> {
  const until = machineMs() + SETTLE_STEPS * stepMs;
  let told = machineMs() + 10_000;
  let least = Number.POSITIVE_INFINITY;
  let stuckAtMs = machineMs() + stepMs;
  while (machineMs() < Math.min(until, stuckAtMs)) {
    await sleep(500);
    const words = await lastWords(daemon, engine);
    const { listed } = words;
    const deletes = await daemon.listing('deletes', 'deletes');
    const running = remotes.jobs.filter(({ key, overAtMs }) => overAtMs === undefined && !listed.has(key)).length;
    const used = heldForNothing(words).reduce((sum, { tokens }) => sum + tokens, 0);
    const left = engine.open + running + deletes.length + used;
    if (left === 0) break;
    if (left < least) {
      least = left;
      stuckAtMs = machineMs() + stepMs;
    }
    if (machineMs() < told) continue;
    told += 10_000;
    say(`${engine.open} tasks, ${running} jobs that no list names, ${deletes.length} deletes, ${used} tokens are left`);
  }
  engine.stopped = engine.open > 0;
  await Promise.race([engine.finished(), sleep(5_000)]);
  engine.stopped = false;
}

export function evidence(
  { attempt, keys }: Violation,
  remotes: Remotes,
  daemon: Pick<Victim, 'linesAbout'>,
  bornMs: number,
): string[] {
  const at = (ms: number) => `${((ms - bornMs) / 1000).toFixed(2)} s`;
  const lines: string[] = [];
  if (attempt !== undefined) {
    const { plan, name } = attempt;
    lines.push(
      `engine: ${name}, plan ${plan.plan}, ${plan.flavour}, project ${plan.project}, ${plan.textLength} bytes of input`,
    );
    lines.push(...attempt.events.map((event) => `engine: ${event}`));
  }
  for (const key of keys) {
    for (const job of remotes.jobs.filter((each) => each.key === key)) {
      const over = job.overAtMs === undefined ? 'not over' : `over at ${at(job.overAtMs)}`;
      lines.push(
        `book: ${job.id}, key ${key}, ${job.state}${job.double ? ' as a double' : ''}, made at ${at(job.madeAtMs)}, ${over}`,
      );
    }
    const calls = remotes.calls.filter((call) => call.key === key && (keys.length < 3 || call.what !== 'read'));
    lines.push(
      ...calls.map((call) => `call: ${call.what}, sent at ${at(call.sentAtMs)}, arrived ${at(call.arrivedAtMs)}`),
    );
    const notes = remotes.notes.filter(
      (note) => note.key === key && (keys.length < 3 || !/^(read|search) /.test(note.text)),
    );
    lines.push(...notes.map((note) => `remote: ${at(note.atMs)} ${note.text}`));
    lines.push(
      ...daemon
        .linesAbout(key)
        .slice(0, 80)
        .map((line) => `log: ${line.slice(0, 600)}`),
    );
  }
  return lines;
}

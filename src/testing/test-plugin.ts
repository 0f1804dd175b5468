import { HostError, messageOf } from '../errors/index.js';
import type { PhaseState } from '../model/phase-state.js';
import { phaseRank } from '../model/phase-state.js';
import type { PluginOutcome } from '../model/plugin-call.js';
import { isTerminal } from '../plugin-api/phase.js';
import { type BenchOptions, PluginBench, type ResourceOptions } from './plugin-bench.js';
import type { TestTask } from './task.js';

export interface TestPluginOptions extends BenchOptions {
  /** A task that the plugin can run to its end against the remote of the test. */
  readonly task: TestTask;
  /** Reads until the job must be over. Default 100. */
  readonly maxReads?: number;
  /** Between two reads, in milliseconds. Default 10. */
  readonly readEveryMs?: number;
  /**
   * How many jobs of an idempotency key the remote of the test keeps: those that were not cancelled. With it the checks of repeated
   * creates look at the remote itself; without, at what the plugin says. Needed for a plugin that searches and then submits.
   */
  readonly keptJobs?: (idempotencyKey: string) => number | Promise<number>;
}

export interface ContractCheck {
  readonly name: string;
  readonly ok: boolean;
  /** Why it failed; empty where it did not. */
  readonly detail: string;
}

export interface ContractReport {
  readonly ok: boolean;
  readonly checks: readonly ContractCheck[];
  /** The states that were read, in order; the last is the end. */
  readonly states: readonly PhaseState[];
}

/**
 * Runs a plugin against what the contract demands of every one: valid phases that do not go back, a create that finds
 * its job again (also one whose answer was lost, or that another call made meanwhile), a meta that survives its round trip, a batch that answers for each item in order, a delete that may be
 * repeated. Never throws for the plugin: what is wrong is in the report. `assertPlugin` throws.
 */
export async function testPlugin(definition: unknown, options: TestPluginOptions): Promise<ContractReport> {
  const run = new ContractRun(definition, options);
  let bench: PluginBench;
  try {
    bench = await PluginBench.load(definition, options);
    run.note('the definition and load() are valid', '');
  } catch (error) {
    run.note('the definition and load() are valid', error instanceof Error ? error.message : String(error));
    return run.report();
  }
  try {
    if (bench.facts.kind === 'sync') await run.sync(bench);
    else await run.async(bench);
  } finally {
    await bench.close();
  }
  return run.report();
}

/** As testPlugin, but throws an error that lists what is wrong. */
export async function assertPlugin(definition: unknown, options: TestPluginOptions): Promise<ContractReport> {
  const report = await testPlugin(definition, options);
  if (report.ok) return report;
  const broken = report.checks.filter((check) => !check.ok).map((check) => `${check.name}: ${check.detail}`);
  throw new HostError('PLUGIN_ANSWER_INVALID', `the plugin breaks its contract:\n- ${broken.join('\n- ')}`);
}

class ContractRun {
  readonly #definition: unknown;
  readonly #options: TestPluginOptions;
  readonly #checks: ContractCheck[] = [];
  readonly #states: PhaseState[] = [];

  constructor(definition: unknown, options: TestPluginOptions) {
    this.#definition = definition;
    this.#options = options;
  }

  /** `detail` empty: the check holds. */
  note(name: string, detail: string): void {
    this.#checks.push({ name, ok: detail === '', detail });
  }

  report(): ContractReport {
    return { ok: this.#checks.every((check) => check.ok), checks: this.#checks, states: this.#states };
  }

  async sync(bench: PluginBench): Promise<void> {
    const outcome = await bench.do(this.#options.task);
    this.note('do() answers a terminal phase', failureOf(outcome));
    if (outcome.ok) this.#states.push(outcome.value);
  }

  async async(bench: PluginBench): Promise<void> {
    const { task } = this.#options;
    const created = await bench.create(task);
    this.note('create() answers a meta that survives its round trip', failureOf(created));
    if (!created.ok) return;
    const { meta, state } = created.value;
    if (state !== undefined) this.#states.push(state);
    if (bench.facts.features.findsByKey) await this.#repeats(bench, meta);
    await this.#follow(bench, meta);
    if (bench.facts.features.getMany !== undefined) await this.#batch(bench, meta);
    for (const name of ['delete() succeeds for a job that is over', 'delete() may be repeated']) {
      const outcome = await bench.delete(meta);
      const gone = !outcome.ok && outcome.failure.kind === 'not_found';
      this.note(name, gone ? '' : failureOf(outcome));
    }
  }

  /** Rule 8 of the daemon: an answer may be lost with the process that waited for it, and its call may pass the next one. */
  async #repeats(bench: PluginBench, meta: Buffer): Promise<void> {
    const { task } = this.#options;
    const again = await bench.create(task);
    const same = again.ok && !again.value.meta.equals(meta) ? 'it answered another meta: a second job was made' : '';
    this.note('create() with the same idempotency key finds its job', failureOf(again) || same);
    if (again.ok && same === '') await this.#another((other) => this.#lostAnswer(other));
    if (again.ok && same === '') await this.#another((other) => this.#crossing(bench, other));
  }

  /** A second process of the plugin: what the first one keeps in its memory it does not know. */
  async #another(check: (other: PluginBench) => Promise<void>): Promise<void> {
    const other = await this.#reload().catch((error: unknown) => messageOf(error));
    const loads = typeof other !== 'string';
    this.note('load() works in a second process', loads ? '' : other);
    if (!loads) return;
    try {
      await check(other);
    } finally {
      await other.close();
    }
  }

  async #lostAnswer(other: PluginBench): Promise<void> {
    const name = 'create() finds a job whose answer was lost with the process that made it';
    const { task } = this.#options;
    const lost = { ...task, idempotencyKey: `${keyOf(task)}-lost` };
    let made: Buffer | undefined;
    await this.#another(async (first) => {
      const outcome = await first.create(lost);
      if (outcome.ok) made = outcome.value.meta;
    });
    const found = await other.create(lost);
    const second = found.ok && made !== undefined && !found.value.meta.equals(made);
    const kept = second ? 'it answered another meta: a second job was made' : await this.#notOne(lost.idempotencyKey);
    this.note(name, failureOf(found) || kept);
    const { idempotencyKey } = lost;
    if (second && made !== undefined) await other.delete(made, { idempotencyKey });
    if (found.ok) await other.delete(found.value.meta, { idempotencyKey });
  }

  async #crossing(bench: PluginBench, other: PluginBench): Promise<void> {
    const name = 'of two create() of one key that pass each other one job is kept';
    const { task } = this.#options;
    const crossed = { ...task, idempotencyKey: `${keyOf(task)}-crossed` };
    const [one, two] = await Promise.all([bench.create(crossed), other.create(crossed)]);
    // One of them may say that the remote already has it; a repeat has to find it then.
    const found = await bench.create(crossed);
    const metas = [one, two, found].flatMap((outcome) => (outcome.ok ? [outcome.value.meta] : []));
    const distinct = metas.filter((meta, at) => metas.findIndex((before) => before.equals(meta)) === at);
    this.note(name, failureOf(found) || (await this.#keptTwice(bench, distinct, crossed.idempotencyKey)));
    for (const meta of distinct) await bench.delete(meta, { idempotencyKey: crossed.idempotencyKey });
  }

  async #keptTwice(bench: PluginBench, metas: readonly Buffer[], key: string): Promise<string> {
    const { maxReads = 100, readEveryMs = 10, keptJobs } = this.#options;
    if (metas.length < 2) return this.#notOne(key);
    if (keptJobs === undefined) {
      return `${metas.length} metas were answered, and only keptJobs, a function of the test, can tell how many jobs the remote keeps`;
    }
    for (let read = 0; read < maxReads; read++) {
      if ((await keptJobs(key)) === 1) return '';
      const { getMany } = bench.facts.features;
      const options = { idempotencyKey: key };
      if (getMany === undefined) await Promise.all(metas.map((meta) => bench.get(meta, options)));
      else await bench.getMany(metas.slice(0, getMany.maxBatch), options);
      await new Promise((resolve) => setTimeout(resolve, readEveryMs));
    }
    return `after ${maxReads} reads the remote keeps ${await keptJobs(key)} jobs of the key`;
  }

  async #notOne(key: string): Promise<string> {
    const kept = await this.#options.keptJobs?.(key);
    return kept === undefined || kept === 1 ? '' : `the remote keeps ${kept} jobs of the key`;
  }

  /** What the daemon knows of the task when it calls about its job. */
  get #about(): ResourceOptions {
    const { outputs } = this.#options.task;
    return outputs === undefined ? {} : { outputNames: Object.keys(outputs) };
  }

  #reload(): Promise<PluginBench> {
    return PluginBench.load(this.#definition, this.#options);
  }

  async #follow(bench: PluginBench, meta: Buffer): Promise<void> {
    const { maxReads = 100, readEveryMs = 10 } = this.#options;
    let problem = '';
    for (let read = 0; read < maxReads && problem === ''; read++) {
      const outcome = await bench.get(meta, this.#about);
      problem = failureOf(outcome);
      if (!outcome.ok) break;
      const before = this.#states.at(-1);
      this.#states.push(outcome.value);
      if (before !== undefined && phaseRank(outcome.value.phase) < phaseRank(before.phase)) {
        problem = `${before.phase} was followed by ${outcome.value.phase}`;
      }
      if (isTerminal(outcome.value.phase)) break;
      await new Promise((resolve) => setTimeout(resolve, readEveryMs));
    }
    this.note('get() answers valid phases that do not go back', problem);
    const last = this.#states.at(-1);
    const over = last !== undefined && isTerminal(last.phase);
    this.note('the task comes to its end', over ? '' : `after ${maxReads} reads it is ${last?.phase ?? 'not read'}`);
  }

  async #batch(bench: PluginBench, meta: Buffer): Promise<void> {
    const count = Math.min(2, bench.facts.features.getMany?.maxBatch ?? 1);
    const outcome = await bench.getMany(
      Array.from({ length: count }, () => meta),
      this.#about,
    );
    const failed = outcome.ok ? outcome.value.map(failureOf).find((detail) => detail !== '') : undefined;
    this.note('getMany() answers for each item', failureOf(outcome) || (failed ?? ''));
    if (!bench.facts.features.getMany?.batchKeys) return;
    const keys = await bench.call('batchKeys', { metas: [meta, meta] });
    const stable = keys.ok && keys.value.keys[0] !== keys.value.keys[1] ? 'one meta has two keys' : '';
    this.note('batchKey() is a function of the meta', failureOf(keys) || stable);
  }
}

function keyOf({ idempotencyKey = 'test-key-1' }: TestTask): string {
  return idempotencyKey;
}

function failureOf(outcome: PluginOutcome<unknown>): string {
  return outcome.ok ? '' : `${outcome.failure.kind} ${outcome.failure.code}: ${outcome.failure.message}`;
}

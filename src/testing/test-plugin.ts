import { HostError } from '../errors/index.js';
import type { PhaseState } from '../model/phase-state.js';
import { phaseRank } from '../model/phase-state.js';
import type { PluginOutcome } from '../model/plugin-call.js';
import { isTerminal } from '../plugin-api/phase.js';
import { type BenchOptions, PluginBench } from './plugin-bench.js';
import type { TestTask } from './task.js';

export interface TestPluginOptions extends BenchOptions {
  /** A task that the plugin can run to its end against the remote of the test. */
  readonly task: TestTask;
  /** Reads until the job must be over. Default 100. */
  readonly maxReads?: number;
  /** Between two reads, in milliseconds. Default 10. */
  readonly readEveryMs?: number;
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
 * its job again, a meta that survives its round trip, a batch that answers for each item in order, a delete that may be
 * repeated. Never throws for the plugin: what is wrong is in the report. `assertPlugin` throws.
 */
export async function testPlugin(definition: unknown, options: TestPluginOptions): Promise<ContractReport> {
  const run = new ContractRun(options);
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
  readonly #options: TestPluginOptions;
  readonly #checks: ContractCheck[] = [];
  readonly #states: PhaseState[] = [];

  constructor(options: TestPluginOptions) {
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
    const again = await bench.create(task);
    const same = again.ok && !again.value.meta.equals(meta) ? 'it answered another meta: a second job was made' : '';
    this.note('create() with the same idempotency key finds its job', failureOf(again) || same);
    await this.#follow(bench, meta);
    if (bench.facts.features.getMany !== undefined) await this.#batch(bench, meta);
    for (const name of ['delete() succeeds for a job that is over', 'delete() may be repeated']) {
      const outcome = await bench.delete(meta);
      const gone = !outcome.ok && outcome.failure.kind === 'not_found';
      this.note(name, gone ? '' : failureOf(outcome));
    }
  }

  async #follow(bench: PluginBench, meta: Buffer): Promise<void> {
    const { maxReads = 100, readEveryMs = 10 } = this.#options;
    let problem = '';
    for (let read = 0; read < maxReads && problem === ''; read++) {
      const outcome = await bench.get(meta);
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
    const outcome = await bench.getMany(Array.from({ length: count }, () => meta));
    const failed = outcome.ok ? outcome.value.map(failureOf).find((detail) => detail !== '') : undefined;
    this.note('getMany() answers for each item', failureOf(outcome) || (failed ?? ''));
    if (!bench.facts.features.getMany?.batchKeys) return;
    const keys = await bench.call('batchKeys', { metas: [meta, meta] });
    const stable = keys.ok && keys.value.keys[0] !== keys.value.keys[1] ? 'one meta has two keys' : '';
    this.note('batchKey() is a function of the meta', failureOf(keys) || stable);
  }
}

function failureOf(outcome: PluginOutcome<unknown>): string {
  return outcome.ok ? '' : `${outcome.failure.kind} ${outcome.failure.code}: ${outcome.failure.message}`;
}

import assert from 'node:assert/strict';
import { HostError } from '../../src/errors/index.js';
import { Group } from '../../src/host/group.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { Loading } from '../../src/host/loading.js';
import { Plugin } from '../../src/host/plugin.js';
import type { RunningProcess } from '../../src/host/process/plugin-process.js';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { ShortageError } from '../../src/lib/shortage.js';
import type { StateChange } from '../../src/model/events/host.js';

type Step = 'ok' | 'hang' | 'fail' | 'fail-first' | 'late' | 'late-first' | 'die' | 'short' | 'skip';

/** What happens to processes from now on; `fail-first` and `late-first` fail the first plugin of the group. */
export interface Fate {
  launch: 'ok' | 'short' | 'fail';
  import: Step;
  load: Step;
  routes: 'ok' | 'conflict';
}

const WELL: Fate = { launch: 'ok', import: 'ok', load: 'ok', routes: 'ok' };

class FakeProcess implements RunningProcess {
  readonly pid: number;
  readonly #fate: Fate;
  readonly #ended = createDeferred<string>();
  /** Steps that hang. */
  readonly #held = new Set<() => void>();
  over = false;
  inFlight = 0;
  readonly rssBytes = 0;
  readonly writable = true;

  constructor(pid: number, fate: Fate) {
    this.pid = pid;
    this.#fate = fate;
  }

  get ended(): Promise<string> {
    return this.#ended.promise;
  }
  drained = () => Promise.resolve();
  call = () => assert.fail('no call is expected');

  die(why = 'ended by signal SIGKILL'): void {
    this.over = true;
    this.#ended.resolve(why);
  }
  async stop(): Promise<void> {
    this.die('was stopped');
  }
  /** Lets steps that hang go on. */
  release(): void {
    for (const go of this.#held) go();
    this.#held.clear();
  }

  importModule: RunningProcess['importModule'] = async (p) => {
    await this.#step(this.#fate.import, p, 'PLUGIN_IMPORT_FAILED');
    return { id: `p${p}`, version: '1', taskTypes: [], isDefault: false, environment: [], config: undefined };
  };
  load: RunningProcess['load'] = async ({ p }) => {
    await this.#step(this.#fate.load, p, 'PLUGIN_LOAD_FAILED');
    return { kind: 'async', features: {} } as Awaited<ReturnType<RunningProcess['load']>>;
  };

  async #step(step: Step, p: number, code: 'PLUGIN_IMPORT_FAILED' | 'PLUGIN_LOAD_FAILED'): Promise<void> {
    const gone = this.ended.then((why): never => {
      throw new HostError(code, `its process ${why}`);
    });
    gone.catch(() => undefined);
    if (step === 'die') this.die();
    if (step === 'hang') {
      const held = createDeferred<void>();
      this.#held.add(() => held.resolve());
      await Promise.race([gone, held.promise]);
    }
    if (step === 'fail' || (step === 'fail-first' && p === 0)) throw new HostError(code, 'it throws');
    if (step === 'late' || (step === 'late-first' && p === 0)) {
      this.die('was killed: it took too long');
      throw new HostError('PLUGIN_IMPORT_TIMEOUT', 'it took too long');
    }
    if (step === 'short') throw new HostError('PLUGIN_START_STARVED', 'no file handles');
    if (step === 'skip') throw new HostError('PLUGIN_SKIPPED', 'nothing to serve');
    if (this.over) await gone;
  }
}

/** A group of two plugins whose processes are played, on a clock of its own. */
export class FakeGroup {
  readonly clock = new ManualClock();
  readonly fate: Fate;
  readonly processes: FakeProcess[] = [];
  readonly changes: StateChange[] = [];
  readonly group: Group;

  constructor(fate: Partial<Fate> = {}) {
    const { clock } = this;
    this.fate = { ...WELL, ...fate };
    const events = {
      log: () => undefined,
      metric: () => undefined,
      changed: () => undefined,
      lifecycle: (change: StateChange) => void this.changes.push(change),
    };
    const plugins = [0, 1].map((p) => {
      const entry = completeEntry({ source: `./p${p}.mjs`, isolation: 'shared:g' });
      return new Plugin({ entry, p, events, clock });
    });
    const modules = {
      find: ({ source }: Plugin['entry']) => ({ label: String(source), url: `file:///${source}`, folder: '/' }),
      digest: async () => 'digest',
    };
    const data = { dataStore: { localRoots: [], maxObjectBytes: 1 }, secrets: { envPrefixes: [] }, maxOutputBytes: 1 };
    const parts = { modules, launch: () => this.#launch(), clock, data, env: {}, logLinesPerSecond: 1 };
    this.group = new Group({
      plugins,
      load: (wanted, anew) => new Loading({ plugins: wanted, anew, ...parts }),
      admit: (loading) => this.#admit(loading),
      reroute: () => {
        if (this.fate.routes === 'conflict') throw new HostError('ROUTE_CONFLICT', 'another has its task types');
      },
      events,
      clock,
      random: () => 0.5,
      pacing: {
        restartInitialMs: 100,
        restartMaxMs: 1_000,
        maxCrashes: 3,
        crashWindowMs: 300_000,
        quarantineMs: 60_000,
      },
    });
  }

  static async started(): Promise<FakeGroup> {
    const fake = new FakeGroup();
    await fake.start();
    return fake;
  }

  #launch(): RunningProcess {
    if (this.fate.launch === 'short') throw new ShortageError('spawn EMFILE');
    if (this.fate.launch === 'fail') throw new Error('an impossible environment');
    const process = new FakeProcess(this.processes.length + 1, this.fate);
    this.processes.push(process);
    return process;
  }

  #admit(loading: Loading): void {
    for (const item of loading.items) {
      const { plugin, imported } = item;
      if (plugin.kind === undefined && imported !== undefined) plugin.admit(imported.definition.id);
      loading.admit(item);
      if (plugin.kind === undefined && item.code !== undefined) plugin.describe(item.code);
    }
  }

  /** `ahead`: its process is started before anything is imported, and this happens in between. */
  async start(ahead?: () => void): Promise<void> {
    const first = this.group.begin();
    if (ahead !== undefined) {
      first.loading.prepare();
      ahead();
    }
    await first.loading.importAll();
    this.#admit(first.loading);
    await first.loading.loadAll();
    this.group.conclude(first);
  }

  /** Resolves when the new process serves and, without calls, the old one has ended. */
  async reload(): Promise<void> {
    const { ended } = await this.group.reload();
    await ended;
  }

  /** Lets everything go on that hangs. */
  release(): void {
    for (const process of this.processes) process.release();
  }

  mend(): void {
    Object.assign(this.fate, WELL);
    this.release();
  }

  /** Lets what has begun go on, timers of now included. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 3; turn++) await this.clock.advance(0);
  }

  /** Lets time pass, in steps: what a timer begins has set its own timers before the next one is due. */
  async pass(ms: number): Promise<void> {
    const steps = Math.min(10, ms);
    for (let step = 0; step < steps; step++) {
      await this.clock.advance(ms / steps);
      await this.settle();
    }
  }

  /** Whether both have their ids. */
  get known(): boolean {
    return this.group.plugins.every(({ known }) => known);
  }

  /** The process that serves, if one does. */
  serving(): FakeProcess | undefined {
    const pid = this.group.plugins.find(({ state }) => state === 'serving')?.pid;
    return this.processes.find((process) => process.pid === pid);
  }

  /** A plugin serves in a process that runs, the same for both, and no other plugin has one. */
  assertSound(): void {
    const serving = this.serving();
    for (const { state, pid } of this.group.plugins) {
      assert.equal(pid, state === 'serving' ? serving?.pid : undefined, `${state}, process ${pid}`);
      if (state === 'serving') assert.equal(serving?.over, false);
    }
    const running = this.processes.filter(({ over }) => !over);
    assert.ok(running.length <= 3, 'what serves, what is tried, and what a reload loads');
  }

  /** A stop ends every process and timer, for good. */
  async assertEnds(): Promise<void> {
    const told = this.changes.length;
    const stopping = this.group.stop();
    await this.settle();
    await stopping;
    await this.settle();
    const running = () => this.processes.filter(({ over }) => !over).map(({ pid }) => pid);
    assert.deepEqual(running(), []);
    assert.equal(this.clock.pending, 0, 'no timer is left');
    const launched = this.processes.length;
    await this.clock.advance(3_600_000);
    assert.equal(this.processes.length, launched, 'nothing is started any more');
    assert.equal(this.changes.length, told, 'and nothing is told; that is for who stops it');
    await this.group.stop();
  }
}

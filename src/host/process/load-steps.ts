import type { ChildMessage, DefinitionFacts, HostMessage, PluginFacts } from '../../channel/messages.js';
import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';

export type ImportMessage = Extract<HostMessage, { t: 'import' }>;
export type LoadMessage = Extract<HostMessage, { t: 'load' }>;
/** What a process says about loading. */
export type LoadAnswer = Extract<ChildMessage, { t: 'ready' | 'imported' | 'loaded' | 'failed' }>;

export interface LoadStepsOptions {
  readonly clock: Clock;
  /** Resolves with why when the process is gone. */
  readonly ended: Promise<string>;
  /** Of a process that is gone: it never came up, for want of something of the machine. */
  readonly starved: () => boolean;
  readonly send: (message: HostMessage) => void;
  readonly kill: (why: string) => void;
}

/**
 * Imports and load() calls in one process, each with its deadline. A step that takes too long ends the process: its
 * code can be stopped in no other way.
 *
 * States of a step: waiting for the process to be up, running, then over: answered, too late, or by the end of the process. There is
 * no way to break one off alone.
 */
export class LoadSteps {
  readonly #options: LoadStepsOptions;
  readonly #ready = createDeferred<void>();
  readonly #steps = new Map<number, Deferred<LoadAnswer>>();
  #up = false;
  #loaded = false;

  constructor(options: LoadStepsOptions) {
    this.#options = options;
  }

  /** Whether the process said that it is up. */
  get up(): boolean {
    return this.#up;
  }

  /** Whether a plugin is loaded, and no import or load() is under way: how the process ends tells nothing of a start then. */
  get done(): boolean {
    return this.#loaded && this.#steps.size === 0;
  }

  receive(message: LoadAnswer): void {
    if (message.t === 'ready') this.#up = true;
    if (message.t === 'loaded') this.#loaded = true;
    if (message.t === 'ready') this.#ready.resolve();
    else if (message.t !== 'failed') this.#steps.get(message.p)?.resolve(message);
    else this.#steps.get(message.p)?.reject(new HostError(message.failure.code, message.failure.message));
  }

  /** Throws HostError: what the process says, PLUGIN_IMPORT_TIMEOUT, PLUGIN_START_STARVED, or PLUGIN_IMPORT_FAILED when it ended. */
  async importModule(message: ImportMessage, timeoutMs: number): Promise<DefinitionFacts> {
    const answer = await this.#step(message, message.label, timeoutMs);
    if (answer.t === 'imported') return answer.facts;
    throw new HostError('INTERNAL', `${message.label}: a message "${answer.t}" instead of "imported"`);
  }

  /** Throws HostError: what the process says, PLUGIN_IMPORT_TIMEOUT, PLUGIN_START_STARVED, or PLUGIN_LOAD_FAILED when it ended. */
  async load(message: LoadMessage): Promise<PluginFacts> {
    const answer = await this.#step(message, `plugin ${message.pluginId}`, message.timeoutMs);
    if (answer.t === 'loaded') return answer.facts;
    throw new HostError('INTERNAL', `plugin ${message.pluginId}: a message "${answer.t}" instead of "loaded"`);
  }

  async #step(message: ImportMessage | LoadMessage, label: string, timeoutMs: number): Promise<LoadAnswer> {
    const doing = message.t === 'import' ? 'importing it' : 'load()';
    const step = createDeferred<LoadAnswer>();
    this.#steps.set(message.p, step);
    const timer = this.#options.clock.setTimer(timeoutMs, () => {
      const text = `${label}: ${doing} took longer than ${Math.round(timeoutMs)} ms (loadTimeout)`;
      step.reject(new HostError('PLUGIN_IMPORT_TIMEOUT', text));
      this.#options.kill(`was killed: ${doing} took too long`);
    });
    const diedCode = message.t === 'import' ? 'PLUGIN_IMPORT_FAILED' : 'PLUGIN_LOAD_FAILED';
    const died = this.#options.ended.then((why): never => {
      if (this.#options.starved()) throw starved(label, why);
      throw new HostError(diedCode, `${label}: ${doing} failed: its process ${why}`);
    });
    try {
      await Promise.race([this.#ready.promise, died, step.promise]);
      this.#options.send(message);
      return await Promise.race([step.promise, died]);
    } finally {
      timer.cancel();
      this.#steps.delete(message.p);
    }
  }
}

/** The machine is short of something, which is no fault of the plugin. */
export function starved(label: string, why: string): HostError {
  const text = `${label}: the machine has no file handles, memory, processes or disk space left for its process, or cannot read it for now, which is tried again: it ${why}`;
  return new HostError('PLUGIN_START_STARVED', text);
}

/** Whether it failed for want of something of the machine: nothing is wrong with the plugin. */
export function isStarved({ error }: { readonly error: HostError | undefined }): boolean {
  return error?.code === 'PLUGIN_START_STARVED';
}

/** Whether it took longer than its time, which may not be its fault either. */
export function isLate({ error }: { readonly error: HostError | undefined }): boolean {
  return error?.code === 'PLUGIN_IMPORT_TIMEOUT';
}

export function asHostError(error: unknown): HostError {
  return HostError.is(error) ? error : new HostError('INTERNAL', String(error), { cause: error });
}

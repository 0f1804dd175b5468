import { heldBytes } from '../lib/held-bytes.js';
import { cutText } from '../lib/text.js';
import { isPlainState, type PhaseState } from '../model/phase-state.js';

/** A reason of so many characters counts for nothing, and is what is left of one where there is no room. */
const SHORT = 256;

/**
 * What the states of live tasks hold beside their phase, bounded for each plugin: an answer may hold some MiB of links and details,
 * and a plugin that gives such for all of its tasks must not end the daemon (rule 12). Past the bound a new state is kept without them.
 * What is over is bounded with the finished tasks.
 */
export class LiveStates<T extends { readonly plugin: string }> {
  readonly #maxBytes: number;
  readonly #bytesOf = new Map<T, number>();
  readonly #byPlugin = new Map<string, number>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The state as it may be kept for this task: itself, or without its details. */
  fit(task: T, state: PhaseState): PhaseState {
    this.delete(task);
    if (isPlainState(state) && state.reason.length <= SHORT) return state;
    const { reason, error, logs, customInfo, externalResources } = state;
    const bytes = heldBytes([reason, error, logs, customInfo, externalResources]);
    const all = (this.#byPlugin.get(task.plugin) ?? 0) + bytes;
    if (all > this.#maxBytes) {
      // Copied: a slice of a text keeps the whole of it.
      const short = Buffer.from(cutText(reason, SHORT)).toString();
      return { ...state, reason: short, logs: [], customInfo: undefined, externalResources: [] };
    }
    this.#byPlugin.set(task.plugin, all);
    this.#bytesOf.set(task, bytes);
    return state;
  }

  /** The task is over, or is no more. */
  delete(task: T): void {
    const bytes = this.#bytesOf.get(task);
    if (bytes === undefined) return;
    this.#bytesOf.delete(task);
    this.#byPlugin.set(task.plugin, (this.#byPlugin.get(task.plugin) ?? 0) - bytes);
  }
}

import type { ExitCode } from './exit-codes.js';

/** How a process ends that one of these signals ended, as shells count it. */
export const SIGNAL_EXIT = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGQUIT: 131,
  SIGTERM: 143,
} as const satisfies Readonly<Partial<Record<NodeJS.Signals, ExitCode>>>;

export type StopSignal = keyof typeof SIGNAL_EXIT;

/**
 * The stop signals of the process. Installed before anything slow happens; until a command listens, a signal ends the
 * process at once, and signals are never lost in between.
 */
export interface SignalSource {
  /** Takes the signals over; answers how to give them back. The newest listener gets each signal, alone. */
  listen(listener: (signal: StopSignal) => void): () => void;
}

export class Signals implements SignalSource {
  readonly #listeners: ((signal: StopSignal) => void)[] = [];
  readonly #unheard: (signal: StopSignal) => void;

  /** `unheard` is called for a signal that no command listens for. */
  constructor(unheard: (signal: StopSignal) => void) {
    this.#unheard = unheard;
  }

  listen(listener: (signal: StopSignal) => void): () => void {
    this.#listeners.push(listener);
    return () => {
      const index = this.#listeners.lastIndexOf(listener);
      if (index >= 0) this.#listeners.splice(index, 1);
    };
  }

  /** A signal arrived. */
  raise(signal: StopSignal): void {
    const listener = this.#listeners.at(-1);
    if (listener === undefined) this.#unheard(signal);
    else listener(signal);
  }
}

/** Takes the signals over from its making to `close`, and keeps them until somebody looks. */
export class SignalQueue {
  readonly #release: () => void;
  readonly #seen: StopSignal[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(source: SignalSource) {
    this.#release = source.listen((signal) => {
      this.#seen.push(signal);
      for (const wake of [...this.#waiting]) wake();
      this.#waiting.clear();
    });
  }

  /** Resolves when there is a signal to take; takes none. */
  async arrived(): Promise<undefined> {
    if (this.#seen.length > 0) return;
    await new Promise<void>((resolve) => {
      this.#waiting.add(resolve);
    });
  }

  /** The oldest signal that nobody has taken. */
  take(): StopSignal | undefined {
    return this.#seen.shift();
  }

  close(): void {
    this.#release();
  }
}

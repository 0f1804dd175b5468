import ora, { type Ora } from 'ora';
import type { TaskStatus } from '../client/types.js';
import { isTerminal } from '../plugin-api/phase.js';
import { type CliIo, isInteractive, mayColor, note, print, printable } from './io.js';

/** Shows how a task is doing while it is followed. */
export interface Progress {
  /** The task is known to the daemon under this handle. */
  submitted(handle: string): void;
  /** A state was seen; called for each, also if nothing visible changed. How the task ended is said by whoever follows it. */
  status(status: TaskStatus): void;
  /** Something that does not come from the task. */
  say(line: string): void;
  /** Leaves the terminal to a question: what is to be said waits for `resume` or `stop`. */
  pause(): void;
  resume(): void;
  stop(): void;
}

export function createProgress(io: CliIo, json: boolean, nowMs: () => number): Progress {
  if (json) return new JsonProgress(io);
  return isInteractive(io) ? new TerminalProgress(io, nowMs) : new PlainProgress(io, nowMs);
}

/** One line about a state: phase, reason, and what is wrong with reading it. */
function statusLine(status: TaskStatus): string {
  const { phase, reason, remotePhase } = status.phaseInfo;
  const parts: string[] = [phase];
  if (remotePhase !== '') parts.push(`[${remotePhase}]`);
  if (reason !== '') parts.push(`- ${reason}`);
  if (status.remoteDown) parts.push('(the remote is down)');
  else if (status.consecutiveFailures > 0)
    parts.push(`(${status.consecutiveFailures} reads failed: ${status.lastError})`);
  return printable(parts.join(' '));
}

/**
 * Lines that are held back while a question stands open.
 *
 * States: written at once; held, from `hold` until `release`.
 */
class Lines {
  readonly #write: (line: string) => void;
  #held: string[] | undefined;

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  say(line: string): void {
    if (this.#held === undefined) this.#write(line);
    else this.#held.push(line);
  }

  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const lines = this.#held ?? [];
    this.#held = undefined;
    for (const line of lines) this.#write(line);
  }
}

/** Lines to standard error, one for each visible change. */
class PlainProgress implements Progress {
  readonly #lines: Lines;
  readonly #nowMs: () => number;
  #last = '';

  constructor(io: CliIo, nowMs: () => number) {
    this.#lines = new Lines((line) => note(io, line));
    this.#nowMs = nowMs;
  }

  submitted(handle: string): void {
    this.say(`submitted, handle ${handle}`);
  }

  status(status: TaskStatus): void {
    if (isTerminal(status.phaseInfo.phase)) return;
    const line = statusLine(status);
    if (line === this.#last) return;
    this.#last = line;
    this.say(line);
    for (const { name, uri } of status.phaseInfo.logs) this.say(printable(`log ${name || 'of the task'}: ${uri}`));
  }

  say(line: string): void {
    this.#lines.say(`${new Date(this.#nowMs()).toISOString()} ${line}`);
  }

  pause(): void {
    this.#lines.hold();
  }

  resume(): void {
    this.#lines.release();
  }

  stop(): void {
    this.#lines.release();
  }
}

/** A line that moves, with the phases passed standing above it. */
class TerminalProgress implements Progress {
  readonly #lines: Lines;
  readonly #nowMs: () => number;
  readonly #spinner: Ora;
  readonly #startMs: number;
  readonly #timer: NodeJS.Timeout;
  #line = 'submitting';
  #phase = '';

  constructor(io: CliIo, nowMs: () => number) {
    this.#lines = new Lines((line) => this.#above(io, line));
    this.#nowMs = nowMs;
    this.#startMs = nowMs();
    // Ctrl-C has to arrive as a signal: stdin stays as it is.
    // Whether it is a terminal was decided from what the command was handed, not from this process's environment.
    const stream = io.stderr as NodeJS.WriteStream;
    const color = mayColor(io) ? 'cyan' : false;
    this.#spinner = ora({ text: this.#line, stream, color, discardStdin: false, isEnabled: true }).start();
    this.#timer = setInterval(() => this.#show(), 1_000);
    this.#timer.unref();
  }

  submitted(handle: string): void {
    this.say(`handle ${handle}`);
  }

  status(status: TaskStatus): void {
    const { phase, logs } = status.phaseInfo;
    if (isTerminal(phase)) return;
    if (phase !== this.#phase && this.#phase !== '') this.say(this.#line);
    if (phase !== this.#phase)
      for (const { name, uri } of logs) this.say(printable(`log ${name || 'of the task'}: ${uri}`));
    this.#phase = phase;
    this.#line = statusLine(status);
    this.#show();
  }

  say(line: string): void {
    this.#lines.say(line);
  }

  pause(): void {
    this.#lines.hold();
    this.#spinner.stop();
  }

  resume(): void {
    this.#lines.release();
    this.#spinner.start();
    this.#show();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#spinner.stop();
    this.#lines.release();
  }

  #above(io: CliIo, line: string): void {
    const spinning = this.#spinner.isSpinning;
    this.#spinner.stop();
    note(io, line);
    if (spinning) this.#spinner.start();
  }

  #show(): void {
    const seconds = Math.round((this.#nowMs() - this.#startMs) / 1000);
    if (this.#spinner.isSpinning) this.#spinner.text = `${this.#line} (${seconds} s)`;
  }
}

/** One JSON object a line, on standard output, for each change. */
class JsonProgress implements Progress {
  readonly #io: CliIo;
  #last = '';

  constructor(io: CliIo) {
    this.#io = io;
  }

  submitted(handle: string): void {
    print(this.#io, JSON.stringify({ event: 'submitted', handle }));
  }

  status(status: TaskStatus): void {
    const { outputs: _outputs, ...phaseInfo } = status.phaseInfo;
    const line = JSON.stringify({ event: 'status', ...status, phaseInfo });
    if (line !== this.#last) print(this.#io, line);
    this.#last = line;
  }

  say(line: string): void {
    note(this.#io, line);
  }

  pause(): void {}
  resume(): void {}
  stop(): void {}
}

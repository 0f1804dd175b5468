import { createInterface } from 'node:readline/promises';
import type { Client, PhaseInfo } from '../client/index.js';
import type { Idl } from '../idl/idl.js';
import type { Phase } from '../plugin-api/phase.js';
import { CliError, type ExitCode } from './exit-codes.js';
import { type CliIo, print, printable } from './io.js';
import type { Progress } from './progress.js';
import { outputsAsJson, outputsAsText } from './show-outputs.js';
import { SIGNAL_EXIT, type SignalQueue, type StopSignal } from './signals.js';

export interface FollowOptions {
  readonly client: Client;
  readonly idl: Idl;
  readonly io: CliIo;
  readonly progress: Progress;
  /** Signals since the command started; the caller closes it. */
  readonly signals: SignalQueue;
  readonly handle: Buffer;
  readonly outputPrefix: string;
  readonly json: boolean;
  /** Gives up after this time and leaves the task running. */
  readonly timeoutMs: number | undefined;
  /** Deletes the task at a signal, without asking. */
  readonly deleteOnInterrupt: boolean;
}

/** Exit codes of the phases in which a task can end. */
const EXIT_OF: Partial<Record<Phase, ExitCode>> = {
  SUCCESS: 0,
  PERMANENT_FAILURE: 10,
  RETRYABLE_FAILURE: 11,
  ABORTED: 12,
};

/** A handle as text, for the command line. */
export const handleText = (handle: Uint8Array): string => Buffer.from(handle).toString('base64url');

/** As `plugin-host tasks` lists it: the attempt's key and the incarnation. */
const TASK_ID = /^[0-9a-z]{8,32}-\d{1,12}$/;

/** The handle of a text, in base64url as `run` prints it or in base64 as the operator's view does. Throws where it is none. */
export function parseHandle(text: string): Buffer {
  const plain = text
    .replace(/={0,2}$/, '')
    .replaceAll('+', '-')
    .replaceAll('/', '_');
  const handle = Buffer.from(plain, 'base64url');
  if (handle.length === 0 || handleText(handle) !== plain || TASK_ID.test(text)) {
    const hint = TASK_ID.test(text) ? `; ${text} is a task's id: plugin-host tasks ${text} shows its handle` : '';
    throw new CliError(2, `the handle is not one that \`run\` printed${hint}`, { code: 'HANDLE_MALFORMED' });
  }
  return handle;
}

/** Follows a task to its end, or until a signal or the time-out; shows it and answers the exit code. */
export async function followTask(options: FollowOptions): Promise<ExitCode> {
  const { client, io, progress, signals, handle, outputPrefix, timeoutMs } = options;
  const stop = new AbortController();
  let away = false;
  const ended = client
    .waitForEnd(handle, {
      outputPrefix,
      signal: stop.signal,
      onStatus: (status) => {
        away = false;
        progress.status(status);
      },
      onUnreachable: () => {
        if (!away) progress.say('The daemon cannot be reached; trying again.');
        away = true;
      },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    })
    .then(({ phaseInfo }) => phaseInfo);
  ended.catch(() => undefined);
  try {
    for (;;) {
      const info = await Promise.race([ended, signals.arrived()]);
      const signal = signals.take();
      if (signal === undefined) return showEnd(options, info ?? (await ended));
      const wish = await askWhatNow(options, signal, ended);
      if (wish === 'delete') return await deleteTask(options);
      if (wish === 'leave') return leave(options, signal);
      progress.resume();
    }
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === 'DEADLINE_EXCEEDED' && timeoutMs !== undefined) {
      progress.stop();
      sayHowToGoOn(options, 'The task is not over yet and goes on.');
      return 13;
    }
    if (code === 'TASK_DELETED') {
      progress.stop();
      if (options.json) print(io, JSON.stringify({ event: 'end', phase: null, deleted: true }));
      else progress.say('The task was deleted.');
      return 12;
    }
    throw error;
  } finally {
    progress.stop();
    stop.abort();
  }
}

/** Prints how a task ended and its outputs. */
function showEnd(options: FollowOptions, info: PhaseInfo): ExitCode {
  const { idl, io, json, outputPrefix, progress } = options;
  progress.stop();
  const code = EXIT_OF[info.phase];
  if (code === undefined) throw new CliError(1, `the task ended in phase ${info.phase}, which is no end`);
  if (json) {
    const { phase, reason, error, remotePhase } = info;
    const outputs = phase === 'SUCCESS' ? outputsAsJson(idl, info.outputs, outputPrefix) : {};
    print(io, JSON.stringify({ event: 'end', phase, reason, remotePhase, error: error ?? null, outputs }));
    return code;
  }
  if (info.error === undefined)
    progress.say(printable(`ended: ${info.phase}${info.reason === '' ? '' : ` - ${info.reason}`}`));
  else progress.say(printable(`ended: ${info.phase} - ${info.error.code} (${info.error.kind}): ${info.error.message}`));
  const text = info.phase === 'SUCCESS' ? outputsAsText(idl, info.outputs, outputPrefix) : '';
  if (text !== '') print(io, text);
  return code;
}

async function askWhatNow(
  options: FollowOptions,
  signal: StopSignal,
  ended: Promise<unknown>,
): Promise<'delete' | 'leave' | 'go on'> {
  const { io, progress, signals, deleteOnInterrupt } = options;
  if (deleteOnInterrupt) return 'delete';
  const terminal = io.stdin.isTTY === true && io.stderr.isTTY === true;
  // Inputs may have come from the terminal, up to its end.
  const canAsk = signal === 'SIGINT' && terminal && !io.stdin.readableEnded && !options.json;
  if (!canAsk) return 'leave';
  progress.pause();
  const giveUp = new AbortController();
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  // In a question Ctrl-C reaches the line editor, not the process.
  lines.on('SIGINT', () => giveUp.abort());
  try {
    const question = 'Delete the task? [y]es, [n]o, leave it running, [c]ontinue to follow: ';
    const answer = await Promise.race([
      lines.question(question, { signal: giveUp.signal }).catch(() => 'n'),
      signals.arrived().then(() => 'n'),
      ended.then(() => 'c'),
    ]);
    const letter = answer.trim().toLowerCase()[0];
    return letter === 'y' ? 'delete' : letter === 'n' ? 'leave' : 'go on';
  } finally {
    giveUp.abort();
    lines.close();
  }
}

async function deleteTask({ client, handle, progress, json, io }: FollowOptions): Promise<ExitCode> {
  await client.delete(handle, { reason: 'interrupted on the command line' });
  progress.stop();
  if (json) print(io, JSON.stringify({ event: 'end', phase: null, deleted: true }));
  else progress.say('The task is being deleted.');
  return 12;
}

function leave(options: FollowOptions, signal: StopSignal): ExitCode {
  options.progress.stop();
  sayHowToGoOn(options, 'The task goes on.');
  return SIGNAL_EXIT[signal];
}

function sayHowToGoOn({ handle, progress }: FollowOptions, what: string): void {
  const text = handleText(handle);
  progress.say(`${what} Follow it with: plugin-host follow ${text}`);
  progress.say(`Delete it with: plugin-host delete ${text}`);
}

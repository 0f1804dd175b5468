import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import os from 'node:os';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { PortStream } from '../../channel/port-stream.js';
import { pipeInOneBuffer } from '../../lib/one-buffer.js';
import { isShortage, ShortageError } from '../../lib/shortage.js';
import { type Confinement, PIPE_FD } from './confinement.js';
import { endMarked, MARK_VARIABLE } from './marked.js';
import { endWasHeard, killGroup, type Started, type StartedProcesses } from './started.js';

const CHILD_MAIN = new URL('../../sandbox/main.js', import.meta.url);
/** Of the memory limit that V8's heap may take: the rest is for buffers, code and stacks. */
const HEAP_SHARE = 0.75;

/** Keeps SIGUSR1 from opening the debugger before the program's own taker stands; Node 20 does not know it. */
const NO_DEBUGGER = ['--disable-sigusr1'].filter((flag) => process.allowedNodeEnvironmentFlags.has(flag));

export interface LaunchOptions {
  readonly isolation: 'process' | 'worker';
  /** The whole environment of the process. */
  readonly env: Readonly<Record<string, string>>;
  readonly memoryLimitMb: number;
  readonly nodeOptions: readonly string[];
  readonly bounds: { readonly maxInBytes: number; readonly maxOutBytes: number; readonly highWaterBytes: number };
  /** Names of variables that are no secrets, as the operator says; a trailing `*` takes a prefix. */
  readonly plain: readonly string[];
  readonly cwd: string;
  /** Of a process; a thread has none. */
  readonly confinement: Confinement;
  /** Where the run is entered until its end. */
  readonly started: StartedProcesses;
}

export interface Exit {
  /** For a person. */
  readonly how: string;
  /** It could not be started because the machine ran short of something. */
  readonly shortage: boolean;
  readonly signal: NodeJS.Signals | undefined;
}

/** A process or thread that was started; some reasons why it could not be come as `exited`, others are thrown. */
export interface Launched {
  /** Undefined for a thread, and where the process could not be started. */
  readonly pid: number | undefined;
  /** All three are to be listened to in the turn of the launch. Of a process, what `data` brings is written over once its listener has returned. */
  readonly stream: Duplex;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** How it ended; resolves when what it started has ended, too. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Whether it is seen to have ended, also where `exited` does not tell yet. */
  hasEnded(): boolean;
  /** From here on the daemon goes before it, where both want a core. */
  giveWay(): void;
  terminate(): void;
  kill(): void;
}

export function launch(options: LaunchOptions): Launched {
  return options.isolation === 'worker' ? launchWorker(options) : launchProcess(options);
}

function heapMb(options: LaunchOptions): number {
  return Math.floor(options.memoryLimitMb * HEAP_SHARE);
}

/**
 * In a process group of its own, so that Ctrl-C in the daemon's terminal does not end plugins before their calls are
 * done, and so that what a plugin started ends with it.
 */
function launchProcess(options: LaunchOptions): Launched {
  const mark = randomBytes(16).toString('hex');
  const [program = process.execPath, ...args] = [...options.confinement.command, process.execPath];
  const child = spawn(
    program,
    [
      ...args,
      `--max-old-space-size=${heapMb(options)}`,
      // Experimental type stripping and require(esm) are announced on some Node versions; authors cannot act on it.
      '--disable-warning=ExperimentalWarning',
      ...NO_DEBUGGER,
      ...options.confinement.flags,
      ...options.nodeOptions,
      fileURLToPath(CHILD_MAIN),
      JSON.stringify({ ...options.bounds, plain: options.plain, channelFd: options.confinement.channelFd }),
    ],
    {
      cwd: options.cwd,
      env: { ...options.env, [MARK_VARIABLE]: mark },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    },
  );
  const started = enter(options.started, { mark, child });
  const exited = new Promise<Exit>((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) started.over();
      resolve({ how: `could not be started: ${error.message}`, shortage: isShortage(error), signal: undefined });
    });
    child.once('exit', (code, signal) => {
      killGroup(child, 'SIGKILL');
      const how = signal === null ? `ended with exit code ${code}` : `ended by signal ${signal}`;
      void started.endRest().then(() => resolve({ how, shortage: false, signal: signal ?? undefined }));
    });
  });
  // Without file handles for its pipes a child has none of them.
  const stdio = child.stdio as typeof child.stdio | undefined;
  if (stdio === undefined) throw new ShortageError('no file handles are left for its pipes');
  return {
    pid: child.pid,
    stream: pipeInOneBuffer(stdio[PIPE_FD] as Socket),
    stdout: pipeInOneBuffer(child.stdout as Socket),
    stderr: pipeInOneBuffer(child.stderr as Socket),
    exited,
    hasEnded: () => hasEnded(child),
    giveWay: () => {
      if (child.pid !== undefined && child.exitCode === null) giveWay(child.pid, options.confinement.niceness);
    },
    terminate: () => void child.kill('SIGTERM'),
    kill: () => killGroup(child, 'SIGKILL'),
  };
}

/**
 * A plugin that computes takes no core from the daemon. On Linux each thread has a nice value, which those that it starts inherit;
 * where it groups processes by session, as on a desktop, these count only within one, and the group has one of its own.
 */
function giveWay(pid: number, niceness: number): void {
  if (niceness === 0) return;
  const value = Math.min(19, os.getPriority() + niceness);
  // It may have ended, or be another user's; nothing that the process may do depends on it.
  try {
    for (const tid of threadsOf(pid)) os.setPriority(tid, value);
  } catch {}
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(value), { flag: 'r+' });
  } catch {}
}

/** A loop that stood still hears of an end after the timers that are due; the kernel knows of it before. */
function hasEnded(child: ChildProcess): boolean {
  const { pid } = child;
  if (pid === undefined || endWasHeard(child)) return true;
  try {
    // The name before it may hold anything, a bracket too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return 'ZX'.includes(stat.charAt(stat.lastIndexOf(')') + 2));
  } catch (error) {
    return process.platform === 'linux' && (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [pid];
  }
}

/** Enters a run; `endRest` ends what it started, once it has ended itself, and takes it out. */
function enter(all: StartedProcesses, run: Started): { over(): void; endRest(): Promise<void> } {
  all.add(run);
  const over = () => all.delete(run);
  return { over, endRest: () => endMarked(run.mark).then(over) };
}

function launchWorker(options: LaunchOptions): Launched {
  const mark = randomBytes(16).toString('hex');
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(CHILD_MAIN, {
    workerData: { port: port2, bounds: { ...options.bounds, plain: options.plain } },
    transferList: [port2],
    env: { ...options.env, [MARK_VARIABLE]: mark },
    stdout: true,
    stderr: true,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: heapMb(options) },
  });
  const started = enter(options.started, { mark, child: undefined });
  const exited = new Promise<Exit>((resolve) => {
    let problem = '';
    let shortage = false;
    worker.once('error', (error) => {
      shortage = isShortage(error);
      problem = `: ${error instanceof Error ? error.message : String(error)}`;
    });
    worker.once('exit', (code) => {
      const exit = { how: `ended with exit code ${code}${problem}`, shortage, signal: undefined };
      void started.endRest().then(() => resolve(exit));
    });
  });
  const end = () => void worker.terminate().catch(() => undefined);
  return {
    pid: undefined,
    stream: new PortStream(port1),
    stdout: worker.stdout,
    stderr: worker.stderr,
    exited,
    // No signal ends a thread alone.
    hasEnded: () => false,
    // Its threads are the daemon's.
    giveWay: () => {},
    terminate: end,
    kill: end,
  };
}

import type { Command } from 'commander';
import { configSecrets, configWarnings, type LoadedConfig } from '../../config/index.js';
import { openSecrets } from '../../daemon/guarded.js';
import { Hosting } from '../../daemon/hosting.js';
import type { Daemon } from '../../daemon.js';
import { HostError, messageOf } from '../../errors/index.js';
import { systemClock } from '../../lib/clock.js';
import { loadAtOnce } from '../../lib/load-at-once.js';
import { SecretMasks } from '../../lib/secrets.js';
import { keepObjectsYoung } from '../../lib/young-objects.js';
import { createLog, faultFields, type Log } from '../../telemetry/index.js';
import type { ExitCode } from '../exit-codes.js';
import { CliError } from '../exit-codes.js';
import type { CliIo } from '../io.js';
import { addConfigOptions, type ConfigOptions, configFrom } from '../options.js';
import type { StopSignal } from '../signals.js';
import { packageVersion } from '../version.js';

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addConfigOptions(command)
    .addHelpText(
      'after',
      '\nSIGTERM, SIGINT or SIGQUIT drains and stops; a second one ends it at once. SIGHUP loads the plugins anew, or stops where standard input is a terminal. docs/operations.md has the sequence.',
    )
    .action((options: ConfigOptions) => run((io) => serve(options, io)));
}

/** Runs the daemon until a signal has stopped it. */
export async function serve(options: ConfigOptions, io: CliIo): Promise<ExitCode> {
  const loaded = configFrom(options, io);
  const { config, effective, files } = loaded;
  const masks = new SecretMasks({
    onForgotten: (secrets) =>
      log.emit('secrets.unmasked', {
        where: 'the daemon’s own',
        reason: `${secrets} of the oldest are masked no more`,
      }),
  });
  const log = createLog({
    level: config.log.level,
    format: config.log.format,
    redactNames: config.log.redact,
    masks: configSecrets(loaded, masks),
  });
  // Lines are written behind; a crash must not take the last ones along.
  io.atExit(() => log.flush());
  // Thousands of tasks must not end with one of them.
  io.takeStrays((thrown) => log.emit('daemon.fault', { where: 'stray rejection', ...faultFields(thrown) }));
  log.emit('config.loaded', { files, set: effective.size });
  for (const warning of [...configWarnings(config), ...openSecrets(loaded)]) log.emit('config.warning', { warning });
  const common = {
    config: loaded,
    version: packageVersion(),
    log,
    masks,
    clock: systemClock,
    baseDir: io.cwd,
    env: io.env,
  };
  const hosting = new Hosting({ ...common, processMetrics: true });
  // However the daemon ends, a crash of its own included, what its plugins started ends with it.
  io.atExit(() => hosting.killAll());
  // They come up while the rest of the daemon is loaded. A replica's are held to its lease, which that rest makes.
  if (!config.cluster.enabled) hosting.prepare();
  const load = loadAtOnce(import.meta.url, '../../daemon.js', () => import('../../daemon.js'));
  const { createDaemon } = await load;
  keepObjectsYoung();
  const daemon = createDaemon({ ...common, hosting });
  try {
    return await runUntilStopped(daemon, loaded, log, io);
  } finally {
    log.flush();
  }
}

async function runUntilStopped(daemon: Daemon, { config }: LoadedConfig, log: Log, io: CliIo): Promise<ExitCode> {
  const stop = new StopRequest(config.shutdown.forceAfterMs);
  const release = io.signals.listen((signal) => {
    if (signal === 'SIGHUP' && !io.fromTerminal) {
      log.emit('daemon.signal', { signal, action: stop.count === 0 ? 'load the plugins anew' : 'nothing, it stops' });
      if (stop.count === 0) void daemon.reload();
      return;
    }
    log.emit('daemon.signal', { signal, action: stop.count === 0 ? 'drain and stop' : 'stop at once' });
    stop.signalled(signal);
  });
  try {
    const begun = daemon.start().then(
      () => 'started' as const,
      (error: unknown) => error,
    );
    const first = await Promise.race([begun, stop.requested]);
    if (first !== 'started' && first !== 'stop') throw startFailure(first, log);
    const why = await Promise.race([stop.requested, daemon.replaced]);
    if (why !== 'stop') {
      stop.lasts();
      await Promise.race([daemon.stop().catch(() => undefined), stop.forced]);
      throw new CliError(why.code === 'STATE_LOCKED' ? 9 : 5, why.message, { code: why.code });
    }
    const outcome = await Promise.race([daemon.stop().then(() => 'stopped' as const), stop.forced]);
    if (outcome === 'stopped') {
      // A start that had failed by itself when the signal came is told all the same.
      if (daemon.state === 'failed') throw startFailure(await begun, log);
      return 0;
    }
    const running = daemon.running() || 'nothing that could be named';
    daemon.killPlugins();
    log.emit('daemon.stop_forced', { running });
    throw new HostError('SHUTDOWN_FORCED', `the stop was forced (${outcome}); still running: ${running}`);
  } finally {
    stop.dispose();
    release();
  }
}

/** Which exit code a failed start has: plugins and configuration have their own, everything else is 5. */
function startFailure(error: unknown, log: Log): Error {
  const code = HostError.is(error) ? error.code : undefined;
  log.emit('daemon.failed', { code: code ?? 'INTERNAL', error: messageOf(error) });
  if (HostError.is(error) && /^(PLUGIN|ROUTE|CONFIG)_/.test(error.code)) return error as HostError & Error;
  return new CliError(5, messageOf(error), { ...(code === undefined ? {} : { code }), cause: error });
}

/**
 * What the signals ask for: the first an orderly stop, the second (or the time) its forced end.
 *
 * States: nothing asked for → `requested`, by the first signal → `forced`, by the second or the time.
 */
class StopRequest {
  readonly requested: Promise<'stop'>;
  readonly forced: Promise<string>;
  readonly #forceAfterMs: number;
  #request!: (value: 'stop') => void;
  #force!: (why: string) => void;
  #timer: NodeJS.Timeout | undefined;
  /** Signals to stop so far. */
  count = 0;

  constructor(forceAfterMs: number) {
    this.#forceAfterMs = forceAfterMs;
    this.requested = new Promise((resolve) => {
      this.#request = resolve;
    });
    this.forced = new Promise((resolve) => {
      this.#force = resolve;
    });
  }

  signalled(signal: StopSignal): void {
    this.count++;
    if (this.count > 1) {
      this.#force(`a second signal, ${signal}`);
      return;
    }
    this.lasts();
    this.#request('stop');
  }

  /** A stop begins, whoever asked for it. */
  lasts(): void {
    const late = () => this.#force(`shutdown.forceAfter, ${this.#forceAfterMs} ms, is over`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(late, this.#forceAfterMs);
  }

  dispose(): void {
    clearTimeout(this.#timer);
  }
}

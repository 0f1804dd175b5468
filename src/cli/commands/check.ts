import type { Command } from 'commander';
import { configSecrets, configWarnings } from '../../config/index.js';
import { fileSecrets } from '../../daemon/file-secrets.js';
import { guardedPaths, openSecrets } from '../../daemon/guarded.js';
import { dataOptions, pluginEntries } from '../../daemon/host-options.js';
import { SecretFiles } from '../../data/secret-files.js';
import type { HostError } from '../../errors/index.js';
import { createPluginHost } from '../../host/plugin-host.js';
import type { HostedPlugin, LoadReport, PluginHost } from '../../host/types.js';
import { systemClock } from '../../lib/clock.js';
import type { PluginLogEvent } from '../../model/events/host.js';
import type { ExitCode } from '../exit-codes.js';
import { type CliIo, note, print, printable } from '../io.js';
import { loadTable } from '../load-table.js';
import { addConfigOptions, type ConfigOptions, configFrom } from '../options.js';
import { SIGNAL_EXIT, type StopSignal } from '../signals.js';

interface Options extends ConfigOptions {
  readonly json?: boolean;
}

/** Time for plugin processes to end after the check. */
const STOP_GRACE_MS = 5_000;

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addConfigOptions(command)
    .option('--json', 'the result as JSON')
    .addHelpText('after', '\nLoads every plugin as serve would, reports each, and stops. Nothing listens.')
    .action((options: Options) => run((io) => check(options, io)));
}

async function check(options: Options, io: CliIo): Promise<ExitCode> {
  const loaded = configFrom(options, io);
  const { config } = loaded;
  const masks = configSecrets(loaded);
  const secretFiles = await new SecretFiles(config.secrets.dir).look();
  const texts = secretFiles.fresh.map(({ text }) => text);
  for (const secret of [...texts, ...(await fileSecrets(config))]) masks.addRead(secret);
  const trouble: PluginLogEvent[] = [];
  const host = createPluginHost({
    entries: pluginEntries(config),
    events: {
      log: (event) => {
        if (event.level === 'warn' || event.level === 'error') trouble.push(event);
      },
      metric: () => {},
      lifecycle: () => {},
      changed: () => {},
    },
    clock: systemClock,
    random: Math.random,
    data: dataOptions(config),
    defaultForTaskTypes: config.defaultForTaskTypes,
    baseDir: io.cwd,
    env: io.env,
    masks,
    sandbox: config.sandbox,
    guarded: guardedPaths(loaded, io.env),
  });
  // A second signal ends the process at once, whatever still runs.
  io.atExit(() => host.killAll());
  let release = () => {};
  const interrupted = new Promise<StopSignal>((resolve) => {
    // Given back at the first signal: a second one ends the process at once.
    release = io.signals.listen((signal) => {
      release();
      resolve(signal);
    });
  });
  try {
    const report = await Promise.race([host.start(), interrupted]);
    if (typeof report === 'string') return SIGNAL_EXIT[report];
    for (const warning of [...configWarnings(config), ...openSecrets(loaded)]) note(io, `warning: ${warning}`);
    show(options, io, report, host);
    const told = new Set(report.results.map(({ error }) => error?.message));
    for (const { pluginId, source, message, fields } of trouble.filter((one) => !told.has(one.message)).slice(0, 50)) {
      note(io, printable(`${pluginId} (${source}): ${message}`));
      if (typeof fields.stack === 'string') note(io, printable(ownFrames(fields.stack), true));
    }
    const became = new Set(report.results.map(({ outcome }) => outcome));
    if (report.fatal.length > 0 || became.has('failed')) return 4;
    return became.has('starved') ? 5 : 0;
  } finally {
    await host.stop(STOP_GRACE_MS);
    release();
  }
}

/** Where this package's own code lies. */
const HOST_CODE = new URL('../../', import.meta.url).href;

/** A stack trace without the frames of Node and of the host, which say nothing to a plugin's author. */
function ownFrames(stack: string): string {
  const foreign = (line: string) => /^\s+at /.test(line) && (/node:|data:text/.test(line) || line.includes(HOST_CODE));
  return stack
    .split('\n')
    .filter((line) => !foreign(line))
    .join('\n');
}

function show(options: Options, io: CliIo, report: LoadReport, host: PluginHost): void {
  if (options.json === true) {
    const results = report.results.map(({ error, ...rest }) => ({ ...rest, error: errorJson(error) }));
    print(io, JSON.stringify({ results, fatal: report.fatal.map(errorJson) }, null, 2));
    return;
  }
  print(io, 'The configuration is valid.', loadTable(host.plugins().map(rowOf), io));
  const known = new Set(host.plugins().map(({ id }) => id));
  for (const { label, pluginId, error } of report.results) {
    if (error !== undefined && !(pluginId !== undefined && known.has(pluginId))) {
      print(io, `${printable(label)}: ${error.code}: ${printable(error.message)}`);
    }
  }
  for (const error of report.fatal) print(io, `fatal: ${error.code}: ${printable(error.message)}`);
}

function errorJson(error: HostError | undefined): { code: string; message: string } | undefined {
  return error === undefined ? undefined : { code: error.code, message: error.message };
}

/** A hosted plugin as the table shows it; nothing runs yet, so there are no tasks. */
function rowOf(plugin: HostedPlugin): Parameters<typeof loadTable>[0][number] {
  const { id, version, kind, isDefault, restarts, config } = plugin;
  return {
    id,
    version,
    kind,
    isDefault,
    restarts,
    state: plugin.state.toUpperCase() as Uppercase<typeof plugin.state>,
    stateReason: plugin.stateReason,
    stateCode: plugin.stateCode ?? '',
    taskTypes: plugin.taskTypes.map(({ name, versions }) => ({ name, versions: versions ?? [] })),
    config: { ...config, cacheSize: config.caching.size, ...config.caching },
    liveTasks: 0,
    waitingTasks: 0,
  };
}

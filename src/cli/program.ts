import { Command, CommanderError } from 'commander';
import { HostError, messageOf } from '../errors/index.js';
import { loadAtOnce } from '../lib/load-at-once.js';
import { CliError, type ExitCode, exitCodeHelp } from './exit-codes.js';
import { type CliIo, note, printable } from './io.js';

/** What a command's file exports: adds options and arguments to its command, and what it does. */
export interface CommandModule {
  define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void;
}

interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => CommandModule | Promise<CommandModule>;
}

/** One file a command, loaded when it is called. */
const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'serve',
    summary: 'Run the daemon.',
    load: () => loadAtOnce(import.meta.url, './commands/serve.js', () => import('./commands/serve.js')),
  },
  {
    name: 'run',
    summary: 'Submit a task to a daemon and follow it to its end.',
    load: () => import('./commands/run.js'),
  },
  { name: 'follow', summary: 'Follow a task that was submitted before.', load: () => import('./commands/follow.js') },
  { name: 'delete', summary: 'Delete a task.', load: () => import('./commands/delete.js') },
  { name: 'plugins', summary: 'Show the load report of a daemon.', load: () => import('./commands/plugins.js') },
  { name: 'tasks', summary: 'List the tasks of a daemon, or show one.', load: () => import('./commands/tasks.js') },
  {
    name: 'check',
    summary: 'Check configuration and plugins without listening.',
    load: () => import('./commands/check.js'),
  },
  { name: 'config', summary: 'Print the configuration in force.', load: () => import('./commands/config.js') },
  { name: 'pause', summary: 'Hold a plugin of a daemon back.', load: () => import('./commands/pause.js') },
  { name: 'resume', summary: 'Let a paused plugin go on.', load: () => import('./commands/resume.js') },
  { name: 'cluster', summary: 'Show the replicas of a daemon.', load: () => import('./commands/cluster.js') },
  { name: 'state', summary: 'Check or export what a daemon left on disk.', load: () => import('./commands/state.js') },
  {
    name: 'profile',
    summary: 'Take a CPU profile of a running daemon.',
    load: () => import('./commands/profile.js'),
  },
  { name: 'reload', summary: 'Load a plugin of a daemon anew.', load: () => import('./commands/reload.js') },
];

/** Runs the command line; answers the exit code. Never throws. */
export async function runCli(args: readonly string[], io: CliIo, version: string): Promise<ExitCode> {
  const debug = args.includes('--debug');
  let exitCode: ExitCode = 0;
  try {
    const program = await buildProgram(args, io, version, (code) => {
      exitCode = code;
    });
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    return report(thrown, io, debug);
  }
}

async function buildProgram(
  args: readonly string[],
  io: CliIo,
  version: string,
  done: (code: ExitCode) => void,
): Promise<Command> {
  const program = new Command('plugin-host')
    .description('Hosts WebAPI plugins for workflow engines.')
    .version(version, '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Show this help.')
    .helpCommand('help [command]', 'Show the help of a command.')
    .option('--debug', 'Show stack traces of errors.')
    .showHelpAfterError('(plugin-host --help shows what there is)')
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'plugin-host: ')),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .exitOverride()
    .addHelpText('after', `\n${exitCodeHelp()}`);
  const wanted = args.filter((arg) => !arg.startsWith('-') && arg !== 'help')[0];
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).description(summary).option('--debug', 'Show stack traces of errors.');
    if (name !== wanted) continue;
    const module = await load();
    module.define(command, async (action) => done(await action(io)));
  }
  return program;
}

/** Says what went wrong in one line (more with `debug`), and with which code the process ends. */
function report(thrown: unknown, io: CliIo, debug: boolean): ExitCode {
  const known = HostError.is(thrown) || thrown instanceof CliError || isClientError(thrown);
  const code = known ? (thrown as { code?: string }).code : 'INTERNAL';
  const text = printable(messageOf(thrown), true);
  note(io, `plugin-host: ${code === undefined ? '' : `${code}: `}${text}`);
  if (debug && thrown instanceof Error) note(io, printable(thrown.stack ?? '', true));
  else if (!known) note(io, 'This is a fault of plugin-host; --debug shows where.');
  return exitCodeOf(thrown);
}

/** The client's error class is not loaded for every command, so it is known by its name and shape. */
function isClientError(thrown: unknown): thrown is Error & { code: string; status: string } {
  return thrown instanceof Error && thrown.name === 'PluginHostError' && 'status' in thrown;
}

function exitCodeOf(thrown: unknown): ExitCode {
  if (thrown instanceof CliError) return thrown.exitCode;
  if (isClientError(thrown)) return 7;
  if (!HostError.is(thrown)) return 1;
  if (thrown.code.startsWith('CONFIG_')) return 3;
  if (thrown.code.startsWith('PLUGIN_') || thrown.code.startsWith('ROUTE_')) return 4;
  if (thrown.code === 'LISTEN_FAILED') return 5;
  if (thrown.code === 'SHUTDOWN_FORCED') return 6;
  return thrown.kind === 'invalid' ? 2 : 1;
}

import type { Command } from 'commander';
import type { ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { parseHandle } from '../follow-task.js';
import { type CliIo, print } from '../io.js';
import { withClient } from '../with-client.js';

interface Options extends DaemonOptions {
  readonly reason: string;
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .argument('<handle>', 'the handle that run printed')
    .option('--reason <text>', 'why, handed to the plugin', 'asked for on the command line')
    .action((handle: string, options: Options) => run((io) => deleteTask(handle, options, io)));
}

async function deleteTask(text: string, options: Options, io: CliIo): Promise<ExitCode> {
  const handle = parseHandle(text);
  await withClient(options, io, (client) => client.delete(handle, { reason: options.reason }));
  print(io, 'The delete is accepted; the daemon carries it out.');
  return 0;
}

import type { Command } from 'commander';
import type { ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { type CliIo, print } from '../io.js';
import { loadTable } from '../load-table.js';
import { withClient } from '../with-client.js';

interface Options extends DaemonOptions {
  readonly json?: boolean;
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .option('--json', 'the whole report as JSON')
    .action((options: Options) => run((io) => show(options, io)));
}

async function show(options: Options, io: CliIo): Promise<ExitCode> {
  const plugins = await withClient(options, io, (client) => client.listPlugins());
  print(io, options.json === true ? JSON.stringify({ plugins }, null, 2) : loadTable(plugins, io));
  return 0;
}

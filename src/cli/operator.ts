import { type Command, InvalidArgumentError } from 'commander';
import { isPluginId } from '../model/identity-check.js';
import { callAdmin } from './admin-call.js';
import type { ExitCode } from './exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from './find-daemon.js';
import { type CliIo, print } from './io.js';

/** Defines one of the commands that act through the admin server; the token is the one of the configuration. */
export function defineOperator(
  command: Command,
  run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>,
  action: 'pause' | 'resume' | 'reload',
): void {
  addDaemonOptions(command)
    .argument('<plugin>', 'id of the plugin', (id: string) => {
      if (!isPluginId(id)) throw new InvalidArgumentError('expected a plugin id.');
      return id;
    })
    .action((plugin: string, options: DaemonOptions) => run((io) => act(action, plugin, options, io)));
}

async function act(action: string, plugin: string, options: DaemonOptions, io: CliIo): Promise<ExitCode> {
  await callAdmin(options, io, 'POST', `/v1/plugins/${plugin}/${action}`);
  print(io, `${plugin}: ${action} done`);
  return 0;
}

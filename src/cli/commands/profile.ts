import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../../errors/index.js';
import { callAdmin } from '../admin-call.js';
import { CliError, type ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { type CliIo, print } from '../io.js';

interface Options extends DaemonOptions {
  readonly seconds: number;
  readonly out: string;
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .option('--seconds <number>', 'how long, from 1 to 30', secondsOf, 10)
    .option('--out <file>', 'where the profile goes', 'plugin-host.cpuprofile')
    .addHelpText('after', '\nDeveloper tools of browsers and editors open the file.')
    .action((options: Options) => run((io) => take(options, io)));
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 30)
    throw new InvalidArgumentError('expected a whole number from 1 to 30.');
  return seconds;
}

async function take(options: Options, io: CliIo): Promise<ExitCode> {
  const { seconds, out } = options;
  const profile = await callAdmin<object>(options, io, 'POST', `/v1/profile?seconds=${seconds}`);
  try {
    writeFileSync(path.resolve(io.cwd, out), JSON.stringify(profile));
  } catch (error) {
    throw new CliError(2, `${out} cannot be written: ${messageOf(error)}`, { cause: error });
  }
  print(io, `${out}: the daemon's main thread over ${seconds} s`);
  return 0;
}

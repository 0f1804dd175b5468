import type { Command } from 'commander';
import type { Client } from '../../client/index.js';
import { loadPluginHost } from '../../idl/load.js';
import { systemClock } from '../../lib/clock.js';
import { parseDuration } from '../../model/options/units.js';
import type { ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { followTask, parseHandle } from '../follow-task.js';
import type { CliIo } from '../io.js';
import { durationOption } from '../options.js';
import { createProgress } from '../progress.js';
import { SignalQueue } from '../signals.js';
import { withClient } from '../with-client.js';

interface Options extends DaemonOptions {
  readonly outputPrefix?: string;
  readonly timeout?: number;
  readonly json?: boolean;
  readonly deleteOnInterrupt?: boolean;
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .argument('<handle>', 'the handle that run printed')
    .option('--output-prefix <uri>', 'the output prefix of the task; a restarted daemon knows it from here only')
    .addOption(durationOption('--timeout <duration>', 'stop following after this time, such as 10m', parseDuration))
    .option('--json', 'one JSON object a line on standard output')
    .option(
      '--delete-on-interrupt',
      'delete the task at Ctrl-C or another signal that ends the command, without asking',
    )
    .action((handle: string, options: Options) => run((io) => follow(handle, options, io)));
}

async function follow(text: string, options: Options, io: CliIo): Promise<ExitCode> {
  const handle = parseHandle(text);
  const idl = loadPluginHost();
  const json = options.json === true;
  const signals = new SignalQueue(io.signals);
  const progress = createProgress(io, json, systemClock.now);
  try {
    const follow = (client: Client) =>
      followTask({
        client,
        idl,
        io,
        progress,
        signals,
        handle,
        json,
        outputPrefix: options.outputPrefix ?? '',
        timeoutMs: options.timeout,
        deleteOnInterrupt: options.deleteOnInterrupt === true,
      });
    return await withClient(options, io, follow, idl);
  } finally {
    progress.stop();
    signals.close();
  }
}

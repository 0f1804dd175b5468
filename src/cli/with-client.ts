import { type Client, createClient, PluginHostError } from '../client/index.js';
import type { Idl } from '../idl/idl.js';
import { CliError } from './exit-codes.js';
import { type DaemonOptions, grpcAddress } from './find-daemon.js';
import type { CliIo } from './io.js';

/** Runs an action with a client of the daemon, and closes it. A daemon that is not there is said to be so. */
export async function withClient<T>(
  options: DaemonOptions,
  io: CliIo,
  action: (client: Client) => Promise<T>,
  idl?: Idl,
): Promise<T> {
  const address = grpcAddress(options, io);
  const client = createClient({ address, ...(idl === undefined ? {} : { idl }) });
  try {
    return await action(client);
  } catch (error) {
    // The daemon's own codes differ from the status's name, which stands in where the transport failed.
    if (!(error instanceof PluginHostError) || error.code !== 'UNAVAILABLE') throw error;
    const why = /connect \w+[^;]*?(?=\.? Resolution note|$)/.exec(error.message)?.[0] ?? error.message;
    const hint = 'start one with plugin-host serve, or name it with --address or --config';
    throw new CliError(7, `no daemon can be reached at ${address} (${why}); ${hint}`, {
      code: error.code,
      cause: error,
    });
  } finally {
    client.close();
  }
}

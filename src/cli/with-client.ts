import { type Client, type ClientOptions, createClient, PluginHostError } from '../client/index.js';
import { messageOf } from '../errors/index.js';
import type { Idl } from '../idl/idl.js';
import { certificateHint } from './credentials.js';
import { CliError } from './exit-codes.js';
import { type DaemonOptions, grpcTarget } from './find-daemon.js';
import type { CliIo } from './io.js';

/** The cause alone, of a sentence of grpc-js with a date and notes; what answers in another protocol is said to. */
function whyUnavailable(message: string): string {
  const cause = /connect \w+[^;]*?(?=\.? Resolution note|$)/.exec(message)?.[0];
  if (cause !== undefined) return cause;
  const last = /Last error: (.*?)(?: \([\dTZ:.-]+\))?\.? Resolution note/.exec(message)?.[1] ?? message;
  if (/protocol error/i.test(last)) return 'what listens there speaks no gRPC; is it the admin port?';
  return last.replace(/^Error(?: \[\w+\])?: /, '');
}

/** What is wrong with a certificate is the command line's fault. */
function clientOf(options: ClientOptions): Client {
  try {
    return createClient(options);
  } catch (error) {
    throw new CliError(2, `the files of --ca, --cert and --key cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/** Runs an action with a client of the daemon, and closes it. A daemon that is not there is said to be so. */
export async function withClient<T>(
  options: DaemonOptions,
  io: CliIo,
  action: (client: Client) => Promise<T>,
  idl?: Idl,
): Promise<T> {
  const { address, tls, token } = grpcTarget(options, io);
  const client = clientOf({ address, tls, token, ...(idl === undefined ? {} : { idl }) });
  try {
    return await action(client);
  } catch (error) {
    // The daemon's own codes differ from the status's name, which stands in where the transport failed.
    if (!(error instanceof PluginHostError) || error.code !== 'UNAVAILABLE') throw error;
    const why = whyUnavailable(error.message);
    const hint = certificateHint(why) ?? 'start one with plugin-host serve, or name it with --address or --config';
    throw new CliError(7, `no daemon can be reached at ${address} (${why}); ${hint}`, {
      code: error.code,
      cause: error,
    });
  } finally {
    client.close();
  }
}

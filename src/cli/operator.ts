import { type Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../errors/index.js';
import { CliError, type ExitCode } from './exit-codes.js';
import { type CliIo, print, printable } from './io.js';
import { addConfigSources, type ConfigOptions, configFrom } from './options.js';

interface Options extends ConfigOptions {
  readonly admin?: string;
}

const TIMEOUT_MS = 60_000;

/** Defines one of the commands that act through the admin server; the token is the one of the configuration. */
export function defineOperator(
  command: Command,
  run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>,
  action: 'pause' | 'resume' | 'reload',
): void {
  addConfigSources(command)
    .argument('<plugin>', 'id of the plugin', (id: string) => {
      if (!/^[a-z][a-z0-9-]{0,39}$/.test(id)) throw new InvalidArgumentError('expected a plugin id.');
      return id;
    })
    .option('--admin <url>', 'admin server (default: http://127.0.0.1 and admin.port)', (url: string) => {
      if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
        throw new InvalidArgumentError('expected a URL such as http://127.0.0.1:9090.');
      }
      return url;
    })
    .addHelpText('after', '\nThe token is admin.token of the configuration, or of PLUGIN_HOST_ADMIN_TOKEN.')
    .action((plugin: string, options: Options) => run((io) => act(action, plugin, options, io)));
}

async function act(action: string, plugin: string, options: Options, io: CliIo): Promise<ExitCode> {
  const { admin } = configFrom(options, io).config;
  if (admin.token === undefined) {
    throw new CliError(3, 'set admin.token or admin.tokenFile (PLUGIN_HOST_ADMIN_TOKEN) as for the daemon', {
      code: 'ADMIN_TOKEN_UNSET',
    });
  }
  const base = options.admin ?? `http://127.0.0.1:${admin.port}`;
  let response: Response;
  let body: { code?: string; message?: string };
  try {
    response = await fetch(new URL(`/v1/plugins/${plugin}/${action}`, base), {
      method: 'POST',
      headers: { authorization: `Bearer ${admin.token}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = (await response.json()) as typeof body;
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new CliError(7, `the admin server at ${base} cannot be reached: ${messageOf(cause)}`, { cause: error });
  }
  if (!response.ok) {
    const message = printable(body.message ?? `HTTP ${response.status}`);
    throw new CliError(7, message, body.code === undefined ? {} : { code: body.code });
  }
  print(io, `${plugin}: ${action} done`);
  return 0;
}

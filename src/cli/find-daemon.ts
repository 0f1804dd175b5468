import { type Command, InvalidArgumentError } from 'commander';
import type { LoadedConfig } from '../config/index.js';
import { CliError } from './exit-codes.js';
import type { CliIo } from './io.js';
import { addConfigSources, type ConfigOptions, configFrom } from './options.js';

/** Options of every command that talks to a daemon. */
export interface DaemonOptions extends ConfigOptions {
  readonly address?: string;
  readonly admin?: string;
}

const HELP = `
The daemon is found by --address (gRPC) and --admin (HTTP); where one is not given, by the configuration: the files of
--config, else PLUGIN_HOST_ADDRESS, else the configuration of the environment. The operator's token is admin.token of the
configuration, or PLUGIN_HOST_ADMIN_TOKEN.`;

/** Adds `--config`, `--set`, `--address` and `--admin`, which mean the same in every command. */
export function addDaemonOptions(command: Command): Command {
  return addConfigSources(command)
    .option(
      '-a, --address <host:port>',
      'gRPC address of the daemon (default: as configured, 127.0.0.1:8000)',
      (value: string) => {
        if (!/^\S+$/.test(value))
          throw new InvalidArgumentError('expected host:port, or a target such as dns:///name:port.');
        return value;
      },
    )
    .option('--admin <url>', 'admin server of the daemon (default: as configured, port 9090)', (url: string) => {
      if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
        throw new InvalidArgumentError('expected a URL such as http://127.0.0.1:9090.');
      }
      return url;
    })
    .addHelpText('after', HELP);
}

/** Where the daemon's gRPC port is. */
export function grpcAddress(options: DaemonOptions, io: CliIo): string {
  if (options.address !== undefined) return options.address;
  const configured = options.config !== undefined || options.set !== undefined;
  const { PLUGIN_HOST_ADDRESS } = io.env;
  if (!configured && PLUGIN_HOST_ADDRESS !== undefined && PLUGIN_HOST_ADDRESS !== '') return PLUGIN_HOST_ADDRESS;
  const { host, port } = configFrom(options, io).config.grpc;
  if (port === 0)
    throw new CliError(2, 'grpc.port is 0, any free port: give the one that the daemon logged with --address');
  return `${bracketed(reachable(host))}:${port}`;
}

export interface AdminAddress {
  readonly url: string;
  readonly token: string;
}

/** Where the daemon's admin port is, with the operator's token. */
export function adminAddress(options: DaemonOptions, io: CliIo): AdminAddress {
  const { admin } = configFrom(options, io).config;
  if (admin.token === undefined) {
    throw new CliError(3, 'set admin.token or admin.tokenFile (PLUGIN_HOST_ADMIN_TOKEN) as for the daemon', {
      code: 'ADMIN_TOKEN_UNSET',
    });
  }
  return { url: options.admin ?? adminUrl(options, admin), token: admin.token };
}

/** On the host that `--address` names, if it does; on the configured one otherwise. */
function adminUrl({ address }: DaemonOptions, { host, port }: LoadedConfig['config']['admin']): string {
  if (port === 0)
    throw new CliError(2, 'admin.port is 0, any free port: give the one that the daemon logged with --admin');
  const named = /^(?:dns:(?:\/\/[^/]*\/)?)?(\[[^\]]+\]|[^:/]+):\d+$/.exec(address ?? '')?.[1];
  return `http://${named ?? bracketed(reachable(host))}:${port}`;
}

/** What listens on every address is reached on loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);

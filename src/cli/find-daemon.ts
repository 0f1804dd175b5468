import { type Command, InvalidArgumentError } from 'commander';
import type { ClientTls } from '../client/index.js';
import type { LoadedConfig } from '../config/index.js';
import { type CredentialOptions, type Credentials, credentialsOf } from './credentials.js';
import { CliError } from './exit-codes.js';
import type { CliIo } from './io.js';
import { addConfigSources, type ConfigOptions, configFrom } from './options.js';

/** Options of every command that talks to a daemon. */
export interface DaemonOptions extends ConfigOptions, CredentialOptions {
  readonly address?: string;
  readonly admin?: string;
}

const HELP = `
The daemon is found by --address (gRPC) and --admin (HTTP); where one is not given, by the configuration: the files of
--config, else PLUGIN_HOST_ADDRESS, else the configuration of the environment. The operator's token is admin.token of the
configuration, or PLUGIN_HOST_ADMIN_TOKEN, unless --token-file names another.

TLS is spoken where --ca or --tls asks for it, where --admin begins with https, and where the configuration sets it for the port
(grpc.tls, admin.tls). --ca, --cert, --key, --server-name and --token-file may be given as PLUGIN_HOST_CA_FILE,
PLUGIN_HOST_CERT_FILE, PLUGIN_HOST_KEY_FILE, PLUGIN_HOST_SERVER_NAME and PLUGIN_HOST_TOKEN_FILE.`;

/** Adds `--config`, `--set`, `--address` and `--admin`, which mean the same in every command. */
export function addDaemonOptions(command: Command): Command {
  return addConfigSources(command)
    .option(
      '-a, --address <host:port>',
      'gRPC address of the daemon (default: as configured, 127.0.0.1:8000)',
      (value: string) => {
        if (!isAddress(value)) throw new InvalidArgumentError(EXPECTED_ADDRESS);
        return value;
      },
    )
    .option('--admin <url>', 'admin server of the daemon (default: as configured, port 9090)', (url: string) => {
      if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
        throw new InvalidArgumentError('expected a URL such as http://127.0.0.1:9090.');
      }
      return url;
    })
    .option('--tls', 'speak TLS, with the authorities that Node knows unless --ca is given')
    .option('--ca <file>', 'certificates of the authorities that the daemon’s must come from, PEM; implies --tls')
    .option('--cert <file>', 'client certificate to show, PEM')
    .option('--key <file>', 'key of the client certificate, PEM')
    .option(
      '--server-name <name>',
      'name that the daemon’s certificate must be for, where it is not the one of the address',
    )
    .option('--token-file <file>', 'file that holds the token to send')
    .addHelpText('after', HELP);
}

const EXPECTED_ADDRESS = 'expected host:port, such as 127.0.0.1:8000, or a target such as dns:///name:8000.';

/** Not a URL, and with a port: without one gRPC takes 443. A Unix socket has none. */
function isAddress(text: string): boolean {
  if (/^unix(-abstract)?:\S+$/.test(text)) return true;
  return /^\S+:\d{1,5}$/.test(text) && !/^(https?|grpcs?):\/\//i.test(text);
}

/** How the gRPC port is spoken to. */
export interface GrpcTarget {
  readonly address: string;
  readonly tls: ClientTls | undefined;
  readonly token: string | undefined;
}

/** Where the daemon's gRPC port is, and with what it is spoken to. */
export function grpcTarget(options: DaemonOptions, io: CliIo): GrpcTarget {
  const credentials = credentialsOf(options, io);
  const { wanted, token } = credentials;
  const address = grpcAddress(options, io);
  const secure =
    wanted || (named(options, io) === undefined && configFrom(options, io).config.grpc.tls.certFile !== undefined);
  return { address, tls: secure ? credentials.tls : undefined, token };
}

/** An address that is not the configuration's. */
function named(options: DaemonOptions, io: CliIo): string | undefined {
  if (options.address !== undefined) return options.address;
  const configured = options.config !== undefined || options.set !== undefined;
  return configured ? undefined : io.env.PLUGIN_HOST_ADDRESS || undefined;
}

/** Where the daemon's gRPC port is. */
function grpcAddress(options: DaemonOptions, io: CliIo): string {
  const given = named(options, io);
  if (given !== undefined) {
    if (options.address !== undefined || isAddress(given)) return given;
    throw new CliError(2, `PLUGIN_HOST_ADDRESS is ${JSON.stringify(given)}; ${EXPECTED_ADDRESS}`);
  }
  const { host, port } = configFrom(options, io).config.grpc;
  if (port === 0)
    throw new CliError(2, 'grpc.port is 0, any free port: give the one that the daemon logged with --address');
  return `${bracketed(reachable(host))}:${port}`;
}

export interface AdminAddress {
  readonly url: string;
  readonly token: string;
  readonly tls: ClientTls;
}

/** Where the daemon's admin port is, with the operator's token. */
export function adminAddress(options: DaemonOptions, io: CliIo): AdminAddress {
  const { admin } = configFrom(options, io).config;
  const credentials = credentialsOf(options, io);
  const token = credentials.token ?? admin.token;
  if (token === undefined) {
    const message =
      'set admin.token or admin.tokenFile (PLUGIN_HOST_ADMIN_TOKEN) as for the daemon, or give --token-file';
    throw new CliError(3, message, { code: 'ADMIN_TOKEN_UNSET' });
  }
  return { url: options.admin ?? adminUrl(options, admin, credentials), token, tls: credentials.tls };
}

/** On the host that `--address` names, if it does; on the configured one otherwise. */
function adminUrl(
  { address }: DaemonOptions,
  { host, port, tls }: LoadedConfig['config']['admin'],
  { wanted }: Credentials,
): string {
  if (port === 0)
    throw new CliError(2, 'admin.port is 0, any free port: give the one that the daemon logged with --admin');
  const ofAddress = /^(?:dns:(?:\/\/[^/]*\/)?)?(\[[^\]]+\]|[^:/]+):\d+$/.exec(address ?? '')?.[1];
  const scheme = wanted || tls.certFile !== undefined ? 'https' : 'http';
  return `${scheme}://${ofAddress ?? bracketed(reachable(host))}:${port}`;
}

/** What listens on every address is reached on loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);

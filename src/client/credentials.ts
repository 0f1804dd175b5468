import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { type ChannelCredentials, credentials, experimental, Metadata } from '@grpc/grpc-js';
import { ClosableCredentials } from './close.js';

/** How the daemon is spoken to by TLS; PEM texts, or their bytes. */
export interface ClientTls {
  /** Certificates of the authorities that the daemon's may come from; Node's own unless given. */
  readonly ca?: string | Buffer | undefined;
  /** The client's own certificate with its key, for a daemon that asks for one. */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  /** The name that the daemon's certificate must be for; the host of the address unless given. */
  readonly serverName?: string | undefined;
}

/** Options of Node's TLS. */
export interface ConnectionTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** The name that is asked for, and that the certificate must be for; the host of the address unless given. */
  readonly servername?: string;
  readonly checkServerIdentity?: typeof checkServerIdentity;
}

type CertificateProvider = experimental.CertificateProvider;

/** A certificate that may change while connections are made: each one takes what is there then. */
export interface ChangingTls {
  readonly current: () => { readonly ca: string; readonly cert: string; readonly key: string };
  /** As in `ClientTls`. */
  readonly serverName?: string | undefined;
  /** Calls back after each change. */
  readonly onChange: (listener: () => void) => void;
}

/**
 * Plain text where there is no `tls`. Of one that changes each connection takes what is there when it is made. Throws TypeError for a certificate without its key, and Error for what is
 * no PEM.
 */
export function channelCredentials(tls: ClientTls | ChangingTls | undefined, address: string): ClosableCredentials {
  return new ClosableCredentials(credentialsOf(tls, address));
}

function credentialsOf(tls: ClientTls | ChangingTls | undefined, address: string): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const verify = verifyOptions(tls, address);
  if ('current' in tls) return changingCredentials(tls, verify);
  const { ca, cert, key } = tls;
  if ((cert === undefined) !== (key === undefined)) throw new TypeError('cert and key go together');
  const bytes = (pem: string | Buffer | undefined) => (pem === undefined ? null : Buffer.from(pem));
  return credentials.createSsl(bytes(ca), bytes(key), bytes(cert), verify);
}

/** Shown instead of an IP address, which Node takes for no name of a server. */
const NO_NAME = 'address.invalid';

/** The address that the daemon's certificate must be for; undefined where a name is looked for. */
function ipOf({ serverName }: ClientTls | ChangingTls, address: string): string | undefined {
  const host = serverName ?? /^(?:ipv[46]:)?\[?([^[\]]+?)\]?:\d+$/.exec(address)?.[1] ?? '';
  return isIP(host) === 0 ? undefined : host;
}

function verifyOptions(tls: ClientTls | ChangingTls, address: string): Pick<ConnectionTls, 'checkServerIdentity'> {
  const ip = ipOf(tls, address);
  return ip === undefined ? {} : { checkServerIdentity: (_name, certificate) => checkServerIdentity(ip, certificate) };
}

/** What makes the channel look for `serverName`, or for the address. */
export function channelName(tls: ClientTls | ChangingTls, address: string): Record<string, string> {
  if (ipOf(tls, address) !== undefined) return { 'grpc.ssl_target_name_override': NO_NAME };
  const { serverName } = tls;
  if (serverName === undefined) return {};
  return { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName };
}

/** What a connection without grpc-js is opened with, by the same rules; what may change is as it is now. */
export function connectionTls(tls: ChangingTls, address: string): ConnectionTls {
  const { ca, cert, key } = tls.current();
  const { serverName } = tls;
  const verify = verifyOptions(tls, address);
  if (verify.checkServerIdentity !== undefined) return { ca, cert, key, servername: NO_NAME, ...verify };
  return { ca, cert, key, ...(serverName !== undefined && { servername: serverName }) };
}

/** What calls of such a connection name as their `:authority`. */
export function authorityOf(tls: ChangingTls | undefined, address: string): string {
  return (tls !== undefined && channelName(tls, address)['grpc.default_authority']) || address;
}

/** Credentials of a channel that lives longer than a certificate does, such as one to another replica. */
function changingCredentials(tls: ChangingTls, verify: Pick<ConnectionTls, 'checkServerIdentity'>): ChannelCredentials {
  const provider = new ChangingProvider(tls);
  return experimental.createCertificateProviderChannelCredentials(provider, provider, verify);
}

class ChangingProvider implements CertificateProvider {
  readonly #tls: ChangingTls;
  readonly #ca = new Set<experimental.CaCertificateUpdateListener>();
  readonly #own = new Set<experimental.IdentityCertificateUpdateListener>();

  constructor(tls: ChangingTls) {
    this.#tls = tls;
    tls.onChange(() => {
      for (const listener of this.#ca) this.#tellCa(listener);
      for (const listener of this.#own) this.#tellOwn(listener);
    });
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#ca.add(listener);
    queueMicrotask(() => this.#tellCa(listener));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#ca.delete(listener);
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#own.add(listener);
    queueMicrotask(() => this.#tellOwn(listener));
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#own.delete(listener);
  }

  #tellCa(listener: experimental.CaCertificateUpdateListener): void {
    listener({ caCertificate: Buffer.from(this.#tls.current().ca) });
  }

  #tellOwn(listener: experimental.IdentityCertificateUpdateListener): void {
    const { cert, key } = this.#tls.current();
    listener({ certificate: Buffer.from(cert), privateKey: Buffer.from(key) });
  }
}

/** What can be sent of a token; the transport's own error would quote one that has more, such as the line break of its file. */
const TOKEN = /^[\x21-\x7e]+$/;

/** What each call carries. The token is asked for each time, so that it may change. Throws TypeError for what is no token, without a word of it. */
export function callMetadata(token: string | (() => string) | undefined): Metadata {
  const metadata = new Metadata();
  if (token === undefined) return metadata;
  const text = typeof token === 'string' ? token : token();
  if (!TOKEN.test(text)) throw new TypeError('token is none: expected visible ASCII characters, without a line break');
  metadata.set('authorization', `Bearer ${text}`);
  return metadata;
}

import { isIP } from 'node:net';
import { HostError } from '../errors/index.js';

export interface AddressSources {
  /** `cluster.advertise`. */
  readonly given: string | undefined;
  /** The variable POD_IP. */
  readonly podIp: string | undefined;
  /** That is listened on. */
  readonly port: number;
  readonly loopbackAllowed: boolean;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|::ffff:127\..*)$/i;
/** What one listens on, and nobody can be reached at. */
const UNSPECIFIED = /^(0\.0\.0\.0|::)$/;

/** `host:port` at which other replicas reach this one. Throws CLUSTER_ADDRESS_UNUSABLE where they could not. */
export function advertisedAddress({ given, podIp, port, loopbackAllowed }: AddressSources): string {
  const text = given ?? podIp ?? '';
  const from = given === undefined ? 'POD_IP' : 'cluster.advertise';
  if (text === '') throw unusable('nothing says where the other replicas reach this one');
  const [, bracketed, plain, ownPort] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? text;
  if (host.includes(':') && isIP(host) !== 6) throw unusable(`${from} is ${JSON.stringify(text)}, which is no address`);
  const at = Number(ownPort ?? port);
  if (at < 1 || at > 65_535) throw unusable(`${from} is ${JSON.stringify(text)}, and ${at} is no port`);
  if (UNSPECIFIED.test(host)) throw unusable(`${from} is ${host}, at which nobody can be reached`);
  if (LOOPBACK.test(host) && !loopbackAllowed) {
    throw unusable(`${from} is ${host}, which other machines take for themselves`);
  }
  return host.includes(':') ? `[${host}]:${at}` : `${host}:${at}`;
}

function unusable(seen: string): HostError {
  return new HostError(
    'CLUSTER_ADDRESS_UNUSABLE',
    `${seen}; set cluster.advertise, or POD_IP (status.podIP of the pod), to an address of this machine`,
  );
}

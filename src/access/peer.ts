/** Who is at the other end of a connection. */
export interface Peer {
  readonly address: string;
  /** Names of its verified certificate; empty where it showed none. */
  readonly names: readonly string[];
  /** Why nothing is answered to it but what everybody may see; undefined where it is let in. */
  readonly refusal: PeerRefusal | undefined;
}

export interface PeerRefusal {
  readonly reason: 'plaintext' | 'name' | 'no_certificate' | 'certificate';
  /** For the peer, in words. */
  readonly message: string;
}

/** Whether an address is one of this machine's loopback, IPv4 within IPv6 included. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/i.test(address);
}

const IPV4_IN_IPV6 = /^::ffff:(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})$/i;
/** Groups of 16 bits of an IPv6 address that one client may choose the rest of. */
const NETWORK_GROUPS = 4;

/**
 * Whom an address counts as where somebody is held to a bound: itself for IPv4, within IPv6 too; of IPv6 its /64, since whoever has
 * one address there has all of them.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const ipv4 = IPV4_IN_IPV6.exec(address)?.[1];
  if (ipv4 !== undefined) return ipv4;
  const [head = '', tail] = (address.split('%', 1)[0] as string).toLowerCase().split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    // An IPv4 address at the end takes the place of two groups.
    const behind = tail === '' ? 0 : tail.split(':').length + (tail.includes('.') ? 1 : 0);
    while (groups.length + behind < 8) groups.push('0');
    if (groups.length < NETWORK_GROUPS) groups.push(...tail.split(':'));
  }
  return `${groups.slice(0, NETWORK_GROUPS).join(':')}::/64`;
}

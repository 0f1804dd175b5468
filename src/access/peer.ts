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

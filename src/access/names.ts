import { isIPv6, SocketAddress } from 'node:net';
import type { PeerCertificate } from 'node:tls';

/** `<kind>:<name>` entries, whose names are quoted as JSON where they hold what separates them. */
const ALT_NAME = /([A-Za-z][A-Za-z0-9 ]*):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/gy;

/** Kinds of names, as Node writes them → as they are written in a list. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ['DNS', 'DNS:'],
  ['URI', 'URI:'],
  ['email', 'email:'],
  ['IP Address', 'IP:'],
]);

/** Who a verified certificate is for: `CN=…` of its subject, and the `DNS:`, `URI:`, `email:` and `IP:` names beside it. */
export function certificateNames({
  subject,
  subjectaltname,
}: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): string[] {
  const names = [subject?.CN ?? []].flat().map((name) => `CN=${name}`);
  for (const [, kind, written] of (subjectaltname ?? '').matchAll(ALT_NAME)) {
    const prefix = KINDS.get(kind ?? '');
    const name = prefix === undefined ? undefined : unquoted(written ?? '');
    if (name !== undefined) names.push(`${prefix}${name}`);
  }
  return names;
}

function unquoted(written: string): string | undefined {
  if (!written.startsWith('"')) return written;
  try {
    return JSON.parse(written) as string;
  } catch {
    return undefined;
  }
}

/** Host names and the part of an address behind the @ are the same in capitals, and one IPv6 address has many spellings. */
function folded(name: string): string {
  if (/^(DNS|email):/.test(name)) return name.toLowerCase();
  const ip = /^IP:(.*)$/.exec(name)?.[1] ?? '';
  return isIPv6(ip) ? `IP:${new SocketAddress({ address: ip, family: 'ipv6' }).address}` : name;
}

/** Whether a list has one of the names, whole. */
export function allowsName(allowed: readonly string[], names: readonly string[]): boolean {
  const known = new Set(allowed.map(folded));
  return names.some((name) => known.has(folded(name)));
}

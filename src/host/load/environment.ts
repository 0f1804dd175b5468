/** How the network is reached from here: what every process needs, and no plugin should have to declare. */
export const NETWORK_VARIABLES: readonly string[] = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
];

type Variables = Readonly<Record<string, string | undefined>>;

/** The variables of `from` that one of the patterns names; a trailing `*` takes a prefix. */
export function pickVariables(patterns: readonly string[], from: Variables): Record<string, string> {
  const entries: [string, string][] = [];
  for (const pattern of patterns) {
    const names = pattern.endsWith('*')
      ? Object.keys(from).filter((name) => name.startsWith(pattern.slice(0, -1)))
      : [pattern];
    for (const name of names) {
      // What an environment inherits (`constructor`) is no variable.
      const value = Object.hasOwn(from, name) ? from[name] : undefined;
      if (value !== undefined) entries.push([name, value]);
    }
  }
  return Object.fromEntries(entries);
}

type Variables = Readonly<Record<string, string | undefined>>;

/** The variables of `from` that one of the patterns names; a trailing `*` takes a prefix. */
export function pickVariables(patterns: readonly string[], from: Variables): Record<string, string> {
  const out: Record<string, string> = {};
  for (const pattern of patterns) {
    const names = pattern.endsWith('*')
      ? Object.keys(from).filter((name) => name.startsWith(pattern.slice(0, -1)))
      : [pattern];
    for (const name of names) {
      const value = from[name];
      if (value !== undefined) out[name] = value;
    }
  }
  return out;
}

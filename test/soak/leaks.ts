/** What can be made to leak in the process that is watched, to show that it is seen. */
export const LEAKS = ['heap', 'descriptors', 'processes'] as const;
export type Leak = (typeof LEAKS)[number];

/** Of `leaking.ts`: what leaks, and how often, in milliseconds. */
export function leakEnv(leak: Leak, everyMs: number): Readonly<Record<string, string>> {
  return { SOAK_LEAK: leak, SOAK_LEAK_EVERY_MS: String(everyMs) };
}

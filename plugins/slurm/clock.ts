/** The two clocks of the plugin, both in milliseconds: durations are never measured on the wall clock, which may be set. */
export interface PluginClock {
  /** Since the epoch. */
  wallMs(): number;
  monotonicMs(): number;
}

export const SYSTEM_CLOCK: PluginClock = { wallMs: () => Date.now(), monotonicMs: () => performance.now() };

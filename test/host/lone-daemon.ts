import { createPluginHost } from '../../src/host/plugin-host.js';
import { systemClock } from '../../src/lib/clock.js';
import { fixture } from './support.js';

/** Run as a command by orphans.test.ts: hosts one plugin, prints the id of its process, and waits to be killed. */
const host = createPluginHost({
  entries: [{ source: fixture('unruly.mjs') }],
  clock: systemClock,
  random: Math.random,
  data: {
    dataStore: { localRoots: [], maxObjectBytes: 1024 },
    secrets: { envPrefixes: [] },
    maxOutputBytes: 1024,
  },
  events: { log: () => undefined, metric: () => undefined, lifecycle: () => undefined },
});
await host.start();
console.log(host.plugin('unruly')?.pid);
setInterval(() => undefined, 1_000);

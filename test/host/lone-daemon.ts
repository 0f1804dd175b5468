import { completeEntry } from '../../src/host/load/entry.js';
import { createPluginHost } from '../../src/host/plugin-host.js';
import { systemClock } from '../../src/lib/clock.js';
import { act, fixture } from './support.js';

/**
 * Run as a command by orphans.test.ts: hosts one plugin, prints the id of its process, and waits to be killed. With the
 * argument `spin` the plugin is in an endless loop by then.
 */
const host = createPluginHost({
  entries: [completeEntry({ source: fixture('unruly.mjs') })],
  clock: systemClock,
  random: Math.random,
  data: {
    dataStore: { localRoots: [], maxObjectBytes: 1024 },
    secrets: { envPrefixes: [] },
    maxOutputBytes: 1024,
  },
  events: { log: () => undefined, metric: () => undefined, lifecycle: () => undefined, changed: () => undefined },
});
await host.start();
const plugin = host.plugin('unruly');
if (process.argv[2] === 'spin' && plugin !== undefined) {
  void act(plugin, 'spin');
  // Unanswered, it shows that the loop is entered.
  const { ok } = await act(plugin, 'fine', 500);
  if (ok) throw new Error('the plugin does not spin');
}
console.log(plugin?.pid);
setInterval(() => undefined, 1_000);

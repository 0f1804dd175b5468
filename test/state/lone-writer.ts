import { systemClock } from '../../src/lib/clock.js';
import { EmbeddedEngine } from '../../src/state/index.js';

/**
 * Run as a command: opens the state in the folder of its first argument, says `open`, and commits one fact after the other,
 * saying each number once it is safe, as often as the second argument says or until it is killed. Then it
 * holds the state, or ends where a third argument says so.
 */
const [dir = '', commits = '0', end] = process.argv.slice(2);
const engine = new EmbeddedEngine({ dir, clock: systemClock });
await engine.open();
process.stdout.write('open\n');
for (let commit = 1; commit <= Number(commits); commit++) {
  await engine.commit(new Map([['last', Buffer.from(String(commit))]]), []);
  process.stdout.write(`safe ${commit}\n`);
}
process.stdout.write('done\n');
if (end === undefined) setInterval(() => undefined, 1_000);
else await engine.close();

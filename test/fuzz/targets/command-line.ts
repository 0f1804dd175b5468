import { Readable, Writable } from 'node:stream';
import type { CliIo } from '../../../src/cli/io.js';
import { runCli } from '../../../src/cli/program.js';
import { below, oneOf } from '../bytes.js';
import { Finding, type Target } from '../target.js';
import { hostileText } from '../values.js';

/** Commands that reach no daemon and start none, and words that belong to others. */
const COMMANDS = ['config', 'help', '--help', '--version', 'state', 'nothing', ''];
const WORDS = [
  ...[
    '--config',
    '--set',
    '--json',
    '--debug',
    '--port',
    '--defaults',
    'check',
    'export',
    '--help',
    '--',
    '-c',
    '--set=grpc.port=1',
  ],
  ...[
    'grpc.port=8000',
    'plugins.a.source=./x',
    'a.b.c=d',
    '=',
    '.',
    'embedded',
    '/nowhere/at/all',
    'store.maxTasks=-1',
  ],
];

/** A place for output that counts as the process's own. */
function sink(): { stream: Writable; text: () => string } {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      done();
    },
  });
  return { stream, text: () => text };
}

export const commandLine: Target = {
  name: 'command-line',
  summary:
    'words after plugin-host: an exit code of the table, and a line that says what is wrong; never a fault of its own',
  open: () => ({
    async one(dice) {
      const word = () => (dice.chance(0.7) ? oneOf(dice, WORDS) : hostileText(dice));
      const args = [oneOf(dice, COMMANDS), ...Array.from({ length: below(dice, 5) }, word)];
      const out = sink();
      const err = sink();
      const io = {
        env: dice.chance(0.3) ? { PLUGIN_HOST_CONFIG: hostileText(dice), HOME: hostileText(dice) } : {},
        cwd: '/nowhere',
        stdin: Readable.from([]),
        stdout: out.stream,
        stderr: err.stream,
        fromTerminal: false,
        signals: { onSignal: () => () => undefined },
        atExit: () => undefined,
        takeStrays: () => undefined,
      } as unknown as CliIo;
      const code = await runCli(args, io, '0.0.0');
      if (/INTERNAL|fault of plugin-host/.test(err.text())) {
        throw new Finding('wrong', `${JSON.stringify(args)} ended with ${code}: ${err.text().slice(0, 400)}`);
      }
      if (code !== 0 && err.text() === '')
        throw new Finding('wrong', `${JSON.stringify(args)} ended with ${code} and said nothing`);
    },
  }),
};

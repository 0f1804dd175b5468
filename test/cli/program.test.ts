import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { printable } from '../../src/cli/io.js';
import { Signals } from '../../src/cli/signals.js';
import { cli, folderWith } from './support.js';

const COMMANDS = [
  'serve',
  'run',
  'follow',
  'delete',
  'plugins',
  'check',
  'config',
  'pause',
  'resume',
  'reload',
  'profile',
];

describe('command line', () => {
  it('shows every command and every exit code in its help', async () => {
    const { code, stdout } = await cli(['--help']);
    assert.equal(code, 0);
    for (const name of COMMANDS) assert.match(stdout, new RegExp(`^  ${name}\\b`, 'm'));
    for (const exit of Object.keys(EXIT_CODES)) assert.match(stdout, new RegExp(`^ +${exit}  `, 'm'));
    assert.equal((await cli(['--version'])).stdout, '9.8.7\n');
  });

  it('shows the options of each command', async () => {
    for (const name of COMMANDS) {
      const long = await cli([name, '--help']);
      assert.equal(long.code, 0);
      assert.match(long.stdout, new RegExp(`^Usage: plugin-host ${name}`));
      assert.equal((await cli(['help', name])).stdout, long.stdout);
    }
    assert.match((await cli(['run', '--help'])).stdout, /--delete-on-interrupt/);
  });

  it('answers 2 and says what is wrong for a bad command line', async () => {
    const cases: [string[], RegExp][] = [
      [['nonsense'], /unknown command 'nonsense'/],
      [['confg'], /Did you mean config/],
      [['--nonsense'], /unknown option '--nonsense'/],
      [['config', '--nonsense'], /unknown option/],
      [['config', 'extra'], /too many arguments/],
      [['config', '--format', 'toml'], /Allowed choices are yaml, json/],
      [['config', '--set', 'novalue'], /expected key=value/],
      [['run'], /missing required argument 'template'/],
      [['run', 'x.json', '--timeout', '10'], /expected a duration/],
      [['follow'], /missing required argument 'handle'/],
      [['pause', 'Bad Id'], /expected a plugin id/],
      [['plugins', '--address', ''], /expected host:port/],
    ];
    for (const [args, message] of cases) {
      const { code, stderr, stdout } = await cli(args);
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, message);
      assert.equal(stdout, '');
    }
    assert.equal((await cli([])).code, 2);
  });

  it('shows an error in one line with its code, and the stack only when asked to', async (t) => {
    const cwd = folderWith(t, { 'a.yaml': 'grpc: {port: x}' });
    const plain = await cli(['config', '-c', 'a.yaml'], { cwd });
    assert.equal(plain.code, 3);
    assert.match(plain.stderr, /^plugin-host: CONFIG_VALUE_INVALID: /);
    assert.doesNotMatch(plain.stderr, /\n\s+at /);
    const debug = await cli(['config', '-c', 'a.yaml', '--debug'], { cwd });
    assert.match(debug.stderr, /\n\s+at /);
  });

  it('replaces what would steer a terminal', () => {
    assert.equal(printable('a\u001b[31mb\nc\td\u009b\u0007'), 'a�[31mb c  d��');
    assert.equal(printable('a\nb', true), 'a\nb');
  });

  it('gives each signal to the newest listener, and to the process where nobody listens', () => {
    const seen: string[] = [];
    const signals = new Signals((signal) => seen.push(`unheard ${signal}`));
    signals.raise('SIGTERM');
    const outer = signals.listen((signal) => void seen.push(`outer ${signal}`));
    const inner = signals.listen((signal) => void seen.push(`inner ${signal}`));
    signals.raise('SIGINT');
    inner();
    inner();
    signals.raise('SIGINT');
    outer();
    signals.raise('SIGINT');
    assert.deepEqual(seen, ['unheard SIGTERM', 'inner SIGINT', 'outer SIGINT', 'unheard SIGINT']);
  });
});

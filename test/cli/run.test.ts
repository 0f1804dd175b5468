import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { HostError } from '../../src/errors/index.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { type LiteralInput, literals } from '../../src/plugin-api/literals.js';
import { type Fixture, idl, startServer } from '../rpc/support.js';
import { type CliOptions, type CliRun, cli, folderWith, startCli } from './support.js';

const codec = makeLiteralCodec(idl);

const TEMPLATE = {
  type: 'sleep',
  custom: { seconds: 1 },
  interface: {
    inputs: {
      variables: {
        n: { type: { simple: 'INTEGER' } },
        x: { type: { simple: 'FLOAT' } },
        when: { type: { simple: 'DATETIME' } },
        words: { type: { collectionType: { simple: 'STRING' } } },
      },
    },
  },
};

const FILES = {
  'task.json': JSON.stringify(TEMPLATE),
  'task.yaml': 'type: sleep\ncustom: {seconds: 1}\n',
  'inputs.yaml': 'n: 3\nx: 1\nwhen: 2026-01-02T03:04:05Z\nwords: [a, b]\n',
};

function inline(values: Record<string, LiteralInput>): PhaseState['outputs'] {
  return { kind: 'inline', literalMap: codec.writeMap(values), names: Object.keys(values) };
}

/** Resolves when a Watch stream is open: the fake ring tells nobody what happened before. */
async function watched(fixture: Fixture): Promise<void> {
  while (![...fixture.tasks.ring.readers].some(({ closed }) => !closed)) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Moves the one task that was created, as the store would. */
async function move(fixture: Fixture, state: PhaseState): Promise<void> {
  await watched(fixture);
  const record = [...fixture.tasks.records.values()][0]!;
  record.state = state;
  record.phaseVersion += 1;
  record.revision += 1;
  fixture.tasks.ring.append(record);
}

interface Bench {
  readonly fixture: Fixture;
  readonly cwd: string;
  run(args: readonly string[], options?: CliOptions): CliRun;
}

async function bench(t: TestContext): Promise<Bench> {
  const fixture = await startServer(t);
  const cwd = folderWith(t, FILES);
  const run = (args: readonly string[], options: CliOptions = {}) =>
    startCli(args, { cwd, env: { PLUGIN_HOST_ADDRESS: fixture.address }, ...options });
  return { fixture, cwd, run };
}

describe('plugin-host run', () => {
  it('submits a template with typed inputs, shows each phase once, and prints the outputs', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.json', '--inputs', 'inputs.yaml', '-i', 'n=5', '--output-prefix', 's3://b/p']);
    await command.waitFor(/QUEUED - submitted/);
    await move(fixture, phaseState('RUNNING', { remotePhase: 'R', logs: [{ uri: 'http://logs/1', name: 'main' }] }));
    await command.waitFor(/RUNNING \[R\]/);
    await move(fixture, phaseState('RUNNING', { remotePhase: 'R', logs: [{ uri: 'http://logs/1', name: 'main' }] }));
    const outputs = inline({
      answer: 42,
      big: 2n ** 60n,
      text: 'two\nlines',
      data: Buffer.from('abc'),
      span: literals.duration(1500),
    });
    await move(fixture, phaseState('SUCCESS', { outputs }));
    assert.equal(await command.exitCode, 0);
    assert.match(
      command.stdout(),
      /^answer: 42\nbig: "1152921504606846976"\ntext: \|-\n {2}two\n {2}lines\ndata:\n {2}bytes: 3\n {2}base64: YWJj\nspan: 1\.5s\n$/,
    );
    assert.equal(command.stderr().match(/RUNNING/g)?.length, 1);
    assert.match(command.stderr(), /log main: http:\/\/logs\/1/);
    const [spec] = fixture.tasks.specs;
    assert.equal(spec?.taskType, 'sleep');
    assert.equal(spec?.outputPrefix, 's3://b/p');
    const inputs = codec.readMap(spec!.inputs!);
    assert.deepEqual(inputs, { n: 5, x: 1, when: new Date('2026-01-02T03:04:05Z'), words: ['a', 'b'] });
    const x = idl.codec('flyteidl.core.LiteralMap').decode(spec!.inputs!).literals.x;
    assert.equal(x.scalar.primitive.floatValue, 1, 'the declared type decides');
  });

  it('takes YAML and protobuf templates, inputs as protobuf, and a name of the caller’s', async (t) => {
    const { fixture, run, cwd } = await bench(t);
    writeFileSync(path.join(cwd, 'task.pb'), idl.codec('flyteidl.core.TaskTemplate').encodeJson(TEMPLATE));
    writeFileSync(path.join(cwd, 'inputs.pb'), codec.writeMap({ n: 1, x: literals.float(2) }));
    for (const file of ['task.yaml', 'task.pb']) {
      const command = run(['run', file, '--name', `mine-${file}`, '--inputs', 'inputs.pb', '-i', 'n=7', '--json']);
      await command.waitFor(/"event":"submitted"/);
      await move(fixture, phaseState('SUCCESS'));
      assert.equal(await command.exitCode, 0);
      fixture.tasks.records.clear();
    }
    assert.deepEqual(
      fixture.tasks.specs.map(({ attempt }) => attempt.name),
      ['mine-task.yaml', 'mine-task.pb'],
    );
    for (const { inputs } of fixture.tasks.specs) assert.deepEqual(codec.readMap(inputs!), { x: 2, n: 7 });
  });

  it('takes a template or inputs from standard input, in pieces', async (t) => {
    const { fixture, run } = await bench(t);
    for (const [args, pieces] of [
      [
        ['run', 'task.json', '--inputs', '-', '--json'],
        ['n: 3', '\nx: 1'],
      ],
      [
        ['run', '-', '-i', 'n=3', '-i', 'x=1', '--json'],
        ['{"type": "sl', 'eep"}'],
      ],
    ] as const) {
      const command = run(args);
      for (const piece of pieces) {
        command.stdin.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal(fixture.tasks.specs.length, 0);
      command.stdin.end();
      await command.waitFor(/"event":"submitted"/);
      await move(fixture, phaseState('SUCCESS'));
      assert.equal(await command.exitCode, 0);
      assert.deepEqual(codec.readMap(fixture.tasks.specs.pop()!.inputs!), { n: 3, x: 1 });
      fixture.tasks.records.clear();
    }
  });

  it('prints one JSON object a line when asked to', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.yaml', '--json', '--output-prefix', 's3://b/p']);
    await command.waitFor(/"phase":"QUEUED"/);
    await move(fixture, phaseState('SUCCESS', { outputs: { kind: 'prefix' } }));
    assert.equal(await command.exitCode, 0);
    const lines = command
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(lines[0].event, 'submitted');
    assert.equal(lines[1].phaseInfo.phase, 'QUEUED');
    assert.deepEqual(lines.at(-1), {
      event: 'end',
      phase: 'SUCCESS',
      reason: '',
      remotePhase: '',
      error: null,
      outputs: { outputsAt: 's3://b/p/outputs.pb' },
    });
    assert.equal(command.stderr(), '');
  });

  it('ends with the exit code of the phase, saying code and kind of the error', async (t) => {
    const error = { code: 'OutOfMemory', message: 'it was too much\u001b[31m', kind: 'USER' } as const;
    for (const [phase, code] of [
      ['PERMANENT_FAILURE', 10],
      ['RETRYABLE_FAILURE', 11],
      ['ABORTED', 12],
    ] as const) {
      const { fixture, run } = await bench(t);
      const command = run(['run', 'task.yaml']);
      await command.waitFor(/QUEUED/);
      await move(fixture, phaseState(phase, { error }));
      assert.equal(await command.exitCode, code);
      assert.match(command.stderr(), new RegExp(`ended: ${phase} - OutOfMemory \\(USER\\): it was too much�\\[31m`));
      assert.equal(command.stdout(), '');
    }
  });

  it('refuses bad files and inputs before anything is sent, naming the file', async (t) => {
    const { fixture, run, cwd } = await bench(t);
    writeFileSync(path.join(cwd, 'broken.pb'), Buffer.from([0xff, 0xff, 0xff]));
    writeFileSync(path.join(cwd, 'broken.yaml'), 'type: [');
    writeFileSync(path.join(cwd, 'typo.yaml'), 'typ: sleep');
    writeFileSync(path.join(cwd, 'list.yaml'), '[1, 2]');
    writeFileSync(path.join(cwd, 'yaml.json'), '{\n  type: sleep\n}');
    writeFileSync(path.join(cwd, 'cut.json'), '{"type": "sleep",');
    writeFileSync(path.join(cwd, 'twice.json'), '{"n": 1, "n": 2}');
    const cases: [string[], RegExp][] = [
      [['gone.json'], /gone\.json cannot be read: ENOENT/],
      [['task.txt'], /extension "\.txt"/],
      [['broken.pb'], /REQUEST_UNDECODABLE: broken\.pb: /],
      [['broken.yaml'], /broken\.yaml is no valid YAML: .* at line 1, column 8$/m],
      [['yaml.json'], /yaml\.json is no valid JSON at line 2, column 3: /],
      [['cut.json'], /cut\.json is no valid JSON at line 1, column 1\d: /],
      [['typo.yaml'], /REQUEST_FIELD_INVALID: typo\.yaml: .*typ/],
      [['list.yaml'], /list\.yaml: /],
      [['task.json', '--inputs', 'list.yaml'], /expected an object of inputs/],
      [['task.json', '--inputs', 'broken.pb'], /broken\.pb/],
      [['task.json', '--inputs', 'twice.json'], /unique/],
      [['task.json', '-i', 'm=1'], /seen the inputs m, expected only declared ones: n, x, when, words/],
      [['task.json', '-i', 'n=word'], /LITERAL_UNCONVERTIBLE: .*n/],
      [['task.json', '-i', 'n=1.5'], /LITERAL_UNCONVERTIBLE/],
      [['task.json', '-i', 'words=a'], /LITERAL_UNCONVERTIBLE/],
      [['task.json', '-i', 'novalue'], /expected name=value/],
      [['task.json', '-i', 'n=[1'], /--input n is no valid YAML: .* at line 1, column 3$/m],
    ];
    for (const [args, message] of cases) {
      const command = run(['run', ...args]);
      assert.equal(await command.exitCode, 2, args.join(' '));
      assert.match(command.stderr(), message);
    }
    assert.equal(fixture.tasks.specs.length, 0);
  });

  it('answers 7 with the daemon’s own code when it refuses, and when there is none', async (t) => {
    const { fixture, run } = await bench(t);
    fixture.tasks.before = () => {
      throw new HostError('TASK_TYPE_UNKNOWN', 'no plugin serves sleep');
    };
    const refused = run(['run', 'task.yaml']);
    assert.equal(await refused.exitCode, 7);
    assert.match(refused.stderr(), /plugin-host: TASK_TYPE_UNKNOWN: no plugin serves sleep/);
    await fixture.server.forceStop();
    const unreachable = run(['plugins']);
    assert.equal(await unreachable.exitCode, 7);
    assert.match(
      unreachable.stderr(),
      /^plugin-host: UNAVAILABLE: no daemon can be reached at 127\.0\.0\.1:\d+ \(connect ECONNREFUSED [\d.:]+\); start one with plugin-host serve, or name it with --address or --config\n$/,
    );
  });

  it('stops following after --timeout and says how to go on', async (t) => {
    const { run } = await bench(t);
    const command = run(['run', 'task.yaml', '--timeout', '50ms']);
    assert.equal(await command.exitCode, 13);
    assert.match(command.stderr(), /plugin-host follow \S+/);
  });

  it('leaves the task at an interruption where nobody can be asked, and says how to follow or delete it', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.yaml']);
    await command.waitFor(/QUEUED/);
    command.signals.raise('SIGINT');
    assert.equal(await command.exitCode, 130);
    assert.equal(fixture.tasks.deletes.length, 0);
    const handle = /plugin-host follow (\S+)/.exec(command.stderr())?.[1] as string;

    const follow = run(['follow', handle, '--json']);
    await follow.waitFor(/QUEUED/);
    await move(fixture, phaseState('SUCCESS'));
    assert.equal(await follow.exitCode, 0);

    const remove = run(['delete', handle, '--reason', 'enough']);
    assert.equal(await remove.exitCode, 0);
    assert.equal(fixture.tasks.deletes[0]?.reason, 'enough');
    const asBase64 = Buffer.from(handle, 'base64url').toString('base64');
    assert.equal(await run(['delete', asBase64]).exitCode, 0);
    assert.deepEqual(fixture.tasks.deletes[1]?.handle, fixture.tasks.deletes[0]?.handle);
    for (const bad of ['', '=', 'no handle!', `${handle}===`, `${handle}!`]) {
      assert.equal((await cli(['follow', bad], { env: { PLUGIN_HOST_ADDRESS: fixture.address } })).code, 2, bad);
    }
  });

  it('deletes the task at a signal with --delete-on-interrupt', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.yaml', '--delete-on-interrupt', '--json']);
    await command.waitFor(/QUEUED/);
    command.signals.raise('SIGTERM');
    assert.equal(await command.exitCode, 12);
    assert.match(fixture.tasks.deletes[0]?.reason ?? '', /interrupted/);
    assert.deepEqual(JSON.parse(command.stdout().trim().split('\n').at(-1)!), {
      event: 'end',
      phase: null,
      deleted: true,
    });
  });

  it('asks on a terminal: yes deletes, no leaves, anything else goes on following', async (t) => {
    for (const [answer, code, deletes] of [
      ['y\n', 12, 1],
      ['n\n', 130, 0],
      ['c\n', 0, 0],
    ] as const) {
      const { fixture, run } = await bench(t);
      const command = run(['run', 'task.yaml'], { tty: true, env: { PLUGIN_HOST_ADDRESS: fixture.address } });
      await command.waitFor(/handle \S+/);
      await command.waitFor(/QUEUED - submitted/);
      command.signals.raise('SIGINT');
      await command.waitFor(/Delete the task\?/);
      assert.equal(fixture.tasks.deletes.length, 0);
      command.stdin.write(answer);
      if (code === 0) {
        await move(fixture, phaseState('RUNNING'));
        await command.waitFor(/RUNNING/);
        await move(fixture, phaseState('SUCCESS'));
      }
      assert.equal(await command.exitCode, code, answer);
      assert.equal(fixture.tasks.deletes.length, deletes);
    }
  });

  it('takes a second Ctrl-C in the question for no', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.yaml'], { tty: true, env: { PLUGIN_HOST_ADDRESS: fixture.address } });
    await command.waitFor(/QUEUED/);
    command.signals.raise('SIGINT');
    await command.waitFor(/Delete the task\?/);
    command.signals.raise('SIGINT');
    assert.equal(await command.exitCode, 130);
    assert.equal(fixture.tasks.deletes.length, 0);
  });

  it('asks nobody where the terminal’s input was used up for the inputs', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.json', '--inputs', '-'], {
      tty: true,
      env: { PLUGIN_HOST_ADDRESS: fixture.address },
    });
    command.stdin.end('n: 3');
    await command.waitFor(/QUEUED/);
    command.signals.raise('SIGINT');
    assert.equal(await command.exitCode, 130);
    assert.doesNotMatch(command.stderr(), /Delete the task/);
  });

  it('gives up a submission that is interrupted', async (t) => {
    const { fixture, run } = await bench(t);
    let reached = () => {};
    const entered = new Promise<void>((resolve) => {
      reached = resolve;
    });
    fixture.tasks.before = () => {
      reached();
      return new Promise(() => {});
    };
    const command = run(['run', 'task.yaml']);
    await entered;
    command.signals.raise('SIGINT');
    assert.equal(await command.exitCode, 130);
    assert.match(command.stderr(), /Interrupted while submitting/);
  });

  it('says so when somebody else deletes the task', async (t) => {
    const { fixture, run } = await bench(t);
    const command = run(['run', 'task.yaml']);
    await command.waitFor(/QUEUED/);
    await watched(fixture);
    const record = [...fixture.tasks.records.values()][0]!;
    fixture.tasks.ring.append(record, true);
    assert.equal(await command.exitCode, 12);
    assert.match(command.stderr(), /was deleted/);
  });
});

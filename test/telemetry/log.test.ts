import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { SecretMasks } from '../../src/lib/secrets.js';
import { faultFields, LOG_EVENTS, logLoadReport } from '../../src/telemetry/index.js';
import { createRedactor } from '../../src/telemetry/redact.js';
import { Telemetry } from '../../src/telemetry/telemetry.js';
import { ownFiles } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { captureLog } from './support.js';

const SECRET = 'hunter2-hunter2';

function known(secret: string): SecretMasks {
  const masks = new SecretMasks();
  masks.addOwn(secret);
  return masks;
}

describe('log', () => {
  it('names every event and field in words, with one level each', () => {
    for (const [name, { message, fields }] of Object.entries(LOG_EVENTS)) {
      assert.match(name, /^[a-z]+(\.[a-z_]+)+$/);
      assert.ok(message.length > 8, name);
      for (const [field, meaning] of Object.entries(fields)) {
        assert.match(field, /^[a-z][A-Za-z]*$/);
        assert.ok(!['time', 'level', 'pid', 'event', 'message'].includes(field), `${name}.${field} is in every line`);
        assert.ok(meaning.length > 3, `${name}.${field}`);
      }
    }
  });

  it('has no event that nothing emits', () => {
    const sources = ownFiles()
      .filter((file) => file.startsWith('src/') && file.endsWith('.ts') && file !== 'src/telemetry/events.ts')
      .map((file) => readFileSync(fromRoot(file), 'utf8'))
      .join('\n');
    assert.ok(sources.length > 100_000);
    const unused = Object.keys(LOG_EVENTS).filter((name) => !sources.includes(`'${name}'`));
    // Named by their level: plugin.log.${level}
    assert.deepEqual(
      unused.filter((name) => !name.startsWith('plugin.log.')),
      [],
    );
    assert.match(sources, /`plugin\.log\.\$\{event\.level\}`/);
  });

  it('writes one JSON object a line with event, level, message and fields', () => {
    const { log, lines } = captureLog();
    log.emit('remote.up', { plugin: 'slurm', downMs: 5 });
    log.emit('call.rejected', { plugin: 'slurm', method: 'get', code: 'X' });
    log.child({ plugin: 'a' }).emit('task.orphan_deleted', { task: 'k-1' });
    assert.equal(lines.length, 2, 'debug lines are below the level');
    const { time, pid, ...rest } = lines[0] as Record<string, unknown>;
    assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
    assert.equal(pid, process.pid);
    assert.deepEqual(rest, {
      event: 'remote.up',
      level: 'info',
      message: 'the reads of a remote are up again',
      plugin: 'slurm',
      downMs: 5,
    });
    assert.deepEqual([lines[1]?.plugin, lines[1]?.task, lines[1]?.level], ['a', 'k-1', 'warn']);
    assert.equal(log.enabled('call.rejected'), false);
    assert.equal(log.enabled('remote.up'), true);
  });

  it('writes plain lines where asked to', () => {
    const { log, text } = captureLog({ format: 'text' });
    log.emit('remote.down', { plugin: 'slurm', error: 'two words', code: undefined });
    assert.match(
      text(),
      /^\S+Z WARN {2}remote\.down the reads of a remote are taken to be down; its tasks go on plugin=slurm error="two words"\n$/,
    );
  });

  it('writes no secret: by name, by value, in URLs and headers, at any depth, in whatever a plugin sends', () => {
    const { log, text, lines } = captureLog({ redactNames: ['ssn'], masks: known(SECRET) });
    log.emit('plugin.log.info', {
      plugin: 'a',
      line: `GET https://user:pa55word@host/x with Bearer abc.def.ghi and ${SECRET}!`,
      data: {
        password: 'pa55word',
        Authorization: 'pa55word',
        nested: [{ api_key: 'pa55word', SSN: 'pa55word', token: { value: 'pa55word' } }],
        [`key ${SECRET}`]: 1,
        error: new Error(`failed with ${SECRET}`),
        harmless: 'kept',
      },
    });
    assert.doesNotMatch(text(), /pa55word|hunter2|abc\.def/);
    assert.match(text(), /"harmless":"kept"/);
    assert.match(String(lines[0]?.line), /https:\/\/\[redacted\]@host/);
  });

  it('stands whatever is thrown at it, and bounds it', () => {
    const { log, lines } = captureLog();
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    const hostile = Object.defineProperty({}, 'x', { enumerable: true, get: () => assert.fail('getter') });
    for (const data of [
      loop,
      hostile,
      10n,
      Symbol('s'),
      () => 1,
      Buffer.alloc(9),
      JSON.parse('{"__proto__": {"a": 1}}'),
    ]) {
      log.emit('plugin.log.warn', { data });
    }
    log.emit('plugin.log.warn', { line: 'x'.repeat(1e6), data: Array(1e4).fill({ a: 1 }) });
    assert.equal(lines.length, 8);
    for (const line of lines) assert.ok(JSON.stringify(line).length < 20_000);
    assert.equal(({} as { a?: number }).a, undefined);
  });

  it('finds a secret wherever it stands in a long text', () => {
    const redact = createRedactor({ names: [], masks: known(SECRET) });
    fc.assert(
      fc.property(fc.nat({ max: 9000 }), fc.nat({ max: 9000 }), (before, after) => {
        const out = String(redact('x'.repeat(before) + SECRET + 'y'.repeat(after)));
        for (let n = 6; n <= SECRET.length; n++)
          assert.ok(!out.includes(SECRET.slice(0, n)), `${n} characters of it at ${before}`);
      }),
      { numRuns: 200 },
    );
    // Credentials that are known by their form only.
    for (const credential of ['https://user:hush-hush@host/', 'Bearer hush-hush']) {
      for (let before = 8_100; before < 8_200; before++) {
        const out = String(redact(`${'x'.repeat(before)} ${credential}${' y'.repeat(1_000)}`));
        assert.ok(!out.includes('hush'), `${credential} at ${before}`);
      }
    }
  });

  it('says what was thrown, with its code and stack', () => {
    const error = new HostError('INTERNAL', 'oops');
    assert.equal(faultFields(error).error, 'INTERNAL: oops');
    assert.equal(faultFields('text').error, 'text');
    assert.match(String(faultFields(error).stack), /log\.test/);
  });

  it('turns the events of the other rooms into lines at the right level', () => {
    const { log, lines } = captureLog({ level: 'debug' });
    const telemetry = new Telemetry({
      log,
      version: '1',
      plugins: ['a'],
      processMetrics: false,
    });
    const { hostEvents, taskEvents, rpcLog } = telemetry;
    const change = {
      pluginId: 'a',
      previous: 'serving',
      reason: 'crashed',
      code: undefined,
      pid: 5,
      restarts: 1,
    } as const;
    hostEvents.lifecycle({ ...change, state: 'restarting' });
    hostEvents.lifecycle({ ...change, state: 'serving' });
    hostEvents.log({ pluginId: 'a', level: 'error', message: 'from the plugin', fields: { n: 1 }, source: 'plugin' });
    taskEvents.fault('deletes', new Error('bug'));
    telemetry.refreshEvents('a').fault(new Error('the store threw'));
    rpcLog.fault({ method: 'Status', error: 'x' });
    taskEvents.deleteOwed('k-1', 'a', 'asked');
    logLoadReport(log, [
      {
        label: 'a',
        pluginId: 'a',
        source: './a.mjs',
        required: true,
        outcome: 'failed',
        error: new HostError('PLUGIN_LOAD_FAILED', 'no'),
      },
      {
        label: 'b',
        pluginId: 'b',
        source: './b.mjs',
        required: false,
        outcome: 'skipped',
        error: new HostError('PLUGIN_SKIPPED', 'not here'),
      },
      { label: 'c', pluginId: 'c', source: './c.mjs', required: false, outcome: 'loaded', error: undefined },
    ]);
    assert.deepEqual(
      lines.map(({ event, level }) => `${event} ${level}`),
      [
        'plugin.trouble warn',
        'plugin.state info',
        'plugin.log.error error',
        'daemon.fault error',
        'daemon.fault error',
        'rpc.fault error',
        'delete.owed debug',
        'plugin.load_failed error',
        'plugin.skipped info',
        'plugin.loaded info',
      ],
    );
    assert.equal(lines[0]?.processId, 5, 'pid is the daemon itself');
    assert.deepEqual(lines[2]?.data, { n: 1 });
    assert.deepEqual([lines[4]?.where, lines[4]?.error], ['reads of plugin a', 'the store threw']);
    assert.deepEqual([lines[7]?.code, lines[7]?.error], ['PLUGIN_LOAD_FAILED', 'no']);
  });
});

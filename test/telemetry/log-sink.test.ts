import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { LogSink } from '../../src/telemetry/log-sink.js';
import { compiled } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';

const OPTIONS = { maxBytes: 4_096, flushMs: 50, onResumed: () => undefined };

it('writes every line to a file in order, those of the last moment included', (t) => {
  const file = path.join(tempFolder(t), 'log');
  const fd = openSync(file, 'a');
  t.after(() => closeSync(fd));
  const sink = new LogSink({ ...OPTIONS, fd });
  const lines = Array.from({ length: 100 }, (_, i) => `line ${i}\n`);
  for (const line of lines) sink.write(line);
  sink.flush();
  sink.flush();
  assert.equal(readFileSync(file, 'utf8'), lines.join(''));
  assert.equal(sink.dropped, 0);
});

it('drops and counts whole lines beyond its bound, and what a full disk refuses, without waiting for it', {
  skip: !existsSync('/dev/full'),
}, (t) => {
  const fd = openSync('/dev/full', 'w');
  t.after(() => closeSync(fd));
  const sink = new LogSink({ ...OPTIONS, fd });
  for (let i = 0; i < 1_000; i++) sink.write(`${'x'.repeat(99)}\n`);
  assert.equal(sink.dropped, 1_000 - Math.floor(4_096 / 100));
  sink.flush();
  assert.equal(sink.dropped, 1_000);
});

it('waits for a stuck reader of a pipe within its bound, goes on when it reads, and says what is missing', {
  timeout: 60_000,
}, async (t) => {
  const sinkUrl = pathToFileURL(compiled('src/telemetry/log-sink.ts')).href;
  const code = `
    import { LogSink } from ${JSON.stringify(sinkUrl)};
    void process.stdout;
    let told = 0;
    const sink = new LogSink({ fd: 1, maxBytes: 100_000, flushMs: 100, onResumed: (lines) => { told += lines; process.stderr.write('resumed ' + lines + '\\n'); } });
    const line = (i) => JSON.stringify({ i, pad: 'x'.repeat(100) }) + '\\n';
    for (let i = 0; i < 5_000; i++) sink.write(line(i));
    const look = setInterval(() => {
      if (told === 0) return;
      clearInterval(look);
      for (let i = 5_000; i < 10_000; i++) sink.write(line(i));
      const start = performance.now();
      sink.flush();
      sink.flush();
      process.stderr.write('flushed ' + Math.round(performance.now() - start) + ' dropped ' + sink.dropped + '\\n');
      process.exit(0);
    }, 10);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    err += part;
    // From now on nobody reads.
    if (/resumed/.test(err)) child.stdout.pause();
  });
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    out += part;
  });
  await new Promise((resolve) => child.once('exit', resolve));
  child.stdout.resume();
  await new Promise((resolve) => child.stdout.once('close', resolve));
  const rows = out.trimEnd().split('\n').slice(0, -1);
  for (const row of rows) assert.doesNotThrow(() => JSON.parse(row), row);
  const [, flushed, dropped] = /flushed (\d+) dropped (\d+)/.exec(err) ?? [];
  assert.match(err, /^resumed \d+\n/);
  assert.ok(
    Number(dropped) > 0 && rows.length + Number(dropped) >= 9_999,
    `${rows.length} written, ${dropped} dropped`,
  );
  // Far more than the bound of 100 ms on a busy machine, and far less than for ever.
  assert.ok(Number(flushed) < 20_000, `${flushed} ms`);
});

// Runs test files until one test fails.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

/**
 * Runs the files, in this order and in one process, since starting one for each costs more than most tests. Where no test
 * ends for `silenceMs`, what runs is taken to hang. Resolves to `{ outcome, by }`: passed; killed, by the title of a test;
 * or timed out.
 */
export function runUntilOneFails(root, files, silenceMs) {
  const runner = path.join(root, 'dist', 'all-tests.mjs');
  writeFileSync(runner, files.map((file) => `import ${JSON.stringify(path.join(root, file))};\n`).join(''));
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--max-old-space-size=1024', '--test-reporter=tap', runner], {
      cwd: root,
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let text = '';
    let stopped = 'killed';
    const stop = (outcome) => {
      stopped = outcome;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    };
    let timer = setTimeout(stop, silenceMs, 'timed out');
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      clearTimeout(timer);
      timer = setTimeout(stop, silenceMs, 'timed out');
      text = (text + chunk).slice(-200_000);
      if (/^ *not ok /m.test(text)) stop('killed');
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ outcome: code === 0 ? 'passed' : stopped, by: text.match(/^ *not ok \d+ - (.*)$/m)?.[1] });
    });
  });
}

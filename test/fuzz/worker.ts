// One target in a process of its own, so that what a wrong input does to it is seen from outside:
// `node worker.js TARGET SEED FROM SECONDS INPUTS [exact]`. Each line on standard output is one JSON object.
import { writeSync } from 'node:fs';
import { Decisions } from '../support/decisions.js';
import type { Line } from './supervise.js';
import { Finding, type Subject } from './target.js';
import { targetOf } from './targets/index.js';

const [name = '', seed = '', from = '0', seconds = '1', most = '', exact] = process.argv.slice(2);
const REPORT_MS = 500;
/** A target that holds the event loop gives it back this often, for timers and for the collector. */
const TURN_INPUTS = 256;
/** Of the time and of the inputs. */
const FIRST_PART = 0.4;
/** More of them tell no more. */
const MOST_FINDINGS = 10;

const collect = (globalThis as { gc?: () => void }).gc;
if (collect === undefined) throw new Error('the worker needs --expose-gc');

const undone: (() => void | Promise<void>)[] = [];
const undo = { after: (done: () => void | Promise<void>) => void undone.unshift(done) };

/** At once: a line that waits in this process is lost with it. */
const say = (line: Line): void => void writeSync(1, `${JSON.stringify(line)}\n`);

function heldHere(): Promise<number> {
  for (let times = 0; times < 4; times++) collect?.();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return Promise.resolve(heapUsed + external + arrayBuffers);
}

const target = targetOf(name);
const subject: Subject = await target.open(undo, seed);
const decisions = new Decisions(seed);
const held = () => subject.held?.() ?? heldHere();
const startedAt = performance.now();
const endsAt = startedAt + Number(seconds) * 1000;
const first = Number(from);
const end = most === '' ? Number.POSITIVE_INFINITY : first + Number(most);
let next = first;
let done = 0;
let findings = 0;
let reportedAt = startedAt;
let gone = false;

async function one(input: number): Promise<void> {
  if (exact !== undefined) say({ begins: input });
  try {
    const running = subject.one(decisions.of(name, input));
    if (running !== undefined) await running;
  } catch (error) {
    findings += 1;
    const kind = error instanceof Finding ? error.kind : 'wrong';
    // What ends the target ends the run: the inputs under way would each say the same.
    if (gone) return;
    gone = kind === 'crash';
    say({
      finding: {
        target: name,
        kind,
        input,
        message: error instanceof Finding ? error.message : String((error as Error)?.stack ?? error),
      },
    });
  }
  done += 1;
}

/** Takes inputs until there are enough of them, or until this time. */
async function inputs(until: number, last: number): Promise<void> {
  while (next < last && performance.now() < until && findings < MOST_FINDINGS && !gone) {
    const input = next++;
    await one(input);
    if (input % TURN_INPUTS === 0) await new Promise((resolve) => setImmediate(resolve));
    if (performance.now() - reportedAt > REPORT_MS) {
      reportedAt = performance.now();
      say({ done });
    }
  }
}

const lanes = (until: number, last: number) =>
  Promise.all(Array.from({ length: subject.width ?? 1 }, () => inputs(until, last)));

// What is filled once (code, caches, tables of bounded size) is filled in the first part and not counted as growth.
await lanes(startedAt + (endsAt - startedAt) * FIRST_PART, first + (end - first) * FIRST_PART);
const before = gone ? 0 : await held();
await lanes(endsAt, end);
const growth = gone ? 0 : (await held()) - before;
say({ done, ended: true, growth });
for (const act of undone) {
  try {
    await act();
  } catch (error) {
    // What is left is searched for secrets.
    say({ finding: { target: name, kind: 'wrong', input: next, message: String((error as Error)?.message ?? error) } });
  }
}

import type { Clock } from '../../src/lib/clock.js';
import { ManualClock } from '../../src/lib/clock.js';
import { CrashEngine, type CrashOptions, Disk } from '../state/engines.js';
import { type Harness, type HarnessOptions, makeHarness } from './harness.js';

/** The time of one run of a daemon: dead, it fires no more. */
export class RunClock implements Clock {
  readonly #manual: ManualClock;
  dead = false;

  constructor(manual: ManualClock) {
    this.#manual = manual;
  }

  now(): number {
    return this.#manual.now();
  }

  setTimer(delayMs: number, fn: () => void) {
    return this.#manual.setTimer(delayMs, () => {
      if (!this.dead) fn();
    });
  }
}

/** A machine on which a daemon runs, dies and is started again, over one disk. */
export class Machine {
  readonly manual = new ManualClock();
  readonly disk = new Disk();
  #clock: RunClock | undefined;
  engine = new CrashEngine(this.disk);

  async start(options: HarnessOptions = {}, crash: CrashOptions = {}): Promise<Harness> {
    this.#clock = new RunClock(this.manual);
    this.engine = new CrashEngine(this.disk, crash);
    const { engine } = this;
    return makeHarness({ engine, world: { manual: this.manual, clock: this.#clock }, warmUpMs: 0, ...options });
  }

  /** SIGKILL, or the mains. */
  kill(): void {
    this.engine.powerLoss();
    if (this.#clock !== undefined) this.#clock.dead = true;
  }
}

import { fstatSync, write, writeSync } from 'node:fs';
import { writeWithin } from '../lib/write-within.js';

export interface LogSinkOptions {
  /** Where lines go. A pipe, socket or terminal must be set not to block, as Node does for its standard streams. */
  readonly fd: number;
  /** Bytes that may wait for a slow reader; beyond it whole lines are dropped, since memory is bounded. */
  readonly maxBytes: number;
  /** Longest wait of all flushes together for a reader that does not take the rest, in milliseconds. */
  readonly flushMs: number;
  /** Writing works again; so many lines were left out before. Called outside of `write`. */
  readonly onResumed: (lines: number) => void;
}

/** Between two tries on a reader that takes nothing, and on a disk or pipe that refuses. Milliseconds. */
const FULL_MS = 50;
const REFUSED_MS = 1_000;
/** Given to the system at once. */
const CHUNK_BYTES = 64 * 1024;

/**
 * Lines on their way out of the process. `write` never blocks and never throws: what cannot leave waits within a bound,
 * and what exceeds it, or is refused by a full disk or a reader that is gone, is dropped and counted.
 *
 * States: idle → `write` → writing (one chunk is with the system, or waits for the next try) → idle when nothing waits.
 */
export class LogSink {
  readonly #options: LogSinkOptions;
  /** Files are written behind by the system's own threads; all else cannot block, and is told at once what it takes. */
  readonly #isFile: boolean;
  #waiting: Buffer[] = [];
  #bytes = 0;
  /** A chunk of a file that is with the system, which takes it whatever becomes of this process. */
  #underway: Buffer | undefined;
  #scheduled = false;
  /** What stands out there ends within a line whose rest was dropped. */
  #cut = false;
  #untold = 0;
  #flushMs: number;
  /** Lines dropped since the start. */
  dropped = 0;

  constructor(options: LogSinkOptions) {
    this.#options = options;
    this.#flushMs = options.flushMs;
    this.#isFile = isFile(options.fd);
  }

  /** Takes one line, its end included. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > this.#options.maxBytes) {
      this.#drop(1);
      return;
    }
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
    if (!this.#scheduled) this.#schedule(0);
  }

  /** Writes what waits, synchronously and for a bounded time; for the end of the process. Callable twice. */
  flush(): void {
    const start = performance.now();
    while (this.#waiting.length > 0) {
      const chunk = this.#take();
      const written = writeWithin(this.#options.fd, chunk, start + this.#flushMs);
      if (written === chunk.length) continue;
      this.#drop(linesOf(chunk.subarray(written)) + this.#waiting.length);
      this.#cut = written > 0 && chunk[written - 1] !== NEWLINE;
      this.#waiting = [];
      this.#bytes = 0;
    }
    this.#flushMs = Math.max(0, this.#flushMs - (performance.now() - start));
  }

  #schedule(delayMs: number): void {
    this.#scheduled = true;
    const go = () => {
      this.#scheduled = false;
      this.#send();
    };
    if (delayMs === 0) setImmediate(go);
    // A reader that takes nothing keeps no process alive; its end flushes.
    else setTimeout(go, delayMs).unref();
  }

  #send(): void {
    if (this.#waiting.length === 0 || this.#underway !== undefined) return;
    const chunk = this.#take();
    if (this.#isFile) {
      this.#underway = chunk;
      write(this.#options.fd, chunk, (error, written) => {
        this.#underway = undefined;
        this.#sent(chunk, error ?? undefined, written ?? 0);
      });
      return;
    }
    try {
      this.#sent(chunk, undefined, writeSync(this.#options.fd, chunk));
    } catch (error) {
      this.#sent(chunk, error as NodeJS.ErrnoException, 0);
    }
  }

  #sent(chunk: Buffer, error: NodeJS.ErrnoException | undefined, written: number): void {
    const rest = chunk.subarray(written);
    if (error === undefined) {
      if (rest.length > 0) this.#giveBack(rest);
      else this.#resumed();
      if (this.#waiting.length > 0 && !this.#scheduled) this.#schedule(rest.length > 0 ? FULL_MS : 0);
      return;
    }
    if (error.code === 'EAGAIN' || error.code === 'EBUSY') {
      this.#giveBack(rest);
      if (!this.#scheduled) this.#schedule(FULL_MS);
      return;
    }
    // Kept, these lines would stand before the newer ones for as long as the disk is full.
    this.#drop(linesOf(rest));
    if (!this.#scheduled) this.#schedule(REFUSED_MS);
  }

  /** The next chunk; whole lines, but for what a partial write left of one. */
  #take(): Buffer {
    let size = 0;
    let count = 0;
    for (const { length } of this.#waiting) {
      if (count > 0 && size + length > CHUNK_BYTES) break;
      size += length;
      count++;
    }
    this.#bytes -= size;
    const lines = this.#waiting.splice(0, count);
    if (this.#cut) lines.unshift(Buffer.of(NEWLINE));
    this.#cut = false;
    return lines.length === 1 ? (lines[0] as Buffer) : Buffer.concat(lines);
  }

  #giveBack(rest: Buffer): void {
    this.#waiting.unshift(rest);
    this.#bytes += rest.length;
  }

  #drop(lines: number): void {
    this.dropped += lines;
    this.#untold += lines;
  }

  #resumed(): void {
    if (this.#untold === 0 || this.#bytes > this.#options.maxBytes / 2) return;
    const lines = this.#untold;
    this.#untold = 0;
    this.#options.onResumed(lines);
  }
}

const NEWLINE = 10;

function linesOf(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Timer } from '../../lib/clock.js';
import { tellsShortage } from '../../lib/shortage.js';
import { cutText } from '../../lib/text.js';
import { LineBudget, type LineBudgetOptions } from './line-budget.js';

export interface OutputLinesOptions extends LineBudgetOptions {
  readonly onLine: (line: string) => void;
  /** Takes secrets out of a line, whatever way it was printed. */
  readonly mask: (text: string) => string;
  /** Where a secret begins that the end of the text may divide; its length where none does. */
  readonly openAt: (text: string) => number;
}

const MAX_LINE = 8_192;
/** Read in a second; what a process prints beyond has to wait in its pipe, which slows the process and nobody else. */
const BYTES_PER_SECOND = 4 * 1024 * 1024;
const SECOND_MS = 1_000;

/**
 * The lines that a plugin process prints, bounded in length and number. Ends with the stream.
 *
 * States: read; paused, once a second has brought its share, until the next; ended, with the stream.
 */
export class OutputLines {
  readonly #stream: Readable;
  readonly #options: OutputLinesOptions;
  readonly #decoder = new StringDecoder('utf8');
  readonly #budget: LineBudget;
  #rest = '';
  #bytes = 0;
  #window: Timer | undefined;
  /** The last line that looks like an error: says why a process ended. */
  lastError = '';
  /** Whether a line said that the machine is short of file handles, memory, processes or disk space. */
  toldShortage = false;

  constructor(stream: Readable, options: OutputLinesOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#budget = new LineBudget(options);
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('end', () => this.#finish());
    stream.on('error', () => undefined);
  }

  #take(chunk: Buffer): void {
    this.#window ??= this.#options.clock.setTimer(SECOND_MS, () => this.#nextWindow());
    this.#bytes += chunk.length;
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > MAX_LINE) {
      // What may be the start of a secret waits for the rest of it, so that no cut divides one.
      const open = this.#options.openAt(this.#rest);
      const masked = this.#options.mask(this.#rest.slice(0, open));
      if (masked.length >= MAX_LINE) {
        lines.push(masked.slice(0, MAX_LINE));
        this.#rest = masked.slice(MAX_LINE) + this.#rest.slice(open);
      }
    }
    for (const line of lines) this.#emit(line);
    if (this.#bytes > BYTES_PER_SECOND) this.#stream.pause();
  }

  #emit(raw: string): void {
    const line = this.#options.mask(raw.endsWith('\r') ? raw.slice(0, -1) : raw);
    if (line.trim() === '') return;
    if (/Error\b|FATAL/.test(line)) this.lastError = cutText(line, 300);
    if (tellsShortage(line)) this.toldShortage = true;
    if (this.#budget.take()) this.#options.onLine(line.length > MAX_LINE ? `${cutText(line, MAX_LINE)}…` : line);
  }

  #nextWindow(): void {
    this.#window = undefined;
    this.#bytes = 0;
    if (this.#stream.isPaused()) this.#stream.resume();
  }

  #finish(): void {
    this.#window?.cancel();
    if (this.#rest !== '') this.#emit(this.#rest);
    this.#rest = '';
    this.#budget.end();
  }
}

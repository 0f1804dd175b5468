import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { Pace } from '../../lib/pace.js';
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
/** Read in a second, evenly; what a process prints beyond has to wait in its pipe, which slows the process and nobody else. */
const BYTES_PER_SECOND = 4 * 1024 * 1024;
/** That may come at once after a quiet time, and with it the read that goes above it. */
const BYTES_AT_ONCE = 128 * 1024;
const MAX_ERROR = 300;
/** So many places are looked at for the last error. */
const MOST_HITS = 20;
const TELLS_ERROR = /Error\b|FATAL/;

/**
 * The lines that a plugin process prints, bounded in length and number, and in what they cost the daemon: what is more than its second
 * has room for is neither cut into lines nor masked, since nobody gets to see it. Ends with the stream.
 *
 * States: read; paused, while more has come than evenly; ended, with the stream.
 */
export class OutputLines {
  readonly #options: OutputLinesOptions;
  readonly #decoder = new StringDecoder('utf8');
  readonly #budget: LineBudget;
  readonly #pace: Pace;
  /** Of a line whose end has not come. At most one that is told in pieces, and what may become a secret. */
  #rest = '';
  /** The last line that looks like an error: says why a process ended. */
  lastError = '';
  /** Whether a line said that the machine is short of file handles, memory, processes or disk space. */
  toldShortage = false;

  constructor(stream: Readable, options: OutputLinesOptions) {
    this.#options = options;
    this.#budget = new LineBudget(options);
    this.#pace = new Pace({
      clock: options.clock,
      perSecond: BYTES_PER_SECOND,
      atOnce: BYTES_AT_ONCE,
      onGoOn: () => stream.resume(),
    });
    stream.on('data', (chunk: Buffer) => {
      // Not by what has come, but by what is looked at for it: a byte may follow upon the beginning of a secret that is long.
      this.#pace.take(chunk.length + this.#rest.length);
      this.#take(this.#decoder.write(chunk));
      if (this.#pace.rests) stream.pause();
    });
    stream.on('end', () => this.#finish());
    stream.on('error', () => undefined);
    stream.on('close', () => this.#pace.end());
  }

  #take(more: string): void {
    const text = this.#rest + more;
    const end = text.lastIndexOf('\n') + 1;
    this.#rest = text.slice(end);
    this.#tellLines(text, end);
    if (this.#rest.length > MAX_LINE) this.#tellBegun();
  }

  /** Lines that end before `end`, as long as there is room for them. */
  #tellLines(text: string, end: number): void {
    for (let at = wordFrom(text, 0); at < end; at = wordFrom(text, text.indexOf('\n', at))) {
      const from = text.lastIndexOf('\n', at) + 1;
      if (!this.#budget.hasRoom()) {
        this.#leaveOut(text.slice(from, end), linesIn(text, from, end));
        return;
      }
      this.#tellWhole(text.slice(from, text.indexOf('\n', at)));
    }
  }

  #tellWhole(raw: string): void {
    const line = this.#options.mask(raw.endsWith('\r') ? raw.slice(0, -1) : raw);
    this.#tell(line.length > MAX_LINE ? `${cutText(line, MAX_LINE)}…` : line);
  }

  /** What has come of a long line, in pieces; what may be the start of a secret waits for the rest of it, so that no cut divides one. */
  #tellBegun(): void {
    const text = this.#rest;
    const open = this.#options.openAt(text);
    if (!this.#budget.hasRoom()) {
      this.#rest = text.slice(open);
      if (open > 0) this.#leaveOut(text.slice(0, open), Math.ceil(open / MAX_LINE));
      return;
    }
    const masked = this.#options.mask(text.slice(0, open));
    let told = 0;
    for (; masked.length - told >= MAX_LINE; told += MAX_LINE) this.#tell(masked.slice(told, told + MAX_LINE));
    this.#rest = masked.slice(told) + text.slice(open);
  }

  #tell(line: string): void {
    if (TELLS_ERROR.test(line)) this.lastError = cutText(line, MAX_ERROR);
    if (tellsShortage(line)) this.toldShortage = true;
    if (this.#budget.take()) this.#options.onLine(line);
  }

  #leaveOut(text: string, lines: number): void {
    this.#budget.leaveOut(lines);
    const error = lastErrorIn(text);
    if (error !== undefined) this.lastError = cutText(this.#options.mask(error), MAX_ERROR);
    if (tellsShortage(text)) this.toldShortage = true;
  }

  #finish(): void {
    const rest = this.#rest;
    // A process may end while it prints a secret: what is left of one before the mark of a cut is masked.
    if (wordFrom(rest, 0) < rest.length) this.#tellWhole(this.#options.openAt(rest) < rest.length ? `${rest}…` : rest);
    this.#rest = '';
    this.#budget.end();
  }
}

const NEWLINE = 10;
const SPACE = 32;
const WORD = /\S/g;

/** Where something is said from here on, over any number of empty lines; the text's length where nothing is. */
function wordFrom(text: string, from: number): number {
  WORD.lastIndex = from;
  return WORD.test(text) ? WORD.lastIndex - 1 : text.length;
}

/** How many lines of it say something. */
function linesIn(text: string, from: number, end: number): number {
  let lines = 0;
  let says = false;
  for (let at = from; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code > SPACE) says = true;
    else if (code === NEWLINE && says) {
      lines += 1;
      says = false;
    }
  }
  return lines;
}

/** The last line that looks like an error, as far as it is among the last lines that hold such words at all. */
function lastErrorIn(text: string): string | undefined {
  for (let at = text.length, hits = 0; hits < MOST_HITS; hits++) {
    at = Math.max(wordBefore(text, 'Error', at), wordBefore(text, 'FATAL', at));
    if (at < 0) return undefined;
    const from = text.lastIndexOf('\n', at) + 1;
    const end = text.indexOf('\n', at);
    const line = text.slice(from, end < 0 ? text.length : end);
    if (TELLS_ERROR.test(line)) return line;
    at = from;
  }
  return undefined;
}

function wordBefore(text: string, word: string, before: number): number {
  return before === 0 ? -1 : text.lastIndexOf(word, before - 1);
}

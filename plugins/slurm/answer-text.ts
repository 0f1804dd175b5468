/** What an answer's text holds. */
export interface ParsedAnswer {
  /** Undefined where the text is not JSON, also not after mending. */
  readonly json: unknown;
  /** Records of its `jobs` that could not be read, as they came; the others stand in `json`. */
  readonly broken: readonly string[];
}

/**
 * Reads an answer of slurmrestd, also one that is not quite JSON. Its serializer prints what is in a record: a number
 * that is none comes as `NaN`, and one such record of anybody's job must not hide all others. What is mended loses
 * nothing: numbers that are none become null, commas before a closing bracket go, raw control characters and unknown
 * escapes inside strings are escaped. A record that is beyond that is left out and told in `broken`.
 */
export function parseAnswer(text: string): ParsedAnswer {
  const plain = tryParse(text);
  if (plain !== undefined) return { json: plain, broken: [] };
  const mended = mend(text);
  const json = tryParse(mended);
  return json === undefined ? parseApart(mended) : { json, broken: [] };
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const isLetter = (code: number) => (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
const isDigit = (code: number) => code >= 0x30 && code <= 0x39;

/** One pass over the text; nothing is copied but around what is mended. */
function mend(text: string): string {
  const parts: string[] = [];
  let kept = 0;
  const replace = (from: number, to: number, by: string) => {
    parts.push(text.slice(kept, from), by);
    kept = to;
  };
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  if (at === 1) replace(0, 1, '');
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = mendString(text, at, replace);
    else if (isDigit(code)) at = endOfNumber(text, at);
    else if (isLetter(code)) at = mendWord(text, at, replace);
    else if (code === 0x2c) at = mendComma(text, at, replace);
    else at++;
  }
  parts.push(text.slice(kept));
  return parts.join('');
}

type Replace = (from: number, to: number, by: string) => void;

/** Answers the position behind the string that begins at `at`. */
function mendString(text: string, begin: number, replace: Replace): number {
  for (let at = begin + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) {
      const next = text[at + 1] ?? '';
      if (!'"\\/bfnrtu'.includes(next)) replace(at, at, '\\');
      else at++;
    } else if (code < 0x20) {
      replace(at, at + 1, `\\u${code.toString(16).padStart(4, '0')}`);
    }
  }
  return text.length;
}

/** Keeps the `e` of an exponent from being taken for a word. */
function endOfNumber(text: string, begin: number): number {
  let at = begin;
  while (at < text.length && (isDigit(text.charCodeAt(at)) || '.eE+-'.includes(text[at] as string))) at++;
  return at;
}

function mendWord(text: string, begin: number, replace: Replace): number {
  let end = begin;
  while (end < text.length && isLetter(text.charCodeAt(end))) end++;
  if (/^(nan|inf|infinity)$/i.test(text.slice(begin, end))) {
    const signed = text[begin - 1] === '-' || text[begin - 1] === '+';
    replace(signed ? begin - 1 : begin, end, 'null');
  }
  return end;
}

function mendComma(text: string, begin: number, replace: Replace): number {
  let at = begin + 1;
  while (at < text.length && ' \t\r\n'.includes(text[at] as string)) at++;
  if (text[at] === ']' || text[at] === '}') replace(begin, begin + 1, '');
  return at;
}

/** Reads the records of `jobs` one by one, so that a broken one hides no other. */
function parseApart(text: string): ParsedAnswer {
  const found = splitJobs(text);
  const envelope = found === undefined ? undefined : tryParse(`${text.slice(0, found.begin)}${text.slice(found.end)}`);
  if (found === undefined || typeof envelope !== 'object' || envelope === null) return { json: undefined, broken: [] };
  const jobs: unknown[] = [];
  const broken: string[] = [];
  for (const record of found.records) {
    const job = tryParse(record);
    if (job === undefined) broken.push(record);
    else jobs.push(job);
  }
  return { json: { ...envelope, jobs }, broken };
}

interface Split {
  /** Of what is between the brackets of the array. */
  readonly begin: number;
  readonly end: number;
  readonly records: readonly string[];
}

/** Cuts the array `jobs` of the outermost object at its commas; undefined where there is none, or it does not end. */
function splitJobs(text: string): Split | undefined {
  const records: string[] = [];
  let depth = 0;
  let begin: number | undefined;
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    if (char === '"') {
      const end = mendString(text, at, () => undefined);
      const isKey = begin === undefined && depth === 1 && text.slice(at, end) === '"jobs"';
      const opening = isKey ? /^\s{0,64}:\s{0,64}\[/.exec(text.slice(end, end + 130)) : null;
      at = end - 1;
      if (opening !== null) {
        at = end + opening[0].length - 1;
        begin = at + 1;
        from = begin;
        depth++;
      }
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') depth--;
    const isCut = begin !== undefined && ((char === ',' && depth === 2) || depth < 2);
    if (!isCut || begin === undefined) continue;
    const record = text.slice(from, at).trim();
    if (record !== '' || char === ',') records.push(record);
    from = at + 1;
    if (depth < 2) return { begin, end: at, records };
  }
  return undefined;
}

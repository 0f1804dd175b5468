import { type ErrorCode, HostError, messageOf } from '../../errors/index.js';

/** What the system says of itself, by errno and by LevelDB's words, which carry no errno. */
const SIGNS: readonly { readonly code: ErrorCode; readonly errno: readonly string[]; readonly words: RegExp }[] = [
  {
    code: 'STATE_DISK_FULL',
    errno: ['ENOSPC', 'EDQUOT', 'EFBIG'],
    words: /No space left on device|Disk quota exceeded|File too large/,
  },
  { code: 'STATE_READ_ONLY', errno: ['EROFS'], words: /Read-only file system/ },
  { code: 'STATE_LOST', errno: [], words: /No such file or directory/ },
];

const ADVICE = new Map<ErrorCode, string>([
  ['STATE_DISK_FULL', 'make room on its file system'],
  ['STATE_READ_ONLY', 'mount its file system for writing, or set state.dir to a folder that is'],
  [
    'STATE_UNWRITABLE',
    'give the daemon’s user a folder of its own in state.dir that it may write, or set state.engine to none',
  ],
]);

/** The error of the catalogue for what went wrong with the files of a state. `doing`: as in "cannot be opened". */
export function fileTrouble(dir: string, doing: string, error: unknown): HostError {
  if (HostError.is(error)) return error;
  const texts = causes(error);
  const { code } = error as { code?: unknown };
  if (texts.some((text) => /Corruption:|corrupted/i.test(text)) || hasCode(error, 'LEVEL_CORRUPTION')) {
    return damagedFiles(dir, texts.at(-1) ?? '', error);
  }
  const sign = SIGNS.find(({ errno, words }) => errno.includes(String(code)) || texts.some((text) => words.test(text)));
  const found = sign?.code ?? 'STATE_UNWRITABLE';
  const advice = ADVICE.has(found) ? `; ${ADVICE.get(found)}` : '';
  return new HostError(found, `the state in ${dir} ${doing}: ${texts.at(-1) ?? 'unknown error'}${advice}`, {
    cause: error,
  });
}

export function damagedFiles(dir: string, what: string, cause?: unknown): HostError {
  return new HostError(
    'STATE_DAMAGED',
    `the state in ${dir} is damaged: ${what}; "plugin-host state check" says more. Put the folder back from where it is whole, or move it away: with an empty one the daemon takes created tasks up from their handles`,
    cause === undefined ? {} : { cause },
  );
}

export function hasCode(error: unknown, code: string): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if ((at as { code?: unknown }).code === code) return true;
  return false;
}

/** The messages of an error and of what caused it, outermost first. */
function causes(error: unknown): string[] {
  const texts: string[] = [];
  for (let at = error; at !== undefined && texts.length < 5; at = at instanceof Error ? at.cause : undefined) {
    texts.push(messageOf(at));
  }
  return texts;
}

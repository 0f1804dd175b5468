/**
 * What counts as a secret in text that leaves the daemon or a plugin's process: one rule for the log, for messages and reasons, and for the
 * configuration that is shown.
 */

import { Remembered } from './remembered.js';
import { isMaskable, secretForms } from './secret-forms.js';
import { cutText } from './text.js';
import { TextMatcher } from './text-matcher.js';

const MASK = '[redacted]';

/** Names of fields, options and variables whose values are secrets. */
const SECRET_NAME =
  /token(value)?$|(^|[-_])token[-_]|secret|passw|passphrase|passcode|credential|api[-_]?key|access[-_]?key|private[-_]?key|signing[-_]?key|authorization|cookie|^auth$|bearer|^_?fsec_/i;

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** Variables that say where and how a process runs; whatever else is passed to a plugin may be a secret, whatever its name. */
const PLAIN_VARIABLES: ReadonlySet<string> = new Set(
  'PLUGIN_HOST_PROCESS_MARK PATH HOME USER LOGNAME SHELL PWD OLDPWD LANG LANGUAGE TZ TMPDIR TMP TEMP TERM HOSTNAME NODE_ENV NODE_OPTIONS NODE_EXTRA_CA_CERTS NODE_PATH NODE_USE_ENV_PROXY SSL_CERT_FILE SSL_CERT_DIR NO_PROXY HTTP_PROXY HTTPS_PROXY ALL_PROXY AWS_REGION AWS_DEFAULT_REGION AWS_PROFILE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ENDPOINT_URL GOOGLE_APPLICATION_CREDENTIALS KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT POD_IP POD_NAME POD_NAMESPACE XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME XDG_STATE_HOME XDG_RUNTIME_DIR'.split(
    ' ',
  ),
);

/** `plain`: names that the operator calls plain, too; a trailing `*` takes a prefix. */
export function isPlainVariable(name: string, plain: readonly string[] = []): boolean {
  if (PLAIN_VARIABLES.has(name.toUpperCase()) || /^LC_[A-Z_]+$/.test(name)) return true;
  return plain.some((one) => (one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one));
}

/** What is remembered of each kind: what a process was given, what it read, and what came with calls. */
const GIVEN = { max: 10_000, maxCharacters: 8 * 1024 * 1024 };
const READ = { max: 2_000, maxCharacters: 1024 * 1024 };
/** Those that were exchanged: some minutes of the fastest rotation. The forms of one take some thirty times its length. */
const EXCHANGED = { max: 64, maxCharacters: 32 * 1024 };
const PASSING = { max: 1_000, maxCharacters: 1024 * 1024 };

/** Ends a text that was cut, everywhere in this project. */
const CUT = '…';
/** Less of a secret before the mark of a cut tells nothing of it, and may be any word. */
const MIN_PART = 4;
/** Only secrets that repeat each other in turns take more than two. */
const MOST_LOOKS = 16;

export interface SecretMasksOptions {
  /** Secrets that are masked as well, and are somebody else's to know. */
  readonly also?: SecretMasks | undefined;
  /** So many secrets of the process itself are masked no more, since it has too many. */
  readonly onForgotten?: ((secrets: number) => void) | undefined;
  /** Finds the secrets in texts; one is asked for whenever all of them are to be learnt anew. */
  readonly newMatcher?: (() => TextMatcher) | undefined;
}

/**
 * The secrets that are masked in texts: what a process was given (its variables, settings, tokens), what it read, what was exchanged
 * for that, and what came with calls. Each kind is bounded by itself, and the oldest give way. Masked are the value, and its forms in
 * base64 and in a URL.
 */
export class SecretMasks {
  readonly #given = new Remembered(GIVEN);
  readonly #read = new Remembered(READ);
  readonly #exchanged = new Remembered(EXCHANGED);
  readonly #passing = new Remembered(PASSING);
  readonly #kinds = [this.#given, this.#read, this.#exchanged, this.#passing];
  /** What is there now, by where it was read. */
  readonly #held = new Map<string, ReadonlySet<string>>();
  readonly #options: SecretMasksOptions;
  /** Undefined at first, and since something was forgotten: the next look at a text makes it, however much comes and goes until then. */
  #made: TextMatcher | undefined;

  constructor(options: SecretMasksOptions = {}) {
    this.#options = options;
  }

  /** A secret that the process has for as long as it lives. */
  addOwn(value: string): void {
    this.#remember(value, this.#given);
  }

  /** A secret that the process read, and that may be replaced: when there are too many, the oldest go. */
  addRead(value: string): void {
    if (!this.#given.has(value)) this.#remember(value, this.#read);
  }

  /**
   * What a place that is read again and again, such as a file, holds from now on. What it held before, and none does now, was exchanged:
   * it may be on its way into a text still, and only some of the last ones are masked, so that daily or hourly rotation takes no memory.
   */
  hold(place: string, values: readonly string[]): void {
    const before = this.#held.get(place) ?? new Set();
    if (values.length === 0) this.#held.delete(place);
    else this.#held.set(place, new Set(values));
    for (const value of values) this.addRead(value);
    for (const value of before) {
      const held = [...this.#held.values()].some((one) => one.has(value));
      if (!held && this.#read.has(value)) this.#remember(value, this.#exchanged);
    }
  }

  /** A secret that came with a call. */
  add(value: string): void {
    if (!this.#given.has(value) && !this.#read.has(value)) this.#remember(value, this.#passing);
  }

  /** Variables that a plugin is given: all but the plain ones, and the password in the URL of a plain one. */
  addVariables(variables: Readonly<Record<string, string | undefined>>, plain: readonly string[] = []): void {
    for (const [name, value] of Object.entries(variables)) {
      if (value === undefined) continue;
      if (!isPlainVariable(name, plain)) this.addOwn(value);
      for (const secret of credentialsInUrls(value)) this.addOwn(secret);
    }
  }

  /** Settings, at any depth: what stands under a secret name, and passwords in URLs. */
  addSettings(settings: unknown, underSecret = false, depth = 0): void {
    if (depth > 20) return;
    if (typeof settings === 'string') {
      if (underSecret) this.addOwn(settings);
      for (const secret of credentialsInUrls(settings)) this.addOwn(secret);
    } else if (typeof settings === 'object' && settings !== null) {
      for (const [name, value] of Object.entries(settings)) {
        this.addSettings(value, underSecret || (!Array.isArray(settings) && isSecretName(name)), depth + 1);
      }
    }
  }

  /** Also what the mark of a cut has left of a secret. */
  mask(text: string): string {
    const other = this.#options.also?.mask(text) ?? text;
    const masked = this.#matcher.replace(other, MASK);
    return masked.includes(CUT) ? this.#maskBeforeCuts(masked) : masked;
  }

  /** Of a text of any length the start, at most `max` characters that are looked at; no part of a secret at the cut. */
  maskStart(text: string, max: number): string {
    if (text.length <= max) return this.mask(text);
    const start = cutText(text, max);
    return `${this.mask(start.slice(0, this.openAt(start)))}${CUT}`;
  }

  /** Where a secret begins that the end of the text may divide; the text's length where none does. */
  openAt(text: string): number {
    let open = Math.min(this.#matcher.openAt(text), this.#options.also?.openAt(text) ?? text.length);
    if (open === text.length) return open;
    // What one begins with may be the end of another, which is whole, and would be divided.
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const at = this.#hitOver(text, open);
      if (at === open) break;
      open = at;
    }
    return open;
  }

  #hitOver(text: string, at: number): number {
    const { also } = this.#options;
    return Math.min(this.#matcher.hitOver(text, at), also === undefined ? at : also.#hitOver(text, at));
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    return this.#matcher.finds(text) || this.#options.also?.reveals(text) === true;
  }

  #maskBeforeCuts(text: string): string {
    const pieces = text.split(CUT);
    const last = pieces.pop() ?? '';
    const masked = pieces.map((piece) => {
      const open = this.#matcher.openAt(piece);
      return piece.length - open >= MIN_PART ? piece.slice(0, open) + MASK : piece;
    });
    return [...masked, last].join(CUT);
  }

  #remember(value: string, kind: Remembered): void {
    if (!isMaskable(value)) return;
    const known = this.#kinds.filter((other) => other !== kind && other.delete(value));
    if (kind.add(value) && known.length === 0) this.#learn(value);
    const forgotten = kind.trim();
    if (forgotten === 0) return;
    this.#made = undefined;
    if (kind === this.#given || kind === this.#read) this.#options.onForgotten?.(forgotten);
  }

  get #matcher(): TextMatcher {
    if (this.#made === undefined) {
      this.#made = this.#options.newMatcher?.() ?? new TextMatcher();
      for (const one of this.#kinds) for (const each of one) this.#learn(each);
    }
    return this.#made;
  }

  #learn(value: string): void {
    const made = this.#made;
    if (made !== undefined) for (const form of secretForms(value)) made.add(form);
  }
}

/** Users' passwords in the URLs of a text, as they stand and decoded. */
function credentialsInUrls(text: string): string[] {
  const found: string[] = [];
  for (const [, password = ''] of text.matchAll(/\w{1,20}:\/\/[^\s/@:]{0,512}:([^\s/@]{1,512})@/g)) {
    found.push(password);
    try {
      found.push(decodeURIComponent(password));
    } catch {
      // It is not escaped.
    }
  }
  return found;
}

/**
 * What counts as a secret in text that leaves the daemon or a plugin's process: one rule for the log, for messages and reasons, and for the
 * configuration that is shown.
 */

import { isMaskable, secretForms } from './secret-forms.js';
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

export function isPlainVariable(name: string): boolean {
  return PLAIN_VARIABLES.has(name.toUpperCase()) || /^LC_[A-Z_]+$/.test(name);
}

/** Values that are remembered of each kind. */
const MAX_OWN = 2_000;
const MAX_PASSING = 1_000;
/** So many of the passing ones go at once, since forgetting costs a new matcher. */
const FORGET = MAX_PASSING / 8;

/**
 * The secrets that are masked in texts. A process's own ones (its variables, settings, tokens) are kept for good; those that
 * came with calls give way to later ones. Both are bounded. Masked are the value, and its forms in base64 and in a URL.
 */
export class SecretMasks {
  readonly #own = new Set<string>();
  readonly #passing = new Set<string>();
  #matcher = new TextMatcher();

  /** A secret of the process itself. */
  addOwn(value: string): void {
    if (this.#own.has(value) || this.#own.size >= MAX_OWN || !isMaskable(value)) return;
    this.#own.add(value);
    if (!this.#passing.delete(value)) this.#learn(value);
  }

  /** A secret that came with a call. */
  add(value: string): void {
    if (this.#own.has(value) || !isMaskable(value)) return;
    const known = this.#passing.delete(value);
    this.#passing.add(value);
    if (known) return;
    this.#learn(value);
    if (this.#passing.size > MAX_PASSING) this.#forget();
  }

  /** Variables that a plugin is given: all but the plain ones, and the password in the URL of a plain one. */
  addVariables(variables: Readonly<Record<string, string | undefined>>): void {
    for (const [name, value] of Object.entries(variables)) {
      if (value === undefined) continue;
      if (!isPlainVariable(name)) this.addOwn(value);
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

  mask(text: string): string {
    return this.#matcher.replace(text, MASK);
  }

  /** Where a secret begins that the end of the text may divide; the text's length where none does. */
  openAt(text: string): number {
    return this.#matcher.openAt(text);
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    return this.#matcher.finds(text);
  }

  #learn(value: string): void {
    for (const form of secretForms(value)) this.#matcher.add(form);
  }

  #forget(): void {
    let left = FORGET;
    for (const oldest of this.#passing) {
      if (left-- <= 0) break;
      this.#passing.delete(oldest);
    }
    this.#matcher = new TextMatcher();
    for (const value of this.#own) this.#learn(value);
    for (const value of this.#passing) this.#learn(value);
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

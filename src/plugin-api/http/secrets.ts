import { secretForms } from '../../lib/secret-forms.js';

/** Names of headers and parameters that carry credentials. */
const SENSITIVE = /auth|key|token|secret|passw|cookie|credential|signature|^sig$/i;
const HARMLESS = /^(x-)?idempotency[-_]?key$/i;
/** Of an answer that is quoted: far more than is quoted, and any secret. */
const MAX_QUOTED_FROM = 64 * 1024;
/** Shorter ones are masked nowhere: they are part of any text. */
const MIN_LENGTH = 4;

/**
 * What must not be quoted of one request and of what a server sends back of it. It is masked in its messages alone: a parameter
 * called `key` or `page_token` may be a job's key or a place in a list, which the plugin's other texts may show.
 */
export class RequestSecrets {
  readonly #forms = new Set<string>();

  add(...secrets: readonly string[]): void {
    for (const secret of secrets) {
      if (typeof secret !== 'string' || secret.length < MIN_LENGTH) continue;
      this.#forms.add(secret);
      for (const form of secretForms(secret)) this.#forms.add(form);
    }
  }

  /** Of headers or parameters those whose name says that their value is a credential. */
  addNamed(values: Readonly<Record<string, unknown>> | undefined): void {
    for (const [name, value] of Object.entries(values ?? {})) {
      if (!SENSITIVE.test(name) || HARMLESS.test(name) || typeof value !== 'string') continue;
      this.add(value);
      // `Bearer abc`, `session=abc`: the word in front is none.
      for (const part of value.split(/[\s=;,]+/)) if (part.length >= 8) this.add(part);
    }
  }

  /** Of a text of any length the start, so that cutting comes after it; the longest first, since one may hold another. */
  readonly mask = (text: string): string => {
    let out = text.slice(0, MAX_QUOTED_FROM);
    for (const form of [...this.#forms].sort((a, b) => b.length - a.length)) out = out.replaceAll(form, '***');
    return out;
  };
}

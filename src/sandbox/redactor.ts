const MASK = '[redacted]';
/** Shorter values are too common to be told from ordinary text. */
const MIN_LENGTH = 6;
const MAX_VALUES = 1_000;
const SECRET_NAME = /SECRET|TOKEN|PASSW|CREDENTIAL|API_?KEY|PRIVATE|_FSEC_/i;

/** Masks the secrets this process has seen in texts that leave it. Bounded: the oldest values are forgotten first. */
export class Redactor {
  readonly #values = new Set<string>();
  /** The same, longest first, so that a value which begins another one does not leave the rest of it; made when needed. */
  #longestFirst: readonly string[] | undefined;

  add(value: string): void {
    if (value.length < MIN_LENGTH) return;
    if (!this.#values.has(value)) this.#longestFirst = undefined;
    this.#values.delete(value);
    this.#values.add(value);
    if (this.#values.size > MAX_VALUES) {
      for (const oldest of this.#values) {
        this.#values.delete(oldest);
        break;
      }
    }
  }

  /** Takes the values of variables whose names say that they are secret. */
  addEnvironment(variables: Readonly<Record<string, string | undefined>>): void {
    for (const [name, value] of Object.entries(variables)) {
      if (value !== undefined && SECRET_NAME.test(name)) this.add(value);
    }
  }

  redact(text: string): string {
    this.#longestFirst ??= [...this.#values].sort((a, b) => b.length - a.length);
    let out = text;
    for (const value of this.#longestFirst) if (out.includes(value)) out = out.replaceAll(value, MASK);
    return out;
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    for (const value of this.#values) if (text.includes(value)) return true;
    return false;
  }
}

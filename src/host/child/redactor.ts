const MASK = '[redacted]';
/** Shorter values are too common to be told from ordinary text. */
const MIN_LENGTH = 6;
const MAX_VALUES = 1_000;
const SECRET_NAME = /SECRET|TOKEN|PASSW|CREDENTIAL|API_?KEY|PRIVATE|_FSEC_/i;

/** Masks the secrets this process has seen in texts that leave it. Bounded: the oldest values are forgotten first. */
export class Redactor {
  readonly #values = new Set<string>();

  add(value: string): void {
    if (value.length < MIN_LENGTH) return;
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
  addEnvironment(variables: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(variables)) if (SECRET_NAME.test(name)) this.add(value);
  }

  redact(text: string): string {
    let out = text;
    for (const value of this.#values) if (out.includes(value)) out = out.replaceAll(value, MASK);
    return out;
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    for (const value of this.#values) if (text.includes(value)) return true;
    return false;
  }
}

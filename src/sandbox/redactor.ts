import { SecretMasks } from '../lib/secrets.js';

/** Masks the secrets this process has seen in texts that leave it (lib/secrets has the rule). Outputs, metas and handles are never altered. */
export class Redactor {
  readonly #masks = new SecretMasks();

  /** A secret that came with a call, or was read by the plugin. */
  add(value: string): void {
    this.#masks.add(value);
  }

  /** A value that is secret for as long as the process lives. */
  addOwn(value: string): void {
    this.#masks.addOwn(value);
  }

  /** Takes the values of all variables but the plain ones. */
  addEnvironment(variables: Readonly<Record<string, string | undefined>>): void {
    this.#masks.addVariables(variables);
  }

  addSettings(settings: unknown): void {
    this.#masks.addSettings(settings);
  }

  redact(text: string): string {
    return this.#masks.mask(text);
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    return this.#masks.reveals(text);
  }
}

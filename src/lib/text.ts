/**
 * The start of a text, at most `max` UTF-16 units, cut between characters: half a surrogate pair has no UTF-8, and what
 * holds one cannot be told to an engine.
 */
export function cutText(text: string, max: number): string {
  if (text.length <= max) return text;
  const last = text.charCodeAt(max - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? max - 1 : max);
}

/** Control characters, and halves of surrogate pairs, which have no UTF-8. */
const UNFIT = /[\p{Cc}\p{Cs}]/u;

/** Whether a name can be encoded and shown everywhere: well-formed Unicode without control characters. */
export function isFitName(text: string): boolean {
  return !UNFIT.test(text);
}

/** Since ES2024, and in every Node from 20 on; the compiler's library is that of ES2023. */
type Es2024String = string & { isWellFormed(): boolean; toWellFormed(): string };

export function isWellFormed(text: string): boolean {
  return (text as Es2024String).isWellFormed();
}

/** The same text with a replacement character for each half of a surrogate pair. */
export function wellFormed(text: string): string {
  return isWellFormed(text) ? text : (text as Es2024String).toWellFormed();
}

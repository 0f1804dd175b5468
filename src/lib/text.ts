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

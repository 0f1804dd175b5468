/** Shorter values are too common to be told from ordinary text. */
export const MIN_SECRET_LENGTH = 8;
/** Of a longer value only the text itself and its lines are known, since its encoded forms would cost too much memory. */
const MAX_ENCODED_LENGTH = 16 * 1024;

/** Values that are secret nowhere: masking them would spoil texts and hide nothing. */
const ORDINARY: ReadonlySet<string> = new Set(
  'password changeme localhost production development undefined 127.0.0.1 disabled required optional default-value [redacted]'.split(
    ' ',
  ),
);

export function isMaskable(value: string): boolean {
  return (
    typeof value === 'string' &&
    value.length >= MIN_SECRET_LENGTH &&
    !ORDINARY.has(value.toLowerCase()) &&
    !/^(.)\1*$/s.test(value)
  );
}

/** The texts by which a secret can be read: itself, its lines, and how it looks in JSON, URLs and base64. */
export function secretForms(value: string): string[] {
  const forms = new Set([value, value.trim()]);
  if (value.includes('\n')) for (const line of value.split(/\r?\n/)) if (isMaskable(line)) forms.add(line);
  if (value.length > MAX_ENCODED_LENGTH) return [...forms].filter(isMaskable);
  forms.add(JSON.stringify(value).slice(1, -1));
  // A lone surrogate has no UTF-8 and would throw; what stands in its place stands in the encoded forms, too.
  const url = encodeURIComponent(Buffer.from(value, 'utf8').toString('utf8'));
  forms.add(url);
  forms.add(url.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()));
  forms.add(url.replaceAll('%20', '+'));
  for (const form of base64Forms(Buffer.from(value, 'utf8'))) {
    forms.add(form);
    forms.add(form.replaceAll('+', '-').replaceAll('/', '_'));
  }
  return [...forms].filter((form) => form.length >= MIN_SECRET_LENGTH);
}

/**
 * Base64 depends on where in a group of three bytes the secret begins, as in `user:secret`. Only the characters that
 * depend on the secret alone are taken.
 */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64');
    return text.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
  });
}

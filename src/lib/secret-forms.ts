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

/** The texts by which a secret can be read: itself, its lines, and how it looks in JSON, URLs, base64 and hex. */
export function secretForms(value: string): string[] {
  const forms = new Set([value, value.trim()]);
  if (/[\r\n]/.test(value)) for (const line of value.split(/[\r\n]+/)) if (isMaskable(line)) forms.add(line);
  if (value.length > MAX_ENCODED_LENGTH) return [...forms].filter(isMaskable);
  for (const form of jsonForms(value)) forms.add(form);
  // A lone surrogate has no UTF-8 and would throw; what stands in its place stands in the encoded forms, too.
  const bytes = Buffer.from(value, 'utf8');
  for (const form of urlForms(bytes.toString('utf8'))) forms.add(form);
  for (const form of base64Forms(bytes)) {
    forms.add(form);
    forms.add(form.replaceAll('+', '-').replaceAll('/', '_'));
  }
  for (const form of hexForms(bytes)) forms.add(form);
  return [...forms].filter((form) => form.length >= MIN_SECRET_LENGTH);
}

/** As JSON writes it, with and without the escapes that other writers add; and as text in JSON that is text in JSON again. */
function jsonForms(value: string): string[] {
  const escaped = (text: string) => JSON.stringify(text).slice(1, -1);
  const once = escaped(value);
  const ascii = once.replace(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return [once, escaped(once), ascii, once.replaceAll('/', '\\/')];
}

/** As the functions of the field write it in a path, a query and a form. */
function urlForms(text: string): string[] {
  const component = encodeURIComponent(text);
  const strict = component.replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const form = new URLSearchParams({ '': text }).toString().slice(1);
  const upper = [
    component,
    strict,
    form,
    encodeURI(text),
    component.replaceAll('%2F', '/'),
    strict.replaceAll('%2F', '/'),
  ];
  return upper.flatMap((url) => [
    url,
    url.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()),
    url.replaceAll('%20', '+'),
  ]);
}

/** Lines of base64, as its tools print it. */
const BASE64_LINES = [64, 76];

/**
 * Base64 depends on where in a group of three bytes the secret begins, as in `user:secret`. Only the characters that
 * depend on the secret alone are taken.
 */
function base64Forms(bytes: Buffer): string[] {
  const forms = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64');
    return text.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
  });
  const whole = forms[0] as string;
  for (const columns of BASE64_LINES) {
    if (whole.length > columns)
      for (let at = 0; at < whole.length; at += columns) forms.push(whole.slice(at, at + columns));
  }
  return forms;
}

/** Bytes that Node shows of a buffer. */
const SHOWN_BYTES = 50;

function hexForms(bytes: Buffer): string[] {
  const hex = bytes.toString('hex');
  const shown = hex.slice(0, 2 * SHOWN_BYTES).replace(/..(?=.)/g, '$& ');
  return [hex, hex.toUpperCase(), shown];
}

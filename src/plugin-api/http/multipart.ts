import { randomBytes } from 'node:crypto';
import type { HttpFile } from './types.js';

/** The fields of a form with files (RFC 7578), with the type that names its boundary. */
export function encodeMultipart(fields: Readonly<Record<string, string | HttpFile>>): { type: string; bytes: Buffer } {
  const boundary = `plugin-host-${randomBytes(18).toString('hex')}`;
  const parts: Uint8Array[] = [];
  for (const [name, value] of Object.entries(fields)) {
    const file = typeof value === 'string' ? undefined : value;
    const filename = file === undefined ? '' : `; filename="${quoted(file.filename ?? name)}"`;
    const type =
      file === undefined
        ? ''
        : `Content-Type: ${(file.type ?? 'application/octet-stream').replace(/[\r\n]/g, ' ')}\r\n`;
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"${filename}\r\n${type}\r\n`;
    parts.push(Buffer.from(head, 'utf8'), file?.bytes ?? Buffer.from(value as string, 'utf8'), Buffer.from('\r\n'));
  }
  parts.push(Buffer.from(`--${boundary}--\r\n`));
  return { type: `multipart/form-data; boundary=${boundary}`, bytes: Buffer.concat(parts) };
}

/** As browsers write names that would end their quotes or their line. */
function quoted(name: string): string {
  return name.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

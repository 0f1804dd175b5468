import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The text of a file; throws for what is no file, or has more than `maxBytes`, before it is read. */
export async function readSmall(file: string, maxBytes: number): Promise<string> {
  // A pipe that nobody writes to would hold the reader for ever.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error('it is no file');
    if (found.size > maxBytes) throw new Error(`it has ${found.size} bytes, and ${maxBytes} is the most`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

import { setFlagsFromString } from 'node:v8';

const FLAG = 'allocation-site-pretenuring';

let young = false;

/**
 * Has V8 make every object young. Where many objects of one place in the code lived long, it makes all further ones from there among the
 * old ones, where only a full collection finds them: so it came to do with the parts of calls, which end with them. To be called once
 * what a start needs is loaded, since kept code is of no use under other flags, and before there is work: what V8 has decided stays.
 */
export function keepObjectsYoung(): void {
  setFlagsFromString(`--no-${FLAG}`);
  young = true;
}

/** Does something, at once, under the flags that Node was started with: compiled code says which it was written under. */
export function underFirstFlags(work: () => void): void {
  if (young) setFlagsFromString(`--${FLAG}`);
  try {
    work();
  } finally {
    if (young) setFlagsFromString(`--no-${FLAG}`);
  }
}

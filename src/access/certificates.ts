import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { messageOf } from '../errors/index.js';
import { readSmall } from '../lib/read-small.js';
import { certificateNames } from './names.js';

/** Where the parts of a port's identity are; all of them hold PEM. */
export interface CertificateFiles {
  /** The certificate, with those between it and its authority behind it. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities that the other side's certificate must come from. */
  readonly caFile: string | undefined;
}

/** What the files held, checked. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
  /** Whom the certificate is for. */
  readonly names: readonly string[];
  /** Until when it is valid, on the wall clock, in milliseconds since the epoch. */
  readonly notAfterMs: number;
  /** Between these all of it is valid, its authorities as well. */
  readonly soundFromMs: number;
  readonly soundUntilMs: number;
}

/** Larger than any bundle of authorities that is used. */
const MAX_BYTES = 4 * 1024 * 1024;
const PEM_CERTIFICATE =
  /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;
/** What is left where the blocks are taken out, of one that is not whole: also a last line that is cut within its mark. */
const CUT = /-----(?:BEGIN|END) |(?:^|\n)-{1,5}[BEGIN]*$/;
/** Of whatever kind; a key may have headers with dashes in them. */
const PEM_BLOCK = /-----BEGIN ([^\n-]+)-----(?:(?!-----)[\s\S])+-----END \1-----/g;

/**
 * Reads and checks the files. Throws an Error that says which file is wrong, and how. `known` is answered as it is where the files hold the
 * same: a system's bundle of authorities takes tens of milliseconds to parse, and nothing else runs meanwhile.
 */
export async function readIdentity(files: CertificateFiles, nowMs: number, known?: Identity): Promise<Identity> {
  const [cert, key, ca] = await Promise.all([
    readText(files.certFile),
    readText(files.keyFile),
    files.caFile === undefined ? undefined : readText(files.caFile),
  ]);
  const same = known !== undefined && cert === known.cert && key === known.key && ca === known.ca;
  if (same && nowMs >= known.soundFromMs && nowMs <= known.soundUntilMs) return known;
  return checked(files, { cert, key, ca }, nowMs);
}

function checked(
  files: CertificateFiles,
  { cert, key, ca }: Pick<Identity, 'cert' | 'key' | 'ca'>,
  nowMs: number,
): Identity {
  assertWhole(files.certFile, cert);
  assertWhole(files.keyFile, key);
  const [leaf] = certificatesOf(files.certFile, cert);
  assertValid(files.certFile, leaf, nowMs);
  const privateKey = keyOf(files.keyFile, key);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new Error(`the key in ${files.keyFile} is not that of the certificate in ${files.certFile}`);
  }
  const authoritiesUntilMs =
    files.caFile === undefined ? Number.POSITIVE_INFINITY : authoritiesEndMs(files.caFile, ca ?? '', nowMs);
  try {
    createSecureContext({ cert, key, ca });
  } catch (error) {
    throw new Error(`${files.certFile} and ${files.keyFile} cannot be used: ${messageOf(error)}`);
  }
  const legacy = leaf.toLegacyObject() as unknown as Parameters<typeof certificateNames>[0];
  const notAfterMs = Date.parse(leaf.validTo);
  const soundFromMs = Date.parse(leaf.validFrom);
  const soundUntilMs = Math.min(notAfterMs, authoritiesUntilMs);
  return { cert, key, ca, names: certificateNames(legacy), notAfterMs, soundFromMs, soundUntilMs };
}

async function readText(file: string): Promise<string> {
  try {
    return await readSmall(file, MAX_BYTES);
  } catch (error) {
    throw new Error(`${file} cannot be read: ${messageOf(error)}`);
  }
}

/** The library takes what is whole and passes over the rest, such as the second half of a bundle that is being written. */
function assertWhole(file: string, pem: string): void {
  let blocks = 0;
  const rest = pem.replace(PEM_BLOCK, () => {
    blocks += 1;
    return '';
  });
  if (!CUT.test(rest)) return;
  throw new Error(`${file} is cut: behind ${blocks} whole blocks of PEM it holds one without its end`);
}

function certificatesOf(file: string, pem: string): [X509Certificate, ...X509Certificate[]] {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  try {
    const [first, ...others] = blocks.map((block) => new X509Certificate(block));
    if (first !== undefined) return [first, ...others];
  } catch (error) {
    throw new Error(`${file} holds a certificate that cannot be read: ${messageOf(error)}`);
  }
  throw new Error(`${file} holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----`);
}

function keyOf(file: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // What the library says may quote the text.
    throw new Error(`${file} holds no private key that can be used; expected PEM without a passphrase`);
  }
}

function assertValid(file: string, certificate: X509Certificate, nowMs: number): void {
  if (nowMs < Date.parse(certificate.validFrom)) {
    throw new Error(`the certificate in ${file} is not valid before ${certificate.validFrom}; is the clock right?`);
  }
  if (nowMs > Date.parse(certificate.validTo)) {
    throw new Error(`the certificate in ${file} has expired: it was valid until ${certificate.validTo}`);
  }
}

/** When the last of them runs out: one authority of many may have; with all of them nobody could be verified. Throws where they have. */
function authoritiesEndMs(file: string, pem: string, nowMs: number): number {
  assertWhole(file, pem);
  const authorities = certificatesOf(file, pem);
  const untilMs = Math.max(...authorities.map(({ validTo }) => Date.parse(validTo)));
  if (nowMs <= untilMs) return untilMs;
  throw new Error(`all certificates in ${file} have expired, the last one at ${authorities.at(-1)?.validTo}`);
}

import { tellSecret } from '../../lib/told-secret.js';
import { PermanentError, TransientError } from '../errors.js';
import type { ClientCredentials, HttpAuth, HttpCall } from './types.js';

/** How long before its end an access token is replaced, and how long one is kept that states no end. Milliseconds. */
const EARLY_MS = 30_000;
const UNSTATED_MS = 300_000;

/** One value of the Authorization header, and the texts in it that must not be quoted. */
export interface Credential {
  readonly header: string;
  readonly secrets: readonly string[];
}

/** Fetches the token of the client credentials grant: the text of a 2xx answer. Throws errors of the contract. */
export type FetchToken = (grant: {
  readonly url: string;
  readonly form: Readonly<Record<string, string>>;
  readonly header: string | undefined;
  readonly secrets: readonly string[];
}) => Promise<unknown>;

/**
 * What requests are signed with. An access token is fetched by one request for all who wait for it, kept on the
 * monotonic clock until shortly before it expires, and fetched anew when the remote refuses it.
 *
 * States of a token: none; being fetched, which a failure leads back from; kept, until shortly before its end or until it is refused.
 */
export class Credentials<Call extends HttpCall> {
  readonly #auth: HttpAuth<Call> | undefined;
  readonly #fetchToken: FetchToken;
  #token: { readonly credential: Credential; readonly untilMs: number } | undefined;
  #fetching: Promise<Credential> | undefined;

  constructor(auth: HttpAuth<Call> | undefined, fetchToken: FetchToken) {
    this.#auth = auth;
    this.#fetchToken = fetchToken;
  }

  get used(): boolean {
    return this.#auth !== undefined;
  }

  /** `refused` is what the remote answered 401 to; another one is wanted, if there is one. */
  async current(call: Call, refused?: Credential): Promise<Credential | undefined> {
    const auth = this.#auth;
    if (auth === undefined) return undefined;
    const request = { call, renew: refused !== undefined };
    if ('bearer' in auth) {
      return bearer(typeof auth.bearer === 'string' ? auth.bearer : await auth.bearer(request));
    }
    if ('basic' in auth) {
      const { username, password } = typeof auth.basic === 'function' ? await auth.basic(request) : auth.basic;
      return basic(username, password);
    }
    return this.#accessToken(auth.clientCredentials, refused);
  }

  #accessToken(grant: ClientCredentials, refused: Credential | undefined): Promise<Credential> | Credential {
    const kept = this.#token;
    if (kept !== undefined && kept.untilMs > performance.now() && kept.credential.header !== refused?.header) {
      return kept.credential;
    }
    this.#fetching ??= this.#fetch(grant).finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(grant: ClientCredentials): Promise<Credential> {
    const { tokenUrl, clientId, scope, audience, sendIn = 'header' } = grant;
    const secret = typeof grant.clientSecret === 'string' ? grant.clientSecret : await grant.clientSecret();
    if (typeof secret === 'string') tellSecret(secret);
    const startedMs = performance.now();
    const answer = await this.#fetchToken({
      url: tokenUrl,
      form: {
        grant_type: 'client_credentials',
        ...(scope === undefined ? {} : { scope }),
        ...(audience === undefined ? {} : { audience }),
        ...(sendIn === 'body' ? { client_id: clientId, client_secret: secret } : {}),
      },
      // RFC 6749, 2.3.1: both are form-encoded before they are joined.
      header: sendIn === 'header' ? basic(formText(clientId), formText(secret)).header : undefined,
      secrets:
        sendIn === 'header'
          ? [secret, formText(secret), basic(formText(clientId), formText(secret)).header.slice('Basic '.length)]
          : [secret],
    });
    const { access_token: token, expires_in: seconds } = (answer ?? {}) as Record<string, unknown>;
    if (typeof token !== 'string' || token === '') {
      throw new TransientError(`the token endpoint ${tokenUrl} answered no access_token`, {
        code: 'HTTPToken',
        notCreated: true,
      });
    }
    const lifeMs = Number(seconds) > 0 ? Number(seconds) * 1_000 : UNSTATED_MS;
    const credential = bearer(token);
    this.#token = { credential, untilMs: startedMs + Math.max(lifeMs - EARLY_MS, lifeMs / 2) };
    return credential;
  }
}

function bearer(token: string): Credential {
  return checked({ header: `Bearer ${token}`, secrets: [token] });
}

function basic(username: string, password: string): Credential {
  const encoded = Buffer.from(`${username}:${password}`, 'utf8').toString('base64');
  return checked({ header: `Basic ${encoded}`, secrets: [password, encoded] });
}

function checked(credential: Credential): Credential {
  if (typeof credential.secrets[0] !== 'string' || /[\r\n\0]/.test(credential.header)) {
    throw new PermanentError('the credential of the HTTP client is no text that fits into one header', {
      code: 'HTTPCredential',
      faultKind: 'SYSTEM',
    });
  }
  for (const secret of credential.secrets) tellSecret(secret);
  return credential;
}

function formText(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1);
}

/** What the helper needs of a call's context; every context of the plugin contract has it. */
export interface HttpCall {
  /** Ends the request; the error is then a TransientError. */
  readonly signal?: AbortSignal;
  /** Calls about a job that exists carry it; their requests are judged as reads, whatever their method. */
  readonly resourceMeta?: unknown;
}

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/**
 * What an answer's status means:
 * - `ok`: a success, although the status says otherwise.
 * - `throttled`, `notFound`, `transient`: the error of that name.
 * - `permanent`: PermanentError that blames the task; `permanentSystem`: one that blames the platform.
 */
export type HttpMeaning = 'ok' | 'throttled' | 'notFound' | 'transient' | 'permanent' | 'permanentSystem';

/** A status (`409`), or a hundred of them (`4xx`). The exact status wins. */
export type HttpStatusKey = number | `${1 | 2 | 3 | 4 | 5}xx`;

/** Decides by the whole answer; undefined leaves it to the helper's own table. */
export type HttpJudge = (answer: HttpAnswer) => HttpMeaning | Error | undefined;

export type HttpErrorTable = { readonly [status in HttpStatusKey]?: HttpMeaning | HttpJudge };

export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case; a header that came several times is joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** As `as` asked for; undefined where the answer had no body. */
  readonly body: unknown;
}

/** What a credential may be made of: the context of the call that needs it, if there is one. */
export interface CredentialRequest<Call extends HttpCall = HttpCall> {
  readonly call: Call;
  /** True when the last one was refused with 401: read it anew. */
  readonly renew: boolean;
}

export type HttpAuth<Call extends HttpCall = HttpCall> =
  | { readonly bearer: string | ((request: CredentialRequest<Call>) => string | Promise<string>) }
  | {
      readonly basic:
        | { readonly username: string; readonly password: string }
        | ((
            request: CredentialRequest<Call>,
          ) => { username: string; password: string } | Promise<{ username: string; password: string }>);
    }
  | { readonly clientCredentials: ClientCredentials };

/** OAuth 2.0 client credentials (RFC 6749, section 4.4). The access token is kept until shortly before it expires. */
export interface ClientCredentials {
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: string | (() => string | Promise<string>);
  readonly scope?: string;
  readonly audience?: string;
  /** Where the id and secret are sent. Default `header` (HTTP Basic). */
  readonly sendIn?: 'header' | 'body';
}

/** PEM texts, or files with them; files are looked at again when they change. */
export interface HttpTls {
  /** Trusted instead of the well-known authorities. */
  readonly ca?: string;
  readonly caFile?: string;
  /** The client's own certificate with its key. */
  readonly cert?: string;
  readonly certFile?: string;
  readonly key?: string;
  readonly keyFile?: string;
}

export interface HttpClientOptions<Call extends HttpCall = HttpCall> {
  /** Where paths start from, such as `https://jobs.example.com/api/v2`. Without user and password. */
  readonly baseUrl: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly auth?: HttpAuth<Call>;
  /** What statuses mean, where the helper's own table does not fit. */
  readonly errors?: HttpErrorTable;
  /**
   * For remotes that answer 200 to what failed: a text or an error says that this body is a failure, undefined that it
   * is none. A text becomes a TransientError. Not asked about an empty body.
   */
  readonly failed?: (body: unknown, answer: HttpAnswer) => string | Error | undefined;
  readonly tls?: HttpTls;
  /**
   * Where requests go through. Default: HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment, in capitals or not.
   * `none` goes straight.
   */
  readonly proxy?: 'none' | { readonly url: string; readonly noProxy?: string };
  /** Largest answer that is read, in bytes. Default 16 MiB. */
  readonly maxBytes?: number;
  /** When a request is given up at the latest, in milliseconds; the call's signal ends it earlier. Default 60,000. */
  readonly timeoutMs?: number;
  /** Sockets to one origin. Default 64. */
  readonly connections?: number;
  /**
   * False gives each request a connection of its own, for a remote behind what drops idle ones without telling: a request
   * on such a one would end without an answer. Default true.
   */
  readonly reuseConnections?: boolean;
}

export type HttpBodyKind = 'json' | 'ndjson' | 'text' | 'bytes';

/** A file of a form. */
export interface HttpFile {
  readonly bytes: Uint8Array;
  /** The field's name unless given. */
  readonly filename?: string;
  /** `application/octet-stream` unless given. */
  readonly type?: string;
}

export interface HttpRequestOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** At most one of the five. Its type may be said otherwise by a `content-type` among the headers. */
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string | number | boolean>>;
  readonly text?: string;
  readonly bytes?: Uint8Array;
  /** A form with files (`multipart/form-data`). */
  readonly multipart?: Readonly<Record<string, string | HttpFile>>;
  /** How the answer's body is given; `ndjson` as the list of its lines, each parsed. Default `json`. */
  readonly as?: HttpBodyKind;
  /** Wins over the client's table. */
  readonly errors?: HttpErrorTable;
  /**
   * Whether the request may be sent again when a reused connection was closed under it. Default: by the method (POST and
   * PATCH may not), or true where an Idempotency-Key header is sent.
   */
  readonly idempotent?: boolean;
}

/** A path below the base (`/jobs/7?x=1`), or its segments, each of which is escaped: `['jobs', id]`. */
export type HttpPath = string | readonly (string | number)[];

/**
 * Calls a remote for a plugin and throws nothing but errors of the plugin contract. May be used by any number of calls at
 * once; its sockets are kept for the next request. `close()` ends them.
 */
export interface HttpClient<Call extends HttpCall = HttpCall> {
  get<T = unknown>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T>;
  post<T = unknown>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T>;
  put<T = unknown>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T>;
  patch<T = unknown>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T>;
  delete<T = unknown>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T>;
  /**
   * Asks the GraphQL endpoint at the base URL, or at a path below it, and answers its `data`. What it says in `errors` is
   * thrown, under a 200, too: as `TransientError`, or what `extensions.code` says.
   */
  graphql<T = unknown>(
    call: Call,
    query: string,
    variables?: Readonly<Record<string, unknown>>,
    options?: HttpRequestOptions & { readonly path?: HttpPath },
  ): Promise<T>;
  /** The whole answer, for what stands in status or headers. */
  request(call: Call, method: HttpMethod, path: HttpPath, options?: HttpRequestOptions): Promise<HttpAnswer>;
  /**
   * The path, for a later request, of a URL that the remote told: of a `Location` header, or of the `next` of a page. Throws
   * TransientError for one that does not lie below the base URL.
   */
  pathOf(url: string): string;
  close(): Promise<void>;
}

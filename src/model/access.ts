/** What a token may be good for: to see tasks and plugins; to start, delete and run tasks; to hold back, reload and measure plugins. */
export const RIGHTS = ['read', 'run', 'operate'] as const;
export type Right = (typeof RIGHTS)[number];

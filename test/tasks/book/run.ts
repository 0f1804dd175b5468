import { keepTheBook } from './world.js';

// Usage: node dist/test/tasks/book/run.js [cases [seed [path]]]
const [runs = '250', seed, path] = process.argv.slice(2);
await keepTheBook(
  Number(runs),
  seed === undefined ? {} : { seed: Number(seed), ...(path === undefined ? {} : { path }) },
);

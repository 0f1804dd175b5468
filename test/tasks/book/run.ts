import { keepTheBook } from './world.js';

// Usage: node dist/test/tasks/book/run.js [cases [seed]]
const [runs = '250', seed] = process.argv.slice(2);
await keepTheBook(Number(runs), seed === undefined ? undefined : Number(seed));

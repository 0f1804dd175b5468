import { jobPlugin } from './job-plugin.js';

export default jobPlugin('searched');
